"""The night's report: every observation that the night attributes, once, under our own name."""

import numpy as np

from alertprod.core import tables
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
