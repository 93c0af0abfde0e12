"""Dipoles: a positive and a negative point source side by side.

They are what a shift between science image and template leaves of a star; a star that really
moved leaves one too.

References
----------
Reiss 2016, DMTN-007 (fitting dipoles on difference images).
"""

import numpy as np

from alertprod.sources.models import DIPOLE, fit, point_chi2
from alertprod.sources.windows import Frame

FIELDS = ("flux_positive", "x_positive", "y_positive", "flux_negative", "x_negative", "y_negative")


def fit_dipole(frame: Frame, positive, negative) -> dict:
    """Fit two point sources of opposite sign.

    Parameters
    ----------
    frame : Frame
    positive, negative : (flux, x, y)
        First guesses of the lobes [nJy, px, px].

    Returns
    -------
    dict
        The parameters named in `FIELDS`, ``mean_flux``, ``flux_diff``, ``length`` [px],
        ``angle`` [rad, from x to y, from the negative to the positive lobe] and their errors
        ``mean_fluxErr``, ``flux_diffErr``; ``x``, ``y`` of the middle, ``chi2``, ``ndata``,
        ``gain`` (chi-square gained over the best point source of either sign), ``ratio`` (share
        of the absolute flux in the stronger lobe), ``strength`` (signal-to-noise ratio), ``ok``.
    """
    x, y = 0.5 * (positive[1] + negative[1]), 0.5 * (positive[2] + negative[2])
    apart = np.hypot(positive[1] - negative[1], positive[2] - negative[2])
    window = frame.window(x, y, frame.radius + 0.5 * apart)
    ndata = int((window[1] > 0).sum())
    if ndata < 12:
        return {"ok": False, "ndata": ndata}
    ix, iy = np.floor(x + 0.5), np.floor(y + 0.5)
    start = np.array([*positive, *negative], dtype=np.float64)
    start[[1, 4]] -= ix
    start[[2, 5]] -= iy
    nothing = np.zeros(1)
    kernel = frame.kernel(x, y)
    p, cov, chi2, ok = fit(DIPOLE, kernel, nothing, nothing, window, start)
    if p[0] < 0 < p[3]:
        order = [3, 4, 5, 0, 1, 2]
        p, cov = p[order], cov[np.ix_(order, order)]
    opposite = p[0] > 0 > p[3]
    dx, dy = p[1] - p[4], p[2] - p[5]
    near = np.hypot(p[1:3], p[4:6]).max() < 2 * window.shape[1]
    shift = np.array([0, ix, iy, 0, ix, iy])
    result = dict(zip(FIELDS, p + shift, strict=True))
    half_sum = cov[0, 0] + cov[3, 3] - 2 * cov[0, 3]  # of (F+ + |F-|), as F- is negative
    difference = cov[0, 0] + cov[3, 3] + 2 * cov[0, 3]
    total = abs(p[0]) + abs(p[3])
    result |= {
        "mean_flux": 0.5 * total,
        "mean_fluxErr": 0.5 * np.sqrt(half_sum) if half_sum > 0 else np.nan,
        "flux_diff": p[0] + p[3],
        "flux_diffErr": np.sqrt(difference) if difference > 0 else np.nan,
        "length": np.hypot(dx, dy),
        "angle": np.arctan2(dy, dx),
        "x": ix + 0.5 * (p[1] + p[4]),
        "y": iy + 0.5 * (p[2] + p[5]),
        "chi2": chi2,
        "gain": min(point_chi2(kernel, window, f) for f in (p[0], p[3])) - chi2,
        "ndata": ndata,
        "strength": float(np.sqrt(p[0] ** 2 / cov[0, 0] + p[3] ** 2 / cov[3, 3])),
        "ratio": max(abs(p[0]), abs(p[3])) / total if total > 0 else np.nan,
        "ok": bool(ok and opposite and near and np.isfinite(p).all()),
    }
    return result
