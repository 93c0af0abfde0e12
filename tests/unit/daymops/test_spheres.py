"""States under a hypothesis of range and range rate, and how they shift with it."""

import numpy as np
import pytest
from moving_world import EPOCH, orbit_seen

from alertprod.core import kepler
from alertprod.daymops import heliolinc, spheres

PAIRS = np.array([-6, -5.98, -2, -1.98, 3, 3.02, 6, 6.03])
SCALE = 3.5


NO_SIEVE = (np.empty(0, dtype=np.uint64), 0, 0), 1.0


def states_of(middles, r, rdot, limits=(0.0, 0.02), slack=0.0, sieve=NO_SIEVE):
    """States of tracklets, and these."""
    n = len(middles)
    out = np.empty((2 * n, 7), dtype=np.float32), np.empty(2 * n, dtype=np.int32)
    number = np.arange(n, dtype=np.int32)
    given = spheres.columns(middles, number), number, np.full(n, slack)
    n = spheres.to_reference(given, n, (r, rdot), np.array(limits), SCALE, sieve, out)
    return out[0][:n], out[1][:n]


def pairs_of(obs):
    """Tracklets of two detections each, one after the other."""
    n = len(obs)
    return spheres.middles(obs, np.arange(0, n, 2), np.arange(1, n, 2), EPOCH)


def range_and_rate(state):
    r = np.linalg.norm(state[:3])
    return r, state[:3] @ state[3:] / r


def test_tracklets_of_one_object_meet_at_the_reference_epoch_under_its_hypothesis():
    state, obs = orbit_seen(PAIRS, sigma=0.0)
    r, rdot = range_and_rate(state)
    tracklets = pairs_of(obs)
    met, owner = states_of(tracklets, r, rdot)
    assert owner.tolist() == [0, 1, 2, 3]
    assert np.abs(met[:, :3] - state[:3]).max() < 2e-5
    assert np.abs(met[:, 3:6] - SCALE * state[3:]).max() < 3e-4
    close = np.ptp(met[:, :3], axis=0).max()
    apart, _ = states_of(tracklets, r + 0.4, rdot)
    assert np.ptp(apart[:, :3], axis=0).max() > 3e-4 > 10 * close


def test_the_series_of_kepler_motion_holds_for_half_a_window():
    state, _ = orbit_seen(PAIRS)
    r2, v2 = np.sum(state[:3] ** 2), np.sum(state[3:] ** 2)
    u = kepler.GM_SUN / r2**1.5
    given = u, state[:3] @ state[3:] / r2, v2 / r2 - u, 7.5
    f, g, fdot, gdot = spheres._series(*given)
    out = np.r_[f * state[:3] + g * state[3:], fdot * state[:3] + gdot * state[3:]]
    assert np.abs(out - kepler.propagate(state[None], np.array([7.5]))[0]).max() < 1e-7


VENUS = (0.7, 0.01, 3.0, 40.0, 20.0, 59990.0)
MAIN = (2.3, 0.15, 8.0, 150.0, 20.0, 59900.0)


@pytest.mark.parametrize(("r", "element", "least"), [(2.5, MAIN, 300), (0.72, VENUS, 800)])
def test_states_under_a_hypothesis_are_those_of_one_tracklet_at_a_time(r, element, least):
    """In blocks and by vector instructions, as many as there are."""
    days = np.sort(np.random.default_rng(8).uniform(-7, 7, 40))
    first, second = np.triu_indices(40, 1)
    _, obs = orbit_seen(days, sigma=20.0, element=element)
    tracklets = spheres.middles(obs, first, second, EPOCH)
    states, owner = states_of(tracklets, r, 0.001, (0.01, 0.02))
    alone = []
    for c in range(len(first)):
        one, _ = states_of(tracklets[c : c + 1], r, 0.001, (0.01, 0.02))
        alone += [(c, *row) for row in one]
    both = sorted((int(o), *row) for o, row in zip(owner, states, strict=True))
    assert len(both) > least
    assert np.array_equal(np.array(both), np.array(sorted(alone)))


def test_an_error_of_the_rate_does_not_make_a_distant_object_unbound():
    """At 45 au a quarter of an arcsecond in a pair half an hour apart is half the escape speed."""
    element = (45.0, 0.05, 3.0, 150.0, 20.0, 59900.0)
    state, obs = orbit_seen([0.0, 0.02], sigma=0.0, element=element)
    error = 0.25 / 206265
    along = np.sign(state[3:] @ obs[1, 10:13])
    obs[1, 7:10] += along * error * obs[1, 10:13]
    r, rdot = range_and_rate(state)
    tracklets = pairs_of(obs)
    assert len(states_of(tracklets, r, rdot)[0]) == 0
    (found,), _ = states_of(tracklets, r, rdot, slack=(2.5 * error / 0.02) ** 2)
    assert np.linalg.norm(found[3:6]) / SCALE > np.sqrt(2 * kepler.GM_SUN / r)


def test_no_tracklet_has_states_farther_out_than_it_is_said_to_be():
    """And where it is said to be, most have one."""
    days = np.sort(np.random.default_rng(3).uniform(-7, 7, 60))
    first, second = np.triu_indices(60, 1)
    _, obs = orbit_seen(days, sigma=20.0, element=MAIN)
    tracklets = spheres.middles(obs, first, second, EPOCH)
    limits, slack = np.array([0.003, 0.02]), np.full(len(first), 1e-6)
    ranges = np.array([0.72, 1.05, 1.3, 1.8, 2.3, 3.0, 4.0, 6.0, 20.0])
    speed = 0.6 * np.sqrt(kepler.GM_SUN / ranges)
    farthest = spheres.farthest(tracklets, limits, slack, ranges, 7.0 * speed)
    kept = within = 0
    for r, rdot in zip(ranges, speed, strict=True):
        for rate in (-rdot, 0.0, rdot):
            _, owner = states_of(tracklets, r, rate, tuple(limits), 1e-6)
            assert np.all(farthest[owner] >= np.float32(r))
            if rate == 0.0 and r > spheres.INSIDE:
                kept, within = kept + len(owner), within + np.sum(farthest >= np.float32(r))
    assert np.all(farthest >= np.float32(0.72))
    assert 500 < 0.8 * within < kept < within


def test_a_sieve_lets_pass_what_is_near_marked_states():
    days = np.sort(np.random.default_rng(4).uniform(-7, 7, 50))
    first, second = np.triu_indices(50, 1)
    _, obs = orbit_seen(days, sigma=20.0, element=MAIN)
    tracklets = spheres.middles(obs, first, second, EPOCH)
    states, owner = states_of(tracklets, 1.6, 0.0, (0.01, 0.02))
    size = 2e-4
    sieve = heliolinc.mark(states[:3], size), size
    passed, names = states_of(tracklets, 1.6, 0.0, (0.01, 0.02), sieve=sieve)
    near = np.linalg.norm(states[:, None, :6] - states[:3, :6], axis=2).min(axis=1) < size
    assert set(owner[near]) <= set(names) and near.sum() > 3
    assert len(names) < 0.5 * len(owner)
    assert np.array_equal(passed, states[np.isin(owner, names)])


@pytest.mark.parametrize(("r", "element"), [(2.5, MAIN), (0.72, VENUS)])
def test_states_shift_with_the_hypothesis_as_their_derivatives_say(r, element):
    _, obs = orbit_seen(PAIRS, sigma=0.0, element=element)
    tracklets = pairs_of(obs)
    for dr, drdot in ((1e-3, 0.0), (0.0, 1e-5)):
        here, owner = states_of(tracklets, r, 0.001, (0.05, 0.02))
        there, again = states_of(tracklets, r + dr, 0.001 + drdot, (0.05, 0.02))
        assert len(here) >= 4 and np.array_equal(owner, again)
        moves = np.full((len(here), 2, 6), np.nan)
        steps = (1e-3, 1e-5)
        columns = spheres.columns(tracklets, owner)
        spheres.moves(columns, here[:, 6], (r, 0.001), steps, SCALE, moves)
        told = dr * moves[:, 0] + drdot * moves[:, 1]
        seen = there[:, :6].astype(float) - here[:, :6]
        assert np.abs(seen - told).max() < 0.02 * np.abs(told).max() + 3e-7
