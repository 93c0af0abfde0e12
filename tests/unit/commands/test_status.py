"""`alertprod status` tells how far a night is."""

import numpy as np
import pytest

from alertprod.cli import main
from alertprod.core import fits, tables
from alertprod.core.exposure import Exposure

NIGHT = "20261009"
VISITS = [f"{NIGHT}{n:05d}" for n in (1, 2, 3)]


@pytest.fixture
def half_done(survey, monkeypatch):
    """First visit: detector 0 done, 1 rejected; second: only calexp of detector 0."""
    monkeypatch.chdir(survey.folder)
    home = survey.folder / "results" / NIGHT
    pixels = np.ones((4, 4))
    image = Exposure(pixels, 0 * pixels, pixels, {"VISIT": 1})
    for name in ("calexp", "template", "difference"):
        fits.write_exposure(home / VISITS[0] / "000" / f"{name}.fits", image)
    for name in ("stars", "dia_sources"):
        path = home / VISITS[0] / "000" / f"{name}.parquet"
        tables.write_table(path, {}, name)
    fits.write_rejected_image(home / VISITS[0] / "001" / "calexp.fits", "3 sources, need 5")
    fits.write_exposure(home / VISITS[1] / "000" / "calexp.fits", image)
    return home


def lines(capsys):
    return capsys.readouterr().out.splitlines()


def test_half_done_night_shows_products_made_and_reasons(half_done, capsys):
    assert main(["status", NIGHT, "--configfile", "overlay.yaml"]) == 0
    text = lines(capsys)
    rows = [line.split() for line in text if line.strip().startswith(NIGHT)][:3]
    assert [row[3:8] for row in rows] == [
        ["2", "1", "1", "1", "1"],
        ["2", "1", "0", "0", "0"],
        ["2", "0", "0", "0", "0"],
    ]
    assert "Rejected: 1 of 6 images" in text
    assert any("1 x calexp: 3 sources, need 5" in line for line in text)
    assert any(f"{VISITS[0]}/001  3 sources, need 5" in line for line in text)


def test_what_association_rejected_counts_too(half_done, capsys):
    ledger = [{"detector": 0, "status": "REJECTED", "reason": "too crowded", "counts": {}}]
    path = half_done / VISITS[0] / "association.parquet"
    tables.write_table(path, {}, "association", None, {"ledger": ledger})
    main(["status", NIGHT, "--configfile", "overlay.yaml"])
    text = lines(capsys)
    assert any("1 x association: too crowded" in line for line in text)
    assert "Rejected: 2 of 6 images" in text


def test_template_visits_need_no_association(survey, monkeypatch, capsys):
    monkeypatch.chdir(survey.folder)
    main(["status", "20260910", "--configfile", "overlay.yaml"])
    rows = [line.split() for line in lines(capsys) if line.strip().startswith("20260910")]
    assert all(row[2] == "template" and row[-2] == "-" for row in rows)


def test_unknown_night_is_told_which_there_are(survey, monkeypatch, capsys):
    monkeypatch.chdir(survey.folder)
    assert main(["status", "20300101", "--configfile", "overlay.yaml"]) == 1
    assert "20260910, 20261009, 20261010" in capsys.readouterr().err
