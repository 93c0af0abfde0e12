"""A whole survey in files: one call per job of ``workflow/simulate.smk``.

Below the root directory: ``raw/{night}/{visit}_{snap}_{detector}.fits``, ``raw/calib/...``,
``refcat.csv``, ``orbits.csv``; and ``truth/``, which no rule of the pipeline may read.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np

from alertprod.simulate import api, asteroids, lightcurves, optics, plan, sky, truth
from alertprod.simulate.camera import Camera, read_camera
from alertprod.simulate.hardware import HARDWARE, chip, throughput

SKY = 2001  # a random stream
CALIBRATIONS = 2002
FLAT_ELECTRONS = 30000.0  # electrons per pixel in a flat field


def make_sky(config: dict, camera_path, root) -> None:
    """Draw the sky and the weather; write ``truth/``, ``refcat.csv`` and ``orbits.csv``."""
    camera, root = read_camera(camera_path), Path(root)
    folder = root / "truth"
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([config["seed"], SKY])
    visits = plan.make_plan(config, camera)
    field, content = config["field"], config["sky"]
    stars = sky.make_stars(rng, content, field)
    galaxies = sky.make_galaxies(rng, content, field)
    core = {"ra": field["ra"], "dec": field["dec"], "radius": content["events_radius"]}
    variables = lightcurves.make_variables(rng, content, stars, _within(stars, core))
    first = min(row["mid"] for row in visits if row["purpose"] == "science")
    transients = lightcurves.make_transients(
        rng, content, galaxies, _within(galaxies, core), core, first
    )
    bodies = asteroids.make_asteroids(rng, content["asteroids"], core, visits, camera)
    for row in visits:
        row["movers"] = asteroids.ephemeris(bodies, row)
    truth.write_table(folder / "stars.parquet", stars)
    truth.write_table(folder / "galaxies.parquet", galaxies)
    truth.write_table(folder / "variables.parquet", variables)
    truth.write_table(folder / "transients.parquet", transients)
    truth.write_table(folder / "asteroids.parquet", bodies)
    (folder / "plan.json").write_text(json.dumps(visits, indent=1))
    optics.save_profile(folder / "psf_profile.npy", "kolmogorov")
    write_csv(root / "refcat.csv", sky.reference_catalogue(rng, stars, camera.ref_bands))
    write_csv(root / "orbits.csv", asteroids.orbit_catalogue(bodies))


def _within(table: dict, disc: dict) -> np.ndarray:
    east = (table["ra"] - disc["ra"]) * np.cos(np.deg2rad(disc["dec"]))
    return np.hypot(east, table["dec"] - disc["dec"]) < disc["radius"]


def make_visit(config: dict, camera_path, root, visit: int) -> None:
    """Write the raw files of all detectors and snaps of a visit, and its truth."""
    camera, root = read_camera(camera_path), Path(root)
    folder = root / "truth"
    optics.load_profile(folder / "psf_profile.npy", "kolmogorov")
    visits = {row["visit"]: row for row in json.loads((folder / "plan.json").read_text())}
    row = visits[visit]
    tables = truth.Tables.read(folder)
    content = truth.contents(tables, row, list(visits.values()))
    observation, scene = plan.observation(row), content.scene(len(row["begin"]))
    found = []
    for detector_id in camera.detectors:
        made = api.simulate_detector(camera, detector_id, observation, scene, seed=config["seed"])
        for snap in range(len(made.snaps)):
            path = raw_path(root, row["night"], visit, snap, detector_id)
            api.write_snap(path, camera, detector_id, observation, made, snap)
        found.append(truth.on_detector(content, camera, detector_id, observation, made))
    truth.write_table(truth.visit_path(folder, visit), truth.stack(found))


def raw_path(root, night: int, visit: int, snap: int, detector: int) -> Path:
    """Return where a raw file lies."""
    return Path(root) / "raw" / str(night) / f"{visit}_{snap}_{detector:03d}.fits"


def calibration_visits(config: dict) -> dict[str, list[int]]:
    """Return the visit numbers of the calibration frames by kind: bias, dark, flat_{band}."""
    entry = config["calibrations"]
    seq, out = int(entry["night"]) * 100000, {}
    kinds = [("bias", entry["bias"]), ("dark", entry["dark"])]
    kinds += [(f"flat_{band}", entry["flat"]) for band in entry["bands"]]
    for kind, number in kinds:
        out[kind] = [seq + k + 1 for k in range(number)]
        seq += number
    return out


def calibration_path(root, visit: int, detector: int) -> Path:
    """Return where the raw file of a calibration frame lies."""
    return Path(root) / "raw" / "calib" / str(visit // 100000) / f"{visit}_0_{detector:03d}.fits"


def make_calibrations(config: dict, camera_path, root, image_type: str) -> None:
    """Write all calibration frames of one type: ``bias``, ``dark`` or ``flat`` (all bands)."""
    camera = read_camera(camera_path)
    entry = config["calibrations"]
    seconds = {"bias": 0.0, "dark": float(entry["dark_exposure"]), "flat": 5.0}[image_type]
    begin = plan.calibration_begin(entry["utc"])
    for kind, visits in calibration_visits(config).items():
        if kind.partition("_")[0] != image_type:
            continue
        for visit in visits:
            observation = api.Observation(
                visit=visit,
                band=kind.partition("_")[2] or "r",
                ra=0.0,
                dec=0.0,
                begin=(begin + (visit % 100000) * 180 / 86400,),
                exposure=seconds,
                image_type=image_type.upper(),
            )
            for detector_id in camera.detectors:
                made = _calibration_frame(config["seed"], camera, detector_id, observation)
                path = calibration_path(root, visit, detector_id)
                api.write_snap(path, camera, detector_id, observation, made, 0)


def _calibration_frame(seed: int, camera: Camera, detector_id: int, observation) -> api.Simulated:
    detector = camera.detectors[detector_id]
    rng = np.random.default_rng([seed, observation.visit, detector_id, CALIBRATIONS])
    mean = chip(camera, detector).dark * np.float32(observation.exposure)
    if observation.image_type == "FLAT":
        lamp = FLAT_ELECTRONS * rng.normal(1.0, 0.02)
        mean = mean + lamp * throughput(camera, detector, observation.band)
    charge = rng.poisson(mean).astype(np.float32)
    seconds = observation.exposure * (HARDWARE[camera.name].cosmics > 0)
    empty = np.zeros(0)
    return api.Simulated([api.expose(camera, detector, charge, rng, seconds)], empty, empty)


def make_findable(config: dict, root) -> None:
    """Write ``truth/findable.csv`` when the truth of all visits is there."""
    folder = Path(root) / "truth"
    visits = json.loads((folder / "plan.json").read_text())
    write_csv(folder / "findable.csv", truth.findable(folder, visits, config["findable_snr"]))


def write_csv(path, table: dict[str, np.ndarray]) -> None:
    """Write a table; NaN becomes an empty cell, numbers keep all their digits."""
    columns = [
        ["" if isinstance(v, float) and v != v else v for v in np.asarray(column).tolist()]
        for column in table.values()
    ]
    with open(path, "w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(table)
        writer.writerows(zip(*columns, strict=True))
