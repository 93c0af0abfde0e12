"""The rules that show a night, and Snakemake's own report of it, on a night without pixels."""

import json

import pytest

from alertprod.core import tables
from alertprod.quality.visit import MEDIANS, SUMS

pytestmark = pytest.mark.workflow
NIGHT = "20261009"


def metrics(visit: int) -> dict:
    """Return the metrics of a visit with one good and one rejected detector."""
    good = {"detector": 0, "status": "OK", "product": "", "reason": "", "seeing": 1.5}
    bad = {"detector": 1, "status": "REJECTED", "product": "calexp", "reason": "3 sources, need 5"}
    return {
        "visit": visit,
        "night": int(NIGHT),
        "band": "r",
        "midpointMjdTai": 61301.0 + visit % 10 / 48,
        "nDetectors": 2,
        "nRejected": 1,
        "numTotalSolarSystemObjects": 0,
        "median": {**dict.fromkeys(MEDIANS), "seeing": 1.5},
        "sum": dict.fromkeys(SUMS, 0),
        "detectors": [good, bad],
    }


@pytest.fixture
def measured(survey):
    """A night of which everything is there but the summary."""
    home = survey.folder / "results" / NIGHT
    for seq in (1, 2, 3):
        visit = f"{NIGHT}{seq:05d}"
        (home / visit / "alerts").mkdir(parents=True)
        (home / visit / "metrics.json").write_text(json.dumps(metrics(int(visit))))
        tables.write_table(home / visit / "association.parquet", {}, "association")
    for name in ("tracklets", "linkages", "orbits", "sightings", "attributed"):
        tables.write_table(home / f"{name}.parquet", {}, name)
    return survey


def test_night_is_summarised_and_the_page_goes_into_the_report(measured):
    target = f"results/{NIGHT}/summary.json"
    only = ("--allowed-rules", "summarize_night", "--")
    done = measured.snakemake(*only, target)
    assert done.returncode == 0, done.stdout
    summary = json.loads((measured.folder / target).read_text())
    assert (summary["nVisits"], summary["nImages"], summary["nRejected"]) == (3, 6, 3)
    assert summary["provenance"]["rule"] == "summarize_night"
    text = (measured.folder / "results" / NIGHT / "summary.txt").read_text()
    assert "3 x calexp: 3 sources, need 5" in text
    done = measured.snakemake("--report", "report.html", *only, target)
    assert done.returncode == 0, done.stdout
    assert NIGHT in (measured.folder / "report.html").read_text()


def test_moving_objects_of_a_night_are_shown_and_the_page_goes_into_the_report(measured):
    target = f"results/{NIGHT}/report/asteroids.html"
    only = ("--allowed-rules", "show_asteroids", "--")
    done = measured.snakemake(*only, target)
    assert done.returncode == 0, done.stdout
    page = (measured.folder / target).read_text(encoding="utf-8")
    assert "No object was found or seen again in this night." in page
    assert (measured.folder / f"results/{NIGHT}/report/tracklets.png").exists()
    done = measured.snakemake("--report", "report.html", *only, target)
    assert done.returncode == 0, done.stdout
    assert "asteroids.html" in (measured.folder / "report.html").read_text()


def test_earlier_nights_are_asked_for_tables_and_not_for_stamps(measured):
    """Their alerts may have been archived since."""
    target = "results/20261010/report/asteroids.html"
    done = measured.snakemake("-n", "--", target)
    assert done.returncode == 0, done.stdout
    job = done.stdout.split("rule show_asteroids:")[1].split("output:")[0]
    assert f"results/{NIGHT}/attributed.parquet" in job and f"results/{NIGHT}/20" not in job
