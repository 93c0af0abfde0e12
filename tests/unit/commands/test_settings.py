"""Configuration and sheet as commands read them."""

import pytest

from alertprod.commands import settings
from alertprod.commands.sheet import Sheet
from alertprod.core.errors import BadInput


@pytest.fixture
def sheet(survey, monkeypatch):
    """Return a function that reads the sheet anew."""
    monkeypatch.chdir(survey.folder)

    def read():
        survey.write()
        return Sheet(settings.load(["overlay.yaml"]))

    return read


def test_overlay_changes_one_key_and_leaves_its_neighbours(tmp_path):
    for name, text in (("a", "isr: {min_flat: 0.3}"), ("b", "isr: {min_flat: 0.4}")):
        (tmp_path / name).write_text(text)
    config = settings.load([tmp_path / "a", tmp_path / "b"])
    assert config["isr"]["min_flat"] == 0.4
    assert config["isr"]["require"] == settings.load()["isr"]["require"]


def test_path_variables_are_resolved_through_each_other(tmp_path):
    (tmp_path / "a").write_text("pathvars: {results: elsewhere}")
    config = settings.load([tmp_path / "a"])
    assert config["pathvars"]["logs"] == "elsewhere/logs"
    assert settings.database(config) == "sqlite:///elsewhere/db/apdb.sqlite"


@pytest.mark.parametrize(
    ("text", "what"), [(None, "there is no configuration"), ("[1]", "list"), ("a: [", "YAML")]
)
def test_unreadable_configuration_is_named(tmp_path, text, what):
    if text is not None:
        (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(BadInput, match=what):
        settings.load([tmp_path / "a.yaml"])


def test_unknown_path_variable_is_named():
    with pytest.raises(BadInput, match="nowhere"):
        settings.resolve("<nowhere>/a", {"pathvars": {}})


def test_selection_limits_targets_but_not_the_fold(survey, sheet):
    survey.config["select"] = {"nights": [20261010], "detectors": [1]}
    read = sheet()
    assert len(read.fold()) == 6 and len(read.selected()) == 3
    assert read.detectors("2026101000001") == ["001"]


def test_unknown_detector_is_told_what_there_is(sheet):
    with pytest.raises(BadInput, match="it has detectors 000, 001"):
        sheet().row("2026101000001", "7")
    with pytest.raises(BadInput, match="no such visit"):
        sheet().row("2030010100001", "0")


def test_missing_sheet_says_how_to_make_one(survey, sheet):
    survey.config["sheet"] = "nowhere"
    with pytest.raises(BadInput, match="alertprod ingest"):
        sheet()


def test_bin_with_few_visits_is_served_by_its_neighbour(survey, sheet, tmp_path):
    lonely = dict(survey.rows["templates"][0], airmass_bin="1")
    survey.rows["templates"].append(lonely)
    for row in survey.rows["exposures"]:
        row["airmass"] = "9.9"  # would like the highest bin
    read = sheet()
    (path,) = read.patches(read.row("2026101000001", "0"), tmp_path)
    assert path.name == "0.fits"


def test_masters_serve_only_their_nights(survey, sheet, tmp_path):
    row = sheet().row("2026101000001", "0")
    assert set(sheet().masters(row, tmp_path)) == {"bias", "dark", "flat", "defects"}
    for line in survey.rows["calibs"]:
        line["valid_until"] = "20261009"
    assert sheet().masters(row, tmp_path) == {}
