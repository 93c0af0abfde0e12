"""Asteroids for a survey: chosen so that its visits see them, and where they are in each."""

from __future__ import annotations

import numpy as np

from alertprod.simulate import movers, optics
from alertprod.simulate.camera import Camera
from alertprod.simulate.plan import TT_MINUS_TAI


def make_asteroids(rng, config: dict, field: dict, visits: list[dict], camera: Camera) -> dict:
    """Choose asteroids that the survey sees: main-belt ones in every science visit, near-earth
    ones in both visits of one night.

    Returns
    -------
    dict
        asteroid_id, designation, kind, known (in the orbit catalogue), elements, H.
    """
    science = [row for row in visits if row["purpose"] == "science"]
    epoch = float(np.floor(np.mean([row["mid"] for row in science])))
    wanted = [("main_belt", True)] * config["known"] + [("main_belt", False)] * config["unknown"]
    wanted += [("near_earth", False)] * config["fast"]
    chosen: list[dict] = []
    for number, (kind, known) in enumerate(wanted):
        nights = sorted({row["night"] for row in science})
        if kind == "near_earth":
            night = nights[(1 + number) % len(nights)]
            must = [row for row in science if row["night"] == night]
        else:
            must = science
        orbit = _search(rng, kind, field, must, camera, config)
        brightness = rng.uniform(*config["mag_v" if kind == "main_belt" else "fast_mag_v"])
        orbit["H"] = np.zeros(1)
        seen = _see(orbit, must[0])
        orbit["H"] = np.round(brightness - seen["mag_v"], 2)
        orbit |= {
            "asteroid_id": np.array([number + 1]),
            "designation": np.array([f"SIM{'K' if known else 'U'}{number + 1:03d}"]),
            "kind": np.array([kind]),
            "known": np.array([known]),
        }
        chosen.append(_at_epoch(orbit, epoch))
    if not chosen:
        names = (*movers.NAMES, "epoch", "H")
        empty = {name: np.zeros(0) for name in names}
        return empty | {"asteroid_id": np.zeros(0, int), "designation": np.zeros(0, "<U7"),
                        "kind": np.zeros(0, "<U10"), "known": np.zeros(0, bool)}  # fmt: skip
    return {name: np.concatenate([o[name] for o in chosen]) for name in chosen[0]}


def _see(orbits: dict, row: dict) -> dict[str, np.ndarray]:
    """Return what the middle of a visit sees."""
    place = np.array(row["sun_to_observer"])
    return movers.observe(orbits, row["mid"] + TT_MINUS_TAI, place)


def _at_epoch(orbit: dict, epoch: float) -> dict:
    """Give mean anomalies at a common epoch."""
    motion = np.rad2deg(np.sqrt(movers.GM / orbit["a"] ** 3))
    anomaly = (orbit["mean_anomaly"] + motion * (epoch - orbit["epoch"])) % 360
    return orbit | {"mean_anomaly": anomaly, "epoch": np.full(1, epoch)}


def _search(rng, kind: str, field: dict, must: list[dict], camera: Camera, config: dict) -> dict:
    """Draw orbits until one is on a detector in all of some visits, at a sensible speed."""
    anchor = must[len(must) // 2]
    low, high = (0.03, 0.3) if kind == "main_belt" else config["fast_deg_per_day"]
    for _ in range(200):
        orbits = movers.draw_orbits(
            rng,
            3000,
            kind,
            field,
            anchor["mid"] + TT_MINUS_TAI,
            np.array(anchor["sun_to_observer"]),
        )
        orbits["H"] = np.zeros(orbits["a"].size)
        good = _speed(orbits, anchor, low, high)
        for row in must:
            good &= _on_chips(orbits, row, camera)
        if good.any():
            first = int(np.argmax(good))
            return {name: value[first : first + 1] for name, value in orbits.items()}
    raise ValueError(f"no {kind} orbit stays on the detectors for {len(must)} visits")


def _speed(orbits: dict, row: dict, low: float, high: float) -> np.ndarray:
    """Say which orbits move at between two rates [deg/day]; the observer's motion is small."""
    track = _track(orbits, row)
    lapse = row["exposure"] / 86400
    east = (track["ra"][:, 0, 1] - track["ra"][:, 0, 0]) * np.cos(np.deg2rad(row["dec"]))
    rate = np.hypot(east, track["dec"][:, 0, 1] - track["dec"][:, 0, 0]) / lapse
    return (rate > low) & (rate < high)


def _on_chips(orbits: dict, row: dict, camera: Camera, margin: float = 40.0) -> np.ndarray:
    place = _see(orbits, row)
    pointing = optics.Pointing(row["ra"], row["dec"], row["rotation"])
    out = np.zeros(orbits["a"].size, bool)
    for detector in camera.detectors.values():
        x, y = optics.sky_to_pixel(pointing, camera, detector, place["ra"], place["dec"])
        with np.errstate(invalid="ignore"):
            out |= (
                (np.minimum(x, y) > margin)
                & (x < detector.nx - margin)
                & (y < detector.ny - margin)
            )
    return out


def _track(orbits: dict, row: dict) -> dict[str, np.ndarray]:
    """Return places [deg] when each snap begins and ends, shape (n, snaps, 2)."""
    # The observer moves by 450 km in 15 s, 0.3" at 0.4 au: it is carried along a straight line.
    here, velocity = np.array(row["sun_to_observer"]), np.array(row["observer_velocity"])
    out = {"ra": [], "dec": []}
    for begin in row["begin"]:
        for t in (begin, begin + row["exposure"] / 86400):
            place = here + velocity * (t - row["mid"])
            seen = movers.observe(orbits, t + TT_MINUS_TAI, place)
            out["ra"].append(seen["ra"])
            out["dec"].append(seen["dec"])
    shape = (orbits["a"].size, len(row["begin"]), 2)
    return {name: np.array(values).T.reshape(shape) for name, values in out.items()}


def ephemeris(asteroids: dict, row: dict) -> dict[str, list]:
    """Return what a visit sees of the asteroids, as plain lists."""
    orbits = {name: asteroids[name] for name in (*movers.NAMES, "epoch", "H")}
    seen = _see(orbits, row)
    track = _track(orbits, row)
    out = {name: value.tolist() for name, value in seen.items()}
    out["asteroid_id"] = asteroids["asteroid_id"].tolist()
    out["track_ra"], out["track_dec"] = track["ra"].tolist(), track["dec"].tolist()
    return out


def orbit_catalogue(asteroids: dict) -> dict[str, np.ndarray]:
    """Return the known asteroids' orbits, as the pipeline reads them."""
    known = asteroids["known"].astype(bool)
    names = {"designation": "designation", "epoch_mjd_tdb": "epoch"}
    names |= {name: name for name in (*movers.NAMES, "H")}
    out = {new: asteroids[old][known] for new, old in names.items()}
    return out | {"G": np.full(int(known.sum()), movers.SLOPE)}
