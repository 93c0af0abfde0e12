"""Trailed sources: a PSF swept along a line.

References
----------
Veres et al. 2012, PASP 124, 1197 (the trail fit); we sweep the image's own PSF, not a Gaussian.
"""

import numpy as np

from alertprod.sources.models import TRAIL, fit, point_chi2, trail_model
from alertprod.sources.windows import Frame

FIELDS = ("flux", "x", "y", "length", "angle")


def fit_trail(frame: Frame, x: float, y: float, length: float, angle: float) -> dict:
    """Fit a trail.

    Parameters
    ----------
    frame : Frame
    x, y : float
        First guess of its middle [px].
    length, angle : float
        First guess of its length [px] and direction [rad, from x to y].

    Returns
    -------
    dict
        ``flux``, ``x``, ``y``, ``length``, ``angle`` with ``cov`` (5, 5) in that order,
        ``chi2``, ``ndata``, ``gain`` (chi-square gained over the best point source at the same
        pixels), ``strength`` (signal-to-noise ratio), ``roundness`` (above 1 a
        round blob of the same mean width is the better description), ``sharpness`` (chi-square
        over that of a line of half the PSF's area: above 1 it is a particle's track), ``ok``.
    """
    reach = 0.75 * length + 1.5 * frame.fwhm + 2
    window = frame.window(x, y, reach)
    ndata = int((window[1] > 0).sum())
    if ndata < 12:
        return {"ok": False, "ndata": ndata}
    kernel = _cut(frame.kernel(x, y), frame.fwhm)
    ix, iy = np.floor(x + 0.5), np.floor(y + 0.5)
    nodes, shares = np.polynomial.legendre.leggauss(int(np.ceil(1.5 * length)) + 4)
    nodes, shares = 0.5 * nodes, 0.5 * shares
    flux = _flux_guess(window)
    best = None
    for factor in (1.0, 0.6):
        start = np.array([flux, x - ix, y - iy, factor * length, angle])
        p, cov, chi2, ok = fit(TRAIL, kernel, nodes, shares, window, start)
        if best is None or chi2 < best[2]:
            best = (p, cov, chi2, ok)
    p, cov, chi2, ok = best
    if p[3] < 0:
        p[3] = -p[3]
    inside = np.hypot(p[1], p[2]) < reach and p[3] < 2 * reach
    result = dict(zip(FIELDS, p, strict=True))
    result |= {"x": ix + p[1], "y": iy + p[2], "angle": np.mod(p[4], np.pi)}
    gain = point_chi2(kernel, window, p[0]) - chi2
    result |= {"cov": cov, "chi2": chi2, "ndata": ndata, "gain": gain}
    result["strength"] = float(abs(p[0]) / np.sqrt(cov[0, 0]))
    result["roundness"] = _roundness(window, kernel, (nodes, shares), p, frame.fwhm)
    sharp = np.square(np.maximum(kernel, 0))
    thin = fit(TRAIL, sharp / sharp.sum(), nodes, shares, window, p)
    result["sharpness"] = float(chi2 / thin[2]) if thin[2] > 0 else np.inf
    result["ok"] = bool(ok and inside and np.isfinite(p).all())
    return result


def _cut(kernel: np.ndarray, fwhm: float) -> np.ndarray:
    """Drop the far wings of the PSF, which a trail would draw many times for nothing."""
    reach = min(kernel.shape[0] // 2, int(np.ceil(3 * fwhm)))
    middle = kernel.shape[0] // 2
    span = slice(middle - reach, middle + reach + 1)
    return np.ascontiguousarray(kernel[span, span])


def _roundness(window: np.ndarray, kernel, line, p: np.ndarray, fwhm: float) -> float:
    """Return what a round blob of the trail's mean width explains, over what the trail explains."""
    half, m = window.shape[1] // 2, window.shape[1]
    shape = np.zeros((6, m, m))
    part, stamp = np.zeros((3, m, m)), np.zeros((3, *kernel.shape))
    trail_model(kernel, *line, p, part, stamp, shape)
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    variance = fwhm**2 / (8 * np.log(2)) + p[3] ** 2 / 24
    blob = np.exp(-0.5 * ((x - p[1]) ** 2 + (y - p[2]) ** 2) / variance)
    gains = [
        (window[1] * model * window[0]).sum() ** 2 / max((window[1] * model**2).sum(), 1e-300)
        for model in (blob, shape[1])
    ]
    return float(gains[0] / gains[1]) if gains[1] > 0 else np.inf


def _flux_guess(window: np.ndarray) -> float:
    return float(window[0][window[1] > 0].sum())
