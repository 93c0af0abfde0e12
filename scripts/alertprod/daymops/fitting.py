"""Orbits of linkages: two-body fit, a prior where the arc is short, N-body, sanity."""

from __future__ import annotations

import numpy as np

from alertprod.core import orbits as conics
from alertprod.core import tables
from alertprod.core.errors import BadInput
from alertprod.core.orbits import COVARIANCE, ELEMENTS, STATE, UPPER
from alertprod.daymops import algebra, describe, fit
from alertprod.daymops.refine import correct_nbody

STRICT = 16.0  # times the prior with which a fit with a prior begins


def fit_linkages(linkages, options) -> dict:
    """Orbits of all linkages as a table in order of linkageId (without names)."""
    epochs = np.unique(linkages["epochMjdTdb"])
    if len(epochs) != 1:
        raise BadInput(f"the linkages have {len(epochs)} epochs; they must come from one window")
    obs = fit.observation_block(
        linkages["midpointMjdTai"], linkages["ra"], linkages["dec"],
        linkages["raErr"], linkages["decErr"], options["obscode"],
    )  # fmt: skip
    link_id, first, back = np.unique(linkages["linkageId"], return_index=True, return_inverse=True)
    groups = [np.flatnonzero(back == k) for k in range(len(link_id))]
    start = np.stack([linkages[c][first] for c in STATE], axis=-1)
    states, covariances, chi2, bounded = _fit_all(start, float(epochs[0]), obs, groups, options)
    solution = states, covariances, chi2, bounded
    table = describe_fits(linkages, groups, solution, obs, options)
    return {**table, "linkageId": link_id, "firstDiaSourceId": link_id}


def _fit_all(start, epoch, obs, groups, options):
    """Two-body fit, with a prior where the arc is too short, then N-body."""
    n = len(groups)
    states, covariances, chi2 = start.copy(), np.empty((n, 6, 6)), np.empty(n)
    weight = np.zeros(n)
    normal = np.empty((6, 6))
    for k in range(n):
        chi2[k], _ = fit.correct(states[k], epoch, obs, groups[k], 0.0, 40, normal)
        covariances[k] = algebra.invert(normal)
        if not (relative_error(states[k], covariances[k]) < options["prior_below"]):
            weight[k] = options["prior_weight"]
            states[k] = start[k]
            # straight to the wanted prior the fit may creep; from a circle it is a few steps
            for prior in (STRICT * weight[k], weight[k]):
                chi2[k], _ = fit.correct(states[k], epoch, obs, groups[k], prior, 60, normal)
            covariances[k] = algebra.invert(normal)
    # an orbit that cannot be would force tiny steps on all that share its integration
    sane = np.flatnonzero(is_sane(states, conics.states_to_elements(states, epoch)))
    if options["dynamics"] == "nbody" and len(sane):
        better, cov, new, _ = correct_nbody(
            states[sane], epoch, obs, [groups[k] for k in sane], weight=weight[sane]
        )
        good = np.isfinite(cov).all(axis=(1, 2)) & (new < chi2[sane] + 10.0)
        into = sane[good]
        states[into], covariances[into], chi2[into] = better[good], cov[good], new[good]
    return states, covariances, chi2, weight > 0.0


def relative_error(state, covariance):
    """One-sigma error of 1/a relative to 1/r: small when the arc tells the energy."""
    mu = fit.GM
    r = np.linalg.norm(state[:3])
    gradient = np.r_[2.0 * state[:3] / r**3, 2.0 * state[3:] / mu]
    variance = gradient @ covariance @ gradient
    return np.sqrt(variance) * r if variance >= 0.0 else np.inf


def describe_fits(detections, groups, solution, obs, options) -> dict:
    """Columns of product ``orbits`` that follow from fits of one epoch.

    Parameters
    ----------
    detections : table
        visit, midpointMjdTai, mag, magErr, band, raErr, decErr, dec; epochMjdTdb of the fits.
    groups : list of ndarray of int
        Rows of `detections` and `obs` that each fit used.
    solution : tuple
        states (n, 6), covariances (n, 6, 6), chi2 (n,), whether a prior was used (n,).
    obs : ndarray, shape (m, WIDTH)
        Observation blocks.
    options : dict
        ``slope_g``.
    """
    states, covariances, chi2, bounded = solution
    epoch = float(detections["epochMjdTdb"][0])
    elements = conics.states_to_elements(states, epoch)
    n = len(groups)
    count = np.array([len(g) for g in groups])
    h, h_err = np.full(n, 99.0), np.full(n, np.nan)
    arc, nights = np.empty(n), np.empty(n, dtype=int)
    for k, g in enumerate(groups):
        part = tables.take(detections, g)
        arc[k] = np.ptp(part["midpointMjdTai"])
        nights[k] = len(np.unique(part["visit"] // 100_000))
        h[k], h_err[k] = describe.absolute_magnitude(
            states[k], epoch, part, obs[g], options["slope_g"]
        )
    rms = np.sqrt(chi2 / (2 * count)) * _typical_error(detections, groups)
    classes = np.array([describe.orbit_class(*row[:3]) for row in elements], dtype=object)
    sane = is_sane(states, elements)
    fit_ok = chi2 < 4.0 * np.maximum(2 * count - 6, 4)
    quality = np.where(sane & fit_ok, np.where(bounded, "bounded", "good"), "poor").astype(object)
    return {
        "epochMjdTdb": np.full(n, epoch),
        **{c: states[:, k] for k, c in enumerate(STATE)},
        **{c: covariances[:, i, j] for c, (i, j) in zip(COVARIANCE, UPPER, strict=True)},
        **{c: elements[:, k] for k, c in enumerate(ELEMENTS)},
        "H": h, "HErr": h_err, "G": np.full(n, options["slope_g"]),
        "nObs": count, "nNights": nights, "arc": arc, "rms": rms, "chi2": chi2,
        "orbitClass": classes, "neoScore": describe.neo_score(elements, covariances, states),
        "quality": quality,
    }  # fmt: skip


def _typical_error(linkages, groups):
    """Error of one coordinate [arcsec], averaged over each group."""
    east = linkages["raErr"] * np.cos(np.deg2rad(linkages["dec"]))
    square = 0.5 * (east.astype(float) ** 2 + linkages["decErr"].astype(float) ** 2)
    return np.array([3600.0 * np.sqrt(square[g].mean()) for g in groups])


def is_sane(states, elements):
    """Is it an orbit that can be? Short arcs fit many that cannot (judge by this, not by a flag).

    Bound orbits with a between 0.5 and 2000 au and a perihelion outside the Sun; unbound ones
    only if they are clearly so and not absurdly fast.
    """
    q, e = elements[:, 0], elements[:, 1]
    with np.errstate(divide="ignore", invalid="ignore"):
        a = q / (1.0 - e)
    bound = (e < 1.0) & (a > 0.5) & (a < 2000.0) & (q > 0.05)
    speed = np.linalg.norm(states[:, 3:], axis=1)
    escape = np.sqrt(2.0 * fit.GM / np.linalg.norm(states[:, :3], axis=1))
    return bound | ((e >= 1.0) & (e < 20.0) & (q > 0.05) & (speed < 3.0 * escape))
