"""Orbits of linkages: precise fit, sanity, names, identity with what was found before."""

from __future__ import annotations

import logging
from datetime import date

import numpy as np

from alertprod.core import designations, ephemeris, ids, tables
from alertprod.core import orbits as conics
from alertprod.core.errors import BadInput
from alertprod.core.stage import stage
from alertprod.daymops import attribution, fit, precovery
from alertprod.daymops.inputs import read_all, with_station
from alertprod.daymops.refine import correct_nbody

log = logging.getLogger(__name__)

STATE = ("x", "y", "z", "vx", "vy", "vz")
UPPER = tuple(zip(*np.triu_indices(6), strict=True))
COVARIANCE = tuple(f"cov{i}{j}" for i, j in UPPER)
ELEMENTS = ("q", "e", "incl", "node", "argperi", "periTimeMjdTdb")


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


def full_covariance(table) -> np.ndarray:
    """Covariances of a table of orbits as matrices, shape (n, 6, 6)."""
    full = np.zeros((tables.n_rows(table), 6, 6))
    for name, (i, j) in zip(COVARIANCE, UPPER, strict=True):
        full[:, i, j] = full[:, j, i] = table[name]
    return full


def fit_linkages(linkages, options) -> dict:
    """Orbits of all linkages as a table in order of linkageId (without names)."""
    epochs = np.unique(linkages["epochMjdTdb"])
    if len(epochs) != 1:
        raise BadInput(f"the linkages have {len(epochs)} epochs; they must come from one window")
    obs = fit.observation_block(
        linkages["midpointMjdTai"], linkages["ra"], linkages["dec"],
        linkages["raErr"], linkages["decErr"], options["obscode"],
    )  # fmt: skip
    link_id, first, back = np.unique(linkages["linkageId"], return_index=True, return_inverse=True)
    groups = [np.flatnonzero(back == k) for k in range(len(link_id))]
    start = np.stack([linkages[c][first] for c in STATE], axis=-1)
    states, covariances, chi2, bounded = _fit_all(start, float(epochs[0]), obs, groups, options)
    solution = states, covariances, chi2, bounded
    return _describe(linkages, link_id, groups, solution, (obs, options))


def _fit_all(start, epoch, obs, groups, options):
    """Two-body fit, with a prior where the arc is too short, then N-body."""
    n = len(groups)
    states, covariances, chi2 = start.copy(), np.empty((n, 6, 6)), np.empty(n)
    weight = np.zeros(n)
    normal = np.empty((6, 6))
    for k in range(n):
        chi2[k], _ = fit.correct(states[k], epoch, obs, groups[k], 0.0, 40, normal)
        covariances[k] = fit.invert(normal)
        if not (_relative_error(states[k], covariances[k]) < options["prior_below"]):
            weight[k] = options["prior_weight"]
            states[k] = start[k]
            chi2[k], _ = fit.correct(states[k], epoch, obs, groups[k], weight[k], 40, normal)
            covariances[k] = fit.invert(normal)
    # an orbit that cannot be would force tiny steps on all that share its integration
    sane = np.flatnonzero(_sane(states, conics.states_to_elements(states, epoch)))
    if options["dynamics"] == "nbody" and len(sane):
        better, cov, new = correct_nbody(
            states[sane], epoch, obs, [groups[k] for k in sane], weight=weight[sane]
        )
        good = np.isfinite(cov).all(axis=(1, 2)) & (new < chi2[sane] + 10.0)
        into = sane[good]
        states[into], covariances[into], chi2[into] = better[good], cov[good], new[good]
    return states, covariances, chi2, weight > 0.0


def _relative_error(state, covariance):
    """One-sigma error of 1/a relative to 1/r: small when the arc tells the energy."""
    mu = fit.GM
    r = np.linalg.norm(state[:3])
    gradient = np.r_[2.0 * state[:3] / r**3, 2.0 * state[3:] / mu]
    variance = gradient @ covariance @ gradient
    return np.sqrt(variance) * r if variance >= 0.0 else np.inf


def _describe(linkages, link_id, groups, solution, context):
    """Table of elements, brightness, class and quality; one row per linkage."""
    (states, covariances, chi2, bounded), (obs, options) = solution, context
    epoch = float(linkages["epochMjdTdb"][0])
    elements = conics.states_to_elements(states, epoch)
    n = len(link_id)
    count = np.array([len(g) for g in groups])
    h, h_err = np.full(n, 99.0), np.full(n, np.nan)
    arc, nights = np.empty(n), np.empty(n, dtype=int)
    for k, g in enumerate(groups):
        part = tables.take(linkages, g)
        arc[k] = np.ptp(part["midpointMjdTai"])
        nights[k] = part["nNights"][0]
        h[k], h_err[k] = absolute_magnitude(states[k], epoch, part, obs[g], options["slope_g"])
    rms = np.sqrt(chi2 / (2 * count)) * _typical_error(linkages, groups)
    classes = np.array([orbit_class(*row[:3]) for row in elements], dtype=object)
    sane = _sane(states, elements)
    fit_ok = chi2 < 4.0 * np.maximum(2 * count - 6, 4)
    quality = np.where(sane & fit_ok, np.where(bounded, "bounded", "good"), "poor").astype(object)
    return {
        "linkageId": link_id, "firstDiaSourceId": link_id, "epochMjdTdb": np.full(n, epoch),
        **{c: states[:, k] for k, c in enumerate(STATE)},
        **{c: covariances[:, i, j] for c, (i, j) in zip(COVARIANCE, UPPER, strict=True)},
        **{c: elements[:, k] for k, c in enumerate(ELEMENTS)},
        "H": h, "HErr": h_err, "G": np.full(n, options["slope_g"]),
        "nObs": count, "nNights": nights, "arc": arc, "rms": rms, "chi2": chi2,
        "orbitClass": classes, "neoScore": neo_score(elements, covariances, states),
        "quality": quality,
    }  # fmt: skip


def _typical_error(linkages, groups):
    """Error of one coordinate [arcsec], averaged over each group."""
    east = linkages["raErr"] * np.cos(np.deg2rad(linkages["dec"]))
    square = 0.5 * (east.astype(float) ** 2 + linkages["decErr"].astype(float) ** 2)
    return np.array([3600.0 * np.sqrt(square[g].mean()) for g in groups])


def _sane(states, elements):
    """Is it an orbit that can be? Short arcs fit many that cannot (judge by this, not by a flag).

    Bound orbits with a between 0.5 and 2000 au and a perihelion outside the Sun; unbound ones
    only if they are clearly so and not absurdly fast.
    """
    q, e = elements[:, 0], elements[:, 1]
    with np.errstate(divide="ignore", invalid="ignore"):
        a = q / (1.0 - e)
    bound = (e < 1.0) & (a > 0.5) & (a < 2000.0) & (q > 0.05)
    speed = np.linalg.norm(states[:, 3:], axis=1)
    escape = np.sqrt(2.0 * fit.GM / np.linalg.norm(states[:, :3], axis=1))
    return bound | ((e >= 1.0) & (e < 20.0) & (q > 0.05) & (speed < 3.0 * escape))


def absolute_magnitude(state, epoch, part, obs, slope):
    """H and its error from the magnitudes of a linkage, with mean asteroid colours.

    Parameters
    ----------
    state : ndarray, shape (6,)
    epoch : float
    part : table
        Detections with mag, magErr, band.
    obs : ndarray, shape (n, WIDTH)
        Their observation blocks.
    slope : float
        G.

    Returns
    -------
    h, error : float
        (99, NaN) when no detection has a magnitude. The rotational light curve, not the
        photometric error, limits H: a floor of 0.1 mag per detection stands for it.
    """
    mag, error = part["mag"].astype(float), part["magErr"].astype(float)
    good = np.flatnonzero(np.isfinite(mag))
    if not len(good):
        return 99.0, np.nan
    topo = np.array([fit.place_seen(state, epoch, obs[k])[:3] for k in good])
    helio = topo + obs[good, fit.OX : fit.OX + 3]
    r, delta = np.linalg.norm(helio, axis=1), np.linalg.norm(topo, axis=1)
    shift = ephemeris.magnitude_hg(0.0, slope, r, delta, ephemeris.phase_angle(helio, topo))
    colour = np.array([conics.V_MINUS_BAND.get(str(b), 0.0) for b in part["band"][good]])
    weight = 1.0 / (0.1**2 + np.where(np.isfinite(error[good]), error[good], 0.1) ** 2)
    mean = float(np.average(mag[good] + colour - shift, weights=weight))
    return mean, float(1.0 / np.sqrt(np.sum(weight)))


def orbit_class(q, e, incl) -> str:
    """Dynamical class of an orbit, by the usual borders."""
    if e >= 1.0:
        return "hyperbolic"
    a = q / (1.0 - e)
    if q < 1.3:
        return "NEO"
    if q < 1.67:
        return "Mars-crosser"
    if a < 2.0 and e < 0.18 and incl > 15.0:
        return "Hungaria"
    if a < 3.8:
        return "MBA"
    if a < 4.6:
        return "Hilda"
    if a < 5.5 and e < 0.3:
        return "Trojan"
    if a < 5.5:
        return "Jupiter-family"
    return "Centaur" if a < 30.1 else "TNO"


def neo_score(elements, covariances, states):
    """Probability (0 to 100) of q < 1.3 au under the covariance of the fit.

    Draws of a fixed generator: the figure is the same in every run.
    """
    draws = np.random.default_rng(1301).normal(size=(64, 6))
    out = np.full(len(elements), np.nan)
    for k in range(len(elements)):
        values, vectors = np.linalg.eigh(np.nan_to_num(covariances[k]))
        root = vectors * np.sqrt(np.maximum(values, 0.0))
        cloud = states[k] + draws @ root.T
        q = conics.states_to_elements(cloud, 0.0)[:, 0]
        out[k] = 100.0 * np.mean(q < 1.3)
    return out


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
    states = np.stack([before[c] for c in STATE], axis=-1)
    full = full_covariance(before)
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
