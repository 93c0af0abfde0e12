"""Linking and what it stands on: states under a hypothesis, the fit, the choice."""

import numpy as np
import pytest
from moving_world import EPOCH, orbit_seen

from alertprod.core import kepler, orbits, tables
from alertprod.daymops import (
    algebra,
    choose,
    clusters,
    fit,
    hypotheses,
    link_tracklets,
)
from alertprod.daymops.inputs import with_station
from alertprod.daymops.linkages import Linkages
from alertprod.daymops.window import Window

PAIRS = np.array([-6, -5.98, -2, -1.98, 3, 3.02, 6, 6.03])


@pytest.mark.parametrize("shift", [-1.0, -0.3, 0.0, 0.5, 1.5])
def test_the_fit_converges_from_distances_wrong_by_an_astronomical_unit(shift):
    state, obs = orbit_seen(PAIRS)
    line = state[:3] - obs[3, 1:4]
    start = np.r_[obs[3, 1:4] + line * (1 + shift / np.linalg.norm(line)), state[3:]]
    normal = np.empty((6, 6))
    chi2, count = fit.correct(start, EPOCH, obs, np.arange(8), 0.0, 40, normal)
    assert chi2 < 30 and count < 40
    error = np.sqrt(np.diag(algebra.invert(normal)))
    assert np.all(np.abs(start - state) < 5 * error)


def test_errors_of_the_fit_are_what_repeated_fits_scatter_by():
    pulls, chi = [], []
    for seed in range(60):
        state, obs = orbit_seen(PAIRS, seed=seed)
        guess, normal = state * 1.001, np.empty((6, 6))
        chi2, _ = fit.correct(guess, EPOCH, obs, np.arange(8), 0.0, 40, normal)
        chi.append(chi2)
        pulls.append((guess - state) @ normal @ (guess - state))
    assert np.mean(chi) == pytest.approx(10.0, abs=2.0)  # 16 coordinates less six
    assert np.mean(pulls) == pytest.approx(6.0, abs=1.5)


def test_a_prior_binds_an_arc_that_is_too_short():
    state, obs = orbit_seen([0, 0.02, 0.9, 0.93], element=(42, 0.05, 5, 150.0, 20.0, 59000.0))
    start, normal = state.copy(), np.empty((6, 6))
    start[3:] *= 1.6
    fit.correct(start, EPOCH, obs, np.arange(4), 16.0, 40, normal)
    assert orbits.states_to_elements(start, EPOCH)[0, 1] < 1.0
    assert np.isfinite(algebra.invert(normal)).all()


@pytest.mark.parametrize("days", [-7.0, 0.0, 7.0])
def test_the_light_time_agrees_with_its_equation(days):
    for element in ((2.3, 0.15, 8.0, 150.0, 20.0, 59900.0), (0.3, 0.8, 5.0, 40.0, 9.0, 60003.0)):
        state, obs = orbit_seen([days], element=element)
        x, y, z, delay = fit.place_seen(state, EPOCH, obs[0])
        gone = np.array([obs[0, 0] - delay - EPOCH])
        place = kepler.propagate(state[None], gone)[0, :3] - obs[0, 1:4] - delay * obs[0, 4:7]
        assert np.abs(place - [x, y, z]).max() < 1e-11
        assert delay == pytest.approx(np.linalg.norm(place) / fit.C, abs=1e-13)


def test_hypotheses_cover_the_populations():
    rings = hypotheses.rings()
    grid = np.concatenate(rings)
    assert 150 < len(grid) < 300
    assert grid[:, 0].min() < 1.1 and grid[:, 0].max() > 60
    speed = np.sqrt(kepler.GM_SUN / grid[:, 0])
    assert np.abs(grid[:, 1] / speed).max() < np.sqrt(2)
    assert sum(len(ring) for ring in hypotheses.rings(["main"])) < len(grid)


def test_hypotheses_begin_where_most_objects_are_and_strangers_few():
    """Nearly circular before eccentric, all of that before the neighbourhood of the Earth."""
    rings = hypotheses.rings()
    rates = [np.abs(ring[:, 1]).max() for ring in rings]
    far = [ring[:, 0].min() > 1.4 for ring in rings]
    assert rates[0] == 0.0 and far == sorted(far, reverse=True) and 1 < sum(far) < len(far)
    for part in (rates[: sum(far)], rates[sum(far) :]):
        assert part == sorted(part)


def test_every_findable_object_is_linked_and_no_linkage_is_mixed(moving_sky, small_sky, linkages):
    wanted = moving_sky.findable(small_sky)
    result = moving_sky.score(linkages["linkageId"], linkages["diaSourceId"], small_sky, wanted)
    assert result["pure"] == 1.0
    assert result["complete"] >= 0.95
    _, first = np.unique(linkages["linkageId"], return_index=True)
    assert np.median(linkages["rms"][first]) == pytest.approx(0.085, abs=0.02)
    assert len(np.unique(linkages["diaSourceId"])) == len(linkages["diaSourceId"])


def test_linking_does_not_depend_on_the_order_of_its_input(tracklets, linkages):
    rng = np.random.default_rng(9)
    mixed = [tables.take(t, rng.permutation(tables.n_rows(t))) for t in reversed(tracklets)]
    again = link_tracklets(mixed, config={})
    assert all(np.array_equal(linkages[name], again[name]) for name in linkages)


def groups(table):
    """Sets of detections."""
    return {
        frozenset(table["diaSourceId"][table["linkageId"] == link].tolist())
        for link in np.unique(table["linkageId"])
    }


def test_clusters_widen_with_the_errors_of_rates(tracklets):
    def rate_error(factor):
        parts = [t | {c: t[c] * factor for c in ("raErr", "decErr")} for t in tracklets]
        window = Window.from_tables(parts, with_station({}, None))
        return float(np.median(clusters._rate_errors(window)))

    usual = rate_error(1.0)
    # pairs 20 to 40 minutes apart, places to 0.1 arcsec
    assert 0.14 / 206265 / 0.03 < usual < 0.14 / 206265 / 0.012
    assert clusters.ERRORS * usual * 14 / 4 < 2e5 / 1.495978707e8  # the configured radius holds
    assert rate_error(10.0) == pytest.approx(10 * usual)


@pytest.mark.parametrize("window_nights", [15, 8])
def test_one_more_night_gives_the_linkages_of_the_whole_window(tracklets, window_nights):
    """Also where nights fall out at the other end, and whatever the order of the rows."""
    config = {"window_nights": window_nights}
    yesterday = link_tracklets(tracklets[:-1], config=config)
    assert len(groups(yesterday)) > 5
    today = link_tracklets(tracklets, linkages=yesterday, config=config)
    assert groups(today) == groups(link_tracklets(tracklets, config=config))
    mixed = tables.take(yesterday, np.random.default_rng(2).permutation(tables.n_rows(yesterday)))
    again = link_tracklets(tracklets[::-1], linkages=mixed, config=config)
    assert all(np.array_equal(today[name], again[name]) for name in today)


def test_linkages_of_long_ago_or_of_nothing_are_a_fresh_start(tracklets, linkages):
    old = linkages | {"diaSourceId": linkages["diaSourceId"] + 10**15}
    for before in (tables.empty("linkages"), [], None, old | {"visit": linkages["visit"] - 10**9}):
        again = link_tracklets(tracklets, linkages=before, config={})
        assert all(np.array_equal(linkages[name], again[name]) for name in linkages)


def test_a_wrong_linkage_of_yesterday_gives_its_detections_back(tracklets, linkages):
    """Two objects that were taken for one: both are found once more."""
    one, two = np.unique(linkages["linkageId"])[:2]
    mixed = linkages | {
        "linkageId": np.where(linkages["linkageId"] == two, one, linkages["linkageId"]),
    }
    for name in ("x", "y", "z", "vx", "vy", "vz"):
        value = mixed[name].copy()
        value[linkages["linkageId"] == two] = value[linkages["linkageId"] == one][0]
        mixed[name] = value * np.where(mixed["linkageId"] == one, 1.01, 1.0)
    assert groups(link_tracklets(tracklets, linkages=mixed, config={})) == groups(linkages)


def test_portions_of_clusters_give_what_all_at_once_give(tracklets, linkages, monkeypatch):
    monkeypatch.setattr(clusters, "MOST_MEMBERS", 20)
    assert groups(link_tracklets(tracklets, config={})) == groups(linkages)


def test_scrambled_detections_link_to_nothing(tracklets):
    rng = np.random.default_rng(4)
    scrambled = []
    for part in tracklets:
        # each night is turned about the field by its own random shift: no orbit passes through
        shift = rng.uniform(-0.5, 0.5, 2)
        scrambled.append(part | {"ra": part["ra"] + shift[0], "dec": part["dec"] + shift[1]})
    found = link_tracklets(scrambled, config={})
    assert len(np.unique(found["linkageId"])) <= 1


def test_two_nights_or_none_link_to_nothing(tracklets):
    assert tables.n_rows(link_tracklets(tracklets[:2], config={})) == 0
    assert tables.n_rows(link_tracklets([], config={})) == 0


def linkages_of(*sets, chi2=None):
    """Linkages of three nights each with the detections given; chi square as expected, or so."""
    count = np.array([len(one) for one in sets])
    n = len(sets)
    return Linkages(np.zeros((n, 6)), np.zeros((n, 6, 6)),
                    2.0 * count - 6 if chi2 is None else np.array(chi2), np.full(n, 3),
                    np.r_[0, np.cumsum(count)], np.concatenate(sets))  # fmt: skip


def chosen_of(linkages):
    chosen, quality = choose.choose_linkages(linkages)
    assert len(quality) == len(chosen)
    return [tuple(chosen.members(k).tolist()) for k in range(len(chosen))]


def test_overlapping_linkages_are_packed_for_the_greatest_quality():
    """The middle one is best by itself, the two outer ones together are better."""
    left, right = (1, 2, 3, 4, 5, 6), (7, 8, 9, 10, 11, 12)
    middle, alone = (4, 5, 6, 7, 8, 9, 20), (0, 13, 14, 15, 16, 17)
    found = linkages_of(middle, right, alone, left)
    assert chosen_of(found) == [alone, left, right]
    rivals = choose._rivals(found, choose.quality(found), np.array([True, True, False, True]))
    assert [rival.detections for rival in choose.pack_greedily(rivals)] == [middle]


def test_a_bad_fit_loses_against_a_good_one():
    good, bad = (1, 2, 3, 4, 5, 6), (1, 2, 3, 4, 5, 6, 7)
    assert chosen_of(linkages_of(bad, good, chi2=[60.0, 6.0])) == [good]


def test_of_equal_sets_the_better_fit_stays():
    same = (1, 2, 3, 4, 5, 6)
    chosen, _ = choose.choose_linkages(linkages_of(same, same, same, chi2=[7.0, 5.0, 6.0]))
    assert chosen.chi2.tolist() == [5.0]


def test_no_linkages_are_no_choice():
    assert chosen_of(Linkages.join([])) == []


def test_joined_linkages_keep_their_members():
    a, b = linkages_of((1, 2, 3), (4, 5)), linkages_of((6, 7, 8, 9))
    both = Linkages.join([a, b])
    assert [both.members(k).tolist() for k in range(3)] == [[1, 2, 3], [4, 5], [6, 7, 8, 9]]
    assert both.take(np.array([2, 0])).detections.tolist() == [6, 7, 8, 9, 1, 2, 3]
