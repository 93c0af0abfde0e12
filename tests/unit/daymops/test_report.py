"""The night's report: every observation that the night attributes, once, under our own name."""

import numpy as np
import pytest

from alertprod.core import tables
from alertprod.core.designations import ss_object_id
from alertprod.daymops import ades, report_discoveries


def read(world, moving_world, index, product):
    return tables.read_table(world.root / str(moving_world.night_of(index)) / f"{product}.parquet")


def test_new_objects_and_old_ones_that_were_seen_again(world, moving_world):
    found = [read(world, moving_world, 1, name) for name in ("orbits", "attributed")]
    _, records = ades.read_psv(report_discoveries(*found, config={}))
    assert sorted(r["obsSubID"] for r in records) == sorted(map(str, found[1]["diaSourceId"]))
    counts = {name: sum(r["trkSub"] == name for r in records) for name in ("A4u00001", "A4u00003")}
    assert counts == {"A4u00001": 2, "A4u00003": 6}
    keys = [(r["trkSub"], r["obsTime"]) for r in records]
    assert keys == sorted(keys)


def test_the_order_of_the_input_does_not_matter(world, moving_world):
    orbits, attributed = (read(world, moving_world, 0, n) for n in ("orbits", "attributed"))
    turned = tables.take(attributed, np.arange(tables.n_rows(attributed))[::-1])
    assert report_discoveries(orbits, turned, config={}) == report_discoveries(
        orbits, attributed, config={}
    )


def test_a_night_that_adds_nothing_gives_an_empty_report(world, moving_world):
    orbits = read(world, moving_world, 0, "orbits")
    assert report_discoveries(orbits, tables.empty("attributed"), config={}) == ""


def recognised(world, moving_world, designation, how="identified"):
    """Tables of night 1 in which the third object turns out to be one of the catalogue's."""
    orbits, attributed = (read(world, moving_world, 1, n) for n in ("orbits", "attributed"))
    orbits = tables.take(orbits, orbits["designation"] != "A4u00003")
    mine = attributed["designation"] == "A4u00003"
    attributed["designation"][mine], attributed["how"][mine] = designation, how
    attributed["ssObjectId"][mine] = ss_object_id(designation)
    return orbits, attributed, mine


@pytest.mark.parametrize(
    ("designation", "field", "name", "short"),
    [("2019 AB12", "provID", "2019 AB12", "K19A12B"), ("3666", "permID", "3666", "03666"),
     ("712345", "permID", "712345", "712345"), ("SIMK001", "trkSub", "SIMK001", "SIMK001")],
)  # fmt: skip
def test_objects_of_the_catalogue_go_by_the_name_that_the_mpc_knows(
    world, moving_world, designation, field, name, short
):
    orbits, attributed, mine = recognised(world, moving_world, designation)
    _, records = ades.read_psv(report_discoveries(orbits, attributed, config={}))
    known = [r for r in records if r["trkSub"] == short]
    assert len(known) == mine.sum() == 6
    assert {r[field] for r in known} == {name}
    assert all("provID" not in r and "permID" not in r for r in records if r not in known)


def test_a_name_that_the_mpc_would_refuse_stays_behind_and_nothing_else(world, moving_world):
    orbits, attributed, mine = recognised(world, moving_world, "not a name at all")
    _, records = ades.read_psv(report_discoveries(orbits, attributed, config={}))
    assert len(records) == (~mine).sum() > 0


def test_sightings_of_catalogued_objects_are_reported_unless_unwanted(world, moving_world):
    orbits, attributed, mine = recognised(world, moving_world, "3666")
    seen = tables.conform(
        {**{k: v for k, v in attributed.items() if k not in ("how", "resRa", "resDec")},
         "isIdentified": np.zeros(len(mine), bool)}, "sightings",
    )  # fmt: skip
    ours = tables.take(attributed, ~mine)
    _, records = ades.read_psv(report_discoveries(orbits, ours, seen, config={}))
    assert len(records) == len(mine)
    silent = report_discoveries(orbits, ours, seen, config={"report_known": False})
    assert len(ades.read_psv(silent)[1]) == (~mine).sum()
