"""A night from raw frames to alerts, and the commands by which an operator looks at it."""

import io
import json

import numpy as np
import pytest
from astropy.nddata import CCDData
from astropy.wcs import WCS

pytestmark = pytest.mark.workflow
STAMPS = ("cutoutDifference", "cutoutScience", "cutoutTemplate")


@pytest.fixture(scope="session")
def containers(night):
    """(visit, detector) -> schema and alerts of a container, as Rubin's own reader sees them."""
    from lsst.alert.packet import retrieve_alerts

    found = {}
    for path in sorted(night.results.glob("*/*/alerts/*.avro")):
        with open(path, "rb") as handle:
            schema, alerts = retrieve_alerts(handle)
            found[path.parts[-3], path.stem] = schema, list(alerts)
    return found


def test_every_detector_visit_has_a_container_that_rubins_reader_accepts(containers, tiny):
    visits = (tiny.FIRST, tiny.SECOND, tiny.THIRD)
    assert set(containers) == {(visit, d) for visit in visits for d in tiny.DETECTORS}
    assert all(len(alerts) >= 1 for _, alerts in containers.values())
    for schema, alerts in containers.values():
        assert all(schema.validate(alert) for alert in alerts)


def test_stamps_open_with_a_wcs_that_puts_the_source_at_its_pixel(containers):
    for _, alerts in containers.values():
        for alert in alerts:
            source = alert["diaSource"]
            for name in STAMPS:
                stamp = CCDData.read(io.BytesIO(alert[name]), format="fits")
                x, y = stamp.wcs.world_to_pixel_values(source["ra"], source["dec"])
                # The stamp's WCS counts from its own corner, LTV-like, a whole number of pixels on.
                assert abs((source["x"] - x + 0.5) % 1 - 0.5) < 0.02
                assert abs((source["y"] - y + 0.5) % 1 - 0.5) < 0.02
                assert stamp.unit == "nJy" and stamp.uncertainty is not None
                ny, nx = stamp.shape
                assert abs(x - nx / 2) <= 1 and abs(y - ny / 2) <= 1


def test_light_of_a_source_stands_where_the_alert_says(containers):
    checked = 0
    for _, alerts in containers.values():
        for alert in alerts:
            source = alert["diaSource"]
            if source["snr"] < 15 or source["isDipole"]:
                continue
            stamp = CCDData.read(io.BytesIO(alert["cutoutDifference"]), format="fits")
            place = stamp.wcs.world_to_pixel_values(source["ra"], source["dec"])
            x, y = (int(np.floor(value + 0.5)) for value in place)
            box = np.asarray(stamp.data[y - 4 : y + 5, x - 4 : x + 5]) / source["psfFlux"]
            assert abs(box.sum() - 1.0) < 0.1 + 5.0 / source["snr"]
            peak = np.unravel_index(np.argmax(box), box.shape)
            assert np.hypot(peak[0] - 4, peak[1] - 4) < 1.5
            checked += 1
    assert checked >= 6


def test_third_visit_brings_history_along(containers, tiny):
    alerts = [
        a for (visit, _), (_, found) in containers.items() for a in found if visit == tiny.THIRD
    ]
    assert any(len(alert["prvDiaSources"] or []) == 2 for alert in alerts)
    assert any(alert["prvDiaForcedSources"] for alert in alerts)


def test_known_asteroid_is_recognised_and_carries_no_object(containers):
    moving = [a for _, found in containers.values() for a in found if a["ssSource"] is not None]
    assert len(moving) >= 2
    assert {alert["mpc_orbits"]["designation"] for alert in moving} == {"SIMK001"}
    assert all(alert["diaObject"] is None for alert in moving)


def test_hand_over_notes_what_went_where(night, containers, tiny):
    for visit in (tiny.FIRST, tiny.SECOND, tiny.THIRD):
        noted = json.loads((night.visit(visit) / "published.json").read_text())["detectors"]
        counts = {d: entry["alerts"] for d, entry in noted.items()}
        assert counts == {d: len(containers[visit, d][1]) for d in tiny.DETECTORS}


def test_summary_of_the_night_counts_its_images(night):
    text = (night.results / "20261008" / "summary.txt").read_text()
    assert "2 visits, 4 images, 4 used, 0 rejected" in text
    assert (night.results / "20261008" / "report" / "index.html").exists()


def test_astropy_reads_the_sky_coordinates_of_a_product(night, tiny):
    from astropy.io import fits

    path = night.visit(tiny.FIRST) / "000" / "calexp.fits"
    with fits.open(path) as hdus:
        assert hdus["IMAGE"].data.shape == (tiny.SIZE, tiny.SIZE)
        wcs = WCS(hdus["IMAGE"].header)
    ra, dec = wcs.pixel_to_world_values(tiny.SIZE / 2, tiny.SIZE / 2)
    assert np.hypot(ra - 340.11, dec + 8.48) < 0.15


def test_no_rule_of_the_pipeline_opens_the_truth(watched, frames, tiny):
    assert watched[1] == []
    watch = tiny.Watch(frames / "truth")
    path = frames / "truth" / "20261008" / f"{tiny.FIRST}.parquet"
    path.read_bytes()
    assert watch.opened() == [str(path)]
    watch.close()


def test_second_call_has_nothing_to_do(night, expected):
    assert "Nothing to be done" in night.run()
    assert night.products() == expected[0]


def test_run_can_end_at_a_rule(night):
    counts = night.plan("-F", "--until", "calibrate_detector")
    assert counts["calibrate_detector"] == 6
    assert not {"build_template", "process_detector", "associate_visit"} & set(counts)


def test_rule_can_be_run_again_with_what_follows(night):
    counts = night.plan("-R", "measure_visit")
    assert counts == {"measure_visit": 3, "summarize_night": 2, "all": 1}


def test_one_file_can_be_asked_for_by_its_name(night, tiny):
    name = f"results/20261008/{tiny.FIRST}/001/dia_sources.parquet"
    assert night.plan("--force", "--", name) == {"process_detector": 1}


def test_rules_are_listed(night):
    listed = set(night.run("--list-rules").split())
    assert {"process_detector", "associate_visit", "summarize_night"} <= listed


def test_report_can_be_made(night, tmp_path):
    night.run("--report", str(tmp_path / "report.html"))
    assert "index.html" in (tmp_path / "report.html").read_text()
