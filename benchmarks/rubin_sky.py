"""A simulated sky of asteroids, seen in visits that Rubin really plans.

The visits are those of the survey simulation `baseline_v2.0_1yr.db` that comes with sorcha: their
times, fields, filters and depths, with the nights lost to weather and the deep-drilling fields.
Objects and false detections are made as in `moving_sky`; whether an object is seen depends on its
brightness in the filter of the visit. Nothing here is shared with the algorithms.

References
----------
Jones, R. L. et al. 2018, Icarus 303, 181 (colours in Rubin's filters);
Veres, P. & Chesley, S. R. 2017, AJ 154, 12 (efficiency near the limit);
Bowell, E. et al. 1989, Asteroids II, 524 (H, G).
"""

from __future__ import annotations

import importlib.util
import sqlite3
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))

import moving_sky
import populations

# first night (MJD at its evening) and a place on the ecliptic that is well visited from then on, at
# most 12 degrees from opposition: February (with 96 visits of the COSMOS field in one night), June,
# October, March, July, April; last the COSMOS field itself
WINDOWS = (
    (60362, 158.0, 5.0), (60480, 282.0, -23.0), (60224, 14.7, 6.3),
    (60392, 194.7, -6.3), (60515, 319.5, -15.7), (60420, 217.6, -14.8),
    (60362, 150.1, 2.2),
)  # fmt: skip
DEEP = 7  # the seed of the last one
RADIUS = 1.75  # of the field of view [deg]
BANDS = "ugrizy"
# V minus the magnitude in each of `BANDS`, for C and S type asteroids
COLOURS = np.array(
    [[-1.614, -0.302, 0.172, 0.291, 0.298, 0.303], [-1.927, -0.395, 0.255, 0.455, 0.401, 0.406]]
)
SOFTNESS = 0.1  # of the limit of detection [mag]
LIMIT = 24.7  # of V: what is fainter is not seen even in the deepest visits
SLOPE = 0.15  # G


def database():
    """Path of the file of visits, None where sorcha is not installed."""
    found = importlib.util.find_spec("sorcha")
    path = found and Path(found.origin).parent / "data" / "demo" / "baseline_v2.0_1yr.db"
    return path if path and path.exists() else None


def visits(first, nights, ra, dec, radius):
    """Visits of some nights whose field centres lie in a circle.

    Parameters
    ----------
    first : int
        Night of the first ones: MJD of its evening.
    nights : int
    ra, dec, radius : float
        The circle [deg].

    Returns
    -------
    dict
        In order of time: ``time`` (middle of the visit, MJD TAI: sorcha takes the times of this
        file as TAI, too), ``night``, ``ra``, ``dec``, ``band`` (index into `BANDS`), ``depth``
        (magnitude at five sigma).
    """
    query = (
        "SELECT observationStartMJD + visitTime / 172800.0, fieldRA, fieldDec, filter,"
        " fiveSigmaDepth FROM observations WHERE observationStartMJD BETWEEN ? AND ?"
        " ORDER BY observationStartMJD"
    )
    with sqlite3.connect(f"file:{database()}?mode=ro", uri=True) as connection:
        # noon of UTC-12 parts the nights, as in the names of Rubin's visits
        rows = connection.execute(query, (first + 0.5, first + nights + 0.5)).fetchall()
    time, lon, lat, band, depth = (np.array(column) for column in zip(*rows, strict=True))
    near = moving_sky.directions(lon, lat) @ moving_sky.directions(ra, dec) > np.cos(
        np.deg2rad(radius)
    )
    found = {
        "time": time, "night": np.floor(time - 0.5).astype(int), "ra": lon, "dec": lat,
        "band": np.array([BANDS.index(name) for name in band]), "depth": depth,
    }  # fmt: skip
    return {name: column[near] for name, column in found.items()}


def simulate(seed=1, density=1.0, radius=9.0, nights=15, false=3.0):
    """Simulate a window of nights.

    Parameters
    ----------
    seed : int
        Chooses one of `WINDOWS`, too.
    density : float
        1: 25 main-belt objects brighter than V = 24.2 in a square degree.
    radius : float
        Of the region in which fields lie [deg].
    nights : int
    false : float
        False detections per real one.

    Returns
    -------
    moving_sky.Sky
    """
    rng = np.random.default_rng([seed, 78])
    first, ra, dec = WINDOWS[(seed - 1) % len(WINDOWS)]
    plan = visits(first, nights, ra, dec, radius)
    centre = moving_sky.directions(ra, dec)
    middle = first + 0.5 + nights / 2
    site, sun, tdb = moving_sky._observers(np.array([middle]))
    epoch = float(tdb[0])
    # main-belt asteroids drift by two degrees until the ends of the window
    reach = radius + RADIUS + 2.0

    def inside(vectors):
        return vectors @ centre > np.cos(np.deg2rad(reach)) * np.linalg.norm(vectors, axis=1)

    # as many of each class as `moving_sky` has to its limit, and more to the limit of this sky
    area = np.pi * reach**2 / 200.0
    more = density * area * 10 ** (0.35 * (LIMIT - populations.LIMIT))
    counts = {"main": 5000, "neo": 200, "trojan": 60, "centaur": 20, "tno": 40, "coorbital": 5,
              "interstellar": 2}  # fmt: skip
    counts = {name: round(count * more) for name, count in counts.items()}
    states, kind, h = populations.place(counts, epoch, (site - sun)[0], inside, rng, LIMIT)
    seen = _observe(states, h, plan, (middle, epoch), rng)
    return _assemble(seen, plan, false, rng, (kind, states, epoch))


def _observe(states, h, plan, middle, rng, sigma=0.1):
    """Real detections: visit, object, direction, magnitude, in order of visits."""
    stations, suns, times = moving_sky._observers(plan["time"])
    sun = moving_sky._sun_state(middle[0])
    fields = moving_sky.directions(plan["ra"], plan["dec"])
    rows = []
    for start in range(0, len(states), 50):  # the paths of all would take more memory than linking
        path = moving_sky._nbody(states[start : start + 50], middle[1], sun, times)
        vector = path[..., :3] - stations[:, None]
        for _ in range(2):
            delay = np.linalg.norm(vector, axis=2) / moving_sky.C_AU_DAY
            vector = path[..., :3] - delay[..., None] * path[..., 3:] - stations[:, None]
        unit = vector / np.linalg.norm(vector, axis=2)[..., None]
        colours = COLOURS[rng.integers(0, 2, path.shape[1])]
        near = np.einsum("vkc,vc->vk", unit, fields) > np.cos(np.deg2rad(RADIUS))
        v, k = np.nonzero(near)
        from_sun = path[v, k, :3] - suns[v]
        magnitude = h[start + k] + _faintness(from_sun, vector[v, k])
        magnitude -= colours[k, plan["band"][v]]
        chance = 0.9 / (1.0 + np.exp((magnitude - plan["depth"][v]) / SOFTNESS))
        seen = rng.uniform(size=len(v)) < chance
        v, k = v[seen], k[seen]
        place = unit[v, k] + rng.normal(0, np.deg2rad(sigma / 3600), (len(v), 3))
        rows.append((v, start + k, place, magnitude[seen]))
    joined = [np.concatenate(column) for column in zip(*rows, strict=True)]
    order = np.lexsort((joined[1], joined[0]))
    return [column[order] for column in joined]


def _faintness(from_sun, from_station):
    """V minus H: distances and phase."""
    r, delta = np.linalg.norm(from_sun, axis=1), np.linalg.norm(from_station, axis=1)
    phase = np.arccos(np.clip(np.sum(from_sun * from_station, axis=1) / (r * delta), -1, 1))
    half = np.tan(0.5 * phase)
    bright = (1 - SLOPE) * np.exp(-3.33 * half**0.63) + SLOPE * np.exp(-1.87 * half**1.22)
    return 5 * np.log10(r * delta) - 2.5 * np.log10(bright)


def _assemble(seen, plan, false, rng, truth):
    """Real and false detections of all visits."""
    visit, owner, place, magnitude = seen
    ra = np.rad2deg(np.arctan2(place[:, 1], place[:, 0])) % 360
    dec = np.rad2deg(np.arctan2(place[:, 2], np.hypot(place[:, 0], place[:, 1])))
    cuts = np.searchsorted(visit, np.arange(len(plan["time"]) + 1))
    artefacts = _recurring(plan, rng)
    parts = []
    for v in range(len(plan["time"])):
        mine = slice(cuts[v], cuts[v + 1])
        real = cuts[v + 1] - cuts[v]
        lon, lat, origin = _strangers(v, plan, rng.poisson(false * real), artefacts, rng)
        faint = plan["depth"][v] - rng.uniform(-0.1, 1.0, len(lon))
        parts.append((
            np.r_[ra[mine], lon], np.r_[dec[mine], lat], np.r_[magnitude[mine], faint],
            np.r_[owner[mine], np.full(len(lon), -1)], np.r_[np.full(real, -1), origin],
            np.full(real + len(lon), v),
        ))  # fmt: skip
    lon, lat, mag, owner, origin, visit = (
        np.concatenate(column) for column in zip(*parts, strict=True)
    )
    detections = _table(lon, lat, mag, visit, plan, rng)
    named = {"visit": moving_sky.visit_numbers(plan["night"]),
             "midpoint_mjd_tai": plan["time"], "night": plan["night"]}  # fmt: skip
    kind, states, epoch = truth
    return moving_sky.Sky(detections, owner, kind, states, epoch, origin, named)


def _recurring(plan, rng):
    """Directions at which artefacts come back: 40 to a field, wherever visits are."""
    fields = moving_sky.directions(plan["ra"], plan["dec"])
    middle = fields.mean(axis=0) / np.linalg.norm(fields.mean(axis=0))
    reach = np.arccos(np.min(fields @ middle)) + np.deg2rad(RADIUS)
    cap = 2 * np.pi * (1 - np.cos(reach)) * np.rad2deg(1) ** 2
    count = round(40 * cap / (2 * RADIUS) ** 2)
    z = rng.uniform(np.cos(reach), 1, count)
    turn = rng.uniform(0, 2 * np.pi, count)
    pole = np.rad2deg(np.arctan2(middle[1], middle[0])), np.rad2deg(np.arcsin(middle[2]))
    east, north = moving_sky._axes(pole)
    side = np.sqrt(1 - z**2)
    return (z[:, None] * middle + (side * np.cos(turn))[:, None] * east
            + (side * np.sin(turn))[:, None] * north)  # fmt: skip


def _strangers(v, plan, count, artefacts, rng):
    """False detections of a visit: right ascension, declination, kind."""
    field = plan["ra"][v], plan["dec"][v]
    near = artefacts[artefacts @ moving_sky.directions(*field) > np.cos(np.deg2rad(RADIUS))]
    here = np.stack(moving_sky._offsets(near, field), axis=1)
    # those in the corners of the square that `_false` fills are thrown away again
    x, y, origin = moving_sky._false((0.0, 0.0, 0.0), round(count * 4 / np.pi), here, rng)
    ok = np.hypot(x, y) < RADIUS
    return *moving_sky._sky(x[ok], y[ok], field), origin[ok]


def _table(ra, dec, magnitude, visit, plan, rng, sigma=0.1):
    """Detections with columns as of an association."""
    n = len(ra)
    signal = 5 * 10 ** (0.4 * (plan["depth"][visit] - magnitude))
    flux = 10 ** (0.4 * (31.4 - magnitude))
    number = np.arange(n) - np.searchsorted(visit, visit)
    return {
        "diaSourceId": visit.astype(np.int64) * 10_000_000 + 1_000_000 + number,
        "visit": moving_sky.visit_numbers(plan["night"])[visit],
        "detector": np.zeros(n, dtype=np.int16), "midpointMjdTai": plan["time"][visit],
        "ra": ra, "dec": dec, "raErr": sigma / 3600 / np.cos(np.deg2rad(dec)),
        "decErr": np.full(n, sigma / 3600), "ssObjectId": np.zeros(n, dtype=np.int64),
        "psfFlux": flux * (1 + rng.normal(size=n) / signal), "psfFluxErr": flux / signal,
        "band": np.array(list(BANDS), dtype=object)[plan["band"][visit]],
    }  # fmt: skip
