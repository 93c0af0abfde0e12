"""Our DIASource columns against the official schema that is installed."""

from pathlib import Path

import pytest
import yaml

from alertprod.core.products import columns

TYPES = {
    "long": "i8",
    "int": "i4",
    "short": "i2",
    "double": "f8",
    "float": "f4",
    "boolean": "bool",
    "char": "str",
    "string": "str",
}
NOT_OURS = {
    # association and later stages fill these
    "diaObjectId",
    "ssObjectId",
    "ssObjectReassocTimeMjdTai",
    "timeWithdrawnMjdTai",
    # nothing is deblended, and our trail fit is neither of the two that the key names
    "parentDiaSourceId",
    "shape_flag_parent_source",
    "trailAlgorithm",
}


@pytest.fixture(scope="module")
def official():
    import lsst.sdm.schemas

    path = Path(next(iter(lsst.sdm.schemas.__path__))) / "apdb.yaml"
    with open(path, encoding="utf-8") as handle:
        schema = yaml.load(handle, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    (table,) = (t for t in schema["tables"] if t["name"] == "DiaSource")
    return {column["name"]: column for column in table["columns"]}


def test_every_column_is_official_in_name_type_unit_and_null(official):
    for name, entry in columns("dia_sources").items():
        assert name in official, f"{name} is no DiaSource column"
        column = official[name]
        assert entry["type"] == TYPES[column["datatype"]], name
        assert entry.get("unit") == column.get("fits:tunit"), name
        if not column.get("nullable", True):
            assert not entry.get("nullable"), f"{name} must not be null"


def test_no_column_of_this_stage_is_forgotten(official):
    assert set(official) - set(columns("dia_sources")) == NOT_OURS
