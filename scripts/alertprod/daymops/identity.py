"""Which linkages are objects that somebody knows: found by us before, or in the catalogue.

Both tests begin with the place and motion on the sky at one instant, which a linkage tells well
whatever its distance, and end with the detections themselves.

References
----------
Milani, A. & Gronchi, G. F. 2010, Theory of Orbit Determination, ch. 7 (identification).
"""

from __future__ import annotations

import logging

import numpy as np
from scipy.spatial import cKDTree

from alertprod.core import ephemeris, kepler, nbody, observer, orbits
from alertprod.core.catalog import read_orbits
from alertprod.daymops import algebra, fit

log = logging.getLogger(__name__)

NEAR_DEG = 1.0  # an orbit of ours that is farther from a linkage is not looked at closely
DRIFT = 0.015  # per day, of the offset of a stale orbit: its motion is off, too
RATE_FLOOR = np.deg2rad(5.0 / 3600.0)  # per day: error of the motion of a short arc
STALE_DEG_DAY = 1e-3  # what two-body motion may be off by, per day from the epoch
MOST_STALE_DEG = 2.0
WORSE = 30.0  # chi square (six numbers are given) by which the catalogue's orbit may fit worse
STEPS = 8
ARCSEC = np.pi / 648000.0


def found_before(linkages, fitted, before, options) -> np.ndarray:
    """Which of our earlier orbits each linkage belongs to: its row in `before`, or -1.

    An orbit and a linkage are one if the orbit predicts the first, middle and last detection to
    within the gate widened by its own uncertainty; the nearest prediction wins.

    Parameters
    ----------
    linkages : table
        Product ``linkages``.
    fitted : table
        Their orbits.
    before : table
        Product ``orbits`` of the night before.
    options : dict
        Section ``daymops`` with the station.
    """
    n, m = len(fitted["linkageId"]), len(before["ssObjectId"])
    same = np.full(n, -1)
    if not m or not n:
        return same
    states, full = orbits.state_vectors(before), orbits.covariance_matrices(before)
    epochs, code = np.asarray(before["epochMjdTdb"], float), options["obscode"]
    middle = float(np.median(linkages["midpointMjdTai"]))
    _, ours = ephemeris.topocentric(states, epochs, middle, code)
    _, theirs = ephemeris.topocentric(
        orbits.state_vectors(fitted), fitted["epochMjdTdb"], middle, code
    )
    nearby = cKDTree(_unit(ours)).query_ball_point(_unit(theirs), np.deg2rad(NEAR_DEG))
    taken: dict[int, float] = {}
    for k, near in enumerate(nearby):
        near = np.array(sorted(near), dtype=int)
        if not len(near):
            continue
        rows = np.flatnonzero(linkages["linkageId"] == fitted["linkageId"][k])
        orbit = states[near], epochs[near], full[near]
        miss = _miss(orbit, linkages, rows[[0, len(rows) // 2, -1]], options)
        best, cost = int(near[np.argmin(miss)]), float(miss.min())
        if cost < 1.0 and cost < taken.get(best, np.inf):
            same[same == best] = -1
            same[k] = best
            taken[best] = cost
    return same


def _miss(orbit, linkages, rows, options):
    """Largest square distance of orbits from some detections, in units of the gate."""
    states, epochs, full = orbit
    total = np.zeros(len(states))
    for r in rows:
        t = float(linkages["midpointMjdTai"][r])
        _, topo = ephemeris.topocentric(states, epochs, t, options["obscode"])
        east, north = ephemeris.tangent_offsets(linkages["ra"][r], linkages["dec"][r], topo)
        cov = ephemeris.sky_covariance(states, epochs, full, t, options["obscode"])
        sigma2 = np.minimum(np.trace(cov, axis1=1, axis2=2), 300.0**2)
        gate2 = options["same_arcsec"] ** 2 + 25.0 * np.nan_to_num(sigma2)
        total = np.maximum(total, (east**2 + north**2) / gate2)
    return total


def _unit(topo):
    return topo[:, :3] / np.linalg.norm(topo[:, :3], axis=1)[:, None]


def catalogued(linkages, fitted, path, options) -> np.ndarray:
    """Name the catalogued object that each linkage is; "" where it is none.

    A catalogued orbit that was not observed for years is late or early along its path by far more
    than it is off across it. So a candidate is moved along its orbit to the linkage, and then has
    to fit the detections with corrections no larger than a stale orbit may need.

    Parameters
    ----------
    linkages : table
        Product ``linkages``.
    fitted : table
        Orbits of the linkages in question, of one epoch.
    path : path
        Catalogue (see `alertprod.core.catalog.read_orbits`).
    options : dict
        Section ``daymops`` with the station.

    Returns
    -------
    ndarray of object, shape (n,)
        Designations.
    """
    names = np.full(len(fitted["linkageId"]), "", dtype=object)
    if not len(names):
        return names
    catalogue = read_orbits(path)
    epoch = float(fitted["epochMjdTdb"][0])
    seen = _Sky(orbits.state_vectors(fitted), epoch, options["obscode"])
    row, which = _candidates(seen, fitted["H"], catalogue, epoch, options)
    states = _exact(catalogue, which, epoch, options["dynamics"])
    known = _Sky(states, epoch, options["obscode"])
    days, near = _lateness(known, seen.unit[row], np.deg2rad(options["known_deg"]))
    # what is left is across the path, or an orbit of a slightly different shape
    size = options["known_arcsec"] / 3.0 * ARCSEC * known.distance
    cost = np.full(len(row), np.inf)
    for k in np.unique(row):
        part = linkages["linkageId"] == fitted["linkageId"][k]
        obs = fit.observation_block(
            *(linkages[c][part] for c in ("midpointMjdTai", "ra", "dec", "raErr", "decErr")),
            options["obscode"],
        )
        for c in np.flatnonzero((row == k) & near):
            moved = kepler.propagate(states[c : c + 1], days[c : c + 1])[0]
            turn = np.sqrt(kepler.GM_SUN / np.linalg.norm(moved[:3]) ** 3)
            errors = size[c] * np.repeat([1.0, turn], 3)
            cost[c] = _fit_near(moved, epoch, obs, errors)
    for c in np.lexsort((which, -cost)):  # the best of a linkage comes last and stays
        if cost[c] < fitted["chi2"][row[c]] + WORSE:
            names[row[c]] = catalogue["designation"][which[c]]
    log.info("%d of %d new linkages are catalogued objects", np.sum(names != ""), len(names))
    return names


class _Sky:
    """Places and motions of orbits on the sky at their epoch."""

    def __init__(self, states, epoch, obscode) -> None:
        self.station = epoch, obscode
        tai = float(observer.tdb_to_tai(epoch))
        helio, topo = ephemeris.topocentric(states, np.full(len(states), epoch), tai, obscode)
        self.distance = np.linalg.norm(topo[:, :3], axis=1)
        self.unit = _unit(topo)
        self.velocity = helio[:, 3:]
        self.rate = self._across(topo[:, 3:])

    def _across(self, velocity):
        """Angular motion [rad/day], as vectors (n, 3), of velocities."""
        along = np.einsum("nk,nk->n", velocity, self.unit)
        return (velocity - along[:, None] * self.unit) / self.distance[:, None]

    def late(self):
        """Angular motion of the place by which an object is off when it is a day late."""
        return self._across(self.velocity)


def _lateness(known, unit, limit):
    """Days by which orbits are late at the directions `unit`, and whether that is below `limit`."""
    late = known.late()
    days = np.sum((unit - known.unit) * late, axis=1) / np.sum(late**2, axis=1)
    return days, np.linalg.norm(days[:, None] * late, axis=1) < limit


def _candidates(seen, h, catalogue, epoch, options):
    """Pairs (linkage, catalogue row) near in place, motion and brightness, by two-body motion."""
    age = np.abs(epoch - catalogue["epoch"])
    stale = np.minimum(age * STALE_DEG_DAY, MOST_STALE_DEG)
    reach = np.deg2rad(options["known_deg"] + stale)
    states = orbits.elements_to_states(catalogue["elements"], epoch)
    known = _Sky(states, epoch, seen.station[1])
    far, _ = cKDTree(seen.unit).query(known.unit, distance_upper_bound=float(reach.max()))
    use = np.flatnonzero(np.isfinite(far))
    none = np.zeros(0, dtype=int)
    if not len(use):
        return none, none
    lists = cKDTree(known.unit[use]).query_ball_point(seen.unit, float(reach.max()))
    row = np.repeat(np.arange(len(lists)), [len(near) for near in lists])
    which = use[np.array([c for near in lists for c in sorted(near)], dtype=int)]
    away = np.linalg.norm(known.unit[which] - seen.unit[row], axis=1)
    drift = np.linalg.norm(known.rate[which] - seen.rate[row], axis=1)
    good = (away < reach[which]) & (drift < RATE_FLOOR + DRIFT * away)
    light = np.abs(catalogue["h"][which] - h[row]) < options["precovery_mag"]
    light |= (catalogue["h"][which] > 90.0) | (h[row] > 90.0)
    return row[good & light], which[good & light]


def _exact(catalogue, which, epoch, dynamics):
    """States of catalogue rows at `epoch`."""
    part, back = np.unique(which, return_inverse=True)
    if not len(part):
        return np.zeros((0, 6))
    elements, epochs = catalogue["elements"][part], catalogue["epoch"][part]
    if dynamics != "nbody":
        return orbits.elements_to_states(elements, epoch)[back]
    start = orbits.elements_to_states(elements, epochs)
    return nbody.propagate(start, epochs, epoch)[back]


def _fit_near(start, epoch, obs, errors):
    """Chi square, with that of the corrections, of a fit that begins with known errors."""
    use = np.arange(len(obs))
    weight = np.diag(errors**-2.0)
    normal, right, delta = np.empty((6, 6)), np.empty(6), np.empty(6)
    state, best = start.copy(), np.inf
    for _ in range(STEPS):
        off = start - state
        cost = fit.normal_equations(state, epoch, obs, use, normal, right) + off @ weight @ off
        if not cost < best - 0.01:
            return min(cost, best)
        best = cost
        if not algebra.solve(normal + weight, right + weight @ off, delta):
            return np.inf
        state = state + delta
    return best
