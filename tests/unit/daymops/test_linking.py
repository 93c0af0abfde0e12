"""Linking and what it stands on: states under a hypothesis, the fit, the choice."""

import numpy as np
import pytest

from alertprod.core import ephemeris, kepler, orbits, tables
from alertprod.daymops import (
    algebra,
    choose,
    clusters,
    fit,
    heliolinc,
    hypotheses,
    link_tracklets,
    spheres,
)
from alertprod.daymops.inputs import with_station
from alertprod.daymops.window import Window

EPOCH = 60000.0


def orbit_seen(days, sigma=0.1, seed=0, element=(2.3, 0.15, 8.0, 150.0, 20.0, 59900.0)):
    """State and observation block of one orbit seen at EPOCH + days."""
    rng = np.random.default_rng(seed)
    state = orbits.elements_to_states(np.array([element]), EPOCH)
    ra, dec = [], []
    for d in days:
        _, topo = ephemeris.topocentric(state, np.array([EPOCH]), EPOCH + d, "X05")
        a, b = orbits.directions(topo)
        ra.append(a[0])
        dec.append(b[0])
    dec = np.array(dec) + rng.normal(0, sigma / 3600, len(days))
    ra = np.array(ra) + rng.normal(0, sigma / 3600, len(days)) / np.cos(np.deg2rad(dec))
    error = np.full(len(days), max(sigma, 0.01) / 3600)
    mjd = EPOCH + np.asarray(days, float)
    block = fit.observation_block(mjd, ra, dec, error / np.cos(np.deg2rad(dec)), error, "X05")
    return state[0], block


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


def test_tracklets_of_one_object_meet_at_the_reference_epoch_under_its_hypothesis():
    state, obs = orbit_seen(PAIRS, sigma=0.0)
    r = np.linalg.norm(state[:3])
    rdot = state[:3] @ state[3:] / r
    out, owner = np.empty((8, 7)), np.empty(8, dtype=np.int64)
    limits = np.array([0.0, 0.02])
    first, last = spheres.ends(obs, np.arange(0, 8, 2)), spheres.ends(obs, np.arange(1, 8, 2))
    n = spheres.to_reference(first, last, r, rdot, EPOCH, limits, out, owner)
    assert n == 4
    assert np.abs(out[:4, :3] - state[:3]).max() < 2e-5
    close = np.ptp(out[:4, :3], axis=0).max()
    n = spheres.to_reference(first, last, r + 0.4, rdot, EPOCH, limits, out, owner)
    spread = np.ptp(out[:n, :3], axis=0).max()
    assert spread > 3e-4 > 10 * close


def test_neighbours_in_cells_are_those_of_brute_force():
    """Also where the azimuth closes and near the poles."""
    rng = np.random.default_rng(6)
    n, scale, size = 3000, 3.5, 0.03
    place = rng.normal(size=(n, 3))
    place[:1000] = [-1.0, 0.0, 0.2] + rng.normal(0, 0.03, (1000, 3))
    place[1000:1500] = [0.0, 0.0, 1.0] + rng.normal(0, 0.03, (500, 3))
    place *= 2.0 / np.linalg.norm(place, axis=1)[:, None]
    speed = rng.normal(0, 0.005, (n, 3))
    states = np.concatenate([place, speed, np.ones((n, 1))], axis=1)
    keys = np.empty(n, dtype=np.int64)
    heliolinc.cells(states, n, size, scale, keys)
    order = np.argsort(keys, kind="stable")
    states, keys = states[order], keys[order]
    finger = np.zeros(9, dtype=np.int64)
    near, away = np.empty(4096, dtype=np.int64), np.empty(4096)
    spread = states[:, :6] * np.r_[1, 1, 1, scale, scale, scale]
    total = 0
    for s in range(n):
        count = heliolinc._around(s, states, keys, size, size, scale, finger, near, away)
        wanted = np.flatnonzero(np.sum((spread - spread[s]) ** 2, axis=1) <= size**2)
        assert np.array_equal(np.sort(near[:count]), wanted)
        total += count
    assert total > 2 * n


def test_what_may_share_a_cluster_with_a_wanted_tracklet_passes_the_sieve():
    """All that a centre reaches which itself reaches a wanted state, and little else."""
    rng = np.random.default_rng(7)
    n, scale, size = 4000, 3.5, 0.02
    states = rng.uniform(-0.3, 0.3, (n, 7))
    states[:, 3:6] /= scale
    states[: n // 2, :6] = np.repeat(states[: n // 40, :6], 20, axis=0)
    states[: n // 2, :6] += rng.normal(0, 0.2 * size, (n // 2, 6)) / np.r_[1, 1, 1, [scale] * 3]
    wanted = rng.uniform(size=n) < 0.02
    spread = states[:, :6] * np.r_[1, 1, 1, [scale] * 3]
    near = np.linalg.norm(spread[:, None] - spread, axis=2) <= size
    needed = near[:, near[:, wanted].any(axis=1)].any(axis=1)
    kept, owner = states.copy(), np.arange(n)
    count = heliolinc.near_wanted(kept, owner, n, wanted, size, scale)
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


@pytest.mark.parametrize("days", [-7.0, 0.0, 7.0])
def test_the_light_time_agrees_with_its_equation(days):
    for element in ((2.3, 0.15, 8.0, 150.0, 20.0, 59900.0), (0.3, 0.8, 5.0, 40.0, 9.0, 60003.0)):
        state, obs = orbit_seen([days], element=element)
        x, y, z, delay = fit.place_seen(state, EPOCH, obs[0])
        gone = np.array([obs[0, 0] - delay - EPOCH])
        place = kepler.propagate(state[None], gone)[0, :3] - obs[0, 1:4] - delay * obs[0, 4:7]
        assert np.abs(place - [x, y, z]).max() < 1e-11
        assert delay == pytest.approx(np.linalg.norm(place) / fit.C, abs=1e-13)


def test_the_series_of_kepler_motion_holds_for_half_a_window():
    state, _ = orbit_seen(PAIRS)
    r2, v2 = np.sum(state[:3] ** 2), np.sum(state[3:] ** 2)
    u = kepler.GM_SUN / r2**1.5
    f, g, fdot, gdot = spheres._series(u, state[:3] @ state[3:] / r2, v2 / r2 - u, 7.5)
    out = np.r_[f * state[:3] + g * state[3:], fdot * state[:3] + gdot * state[3:]]
    assert np.abs(out - kepler.propagate(state[None], np.array([7.5]))[0]).max() < 1e-7


def test_states_under_a_hypothesis_are_those_of_one_tracklet_at_a_time():
    """In blocks and by vector instructions, as many as there are."""
    days = np.sort(np.random.default_rng(8).uniform(-7, 7, 40))
    first, second = np.triu_indices(40, 1)
    limits = np.array([0.01, 0.02])
    venus = (0.7, 0.01, 3.0, 40.0, 20.0, 59990.0)
    for r, element in ((2.5, (2.3, 0.15, 8.0, 150.0, 20.0, 59900.0)), (0.72, venus)):
        _, obs = orbit_seen(days, sigma=20.0, element=element)
        a, b = spheres.ends(obs, first), spheres.ends(obs, second)
        out, owner = np.empty((2 * len(first), 7)), np.empty(2 * len(first), dtype=np.int64)
        n = spheres.to_reference(a, b, r, 0.001, EPOCH, limits, out, owner)
        one, which, k = np.empty((2, 7)), np.empty(2, dtype=np.int64), []
        for c in range(len(first)):
            pair = a[:, c : c + 1].copy(), b[:, c : c + 1].copy()
            m = spheres.to_reference(*pair, r, 0.001, EPOCH, limits, one, which)
            k += [(c, *row) for row in one[:m]]
        both = np.array(sorted((int(o), *row) for o, row in zip(owner[:n], out[:n], strict=True)))
        assert n > (300 if r > 1 else 800)
        assert np.array_equal(both, np.array(sorted(k)))


def test_hypotheses_cover_the_populations():
    grid = hypotheses.grid()
    assert 150 < len(grid) < 300
    assert grid[:, 0].min() < 1.1 and grid[:, 0].max() > 60
    speed = np.sqrt(kepler.GM_SUN / grid[:, 0])
    assert np.abs(grid[:, 1] / speed).max() < np.sqrt(2)
    assert len(hypotheses.grid(["main"])) < len(grid)


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
        return clusters._rate_error(Window.from_tables(parts, with_station({}, None)))

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


def link(*detections, chi2=None, nights=3):
    n = len(detections)
    return {"detections": np.array(detections), "nights": nights,
            "chi2": 2.0 * n - 6 if chi2 is None else chi2}  # fmt: skip


def test_overlapping_linkages_are_packed_for_the_greatest_quality():
    """The middle one is best by itself, the two outer ones together are better."""
    left, right = link(1, 2, 3, 4, 5, 6), link(7, 8, 9, 10, 11, 12)
    middle = link(4, 5, 6, 7, 8, 9, 20)
    chosen = choose.choose_linkages([middle, right, left])
    assert [c["detections"][0] for c in chosen] == [1, 7]
    greedy = choose.pack_greedily([left, middle, right])
    assert [g["detections"][0] for g in greedy] == [4]


def test_a_bad_fit_loses_against_a_good_one():
    good, bad = link(1, 2, 3, 4, 5, 6), link(1, 2, 3, 4, 5, 6, 7, chi2=60.0)
    assert choose.choose_linkages([bad, good]) == [good]
