"""The simulated skies that linking is measured on: which visits, which pairs, what counts."""

import importlib.util
from types import SimpleNamespace

import numpy as np
import pytest


@pytest.fixture(scope="module")
def rubin_sky(root, moving_sky):
    """The generator module with the visits that Rubin plans."""
    spec = importlib.util.spec_from_file_location("rubin_sky", root / "benchmarks/rubin_sky.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def seen(*minutes, moved=0.1, nights=3):
    """A sky with one object, seen at these minutes of each night, moving so many degrees a day."""
    time = (np.arange(nights)[:, None] + np.array(minutes) / 1440).ravel()
    n = len(time)
    detections = {
        "midpointMjdTai": 60000.0 + time, "ra": 10 + moved * time, "dec": np.zeros(n),
        "visit": (20250101 + np.floor(time).astype(int)) * 100_000 + np.arange(n),
    }  # fmt: skip
    return SimpleNamespace(detections=detections, truth=np.zeros(n, dtype=int))


def test_findable_wants_a_pair_on_three_nights(moving_sky):
    assert moving_sky.findable(seen(0, 30)).tolist() == [0]
    assert moving_sky.findable(seen(0, 30, nights=2)).tolist() == []
    assert moving_sky.findable(seen(0)).tolist() == []


def test_pairs_too_close_too_far_apart_or_too_fast_do_not_count(moving_sky):
    assert moving_sky.findable(seen(0, 4)).tolist() == []
    assert moving_sky.findable(seen(0, 95)).tolist() == []
    assert moving_sky.findable(seen(0, 30, moved=2.0)).tolist() == []


def test_two_detections_that_are_not_neighbours_in_time_are_a_pair_too(moving_sky):
    assert moving_sky.findable(seen(0, 2, 4, 6)).tolist() == [0]
    assert moving_sky.findable(seen(0, 1, 93, 94, 98)).tolist() == [0]  # 93 and 98


def test_planned_visits_of_one_night_have_one_name_across_midnight(rubin_sky, moving_sky):
    plan = rubin_sky.visits(60362, 15, 158.0, 5.0, 9.0)
    assert set(plan["night"]) <= set(range(60362, 60377))
    assert np.all(np.diff(plan["time"]) > 0)
    # at Cerro Pachon the evening of a date is the end of that day in UTC
    hours = (plan["time"] - plan["night"]) * 24
    assert hours.min() > 22.5 and hours.max() < 36.0
    numbers = moving_sky.visit_numbers(plan["night"])
    assert np.all(np.diff(numbers) > 0)
    assert len(np.unique(numbers // 100_000)) == len(np.unique(plan["night"]))


def test_planned_visits_lie_in_the_region_and_hold_deep_drilling(rubin_sky, moving_sky):
    first, ra, dec = rubin_sky.WINDOWS[rubin_sky.DEEP - 1]
    plan = rubin_sky.visits(first, 15, ra, dec, 1.0)
    apart = moving_sky.directions(plan["ra"], plan["dec"]) @ moving_sky.directions(ra, dec)
    assert np.all(apart > np.cos(np.deg2rad(1.0)))
    assert np.bincount(plan["night"] - first).max() > 90


def test_whether_an_object_is_seen_depends_on_its_brightness_and_the_visit(rubin_sky):
    sky = rubin_sky.simulate(seed=2, radius=1.0, false=1.0)
    real = sky.truth >= 0
    signal = (sky.detections["psfFlux"] / sky.detections["psfFluxErr"])[real]
    assert np.median(signal) > 6.0 and signal.min() > 1.0
    first, ra, dec = rubin_sky.WINDOWS[1]
    depth = rubin_sky.visits(first, 15, ra, dec, 1.0)["depth"]
    count = np.array([np.sum(sky.detections["visit"][real] == v) for v in sky.visits["visit"]])
    assert count[depth > 23.5].mean() > 1.5 * count[depth < 22.5].mean()
