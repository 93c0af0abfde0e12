"""Find more detections of an object by its orbit: before, between and after those of its linkage.

An orbit of a few nights predicts the place of its object in every visit of the window. A single
source inside the ellipse of prediction and measurement that is as bright as it should be is one
more detection, where chance would hardly have put one: visits without a pair, pairs of which one
half was lost, nights before the object was noticed.

References
----------
Milani, A. & Gronchi, G. F. 2010, Theory of Orbit Determination, ch. 8 (attribution).
"""

from __future__ import annotations

import logging

import numpy as np
from scipy.spatial import cKDTree

from alertprod.core import ephemeris, nbody, observer, orbits, tables

log = logging.getLogger(__name__)

ARCSEC = np.pi / 648000.0


def search(fitted, singles, linkages, options) -> dict:
    """Find single sources that belong to fitted orbits and not yet to their linkages.

    Parameters
    ----------
    fitted : table
        Orbits of linkages (columns of product ``orbits``, with ``linkageId``).
    singles : table
        Product ``singles`` of the nights of the window, stacked.
    linkages : table
        Product ``linkages``: its detections are taken.
    options : dict
        Section ``daymops``, complete, with the station.

    Returns
    -------
    table
        Rows of `singles` with ``linkageId``; a source belongs to one object at most, and an
        object has at most one source in a visit.
    """
    free = ~np.isin(singles["diaSourceId"], linkages["diaSourceId"])
    sources = tables.take(singles, free)
    chosen = np.flatnonzero(fitted["quality"] != "poor")
    if not len(chosen) or not tables.n_rows(sources):
        return _rows(sources, np.zeros(0, int), np.zeros(0, int))
    orbit = Orbits(tables.take(fitted, chosen))
    seen = _visits_of(linkages)
    found: list[tuple[float, int, int]] = []
    unit = orbits.unit_vectors(sources["ra"], sources["dec"])
    for night in np.unique(sources["visit"] // 100_000):
        rows = np.flatnonzero(sources["visit"] // 100_000 == night)
        orbit.move(float(np.median(sources["midpointMjdTai"][rows])))
        for visit in np.unique(sources["visit"][rows]):
            mine = rows[sources["visit"][rows] == visit]
            for cost, k, row in _match(orbit, sources, unit, mine, options):
                if (int(orbit.table["linkageId"][k]), int(visit)) not in seen:
                    found.append((cost, k, row))
    best = _one_to_one(found, sources["visit"])
    owner = np.array([orbit.table["linkageId"][k] for k, _ in best], dtype=np.int64)
    return _rows(sources, owner, np.array([row for _, row in best], dtype=np.int64))


class Orbits:
    """Orbits with their states carried to the night at hand."""

    def __init__(self, table) -> None:
        self.table = table
        self.start = orbits.state_vectors(table)
        self.epoch = np.asarray(table["epochMjdTdb"], float)
        self.covariance = orbits.covariance_matrices(table)
        self.states, self.time = self.start, self.epoch

    def move(self, mjd_tai: float) -> None:
        """Carry the states to a time by N-body; two-body motion is good for a night from there."""
        time = float(observer.tai_to_tdb(mjd_tai))
        self.states = nbody.propagate(self.start, self.epoch, time)
        self.time = np.full(len(self.start), time)

    def sky(self, mjd_tai: float, obscode: str):
        """Return positions (n, 3 unit), helio and topo vectors, covariances [arcsec^2]."""
        helio, topo = ephemeris.topocentric(self.states, self.time, mjd_tai, obscode)
        cov = ephemeris.sky_covariance(self.start, self.epoch, self.covariance, mjd_tai, obscode)
        unit = topo[:, :3] / np.linalg.norm(topo[:, :3], axis=1)[:, None]
        return unit, helio, topo, cov


def _visits_of(linkages) -> set[tuple[int, int]]:
    """Pairs of linkage and visit that have a detection already."""
    pairs = zip(linkages["linkageId"].tolist(), linkages["visit"].tolist(), strict=True)
    return set(pairs)


def _match(orbit, sources, unit, mine, options) -> list[tuple[float, int, int]]:
    """Acceptable pairs (chi square, orbit, source) of one visit."""
    time = float(sources["midpointMjdTai"][mine[0]])
    place, helio, topo, cov = orbit.sky(time, options["obscode"])
    size = np.sqrt(np.trace(cov, axis1=1, axis2=2))
    # an orbit that cannot say where its object is would claim whatever lies there
    known = np.flatnonzero(size <= options["precovery_arcsec"])
    if not len(known):
        return []
    tree = cKDTree(unit[mine])
    reach = 1.5 * options["gate_sigma"] * np.hypot(size[known], 0.2) * ARCSEC
    pairs = []
    for k, near in zip(known, tree.query_ball_point(place[known], reach), strict=True):
        for row in mine[np.array(near, dtype=int)]:
            chi2 = _chi2(topo[k], cov[k], sources, row)
            if chi2 <= options["gate_sigma"] ** 2 and _bright_enough(
                orbit.table, k, (helio[k], topo[k]), sources, row, options["precovery_mag"]
            ):
                pairs.append((chi2, int(k), int(row)))
    return pairs


def _chi2(topo, cov, sources, row) -> float:
    east, north = ephemeris.tangent_offsets(sources["ra"][row], sources["dec"][row], topo[None])
    shrink = np.cos(np.deg2rad(sources["dec"][row]))
    errors = 3600.0 * np.array([sources["raErr"][row] * shrink, sources["decErr"][row]])
    offset = np.array([east[0], north[0]])
    return float(offset @ np.linalg.solve(cov + np.diag(errors**2), offset))


def _bright_enough(table, k, vectors, sources, row, most: float) -> bool:
    """Say whether a source is as bright as the object should be, where both are known."""
    magnitude, h = float(sources["mag"][row]), float(table["H"][k])
    if not np.isfinite(magnitude) or h > 90.0:
        return True
    helio, topo = (v[None] for v in vectors)
    expected = ephemeris.magnitude_hg(
        h, table["G"][k], np.linalg.norm(helio[:, :3], axis=1),
        np.linalg.norm(topo[:, :3], axis=1), ephemeris.phase_angle(helio, topo),
    )[0]  # fmt: skip
    colour = orbits.V_MINUS_BAND.get(str(sources["band"][row]), 0.0)
    return abs(magnitude + colour - expected) <= most


def _one_to_one(found, visit) -> list[tuple[int, int]]:
    """Best pairs first; an object takes one source of a visit, a source goes to one object."""
    taken, done, best = set(), set(), []
    for _, k, row in sorted(found):
        if row in taken or (k, int(visit[row])) in done:
            continue
        taken.add(row)
        done.add((k, int(visit[row])))
        best.append((k, row))
    return sorted(best)


def _rows(sources, owner, rows) -> dict:
    return {**tables.take(sources, rows), "linkageId": np.asarray(owner, dtype=np.int64)}


def extended(linkages, more) -> dict:
    """Rows of `linkages` together with further detections of the same linkages.

    What describes a linkage as a whole (state, number of nights) is copied from its first row;
    no tracklet brought the others. Their DIAObject is left out (linkages have none).
    """
    if not tables.n_rows(more):
        return linkages
    ids, first = np.unique(linkages["linkageId"], return_index=True)
    like = tables.take(linkages, first[np.searchsorted(ids, more["linkageId"])])
    shared = {name: more[name] for name in like if name in more}
    none = np.zeros(tables.n_rows(more), dtype=np.int64)
    like = {**like, **shared, "trackletId": none}
    both = tables.stack([linkages, tables.conform(like, "linkages")])
    return tables.sort_by(both, "linkageId", "midpointMjdTai", "diaSourceId")
