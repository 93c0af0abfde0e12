"""Which source belongs to which object: one-to-one, by the likelihood of the positions.

References
----------
Budavári & Szalay 2008, ApJ 679, 301 (probabilistic cross-identification);
Jonker & Volgenant 1987, Computing 38, 325 (linear assignment).
"""

import numpy as np

from alertprod.core.apdb.rows import unit_vectors

ARCSEC = 3600.0
#: Weight of the squared separation that decides between pairs which the likelihood holds equal.
TIE_WEIGHT = 1e-6


def pairs_within(ra1, dec1, ra2, dec2, radius) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find all pairs of positions closer than `radius`.

    Parameters
    ----------
    ra1, dec1 : array, shape (n,)
        [deg]
    ra2, dec2 : array, shape (m,)
        [deg]
    radius : float or array, shape (m,)
        [arcsec], per entry of the second list if an array.

    Returns
    -------
    first, second : int64, shape (k,)
        Indices, sorted by first, then second.
    separation : float64, shape (k,)
        [arcsec]
    """
    from scipy.spatial import cKDTree

    nothing = np.zeros(0, dtype=np.int64)
    if len(ra1) == 0 or len(ra2) == 0:
        return nothing, nothing, np.zeros(0)
    one, two = unit_vectors(ra1, dec1), unit_vectors(ra2, dec2)
    chord = 2.0 * np.sin(np.radians(np.asarray(radius, dtype=np.float64) / ARCSEC) / 2.0)
    found = cKDTree(one).query_ball_point(two, chord)
    counts = [len(entry) for entry in found]
    first = np.array([index for entry in found for index in entry], dtype=np.int64)
    second = np.repeat(np.arange(len(two)), counts)
    order = np.lexsort([second, first])
    first, second = first[order], second[order]
    length = np.linalg.norm(one[first] - two[second], axis=1)
    return first, second, np.degrees(2.0 * np.arcsin(length / 2.0)) * ARCSEC


def offsets(ra, dec, ra0, dec0) -> tuple[np.ndarray, np.ndarray]:
    """Return the small offsets east (with cos dec) and north of ra, dec from ra0, dec0 [arcsec]."""
    east = (np.asarray(ra) - ra0 + 180.0) % 360.0 - 180.0
    return east * np.cos(np.radians(dec0)) * ARCSEC, (np.asarray(dec) - dec0) * ARCSEC


def sigmas(table: dict, floor: float, fallback: float) -> tuple[np.ndarray, np.ndarray]:
    """Return position errors east and north [arcsec], never below `floor`.

    ``raErr`` is the error of the coordinate itself, so that cos dec belongs to it here. Where an
    error is missing or not positive, `fallback` stands in.
    """
    result = []
    for name, factor in (("raErr", np.cos(np.radians(table["dec"]))), ("decErr", 1.0)):
        value = np.asarray(table[name], dtype=np.float64) * factor * ARCSEC
        value = np.where(np.isfinite(value) & (value > 0), value, fallback)
        result.append(np.maximum(value, floor))
    return result[0], result[1]


def mixture_cost(chi2, area, radius, stray) -> np.ndarray:
    """Return the negative log likelihood of an offset between two records of one object.

    A Gaussian, plus a fraction of strays that are spread evenly over the search circle, because
    quoted errors are sometimes too small: far pairs cost the same, and never more than that.

    Parameters
    ----------
    chi2 : array
        Squared offset in units of its error.
    area : array
        2 pi times the square root of the determinant of the covariance [arcsec^2].
    radius : float or array
        Search radius [arcsec].
    stray : float
        Fraction of strays.
    """
    gauss = (1.0 - stray) * np.exp(-0.5 * np.asarray(chi2)) / area
    return -np.log(gauss + stray / (np.pi * np.square(radius)))


def assign(first, second, cost, refusal, count: int) -> np.ndarray:
    """Choose pairs so that each index occurs at most once and the total cost is least.

    Parameters
    ----------
    first, second : int array, shape (k,)
        The allowed pairs.
    cost : array, shape (k,)
        Cost of each pair.
    refusal : array, shape (n,)
        Cost of leaving an entry of the first list without a partner.
    count : int
        Length n of the first list.

    Returns
    -------
    int64, shape (n,)
        Partner of each entry of the first list, -1 for none.
    """
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import min_weight_full_bipartite_matching

    partner = np.full(count, -1, dtype=np.int64)
    rows = np.unique(first)
    if rows.size == 0:
        return partner
    columns = np.unique(second)
    r, c = np.searchsorted(rows, first), np.searchsorted(columns, second)
    # A private column for each row stands for "no partner", so that a full matching exists.
    own = np.arange(rows.size)
    weights = np.concatenate([cost, np.asarray(refusal)[rows]])
    weights = weights - weights.min() + 1.0  # the solver takes zeros for absent pairs
    index = (np.concatenate([r, own]), np.concatenate([c, columns.size + own]))
    graph = csr_array((weights, index), shape=(rows.size, columns.size + rows.size))
    chosen_rows, chosen = min_weight_full_bipartite_matching(graph)
    real = chosen < columns.size
    partner[rows[chosen_rows[real]]] = columns[chosen[real]]
    return partner


def match_objects(sources: dict, objects: dict, config: dict) -> np.ndarray:
    """Match DIASources to DIAObjects.

    Parameters
    ----------
    sources, objects : dict of arrays
        ra, dec [deg], raErr, decErr [deg]; sorted by identifier, which decides ties.
    config : dict
        ``radius_arcsec``, ``sigma_floor_arcsec``, ``sigma_default_arcsec``, ``stray_fraction``.

    Returns
    -------
    int64, shape (n_sources,)
        Index of the object, -1 for none.
    """
    radius = config["radius_arcsec"]
    i, j, separation = pairs_within(
        sources["ra"], sources["dec"], objects["ra"], objects["dec"], radius
    )
    floor, fallback = config["sigma_floor_arcsec"], config["sigma_default_arcsec"]
    se, sn = sigmas(sources, floor, fallback)
    oe, on = sigmas(objects, floor, fallback)
    east, north = offsets(sources["ra"][i], sources["dec"][i], objects["ra"][j], objects["dec"][j])
    var_e, var_n = se[i] ** 2 + oe[j] ** 2, sn[i] ** 2 + on[j] ** 2
    area = 2.0 * np.pi * np.sqrt(var_e * var_n)
    stray = config["stray_fraction"]
    cost = mixture_cost(east**2 / var_e + north**2 / var_n, area, radius, stray)
    cost += TIE_WEIGHT * (separation / radius) ** 2
    # Dearer than the worst pair: inside the circle a lone pair always matches.
    refusal = np.full(len(sources["ra"]), -np.log(stray / (np.pi * radius**2)) + 2 * TIE_WEIGHT)
    return assign(i, j, cost, refusal, len(sources["ra"]))
