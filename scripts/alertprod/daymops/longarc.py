"""Orbits from nothing but observations: a first orbit, then arcs of any length.

The first orbit comes from trying distances: in the parameters of `fit.correct` the fit converges
from nearly anywhere, so a handful of distances finds every minimum that matters, without the
degenerate cases of Gauss' method. Longer arcs are reached by N-body correction over windows that
grow by a factor of three, with outliers rejected and taken back at every step.
"""

from __future__ import annotations

import numpy as np

from alertprod.core import observer
from alertprod.daymops import algebra, fit
from alertprod.daymops.collect import predict_error
from alertprod.daymops.refine import correct_nbody

DISTANCES = (0.05, 0.2, 0.6, 1.2, 2.0, 3.2, 5.0, 9.0, 20.0, 40.0)
SPANS = (20.0, 60.0, 200.0, 700.0, 2000.0, 6000.0, 15000.0, 1e9)


def first_orbit(obs, epoch, use=None, weight=0.0):
    """Best two-body orbit of a short arc, from no prior knowledge.

    Parameters
    ----------
    obs : ndarray, shape (n, WIDTH)
        Observation blocks; at least three directions.
    epoch : float
        MJD TDB.
    use : ndarray of int, optional
        Rows that count.
    weight : float
        Of the energy prior.

    Returns
    -------
    state : ndarray, shape (6,)
    covariance : ndarray, shape (6, 6)
    chi2 : float
        Infinite when nothing fits.
    """
    use = np.arange(len(obs)) if use is None else use
    order = use[np.argsort(obs[use, fit.TIME], kind="stable")]
    middle = order[len(order) // 2]
    u = obs[order, fit.UX : fit.UX + 3]
    dt = obs[order, fit.TIME] - obs[middle, fit.TIME]
    near = np.abs(dt) <= max(
        3.0, np.partition(np.abs(dt), min(3, len(dt) - 1))[min(3, len(dt) - 1)]
    )
    slope = np.polyfit(dt[near], u[near], 1)[0] if np.ptp(dt[near]) > 0 else np.zeros(3)
    carried = observer.earth_state(obs[middle, fit.TIME])[1][0] - obs[middle, fit.SX : fit.SX + 3]
    best, best_cov, best_chi2 = np.full(6, np.nan), np.full((6, 6), np.nan), np.inf
    normal = np.empty((6, 6))
    for rho in DISTANCES:
        place = obs[middle, fit.OX : fit.OX + 3] + rho * obs[middle, fit.UX : fit.UX + 3]
        state = np.r_[place, carried + rho * slope]
        state[:3] += state[3:] * (epoch - obs[middle, fit.TIME])
        chi2, _ = fit.correct(state, epoch, obs, order, weight, 60, normal)
        if chi2 < best_chi2 * (1.0 - 1e-6) and np.isfinite(state).all():
            best, best_cov, best_chi2 = state.copy(), algebra.invert(normal), chi2
    return best, best_cov, best_chi2


def densest_epoch(obs):
    """Epoch [MJD TDB] round which most nights were observed within 20 days; the latest of equals.

    Raises
    ------
    ValueError
        If no such span has three nights: there is nothing to start from.
    """
    days = np.unique(np.floor(obs[:, fit.TIME]))
    count = np.searchsorted(days, days + SPANS[0], "right") - np.searchsorted(days, days - SPANS[0])
    if not len(days) or count.max() < 3:
        raise ValueError("no first orbit: not three nights within forty days")
    return float(days[np.flatnonzero(count == count.max())[-1]])


def fit_long_arc(obs, epoch=None, *, reject_sigma=4.0, rounds=3):
    """Orbit of an arc of any length, with outliers rejected.

    Parameters
    ----------
    obs : ndarray, shape (n, WIDTH)
    epoch : float, optional
        MJD TDB; by default where the observations are densest.
    reject_sigma : float
        Observations farther off than this (in their own errors, per coordinate) do not count.
    rounds : int
        Corrections at each span.

    Returns
    -------
    epoch : float
    state, covariance, used : ndarray
        `used` tells the rows that counted.
    residual : ndarray, shape (n, 2)
        Observed minus computed, east and north [rad], of all rows.
    """
    time = obs[:, fit.TIME]
    epoch = densest_epoch(obs) if epoch is None else epoch
    away = np.abs(time - epoch)
    near = np.flatnonzero(away <= SPANS[0])
    state, covariance, chi2 = first_orbit(obs, epoch, near)
    if not np.isfinite(chi2):
        raise ValueError("no first orbit: the arc near the epoch is too short")
    used = np.zeros(len(obs), dtype=bool)
    residual = np.full((len(obs), 2), np.nan)
    for span in SPANS:
        inside = np.flatnonzero(away <= span)
        used[:] = False
        for turn in range(rounds):
            residual[inside] = nbody_residuals(state, epoch, obs[inside])
            error = obs[inside][:, fit.SE : fit.SN + 1]
            if turn == 0:
                # an orbit extrapolated over three times its arc may be off for all alike
                error = np.hypot(error, 3.0 * _predicted(state, epoch, obs[inside], covariance))
            keep = inside[(np.abs(residual[inside]) < reject_sigma * error).all(axis=1)]
            if len(keep) < 6:
                keep = inside
            states, covs, *_ = correct_nbody(state[None], epoch, obs, [keep], rounds=2, batch=1)
            if np.isfinite(covs[0]).all():
                state, covariance = states[0], covs[0]
            used[:] = False
            used[keep] = True
        if len(inside) == len(obs):
            break
    residual = nbody_residuals(state, epoch, obs)
    return epoch, state, covariance, used, residual


def _predicted(state, epoch, obs, covariance):
    """Largest error (n, 1) [rad] of the predicted directions."""
    errors = [predict_error(state, epoch, ob, covariance) for ob in obs]
    return np.array(errors)[:, None]


def nbody_residuals(state, epoch, obs):
    """Observed minus computed (n, 2) [rad], by N-body motion."""
    from alertprod.core import nbody
    from alertprod.daymops.refine import offsets

    times, back = np.unique(obs[:, fit.TIME], return_inverse=True)
    path = nbody.trajectory(state[None], epoch, times)[back]
    east, north = offsets(path, obs)
    return -np.stack([east[:, 0], north[:, 0]], axis=1)
