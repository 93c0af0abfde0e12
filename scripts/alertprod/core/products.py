"""The data model, as read from ``workflow/schemas/products.yaml``."""

from functools import cache
from pathlib import Path

import yaml

SCHEMA = Path(__file__).parents[3] / "workflow" / "schemas" / "products.yaml"


@cache
def products() -> dict:
    """Return the whole data model (mask planes, images, tables)."""
    with open(SCHEMA, encoding="utf-8") as handle:
        return yaml.load(handle, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def kind(name: str) -> str:
    """Say what a product name stands for: ``image``, ``table`` or ``other``."""
    model = products()
    if name in model["images"]:
        return "image"
    if name in model["tables"]:
        return "table"
    return "other"


def columns(product: str) -> dict[str, dict]:
    """Return the columns of a table product: name -> type, unit, doc, nullable."""
    return products()["tables"][product]["columns"]
