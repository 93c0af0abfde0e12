"""The data model is well formed, and files and pages follow it."""

import importlib.util
from pathlib import Path

import astropy.units
import numpy as np
import pytest
from astropy.io import fits as pyfits

from alertprod.core import fits, tables
from alertprod.core.exposure import Background, Exposure
from alertprod.core.products import columns, products
from alertprod.core.psf import Psf
from alertprod.core.wcs import Wcs

ROOT = Path(__file__).parents[2]
MODEL = products()
TABLES = sorted(MODEL["tables"])


def page_maker(path):
    """Load a script that makes a file of the repository."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def parse(unit):
    """Parse a unit, whatever it scales."""
    return astropy.units.Unit("" if unit == "1" else unit)


def test_mask_planes_have_bits_of_their_own_below_the_sign_bit():
    bits = [entry["bit"] for entry in MODEL["mask_planes"].values()]
    assert len(set(bits)) == len(bits)
    assert all(0 <= bit < 31 for bit in bits)


@pytest.mark.parametrize("section", ["hdus", "keywords", "mask_planes", "images", "tables"])
def test_everything_has_a_meaning(section):
    for name, entry in MODEL[section].items():
        assert entry["doc"].strip(), name
        assert not entry["doc"].endswith("."), f"{name}: no full stop; the page adds it"


@pytest.mark.parametrize("section", ["images", "keywords"])
def test_units_are_units(section):
    for entry in MODEL[section].values():
        parse(entry.get("unit", ""))


def test_keywords_fit_into_a_header():
    for name in MODEL["keywords"]:
        assert len(name) <= 8 and name == name.upper()


@pytest.mark.parametrize("product", TABLES)
def test_columns_have_known_types_units_and_meanings(product):
    for name, entry in columns(product).items():
        assert entry["type"] in tables.DTYPES, name
        assert entry.get("doc"), name
        parse(entry.get("unit") or "")


@pytest.mark.parametrize("product", TABLES)
def test_own_columns_say_only_what_is_understood(product):
    for name, entry in MODEL["tables"][product].get("columns", {}).items():
        assert set(entry) <= {"type", "unit", "nullable", "doc"}, name


def test_official_columns_keep_their_official_types():
    from alertprod.core.products import TYPES, official_tables

    official, ours = official_tables()["DiaSource"], columns("dia_sources")
    shared = set(official) & set(ours)
    assert len(shared) > 60
    for name in sorted(shared):
        assert ours[name]["type"] == TYPES.get(official[name]["datatype"], "str"), name


def test_file_has_the_hdus_of_the_model_in_their_order(tmp_path):
    pixels, cd = np.ones((8, 8)), np.diag([-1e-4, 1e-4])
    exposure = Exposure(
        pixels,
        0 * pixels,
        pixels,
        {"VISIT": 1, "MJDMID": 61000.5, "BUNIT": "nJy"},
        wcs=Wcs(np.array([1.0, 2.0]), np.array([3.5, 3.5]), cd),
        psf=Psf.constant(np.ones((3, 3)) / 9, (8, 8)),
        background=Background(np.ones((2, 2)), (8, 8)),
        kernel={"sum": np.ones(1)},
    )
    facts = {"version": "0", "rule": "r", "code": "c", "config": "d", "inputs": ["a.fits"]}
    fits.write_exposure(tmp_path / "a.fits", exposure, facts)
    with pyfits.open(tmp_path / "a.fits") as hdus:
        assert [hdu.name for hdu in hdus] == list(MODEL["hdus"])
        for hdu in hdus[1:4]:
            assert hdu.data.dtype.newbyteorder("=").name == MODEL["hdus"][hdu.name]["type"]
        planes = {k[3:]: v for k, v in hdus["MASK"].header.items() if k.startswith("MP_")}
        structure = {"SIMPLE", "BITPIX", "NAXIS", "EXTEND", "CHECKSUM", "DATASUM", "IN0001"}
        assert set(hdus[0].header) - structure <= set(MODEL["keywords"])
    assert planes == {name: entry["bit"] for name, entry in MODEL["mask_planes"].items()}


def test_data_model_page_is_up_to_date():
    maker = page_maker(ROOT / "docs" / "make_data_model.py")
    stored = maker.PAGE.read_text(encoding="utf-8")
    assert stored == maker.page(), "run: python docs/make_data_model.py"


def test_page_names_every_column_and_unit():
    page = (ROOT / "docs" / "data_model.md").read_text(encoding="utf-8")
    for product in TABLES:
        for name in columns(product):
            assert f"| `{name}` |" in page


def test_configuration_page_is_up_to_date():
    maker = page_maker(ROOT / "docs" / "make_config_reference.py")
    stored = maker.PAGE.read_text(encoding="utf-8")
    assert stored == maker.page(), "run: python docs/make_config_reference.py"


def test_comments_become_meanings():
    maker = page_maker(ROOT / "docs" / "make_config_reference.py")
    text = 'a: 1  # one [px]\nb:\n  c: "#x"   # two\n           # lines\n  d: {e: 2}\n\n'
    text += "# no meaning\nf: [\n  3]\n"
    found = {e["path"]: (e["value"], e["doc"]) for e in maker.entries(text)}
    assert found["a",] == (1, "one [px]")
    assert found["b", "c"] == ("#x", "two lines")
    assert found["b", "d"] == ({"e": 2}, "")
    assert found["f",] == ([3], "")


def test_default_configuration_satisfies_its_schema():
    import jsonschema
    import yaml

    loaded = [
        yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))
        for name in ("config/default.yaml", "workflow/schemas/config.schema.yaml")
    ]
    errors = jsonschema.Draft202012Validator(loaded[1]).iter_errors(loaded[0])
    assert not [f"{'.'.join(map(str, e.absolute_path))}: {e.message}" for e in errors]
