"""Where the orbits of found objects put them on the sky, and how far the detections lie from that.

The same dynamics as in DayMOPS (N-body to the time of the detection, then the light's way back),
so that a residual of a detection that DayMOPS did not write tonight means the same as one it did.
"""

from typing import Any

import numpy as np

from alertprod.core import ephemeris, nbody, observer, orbits
from alertprod.core.tables import Table, n_rows

STEP_D = 1.0 / 48.0  # fine enough for the loops that the Earth's turning puts into a track
MARGIN_D = 0.1  # at least so much track is shown beyond the detections
MARGIN = 0.04  # and this part of the arc
FLAT = 0.5  # cosine of the distance up to which a plane stands for the sky


def trace(table: Table, detections: list[Table], obscode: str) -> list[dict[str, Any]]:
    """Follow objects along their orbits over the time of their detections.

    Parameters
    ----------
    table : table
        Rows of product ``orbits``.
    detections : list of tables
        Of each object, with ``midpointMjdTai``; none is empty.
    obscode : str
        MPC station code.

    Returns
    -------
    list of dict
        For each object ``time`` [MJD TAI], ``topo`` (vectors from the observer, shape (m, 3)) and
        ``V`` [mag], of a smooth track that holds the times of all detections.
    """
    if not detections:
        return []
    seen = [np.unique(rows["midpointMjdTai"]) for rows in detections]
    ends = [_ends(times) for times in seen]
    first, last = min(e[0] for e in ends), max(e[1] for e in ends)
    grid = np.arange(first, last + STEP_D, STEP_D)
    times = np.unique(np.concatenate([grid, *seen]))
    topo, brightness = _places(table, times, obscode)
    result = []
    for k, (own, (start, stop)) in enumerate(zip(seen, ends, strict=True)):
        inside = np.isin(times, own) | (np.isin(times, grid) & (times >= start) & (times <= stop))
        result.append({"time": times[inside], "topo": topo[inside, k], "V": brightness[inside, k]})
    return result


def _ends(times: np.ndarray) -> tuple[float, float]:
    margin = max(MARGIN_D, MARGIN * float(np.ptp(times)))
    return float(times[0]) - margin, float(times[-1]) + margin


def _places(table: Table, times: np.ndarray, obscode: str) -> tuple[np.ndarray, np.ndarray]:
    """Vectors from the observer (m, n, 3) and V magnitudes (m, n) of n objects at m times."""
    start = orbits.state_vectors(table)
    epochs, tdb = np.asarray(table["epochMjdTdb"], float), observer.tai_to_tdb(times)
    states = np.empty((len(times), n_rows(table), 6))
    for epoch in np.unique(epochs):
        same = epochs == epoch
        states[:, same] = nbody.trajectory(start[same], float(epoch), tdb)
    topo, brightness = np.empty((*states.shape[:2], 3)), np.empty(states.shape[:2])
    for k, time in enumerate(times):
        now = np.full(n_rows(table), tdb[k])
        helio, seen = ephemeris.topocentric(states[k], now, float(time), obscode)
        topo[k] = seen[:, :3]
        brightness[k] = ephemeris.magnitude_hg(
            table["H"], table["G"], np.linalg.norm(helio[:, :3], axis=1),
            np.linalg.norm(seen[:, :3], axis=1), ephemeris.phase_angle(helio, seen),
        )  # fmt: skip
    return topo, brightness


def residuals(rows: Table, track: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Observed minus computed, east (with cos dec) and north [arcsec], of detections on a track."""
    place = np.searchsorted(track["time"], rows["midpointMjdTai"])
    east, north = np.empty(len(place)), np.empty(len(place))
    for k, row in enumerate(place):
        ra, dec = rows["ra"][k], rows["dec"][k]
        e, n = ephemeris.tangent_offsets(ra, dec, track["topo"][row][None])
        east[k], north[k] = -e[0], -n[0]
    return east, north


def against_mean_motion(rows: Table, track: dict[str, Any]) -> dict[str, Any]:
    """Take the mean motion out of a track and its detections.

    Parameters
    ----------
    rows : table
        Detections: ``midpointMjdTai``, ``ra``, ``dec``.
    track : dict
        From `trace`.

    Returns
    -------
    dict
        ``east``, ``north`` of the track, ``rowEast``, ``rowNorth`` of the detections [arcsec], in
        the plane that touches the sky at the middle detection (up to 60 degrees from it; the track
        ends there, detections beyond are NaN); ``rate`` [deg/d] and ``angle`` [deg, from north
        through east] of the motion that was taken out.
    """
    middle = np.argsort(rows["midpointMjdTai"], kind="stable")[len(rows["ra"]) // 2]
    ra, dec = float(rows["ra"][middle]), float(rows["dec"][middle])
    centre, sky = orbits.unit_vectors(ra, dec), orbits.unit_vectors(rows["ra"], rows["dec"])
    flat = track["topo"] @ centre > FLAT * np.linalg.norm(track["topo"], axis=1)
    path = np.stack(ephemeris.tangent_offsets(ra, dec, track["topo"][flat]))
    seen = np.stack(ephemeris.tangent_offsets(ra, dec, sky))
    seen[:, sky @ centre <= FLAT] = np.nan
    epoch = rows["midpointMjdTai"][middle]
    time, when = track["time"][flat] - epoch, rows["midpointMjdTai"] - epoch
    slope, zero = np.polyfit(time, path.T, 1)
    path, seen = path - np.outer(slope, time), seen - np.outer(slope, when)
    path, seen = path - zero[:, None], seen - zero[:, None]
    return {
        "east": path[0], "north": path[1], "rowEast": seen[0], "rowNorth": seen[1],
        "rate": float(np.hypot(*slope)) / 3600.0,
        "angle": float(np.rad2deg(np.arctan2(*slope))) % 360.0,
    }  # fmt: skip
