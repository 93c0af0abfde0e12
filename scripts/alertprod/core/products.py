"""The data model, as read from ``workflow/schemas/products.yaml``.

Columns of official tables (DiaSource, DiaObject, ...) are not repeated there: a table names the
official ones it takes, and they are read from the installed schema package.
"""

from functools import cache
from pathlib import Path
from typing import Any

import yaml

SCHEMA = Path(__file__).parents[3] / "workflow" / "schemas" / "products.yaml"
TYPES = {
    "long": "i8",
    "int": "i4",
    "short": "i2",
    "double": "f8",
    "float": "f4",
    "boolean": "bool",
    "char": "str",
    "string": "str",
    "text": "str",
}


def _load(path: Path) -> dict[str, Any]:
    with open(path, encoding="utf-8") as handle:
        return yaml.load(handle, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


@cache
def products() -> dict[str, Any]:
    """Return the whole data model (mask planes, images, tables)."""
    return _load(SCHEMA)


def kind(name: str) -> str:
    """Say what a product name stands for: ``image``, ``table`` or ``other``."""
    model = products()
    if name in model["images"]:
        return "image"
    if name in model["tables"]:
        return "table"
    return "other"


@cache
def columns(product: str) -> dict[str, dict[str, Any]]:
    """Return the columns of a table product: name -> type, unit, doc, nullable."""
    table = products()["tables"][product]
    result: dict[str, dict[str, Any]] = {}
    for part in table.get("official", []):
        result |= _official_part(**part)
    return result | table.get("columns", {})


@cache
def official_tables() -> dict[str, dict[str, dict[str, Any]]]:
    """Return the tables of the installed APDB schema (``lsst-sdm-schemas``), by column."""
    import lsst.sdm.schemas

    schema = _load(Path(next(iter(lsst.sdm.schemas.__path__))) / "apdb.yaml")
    return {
        table["name"]: {column["name"]: column for column in table["columns"]}
        for table in schema["tables"]
    }


def _official_part(
    table: str,
    prefix: str = "",
    nullable: bool = False,
    only: list[str] | None = None,
    without: tuple[str, ...] = (),
) -> dict[str, dict[str, Any]]:
    """Return columns of an official table: all of them, `only` some, or `without` some."""
    chosen = {}
    for name, column in official_tables()[table].items():
        if name in without or (only is not None and name not in only):
            continue
        chosen[prefix + name] = {
            "type": TYPES.get(column["datatype"], "str"),
            "unit": column.get("fits:tunit") or column.get("ivoa:unit") or "",
            "nullable": nullable or bool(column.get("nullable", True)),
            "doc": f"{table}.{name} of the official schema",
        }
    return chosen
