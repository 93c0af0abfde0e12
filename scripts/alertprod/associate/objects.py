"""Summary statistics of DIAObjects, in the columns of the official schema.

Fluxes are weighted means with inverse variances; they agree with the values in Rubin's own alerts
to float32 (a test computes them from the histories in those alerts).
"""

import numpy as np

from alertprod.core.tables import Table, n_rows

BANDS = "ugrizy"
#: Columns of the history that the statistics need.
SOURCE_COLUMNS = [
    "diaSourceId",
    "diaObjectId",
    "midpointMjdTai",
    "band",
    "ra",
    "dec",
    "raErr",
    "decErr",
    "ra_dec_Cov",
    "psfFlux",
    "psfFluxErr",
    "scienceFlux",
    "scienceFluxErr",
    "timeWithdrawnMjdTai",
]
FORCED_COLUMNS = [
    "diaForcedSourceId",
    "diaObjectId",
    "midpointMjdTai",
    "band",
    "psfFlux",
    "psfFluxErr",
]


def summarise(ids: np.ndarray, sources: Table, forced: Table | None = None) -> Table:
    """Compute position and flux statistics of DIAObjects.

    Parameters
    ----------
    ids : int64, shape (n,)
        Rising DIAObject identifiers, each with at least one source.
    sources : dict of arrays
        `SOURCE_COLUMNS` of all their DIASources, in any order.
    forced : dict of arrays, optional
        `FORCED_COLUMNS` of their DIAForcedSources.

    Returns
    -------
    dict of arrays, shape (n,)
        The columns of DiaObject except the validity times; floats that do not exist are NaN.

    Notes
    -----
    The position is the direction of the mean unit vector. Its errors are those of a plain mean of
    positions with the quoted errors.
    """
    sources = _time_order(sources)
    owner = np.searchsorted(ids, sources["diaObjectId"])
    result: Table = {"diaObjectId": ids.astype(np.int64), **_positions(owner, sources, len(ids))}
    for band in BANDS:
        here = _band(sources, owner, band)
        result |= _flux_statistics(here, len(ids), band)
    if forced is not None:
        forced = _time_order(forced, "diaForcedSourceId")
        owner_f = np.searchsorted(ids, forced["diaObjectId"])
    for band in BANDS:
        mean = error = np.full(len(ids), np.nan)
        if forced is not None and n_rows(forced):
            here = _band(forced, owner_f, band)
            mean, error = weighted_mean(here["owner"], here["flux"], here["error"], len(ids))
        result[f"{band}_fpFluxMean"], result[f"{band}_fpFluxMeanErr"] = mean, error
    first, last = _span(owner, sources["midpointMjdTai"], len(ids))
    result["firstDiaSourceMjdTai"], result["lastDiaSourceMjdTai"] = first, last
    result["nDiaSources"] = np.bincount(owner, minlength=len(ids)).astype(np.int32)
    exact = {"diaObjectId", "ra", "dec", "firstDiaSourceMjdTai", "lastDiaSourceMjdTai"}
    return {
        name: column.astype(np.float32)
        if column.dtype.kind == "f" and name not in exact
        else column
        for name, column in result.items()
    }


def _time_order(table: Table, identifier: str = "diaSourceId") -> Table:
    order = np.lexsort([table[identifier], table["midpointMjdTai"], table["diaObjectId"]])
    return {name: column[order] for name, column in table.items()}


def _span(owner, time, count):
    first, last = np.full(count, np.inf), np.full(count, -np.inf)
    np.minimum.at(first, owner, time)
    np.maximum.at(last, owner, time)
    return first, last


def _positions(owner, sources: Table, count: int) -> Table:
    number = np.bincount(owner, minlength=count).astype(np.float64)
    a, d = np.radians(sources["ra"]), np.radians(sources["dec"])
    parts = (np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d))
    x, y, z = (np.bincount(owner, part, count) / number for part in parts)
    result = {
        "ra": np.degrees(np.arctan2(y, x)) % 360.0,
        "dec": np.degrees(np.arctan2(z, np.hypot(x, y))),
    }
    for name in ("raErr", "decErr"):
        square = np.square(sources[name].astype(np.float64))
        result[name] = np.sqrt(np.bincount(owner, square, count)) / number
    covariance = sources["ra_dec_Cov"].astype(np.float64)
    result["ra_dec_Cov"] = np.bincount(owner, covariance, count) / number**2
    return result


def _band(table: Table, owner, band: str) -> Table:
    """Return owner, time, flux and error of one band, in time order per object."""
    pick = table["band"] == band
    here = {
        "owner": owner[pick],
        "time": table["midpointMjdTai"][pick],
        "flux": table["psfFlux"][pick].astype(np.float64),
        "error": table["psfFluxErr"][pick].astype(np.float64),
    }
    if "scienceFlux" in table:
        here["science"] = table["scienceFlux"][pick].astype(np.float64)
        here["science_error"] = table["scienceFluxErr"][pick].astype(np.float64)
    return here


def weighted_mean(owner, value, error, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return inverse-variance weighted means and their errors per owner; NaN without data."""
    good = np.isfinite(value) & np.isfinite(error) & (error > 0)
    weight = 1.0 / np.square(error[good])
    total = np.bincount(owner[good], weight, count)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.bincount(owner[good], weight * value[good], count) / total
        return mean, np.where(total > 0, 1.0 / np.sqrt(total), np.nan)


def _flux_statistics(here: Table, count: int, band: str) -> Table:
    good = np.isfinite(here["flux"])
    owner, flux, time = here["owner"][good], here["flux"][good], here["time"][good]
    number = np.bincount(owner, minlength=count)
    mean, error = weighted_mean(here["owner"], here["flux"], here["error"], count)
    science = weighted_mean(here["owner"], here["science"], here["science_error"], count)
    low, high = _extremes(owner, flux, count)
    known = np.isfinite(here["error"])
    errors = np.bincount(here["owner"][known], here["error"][known], count)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean_error = errors / np.bincount(here["owner"][known], minlength=count)
    return {
        f"{band}_psfFluxMean": mean,
        f"{band}_psfFluxMeanErr": error,
        f"{band}_psfFluxSigma": _sigma(owner, flux, number),
        f"{band}_psfFluxNdata": number.astype(np.int32),
        f"{band}_scienceFluxMean": science[0],
        f"{band}_scienceFluxMeanErr": science[1],
        f"{band}_psfFluxMin": low,
        f"{band}_psfFluxMax": high,
        f"{band}_psfFluxMaxSlope": _steepest(owner, flux, time, count),
        f"{band}_psfFluxErrMean": mean_error,
    }


def _extremes(owner, flux, count):
    low, high = np.full(count, np.inf), np.full(count, -np.inf)
    np.minimum.at(low, owner, flux)
    np.maximum.at(high, owner, flux)
    return np.where(np.isfinite(low), low, np.nan), np.where(np.isfinite(high), high, np.nan)


def _sigma(owner, flux, number):
    """Return the sample standard deviation (n - 1); NaN for fewer than two points."""
    count = len(number)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.bincount(owner, flux, count) / number
        square = np.bincount(owner, np.square(flux - mean[owner]), count)
        return np.where(number > 1, np.sqrt(square / (number - 1)), np.nan)


def _steepest(owner, flux, time, count):
    """Return the largest rise per day between successive points; NaN for fewer than two."""
    result = np.full(count, -np.inf)
    step = np.diff(time)
    pair = (owner[1:] == owner[:-1]) & (step > 0)
    np.maximum.at(result, owner[1:][pair], np.diff(flux)[pair] / step[pair])
    return np.where(np.isfinite(result), result, np.nan)
