"""Found objects: orbits of tonight's linkages, their names, and what was found before."""

from __future__ import annotations

import logging
from datetime import date

import numpy as np

from alertprod.core import designations, ids, tables
from alertprod.core.stage import stage
from alertprod.daymops import attribution, identity, precovery, rating
from alertprod.daymops.fitting import fit_linkages
from alertprod.daymops.inputs import read_all, with_station
from alertprod.daymops.refit import refit

log = logging.getLogger(__name__)


@stage("daymops", outputs=("orbits", "attributed"))
def fit_orbits(
    linkages, singles, sightings=(), orbits=None, given=(), orbits_known=(), camera=None, *, config
):
    """Fit the linkages of tonight's window and add them to the orbits found so far.

    Each orbit is then used to find more detections among the single sources of the window, and
    fitted again with these and with what association gave to its object by prediction. Objects
    of the catalogue that nobody predicted near enough are recognised, and are no discoveries.

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
        Product ``attributed`` of all earlier nights.
    orbits_known : path or empty
        Catalogue of known orbits.
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
    seen, loose = _stacked(sightings, "sightings"), _stacked(singles, "singles")
    dated = [int(t["visit"].max()) for t in (linkages, loose, seen) if tables.n_rows(t)]
    night = max(dated, default=0) // 100_000
    after, rows, names = before, None, {}
    if tables.n_rows(linkages):
        after, rows, names = _of_linkages(
            linkages, (loose, seen), before, orbits_known, {**options, "night": night}
        )
    earlier = _earlier(given, after, rows, seen)
    tonight = attribution.attributed(after, rows, names, seen, earlier["diaSourceId"])
    after = refit(after, tonight, earlier, options, night)
    return after, attribution.with_residuals(after, tonight, options)


def _of_linkages(linkages, sources, before, catalogue, options):
    """Orbits with those of tonight's linkages, all detections of these, and known objects' names.

    Returns
    -------
    orbits : table
    rows : table
        Detections of the linkages and those that their orbits found.
    names : dict
        linkageId -> designation of those that the catalogue knows.
    """
    loose, seen = sources
    fitted = fit_linkages(linkages, options)
    same = identity.found_before(linkages, fitted, before, options)
    more = precovery.search(fitted, loose, linkages, options)
    more = _with_sightings(more, seen, fitted, before["ssObjectId"], same)
    more = _fit_again(fitted, linkages, more, options)
    names = np.full(len(same), "", dtype=object)
    new = np.flatnonzero((same < 0) & (fitted["quality"] != "poor"))
    if catalogue and len(new):
        names[new] = identity.catalogued(linkages, tables.take(fitted, new), catalogue, options)
    fresh = new[names[new] == ""]
    fitted["digest2"] = _rate(linkages, fitted, fresh, options["obscode"])
    after = _merge(fitted, same, fresh, before, options["night"])
    rows = precovery.extended(linkages, more)
    rows = {**rows, "diaObjectId": _objects_of(rows["diaSourceId"], loose, seen)}
    found = zip(fitted["linkageId"].tolist(), names.tolist(), strict=True)
    return after, rows, {link: name for link, name in found if name}


def _rate(linkages, fitted, fresh, obscode) -> np.ndarray:
    """Scores of digest2 for those new objects that may be near the Earth, NaN for all others."""
    scores = np.full(len(fitted["linkageId"]), np.nan)
    rated = fresh[fitted["neoScore"][fresh] >= rating.WORTH]
    groups = [np.flatnonzero(linkages["linkageId"] == fitted["linkageId"][k]) for k in rated]
    scores[rated] = rating.digest2_scores(linkages, groups, obscode)
    return scores


def _stacked(items, product) -> dict:
    """Stack tables given as such or as paths."""
    parts = [part for part in read_all(items or []) if tables.n_rows(part)]
    return tables.stack(parts) if parts else tables.empty(product)


def _earlier(given, orbits, rows, seen) -> dict:
    """What earlier nights gave to the objects that tonight may see, or of the sources it has."""
    sources = np.concatenate([t["diaSourceId"] for t in (rows, seen) if t is not None])
    objects = np.r_[orbits["ssObjectId"][orbits["linkageId"] != 0], seen["ssObjectId"]]
    parts = [tables.empty("attributed")]
    for item in given or []:  # one at a time: there may be a year of them
        for part in read_all([item]):
            use = np.isin(part["diaSourceId"], sources) | np.isin(part["ssObjectId"], objects)
            parts.append(tables.take(part, use))
    return tables.stack(parts)


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


def _merge(fitted, same, new, before, night):
    """Update the orbits that were found again, append those in rows `new` of the fits."""
    n = len(fitted["linkageId"])
    out = {name: column.copy() for name, column in before.items()}
    for k in np.flatnonzero(same >= 0):
        row = same[k]
        out["linkageId"][row] = fitted["linkageId"][k]
        # A window that slid past the first nights must not replace a longer arc by a shorter one.
        if fitted["nObs"][k] < before["nObs"][row] or fitted["quality"][k] == "poor":
            continue
        keep = ("linkageId", "firstDiaSourceId", "digest2")  # as of the discovery
        for name, column in fitted.items():
            if name not in keep:
                out[name][row] = column[k]
        out["fitNight"][row] = night
        changed = fitted["nObs"][k] > before["nObs"][row]
        out["status"][row] = "updated" if changed else "kept"
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
