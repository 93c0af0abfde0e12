"""`alertprod debug` repeats one detector-visit beside the results."""

import numpy as np
import pytest

from alertprod import process
from alertprod.cli import main
from alertprod.core import fits
from alertprod.core.errors import Rejected
from alertprod.core.exposure import Exposure
from alertprod.core.stage import stage

VISIT, HOME = "2026101000001", "results/20261010/2026101000001/001"


@stage("isr", outputs=("isr",))
def remove_signature(raws, exposure, flat=None, *, config):
    """Return as many electrons as there are snaps, if a flat came along."""
    assert flat is not None and config["min_flat"] == 0.1
    pixels = np.full((4, 4), float(len(raws)))
    return Exposure(pixels, 0 * pixels, pixels, {"VISIT": int(exposure["visit"])})


@stage("calibrate", outputs=("calexp", "stars"))
def calibrate_image(isr, *, config):
    """Multiply by two."""
    return Exposure(2 * isr.image, isr.mask, isr.variance, isr.meta), {}


@stage("difference", outputs=("difference",))
def subtract_template(calexp, *, config):
    """Find nothing to subtract."""
    raise Rejected("no template")


@pytest.fixture
def run(survey, monkeypatch):
    """Return a function that runs the command with stages of two lines."""
    monkeypatch.chdir(survey.folder)
    monkeypatch.setattr(process, "PROCESS", (remove_signature, calibrate_image))
    return lambda *options: main(
        ["debug", VISIT, "1", "--into", "bench", "--configfile", "overlay.yaml", *options]
    )


@pytest.fixture
def masters(survey):
    """Make master calibrations and the template."""
    pixels = np.ones((4, 4))
    image = Exposure(pixels, 0 * pixels, pixels)
    names = [f"calibs/c1/001/{k}.fits" for k in ("bias", "dark", "flat_r", "defects")]
    for name in [*names, "templates/{}/100/5/r/0.fits".format(survey.default["template"]["run"])]:
        fits.write_exposure(survey.folder / "results" / name, image)


def test_every_product_lands_in_the_directory_and_results_stay(survey, run, masters, capsys):
    before = sorted(survey.folder.joinpath("results").rglob("*"))
    assert run() == 0
    bench = survey.folder / "bench"
    assert float(fits.read_exposure(bench / "isr.fits").image[0, 0]) == 2.0
    assert float(fits.read_exposure(bench / "calexp.fits").image[0, 0]) == 4.0
    assert (bench / "stars.parquet").is_file()
    assert sorted(survey.folder.joinpath("results").rglob("*")) == before
    assert "calibrate_image" in (bench / "debug.log").read_text()
    assert "CPU s" in capsys.readouterr().out


def test_start_takes_earlier_products_from_the_results(survey, run, masters):
    pixels = np.full((4, 4), 7.0)
    isr = Exposure(pixels, 0 * pixels, pixels)
    fits.write_exposure(survey.folder / HOME / "isr.fits", isr)
    assert run("--start", "calibrate_image") == 0
    assert float(fits.read_exposure(survey.folder / "bench/calexp.fits").image[0, 0]) == 14.0


def test_comparison_says_same_or_different(survey, run, masters, capsys):
    pixels = np.full((4, 4), 2.0)
    isr = Exposure(pixels, 0 * pixels, pixels, {"VISIT": int(VISIT)})
    fits.write_exposure(survey.folder / HOME / "isr.fits", isr)
    fits.write_exposure(survey.folder / HOME / "calexp.fits", isr)
    run("--compare")
    text = capsys.readouterr().out
    assert "isr: as in the results" in text
    assert "calexp: differs from the results in 16 px of image (by up to 2)" in text
    assert "stars: not among the results" in text


def test_rejection_is_told_with_its_reason(run, masters, monkeypatch, capsys):
    monkeypatch.setattr(process, "PROCESS", (remove_signature, calibrate_image, subtract_template))
    assert run() == 1
    assert "subtract_template: rejected: no template" in capsys.readouterr().out


def test_masters_still_to_be_made_come_with_the_command_to_make_them(run, capsys):
    assert run() == 1
    assert "snakemake -c1 results/" in capsys.readouterr().err


def test_directory_among_the_results_or_in_use_is_refused(survey, run, masters, capsys):
    arguments = ["debug", VISIT, "1", "--configfile", "overlay.yaml", "--into"]
    assert main([*arguments, "results/bench"]) == 1
    assert "inside the results" in capsys.readouterr().err
    (survey.folder / "bench").mkdir()
    (survey.folder / "bench" / "notes").touch()
    assert run() == 1
    assert "not empty" in capsys.readouterr().err


def test_unknown_step_is_told_which_there_are(run, masters, capsys):
    assert run("--until", "calibrat") == 1
    assert "remove_signature, calibrate_image" in capsys.readouterr().err
