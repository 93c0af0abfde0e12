"""The whole calibrate stage on a GalSim exposure with an independent WCS."""

import numpy as np
import pytest
from scipy.spatial import cKDTree

from alertprod.calibrate import calibrate_image
from alertprod.core.errors import Rejected

from .conftest import SHAPE, ZERO, draw_sky, observe, write_shard


@pytest.fixture(scope="module")
def result(field, camera, config):
    return calibrate_image(field["isr"], camera, [field["shard"]], config=config)


def matched(field, stars, least_flux=5e3, clean=True):
    """Return (star, truth) indices of isolated clean stars."""
    tree = cKDTree(np.column_stack([field["x"], field["y"]]))
    near, _ = tree.query(np.column_stack([field["x"], field["y"]]), k=2)
    distance, index = tree.query(np.column_stack([stars["x"], stars["y"]]))
    good = (distance < 1) & (field["flux"][index] > least_flux) & (near[index, 1] > 12)
    if clean:
        good &= ~stars["pixelFlags_saturated"] & ~stars["centroid_flag"]
    keep = np.flatnonzero(good)
    return keep, index[keep]


def test_sky_positions_are_true_to_30_mas_at_the_bright_end(field, result):
    _, stars = result
    star, truth = matched(field, stars, 2e4)
    east = (stars["ra"][star] - field["ra"][truth]) * np.cos(np.radians(-20)) * 3.6e6
    north = (stars["dec"][star] - field["dec"][truth]) * 3.6e6
    assert len(star) > 20
    assert np.sqrt(np.mean(east**2)) < 30
    assert np.sqrt(np.mean(north**2)) < 30
    assert abs(np.mean(east)) < 10 and abs(np.mean(north)) < 10


def test_wcs_is_true_all_over_the_detector_to_a_twentieth_of_a_pixel(field, result):
    calexp, _ = result
    x, y = np.meshgrid(np.linspace(10, 690, 9), np.linspace(10, 630, 9))
    ra, dec = field["wcs"].all_pix2world(x, y, 0)
    px, py = calexp.wcs.sky_to_pix(ra, dec)
    assert np.max(np.hypot(px - x, py - y)) < 0.05


def test_fluxes_are_true_in_nanojansky(field, result):
    calexp, stars = result
    star, truth = matched(field, stars, 2e4)
    true = field["flux"][truth] * 10 ** (0.4 * (31.4 - ZERO))
    ratio = stars["psfFlux"][star] / true
    assert abs(np.median(ratio) - 1) < 0.004
    assert 1.4826 * np.median(np.abs(ratio - np.median(ratio))) < 0.010
    # faint neighbours in the wings of the PSF stars count as theirs
    assert abs(calexp.meta["ZEROPNT"] - ZERO) < 0.02
    assert calexp.meta["BUNIT"] == "nJy"


def test_pulls_of_flux_and_position_have_unit_width(field, result):
    _, stars = result
    star, truth = matched(field, stars, 2.5e3)
    true = field["flux"][truth] * 10 ** (0.4 * (31.4 - ZERO))
    faint = true < 4e4 * 10 ** (0.4 * (31.4 - ZERO))
    star, truth, true = star[faint], truth[faint], true[faint]
    scale = np.median(stars["psfFlux"][star] / true)
    flux = (stars["psfFlux"][star] / scale - true) / stars["psfFluxErr"][star]
    where = (stars["x"][star] - field["x"][truth]) / stars["xErr"][star]
    for pull in (flux, where):
        assert 0.75 < 1.4826 * np.median(np.abs(pull)) < 1.3
    assert len(star) > 80


def test_background_and_limit_are_those_of_the_sky(field, result):
    calexp, _ = result
    level = 300 * (1 + 1e-4 * 351.5)
    assert calexp.meta["SKYLEVEL"] == pytest.approx(level, rel=0.01)
    assert calexp.meta["SKYSIG"] == pytest.approx(np.sqrt(level + 36), rel=0.05)
    back = calexp.background.image() / calexp.meta["FLUXCAL"]
    slope = (back[:, 600].mean() - back[:, 100].mean()) / 500
    assert slope == pytest.approx(0.03, rel=0.35)


def test_table_names_the_stars_behind_each_fit(result):
    calexp, stars = result
    for column, card in (("isPsfStar", "NPSFSTAR"), ("isAstrometryStar", "NWCSSTAR"),
                         ("isPhotometryStar", "NPHOSTAR")):  # fmt: skip
        assert stars[column].sum() == calexp.meta[card] > 50
    assert (stars["refId"][stars["isPhotometryStar"]] > 0).all()
    used = stars["isAstrometryStar"]
    both = np.concatenate([stars["refDRa"][used], stars["refDDec"][used]])
    assert np.sqrt(np.mean(both**2)) == pytest.approx(calexp.meta["WCSRMS"], rel=1e-4)


def test_saturated_stars_stay_in_the_table_with_their_flag(field, result):
    _, stars = result
    bright = stars["pixelFlags_saturatedCenter"]
    assert bright.sum() >= 3
    assert not stars["isPsfStar"][bright].any() and not stars["isPhotometryStar"][bright].any()
    assert np.isnan(stars["xErr"][bright]).all()


def test_mask_keeps_its_planes_and_marks_detections(field, result):
    calexp, stars = result
    assert np.array_equal(calexp.bad("SAT"), field["isr"].bad("SAT"))
    ix, iy = np.round(stars["x"]).astype(int), np.round(stars["y"]).astype(int)
    inside = (ix >= 0) & (iy >= 0) & (ix < calexp.shape[1]) & (iy < calexp.shape[0])
    assert calexp.bad("DETECTED")[iy[inside], ix[inside]].mean() > 0.98
    assert calexp.bad("DETECTED").mean() < 0.3


def test_a_frame_of_noise_is_rejected(camera, config, field):
    noise = observe(np.zeros(SHAPE), seed=3)
    with pytest.raises(Rejected, match=r"^\d+ .*sources|no source"):
        calibrate_image(noise, camera, [field["shard"]], config=config)


def test_a_frame_with_three_stars_is_rejected(camera, config, field):
    three = observe(draw_sky([100.3, 400.0, 300.7], [200.0, 500.4, 90.1], [5e4] * 3, galaxies=0))
    with pytest.raises(Rejected, match=r"^\d+ "):
        calibrate_image(three, camera, [field["shard"]], config=config)


def test_an_empty_patch_of_the_catalogue_is_a_rejection(camera, config, field, tmp_path):
    far = write_shard(tmp_path / "far.parquet", np.array([10.0]), np.array([40.0]), np.ones(1))
    with pytest.raises(Rejected, match="no reference star within"):
        calibrate_image(field["isr"], camera, [far], config=config)


def test_another_sky_in_the_catalogue_gives_no_wcs(camera, config, field, tmp_path):
    rng = np.random.default_rng(8)
    ra, dec = 149.95 + rng.uniform(-0.2, 0.2, 400), -20.02 + rng.uniform(-0.2, 0.2, 400)
    other = write_shard(tmp_path / "other.parquet", ra, dec, rng.uniform(2e3, 1e5, 400))
    with pytest.raises(Rejected, match="no WCS"):
        calibrate_image(field["isr"], camera, [other], config=config)


def test_same_input_gives_the_same_bytes(field, camera, config, result):
    calexp, stars = calibrate_image(field["isr"], camera, [field["shard"]], config=config)
    assert calexp == result[0]
    assert all(np.array_equal(stars[k], result[1][k], equal_nan=True) for k in ("x", "psfFlux"))
