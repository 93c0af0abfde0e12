"""Matching lists of positions: nearest partners, and patterns under an unknown shift.

The pattern match needs no triangles: at each of a few small rotations and scales all differences
between the bright stars of the two lists vote for a shift. The true shift collects as many votes
as there are common stars; chance gives a Poisson background that is known, so that a match is
accepted by its probability and not by a threshold that depends on the field.

References
----------
Kaiser et al. 1999, "imcat" (registration by voting in shift, scale and angle);
Bertin 2006, ASPC 351, 112 (SCAMP: the same idea with cross-correlations).
"""

from dataclasses import dataclass

import numpy as np

RAD = np.pi / 180.0
CANDIDATES = 40
CHANCE = 1e-3  # accepted probability that a match anywhere in the search is an accident


def match_pixels(x1, y1, x2, y2, radius: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pair the points of two lists that are each other's nearest.

    Parameters
    ----------
    x1, y1, x2, y2 : arrays
        Positions in the same plane.
    radius : float
        Largest distance of a pair.

    Returns
    -------
    i1, i2 : int arrays
        Indices of the partners, ascending in `i1`.
    distance : float array
    """
    return _mutual(np.column_stack([x1, y1]), np.column_stack([x2, y2]), radius)


def match_sky(ra1, dec1, ra2, dec2, radius: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pair positions on the sphere [deg] that are each other's nearest within `radius` [arcsec].

    Returns indices into both lists, ascending in the first, and the separations [arcsec].
    """
    chord = 2 * np.sin(radius / 3600 * RAD / 2)
    i1, i2, distance = _mutual(unit_vectors(ra1, dec1), unit_vectors(ra2, dec2), chord)
    return i1, i2, 2 * np.arcsin(distance / 2) / RAD * 3600


def unit_vectors(ra, dec) -> np.ndarray:
    """Return unit vectors, shape (n, 3), of positions [deg]."""
    ra, dec = np.asarray(ra, dtype=np.float64) * RAD, np.asarray(dec, dtype=np.float64) * RAD
    return np.column_stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)])


def _mutual(a: np.ndarray, b: np.ndarray, radius: float):
    from scipy.spatial import cKDTree  # slow to import

    none = np.zeros(0, dtype=np.int64)
    ka = np.flatnonzero(np.isfinite(a).all(axis=1))
    kb = np.flatnonzero(np.isfinite(b).all(axis=1))
    if not ka.size or not kb.size:
        return none, none, np.zeros(0)
    distance, there = cKDTree(b[kb]).query(a[ka])
    _, back = cKDTree(a[ka]).query(b[kb])
    mine = np.arange(len(ka))
    ok = (distance <= radius) & (back[there] == mine)
    return ka[ok], kb[there[ok]], distance[ok]


@dataclass(frozen=True)
class PatternMatch:
    """An affine map from predicted to measured positions, and how sure it is.

    ``measured = matrix @ predicted + offset``; `pairs` are (measured, predicted) indices.
    """

    matrix: np.ndarray
    offset: np.ndarray
    measured: np.ndarray
    predicted: np.ndarray
    log10_chance: float

    def __call__(self, x, y) -> tuple[np.ndarray, np.ndarray]:
        """Map predicted positions to where they are measured."""
        m, t = self.matrix, self.offset
        x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
        return m[0, 0] * x + m[0, 1] * y + t[0], m[1, 0] * x + m[1, 1] * y + t[1]


@dataclass(frozen=True)
class Search:
    """How far the prediction may be off.

    Parameters
    ----------
    shift : float
        Largest shift [px].
    rotation : float
        Largest rotation [deg].
    scale : float
        Largest relative error of scale.
    tolerance : float
        How well matched stars agree after a shift, rotation and scale [px]: centroid errors of
        saturated stars, unmodelled distortion.
    minimum : int
        Fewest stars that make a match.
    """

    shift: float
    rotation: float = 1.0
    scale: float = 0.005
    tolerance: float = 3.0
    minimum: int = 6


def match_pattern(
    measured: tuple[np.ndarray, np.ndarray],
    predicted: tuple[np.ndarray, np.ndarray],
    shape: tuple[int, int],
    search: Search,
) -> PatternMatch | None:
    """Find the map from predicted to measured positions of stars.

    Parameters
    ----------
    measured : (x, y)
        Stars in the image [px], the brightest first.
    predicted : (x, y)
        Reference stars where the nominal WCS puts them [px], the brightest first; they should
        cover the image and a margin of `search.shift`.
    shape : (ny, nx)
        Size of the image [px].
    search : Search
        Limits of the search.

    Returns
    -------
    PatternMatch or None
        None when nothing stands out against chance.
    """
    mx, my = (np.asarray(v, dtype=np.float64) for v in measured)
    px, py = (np.asarray(v, dtype=np.float64) for v in predicted)
    ny, nx = shape
    margin = search.shift + search.tolerance
    near = (np.abs(px - nx / 2) < nx / 2 + margin) & (np.abs(py - ny / 2) < ny / 2 + margin)
    keep = np.flatnonzero(near)
    px, py = px[keep], py[keep]
    area = (1 + 2 * margin / nx) * (1 + 2 * margin / ny)
    best = None
    for bright in (25, 50, 100, 200):
        # equal depth: as many reference stars per area as image stars
        m, p = slice(0, bright), slice(0, int(np.ceil(bright * area)))
        found = _search(mx[m], my[m], px[p], py[p], shape, search)
        if found and (best is None or found.log10_chance < best.log10_chance):
            best = found
        if best is not None and best.log10_chance < -20:
            break
        if bright >= max(len(mx), len(px)):
            break
    if best is None:
        return None
    return PatternMatch(
        best.matrix, best.offset, best.measured, keep[best.predicted], best.log10_chance
    )


def _search(mx, my, px, py, shape, search: Search) -> PatternMatch | None:
    if min(len(mx), len(px)) < search.minimum:
        return None
    candidates, trials = _vote(mx, my, px, py, shape, search)
    best = None
    for start in candidates:
        found = _refine(mx, my, px, py, shape, search, start)
        if found and (best is None or found.log10_chance < best.log10_chance):
            best = found
    if best is None or best.log10_chance > np.log10(CHANCE / trials):
        return None
    return best


def _vote(mx, my, px, py, shape, search: Search):
    """Let all differences vote; return the best (matrix, offset) and the number of trials."""
    ny, nx = shape
    centre = np.array([(nx - 1) / 2, (ny - 1) / 2])
    reach = np.hypot(nx, ny) / 2
    cell = 2 * search.tolerance
    angles = _steps(search.rotation * RAD, cell / reach)
    scales = _steps(search.scale, cell / reach)
    side = int(np.ceil(2 * search.shift / cell)) + 3
    cx, cy = px - centre[0], py - centre[1]
    peaks: list[tuple] = []
    for angle in angles:
        cos, sin = np.cos(angle), np.sin(angle)
        for scale in scales:
            matrix = (1 + scale) * np.array([[cos, -sin], [sin, cos]])
            qx = matrix[0, 0] * cx + matrix[0, 1] * cy + centre[0]
            qy = matrix[1, 0] * cx + matrix[1, 1] * cy + centre[1]
            votes = _histogram(mx[:, None] - qx, my[:, None] - qy, search.shift, cell, side)
            top = np.argsort(-votes, axis=None, kind="stable")[:4]
            for index in top:
                j, i = divmod(int(index), side - 1)
                # the block of 2 x 2 cells is centred on the corner between its cells
                shift = np.array([i, j]) * cell - search.shift
                offset = shift + centre - matrix @ centre
                peaks.append((-int(votes.flat[index]), len(peaks), matrix, offset))
    peaks.sort(key=lambda peak: peak[:2])
    trials = len(angles) * len(scales) * (side - 1) ** 2
    return [peak[2:] for peak in peaks[:CANDIDATES]], trials


def _steps(limit: float, step: float) -> np.ndarray:
    n = int(np.ceil(limit / step))
    return np.arange(-n, n + 1) * (limit / n) if n else np.zeros(1)


def _histogram(dx, dy, shift: float, cell: float, side: int) -> np.ndarray:
    """Count shifts in cells and sum blocks of 2 x 2, so that no peak is cut by an edge."""
    ok = (np.abs(dx) <= shift) & (np.abs(dy) <= shift)
    i = np.floor((dx[ok] + shift) / cell).astype(np.int64) + 1
    j = np.floor((dy[ok] + shift) / cell).astype(np.int64) + 1
    counts = np.bincount(j * side + i, minlength=side * side)[: side * side].reshape(side, side)
    return counts[:-1, :-1] + counts[1:, :-1] + counts[:-1, 1:] + counts[1:, 1:]


def _refine(mx, my, px, py, shape, search: Search, start) -> PatternMatch | None:
    """Match, fit, and match again with a smaller radius; then judge against chance."""
    matrix, offset = start
    radius = 3 * search.tolerance
    for k in range(6):
        qx, qy = (matrix @ np.array([px, py])) + offset[:, None]
        im, ip, _ = match_pixels(mx, my, qx, qy, radius)
        if len(im) < max(3, search.minimum // 2):
            return None
        fit = _affine if (k >= 3 and len(im) >= 8) else _similarity
        matrix, offset = fit(px[ip], py[ip], mx[im], my[im])
        radius = max(search.tolerance, radius * 0.6)
    qx, qy = (matrix @ np.array([px, py])) + offset[:, None]
    im, ip, distance = match_pixels(mx, my, qx, qy, search.tolerance)
    turn = np.degrees(np.arctan2(matrix[1, 0] - matrix[0, 1], matrix[0, 0] + matrix[1, 1]))
    size = np.sqrt(abs(np.linalg.det(matrix))) - 1
    if len(im) < search.minimum or abs(turn) > 1.5 * search.rotation + 0.1:
        return None
    if abs(size) > 1.5 * search.scale + 0.001:
        return None
    ny, nx = shape
    inside = int(((qx > 0) & (qx < nx) & (qy > 0) & (qy < ny)).sum())
    # stars that fit by construction (three of them fix the map) are no evidence
    rms = np.sqrt(np.mean(np.square(distance)) / 2)
    near = min(search.tolerance, max(3 * rms, 0.5))
    density = len(mx) * np.pi * near**2 / (nx * ny)
    good = int((distance <= near).sum())
    chance = _poisson_tail(max(good - 3, 0), inside * density)
    return PatternMatch(matrix, offset, im, ip, chance)


def _poisson_tail(n: int, mean: float) -> float:
    """Return log10 of the probability of n or more events."""
    from scipy.special import gammainc

    if n <= 0:
        return 0.0
    tail = float(gammainc(n, mean))
    if tail > 0:
        return float(np.log10(tail))
    from scipy.special import gammaln

    return float((n * np.log(mean) - mean - gammaln(n + 1)) / np.log(10))


def _similarity(x, y, u, v) -> tuple[np.ndarray, np.ndarray]:
    """Fit u, v = scale * rotation (x, y) + offset by least squares."""
    z, w = x + 1j * y, u + 1j * v
    zm, wm = z.mean(), w.mean()
    factor = np.vdot(z - zm, w - wm) / np.vdot(z - zm, z - zm).real
    offset = wm - factor * zm
    matrix = np.array([[factor.real, -factor.imag], [factor.imag, factor.real]])
    return matrix, np.array([offset.real, offset.imag])


def _affine(x, y, u, v) -> tuple[np.ndarray, np.ndarray]:
    """Fit an affine map by least squares."""
    xm, ym = x.mean(), y.mean()
    design = np.column_stack([x - xm, y - ym, np.ones_like(x)])
    solution, *_ = np.linalg.lstsq(design, np.column_stack([u, v]), rcond=None)
    matrix = solution[:2].T
    return matrix, solution[2] - matrix @ np.array([xm, ym])
