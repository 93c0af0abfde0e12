"""N-body motion, and the asteroids that perturb it where their kernel is installed."""

from types import SimpleNamespace

import numpy as np
import pytest

from alertprod.core import kepler, nbody, observer

START = 60953.0
VESTA = np.array([2.85, 0.65, -0.28, -0.002, 0.009, 0.004])


@pytest.fixture
def kernel(monkeypatch):
    """A kernel whose bodies stand far away, but for one; ASSIST gives positions alone."""

    def get_particle(body, time):
        days = time - (START + 2400000.5 - 2451545.0)
        place = VESTA[:3] + days * VESTA[3:] if body == 12 else np.full(3, 10.0 + body)
        return SimpleNamespace(xyz=place.tolist(), vxyz=[np.nan] * 3)

    fake = SimpleNamespace(jd_ref=2451545.0, get_particle=get_particle)
    monkeypatch.setattr(nbody, "_ephem", lambda: (fake, True))


def test_only_a_perturber_itself_is_told_from_what_passes_it(kernel):
    states = np.stack([VESTA, VESTA, VESTA, -VESTA])
    states[0, :3] += 2e-4  # a catalogue of its own errors
    states[1, 4] += 1e-3  # passes close by
    states[2, 0] += 0.01  # a member of its family
    assert nbody._perturbers(states, START).tolist() == [True, False, False, False]


def test_a_perturber_is_moved_by_the_planets_alone(kernel, monkeypatch):
    """Together with others, each gets its own forces, and its own place in the answer."""
    asked = []

    def integrate(states, start, times, with_asteroids):
        asked.append((len(states), with_asteroids))
        return np.repeat(states[None], len(times), axis=0)

    monkeypatch.setattr(nbody, "_integrate", integrate)
    sun = np.concatenate(observer.sun_state(np.array([START])), axis=1)[0]
    states = np.stack([-VESTA, VESTA - sun, 2.0 * VESTA])
    out = nbody.trajectory(states, START, np.array([START]))
    assert asked == [(2, True), (1, False)]
    assert np.abs(out[0] - states).max() < 1e-12


def test_without_the_kernel_nothing_is_a_perturber(monkeypatch):
    monkeypatch.setattr(nbody, "_ephem", lambda: (None, False))
    assert not nbody._perturbers(VESTA[None], START).any()


def test_planets_move_an_asteroid_by_what_two_bodies_do_not():
    """A day of two-body motion errs by a milliarcsecond, a month by half an arcsecond."""
    state = np.array([[2.0, 1.5, 0.5, -0.006, 0.007, 0.002]])
    for days, least, most in ((1.0, 0.0, 1e-8), (30.0, 1e-7, 1e-5)):
        moved = nbody.propagate(state, np.array([START]), START + days)
        simple = kepler.propagate(state, np.array([days]))
        assert least <= np.linalg.norm((moved - simple)[0, :3]) < most
