"""Linking and what it stands on: states under a hypothesis, the fit, the choice."""

import numpy as np
import pytest

from alertprod.core import ephemeris, kepler, orbits, tables
from alertprod.daymops import choose, fit, heliolinc, hypotheses, link_tracklets

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
    error = np.sqrt(np.diag(fit.invert(normal)))
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
    assert np.isfinite(fit.invert(normal)).all()


def test_tracklets_of_one_object_meet_at_the_reference_epoch_under_its_hypothesis():
    state, obs = orbit_seen(PAIRS, sigma=0.0)
    r = np.linalg.norm(state[:3])
    rdot = state[:3] @ state[3:] / r
    out, owner = np.empty((8, 7)), np.empty(8, dtype=np.int64)
    limits = np.array([0.0, 0.02])
    n = heliolinc.to_reference(obs[::2], obs[1::2], r, rdot, EPOCH, limits, out, owner)
    assert n == 4
    assert np.abs(out[:4, :3] - state[:3]).max() < 2e-5
    close = np.ptp(out[:4, :3], axis=0).max()
    n = heliolinc.to_reference(obs[::2], obs[1::2], r + 0.4, rdot, EPOCH, limits, out, owner)
    spread = np.ptp(out[:n, :3], axis=0).max()
    assert spread > 3e-4 > 10 * close


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


def test_one_more_night_gives_the_linkages_of_the_whole_window(tracklets, linkages):
    yesterday = link_tracklets(tracklets[:-1], config={})
    today = link_tracklets(tracklets, linkages=yesterday, config={})

    def groups(table):
        return {
            frozenset(table["diaSourceId"][table["linkageId"] == link].tolist())
            for link in np.unique(table["linkageId"])
        }

    assert groups(today) == groups(linkages)


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
