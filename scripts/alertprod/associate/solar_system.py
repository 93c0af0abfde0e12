"""Attribution of DIASources to solar-system objects whose positions were predicted.

Solar-system objects come before DIAObjects: a source that a known asteroid explains must not make
a new object. The offset is judged with the error ellipse of the prediction, not with a fixed
radius alone.
"""

import numpy as np

from alertprod.associate.assign import (
    ARCSEC,
    assign,
    mixture_cost,
    offsets,
    pairs_within,
    sigmas,
)
from alertprod.core.tables import Table, n_rows, take

PREFIX = "ssSource_"
ORBIT_PREFIX = "mpc_orbits_"
#: Columns of ``predicted`` that stand in an alert's ``ssSource`` under the same name.
FROM_PREDICTION = (
    "ssObjectId designation elongation phaseAngle topoRange topoRangeRate helioRange "
    "helioRangeRate ephRa ephDec ephVmag ephRate ephRateRa ephRateDec helio_x helio_y helio_z "
    "helio_vx helio_vy helio_vz helio_vtot topo_x topo_y topo_z topo_vx topo_vy topo_vz topo_vtot"
).split()
#: Column of the official ``mpc_orbits`` -> column of ``predicted``.
ORBIT = {
    "designation": "designation",
    "q": "q",
    "e": "e",
    "i": "incl",
    "node": "node",
    "argperi": "argperi",
    "peri_time": "periTimeMjdTdb",
    "epoch_mjd": "epochMjdTdb",
    "h": "H",
    "g": "G",
}
NO_MAGNITUDE = 90.0  # catalogues write 99 for an unknown one
#: Directions of the ecliptic and galactic axes in ICRS (obliquity 84381.448"; Hipparcos vol. 1).
ECLIPTIC = np.array(
    [
        [1.0, 0.0, 0.0],
        [0.0, 0.9174820620691818, 0.3977771559319137],
        [0.0, -0.3977771559319137, 0.9174820620691818],
    ]
)
GALACTIC = np.array(
    [
        [-0.0548755604162154, -0.8734370902348850, -0.4838350155487132],
        [0.4941094278755837, -0.4448296299600112, 0.7469822444972189],
        [-0.8676661490190047, -0.1980763734312015, 0.4559837761750669],
    ]
)


def attribute(sources: Table, predicted: Table | None, config: dict) -> tuple[np.ndarray, Table]:
    """Attribute DIASources to predicted objects, one to one.

    Parameters
    ----------
    sources : dict of arrays
        DIASources, sorted by identifier.
    predicted : dict of arrays or None
        Product ``predicted`` of the visit.
    config : dict
        ``sso_radius_arcsec`` (never farther than this plus the predicted error),
        ``sso_sigmas``, ``sigma_floor_arcsec``, ``sigma_default_arcsec``, ``stray_fraction``.

    Returns
    -------
    index : int64, shape (n_sources,)
        Row of `predicted`, -1 for none.
    columns : dict of arrays, shape (n_sources,)
        The ``ssSource_`` and ``mpc_orbits_`` columns of the association; null where index is -1.
    """
    count = n_rows(sources)
    nobody = np.full(count, -1, dtype=np.int64)
    if predicted is None or n_rows(predicted) == 0 or count == 0:
        return nobody, _columns(sources, None, nobody, nobody)
    floor, fallback = config["sigma_floor_arcsec"], config["sigma_default_arcsec"]
    pe, pn = sigmas(predicted, 0.0, 0.0)
    reach = config["sso_radius_arcsec"] + config["sso_sigmas"] * np.hypot(pe, pn)
    reach = np.minimum(reach, config["sso_largest_arcsec"])
    i, j, separation = pairs_within(
        sources["ra"], sources["dec"], predicted["ra"], predicted["dec"], reach
    )
    rank = _rank(i, j, separation)
    se, sn = sigmas(sources, floor, fallback)
    cosine = np.cos(np.radians(predicted["dec"]))
    pc = predicted["ra_dec_Cov"].astype(np.float64) * cosine * ARCSEC**2
    pc = np.where(np.isfinite(pc), pc, 0.0)
    east, north = offsets(
        sources["ra"][i], sources["dec"][i], predicted["ra"][j], predicted["dec"][j]
    )
    # A trail smears the position along the motion; half its length is a fair error.
    te, tn = _trail_sigmas(sources, predicted, i, j)
    a, b = se[i] ** 2 + pe[j] ** 2 + te**2, sn[i] ** 2 + pn[j] ** 2 + tn**2
    c = pc[j] + te * tn
    determinant = np.maximum(a * b - c * c, 1e-3 * a * b)
    chi2 = (b * east**2 - 2 * c * east * north + a * north**2) / determinant
    close = separation <= config["sso_radius_arcsec"]
    allowed = close | (chi2 <= config["sso_sigmas"] ** 2)
    stray = config["stray_fraction"]
    cost = mixture_cost(chi2, 2 * np.pi * np.sqrt(determinant), reach[j], stray)
    i, j, cost = i[allowed], j[allowed], cost[allowed]
    worst = -np.log(stray / (np.pi * reach.max() ** 2)) + 1e-6
    index = assign(i, j, cost, np.full(count, worst), count)
    ranks = np.full(count, -1, dtype=np.int64)
    for s, p, r in zip(*rank, strict=True):
        if index[s] == p:
            ranks[s] = r
    return index, _columns(sources, predicted, index, ranks)


def _trail_sigmas(sources, predicted, i, j):
    """Return signed east and north components of the error along the motion [arcsec]."""
    days = np.nan_to_num(sources["exposureTime"][i].astype(np.float64)) / 86400.0
    factor = ARCSEC * days / np.sqrt(12.0)  # standard deviation of a uniform spread
    east = predicted["ephRateRa"][j].astype(np.float64) * factor
    north = predicted["ephRateDec"][j].astype(np.float64) * factor
    return np.nan_to_num(east), np.nan_to_num(north)


def _rank(i, j, separation):
    """Return sources, objects and the rank of each source by closeness to its object (from 1)."""
    order = np.lexsort([i, separation, j])
    i, j = i[order], j[order]
    start = np.flatnonzero(np.r_[True, j[1:] != j[:-1]]) if len(j) else np.zeros(0, int)
    first = np.repeat(start, np.diff(np.r_[start, len(j)]))
    return i, j, np.arange(len(j)) - first + 1


def _columns(sources: Table, predicted: Table | None, index, ranks) -> Table:
    """Make the nullable columns: values where a source has an object, null elsewhere."""
    found = index >= 0
    if predicted is None or not found.any():
        return {}
    hit = take(predicted, index[found])
    values = {PREFIX + name: hit[name] for name in FROM_PREDICTION if name in hit}
    for official, ours in ORBIT.items():
        if ours in hit:
            values[ORBIT_PREFIX + official] = hit[ours]
    bright = hit["H"] < NO_MAGNITUDE
    values[ORBIT_PREFIX + "h"] = np.where(bright, hit["H"], np.nan)
    values[PREFIX + "ephVmag"] = np.where(bright, hit["ephVmag"], np.nan)
    here = take(sources, found)
    values |= {PREFIX + name: value for name, value in observed(here, hit).items()}
    values[PREFIX + "diaDistanceRank"] = ranks[found]
    result = {}
    for name, value in values.items():
        blank = {"f": np.nan, "O": "", "i": 0}[np.asarray(value).dtype.kind]
        column = np.full(len(index), blank, dtype=np.asarray(value).dtype)
        column[found] = value
        result[name] = column
    return result


def observed(sources: Table, predicted: Table) -> Table:
    """Compute what ``ssSource`` says of observed positions: coordinates and offsets.

    Offsets are observed minus predicted [arcsec], east with cos(dec), as in Rubin's own alerts.
    """
    east, north = offsets(sources["ra"], sources["dec"], predicted["ra"], predicted["dec"])
    rate_e = predicted["ephRateRa"].astype(np.float64)
    rate_n = predicted["ephRateDec"].astype(np.float64)
    speed = np.hypot(rate_e, rate_n)
    with np.errstate(invalid="ignore", divide="ignore"):
        ue, un = rate_e / speed, rate_n / speed
    result = {
        "ephOffset": np.hypot(east, north),
        "ephOffsetRa": east,
        "ephOffsetDec": north,
        "ephOffsetAlongTrack": east * ue + north * un,
        "ephOffsetCrossTrack": north * ue - east * un,
    }
    for names, axes in ((("eclLambda", "eclBeta"), ECLIPTIC), (("galLon", "galLat"), GALACTIC)):
        result |= dict(zip(names, _rotated(sources["ra"], sources["dec"], axes), strict=True))
    return result


def _rotated(ra, dec, axes):
    a, d = np.radians(ra), np.radians(dec)
    vector = axes @ np.stack([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)])
    longitude = np.degrees(np.arctan2(vector[1], vector[0])) % 360.0
    return longitude, np.degrees(np.arctan2(vector[2], np.hypot(vector[0], vector[1])))
