"""Orbits grow with every sighting, far beyond the window in which their objects were found."""

import numpy as np
import pytest

from alertprod.core import ephemeris, nbody, observer, orbits, tables
from alertprod.daymops import fit_orbits

ERROR = 0.1 / 3600.0
NIGHTS = (20, 45, 80)  # days after the window


@pytest.fixture(scope="module")
def found(linkages):
    return fit_orbits(linkages, [], config={})


@pytest.fixture(scope="module")
def owner(small_sky, found):
    of = dict(zip(small_sky.detections["diaSourceId"].tolist(), small_sky.truth, strict=True))
    return np.array([of[int(i)] for i in found[0]["firstDiaSourceId"]])


def well_known(found):
    """Objects that a prediction finds again weeks later: with an arc of a week, and not far out."""
    return (found["quality"] == "good") & (found["arc"] > 7.0) & (found["q"] < 4.0)


def sightings(small_sky, found, owner, day, seed=1):
    """What association sees of the objects by prediction: places of N-body truth, with errors."""
    rng = np.random.default_rng([seed, day])
    parts = []
    good = np.flatnonzero(well_known(found))
    for turn in (0, 1):
        tai = 60953.0 + 10.0 + day + 0.02 * turn
        tdb = float(observer.tai_to_tdb(tai))
        states = nbody.propagate(small_sky.states[owner[good]], small_sky.epoch, tdb)
        _, topo = ephemeris.topocentric(states, np.full(len(good), tdb), tai, "X05")
        ra, dec = orbits.directions(topo)
        noise = rng.normal(0.0, ERROR, (2, len(good)))
        number = np.arange(len(good))
        visit = (20261200 + day) * 100_000 + turn
        parts.append({
            "diaSourceId": visit * 1000 + number, "visit": np.full(len(good), visit),
            "detector": np.zeros(len(good), int), "midpointMjdTai": np.full(len(good), tai),
            "ra": ra + noise[0] / np.cos(np.deg2rad(dec)), "dec": dec + noise[1],
            "raErr": ERROR / np.cos(np.deg2rad(dec)), "decErr": np.full(len(good), ERROR),
            "mag": np.full(len(good), np.nan), "magErr": np.full(len(good), np.nan),
            "ssObjectId": found["ssObjectId"][good], "designation": found["designation"][good],
            "isIdentified": np.zeros(len(good), bool),
        })  # fmt: skip
    return tables.conform(tables.stack(parts), "sightings")


@pytest.fixture(scope="module")
def grown(small_sky, found, owner):
    """Orbits and attributions night after night."""
    table, given = found
    states, history = [table], [given]
    for day in NIGHTS:
        seen = sightings(small_sky, found[0], owner, day)
        table, fresh = fit_orbits(tables.empty("linkages"), [], [seen], table, history, config={})
        states.append(table)
        history.append(fresh)
    return states, history


def test_sightings_after_the_window_lengthen_the_arc(grown, found):
    states, history = grown
    good = well_known(found[0])
    last = states[-1]
    assert np.all(last["arc"][good] > 70.0)
    assert np.all(last["nObs"][good] >= found[0]["nObs"][good] + 2 * len(NIGHTS) - 1)
    assert set(last["status"][good]) == {"updated"}
    assert last["designation"].tolist() == found[0]["designation"].tolist()
    assert all(tables.n_rows(h) == 2 * good.sum() for h in history[1:])


def test_the_long_arc_tells_the_orbit_by_far_better_and_truly(small_sky, grown, found, owner):
    last, good = grown[0][-1], well_known(found[0])
    epoch = float(last["epochMjdTdb"][good][0])
    truth = nbody.propagate(small_sky.states[owner[good]], small_sky.epoch, epoch)
    off = orbits.state_vectors(last)[good] - truth
    cov = orbits.covariance_matrices(last)[good]
    pull = np.array([d @ np.linalg.solve(c, d) for d, c in zip(off, cov, strict=True)])
    assert 2.5 < np.median(pull) < 11.0  # 5.35 for six Gaussian components
    first = np.linalg.norm(
        orbits.state_vectors(found[0])[good]
        - nbody.propagate(
            small_sky.states[owner[good]], small_sky.epoch, float(found[0]["epochMjdTdb"][0])
        ),
        axis=1,
    )
    assert np.median(np.linalg.norm(off, axis=1)) < 0.05 * np.median(first)


def test_residuals_are_those_of_the_orbit_that_holds_them(grown):
    left = np.concatenate([fresh[n] for fresh in grown[1][1:] for n in ("resRa", "resDec")])
    assert 0.05 < np.std(left) < 0.15  # errors of 0.1 arcsec, less what the fit takes


def test_a_stranger_taken_for_the_object_does_not_spoil_the_orbit(small_sky, found, owner):
    table, given = found
    seen = sightings(small_sky, table, owner, 20)
    clean, _ = fit_orbits(tables.empty("linkages"), [], [seen], table, [given], config={})
    seen["dec"][0] += 8.0 / 3600.0
    row = table["ssObjectId"].tolist().index(int(seen["ssObjectId"][0]))
    after, _ = fit_orbits(tables.empty("linkages"), [], [seen], table, [given], config={})
    assert after["nObs"][row] == clean["nObs"][row] - 1
    sigma = np.sqrt([after[f"cov{k}{k}"][row] for k in range(3)])
    shift = [abs(after[c][row] - clean[c][row]) for c in "xyz"]
    assert np.all(np.array(shift) < 4.0 * sigma)


def test_objects_that_nobody_saw_keep_their_orbit(small_sky, found, owner):
    table, given = found
    seen = sightings(small_sky, table, owner, 20)
    seen = tables.take(seen, seen["ssObjectId"] == seen["ssObjectId"][0])
    after, _ = fit_orbits(tables.empty("linkages"), [], [seen], table, [given], config={})
    others = table["ssObjectId"] != seen["ssObjectId"][0]
    assert np.array_equal(after["x"][others], table["x"][others])
    assert set(after["status"][others]) == {"kept"}
