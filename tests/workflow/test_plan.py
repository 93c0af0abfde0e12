"""What Snakemake plans: rules by granularity and selection, and what it says of mistakes."""

import re

import pytest

from alertprod.commands import settings
from alertprod.commands.sheet import Sheet

pytestmark = pytest.mark.workflow
FOLD = {"associate_visit", "package_alerts", "publish_visit", "measure_visit", "predict_visit"}


def refusal(done) -> str:
    """Return what Snakemake says when it refuses to plan."""
    assert done.returncode != 0
    assert "most recent call last" not in done.stdout
    return done.stdout


def input_of(text: str, rule: str) -> list[set[str]]:
    """Return the inputs of each job of a rule from the text of a dry run."""
    found = re.findall(rf"^(?:local)?rule {rule}:\n    input: (.*)$", text, re.M)
    return [set(line.split(", ")) for line in found]


def test_a_night_runs_one_job_per_detector_and_visit(survey):
    counts = survey.plan()
    assert counts["process_detector"] == 12
    assert counts["calibrate_detector"] == 6
    assert counts["build_template"] == 1
    assert all(counts[rule] == 6 for rule in FOLD)
    assert counts["summarize_night"] == counts["report_discoveries"] == 2
    assert counts["show_asteroids"] == 2
    assert not {"remove_signature", "warp_visit", "measure_sources"} & set(counts)


def test_steps_are_single_jobs_for_debugging(survey):
    survey.config["granularity"] = "step"
    survey.write()
    counts = survey.plan()
    assert counts["remove_signature"] == counts["calibrate_image"] == 18
    assert counts["warp_visit"] == 3 and counts["coadd_template"] == 1
    pixels = ("warp_template", "subtract_template", "measure_sources")
    assert all(counts[rule] == 12 for rule in pixels)
    assert all(counts[rule] == 6 for rule in FOLD)
    assert not {"process_detector", "build_template"} & set(counts)


def test_lint_has_nothing_to_say(survey):
    done = survey.snakemake("--lint")
    assert done.returncode == 0, done.stdout


def test_without_daymops_there_are_no_asteroids_to_show(survey):
    survey.config["daymops"] = {"enabled": False}
    survey.write()
    assert not {"make_tracklets", "fit_orbits", "show_asteroids"} & set(survey.plan())


def test_first_night_is_planned_alone(survey):
    survey.config["select"] = {"nights": [20261009]}
    survey.write()
    counts = survey.plan()
    assert counts["process_detector"] == 6 and counts["summarize_night"] == 1


def test_later_night_asks_in_one_sentence_for_the_night_before(survey):
    survey.config["select"] = {"nights": ["20261010"]}
    survey.write()
    text = refusal(survey.snakemake("-n"))
    assert "Run night 20261009 first, or set associate.start" in text


def test_a_fold_that_starts_with_the_later_night_needs_nothing_before(survey):
    survey.config["select"] = {"nights": ["20261010"]}
    survey.config["associate"] = {"start": "2026101000001"}
    survey.write()
    assert survey.plan()["associate_visit"] == 3


def test_orbits_are_fitted_to_what_nights_before_the_window_gave(survey):
    survey.config["daymops"] = {"window_nights": 1}
    survey.write()
    first, second = sorted(input_of(survey.snakemake("-n").stdout, "fit_orbits"), key=len)
    older = {path for path in second if path.endswith("20261009/attributed.parquet")}
    assert len(older) == 1 and not any(path.endswith("attributed.parquet") for path in first)


def test_detectors_can_be_selected(survey):
    survey.config["select"] = {"detectors": [1], "nights": ["20261009"]}
    survey.write()
    assert survey.plan()["process_detector"] == 3


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"calibrate": {"detekt": {}}}, "detekt"),
        ({"seed": "one"}, "seed"),
        ({"granularity": "night"}, "granularity"),
    ],
    ids=["unknown key", "wrong type", "unknown choice"],
)
def test_mistake_in_the_configuration_is_named_by_its_key(survey, change, key):
    survey.config.update(change)
    survey.write()
    assert key in refusal(survey.snakemake("-n"))


def test_mistake_in_the_sheet_is_named_by_column_and_line(survey):
    survey.rows["exposures"][4]["band"] = "q"
    survey.write()
    text = refusal(survey.snakemake("-n"))
    assert "exposures.csv, line 6: band is 'q'" in text


def test_missing_column_is_named(survey):
    for row in survey.rows["exposures"]:
        del row["airmass"]
    survey.write()
    assert "lacks the column airmass" in refusal(survey.snakemake("-n"))


def test_missing_sheet_says_how_to_make_one(survey):
    survey.config["sheet"] = "nowhere"
    survey.write()
    assert "alertprod ingest" in refusal(survey.snakemake("-n"))


def test_commands_and_rules_agree_on_what_a_detector_is_made_from(survey, monkeypatch):
    monkeypatch.chdir(survey.folder)
    sheet = Sheet(settings.load(["overlay.yaml"]))
    results = settings.results(sheet.config)
    target = "results/20261010/2026101000003/001/dia_sources.parquet"
    done = survey.snakemake("-n", "--allowed-rules", *ALLOWED, "--", target)
    assert done.returncode == 0, done.stdout
    (planned,) = input_of(done.stdout, "process_detector")
    row = sheet.row("2026101000003", "1")
    paths = [*sheet.raws(row), *sheet.shards(row), *sheet.patches(row, results)]
    paths += [*sheet.masters(row, results).values(), settings.camera_path(sheet.config)]
    assert planned == {str(path) for path in paths}


ALLOWED = (
    "process_detector calibrate_detector build_template build_bias build_dark build_flat "
    "find_defects"
).split()
