"""Real frames: ten saturated Tycho-2 stars and a lost pointing; SkyMapper stars on a wide lens."""

import csv

import fitsio
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from alertprod.calibrate import build_local_reference, calibrate_image
from alertprod.core.exposure import Exposure
from alertprod.core.masks import bits
from alertprod.core.match import match_sky
from alertprod.instruments.camera import camera_from_dict


def amplifier(nx, ny):
    return {
        "name": "A", "hdu": 0, "gain": 1.0, "read_noise": 5.0, "saturation": 4095,
        "data": [0, nx, 0, ny], "detsec": [0, nx, 0, ny],
    }  # fmt: skip


def meta(ra, dec, rotation, mjd, band):
    return {
        "VISIT": 1, "DETECTOR": 0, "FILTER": band, "BAND": band, "MJDMID": mjd, "BORERA": ra,
        "BOREDEC": dec, "ROTPA": rotation, "BUNIT": "electron",
    }  # fmt: skip


@pytest.fixture(scope="module")
def sparse(real_data, tmp_path_factory, config):
    """Camera, exposures with the header's pointing, Tycho-2 shard, settings."""
    folder = real_data / "microobservatory_hatp32"
    camera = camera_from_dict(
        {
            "name": "small", "obscode": "696", "pixel_scale": 5.166, "parity": -1,
            "filters": {"r": {"band": "r", "ref_band": "VT"}},
            "detectors": [{"id": 0, "nx": 650, "ny": 500, "centre": [0, 0], "orientation": 0,
                           "amplifiers": [amplifier(650, 500)]}],
        }
    )  # fmt: skip
    exposures = []
    for path in sorted(folder.glob("*.FITS.gz"))[::20]:
        image, header = fitsio.read(path).astype(np.float32), fitsio.read_header(path)
        gain = np.float32(45)
        mask = np.where(image >= 4095, bits("SAT"), 0)
        mask[:13] |= bits("BAD")
        mask[:, :3] |= bits("BAD")
        variance = np.maximum(image - 280, 1) * gain + 35.0**2
        where = meta(float(header["RA"]), float(header["DEC"]), 179.6, 58107.2, "r")
        exposures.append(Exposure((image - 280) * gain, mask, variance, where))
    with open(folder / "tycho2.csv", newline="") as handle:
        rows = list(csv.DictReader(handle))
    ra, dec, magnitude = (
        np.array([float(row[name]) for row in rows]) for name in ("ra_deg", "dec_deg", "mag_VT")
    )
    shard = tmp_path_factory.mktemp("tycho") / "Npix=1.parquet"
    table = {"source_id": np.arange(1, len(ra) + 1), "ra": ra, "dec": dec,
             "flux_VT": 10 ** (0.4 * (31.4 - magnitude))}  # fmt: skip
    pq.write_table(pa.table(table), shard)
    astrometry = {"pointing_error_arcsec": 1900, "scale_error": 0.01, "min_stars": 8, "order": 1,
                  "default_error_mas": 500}  # fmt: skip
    settings = config | {
        "background": {"box_px": 64, "filter_px": 3},
        "astrometry": config["astrometry"] | astrometry,
        "photometry": config["photometry"] | {"allow_saturated": True},
    }
    return camera, exposures, shard, settings


@pytest.fixture(scope="module")
def first_pass(sparse):
    camera, exposures, shard, settings = sparse
    return [calibrate_image(e, camera, [shard], config=settings) for e in exposures]


def test_frames_are_solved_from_a_pointing_off_by_up_to_26_arcmin(sparse, first_pass):
    camera, exposures, *_ = sparse
    offset = []
    for isr, (calexp, _) in zip(exposures, first_pass, strict=True):
        assert calexp.meta["NWCSSTAR"] >= 8
        assert calexp.meta["WCSRMS"] / 5166 < 0.6
        nominal = camera.nominal_wcs(0, isr.meta["BORERA"], isr.meta["BOREDEC"], 179.6)
        x, y = calexp.wcs.sky_to_pix(*nominal.pix_to_sky(324.5, 249.5))
        offset.append(np.hypot(x - 324.5, y - 249.5) * 5.166 / 60)
    assert max(offset) > 20  # arcmin: the search was needed


def test_a_local_reference_registers_frames_to_a_few_hundredths_of_a_pixel(
    sparse, first_pass, tmp_path
):
    camera, exposures, shard, settings = sparse
    joint = build_local_reference([stars for _, stars in first_pass], config=settings)
    local = tmp_path / "local.parquet"
    pq.write_table(pa.table(joint), local)
    settings = settings | {"astrometry": settings["astrometry"] | {"order": 3}}
    second = [calibrate_image(e, camera, [shard, local], config=settings) for e in exposures[1:3]]
    (one, first), (_, then) = second
    good = [(s["snr"] > 30) & ~s["pixelFlags_saturated"] & ~s["centroid_flag"]
            for s in (first, then)]  # fmt: skip
    a, b = (np.flatnonzero(g) for g in good)
    i, j, _ = match_sky(first["ra"][a], first["dec"][a], then["ra"][b], then["dec"][b], 4)
    x, y = one.wcs.sky_to_pix(then["ra"][b[j]], then["dec"][b[j]])
    for difference in (x - first["x"][a[i]], y - first["y"][a[i]]):
        assert len(difference) > 200
        assert abs(np.median(difference)) < 0.02
        assert 1.4826 * np.median(np.abs(difference)) < 0.1
    ratio = then["psfFlux"][b[j]] / first["psfFlux"][a[i]]
    assert np.median(ratio) == pytest.approx(1, abs=0.01)
    for _, stars in second:  # and the bright catalogue still holds
        tycho = (stars["refId"] > 0) & (stars["refId"] < 1000) & stars["isAstrometryStar"]
        assert tycho.sum() >= 8


def test_fifteen_skymapper_stars_solve_a_frame_of_a_wide_lens(real_data, config, tmp_path):
    folder = real_data / "huntsman_drp"
    with fits.open(folder / "raw" / "science_0.fits") as hdus:
        image, header = hdus[0].data.astype(np.float32), hdus[0].header
    header = header.copy()
    header["CTYPE1"], header["CTYPE2"] = "RA---TAN-SIP", "DEC--TAN-SIP"  # forgotten by the maker
    truth = WCS(header)
    with open(folder / "refcat.csv", newline="") as handle:
        rows = [r for r in csv.DictReader(handle) if r["g_psf"]]
    ra, dec, magnitude = (
        np.array([float(r[k]) for r in rows]) for k in ("raj2000", "dej2000", "g_psf")
    )
    shard = tmp_path / "Npix=1.parquet"
    table = {"source_id": np.arange(1, len(ra) + 1), "ra": ra, "dec": dec,
             "flux_g": 10 ** (0.4 * (31.4 - magnitude))}  # fmt: skip
    pq.write_table(pa.table(table), shard)
    cd = truth.wcs.cd
    parity = 1 if np.linalg.det(cd) < 0 else -1
    camera = camera_from_dict(
        {
            "name": "lens", "obscode": "XXX", "pixel_scale": 1.26, "parity": parity,
            "filters": {"g": {"band": "g", "ref_band": "g"}},
            "detectors": [{"id": 0, "nx": 800, "ny": 800, "centre": [0, 0], "orientation": 0,
                           "amplifiers": [amplifier(800, 800)]}],
        }
    )  # fmt: skip
    centre = truth.all_pix2world(399.5, 399.5, 0)
    rotation = np.degrees(np.arctan2(cd[0, 1], cd[1, 1]))
    mask = np.where(image >= image.max(), bits("SAT"), 0)
    level = float(np.median(image))
    where = meta(centre[0] + 0.005, centre[1] - 0.004, rotation + 0.3, 59232.5, "g")
    spread = np.maximum(image - level, 0) + (1.4826 * np.median(np.abs(image - level))) ** 2
    isr = Exposure(image, mask, spread, where)
    calexp, stars = calibrate_image(isr, camera, [shard], config=config)
    x, y = np.meshgrid(np.linspace(20, 780, 9), np.linspace(20, 780, 9))
    px, py = calexp.wcs.sky_to_pix(*truth.all_pix2world(x, y, 0))
    assert calexp.meta["NWCSSTAR"] >= 10  # of 15 in the field
    assert calexp.meta["WCSRMS"] / 1260 < 0.3
    # the header's own system is 1.1 px off from these stars, with a slope of 1 px over the field
    assert np.median(px - x) == pytest.approx(1.1, abs=0.5)
    assert abs(np.median(py - y)) < 0.5
    assert stars["isPhotometryStar"].sum() >= 5
