"""digest2 tells near-Earth objects from the main belt by one night's motion."""

import numpy as np
import pytest

from alertprod.core import ephemeris, orbits
from alertprod.daymops import fit_orbits, rating

EPOCH = 60953.0
# q, e, incl, node, argperi, perihelion time; apparent magnitude
NEAR = (0.98, 0.45, 12.0, 355.0, 10.0, 60925.0)
MAIN = (2.40, 0.12, 6.0, 340.0, 10.0, 60890.0)


def pair(elements, mag, nights=(0,), visits=2):
    """Detections of one object on some nights."""
    state = orbits.elements_to_states(np.array([elements]), EPOCH)
    rows = []
    for night in nights:
        for turn in range(visits):
            tai = EPOCH + night + 0.025 * turn
            _, topo = ephemeris.topocentric(state, np.array([EPOCH]), tai, "X05")
            ra, dec = orbits.directions(topo)
            rows.append((20261101 * 100_000 + 100_000 * night + turn, tai, ra[0], dec[0]))
    visit, time, ra, dec = (np.array(column) for column in zip(*rows, strict=True))
    error = np.full(len(rows), 0.1 / 3600.0)
    return {"visit": visit, "midpointMjdTai": time, "ra": ra, "dec": dec, "raErr": error,
            "decErr": error, "mag": np.full(len(rows), mag),
            "band": np.full(len(rows), "r", dtype=object)}  # fmt: skip


def score(table):
    return rating.digest2_scores(table, [np.arange(len(table["ra"]))], "X05")[0]


def test_a_fast_mover_scores_high_and_a_main_belt_asteroid_low():
    assert score(pair(NEAR, 20.5)) > 65.0
    assert score(pair(MAIN, 20.5)) < 20.0


def test_only_the_first_night_with_a_pair_counts():
    assert score(pair(MAIN, 20.5, nights=(0, 3, 7))) == pytest.approx(score(pair(MAIN, 20.5)))


def test_objects_never_seen_twice_in_a_night_have_no_score():
    assert np.isnan(score(pair(MAIN, 20.5, nights=(0, 1, 2), visits=1)))
    assert len(rating.digest2_scores(pair(MAIN, 20.5), [], "X05")) == 0


def test_the_same_detections_give_the_same_score():
    assert len({score(pair(NEAR, 20.5)) for _ in range(3)}) == 1


def test_orbits_that_leave_no_doubt_are_not_rated(linkages):
    found, _ = fit_orbits(linkages, [], config={})
    sure = found["neoScore"] < rating.WORTH
    assert sure.any() and np.isnan(found["digest2"][sure]).all()
    rated = found["digest2"][~sure]
    assert np.all((rated >= 0.0) & (rated <= 100.0))
