"""How likely the Minor Planet Center finds an object to be near the Earth, by its own program.

digest2 ranges the orbits that one night's motion allows and weighs them by the known population.
The MPC puts objects with 65 or more on its confirmation page.

References
----------
Keys, S. et al. 2019, PASP 131, 064501 (digest2).
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from alertprod.core import observer

WORTH = 1.0  # percent; an orbit that is surely no near-Earth object's is not rated (27 ms each)


def digest2_scores(detections, groups, obscode) -> np.ndarray:
    """Rate objects by the first night on which each was seen twice.

    Parameters
    ----------
    detections : table
        visit, midpointMjdTai, ra, dec, raErr, decErr [deg], mag, band.
    groups : list of ndarray of int
        Rows of each object, in order of time.
    obscode : str
        MPC station code.

    Returns
    -------
    ndarray, shape (n,)
        Score (0 to 100) of the class NEO among unknown objects; NaN for an object that was never
        seen twice in a night.
    """
    from digest2 import Digest2
    from digest2.observation import Observation

    scores = np.full(len(groups), np.nan)
    if not len(groups):
        return scores
    utc = observer.tai_to_utc(detections["midpointMjdTai"])
    shrink = np.cos(np.deg2rad(detections["dec"]))
    with tempfile.TemporaryDirectory() as folder:
        stations = Path(folder, "stations")
        stations.write_text(_station_line(obscode))
        with Digest2(obscodes_path=str(stations)) as program:
            for k, rows in enumerate(groups):
                night = _first_pair(detections["visit"], rows)
                if not len(night):
                    continue
                seen = [
                    Observation(
                        mjd=float(utc[i]), ra=float(detections["ra"][i]),
                        dec=float(detections["dec"][i]),
                        mag=float(np.nan_to_num(detections["mag"][i])),
                        band=str(detections["band"][i])[:1] or "V", obscode=obscode,
                        rms_ra=float(3600.0 * detections["raErr"][i] * shrink[i]),
                        rms_dec=float(3600.0 * detections["decErr"][i]),
                    )
                    for i in night
                ]  # fmt: skip
                scores[k] = program.classify_tracklet(seen, classes=["NEO"], is_ades=True).noid.NEO
    return scores


def _first_pair(visit, rows):
    """Rows of the first night that has two or more."""
    _, back, count = np.unique(visit[rows] // 100_000, return_inverse=True, return_counts=True)
    enough = np.flatnonzero(count >= 2)
    return rows[back == enough[0]] if len(enough) else rows[:0]


def _station_line(obscode) -> str:
    """Header and one station as in the MPC's list of codes: longitude, rho cos, rho sin."""
    longitude, cosine, sine = observer.station(obscode)
    place = f"{longitude:9.5f}{cosine:8.6f}{sine:+9.6f}"
    return f"Code  Long.   cos      sin    Name\n{obscode:3s} {place}{obscode}\n"
