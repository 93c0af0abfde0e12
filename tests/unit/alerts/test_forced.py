"""Forced photometry: fluxes where nothing needs to be detected."""

import numpy as np
import pytest

from alertprod.alerts import forced
from alertprod.core.exposure import Exposure
from alertprod.core.psf import Psf


@pytest.fixture
def images(survey):
    """A star of 3000 nJy at (30.3, 40.6) on noise of 10 nJy, with a dead column elsewhere."""
    rng = np.random.default_rng(5)
    y, x = np.mgrid[: survey.SIZE, : survey.SIZE]
    star = 3000.0 * np.exp(-((x - 30.3) ** 2 + (y - 40.6) ** 2) / 8.0) / (8.0 * np.pi)
    meta = {"VISIT": 2025112100100, "DETECTOR": 7, "MJDMID": 61000.5, "BAND": "i"}
    mask = np.zeros(star.shape, dtype=np.int32)
    mask[:, 60:72] = 1
    made = []
    for offset in (0.0, 4.0):
        pixels = star + offset + rng.normal(0, 10, star.shape)
        variance = np.full(star.shape, 100.0)
        psf = Psf.constant(survey.gaussian(), star.shape, apcorr=1.1)
        made.append(Exposure(pixels, mask, variance, meta, wcs=survey.wcs(), psf=psf))
    return made


def objects_at(survey, *pixels):
    ra, dec = survey.wcs().pix_to_sky(*np.array(pixels, dtype=float).T)
    return {"diaObjectId": np.arange(len(ra)) + 1, "ra": ra, "dec": dec}


def test_a_forced_flux_is_the_true_one_within_its_error_and_apcorr(images, survey):
    table = forced.measure(objects_at(survey, (30.3, 40.6), (20, 80)), [], *images, 61000.6)
    expected = np.array([3300.0, 0.0])  # times the aperture correction of 1.1
    pull = (table["psfFlux"] - expected) / table["psfFluxErr"]
    assert np.abs(pull).max() < 4
    error = 1.1 * 10.0 / np.sqrt(np.square(survey.gaussian()).sum())
    assert table["psfFluxErr"] == pytest.approx(error, rel=0.05)
    assert not table["psfFlux_flag"].any()


def test_positions_off_the_detector_have_no_row(images, survey):
    table = forced.measure(objects_at(survey, (-5, 40), (50, 50), (40, 300)), [], *images, 61000.6)
    assert table["diaObjectId"].tolist() == [2]
    assert table["x"][0] == pytest.approx(50.0, abs=1e-4)


def test_no_good_pixels_give_a_null_flux_and_a_flag(images, survey):
    table = forced.measure(objects_at(survey, (66, 50)), [], *images, 61000.6)
    assert np.isnan(table["psfFlux"][0]) and np.isnan(table["scienceFluxErr"][0])
    assert table["psfFlux_flag"][0] and table["scienceFlux_flag"][0]


def test_targets_come_last_with_their_name_and_without_an_object(images, survey):
    ra, dec = survey.wcs().pix_to_sky(30.3, 40.6)
    targets = [{"name": "HAT-P-32", "ra": float(ra), "dec": float(dec)}]
    table = forced.measure(objects_at(survey, (50, 50)), targets, *images, 61000.6)
    assert table["target"].tolist() == ["", "HAT-P-32"]
    assert table["diaObjectId"].tolist() == [1, 0]
    assert table["psfFlux"][1] == pytest.approx(3300, rel=0.1)
    assert len(set(table["diaForcedSourceId"])) == 2
    assert set(table["detector"]) == {7} and set(table["band"]) == {"i"}


def test_targets_have_aperture_fluxes_that_say_when_a_defect_touches_them(images, survey):
    where = [(30.3, 40.6), (58.0, 50.0)]
    targets = []
    for name, place in zip("ab", where, strict=True):
        ra, dec = survey.wcs().pix_to_sky(*place)
        targets.append({"name": name, "ra": float(ra), "dec": float(dec)})
    table = forced.measure(objects_at(survey, (50, 50)), targets, *images, 61000.6, 3.5)
    assert np.isnan(table["apFlux"][0]) and not table["apFlux_flag"][0]
    inside = 1 - np.exp(-(3.5**2) / 8.0)  # of a Gaussian with sigma 2 px
    area = np.pi * 3.5**2
    for column, offset in (("apFlux", 0.0), ("scienceApFlux", 4.0)):
        expected = 3000 * inside + offset * area
        assert table[column][1] == pytest.approx(expected, abs=4 * 10 * area**0.5)
        assert table[column + "Err"][1] == pytest.approx(10 * area**0.5, rel=0.1)
        assert table[column + "_flag"].tolist() == [False, False, True]


def test_nothing_to_measure_is_an_empty_table(images, survey):
    none = {name: column[:0] for name, column in objects_at(survey, (1, 1)).items()}
    assert len(forced.measure(none, [], *images, 61000.6)["ra"]) == 0


def test_only_objects_with_enough_detections_are_measured(world, survey):
    world.options["alerts"]["forced_detections"] = 2
    world.observe(0)
    world.observe(1, slice(0, 4))
    world.run(range(2))
    from alertprod.core.tables import read_table

    counts = [len(read_table(world.path(i, "forced.parquet"))["ra"]) for i in range(2)]
    assert counts == [0, 4]
