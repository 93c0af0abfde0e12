"""Tracklets: what moves is paired, what stands still, repeats or trains is handled."""

import numpy as np
import pytest

from alertprod.core import tables
from alertprod.core.errors import BadInput
from alertprod.daymops import make_tracklets

MINUTE = 1.0 / 1440.0


def table(visit, minute, positions, first_id=1, **more):
    """Association-like table of one visit; positions in arcsec about (10, 0) deg."""
    xy = np.atleast_2d(np.asarray(positions, float))
    n = len(xy)
    return {
        "diaSourceId": np.arange(first_id, first_id + n), "visit": np.full(n, visit),
        "detector": np.zeros(n, int), "midpointMjdTai": np.full(n, 60000.1 + minute * MINUTE),
        "ra": 10.0 + xy[:, 0] / 3600, "dec": xy[:, 1] / 3600,
        "raErr": np.full(n, 0.1 / 3600), "decErr": np.full(n, 0.1 / 3600),
        "ssObjectId": np.zeros(n, int), "psfFlux": np.full(n, 1000.0),
        "psfFluxErr": np.full(n, 50.0), "band": np.full(n, "r", dtype=object), **more,
    }  # fmt: skip


def visits(*positions, step=30.0, **more):
    return [
        table(2025010100001 + k, k * step, p, 1 + 1000 * k, **more) for k, p in enumerate(positions)
    ]


def sets(found):
    """Detections of each tracklet."""
    return [
        tuple(found["diaSourceId"][found["trackletId"] == t])
        for t in np.unique(found["trackletId"])
    ]


def test_a_pair_has_the_rate_of_its_motion():
    found = make_tracklets(visits([0, 0], [15, -20]), config={})
    assert sets(found) == [(1, 1001)]
    assert found["rateRa"][0] == pytest.approx(15 / 3600 * 48, rel=1e-3)
    assert found["rateDec"][0] == pytest.approx(-20 / 3600 * 48, rel=1e-3)
    assert found["nDet"].tolist() == [2, 2]


def test_three_detections_on_a_great_circle_are_one_tracklet():
    found = make_tracklets(visits([0, 0], [15, 5], [30.1, 10]), config={})
    assert sets(found) == [(1, 1001, 2001)]
    assert found["gcrRms"].max() < 0.2


def test_a_stranger_off_the_line_stays_a_pair_of_its_own():
    found = make_tracklets(visits([0, 0], [[15, 5], [40, 40]], [30, 10]), config={})
    assert (1, 1001, 2001) in sets(found)
    assert (1, 1002) in sets(found)
    assert (1, 1001) not in sets(found)


def test_what_stands_still_or_moves_too_fast_is_no_tracklet():
    still = make_tracklets(visits([0, 0], [0.1, 0.1], [0.05, -0.1]), config={})
    fast = make_tracklets(visits([0, 0], [150, 0]), config={})  # 2 deg/day
    assert tables.n_rows(still) == tables.n_rows(fast) == 0


def test_intervals_outside_the_limits_make_no_pairs():
    assert tables.n_rows(make_tracklets(visits([0, 0], [1, 0], step=2), config={})) == 0
    assert tables.n_rows(make_tracklets(visits([0, 0], [50, 0], step=120), config={})) == 0


@pytest.mark.parametrize(
    ("flux", "band", "pairs"),
    [(1000.0, "r", 1), (300.0, "r", 1), (100.0, "r", 0), (20_000.0, "r", 0), (np.nan, "r", 1),
     # a u magnitude is two fainter by colour alone
     (140.0, "u", 1), (140.0, "r", 0)],
)  # fmt: skip
def test_a_pair_of_unlike_brightness_is_of_strangers(flux, band, pairs):
    one, two = visits([0, 0], [15, 0])
    two["psfFlux"], two["band"] = np.array([flux]), np.array([band], dtype=object)
    one["psfFluxErr"] = two["psfFluxErr"] = np.array([1.0])
    assert len(sets(make_tracklets([one, two], config={}))) == pairs


def test_a_trail_lets_a_fast_object_pass_if_length_and_direction_agree():
    # 30" in 30 s would be 24 deg/day; 5 deg/day is 6.25" of trail, eastward (90 deg)
    length, angle = np.array([6.25]), np.array([90.0])
    east = 5 * 3600 / 48
    good = visits([0, 0], [east, 0], trailLength=length, trailAngle=angle)
    across = visits([0, 0], [0, east], trailLength=length, trailAngle=angle)
    short = visits([0, 0], [east / 4, 0], trailLength=length, trailAngle=angle)
    assert sets(make_tracklets(good, config={})) == [(1, 1001)]
    assert tables.n_rows(make_tracklets(across, config={})) == 0
    assert tables.n_rows(make_tracklets(short, config={})) == 0


@pytest.mark.parametrize(
    "flaw",
    [{"ssObjectId": np.array([7])}, {"isNegative": np.array([True])},
     {"diaObject_nDiaSources": np.array([9])}, {"ra": np.array([np.nan])}],
)  # fmt: skip
def test_known_negative_repeated_and_nameless_places_are_left_out(flaw):
    first, second = visits([0, 0], [15, 0])
    assert tables.n_rows(make_tracklets([first, second | flaw], config={})) == 0


def test_duplicated_detections_count_once():
    first, second = visits([0, 0], [15, 0])
    twice = {name: np.concatenate([column, column]) for name, column in second.items()}
    assert sets(make_tracklets([first, twice, second], config={})) == [(1, 1001)]


def test_a_satellite_train_does_not_explode():
    rng = np.random.default_rng(1)
    line = np.stack([np.arange(300) * 30.0, np.zeros(300)], axis=1)
    trains = visits(line + rng.normal(0, 0.1, line.shape), line + [7.0, 0.0])
    found = make_tracklets(trains, config={"max_pairs_per_detection": 20})
    _, count = np.unique(found["diaSourceId"][found["visit"] == 2025010100001], return_counts=True)
    assert count.max() <= 20


def test_one_visit_an_empty_night_and_two_nights_at_once():
    assert tables.n_rows(make_tracklets(visits([[0, 0], [9, 9]]), config={})) == 0
    assert tables.n_rows(make_tracklets([], config={})) == 0
    first, second = visits([0, 0], [15, 0])
    with pytest.raises(BadInput, match="single night"):
        make_tracklets([first, second | {"visit": np.array([2025010200001])}], config={})
    with pytest.raises(BadInput, match="raErr"):
        make_tracklets([{k: v for k, v in first.items() if k != "raErr"}], config={})


def test_rejected_visits_are_skipped(tmp_path):
    tables.write_rejected_table(tmp_path / "a.parquet", "clouds", "association")
    pair = visits([0, 0], [15, 0])
    assert sets(make_tracklets([tmp_path / "a.parquet", *pair], config={})) == [(1, 1001)]


def test_order_of_visits_and_rows_does_not_matter(nights):
    night = max(nights, key=lambda n: len(nights[n]))
    reference = make_tracklets(nights[night], config={})
    rng = np.random.default_rng(3)
    mixed = []
    for k in rng.permutation(len(nights[night])):
        part = nights[night][k]
        mixed.append(tables.take(part, rng.permutation(tables.n_rows(part))))
    again = make_tracklets(mixed, config={})
    assert all(np.array_equal(reference[name], again[name]) for name in reference)


def test_pairs_of_real_objects_become_tracklets(moving_sky, small_sky, tracklets):
    wanted = moving_sky.findable(small_sky)
    truth = dict(zip(small_sky.detections["diaSourceId"].tolist(), small_sky.truth, strict=True))
    found: dict[int, set] = {}
    for part in tracklets:
        for members in sets(part):
            owners = {truth[m] for m in members}
            if len(owners) == 1 and -1 not in owners:
                found.setdefault(owners.pop(), set()).add(part["visit"][0] // 100_000)
    assert len(wanted) > 10
    assert all(len(found.get(k, ())) >= 3 for k in wanted)


def deep_night(count, strangers, seed=3):
    """Many visits of one place, 36 s apart: one object, and strangers everywhere."""
    rng = np.random.default_rng(seed)
    out = []
    for k in range(count):
        minute = 0.6 * k
        place = np.array([[0.5 * minute, -0.2 * minute]]) + rng.normal(0.0, 0.1, (1, 2))
        radius, angle = 300.0 * np.sqrt(rng.random(strangers)), rng.uniform(0, 2 * np.pi, strangers)
        others = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)
        out.append(table(2025010100001 + k, minute, np.concatenate([place, others]), 1 + 1000 * k))
    return out


def test_an_object_in_a_night_of_deep_drilling_is_one_tracklet():
    found = make_tracklets(deep_night(100, 30), config={})
    groups = [set(group) for group in sets(found)]
    mine = {1 + 1000 * k for k in range(100)}
    assert max(len(group & mine) for group in groups) >= 75
    # strangers pair by the thousand; what is left is of three or more, but for the ragged edge
    assert np.mean([len(group) == 2 for group in groups]) < 0.05


def test_where_a_place_is_visited_a_few_times_pairs_stay():
    found = make_tracklets(deep_night(20, 0), config={"dense_visits": 30, "max_rms_arcsec": 0.001})
    assert min(len(group) for group in sets(found)) == 2
