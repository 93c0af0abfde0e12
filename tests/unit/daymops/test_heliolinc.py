"""Neighbours among the states of one hypothesis."""

import numpy as np
import pytest

from alertprod.daymops import heliolinc

SIZE = 0.03


@pytest.fixture(scope="module")
def sky():
    """States in order, which they are, all of them, nights, which are wanted; with crowds."""
    rng = np.random.default_rng(6)
    n = 3000
    place = rng.normal(size=(n, 3))
    # where x and y are small, and near a pole
    place[:1000] = [-1.0, 0.0, 0.2] + rng.normal(0, 0.03, (1000, 3))
    place[1000:1500] = [0.0, 0.0, 1.0] + rng.normal(0, 0.03, (500, 3))
    place *= 2.0 / np.linalg.norm(place, axis=1)[:, None]
    states = np.empty((n, 7), dtype=np.float32)
    states[:, :3], states[:, 3:6] = place, rng.normal(0, 0.018, (n, 3))
    states[:, 6] = rng.uniform(0.7, 1.0, n)
    keys, bits = np.empty(n, dtype=np.int64), n.bit_length()
    heliolinc.rank(states, bits, keys)
    out = np.empty_like(states), np.empty(n, dtype=np.int32)
    heliolinc.arrange((states, np.arange(n, dtype=np.int32)), np.sort(keys), bits, out)
    return *out, states, rng.integers(0, 9, n), rng.uniform(size=n) < 0.1


def reach_of(states):
    return SIZE * np.maximum(states[:, 6], 0.8)


def test_states_in_order_keep_their_company(sky):
    ordered, which, states, *_ = sky
    assert np.all(np.diff(ordered[:, 2]) >= -2e-7)
    assert np.array_equal(ordered, states[which])
    assert sorted(which.tolist()) == list(range(len(states)))


def test_equals_keep_their_order():
    states = np.zeros((500, 7), dtype=np.float32)
    keys = np.empty(500, dtype=np.int64)
    heliolinc.rank(states, 9, keys)
    out = np.empty_like(states), np.empty(500, dtype=np.int32)
    heliolinc.arrange((states, np.arange(500, dtype=np.int32)), np.sort(keys[::-1]), 9, out)
    assert np.array_equal(out[1], np.arange(500))


def test_states_are_described_by_their_tracklets(sky):
    _, _, states, night, wanted = sky
    n = len(states)
    owner = np.arange(n)[::-1]
    out = np.empty(n, np.int8), np.empty(n, np.bool_), np.empty(n)
    heliolinc.describe(states, owner, (night, wanted), (SIZE, 0.8), out)
    assert np.array_equal(out[0], night[owner]) and np.array_equal(out[1], wanted[owner])
    assert out[2] == pytest.approx(reach_of(states))


def near(states, night, reach):
    """All pairs of two nights that are no farther apart than the reach of either."""
    spread = states[:, :6].astype(float)
    distance = np.linalg.norm(spread[:, None] - spread, axis=2)
    close = (distance <= np.minimum(reach[:, None], reach)) & (night[:, None] != night)
    first, second = np.nonzero(np.triu(close, 1))
    return {(int(a), int(b)) for a, b in zip(first, second, strict=True)}


def test_pairs_of_states_are_those_of_brute_force(sky):
    """Each once."""
    states, which, _, night, _ = sky
    reach, night = reach_of(states), night[which]
    found = np.empty((2, 100_000), dtype=np.int32)
    count = heliolinc.pairs(states, night, reach, SIZE, 1, found)
    pairs = [tuple(sorted(pair)) for pair in found[:, :count].T.tolist()]
    assert len(pairs) == len(set(pairs)) > 400
    assert set(pairs) == near(states, night, reach)


def test_a_sample_of_states_finds_its_share_of_pairs(sky):
    states, which, _, night, _ = sky
    found = np.empty((2, 100_000), dtype=np.int32)
    args = states, night[which], reach_of(states), SIZE
    everything = heliolinc.pairs(*args, 1, found)
    assert heliolinc.pairs(*args, 5, found) == pytest.approx(everything / 5, rel=0.3)
    assert np.all(found[0, : everything // 8] % 5 == 0)


def test_pairs_with_wanted_states_are_those_of_brute_force(sky):
    """Each once, also where both are wanted; the states need no order."""
    _, _, states, night, wanted = sky
    reach = reach_of(states)
    found = np.empty((2, 100_000), dtype=np.int32)
    count = heliolinc.pairs_with(states, wanted, night, reach, SIZE, 1, found)
    assert wanted[found[0, :count]].all() and wanted[found[1, :count]].any()
    pairs = [tuple(sorted(pair)) for pair in found[:, :count].T.tolist()]
    expected = {(a, b) for a, b in near(states, night, reach) if wanted[a] or wanted[b]}
    assert len(pairs) == len(expected) > 100 and set(pairs) == expected


@pytest.mark.parametrize("kernel", ["all", "wanted"])
def test_more_pairs_than_there_is_room_for_fill_it(sky, kernel):
    states, which, _, night, wanted = sky
    reach, found = reach_of(states), np.empty((2, 50), dtype=np.int32)
    if kernel == "all":
        assert heliolinc.pairs(states, night[which], reach, SIZE, 1, found) == 50
    else:
        args = wanted[which], night[which], reach, SIZE, 1, found
        assert heliolinc.pairs_with(states, *args) == 50


def test_no_states_are_no_pairs():
    none, found = np.empty((0, 7), dtype=np.float32), np.empty((2, 5), dtype=np.int32)
    assert heliolinc.pairs(none, np.empty(0, np.int8), np.empty(0), SIZE, 1, found) == 0


def test_all_that_is_near_a_marked_state_passes_the_sieve():
    """And little else."""
    rng = np.random.default_rng(7)
    n, size = 4000, 0.02
    states = rng.uniform(-0.3, 0.3, (n, 7)).astype(np.float32)
    states[: n // 2, :6] = np.repeat(states[: n // 40, :6], 20, axis=0)
    states[: n // 2, :6] += rng.normal(0, 0.2 * size, (n // 2, 6))
    wanted = rng.uniform(size=n) < 0.02
    close = np.linalg.norm(states[:, None, :6] - states[:, :6], axis=2) <= size
    needed = close[:, wanted].any(axis=1)
    bits, axis, number = heliolinc.mark(states[wanted], size)
    passed = np.array([
        heliolinc.passes(s[2], s[axis], s[5], s[axis + 3], (bits, number, 0.5 / size))
        for s in states
    ])  # fmt: skip
    assert passed[needed].all()
    assert 100 < needed.sum() <= passed.sum() < 0.7 * n
