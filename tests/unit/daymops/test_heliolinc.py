"""Neighbours among the states of one hypothesis."""

import numpy as np
import pytest

from alertprod.daymops import heliolinc

SIZE = 0.03


@pytest.fixture(scope="module")
def sky():
    """States in order, their keys, and what is kept beside them; crowds where it is difficult."""
    rng = np.random.default_rng(6)
    n = 3000
    place = rng.normal(size=(n, 3))
    # where the azimuth closes, and near the poles
    place[:1000] = [-1.0, 0.0, 0.2] + rng.normal(0, 0.03, (1000, 3))
    place[1000:1500] = [0.0, 0.0, 1.0] + rng.normal(0, 0.03, (500, 3))
    place *= 2.0 / np.linalg.norm(place, axis=1)[:, None]
    states = np.empty((n, 7), dtype=np.float32)
    states[:, :3], states[:, 3:6] = place, rng.normal(0, 0.018, (n, 3))
    states[:, 6] = rng.uniform(0.7, 1.0, n)
    keys = np.empty(n, dtype=np.int64)
    heliolinc.cells(states, SIZE, keys)
    order = np.argsort(keys, kind="stable")
    out = (
        np.empty((n, 7), dtype=np.float32), np.empty(n, dtype=np.int64), np.empty(n, dtype=np.int8),
        np.empty(n, dtype=np.bool_), np.empty(n), np.empty(n),
    )  # fmt: skip
    tracklets = rng.integers(0, 9, n), rng.uniform(size=n) < 0.1
    heliolinc.arrange((states, np.arange(n)), order, tracklets, np.array([SIZE, 0.8]), out)
    return *out, keys[order], states, tracklets


def test_states_in_order_keep_their_company(sky):
    ordered, owner, night, wanted, reach, _, keys, states, tracklets = sky
    assert np.all(np.diff(keys) >= 0)
    assert np.array_equal(ordered, states[owner])
    assert np.array_equal(night, tracklets[0][owner])
    assert np.array_equal(wanted, tracklets[1][owner])
    assert reach == pytest.approx(SIZE * np.maximum(ordered[:, 6], 0.8))


def near(states, reach):
    """All pairs that are no farther apart than the reach of either."""
    spread = states[:, :6].astype(float)
    distance = np.linalg.norm(spread[:, None] - spread, axis=2)
    first, second = np.nonzero(np.triu(distance <= np.minimum(reach[:, None], reach), 1))
    return {(int(a), int(b)) for a, b in zip(first, second, strict=True)}


@pytest.mark.parametrize("few", [False, True])
def test_pairs_in_cells_are_those_of_brute_force(sky, few):
    """Each once; if only some are wanted, those that hold one of them."""
    states, _, _, wanted, reach, across, keys, *_ = sky
    found = np.empty((2, 100_000), dtype=np.int32)
    flags = wanted if few else wanted[:0]
    count = heliolinc.pairs(states, keys, across, reach, flags, SIZE, 1, found)
    pairs = [tuple(sorted(pair)) for pair in found[:, :count].T.tolist()]
    assert len(pairs) == len(set(pairs)) > 400
    expected = near(states, reach)
    if few:
        expected = {(a, b) for a, b in expected if wanted[a] or wanted[b]}
    assert set(pairs) == expected


def test_more_pairs_than_there_is_room_for_fill_it(sky):
    states, _, _, wanted, reach, across, keys, *_ = sky
    found = np.empty((2, 50), dtype=np.int32)
    assert heliolinc.pairs(states, keys, across, reach, wanted[:0], SIZE, 1, found) == 50


def test_all_that_is_near_a_wanted_state_passes_the_sieve():
    """And little else."""
    rng = np.random.default_rng(7)
    n, size = 4000, 0.02
    states = rng.uniform(-0.3, 0.3, (n, 7)).astype(np.float32)
    states[: n // 2, :6] = np.repeat(states[: n // 40, :6], 20, axis=0)
    states[: n // 2, :6] += rng.normal(0, 0.2 * size, (n // 2, 6))
    wanted = rng.uniform(size=n) < 0.02
    close = np.linalg.norm(states[:, None, :6] - states[:, :6], axis=2) <= size
    needed = close[:, wanted].any(axis=1)
    kept, owner = states.copy(), np.arange(n)
    count = heliolinc.near_wanted(kept, owner, wanted, size)
    assert set(np.flatnonzero(needed)) <= set(owner[:count].tolist())
    owner = owner[:count]
    assert np.all(np.diff(owner) > 0) and np.array_equal(kept[:count], states[owner])
    assert 100 < needed.sum() <= count < 0.7 * n


def test_equal_keys_are_taken_in_order():
    rng = np.random.default_rng(3)
    keys = rng.integers(0, 300, 2000)
    order = np.argsort(keys)
    ordered = keys[order]
    heliolinc.settle_ties(ordered, order)
    assert np.array_equal(order, np.argsort(keys, kind="stable"))
