"""A GalSim exposure with a distorted, mispointed astropy WCS: the truth of the calibrate tests."""

import galsim
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from astropy.wcs import WCS

from alertprod.core.exposure import Exposure
from alertprod.instruments.camera import camera_from_dict

SHAPE = (640, 704)
SCALE = 1.0
SKY, READ_NOISE = 300.0, 6.0
BORESIGHT = (150.0, -20.0)
ROTATION = 30.0
MJD = 60800.25
YEARS = (MJD - 57388.5) / 365.25  # since J2016.0
ZERO = 27.3  # magnitude of one electron


@pytest.fixture(scope="session")
def config(root):
    return yaml.safe_load((root / "config" / "default.yaml").read_text())["calibrate"]


@pytest.fixture(scope="session")
def camera():
    ny, nx = SHAPE
    amplifier = {
        "name": "A", "hdu": 0, "gain": 1.0, "read_noise": READ_NOISE, "saturation": 60000,
        "data": [0, nx, 0, ny], "detsec": [0, nx, 0, ny],
    }  # fmt: skip
    return camera_from_dict(
        {
            "name": "test", "obscode": "X05", "pixel_scale": SCALE, "parity": 1,
            "filters": {"r_01": {"band": "r", "ref_band": "r"}},
            "detectors": [
                {"id": 3, "nx": nx, "ny": ny, "centre": [0.05, -0.03], "orientation": 0,
                 "amplifiers": [amplifier]}
            ],
        }
    )  # fmt: skip


def true_wcs(camera, shift=(23.0, -31.0), turn=0.35, distort=True):
    """Return astropy's TAN-SIP system: the nominal one, moved, turned and distorted."""
    header = camera.nominal_wcs(3, *BORESIGHT, ROTATION + turn).to_header()
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN-SIP", "DEC--TAN-SIP"] if distort else ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [header["CRVAL1"], header["CRVAL2"]]
    wcs.wcs.crpix = [header["CRPIX1"] + shift[0], header["CRPIX2"] + shift[1]]
    wcs.wcs.cd = [[header["CD1_1"], header["CD1_2"]], [header["CD2_1"], header["CD2_2"]]]
    if distort:
        a, b = np.zeros((4, 4)), np.zeros((4, 4))
        # about 1 px at the corners of the detector, with its own cubic part
        a[2, 0], a[1, 1], a[0, 2], a[3, 0] = 3e-6, -2e-6, 1e-6, 4e-9
        b[2, 0], b[1, 1], b[0, 2], b[0, 3] = -1e-6, 2.5e-6, 2e-6, -3e-9
        from astropy.wcs import Sip

        wcs.sip = Sip(a, b, None, None, wcs.wcs.crpix)
    return wcs


def psf_at(x, y, fwhm=2.1):
    """Return GalSim's PSF at a pixel: width and shape change over the detector."""
    u, v = 2 * x / SHAPE[1] - 1, 2 * y / SHAPE[0] - 1
    star = galsim.Moffat(beta=3.0, fwhm=fwhm * (1 + 0.04 * u + 0.03 * v * v))
    return star.shear(g1=0.02 + 0.03 * v, g2=0.03 * u * v)


def stamp_bounds(x, y, half=20):
    ix, iy = int(np.floor(x + 0.5)), int(np.floor(y + 0.5))
    return galsim.BoundsI(ix - half, ix + half, iy - half, iy + half)


def add(canvas, profile, x, y, half=20):
    """Draw a profile on the canvas at a 0-based position."""
    bounds = stamp_bounds(x, y, half)
    stamp = galsim.ImageF(bounds)
    profile.drawImage(stamp, scale=SCALE, center=galsim.PositionD(x, y))
    overlap = bounds & canvas.bounds
    if overlap.isDefined():
        canvas[overlap] += stamp[overlap]


def draw_sky(x, y, flux, fwhm=2.1, galaxies=30, seed=5):
    """Return expected electrons of stars and some galaxies, without sky."""
    rng = np.random.default_rng(seed)
    canvas = galsim.ImageF(SHAPE[1], SHAPE[0])
    canvas.setOrigin(0, 0)
    for xi, yi, fi in zip(x, y, flux, strict=True):
        add(canvas, psf_at(xi, yi, fwhm).withFlux(fi), xi, yi, 28 if fi > 1e5 else 16)
    for _ in range(galaxies):
        xi, yi = rng.uniform(0, SHAPE[1]), rng.uniform(0, SHAPE[0])
        body = galsim.Exponential(half_light_radius=rng.uniform(1.5, 4)).shear(
            g1=rng.uniform(-0.3, 0.3), g2=rng.uniform(-0.3, 0.3)
        )
        add(canvas, galsim.Convolve(body, psf_at(xi, yi, fwhm)).withFlux(2e4), xi, yi, 24)
    return np.maximum(canvas.array.astype(np.float64), 0)


def observe(expected, seed=1, saturation=2e4):
    """Add sky, noise, saturation; return an ISR exposure."""
    rng = np.random.default_rng(seed)
    total = expected + SKY * (1 + 1e-4 * np.arange(SHAPE[1]))
    image = rng.poisson(total) + rng.normal(0, READ_NOISE, SHAPE)
    from alertprod.core.masks import bits

    mask = np.where(image > saturation, bits("SAT"), 0)
    meta = {
        "VISIT": 2026051000012, "DETECTOR": 3, "NIGHT": 20260510, "INSTRUME": "test",
        "BAND": "r", "FILTER": "r_01", "REFBAND": "r", "MJDMID": MJD, "EXPTIME": 30.0,
        "BORERA": BORESIGHT[0], "BOREDEC": BORESIGHT[1], "ROTPA": ROTATION, "BUNIT": "electron",
    }  # fmt: skip
    variance = total + READ_NOISE**2
    return Exposure(np.minimum(image, saturation), mask, variance, meta)


def write_shard(path, ra, dec, flux, seed=2, error_mas=3.0):
    """Write a reference shard at J2016.0 whose stars have moved to (ra, dec) by the visit."""
    rng = np.random.default_rng(seed)
    n = len(ra)
    pm = rng.normal(0, 40, (2, n))
    noise = rng.normal(0, error_mas, (2, n)) / 3.6e6
    cos = np.cos(np.radians(dec))
    table = {
        "source_id": np.arange(1, n + 1, dtype=np.int64),
        "ra": ra - pm[0] * YEARS / 3.6e6 / cos + noise[0] / cos,
        "dec": dec - pm[1] * YEARS / 3.6e6 + noise[1],
        "ra_error": np.full(n, error_mas),
        "dec_error": np.full(n, error_mas),
        "pmra": pm[0],
        "pmdec": pm[1],
        "parallax": np.zeros(n),
        "ref_epoch": np.full(n, 2016.0),
        "flux_r": flux * 10 ** (0.4 * (31.4 - ZERO)) * 10 ** rng.normal(0, 0.004, n),
        "fluxErr_r": 0.01 * flux,
    }
    pq.write_table(pa.table(table), path)
    return path


@pytest.fixture(scope="session")
def field(camera, tmp_path_factory):
    """One exposure: isr, shard, and the truth (x, y, flux, ra, dec, astropy WCS)."""
    rng = np.random.default_rng(11)
    n = 260
    x, y = rng.uniform(-5, SHAPE[1] + 5, n), rng.uniform(-5, SHAPE[0] + 5, n)
    u = rng.uniform(size=n)
    flux = (1500**-0.7 + u * (1.5e6**-0.7 - 1500**-0.7)) ** (-1 / 0.7)
    wcs = true_wcs(camera)
    ra, dec = wcs.all_pix2world(x, y, 0)
    shard = write_shard(tmp_path_factory.mktemp("refcat") / "Npix=1.parquet", ra, dec, flux)
    isr = observe(draw_sky(x, y, flux))
    return {"isr": isr, "shard": shard, "x": x, "y": y, "flux": flux, "ra": ra, "dec": dec,
            "wcs": wcs}  # fmt: skip
