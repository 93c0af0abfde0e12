"""N-body differential correction with covariance.

Seven bodies stand for one object: its orbit and six neighbours, one per component; their
differences are the partial derivatives. Objects of like distance share a simulation, since all
bodies of one take the same steps. Three corrections suffice from a two-body fit.
"""

from __future__ import annotations

import numpy as np

from alertprod.core import kepler, nbody, observer
from alertprod.daymops import algebra, fit

C = observer.C_AU_DAY


def correct_nbody(states, epoch, obs, groups, *, weight=None, rounds=3, batch=8):
    """Improve orbits by N-body differential correction.

    Parameters
    ----------
    states : ndarray, shape (n, 6)
        Heliocentric, at `epoch`; starting values.
    epoch : float
        MJD TDB, common to all.
    obs : ndarray, shape (m, WIDTH)
        Observation blocks (`fit.observation_block`).
    groups : list of ndarray of int
        Rows of `obs` of each object.
    weight : ndarray, shape (n,), optional
        Weight of the energy prior of each object (0: none).
    rounds, batch : int
        Corrections (a cap); objects per simulation.

    Returns
    -------
    states : ndarray, shape (n, 6)
    covariances : ndarray, shape (n, 6, 6)
    chi2 : ndarray, shape (n,)
        At the returned states, to first order of the last correction.
    suspects : ndarray, shape (n, 2)
        The observation (its place in the group) without which chi square would fall most, to first
        order, and by how much.
    """
    states = np.array(states, float)
    n = len(states)
    weight = np.zeros(n) if weight is None else weight
    covariances, chi2 = np.full((n, 6, 6), np.nan), np.full(n, np.inf)
    suspects = np.zeros((n, 2))
    solution = states, covariances, chi2, suspects
    distance = np.linalg.norm(states[:, :3], axis=1)
    order = np.lexsort((np.arange(n), distance))
    for k in range(0, n, batch):
        part = order[k : k + batch]
        for _ in range(rounds):
            moved = _round(solution, epoch, obs, groups, weight, part)
            if not moved:
                break
    return states, covariances, chi2, suspects


def _round(solution, epoch, obs, groups, weight, part):
    """One correction, in place, of the objects in `part`; False when all have settled."""
    states, covariances, chi2, suspects = solution
    rows = [groups[k] for k in part]
    times = np.unique(np.concatenate([obs[r, fit.TIME] for r in rows]))
    step = np.concatenate(
        [np.full((len(part), 3), 1e-6) * np.linalg.norm(states[part, :3], axis=1)[:, None],
         np.full((len(part), 3), 1e-6) * np.linalg.norm(states[part, 3:], axis=1)[:, None]],
        axis=1,
    )  # fmt: skip
    bodies = np.repeat(states[part], 7, axis=0)
    for j in range(6):
        bodies[1 + j :: 7, j] += step[:, j]
    path = nbody.trajectory(bodies, epoch, times)
    moved = False
    for i, k in enumerate(part):
        ob = obs[rows[i]]
        at = path[np.searchsorted(times, ob[:, fit.TIME]), 7 * i : 7 * i + 7]
        east, north = offsets(at, ob)
        value = np.concatenate([-east[:, 0] / ob[:, fit.SE], -north[:, 0] / ob[:, fit.SN]])
        design = np.concatenate(
            [(east[:, 1:] - east[:, :1]) / ob[:, fit.SE, None],
             (north[:, 1:] - north[:, :1]) / ob[:, fit.SN, None]]
        ) / step[i]  # fmt: skip
        normal, right = design.T @ design, design.T @ value
        if weight[k] > 0.0:
            fit.add_energy_prior(states[k], weight[k], normal, right)
        covariance = algebra.invert(normal)
        if not np.isfinite(covariance).all():
            continue
        delta = np.empty(6)
        algebra.solve(normal, right, delta)
        # far from the linear regime the two-body fit is the better answer
        if np.linalg.norm(delta[:3]) > 0.1 * np.linalg.norm(states[k, :3]):
            continue
        states[k] += delta
        covariances[k] = covariance
        left = value - design @ delta
        chi2[k] = float(np.sum(left**2))
        suspects[k] = _suspect(design, left, covariance)
        moved |= float(delta @ normal @ delta) > 1e-4
    return moved


def _suspect(design, left, covariance):
    """Place of the observation whose loss would lower chi square most, and by how much.

    An observation pulls the orbit towards itself: what a residual hides by that is undone with its
    leverage.
    """
    count = len(left) // 2
    pair = np.stack([left[:count], left[count:]], axis=-1)
    rows = np.stack([design[:count], design[count:]], axis=1)
    free = np.eye(2) - rows @ covariance @ np.swapaxes(rows, 1, 2)
    # an observation that alone tells something of the orbit has nothing that contradicts it
    alone = np.linalg.det(free) < 1e-3
    free[alone] = np.eye(2)
    gain = np.einsum("ni,nij,nj->n", pair, np.linalg.inv(free), pair)
    gain[alone] = 0.0
    worst = int(np.argmax(gain))
    return worst, float(gain[worst])


def offsets(at, ob):
    """Tangent-plane offsets [rad] of bodies (n, 7, 6) seen from the stations of `ob`, (n, 7)."""
    position, velocity = at[..., :3], at[..., 3:]
    place, sun = ob[:, None, fit.OX : fit.OX + 3], ob[:, None, fit.SX : fit.SX + 3]
    r = np.linalg.norm(position, axis=-1, keepdims=True)
    pull = -kepler.GM_SUN * position / r**3
    delay = np.linalg.norm(position - place, axis=-1, keepdims=True) / C
    for _ in range(2):
        seen = position - delay * (velocity + sun) + 0.5 * delay**2 * pull - place
        delay = np.linalg.norm(seen, axis=-1, keepdims=True) / C
    seen = position - delay * (velocity + sun) + 0.5 * delay**2 * pull - place
    depth = np.einsum("nkc,nc->nk", seen, ob[:, fit.UX : fit.UX + 3])
    east = np.einsum("nkc,nc->nk", seen, ob[:, fit.EX : fit.EX + 3]) / depth
    north = np.einsum("nkc,nc->nk", seen, ob[:, fit.NX : fit.NX + 3]) / depth
    return east, north
