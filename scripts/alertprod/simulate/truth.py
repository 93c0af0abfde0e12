"""What is truly on each image, and which asteroids can be found.

Truth of a visit (``truth/{night}/{visit}.parquet``), one row per source on a detector:

================  ================================================================================
source_id         unique over all kinds: star_id, 10^6 + galaxy_id, 2 10^6 + transient_id,
                  3 10^6 + asteroid_id
kind              star, variable, galaxy, transient, asteroid
ra, dec           astrometric ICRS at the middle of the visit [deg]
detector, x, y    where it falls [px]
flux              true flux above the atmosphere in this visit [nJy], in the camera's own band
template_flux     its mean over the template visits in this band [nJy]; 0 for what was not there
electrons         expected electrons, all snaps
snr, diff_snr     of the flux, and of its change against `template_flux`, for an ideal measurement
                  of a point source on the sky and read noise of all snaps
saturated         a pixel within 3 px is full in any snap
defect, cosmic    a defect, or a cosmic ray in any snap, lies within 2 px
trail             length of the trail during one snap [px]
================  ================================================================================
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from alertprod.simulate import api, lightcurves, movers, optics, sky
from alertprod.simulate.camera import Camera
from alertprod.simulate.hardware import HARDWARE, chip

KINDS = ("star", "variable", "galaxy", "transient", "asteroid")
OFFSET = {"galaxy": 1_000_000, "transient": 2_000_000, "asteroid": 3_000_000}


def write_table(path, table: dict[str, np.ndarray]) -> None:
    """Write a Parquet file, whole or not at all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    pq.write_table(pa.table({name: _column(v) for name, v in table.items()}), temporary)
    temporary.replace(path)


def _column(values):
    """Return an Arrow array; from its buffers, because `pyarrow.array` would import pandas."""
    import pyarrow as pa

    values = np.ascontiguousarray(values)
    if values.dtype.kind == "U":
        texts = [text.encode() for text in values.tolist()]
        ends = np.cumsum([0] + [len(text) for text in texts]).astype(np.int32)
        parts, kind = [ends, b"".join(texts)], pa.string()
    elif values.dtype == bool:
        parts, kind = [np.packbits(values, bitorder="little")], pa.bool_()
    else:
        parts, kind = [values], pa.from_numpy_dtype(values.dtype)
    buffers = [None, *(pa.py_buffer(part) for part in parts)]
    return pa.Array.from_buffers(kind, values.size, buffers)


def visit_path(folder, visit: int) -> Path:
    """Return where the truth of a visit lies."""
    return Path(folder) / str(visit // 100000) / f"{visit}.parquet"


def read_table(path) -> dict[str, np.ndarray]:
    """Read a Parquet file."""
    import pyarrow.parquet as pq

    table = pq.ParquetFile(path).read()  # read_table and to_numpy would import pandas
    return {name: np.array(table[name].to_pylist()) for name in table.column_names}


def stack(tables: list[dict]) -> dict[str, np.ndarray]:
    """Put tables with the same columns below each other."""
    return {name: np.concatenate([t[name] for t in tables]) for name in tables[0]}


@dataclass(frozen=True)
class Tables:
    """The sky of a survey."""

    stars: dict
    galaxies: dict
    variables: dict
    transients: dict
    asteroids: dict

    @classmethod
    def read(cls, folder) -> Tables:
        """Read ``truth/``."""
        return cls(**{n: read_table(Path(folder) / f"{n}.parquet") for n in cls.__annotations__})


@dataclass(frozen=True)
class Contents:
    """All sources of one visit, in the order points (stars, transients), galaxies, movers."""

    table: dict[str, np.ndarray]
    galaxies: dict[str, np.ndarray]
    mover_ra: np.ndarray
    mover_dec: np.ndarray

    def scene(self, snaps: int) -> api.Scene:
        """Return what `api.simulate_detector` takes."""
        kind = self.table["kind"]
        ra, dec, flux = (self.table[name] for name in ("ra", "dec", "flux"))
        point = (kind != "galaxy") & (kind != "asteroid")
        extended, mover = kind == "galaxy", kind == "asteroid"
        g = self.galaxies
        return api.Scene(
            api.Points(ra[point], dec[point], flux[point]),
            api.Galaxies(
                ra[extended],
                dec[extended],
                flux[extended],
                g["n"],
                g["radius"],
                g["axis_ratio"],
                g["angle"],
            ),
            api.Trails(self.mover_ra, self.mover_dec, flux[mover]),
        )


def contents(tables: Tables, row: dict, visits: list[dict]) -> Contents:
    """Put the sky of one visit together.

    Parameters
    ----------
    row : dict
        The visit's row of the plan.
    visits : list of dict
        The whole plan: its template visits in this band give `template_flux`.
    """
    times = [v["mid"] for v in visits if v["purpose"] == "template" and v["band"] == row["band"]]
    parts = [
        _stars(tables, row, times),
        _transients(tables, row, times),
        _galaxies(tables, row),
        _asteroids(row),
    ]
    names = ("source_id", "kind", "ra", "dec", "flux", "template_flux")
    table = {
        name: np.concatenate([np.asarray(part[k]) for part in parts])
        for k, name in enumerate(names)
    }
    seen = row["movers"]
    shape = (len(seen["ra"]), -1, 2)
    track_ra, track_dec = (np.array(seen[n], float) for n in ("track_ra", "track_dec"))
    return Contents(table, tables.galaxies, track_ra.reshape(shape), track_dec.reshape(shape))


def _kind(name: str, number: int) -> np.ndarray:
    return np.full(number, name, dtype="<U9")


def _mean(function, times: list[float], number: int) -> np.ndarray:
    return np.mean([function(t) for t in times], axis=0) if times else np.zeros(number)


def _stars(tables: Tables, row: dict, times: list[float]) -> tuple:
    stars, variables = tables.stars, tables.variables
    quiet = sky.camera_flux(stars, row["band"], row["colour_term"])
    kind = _kind("star", quiet.size)
    kind[variables["star"]] = "variable"

    def flux(mjd):
        out = quiet.copy()
        change = lightcurves.variation(variables, mjd, row["band"])
        out[variables["star"]] *= 10 ** (-0.4 * change)
        return out

    ra, dec = sky.at_visit(stars, row["mid"], np.array(row["barycentre_to_observer"]))
    return stars["star_id"], kind, ra, dec, flux(row["mid"]), _mean(flux, times, quiet.size)


def _transients(tables: Tables, row: dict, times: list[float]) -> tuple:
    table = tables.transients
    peak = sky.camera_flux(table, row["band"], row["colour_term"])

    def flux(mjd):
        return peak * lightcurves.transient_light(table, mjd)

    identity = table["transient_id"] + OFFSET["transient"]
    kind = _kind("transient", peak.size)
    template = _mean(flux, times, peak.size)
    return identity, kind, table["ra"], table["dec"], flux(row["mid"]), template


def _galaxies(tables: Tables, row: dict) -> tuple:
    table = tables.galaxies
    flux = sky.camera_flux(table, row["band"], row["colour_term"])
    identity = table["galaxy_id"] + OFFSET["galaxy"]
    return identity, _kind("galaxy", flux.size), table["ra"], table["dec"], flux, flux


def _asteroids(row: dict) -> tuple:
    seen = row["movers"]
    light = {f"mag_{b}": np.array(seen["mag_v"]) + c for b, c in movers.BAND_COLOUR.items()}
    flux = sky.camera_flux(light, row["band"], row["colour_term"])
    identity = np.array(seen["asteroid_id"], dtype=np.int64) + OFFSET["asteroid"]
    place = np.array(seen["ra"]), np.array(seen["dec"])
    return identity, _kind("asteroid", flux.size), *place, flux, 0 * flux


def on_detector(
    content: Contents, camera: Camera, detector_id: int, visit: api.Observation, made
) -> dict[str, np.ndarray]:
    """Return the truth rows of one detector."""
    detector = camera.detectors[detector_id]
    table = content.table
    pointing, psf = visit.true_pointing(), visit.true_psf(camera)
    x, y = optics.sky_to_pixel(pointing, camera, detector, table["ra"], table["dec"])
    keep = (x > -0.5) & (x < detector.nx - 0.5) & (y > -0.5) & (y < detector.ny - 0.5)
    keep &= table["flux"] > 0
    out = {name: value[keep] for name, value in table.items()}
    x, y = x[keep], y[keep]
    seconds = visit.exposure * len(visit.begin)
    gain = visit.electrons_per_njy(camera) * seconds
    trail = _trails(content, camera, detector, pointing)[keep]
    background = _noise_variance(camera, detector, visit, psf, trail)
    electrons = out["flux"] * gain
    noise = np.sqrt(background + electrons)
    full = np.any([snap.full for snap in made.snaps], axis=0)
    hit = np.any([snap.cosmics > 50 for snap in made.snaps], axis=0)
    out |= {
        "detector": np.full(x.size, detector_id),
        "x": x,
        "y": y,
        "electrons": electrons,
        "snr": electrons / noise,
        "diff_snr": (out["flux"] - out["template_flux"]) * gain / noise,
        "saturated": touched(full, x, y, 3),
        "defect": touched(chip(camera, detector).defects, x, y, 2),
        "cosmic": touched(hit, x, y, 2),
        "trail": trail,
    }
    return out


def _trails(content, camera, detector, pointing) -> np.ndarray:
    """Return the length of each source's trail during the first snap [px]."""
    out = np.zeros(content.table["ra"].size)
    ends = [
        optics.sky_to_pixel(
            pointing, camera, detector, content.mover_ra[:, 0, k], content.mover_dec[:, 0, k]
        )
        for k in (0, 1)
    ]
    if content.mover_ra.size:
        lengths = np.hypot(ends[1][0] - ends[0][0], ends[1][1] - ends[0][1])
        out[content.table["kind"] == "asteroid"] = lengths
    return out


def _noise_variance(camera, detector, visit, psf, trail) -> np.ndarray:
    """Return the variance [e-^2] of sky, dark and read noise under a source's profile."""
    hardware = HARDWARE[camera.name]
    snaps = len(visit.begin)
    read = np.mean([a.read_noise**2 for a in detector.amplifiers])
    pixel = (visit.sky_rate(camera) + hardware.dark) * visit.exposure * snaps + read * snaps
    fwhm = psf.fwhm_px
    area = optics.profile(psf.profile).noise_area * fwhm**2
    return pixel * area * np.sqrt(1 + (trail / fwhm) ** 2)


def touched(mask: np.ndarray, x, y, radius: int) -> np.ndarray:
    """Say whether any pixel of a mask within a box about each place is set."""
    ny, nx = mask.shape
    out = np.zeros(np.size(x), bool)
    for dy in range(-radius, radius + 1):
        for dx in range(-radius, radius + 1):
            ix = np.clip(np.rint(x).astype(int) + dx, 0, nx - 1)
            iy = np.clip(np.rint(y).astype(int) + dy, 0, ny - 1)
            out |= mask[iy, ix]
    return out


def findable(folder, visits: list[dict], threshold: float) -> dict[str, np.ndarray]:
    """Say which asteroids were seen at least twice on each of three nights.

    Parameters
    ----------
    folder : path-like
        ``truth/``.
    visits : list of dict
        The plan.
    threshold : float
        Least S/N of a sighting that counts; one on a saturated or defective pixel does not.

    Returns
    -------
    dict
        asteroid_id, designation, known, kind, nights (with two sightings), visits, findable.
    """
    asteroids = read_table(Path(folder) / "asteroids.parquet")
    number = asteroids["asteroid_id"].size
    sightings: list[dict[int, int]] = [{} for _ in range(number)]
    for row in visits:
        if row["purpose"] != "science":
            continue
        table = read_table(visit_path(folder, row["visit"]))
        good = (table["kind"] == "asteroid") & (table["snr"] >= threshold)
        good &= ~(table["saturated"] | table["defect"])
        for identity in table["source_id"][good] - OFFSET["asteroid"]:
            counts = sightings[int(np.flatnonzero(asteroids["asteroid_id"] == identity)[0])]
            counts[row["night"]] = counts.get(row["night"], 0) + 1
    nights = np.array([sum(n >= 2 for n in s.values()) for s in sightings], int)
    return {
        "asteroid_id": asteroids["asteroid_id"],
        "designation": asteroids["designation"],
        "known": asteroids["known"],
        "kind": asteroids["kind"],
        "visits": np.array([sum(s.values()) for s in sightings], int),
        "nights": nights,
        "findable": nights >= 3,
    }
