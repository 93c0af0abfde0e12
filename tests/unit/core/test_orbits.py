"""Two-body motion, elements and states, against Kepler's equation and finite differences."""

import numpy as np
import pytest

from alertprod.core import ephemeris, kepler, nbody, orbits

EPOCH = 60000.0


def elements(n=400, seed=1):
    rng = np.random.default_rng(seed)
    e = np.concatenate([rng.uniform(0, 0.98, n // 2), rng.uniform(0.99, 1.01, n // 4),
                        rng.uniform(1.05, 6, n - n // 2 - n // 4)])  # fmt: skip
    return np.stack(
        [rng.uniform(0.2, 40, n), e, rng.uniform(0.1, 179, n), rng.uniform(0, 360, n),
         rng.uniform(0, 360, n), EPOCH + rng.uniform(-500, 500, n)], axis=-1,
    )  # fmt: skip


def test_elements_survive_a_round_trip_for_every_conic():
    el = elements()
    back = orbits.states_to_elements(orbits.elements_to_states(el, EPOCH), EPOCH)
    assert np.allclose(back[:, :3], el[:, :3], rtol=1e-9, atol=1e-9)
    turn = (back[:, 3:5] - el[:, 3:5] + 180) % 360 - 180
    assert np.abs(turn).max() < 1e-6
    near = (el[:, 0] < 3) & ((el[:, 1] < 0.9) | (el[:, 1] > 1.05))
    period = 2 * np.pi * np.sqrt((el[:, 0] / np.abs(1 - el[:, 1])) ** 3 / kepler.GM_SUN)
    late = back[:, 5] - el[:, 5]
    late = np.where(el[:, 1] < 1, (late + period / 2) % period - period / 2, late)
    assert np.abs(late[near]).max() < 1e-5


def test_motion_satisfies_keplers_equation():
    """Solve M = E - e sin E (and its hyperbolic twin) independently, in the plane."""
    rng = np.random.default_rng(2)
    for e in (0.0, 0.3, 0.9, 1.4, 4.0):
        q, dt = 1.3, float(rng.uniform(50, 900))
        el = np.array([[q, e, 0.0, 0.0, 0.0, EPOCH - dt]])
        state = orbits.elements_to_states(el, EPOCH)
        x, y, _ = orbits.equatorial_to_ecliptic(state[0, :3])
        a = q / abs(1 - e)
        mean = np.sqrt(kepler.GM_SUN / a**3) * dt
        low, high = 0.0, 50.0
        for _ in range(200):
            mid = 0.5 * (low + high)
            value = mid - e * np.sin(mid) if e < 1 else e * np.sinh(mid) - mid
            low, high = (mid, high) if value < mean else (low, mid)
        if e < 1:
            expected = a * (np.cos(low) - e), a * np.sqrt(1 - e * e) * np.sin(low)
        else:
            expected = a * (e - np.cosh(low)), a * np.sqrt(e * e - 1) * np.sinh(low)
        assert np.allclose((x, y), expected, atol=1e-9)


def test_motion_is_reversible_and_keeps_energy():
    state = orbits.elements_to_states(elements(2000, 3), EPOCH)
    dt = np.random.default_rng(4).uniform(-4000, 4000, len(state))
    moved = kepler.propagate(state, dt)
    back = kepler.propagate(moved, -dt)
    size = np.linalg.norm(moved[:, :3], axis=1) + np.linalg.norm(state[:, :3], axis=1)
    assert (np.abs(back - state)[:, :3].max(axis=1) / size).max() < 1e-7

    def energy(s):
        return np.sum(s[:, 3:] ** 2, axis=1) / 2 - kepler.GM_SUN / np.linalg.norm(s[:, :3], axis=1)

    assert np.abs(energy(moved) - energy(state)).max() < 1e-12


@pytest.mark.parametrize("dt", [-40.0, 0.5, 400.0])
def test_partials_agree_with_finite_differences(dt):
    for state in orbits.elements_to_states(elements(40, 5), EPOCH):
        moved, partials = np.empty(6), np.empty((6, 6))
        kepler.step_with_partials(state, dt, kepler.GM_SUN, moved, partials)
        assert np.allclose(moved, kepler.propagate(state[None], np.array([dt]))[0], rtol=1e-9)
        numeric = np.empty((6, 6))
        for j in range(6):
            h = 1e-6 * np.linalg.norm(state[:3] if j < 3 else state[3:])
            pair = np.stack([state, state])
            pair[0, j] += h
            pair[1, j] -= h
            ends = kepler.propagate(pair, np.full(2, dt))
            numeric[:, j] = (ends[0] - ends[1]) / (2 * h)
        assert np.abs(partials - numeric).max() < 1e-5 * np.abs(numeric).max()


def test_an_asteroid_seen_from_earth_leaves_two_body_motion_as_planets_pull():
    state = orbits.elements_to_states(np.array([[2.2, 0.15, 8.0, 40, 80, 59900.0]]), EPOCH)
    times = EPOCH + np.array([-30.0, 0.0, 1.0, 30.0])
    pulled = nbody.trajectory(state, EPOCH, times)[:, 0]
    free = kepler.propagate_one(state[0], times - EPOCH)
    arcsec = np.linalg.norm(pulled - free, axis=1) / 1.2 * 206265
    assert arcsec[1] < 1e-9
    assert arcsec[2] < 0.01
    assert 0.02 < arcsec[3] < 3.0


def test_nbody_motion_is_reversible_and_independent_of_its_batch():
    state = orbits.elements_to_states(elements(8, 6), EPOCH)[:4]
    there = nbody.propagate(state, EPOCH, EPOCH + 40)
    back = nbody.propagate(there, EPOCH + 40, EPOCH)
    assert np.abs(back - state).max() < 1e-9
    alone = nbody.propagate(state[1:2], EPOCH, EPOCH + 40)
    assert np.abs(alone[0] - there[1]).max() < 1e-10


def test_light_shows_where_the_object_was():
    state = orbits.elements_to_states(np.array([[2.5, 0.1, 5.0, 10, 20, 59800.0]]), EPOCH)
    helio, topo = ephemeris.topocentric(state, np.array([EPOCH]), EPOCH, "X05")
    now = kepler.propagate(state, np.array([32.184 / 86400]))  # TAI label, TDB motion
    delay = np.linalg.norm(topo[0, :3]) / 173.144632674
    expected = now[0, :3] - delay * now[0, 3:]
    assert np.abs(helio[0, :3] - expected).max() < 2e-7
    assert np.linalg.norm(helio[0, :3] - now[0, :3]) > 1e-5


def test_rates_are_the_derivative_of_the_position():
    state = orbits.elements_to_states(elements(60, 7), EPOCH)
    epochs = np.full(len(state), EPOCH)
    _, topo = ephemeris.topocentric(state, epochs, EPOCH + 0.5, "X05")
    east, north = ephemeris.rates(topo)
    ra, dec = orbits.directions(topo)
    for sign in (1, -1):
        _, other = ephemeris.topocentric(state, epochs, EPOCH + 0.5 + sign * 1e-3, "X05")
        r, d = orbits.directions(other)
        move = ((r - ra + 180) % 360 - 180) * np.cos(np.deg2rad(dec))
        speed = np.hypot(east, north)
        assert np.all(np.abs(move / (sign * 1e-3) - east) < 0.01 * speed + 2e-3)
        assert np.all(np.abs((d - dec) / (sign * 1e-3) - north) < 0.01 * speed + 2e-3)


def test_ellipse_on_the_sky_agrees_with_a_cloud_of_orbits():
    rng = np.random.default_rng(8)
    state = orbits.elements_to_states(np.array([[2.4, 0.2, 9.0, 30, 60, 59850.0]]), EPOCH)
    root = np.diag([1e-5, 2e-5, 1e-5, 1e-7, 1e-7, 2e-7]) @ (
        np.eye(6) + 0.3 * rng.normal(size=(6, 6))
    )
    cloud = state + rng.normal(size=(4000, 6)) @ root.T
    t = EPOCH + 25
    _, topo = ephemeris.topocentric(cloud, np.full(4000, EPOCH), t, "X05")
    _, centre = ephemeris.topocentric(state, np.array([EPOCH]), t, "X05")
    ra, dec = orbits.directions(centre)
    sample = np.cov(np.stack(ephemeris.tangent_offsets(ra[0], dec[0], topo)))
    model = ephemeris.sky_covariance(state, np.array([EPOCH]), (root @ root.T)[None], t, "X05")[0]
    assert np.allclose(model, sample, rtol=0.12, atol=0.05 * np.abs(sample).max())


def test_brightness_falls_with_distance_and_phase():
    v = ephemeris.magnitude_hg(15.0, 0.15, 2.0, 1.0, np.array([0.0, 1.0, 10.0, 20.0, 30.0]))
    assert v[0] == pytest.approx(15.0 + 5 * np.log10(2.0), abs=1e-6)
    assert np.all(np.diff(v) > 0)
    assert 0.05 < v[1] - v[0] < 0.2  # the opposition surge
    assert 0.02 < (v[4] - v[3]) / 10 < 0.05  # magnitudes per degree of an average asteroid


def test_galactic_centre_and_pole():
    _, _, lon, lat = orbits.ecliptic_and_galactic([266.4051, 192.85948], [-28.936175, 27.12825])
    assert np.hypot((lon[0] + 180) % 360 - 180, lat[0]) < 1e-3
    assert lat[1] == pytest.approx(90.0, abs=1e-4)
    _, beta, _, _ = orbits.ecliptic_and_galactic([270.0], [66.5607])
    assert beta[0] == pytest.approx(90.0, abs=1e-3)
