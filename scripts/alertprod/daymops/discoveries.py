"""Found objects: orbits of tonight's linkages, their names, and what was found before."""

from __future__ import annotations

import logging
from datetime import date

import numpy as np

from alertprod.core import designations, ephemeris, ids, tables
from alertprod.core import orbits as conics
from alertprod.core.stage import stage
from alertprod.daymops import attribution, precovery
from alertprod.daymops.fitting import fit_linkages
from alertprod.daymops.inputs import read_all, with_station

log = logging.getLogger(__name__)


@stage("daymops", outputs=("orbits", "attributed"))
def fit_orbits(linkages, singles, sightings=(), orbits=None, given=(), camera=None, *, config):
    """Fit the linkages of tonight's window and add them to the orbits found so far.

    Each orbit is then used to find more detections among the single sources of the window, and
    fitted again with these and with what association gave to its object by prediction.

    Parameters
    ----------
    linkages : table
        Product ``linkages``.
    singles : list of tables or paths
        Of the window; the last night among them is tonight.
    sightings : list of tables or paths
        Of the window.
    orbits : table or empty
        Product ``orbits`` of the previous night.
    given : list of tables or paths
        Product ``attributed`` of the earlier nights of the window.
    camera : Camera, optional
        Gives the station.
    config : dict
        Section ``daymops``.

    Returns
    -------
    orbits : table
        Product ``orbits``, cumulative, in order of discovery. Identifiers follow from the night
        and the order of first detections: the same input gives the same names.
    attributed : table
        Product ``attributed``: the sources that tonight's orbits claim and no earlier night gave.
    """
    options = with_station(config, camera)
    before = orbits or tables.empty("orbits")
    before = tables.conform(
        {**before, "status": np.full(tables.n_rows(before), "kept", dtype=object),
         "linkageId": np.zeros(tables.n_rows(before), dtype=np.int64)}, "orbits",
    )  # fmt: skip
    seen = _stacked(sightings, "sightings")
    loose = _stacked(singles, "singles")
    if not tables.n_rows(linkages):
        return before, attribution.attributed(before, None, seen, _ids(given), options)
    night = int(max(t["visit"].max() for t in (linkages, loose, seen) if tables.n_rows(t)))
    fitted = fit_linkages(linkages, options)
    same = identify(linkages, fitted, before, options)
    more = precovery.search(fitted, loose, linkages, options)
    more = _with_sightings(more, seen, fitted, before["ssObjectId"], same)
    more = _fit_again(fitted, linkages, more, options)
    after = _merge(fitted, same, before, night // 100_000)
    rows = precovery.extended(linkages, more)
    rows = {**rows, "diaObjectId": _objects_of(rows["diaSourceId"], loose, seen)}
    return after, attribution.attributed(after, rows, seen, _ids(given), options)


def _stacked(items, product) -> dict:
    """Stack tables given as such or as paths."""
    parts = [part for part in read_all(items or []) if tables.n_rows(part)]
    return tables.stack(parts) if parts else tables.empty(product)


def _ids(given) -> set[int]:
    """Sources that earlier nights gave to objects."""
    return {int(i) for part in read_all(given or []) for i in part["diaSourceId"]}


def _objects_of(sources, *tables_) -> np.ndarray:
    """DIAObjects that association made of sources, 0 where it made none."""
    owner = {}
    for table in tables_:
        owner |= dict(
            zip(table["diaSourceId"].tolist(), table["diaObjectId"].tolist(), strict=True)
        )
    return np.array([owner.get(int(i), 0) for i in sources], dtype=np.int64)


def _with_sightings(more, seen, fitted, known, same) -> dict:
    """Add the sightings of the objects that linkages were identified with."""
    link = {int(known[row]): int(fitted["linkageId"][k]) for k, row in enumerate(same) if row >= 0}
    rows = np.array([k for k, i in enumerate(seen["ssObjectId"]) if int(i) in link], dtype=int)
    if not len(rows):
        return more
    part = tables.take(seen, rows)
    part["linkageId"] = np.array([link[int(i)] for i in part.pop("ssObjectId")], dtype=np.int64)
    return tables.stack([more, {name: part[name] for name in more}])


def _fit_again(fitted, linkages, more, options) -> dict:
    """Fit linkages together with further detections; changes `fitted`.

    Returns
    -------
    table
        The further detections of the linkages that they fit.
    """
    owners = np.unique(more["linkageId"])
    if not len(owners):
        return more
    part = tables.take(linkages, np.isin(linkages["linkageId"], owners))
    again = fit_linkages(precovery.extended(part, more), options)
    rows = np.searchsorted(fitted["linkageId"], again["linkageId"])
    better = again["quality"] == "good"
    better |= (again["quality"] == "bounded") & (fitted["quality"][rows] == "bounded")
    for name in fitted:
        fitted[name][rows[better]] = again[name][better]
    return tables.take(more, np.isin(more["linkageId"], again["linkageId"][better]))


def identify(linkages, fitted, before, options):
    """Which earlier orbit each linkage belongs to: its row in `before`, or -1.

    An orbit and a linkage are one if the orbit predicts the middle detection to within the gate
    widened by its own uncertainty, and refits of the linkage started at it stay acceptable; the
    nearest prediction wins.
    """
    n, m = len(fitted["linkageId"]), tables.n_rows(before)
    same = np.full(n, -1)
    if not m:
        return same
    states = conics.state_vectors(before)
    full = conics.covariance_matrices(before)
    taken: dict[int, float] = {}
    for k in range(n):
        rows = np.flatnonzero(linkages["linkageId"] == fitted["linkageId"][k])
        total = np.zeros(m)
        for r in rows[[0, len(rows) // 2, -1]]:
            t = float(linkages["midpointMjdTai"][r])
            _, topo = ephemeris.topocentric(states, before["epochMjdTdb"], t, options["obscode"])
            east, north = ephemeris.tangent_offsets(linkages["ra"][r], linkages["dec"][r], topo)
            behind = (
                topo[:, :3]
                @ conics.unit_vectors(linkages["ra"][r : r + 1], linkages["dec"][r : r + 1])[0]
                <= 0.0
            )
            near = np.flatnonzero((np.hypot(east, north) < 3600.0) & ~behind)
            miss = np.full(m, np.inf)
            if len(near):
                cov = ephemeris.sky_covariance(
                    states[near], before["epochMjdTdb"][near], full[near], t, options["obscode"]
                )
                sigma2 = np.minimum(np.trace(cov, axis1=1, axis2=2), 300.0**2)
                gate2 = options["same_arcsec"] ** 2 + 25.0 * np.nan_to_num(sigma2)
                miss[near] = (east[near] ** 2 + north[near] ** 2) / gate2
            total = np.maximum(total, miss)
        best = int(np.argmin(total))
        if total[best] < 1.0 and total[best] < taken.get(best, np.inf):
            if best in taken:
                same[same == best] = -1
            same[k] = best
            taken[best] = float(total[best])
    return same


def _merge(fitted, same, before, night):
    """Update the orbits that were found again, append the new ones."""
    n = len(fitted["linkageId"])
    out = {name: column.copy() for name, column in before.items()}
    for k in np.flatnonzero(same >= 0):
        row = same[k]
        out["linkageId"][row] = fitted["linkageId"][k]
        # A window that slid past the first nights must not replace a longer arc by a shorter one.
        if fitted["nObs"][k] < before["nObs"][row] or fitted["quality"][k] == "poor":
            continue
        keep = ("linkageId", "firstDiaSourceId")
        for name, column in fitted.items():
            if name not in keep:
                out[name][row] = column[k]
        out["fitNight"][row] = night
        changed = fitted["nObs"][k] > before["nObs"][row]
        out["status"][row] = "updated" if changed else "kept"
    new = np.flatnonzero((same < 0) & (fitted["quality"] != "poor"))
    if not len(new):
        return out
    day = (date(night // 10_000, night // 100 % 100, night % 100) - ids.FIRST_DAY).days
    # a night has one run of names, also when it is fitted again with more data
    stem = "A" + designations.base62(day, 3)
    taken = [designations.from_base62(n[4:]) for n in before["designation"] if n[:4] == stem]
    used = max(taken, default=-1) + 1
    names = [stem + designations.base62(used + k, 4) for k in range(len(new))]
    fresh = {name: column[new] for name, column in fitted.items()}
    fresh |= {
        "designation": np.array(names, dtype=object),
        "ssObjectId": np.array([designations.ss_object_id(name) for name in names]),
        "discoveryNight": np.full(len(new), night), "fitNight": np.full(len(new), night),
        "status": np.full(len(new), "new", dtype=object),
    }  # fmt: skip
    log.info("%d linkages: %d new objects, %d known before", n, len(new), int(np.sum(same >= 0)))
    return tables.stack([out, tables.conform(fresh, "orbits")])
