"""The summary of a night."""

import json

import numpy as np
import pytest

from alertprod.core import tables
from alertprod.quality import measure_visit, show_night, summarize_night, write_json
from alertprod.quality.brightest import brightest_alerts
from alertprod.quality.durations import read_durations
from alertprod.quality.night import outliers, rejections
from alertprod.quality.text import summary_text

VISITS = (2026010100001, 2026010100002)


def image(**given):
    entry = {"status": "OK", "product": "", "reason": "", "visit": 1, "detector": 0, "band": "r"}
    return entry | given


@pytest.fixture
def products(night):
    """Two visits: one detector rejected in the second."""
    night.detector(VISITS[0], 0)
    night.detector(VISITS[1], 0)
    night.detector(VISITS[1], 1, rejected="calexp", reason="3 sources, need 5")
    night.fold(VISITS[0], [50.0, 7.0], [])
    night.fold(VISITS[1], [40.0, 90.0], [])
    files = {"metrics": [], "association": [], "alerts": []}
    for visit in VISITS:
        given = night.inputs(visit)
        path = night.folder(visit) / "metrics.json"
        write_json(path, measure_visit(**given), {})
        for name, value in zip(files, (path, given["association"], given["alerts"]), strict=True):
            files[name].append(str(value))
    return files


def summarise(products, config):
    return summarize_night(products["metrics"], [], [], [], night="20260101", config=config)


def test_images_rejections_and_sources_add_up(products, config):
    summary = summarise(products, config)
    assert (summary["nVisits"], summary["nImages"], summary["nRejected"]) == (2, 3, 1)
    assert summary["sum"]["numDiaSources"] == 12
    assert summary["bands"]["r"]["seeing"] == 1.5
    assert summary["rejections"][0]["images"] == [f"{VISITS[1]}/001"]


def test_order_of_the_inputs_does_not_matter(products, config):
    forwards = summarise(products, config)
    products["metrics"].reverse()
    assert summarise(products, config) == forwards


def test_reasons_that_differ_in_numbers_alone_are_counted_together():
    groups = rejections(
        [
            image(status="REJECTED", product="calexp", reason="3 sources, need 5"),
            image(status="REJECTED", product="calexp", reason="4 sources, need 5", detector=2),
            image(status="REJECTED", product="template", reason="no patch"),
            image(),
        ]
    )
    assert [(g["count"], g["reason"]) for g in groups] == [
        (2, "N sources, need N"),
        (1, "no patch"),
    ]
    assert groups[0]["images"] == ["1/000", "1/002"]


def test_one_cloudy_image_stands_out_and_ordinary_scatter_does_not():
    rng = np.random.default_rng([1, 2, 3])
    images = [image(visit=n, zeroPoint=27 + 0.01 * rng.normal(), seeing=1.0) for n in range(30)]
    images[17]["zeroPoint"] -= 0.5
    found = outliers(images, 5.0)
    assert [(w["visit"], w["quantity"]) for w in found] == [(17, "zeroPoint")]
    assert found[0]["sigma"] < -5


def test_four_images_have_no_others_to_differ_from():
    assert outliers([image(visit=n, seeing=float(10**n)) for n in range(4)], 5.0) == []


def test_moving_objects_are_counted_once(products, config, tmp_path, night):
    path = tmp_path / "tracklets.parquet"
    tables.write_table(path, night.full("tracklets", trackletId=np.array([5, 5, 6])), "tracklets")
    summary = summarize_night(
        products["metrics"], str(path), [], [], night="20260101", config=config
    )
    assert summary["movingObjects"]["numTracklets"] == 2
    assert summary["movingObjects"]["numOrbits"] == 0


def test_brightest_alerts_come_once_per_object_with_their_stamps(products):
    alerts = brightest_alerts(products["association"], products["alerts"], 5)
    assert [a["snr"] for a in alerts] == [90.0, 50.0]  # objects 2 and 1, each at its best
    assert alerts[0]["science"][4, 4] == 5.0
    assert alerts[0]["template"].shape == (9, 9)


def test_words_page_and_pictures_say_the_same(products, config, tmp_path):
    from PIL import Image

    summary = summarise(products, config)
    folder = tmp_path / "report"
    outputs = {"text": tmp_path / "summary.txt", "page": folder / "index.html"}
    outputs |= {name: folder / f"{name}.png" for name in ("conditions", "stamps")}
    show_night(
        summary,
        products["association"],
        products["alerts"],
        {k: str(v) for k, v in outputs.items()},
        benchmarks=str(tmp_path / "nothing"),
        config=config,
    )
    text = outputs["text"].read_text()
    assert "2 visits, 3 images, 2 used, 1 rejected" in text
    assert "1 x calexp: 3 sources, need 5" in text
    page = outputs["page"].read_text()
    assert "3 sources, need 5" in page and page.count("data:image/png;base64,") == 2
    for name in ("conditions", "stamps"):
        pixels = np.asarray(Image.open(outputs[name]).convert("L"), dtype=float)
        assert pixels.std() > 5  # not an empty canvas


def test_a_night_without_anything_still_has_a_summary(config):
    summary = summarize_night([], [], [], [], night="20260101", config=config)
    assert "0 visits, 0 images" in summary_text(summary, [], "index.html")
    json.dumps(summary, allow_nan=False)


def test_durations_come_from_the_benchmark_files(tmp_path):
    for number, seconds in enumerate((2.0, 4.0)):
        folder = tmp_path / "20260101" / str(number)
        folder.mkdir(parents=True)
        (folder / "measure_visit.tsv").write_text(
            f"s\th:m:s\tmax_rss\tcpu_time\n{seconds}\t0:00:02\t{100 * seconds}\tNA\n"
        )
    rows = read_durations(tmp_path)
    assert rows == [
        {
            "rule": "measure_visit",
            "jobs": 2,
            "median_s": 3.0,
            "total_s": 6.0,
            "peak_mb": 400.0,
        }
    ]
