"""Fitting a TAN-SIP world coordinate system to pairs of pixels and sky positions.

On the plane tangent at the right point, the sky is a polynomial of the pixels; the fit is linear.
The tangent point is moved until the polynomial has no constant term at the reference pixel.

References
----------
Calabretta & Greisen 2002, A&A 395, 1077; Shupe et al. 2005, ASPC 347, 491.
"""

import numpy as np

from alertprod.core.wcs import Wcs, deproject, project

STARS_PER_TERM = 4


def fit_wcs(x, y, ra, dec, weight, *, crpix, order: int) -> Wcs:
    """Fit a WCS by weighted least squares.

    Parameters
    ----------
    x, y : arrays, shape (n,)
        0-based pixels.
    ra, dec : arrays, shape (n,)
        Sky positions [deg].
    weight : array, shape (n,)
        Inverse variances (any unit, equal for both axes).
    crpix : (x, y)
        0-based reference pixel, best the middle of the detector.
    order : int
        1: affine; 2 to 5: SIP of that order.

    Returns
    -------
    Wcs

    Raises
    ------
    numpy.linalg.LinAlgError
        If the stars do not fix the polynomial.
    """
    u, v = np.asarray(x) - crpix[0], np.asarray(y) - crpix[1]
    scale = max(float(np.max(np.hypot(u, v))), 1.0)
    powers = sip_powers(order)
    design = np.stack([(u / scale) ** p * (v / scale) ** q for p, q in powers], axis=1)
    root = np.sqrt(weight)[:, None]
    # any star will do as the first tangent point
    crval = np.array([np.ravel(ra)[0], np.ravel(dec)[0]], dtype=np.float64)
    for _ in range(6):
        xi, eta = project(ra, dec, crval)
        solution, _, rank, _ = np.linalg.lstsq(
            design * root, np.column_stack([xi, eta]) * root, rcond=1e-10
        )
        if rank < len(powers):
            raise np.linalg.LinAlgError(f"rank {rank} of {len(powers)} terms")
        offset = solution[0]
        crval = np.array([float(c) for c in deproject(offset[0], offset[1], crval)])
        if np.hypot(*offset) < 1e-13:
            break
    return _to_sip(solution, powers, scale, crval, crpix, order)


def _to_sip(solution, powers, scale, crval, crpix, order) -> Wcs:
    index = {pq: k for k, pq in enumerate(powers)}
    degrees = np.degrees(solution)
    cd = np.column_stack([degrees[index[1, 0]], degrees[index[0, 1]]]) / scale
    if order < 2:
        return Wcs(crval, crpix, cd)
    a, b = np.zeros((order + 1, order + 1)), np.zeros((order + 1, order + 1))
    inverse = np.linalg.inv(cd)
    for (p, q), k in index.items():
        if p + q >= 2:
            a[p, q], b[p, q] = inverse @ (degrees[k] / scale ** (p + q))
    return Wcs(crval, crpix, cd, a, b)


def sip_powers(order: int) -> list[tuple[int, int]]:
    """Return the powers (p, q) with p + q <= order, the constant first."""
    return [(total - q, q) for total in range(order + 1) for q in range(total + 1)]


def choose_order(x, y, shape: tuple[int, int], largest: int) -> int:
    """Return the highest order that the stars carry: enough of them, and all over the image.

    An order n polynomial needs four stars per term and three quarters of (n+1)^2 cells filled;
    otherwise it would swing where no star holds it.
    """
    ny, nx = shape
    for order in range(largest, 1, -1):
        cells = order + 1
        i = np.clip((np.asarray(x) * cells / nx).astype(int), 0, cells - 1)
        j = np.clip((np.asarray(y) * cells / ny).astype(int), 0, cells - 1)
        filled = len(np.unique(j * cells + i))
        if len(x) >= STARS_PER_TERM * len(sip_powers(order)) and filled >= 0.75 * cells**2:
            return order
    return 1
