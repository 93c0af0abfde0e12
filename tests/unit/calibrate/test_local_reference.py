"""The local reference: exposures with poor WCSs of one sky, tied by their common stars."""

import numpy as np
import pytest
from astropy.wcs import WCS

from alertprod.calibrate.local_reference import build_local_reference
from alertprod.core.errors import BadInput
from alertprod.core.match import match_sky
from alertprod.core.tables import conform

SCALE = 5.0  # arcsec


def exposure(rng, sky, drift, turn, sloppy):
    """One exposure of the sky: true pixels with noise, positions by a sloppy affine WCS."""
    ra, dec, magnitude = sky
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval, wcs.wcs.crpix = [31.0, 46.0], [325.0 + drift[0], 250.0 + drift[1]]
    c, s = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    wcs.wcs.cd = SCALE / 3600 * np.array([[-c, s], [s, c]])
    x, y = wcs.all_world2pix(ra, dec, 0)
    # distortion that the sloppy WCS does not know
    u, v = (x - 325) / 325, (y - 250) / 250
    x, y = x + 0.3 * u * u - 0.2 * u * v, y + 0.25 * v * v + 0.2 * u**3
    inside = (x > 5) & (x < 645) & (y > 5) & (y < 495)
    x, y, m = x[inside], y[inside], magnitude[inside]
    n = len(x)
    x, y = x + rng.normal(0, 0.04, n), y + rng.normal(0, 0.04, n)
    guess = wcs.deepcopy()
    guess.wcs.crpix = guess.wcs.crpix + rng.normal(0, sloppy, 2)
    ra_seen, dec_seen = guess.all_pix2world(x, y, 0)
    flux = 10 ** (0.4 * (31.4 - m + rng.normal(0, 0.1) + rng.normal(0, 0.02, n)))
    table = {
        "x": x, "y": y, "xErr": np.full(n, 0.04), "yErr": np.full(n, 0.04), "ra": ra_seen,
        "dec": dec_seen, "psfFlux": flux, "psfFluxErr": 0.02 * flux, "snr": np.full(n, 50.0),
    }  # fmt: skip
    return conform(table | {k: np.arange(n) + 1 for k in ("starId",)} | flags(n), "stars"), (
        ra[inside], dec[inside],
    )  # fmt: skip


def flags(n):
    """Columns without a null that the test leaves empty."""
    names = (
        "isBlended", "isPsfStar", "isAstrometryStar", "isPhotometryStar", "centroid_flag",
        "pixelFlags_bad", "pixelFlags_cr", "pixelFlags_crCenter", "pixelFlags_edge",
        "pixelFlags_nodata", "pixelFlags_interpolated", "pixelFlags_saturated",
        "pixelFlags_saturatedCenter", "pixelFlags_suspect",
    )  # fmt: skip
    return {name: np.zeros(n, dtype=bool) for name in names} | {"peak": np.ones(n)}


@pytest.fixture(scope="module")
def exposures():
    rng = np.random.default_rng(3)
    n = 900
    ra, dec = 31 + rng.uniform(-0.9, 0.9, n), 46 + rng.uniform(-0.55, 0.55, n)
    sky = ra, dec, rng.uniform(9, 14, n)
    return sky, [
        exposure(rng, sky, (30 * k - 100, 8 * k), 0.1 * k, sloppy=0.4)[0] for k in range(8)
    ]


def test_common_stars_tie_exposures_to_a_hundredth_of_a_pixel(exposures, config):
    (ra, dec, _), tables = exposures
    joint = build_local_reference(tables, config=config)
    mine, true, _ = match_sky(joint["ra"], joint["dec"], ra, dec, 8)
    assert len(mine) > 400
    cos = np.cos(np.radians(46))
    east = (joint["ra"][mine] - ra[true]) * cos * 3600 / SCALE
    north = (joint["dec"][mine] - dec[true]) * 3600 / SCALE
    # hung on the average of sloppy solutions, and common distortion, it may be off as a whole ...
    assert np.hypot(np.mean(east), np.mean(north)) < 0.6
    # ... but a smooth map leaves nothing: relative positions are good
    u, v = (ra[true] - 31) / 0.9, (dec[true] - 46) / 0.55
    terms = np.stack([u**p * v**q for p in range(5) for q in range(5 - p)], axis=1)
    for offset in (east, north):
        fit, *_ = np.linalg.lstsq(terms, offset, rcond=None)
        assert 1.4826 * np.median(np.abs(offset - terms @ fit)) < 0.035


def test_zero_points_of_the_exposures_are_evened_out(exposures, config):
    (ra, dec, magnitude), tables = exposures
    joint = build_local_reference(tables, config=config)
    mine, true, _ = match_sky(joint["ra"], joint["dec"], ra, dec, 8)
    offset = 31.4 - 2.5 * np.log10(joint["flux"][mine]) - magnitude[true]
    # each exposure is off by 0.1 mag; stars seen in few exposures are as good as the others
    assert 1.4826 * np.median(np.abs(offset - np.median(offset))) < 0.015
    few = joint["n_frames"][mine] <= 4
    assert abs(np.median(offset[few]) - np.median(offset[~few])) < 0.01


def test_stars_seen_too_seldom_are_left_out_and_ids_are_unique(exposures, config):
    joint = build_local_reference(exposures[1], config=config)
    assert joint["n_frames"].min() >= config["local_reference"]["min_frames"]
    assert len(np.unique(joint["source_id"])) == len(joint["source_id"])


def test_one_exposure_is_not_enough(exposures, config):
    with pytest.raises(BadInput, match="needs two exposures"):
        build_local_reference(exposures[1][:1], config=config)
