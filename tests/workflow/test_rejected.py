"""Bad exposures: each leaves rejected products with the reason, and the night goes on."""

import json

import numpy as np
import pytest
from astropy.io import fits

pytestmark = pytest.mark.workflow
PRODUCTS = (
    "calexp.fits",
    "stars.parquet",
    "template.fits",
    "difference.fits",
    "dia_sources.parquet",
)


def repaint(path, paint) -> None:
    """Replace the pixels of each amplifier by ``paint(shape, number of the amplifier)``."""
    with fits.open(path) as hdus:
        for number, hdu in enumerate(hdus[1:]):
            hdu.data = paint(hdu.data.shape, number).astype(np.uint16)
        hdus.writeto(path, overwrite=True)


def noise(shape, number):
    """Read noise about a bias level, and no sky."""
    return np.random.default_rng(number).normal(1000.0, 4.0, shape).round()


def three_stars(shape, number):
    """Sky noise, and a star in each of three amplifiers."""
    pixels = np.random.default_rng(number).normal(1000.0, 4.0, shape)
    pixels[:, 8:264] += np.random.default_rng(10 + number).normal(1000.0, 24.0, (shape[0], 256))
    if number < 3:
        y, x = np.mgrid[: shape[0], : shape[1]]
        pixels += 8000.0 * np.exp(-((x - 130) ** 2 + (y - 100 - 20 * number) ** 2) / 2.0)
    return pixels.round()


@pytest.fixture(scope="module")
def spoiled(night, tiny, tmp_path_factory):
    """The night with a fault in four of its six detector-visits."""
    bad = night.copy(tmp_path_factory.mktemp("rejected") / "night")
    raws = bad.own_raws()
    path = raws / "20261008" / f"{tiny.FIRST}_1_000.fits"
    path.write_bytes(path.read_bytes()[:200_000])
    repaint(raws / "20261008" / f"{tiny.SECOND}_0_000.fits", noise)
    repaint(raws / "20261008" / f"{tiny.SECOND}_0_001.fits", three_stars)
    rows = bad.sheet("calibs")
    late = [dict(row, calib_run="late", valid_from="20261009") for row in rows]
    for row in rows:
        if row["detector"] == "001":
            row["valid_until"] = "20261008"
    rows += [row for row in late if row["detector"] == "001" and row["type"] != "flat"]
    bad.write_sheet("calibs", rows)
    bad.run()
    return bad


FAULTS = [
    ("FIRST", "000", "truncated"),
    ("SECOND", "000", "0 sources"),
    ("SECOND", "001", "3 sources"),
    ("THIRD", "001", "flat"),
]


@pytest.mark.parametrize(
    ("visit", "detector", "word"),
    FAULTS,
    ids=["truncated file", "frame of noise", "three stars", "missing flat"],
)
def test_bad_exposure_passes_its_reason_on_to_every_product(spoiled, tiny, visit, detector, word):
    from alertprod.job import status

    folder = spoiled.visit(getattr(tiny, visit)) / detector
    states = {name: status(folder / name) for name in PRODUCTS}
    assert {state for state, _ in states.values()} == {"REJECTED"}
    assert len({reason for _, reason in states.values()}) == 1
    assert word in states["calexp.fits"][1]


def test_ledger_of_the_visit_names_the_reason(spoiled, tiny):
    for visit, detector, word in FAULTS:
        for name in ("association.parquet", "forced.parquet"):
            facts = tiny.metadata(spoiled.visit(getattr(tiny, visit)) / name)
            (entry,) = (e for e in facts["ledger"] if e["detector"] == int(detector))
            assert entry["status"] == "REJECTED" and word in entry["reason"]


def test_visit_without_a_good_detector_is_a_state_with_no_rows(spoiled, tiny):
    import pyarrow.parquet as pq

    folder = spoiled.visit(tiny.SECOND)
    assert pq.read_metadata(folder / "association.parquet").num_rows == 0
    assert json.loads((folder / "published.json").read_text())["alerts"] == 0
    assert (folder / "alerts" / "000.avro").exists()


def test_good_detectors_of_the_same_visits_have_their_alerts(spoiled, night, tiny):
    for visit, detector in ((tiny.FIRST, "001"), (tiny.THIRD, "000")):
        noted = json.loads((spoiled.visit(visit) / "published.json").read_text())["detectors"]
        assert noted[detector]["alerts"] > 0
        name = f"{detector}/dia_sources.parquet"
        assert (spoiled.visit(visit) / name).stat().st_mtime_ns == (
            night.visit(visit) / name
        ).stat().st_mtime_ns


def test_summary_counts_what_was_rejected_and_says_why(spoiled):
    first = (spoiled.results / "20261008" / "summary.txt").read_text()
    assert "2 visits, 4 images, 1 used, 3 rejected" in first and "truncated" in first
    assert "1 rejected" in (spoiled.results / "20261009" / "summary.txt").read_text()


def test_status_names_the_rejected_images(spoiled, tiny):
    options = ("status", "20261008", "--configfile", "overlay.yaml")
    text = tiny.insist(tiny.call("alertprod.cli", *options, cwd=spoiled.folder))
    assert "Rejected: 3 of 4 images" in text and f"{tiny.SECOND}/001" in text
