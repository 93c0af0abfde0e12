"""Clusters whose members agree on the error of their hypothesis."""

import numpy as np
import pytest

from alertprod.daymops import agreement

REACH, SPREAD = 1e-3, (0.1, 0.003)
NIGHTS = np.array([0, 1, 2, 3, 4], dtype=np.int8)


def gather(states, moves, night=NIGHTS, wanted=None, blur=1e-6, least=3):
    """Clusters round each of the states, all of them neighbours."""
    n = len(states)
    wanted = np.ones(n, dtype=np.bool_) if wanted is None else wanted
    found = np.array(np.triu_indices(n, 1), dtype=np.int32)
    centre, needed = np.empty(n, dtype=np.bool_), np.empty(n, dtype=np.bool_)
    agreement.promising(found, night[:n], wanted, least, centre, needed)
    begin, near = np.empty(n + 1, dtype=np.int64), np.empty(found.size, dtype=np.int32)
    agreement.adjacency(found, centre, begin, near)
    out = (np.empty(n + 1, dtype=np.int64), np.empty(n * n, dtype=np.int32), np.empty((n, 6)),
           np.empty(n))  # fmt: skip
    change = moves, np.arange(n), np.full(n, blur)
    count = agreement.gather(
        states, np.arange(n), np.full(n, REACH), centre, (begin, near), change,
        (night[:n], wanted), np.array([least, 400]), SPREAD, out,
    )  # fmt: skip
    starts, members, seeds, _ = out
    return [members[starts[k] : starts[k + 1]].tolist() for k in range(count)], seeds[:count]


@pytest.fixture
def five():
    """States of one object under a hypothesis that is wrong by half a standard deviation."""
    rng = np.random.default_rng(5)
    moves = np.zeros((5, 2, 6))
    days = np.array([-6.0, -3.0, 0.0, 2.0, 6.0])
    # what a wrong range and rate do grows with the time from the epoch
    moves[:, 0] = rng.normal(size=6) * 7e-4 * days[:, None]
    moves[:, 1] = rng.normal(size=6) * 1.5e-2 * (days**2 - 20.0)[:, None]
    true = np.r_[1.2, 0.3, -0.4, 0.01, 0.04, 0.02]
    states = np.zeros((5, 7))
    states[:, :6] = true - 0.05 * moves[:, 0] + 1e-4 * moves[:, 1]
    assert 0.3 * REACH < np.linalg.norm(states[0] - states[-1]) < REACH
    return states, moves, true


def test_members_agree_and_the_start_is_free_of_the_error_of_the_hypothesis(five):
    states, moves, true = five
    clusters, seeds = gather(states, moves)
    assert [sorted(c) for c in clusters] == [[0, 1, 2, 3, 4]] * 5
    assert [c[0] for c in clusters] == [0, 1, 2, 3, 4]
    before = np.linalg.norm(states[:, :6] - true, axis=1)
    assert np.linalg.norm(seeds - true, axis=1).max() < 0.2 * before.max()


def test_a_stranger_as_near_as_the_others_is_left_out(five):
    """No change of the hypothesis that the others can share brings it to them."""
    states, moves, true = five
    aside = np.linalg.svd(np.concatenate([moves[:, 0], moves[:, 1]]))[2][-1]
    stranger = np.r_[true + 0.7 * REACH * aside, 0.0]
    moves = np.concatenate([moves, moves[2:3]])
    night = np.append(NIGHTS, np.int8(5))
    clusters, _ = gather(np.concatenate([states, stranger[None]]), moves, night=night)
    assert [sorted(c) for c in clusters] == [[0, 1, 2, 3, 4]] * 5


def test_strangers_make_no_cluster():
    rng = np.random.default_rng(1)
    chance = 0
    for _ in range(200):
        states = np.zeros((3, 7))
        states[:, :6] = np.r_[1.2, 0.3, -0.4, 0.01, 0.04, 0.02]
        states[:, :6] += rng.normal(0, 0.35 * REACH, (3, 6))
        moves = rng.normal(0, 3e-3, (3, 2, 6)) * np.array([1.0, 20.0])[:, None]
        chance += len(gather(states, moves)[0]) > 0
    assert chance < 20


def test_errors_of_the_states_are_allowed_for(five):
    states, moves, _ = five
    states[2, 3:6] += 0.5 * REACH
    strict, _ = gather(states, moves)
    kind, _ = gather(states, moves, blur=0.3 * REACH)
    assert all(2 not in c for c in strict if c[0] != 2)
    assert all(sorted(c) == [0, 1, 2, 3, 4] for c in kind)


def test_clusters_need_their_nights_and_a_wanted_member(five):
    states, moves, _ = five
    same = np.array([0, 0, 1, 1, 1], dtype=np.int8)
    assert gather(states, moves, night=same)[0] == []
    assert len(gather(states, moves, night=same, least=2)[0]) == 5
    none = np.zeros(5, dtype=np.bool_)
    assert gather(states, moves, wanted=none)[0] == []
    none[3] = True
    assert len(gather(states, moves, wanted=none)[0]) == 5


def test_states_of_which_no_derivative_is_known_agree_with_nothing(five):
    states, moves, _ = five
    moves[4] = np.nan
    clusters, _ = gather(states, moves)
    assert [sorted(c) for c in clusters] == [[0, 1, 2, 3]] * 4
