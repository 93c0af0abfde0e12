"""PSF and aperture photometry of many sources: forced, and with the position fitted.

Fluxes are in the unit of the image (nJy). A PSF flux is multiplied by ``psf.apcorr``, so that it
is the total flux of a star. Positions are 0-based pixel centres.

References
----------
Horne 1986, PASP 98, 609 (optimal weights and their bias); Stetson 1987, PASP 99, 191 (joint fit
of flux and position); King 1983, PASP 95, 163 (noise of a PSF flux).
"""

import numpy as np
from numba import njit

from alertprod.core.apertures import aperture_flux
from alertprod.core.masks import bits
from alertprod.core.psfmodel import cut, kernels, render

__all__ = [
    "BAD_PLANES",
    "aperture_flux",
    "fit_position",
    "psf_flux",
    "psf_flux_at_sky",
    "unusable",
]

BAD_PLANES = ("BAD", "SAT", "CR", "NO_DATA")
"""Planes whose pixels take no part in a fit."""

RADIUS_FWHM = 2.0
"""Default radius of the fitted pixels in FWHM; beyond it a PSF holds no information."""

CHUNK = 512
ITERATIONS = 12
STEP_TOLERANCE = 1e-4
LEAST_COVERAGE = 0.25


def unusable(exposure, planes=BAD_PLANES) -> np.ndarray:
    """Return the pixels that no fit may use: bool, shape (ny, nx)."""
    return (exposure.mask & bits(*planes)) != 0


def psf_flux(exposure, x, y, *, psf=None, bad=None, radius=None) -> dict[str, np.ndarray]:
    """Measure PSF fluxes at given positions.

    Parameters
    ----------
    exposure : Exposure
        Image and variance [nJy, nJy^2] with a mask; ``exposure.psf`` unless `psf` is given.
    x, y : array, shape (n,)
        0-based pixel positions; NaN and positions off the image give NaN and a flag.
    psf : Psf, optional
    bad : bool, shape (ny, nx), optional
        Pixels not to use; by default those of `BAD_PLANES`.
    radius : float, optional
        Radius of the fitted pixels [px]; 2 FWHM by default.

    Returns
    -------
    dict of arrays, shape (n,)
        ``flux``, ``fluxErr`` [nJy], ``chi2`` and ``ndata`` (pixels of the fit), ``lnl`` (natural
        log likelihood), ``flag``, ``flag_edge`` (PSF cut by the image's edge),
        ``flag_noGoodPixels`` (less than a quarter of the PSF's weight on good pixels).

    Notes
    -----
    Least squares with the inverse of the locally averaged variance as weight; the error is the
    exact one for these weights and independent pixels.
    """
    return _measure(exposure, x, y, psf, bad, (radius, False, 0.0, 0.0))


def fit_position(
    exposure, x, y, *, bad=None, radius=None, max_shift=None, model_error=0.0
) -> dict[str, np.ndarray]:
    """Fit flux and position of point sources together.

    Parameters
    ----------
    exposure : Exposure
        As in `psf_flux`.
    x, y : array, shape (n,)
        First guess, good to a pixel or so.
    bad, radius
        As in `psf_flux`.
    max_shift : float, optional
        Farthest way from the first guess [px]; one FWHM by default. Beyond it the source keeps
        its first guess, ``flag_position`` is set and the errors of the position are NaN.
    model_error : float
        Fraction of the model taken as its own error in ``chi2`` (not in the errors).

    Returns
    -------
    dict of arrays, shape (n,)
        Those of `psf_flux` plus ``x``, ``y``, ``xErr``, ``yErr`` [px], ``xyCov`` [px^2] and
        ``flag_position``.
    """
    shift = max_shift if max_shift is not None else exposure.psf.fwhm()
    return _measure(exposure, x, y, None, bad, (radius, True, shift, model_error))


def psf_flux_at_sky(exposure, ra, dec, **options) -> dict[str, np.ndarray]:
    """Measure forced PSF fluxes at sky positions [deg]; as `psf_flux`, plus ``x`` and ``y``."""
    x, y = exposure.wcs.sky_to_pix(ra, dec)
    result = psf_flux(exposure, x, y, **options)
    result["x"], result["y"] = np.atleast_1d(x), np.atleast_1d(y)
    return result


def _measure(exposure, x, y, psf, bad, how) -> dict[str, np.ndarray]:
    x = np.atleast_1d(np.asarray(x, dtype=np.float64))
    y = np.atleast_1d(np.asarray(y, dtype=np.float64))
    psf = exposure.psf if psf is None else psf
    bad = unusable(exposure) if bad is None else bad
    radius, free, max_shift, model_error = how
    radius = RADIUS_FWHM * psf.fwhm() if radius is None else float(radius)
    radius = min(max(radius, 1.5), psf.size // 2)
    ny, nx = exposure.image.shape
    inside = (x >= -0.5) & (x < nx - 0.5) & (y >= -0.5) & (y < ny - 0.5)
    rows = np.flatnonzero(inside)
    out = np.full((x.size, 13), np.nan)
    for start in range(0, rows.size, CHUNK):
        part = rows[start : start + CHUNK]
        out[part] = _fit_many(
            exposure.image,
            exposure.variance,
            bad,
            kernels(psf, x[part], y[part]),
            np.stack([x[part], y[part]], axis=1),
            np.array([radius, max_shift, model_error, float(free)]),
        )
    return _name_columns(out, inside, psf.apcorr, free)


def _name_columns(out, inside, apcorr, free) -> dict[str, np.ndarray]:
    empty = ~(out[:, 4] > 0)
    result = {
        "flux": out[:, 0] * apcorr,
        "fluxErr": out[:, 1] * apcorr,
        "chi2": out[:, 2],
        "lnl": out[:, 3],
        "ndata": np.where(inside, np.nan_to_num(out[:, 4]), 0).astype(np.int32),
        "flag_edge": (out[:, 5] > 0) | ~inside,
        "flag_noGoodPixels": empty | (out[:, 6] < LEAST_COVERAGE),
    }
    result["flag"] = empty | ~np.isfinite(out[:, 0])
    if free:
        for k, name in enumerate(("x", "y", "xErr", "yErr", "xyCov")):
            result[name] = out[:, 7 + k]
        result["flag_position"] = ~(out[:, 12] == 0)
    return result


@njit(cache=True)
def _fit_many(image, variance, bad, psfs, start, how):
    """Fit each source; columns as read by `_name_columns`."""
    n = psfs.shape[0]
    radius, free = how[0], how[3] > 0
    m = 2 * int(np.ceil(radius)) + 1
    out = np.full((n, 13), np.nan)
    data, noise, weight = np.empty((m, m)), np.empty((m, m)), np.empty((m, m))
    model = np.empty((3, m, m))
    ny, nx = image.shape
    for s in range(n):
        x, y = start[s, 0], start[s, 1]
        ix, iy = int(np.floor(x + 0.5)), int(np.floor(y + 0.5))
        good = cut(image, variance, bad, ix, iy, radius, 2, data, noise, weight)
        half = m // 2
        out[s, 4] = good
        cut_off = ix < half or iy < half or ix + half >= nx or iy + half >= ny
        out[s, 5] = 1.0 if cut_off else 0.0
        if good == 0:
            out[s, 7], out[s, 8] = x, y
            continue
        shift = np.array([x - ix, y - iy])
        render(psfs[s], shift[0], shift[1], free, model)
        out[s, 6] = _coverage(model, weight)
        out[s, 12] = 0.0
        if free:
            moved = shift.copy()
            ok = _climb(psfs[s], data, weight, model, moved, how[1])
            if ok:
                shift = moved
            else:
                out[s, 12] = 1.0
            render(psfs[s], shift[0], shift[1], True, model)
        flux, error = _linear_flux(data, noise, weight, model)
        out[s, 0], out[s, 1] = flux, error
        out[s, 2], out[s, 3] = _chi2(data, noise, weight, model, flux, how[2])
        if free:
            out[s, 7], out[s, 8] = ix + shift[0], iy + shift[1]
            if out[s, 12] == 0.0:
                _position_errors(noise, weight, model, flux, out[s])
    return out


@njit(cache=True)
def _linear_flux(data, noise, weight, model):
    top = 0.0
    bottom = 0.0
    spread = 0.0
    m = data.shape[0]
    for j in range(m):
        for i in range(m):
            w = weight[j, i]
            if w > 0:
                p = model[0, j, i]
                top += w * p * data[j, i]
                bottom += w * p * p
                spread += w * w * p * p * noise[j, i]
    if bottom <= 0:
        return np.nan, np.nan
    return top / bottom, np.sqrt(spread) / bottom


@njit(cache=True)
def _coverage(model, weight):
    on = 0.0
    total = 0.0
    m = weight.shape[0]
    for j in range(m):
        for i in range(m):
            p2 = model[0, j, i] ** 2
            total += p2
            if weight[j, i] > 0:
                on += p2
    return on / total


@njit(cache=True)
def _chi2(data, noise, weight, model, flux, model_error):
    chi2 = 0.0
    normal = 0.0
    m = data.shape[0]
    for j in range(m):
        for i in range(m):
            if weight[j, i] > 0:
                p = flux * model[0, j, i]
                v = noise[j, i] + (model_error * p) ** 2
                chi2 += (data[j, i] - p) ** 2 / v
                normal += np.log(2.0 * np.pi * v)
    return chi2, -0.5 * (chi2 + normal)


@njit(cache=True)
def _normal(data, weight, model, flux, matrix, vector):
    """Normal equations of (flux, x, y) at the present model."""
    matrix[:] = 0.0
    vector[:] = 0.0
    m = data.shape[0]
    g = np.empty(3)
    for j in range(m):
        for i in range(m):
            w = weight[j, i]
            if w > 0:
                g[0] = model[0, j, i]
                g[1] = flux * model[1, j, i]
                g[2] = flux * model[2, j, i]
                r = data[j, i] - flux * g[0]
                for a in range(3):
                    vector[a] += w * g[a] * r
                    for b in range(3):
                        matrix[a, b] += w * g[a] * g[b]


@njit(cache=True)
def _climb(psf, data, weight, model, shift, max_shift):
    """Gauss-Newton on (flux, x, y), in place on `shift`; False if it does not settle."""
    matrix, vector = np.empty((3, 3)), np.empty(3)
    x0, y0 = shift[0], shift[1]
    noise = np.ones_like(data)
    for _ in range(ITERATIONS):
        render(psf, shift[0], shift[1], True, model)
        flux, _e = _linear_flux(data, noise, weight, model)
        if not np.isfinite(flux) or flux == 0.0:
            return False
        _normal(data, weight, model, flux, matrix, vector)
        if abs(np.linalg.det(matrix)) < 1e-12 * matrix[0, 0] * matrix[1, 1] * matrix[2, 2]:
            return False
        step = np.linalg.solve(matrix, vector)
        length = np.hypot(step[1], step[2])
        scale = min(1.0, 0.5 / length) if length > 0 else 1.0
        shift[0] += scale * step[1]
        shift[1] += scale * step[2]
        if np.hypot(shift[0] - x0, shift[1] - y0) > max_shift:
            return False
        if length < STEP_TOLERANCE:
            return True
    return length < 0.02


@njit(cache=True)
def _position_errors(noise, weight, model, flux, row):
    """Covariance of the joint fit: A^-1 B A^-1, exact for weights that are not 1/variance."""
    a, b = np.zeros((3, 3)), np.zeros((3, 3))
    m = noise.shape[0]
    g = np.empty(3)
    for j in range(m):
        for i in range(m):
            w = weight[j, i]
            if w > 0:
                g[0] = model[0, j, i]
                g[1] = flux * model[1, j, i]
                g[2] = flux * model[2, j, i]
                for p in range(3):
                    for q in range(3):
                        a[p, q] += w * g[p] * g[q]
                        b[p, q] += w * w * noise[j, i] * g[p] * g[q]
    if abs(np.linalg.det(a)) < 1e-12 * a[0, 0] * a[1, 1] * a[2, 2]:
        row[12] = 1.0
        return
    inverse = np.linalg.inv(a)
    covariance = inverse @ b @ inverse
    row[1] = np.sqrt(covariance[0, 0])
    row[9] = np.sqrt(covariance[1, 1])
    row[10] = np.sqrt(covariance[2, 2])
    row[11] = covariance[1, 2]
