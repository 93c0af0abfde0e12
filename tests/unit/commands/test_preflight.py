"""`alertprod preflight` finds what a run would miss."""

import sqlite3

import pytest

from alertprod.cli import main
from alertprod.core import tables

VISITS = [f"{night}{n:05d}" for night in (20261009, 20261010) for n in (1, 2, 3)]


@pytest.fixture
def preflight(survey, monkeypatch, capsys):
    """Return a function that runs the command and gives exit code and text."""
    monkeypatch.chdir(survey.folder)

    def run(*nights):
        survey.write()
        code = main(["preflight", *nights, "--configfile", "overlay.yaml"])
        return code, capsys.readouterr().out

    return run


def fold_product(survey, visit, step):
    """Write a product of the fold and return its state as a row of the table fold."""
    name = {"associate": "association", "package": "forced"}[step]
    state = {"token": f"{visit}{step}", "parent": "", "parent_file": "", "step": step}
    state |= {"visit": int(visit), "time": 1.0, "midpoint": 1.0}
    path = survey.folder / "results" / visit[:8] / visit / f"{name}.parquet"
    tables.write_table(path, {}, name, None, {"fold": state})
    return state


def database(survey, states):
    """Make a database that holds these states."""
    path = survey.folder / "results" / "db" / "apdb.sqlite"
    path.parent.mkdir(parents=True)
    connection = sqlite3.connect(path)
    names = ("token", "parent", "parent_file", "step", "visit", "time", "midpoint")
    connection.execute(f"CREATE TABLE fold (seq INTEGER PRIMARY KEY, {', '.join(names)})")
    marks = ", ".join("?" * 7)
    for state in states:
        values = [state[name] for name in names]
        connection.execute(f"INSERT INTO fold ({', '.join(names)}) VALUES ({marks})", values)
    connection.commit()
    connection.close()


def test_a_complete_survey_is_in_order(preflight):
    code, text = preflight()
    assert code == 0, text
    assert "MISSING" not in text and "6 visits, 12 images" in text


def test_missing_raw_file_is_named(survey, preflight):
    (survey.folder / "raw/20261009/2026100900002_1_001.fits").unlink()
    code, text = preflight()
    assert code == 1
    assert "MISSING  raw files: 1 of 24" in text and "2026100900002_1_001.fits" in text


def test_missing_flat_is_named_with_band(survey, preflight):
    survey.rows["calibs"] = [r for r in survey.rows["calibs"] if r["type"] != "flat"]
    code, text = preflight("20261009")
    assert code == 1 and "2026100900001/000 (r): no flat" in text and "6 of 6" in text


def test_image_without_any_template_is_named(survey, preflight):
    survey.rows["exposures"][-1]["patches"] = "100/6"
    code, text = preflight()
    assert code == 1
    assert "MISSING  images with a template: 1 of 12" in text
    assert "2026101000003/001 (r): 0 of 1 patches" in text


def test_patch_without_template_at_the_margin_is_a_note(survey, preflight):
    survey.rows["exposures"][-1]["patches"] = "100/5;100/6"
    code, text = preflight()
    assert code == 0 and "(r): 1 of 2 patches" in text


def test_lost_raw_of_a_template_to_be_made_is_found(survey, preflight):
    (survey.folder / "raw/20260910/2026091000001_0_000.fits").unlink()
    code, text = preflight()
    assert code == 1 and "templates still to be made: 1 of 12" in text


def test_missing_shards_filter_and_orbits_are_found(survey, preflight):
    (survey.folder / "refcat/Norder=5/Dir=0/Npix=1.parquet").unlink()
    (survey.folder / "orbits.csv").unlink()
    survey.rows["exposures"][-1]["physical_filter"] = "H_alpha"
    code, text = preflight()
    assert code == 1
    assert "Npix=1.parquet" in text and "orbits.csv" in text and "filter H_alpha" in text


def test_visits_after_a_lost_one_will_be_redone(survey, preflight):
    states = [fold_product(survey, v, s) for v in VISITS for s in ("associate", "package")]
    database(survey, states)
    code, text = preflight()
    assert code == 0 and "ok       later visits" in text
    (survey.folder / "results/20261009" / VISITS[1] / "forced.parquet").unlink()
    code, text = preflight()
    assert code == 0 and "later visits that will be associated again: 4 of 6" in text


def test_redoing_visits_that_are_not_selected_is_fatal_without_permission(survey, preflight):
    states = [fold_product(survey, v, s) for v in VISITS for s in ("associate", "package")]
    database(survey, states)
    (survey.folder / "results/20261009" / VISITS[2] / "association.parquet").unlink()
    code, text = preflight("20261009")
    assert code == 1 and "of these not selected: 3 of 3" in text
    survey.config["associate"] = {"allow_rollback": True}
    assert preflight("20261009")[0] == 0


def test_database_behind_the_files_is_a_note(survey, preflight):
    states = [fold_product(survey, v, s) for v in VISITS for s in ("associate", "package")]
    database(survey, states[:8])
    code, text = preflight()
    assert code == 0 and "the database does not know: 2 of 6" in text


def test_nothing_selected_is_no_success(preflight):
    assert preflight("20300101")[0] == 1
