"""Models of several PSFs, and their fit: trails (a line of PSFs) and dipoles (two of them).

Both are fitted by Levenberg-Marquardt with the exact derivatives of the drawn PSF.

References
----------
Levenberg 1944, Q. Appl. Math. 2, 164; Marquardt 1963, J. SIAM 11, 431;
Veres et al. 2012, PASP 124, 1197 (trail = PSF swept along a line).
"""

import numpy as np
from numba import njit

from alertprod.core.psfmodel import render

ITERATIONS = 60
TRAIL, DIPOLE, POINT = 0, 1, 2


@njit(cache=True)
def _add(kernel, x, y, amount, stamp, out):
    """Add a PSF displaced by (x, y) from the middle of `out`, drawn on the small `stamp`."""
    ix, iy = int(np.floor(x + 0.5)), int(np.floor(y + 0.5))
    render(kernel, x - ix, y - iy, True, stamp)
    m, s = out.shape[1], stamp.shape[1]
    for j in range(s):
        v = j - s // 2 + iy + m // 2
        if v < 0 or v >= m:
            continue
        for i in range(s):
            u = i - s // 2 + ix + m // 2
            if 0 <= u < m:
                out[0, v, u] += amount * stamp[0, j, i]
                out[1, v, u] += amount * stamp[1, j, i]
                out[2, v, u] += amount * stamp[2, j, i]


@njit(cache=True)
def trail_model(kernel, nodes, shares, p, part, stamp, jac):
    """Fill `jac`: model, then its derivatives by (flux, x, y, length, angle).

    The integral over the trail is a Gauss-Legendre sum over `nodes` (-1/2 to 1/2).
    """
    flux, x, y, length, angle = p[0], p[1], p[2], p[3], p[4]
    c, s = np.cos(angle), np.sin(angle)
    jac[:] = 0.0
    for k in range(nodes.size):
        along = nodes[k] * length
        part[:] = 0.0
        _add(kernel, x + along * c, y + along * s, shares[k], stamp, part)
        jac[1] += part[0]
        jac[2] += flux * part[1]
        jac[3] += flux * part[2]
        jac[4] += flux * nodes[k] * (c * part[1] + s * part[2])
        jac[5] += flux * along * (c * part[2] - s * part[1])
    jac[0] = flux * jac[1]


@njit(cache=True)
def dipole_model(kernel, p, part, stamp, jac):
    """Fill `jac`: model, then its derivatives by (flux, x, y) of the one lobe and the other."""
    jac[:] = 0.0
    for lobe in range(2):
        flux = p[3 * lobe]
        part[:] = 0.0
        _add(kernel, p[3 * lobe + 1], p[3 * lobe + 2], 1.0, stamp, part)
        jac[0] += flux * part[0]
        jac[3 * lobe + 1] = part[0]
        jac[3 * lobe + 2] = flux * part[1]
        jac[3 * lobe + 3] = flux * part[2]


@njit(cache=True)
def point_model(kernel, p, part, stamp, jac):
    """Fill `jac`: model, then its derivatives by (flux, x, y)."""
    part[:] = 0.0
    _add(kernel, p[1], p[2], 1.0, stamp, part)
    jac[0] = p[0] * part[0]
    jac[1] = part[0]
    jac[2] = p[0] * part[1]
    jac[3] = p[0] * part[2]


@njit(cache=True)
def _model(kind, kernel, nodes, shares, p, part, stamp, jac):
    if kind == TRAIL:
        trail_model(kernel, nodes, shares, p, part, stamp, jac)
    elif kind == DIPOLE:
        dipole_model(kernel, p, part, stamp, jac)
    else:
        point_model(kernel, p, part, stamp, jac)


@njit(cache=True)
def _normal(data, weight, jac, matrix, vector):
    n = vector.size
    matrix[:] = 0.0
    vector[:] = 0.0
    cost = 0.0
    m = data.shape[0]
    for j in range(m):
        for i in range(m):
            w = weight[j, i]
            if w > 0:
                r = data[j, i] - jac[0, j, i]
                cost += w * r * r
                for a in range(n):
                    g = w * jac[a + 1, j, i]
                    vector[a] += g * r
                    for b in range(a + 1):
                        matrix[a, b] += g * jac[b + 1, j, i]
    for a in range(n):
        for b in range(a):
            matrix[b, a] = matrix[a, b]
    return cost


@njit(cache=True)
def fit(kind, kernel, nodes, shares, window, start):
    """Fit a model to a window.

    Parameters
    ----------
    kind : int
        `TRAIL`, `DIPOLE` or `POINT`.
    kernel : float64, shape (s, s)
        Centred PSF.
    nodes, shares : float64
        Gauss-Legendre nodes (-1/2 to 1/2) and weights (sum 1); only for a trail.
    window : float64, shape (3, m, m)
        Data, weights (0 = not used), variances.
    start : float64
        First guess; positions from the middle of the window [px], angle [rad].

    Returns
    -------
    parameters, covariance, chi2, converged
        The covariance is exact for these weights and white noise.
    """
    data, weight, noise = window[0], window[1], window[2]
    m, n = data.shape[0], start.size
    p = start.copy()
    part, jac = np.zeros((3, m, m)), np.zeros((n + 1, m, m))
    stamp = np.zeros((3, kernel.shape[0], kernel.shape[0]))
    matrix, vector = np.zeros((n, n)), np.zeros(n)
    _model(kind, kernel, nodes, shares, p, part, stamp, jac)
    cost = _normal(data, weight, jac, matrix, vector)
    damping, settled = 1e-3, False
    for _ in range(ITERATIONS):
        damped = matrix.copy()
        for a in range(n):
            damped[a, a] += damping * matrix[a, a] + 1e-300
        if not np.isfinite(damped).all() or np.linalg.det(damped) == 0.0:
            break
        trial = p + np.linalg.solve(damped, vector)
        _model(kind, kernel, nodes, shares, trial, part, stamp, jac)
        new_matrix, new_vector = np.zeros((n, n)), np.zeros(n)
        new_cost = _normal(data, weight, jac, new_matrix, new_vector)
        if new_cost <= cost:
            settled = cost - new_cost < 1e-6 * cost + 1e-6
            p, cost, matrix, vector = trial, new_cost, new_matrix, new_vector
            damping = max(damping * 0.2, 1e-9)
            if settled:
                break
        else:
            damping *= 8.0
            if damping > 1e8:
                break
    _model(kind, kernel, nodes, shares, p, part, stamp, jac)
    covariance, ok = _covariance(weight, noise, jac)
    chi2 = 0.0
    for j in range(m):
        for i in range(m):
            if weight[j, i] > 0:
                chi2 += (data[j, i] - jac[0, j, i]) ** 2 / noise[j, i]
    return p, covariance, chi2, settled and ok


def point_chi2(kernel, window, flux) -> float:
    """Return the chi-square of the best point source of the sign of `flux` on a window."""
    data = np.sign(flux) * np.where(window[1] > 0, window[0], 0.0)
    box = sum(np.roll(np.roll(data, i, 0), j, 1) for i in (-1, 0, 1) for j in (-1, 0, 1))
    row, column = np.unravel_index(np.argmax(box), box.shape)
    half = data.shape[0] // 2
    start = np.array([flux, column - half, row - half], dtype=np.float64)
    nothing = np.zeros(1)
    return float(fit(POINT, kernel, nothing, nothing, window, start)[2])


@njit(cache=True)
def _covariance(weight, noise, jac):
    n = jac.shape[0] - 1
    a, b = np.zeros((n, n)), np.zeros((n, n))
    m = weight.shape[0]
    for j in range(m):
        for i in range(m):
            w = weight[j, i]
            if w > 0:
                for p in range(n):
                    for q in range(n):
                        product = jac[p + 1, j, i] * jac[q + 1, j, i]
                        a[p, q] += w * product
                        b[p, q] += w * w * noise[j, i] * product
    scale = np.empty(n)
    for p in range(n):
        if not a[p, p] > 0:
            return np.full((n, n), np.nan), False
        scale[p] = 1.0 / np.sqrt(a[p, p])
    for p in range(n):
        for q in range(n):
            a[p, q] *= scale[p] * scale[q]
            b[p, q] *= scale[p] * scale[q]
    if np.linalg.det(a) < 1e-10:
        return np.full((n, n), np.nan), False
    inverse = np.linalg.inv(a)
    out = inverse @ b @ inverse
    for p in range(n):
        for q in range(n):
            out[p, q] *= scale[p] * scale[q]
    return out, True
