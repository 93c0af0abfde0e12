"""Fakes in real frames: copies of the frame's own isolated stars, moved by whole pixels."""

import numpy as np
from real_field import EXPLAINED, clean, kept_area

from alertprod.core.photometry import psf_flux
from alertprod.core.tables import read_table
from alertprod.difference import subtract_template
from alertprod.sources import measure_sources

HALF = 7
FOUND_PX = 1.5
APART_PX = 20


def donors(calexp, stars: dict) -> list[tuple[float, float, np.ndarray]]:
    """Cut out isolated bright stars: offset from the middle pixel, and pixels of unit flux."""
    found = []
    ny, nx = calexp.shape
    v, u = np.mgrid[-HALF : HALF + 1, -HALF : HALF + 1]
    for k in np.flatnonzero(clean(stars, snr=80)):
        x, y = stars["x"][k], stars["y"][k]
        ix, iy = round(float(x)), round(float(y))
        if not (10 < ix < nx - 11 and 22 < iy < ny - 11):
            continue
        near = np.hypot(stars["x"] - x, stars["y"] - y) < 13
        near[k] = False
        if np.nansum(np.where(near, stars["psfFlux"], 0)) > 0.02 * stars["psfFlux"][k]:
            continue
        stamp = calexp.image[iy - HALF : iy + HALF + 1, ix - HALF : ix + HALF + 1].astype(float)
        radius = np.hypot(u - (x - ix), v - (y - iy))
        stamp -= np.median(stamp[radius > 6])
        stamp[radius > 6.5] = 0
        found.append((x - ix, y - iy, stamp / stamp[radius <= 6].sum()))
    return found


def noise(difference, rng) -> float:
    """Return the scatter of PSF fluxes at random places: one sigma of a point source [nJy]."""
    ny, nx = difference.shape
    flux = psf_flux(difference, rng.uniform(20, nx - 20, 600), rng.uniform(20, ny - 20, 600))
    low, high = np.nanpercentile(flux["flux"], [15.865, 84.135])
    return float(high - low) / 2


def inject(calexp, stars, difference, rng, count: int, snr: tuple[float, float]):
    """Return the exposure with fakes at random places of the kept area, and their positions."""
    exposure, sigma = calexp.copy(), noise(difference, rng)
    keep, models = kept_area(difference), donors(calexp, stars)
    ny, nx = exposure.shape
    places: list[tuple[float, float]] = []
    while len(places) < count:
        dx, dy, stamp = models[rng.integers(len(models))]
        ix, iy = int(rng.integers(10, nx - 10)), int(rng.integers(20, ny - 10))
        if not keep[iy, ix] or any(np.hypot(ix - x, iy - y) < APART_PX for x, y in places):
            continue
        light = sigma * rng.uniform(*snr) * stamp
        photons = np.maximum(light, 0) * calexp.meta["FLUXCAL"]
        cut = np.s_[iy - HALF : iy + HALF + 1, ix - HALF : ix + HALF + 1]
        exposure.image[cut] += (light + rng.normal(0, 1, light.shape) * np.sqrt(photons)).astype(
            np.float32
        )
        exposure.variance[cut] += photons.astype(np.float32)
        places.append((ix + dx, iy + dy))
    return exposure, np.array(places)


def recovered(folder, config: dict, seed: int, count: int = 60, snr=(12.0, 30.0)):
    """Inject fakes in one frame; return how many were found and how many were kept.

    Kept are those that no flag explains away, with the flags that count for false detections.
    """
    from alertprod.core.fits import read_exposure

    calexp, template, difference = (
        read_exposure(folder / f"{name}.fits") for name in ("calexp", "template", "difference")
    )
    stars = read_table(folder / "stars.parquet")
    rng = np.random.default_rng([seed, int(calexp.meta["VISIT"])])
    exposure, places = inject(calexp, stars, difference, rng, count, snr)
    again = subtract_template(exposure, template, stars, config=config["difference"])
    table = measure_sources(again, exposure, template, config=config["sources"])
    good = np.ones(len(table["x"]), dtype=bool)
    for name in EXPLAINED:
        good &= ~table[name]
    apart = np.hypot(
        table["x"][None] - places[:, :1], table["y"][None] - places[:, 1:]
    )  # fake, source
    near = apart < FOUND_PX
    return int(near.any(axis=1).sum()), int((near & good).any(axis=1).sum())
