"""Defects planted in masters and in frames of a moving sky; real hot pixels."""

from pathlib import Path

import numpy as np
import pytest

from alertprod.calibs import find_defects, find_science_defects
from alertprod.calibs.defects import hot_pixels
from alertprod.core.errors import Rejected
from alertprod.core.exposure import Exposure
from alertprod.core.fits import write_exposure, write_rejected_image


@pytest.fixture
def config(default_config):
    return default_config["calibs"]


def master(tinycam, image, scatter=None, **meta):
    shape = (tinycam.NY, tinycam.NX)
    return Exposure(
        image=np.broadcast_to(np.asarray(image, np.float32), shape).copy(),
        mask=np.zeros(shape, np.int32),
        variance=np.ones(shape, np.float32) if scatter is None else np.square(scatter),
        meta={"DETECTOR": 0, "NFRAMES": 9, **meta},
    )


def test_hot_unstable_and_dead_pixels_are_found_and_counted(tinycam, tmp_path, config):
    rng = np.random.default_rng(1)
    shape = (tinycam.NY, tinycam.NX)
    rate = rng.normal(0.1, 0.02, shape)
    rate[10, 10] = 3.0
    scatter = 2.0 * np.sqrt(rng.chisquare(8, shape) / 8)
    scatter[20, 20] = 15.0
    response = rng.normal(1.0, 0.01, shape)
    response[30, 30] = 0.2
    response[31, 31] = 1.8
    write_exposure(tmp_path / "flat_r.fits", master(tinycam, response, BAND="r"))
    write_rejected_image(tmp_path / "flat_g.fits", "no frames")
    found = find_defects(
        master(tinycam, 0.0, scatter),
        master(tinycam, rate),
        [tmp_path / "flat_g.fits", tmp_path / "flat_r.fits"],
        tinycam.camera(),
        config=config,
    )
    where = set(zip(*np.nonzero(found.bad("BAD")), strict=True))
    assert where == {(10, 10), (20, 20), (30, 30), (31, 31)}
    assert [found.meta[k] for k in ("NHOT", "NNOISY", "NDEAD", "NCOLUMN")] == [1, 1, 2, 0]


def test_a_column_with_many_hot_pixels_goes_as_a_whole(tinycam, config):
    rate = np.full((tinycam.NY, tinycam.NX), 0.1) + np.random.default_rng(2).normal(
        0, 0.01, (tinycam.NY, tinycam.NX)
    )
    rate[0:32:2, 7] = 5.0
    found = find_defects(None, master(tinycam, rate), [], tinycam.camera(), config=config)
    assert found.bad("BAD")[:32, 7].all()
    assert not found.bad("BAD")[32:, 7].any()  # the other amplifier's half is sound
    assert found.meta["NCOLUMN"] == 16


def test_no_masters_are_no_grounds_for_a_defect_map(tinycam, config):
    with pytest.raises(Rejected, match="no master"):
        find_defects(None, None, [], tinycam.camera(), config=config)


def drifting(tinycam, folder, step, n=9, warm=None):
    """Frames of a star field that moves by `step` px from frame to frame, with hot pixels."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[: tinycam.NY, : tinycam.NX]
    places = rng.uniform(-60, 160, (60, 2))
    paths = []
    for k in range(n):
        scene = np.full(x.shape, 800.0)
        for cx, cy in places:
            scene += 8000 * np.exp(-((x - cx - k * step) ** 2 + (y - cy) ** 2) / 2.5)
        scene[5, 5] += 900.0
        scene[40, 77] += 900.0
        for place, excess in (warm or {}).items():
            scene[place] += excess
        counts = rng.poisson(scene).astype(float)
        paths.append(tinycam.write_raw(folder / f"{step}_{k}.fits", counts, rng))
    return paths


def test_what_stands_still_while_the_sky_moves_is_a_defect(tinycam, tmp_path, config):
    found = find_science_defects(drifting(tinycam, tmp_path, 5), tinycam.camera(), config=config)
    where = set(zip(*np.nonzero(found.bad("BAD")), strict=True))
    assert {(5, 5), (40, 77)} <= where
    assert len(where) < 12


def test_a_field_that_does_not_move_is_no_ground_for_a_defect_map(tinycam, tmp_path, config):
    with pytest.raises(Rejected, match="look defective"):
        find_science_defects(drifting(tinycam, tmp_path, 0), tinycam.camera(), config=config)


def test_the_hot_pixels_of_the_real_field_are_found(real_data, config):
    """A quick trial found about 1,130 above 6 ADU, and bad rows and columns."""
    from alertprod.instruments.camera import read_camera

    paths = sorted((real_data / "microobservatory_hatp32").glob("*.gz"))
    found = find_science_defects(paths[::6], read_camera("microobs"), config=config)
    assert 900 < found.meta["NHOT"] < 1800
    assert found.bad("BAD")[:13].all() and found.bad("BAD")[:, :3].all()


def test_a_real_dark_shows_the_defects_that_the_lsst_stack_found(real_data, config):
    """Huntsman: 245 boxes, 268 pixels that are hot or stuck low in one 300 s dark."""
    from astropy.io import fits

    from alertprod.calibs import build_dark
    from alertprod.instruments.camera import read_camera

    folder = real_data / "huntsman_drp"
    camera = read_camera(Path(__file__).parents[2] / "data" / "instruments" / "huntsman.yaml")
    boxes = fits.getdata(folder / "calib/2021-01-07/defects/defects_14_Huntsman_2021-01-07.fits", 1)
    theirs = np.zeros((800, 800), bool)
    for box in boxes:
        theirs[box["y0"] : box["y0"] + box["height"], box["x0"] : box["x0"] + box["width"]] = True
    dark = build_dark(
        [folder / "raw" / "dark_0.fits"], camera, None, config={**config, "require": 1}
    )
    # 37 adu above zero, of which 32 are the bias that the camera's file says
    assert np.median(dark.image) * 300 / 1.1447 == pytest.approx(5, abs=0.5)
    ours = hot_pixels(dark.image, {**config, "hot_rate": 0.0, "hot_sigma": 4.5})
    assert (ours & theirs).sum() == theirs.sum() == 268
    assert ours.sum() < 1.05 * theirs.sum()


def test_warm_pixels_are_measured_and_hot_ones_are_bad(tinycam, tmp_path, config):
    """A pixel of a few electrons per second stays usable: its excess is known."""
    found = find_science_defects(
        drifting(tinycam, tmp_path, 5, warm={(30, 60): 80.0}),
        tinycam.camera(),
        config={**config, "science_sigma": 4.0},
    )
    assert not found.bad("BAD")[30, 60] and found.bad("BAD")[5, 5]
    assert found.meta["BUNIT"] == "electron/s" and found.meta["NWARM"] >= 1
    assert found.image[5, 5] == 0
    assert found.image[30, 60] > 0.5 * found.image.max()
