"""What an orbit says of its object: brightness, class, likeness to a near-Earth object."""

from __future__ import annotations

import numpy as np

from alertprod.core import ephemeris
from alertprod.core import orbits as conics
from alertprod.daymops import fit


def absolute_magnitude(state, epoch, part, obs, slope):
    """H and its error from the magnitudes of a linkage, with mean asteroid colours.

    Parameters
    ----------
    state : ndarray, shape (6,)
    epoch : float
    part : table
        Detections with mag, magErr, band.
    obs : ndarray, shape (n, WIDTH)
        Their observation blocks.
    slope : float
        G.

    Returns
    -------
    h, error : float
        (99, NaN) when no detection has a magnitude. The rotational light curve, not the
        photometric error, limits H: a floor of 0.1 mag per detection stands for it.
    """
    mag, error = part["mag"].astype(float), part["magErr"].astype(float)
    good = np.flatnonzero(np.isfinite(mag))
    if not len(good):
        return 99.0, np.nan
    topo = np.array([fit.place_seen(state, epoch, obs[k])[:3] for k in good])
    helio = topo + obs[good, fit.OX : fit.OX + 3]
    r, delta = np.linalg.norm(helio, axis=1), np.linalg.norm(topo, axis=1)
    shift = ephemeris.magnitude_hg(0.0, slope, r, delta, ephemeris.phase_angle(helio, topo))
    colour = conics.v_minus(part["band"][good])
    weight = 1.0 / (0.1**2 + np.where(np.isfinite(error[good]), error[good], 0.1) ** 2)
    mean = float(np.average(mag[good] + colour - shift, weights=weight))
    return mean, float(1.0 / np.sqrt(np.sum(weight)))


def orbit_class(q, e, incl) -> str:
    """Dynamical class of an orbit, by the usual borders."""
    if e >= 1.0:
        return "hyperbolic"
    a = q / (1.0 - e)
    if q < 1.3:
        return "NEO"
    if q < 1.67:
        return "Mars-crosser"
    if a < 2.0 and e < 0.18 and incl > 15.0:
        return "Hungaria"
    if a < 3.8:
        return "MBA"
    if a < 4.6:
        return "Hilda"
    if a < 5.5 and e < 0.3:
        return "Trojan"
    if a < 5.5:
        return "Jupiter-family"
    return "Centaur" if a < 30.1 else "TNO"


def neo_score(elements, covariances, states):
    """Probability (0 to 100) of q < 1.3 au under the covariance of the fit.

    Draws of a fixed generator: the figure is the same in every run.
    """
    draws = np.random.default_rng(1301).normal(size=(64, 6))
    out = np.full(len(elements), np.nan)
    for k in range(len(elements)):
        values, vectors = np.linalg.eigh(np.nan_to_num(covariances[k]))
        root = vectors * np.sqrt(np.maximum(values, 0.0))
        cloud = states[k] + draws @ root.T
        q = conics.states_to_elements(cloud, 0.0)[:, 0]
        out[k] = 100.0 * np.mean(q < 1.3)
    return out
