"""Alert packets in the newest official schema, as Avro object containers.

References
----------
Rubin Observatory, lsst/alert_packet (schemas); LSE-163 section 3.5 (contents of an alert).
"""

import hashlib
import io
from functools import cache
from typing import Any

from alertprod.core.apdb.rows import to_python
from alertprod.core.designations import pack
from alertprod.core.tables import Table, n_rows

#: A container separates its blocks by 16 bytes that are random by custom; ours are fixed.
SYNC_MARKER = hashlib.sha256(b"alertprod").digest()[:16]
CODES = {"double": "f8", "float": "f4", "long": "i8", "int": "i4", "boolean": "bool"}


@cache
def schema() -> Any:
    """Return the newest alert schema that ``lsst-alert-packet`` brings along."""
    from lsst.alert.packet import SchemaRegistry

    registry = SchemaRegistry.all_schemas_from_filesystem()
    newest = max(registry.known_versions, key=lambda version: [int(n) for n in version.split(".")])
    return registry.get_by_version(newest)


@cache
def parsed() -> Any:
    """Return the schema as fastavro wants it, its keys in alphabetical order.

    fastavro walks through a set of keys, in an order that Python changes from process to process;
    the schema stands in every container, whose bytes are to be the same.
    """
    import fastavro

    return _ordered(fastavro.parse_schema(schema().definition))


def _ordered(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _ordered(node[key]) for key in sorted(node)}
    return [_ordered(item) for item in node] if isinstance(node, list) else node


@cache
def fields(record: str) -> dict[str, tuple[str, bool]]:
    """Return name -> (type code, nullable) of the fields of a record of the schema."""
    definition = _find(schema().definition, record)
    result = {}
    for entry in definition["fields"]:
        kinds = entry["type"] if isinstance(entry["type"], list) else [entry["type"]]
        kind = next(k for k in kinds if k != "null")
        result[entry["name"]] = (
            CODES.get(kind, "str") if isinstance(kind, str) else "i8",
            "null" in kinds,
        )
    return result


def _find(node: Any, record: str) -> dict:
    if isinstance(node, dict) and node.get("type") == "record":
        if node["name"].rsplit(".", 1)[-1] == record:
            return node
        children = [entry["type"] for entry in node["fields"]]
    elif isinstance(node, dict):
        children = [node.get("items")]
    else:
        children = node if isinstance(node, list) else []
    for child in children:
        found = _find(child, record)
        if found:
            return found
    return {}


def records(table: Table, record: str, prefix: str = "") -> list[dict[str, Any]]:
    """Turn the rows of a table into records of the schema.

    Parameters
    ----------
    table : dict of arrays
        Columns named `prefix` + field; a nullable field without a column is null.
    record : str
        Name of the record in the schema.
    prefix : str
    """
    count, columns = n_rows(table), []
    names = fields(record)
    for name, (kind, nullable) in names.items():
        if prefix + name in table:
            columns.append(to_python(table[prefix + name], kind, nullable))
        elif nullable:
            columns.append([None] * count)
        else:
            raise ValueError(f"{record}.{name} may not be null and has no column")
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def grouped(table: Table, record: str) -> dict[int, list[dict[str, Any]]]:
    """Return the records of each DIAObject, in the order of the rows."""
    result: dict[int, list[dict[str, Any]]] = {}
    for row in records(table, record):
        result.setdefault(row["diaObjectId"], []).append(row)
    return result


def orbit_record(row: dict[str, Any]) -> dict[str, Any]:
    """Fill the record ``mpc_orbits`` from the elements that stand in the association."""
    designation = row["mpc_orbits_designation"]
    result: dict[str, Any] = dict.fromkeys(fields("mpc_orbits"))
    for name in result:
        value = row.get("mpc_orbits_" + name)
        result[name] = value if value == value else None  # NaN is null
    q, e = result["q"], result["e"]
    if q is not None and e is not None and e < 1.0:
        result["a"] = q / (1.0 - e)
    packed = _packed(designation)
    return result | {
        "id": 0,  # a key of the MPC's own table
        "designation": designation,
        "unpacked_primary_provisional_designation": designation,
        "packed_primary_provisional_designation": packed,
    }


def _packed(designation: str) -> str:
    try:
        return str(pack(designation))
    except (ValueError, KeyError):
        return designation  # a name of our own


def alerts(
    association: Table, past: Table, forced: Table, stamps: list[dict[str, bytes]], visit: dict
) -> list[dict[str, Any]]:
    """Assemble the alerts of one detector.

    Parameters
    ----------
    association : dict of arrays
        Rows of the detector, sorted by ``diaSourceId``.
    past, forced : dict of arrays
        DIASources and DIAForcedSources of the DIAObjects, each sorted by object and time.
    stamps : list of dict
        ``cutoutDifference``, ``cutoutScience``, ``cutoutTemplate`` for each row.
    visit : dict
        Optionally ``reason`` and ``target_name`` of the observation.

    Returns
    -------
    list of dict
        Records that validate against `schema`.
    """
    sources = records(association, "diaSource")
    objects = records(association, "diaObject", "diaObject_")
    solar = {**association, "ssSource_diaSourceId": association["diaSourceId"]}
    objects_of_the_sun = records(solar, "ssSource", "ssSource_")
    orbits = [name for name in association if name.startswith("mpc_orbits_")]
    previous, photometry = grouped(past, "diaSource"), grouped(forced, "diaForcedSource")
    result = []
    for index, source in enumerate(sources):
        owner = source["diaObjectId"]
        moving = source["ssObjectId"] is not None
        orbit = {name: _plain(association[name][index]) for name in orbits}
        result.append(
            {
                "diaSourceId": source["diaSourceId"],
                "observation_reason": visit.get("reason"),
                "target_name": visit.get("target_name"),
                "diaSource": source,
                "prvDiaSources": previous.get(owner) if owner else None,
                "prvDiaForcedSources": photometry.get(owner, []) if owner else None,
                "diaObject": objects[index] if owner else None,
                "ssSource": objects_of_the_sun[index] if moving else None,
                "mpc_orbits": orbit_record(orbit) if moving else None,
                **stamps[index],
            }
        )
    return result


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def container(alerts_: list[dict[str, Any]], facts: dict[str, str]) -> bytes:
    """Encode alerts as an Avro object container.

    Parameters
    ----------
    alerts_ : list of dict
        May be empty.
    facts : dict
        More for the header of the container (visit, detector, status).
    """
    import fastavro

    buffer = io.BytesIO()
    metadata = {f"alertprod.{name}": str(value) for name, value in sorted(facts.items())}
    fastavro.writer(buffer, parsed(), alerts_, sync_marker=SYNC_MARKER, metadata=metadata)
    return buffer.getvalue()
