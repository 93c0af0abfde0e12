"""The figures of a visit are those that its products hold."""

import json

import pytest

from alertprod.quality import measure_visit, write_json

VISIT = 2026010100007


def ledger(detector, status="OK", reason="", **counts):
    return {"detector": detector, "status": status, "reason": reason, "counts": counts}


def measure(night, lines=None, **options):
    night.detector(VISIT, 0, SEEING=3.0, SKYLEVEL=100.0, KSUM=1.01)
    night.detector(VISIT, 1, **{"SEEING": 5.0, "SKYLEVEL": 200.0, **options})
    usual = [ledger(0, kept=6, new=2, matched=3, sso=1), ledger(1, kept=6, new=1, dropped=5)]
    night.fold(VISIT, [10.0, 20.0, 30.0], lines or usual)
    return measure_visit(**night.inputs(VISIT))


def test_seeing_is_quoted_in_arcsec_and_its_median_stands_for_the_visit(night):
    metrics = measure(night)
    assert [d["seeing"] for d in metrics["detectors"]] == [1.5, 2.5]
    assert metrics["median"]["seeing"] == 2.0
    assert metrics["median"]["skyLevel"] == 150.0


def test_sources_are_counted_by_kind(night):
    figures = measure(night)["detectors"][0]
    assert figures["numDiaSources"] == 6
    assert figures["numDiaSourcesGood"] == 5
    assert (figures["numPositive"], figures["numNegative"]) == (4, 2)
    assert (figures["numDipoles"], figures["numTrailedDiaSrc"]) == (1, 1)
    assert figures["numDiaSourcesHighReliability"] == 2
    assert figures["numDiaSourcesLowReliability"] == 2
    assert figures["numDiaSourcesNanReliability"] == 1
    assert sum(figures["reliabilityHistogram"]) == 5


def test_zero_point_scatter_is_that_of_the_stars_used(night):
    # deviations of 10, 10, 20, 20 mmag about zero: the median is 15
    figures = measure(night)["detectors"][0]
    assert figures["zeroPointScatter"] == pytest.approx(1.4826 * 0.015, rel=1e-3)


def test_ledger_and_containers_add_up_over_the_detectors(night):
    total = measure(night)["sum"]
    assert (total["numNewDiaObjects"], total["numUpdatedDiaObjects"]) == (3, 3)
    assert (total["numAssociatedSsObjects"], total["numDropped"]) == (1, 5)
    assert total["numAlerts"] == 3


def test_rejected_detector_keeps_the_figures_from_before_it_failed(night):
    metrics = measure(night, rejected="template", reason="no patch covers it")
    broken = metrics["detectors"][1]
    assert (broken["status"], broken["product"]) == ("REJECTED", "template")
    assert broken["reason"] == "no patch covers it"
    assert broken["seeing"] == 2.5 and "numDiaSources" not in broken
    assert (metrics["nDetectors"], metrics["nRejected"]) == (2, 1)
    assert metrics["sum"]["numDiaSources"] == 6


def test_visit_of_rejected_detectors_has_figures_none(night):
    for number in (0, 1):
        night.detector(VISIT, number, rejected="calexp", reason="3 sources, need 5")
    night.fold(VISIT, [], [])
    metrics = measure_visit(**night.inputs(VISIT))
    assert metrics["nRejected"] == 2
    assert metrics["median"]["seeing"] is None
    assert metrics["sum"]["numAlerts"] == 0


def test_association_can_reject_what_the_pixels_passed(night):
    crowded = ledger(1, "REJECTED", "5000 new objects on one detector, more than 1000")
    metrics = measure(night, lines=[ledger(0), crowded])
    assert metrics["detectors"][1]["product"] == "association"
    assert metrics["nRejected"] == 1


def test_figures_go_to_json_and_back(night, tmp_path):
    metrics = measure(night)
    for name in ("a.json", "b.json"):
        write_json(tmp_path / name, metrics, {"rule": "measure_visit"})
    text = (tmp_path / "a.json").read_bytes()
    assert text == (tmp_path / "b.json").read_bytes()
    assert json.loads(text)["median"] == metrics["median"]


def test_what_is_not_finite_is_refused(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"seeing": float("nan")}, {})
