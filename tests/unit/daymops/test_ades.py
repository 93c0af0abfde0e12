"""ADES: what the official validator accepts, and what it lets pass but the MPC would not."""

import resource
import subprocess
import sys
import time

import numpy as np
import pytest

from alertprod.core import tables
from alertprod.core.errors import BadInput
from alertprod.daymops import ades
from alertprod.daymops.inputs import with_station

OPTIONS = with_station({}, None)


def detections(n, seed=1):
    """Detections of a crowded night over the whole sky."""
    rng = np.random.default_rng(seed)
    visit = np.sort(rng.integers(0, 900, n))
    mag = rng.uniform(18.0, 24.5, n)
    mag[::50] = np.nan
    return {
        "diaSourceId": 7_000_000_000_000_000 + np.arange(n),
        "midpointMjdTai": 61322.0 + visit * 4e-4,
        "ra": rng.uniform(0.0, 360.0, n), "dec": rng.uniform(-89.0, 89.0, n),
        "raErr": np.full(n, 3e-5), "decErr": np.full(n, 3e-5), "mag": mag,
        "magErr": rng.uniform(0.001, 0.3, n),
        "band": np.array([*"ugrizy"], dtype=object)[rng.integers(0, 6, n)],
    }  # fmt: skip


def names(n):
    return [f"A4u{k // 6:05d}" for k in range(n)]


@pytest.fixture(scope="module")
def records():
    return ades.observations(detections(60), names(60), OPTIONS)


def validate(text, folder):
    """The words of the official validator about a text; its exit code says nothing.

    Its modules keep what they have read, so each call gets a process of its own.
    """
    source = "x.psv" if text.startswith("#") else "x.xml"
    (folder / source).write_text(text)

    def call(tool, *files):
        command = [sys.executable, "-m", f"ades.{tool}", *files]
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)

    if source == "x.psv":
        call("psvtoxml", "x.psv", "x.xml")
    return call("valsubmit", "x.xml").stdout


@pytest.fixture
def official(tmp_path):
    return lambda text: validate(text, tmp_path)


def test_both_forms_pass_the_official_validator(records, official):
    named = [r | {"provID": "2026 TA1", "permID": "812345"} for r in records[:6]] + records[6:]
    known = ades.observations(detections(60), ["3666", "712345", "2019 AB12", "A4u00001"] * 15,
                              OPTIONS)  # fmt: skip
    for given in (records, named, known):
        assert "submit is OK" in official(ades.write_psv(given, OPTIONS))
        assert "submit is OK" in official(ades.write_xml(given, OPTIONS))
    # and the validator does refuse
    broken = ades.write_xml(records, OPTIONS).replace("<stn>X05</stn>", "<stn>X5</stn>")
    assert "submit is OK" not in official(broken)


def test_a_report_is_read_back_as_it_was_written(records):
    header, again = ades.read_psv(ades.write_psv(records, OPTIONS))
    assert again == records
    assert "! mpcCode X05" in header
    assert ades.read_psv("") == ([], [])
    with pytest.raises(BadInput, match="line 3 of the report has 2 fields"):
        ades.read_psv("# version=2022\na|b|c\n1|2\n")


def test_numbers_are_those_of_the_detection(records):
    from astropy.time import Time

    given = detections(60)
    told = Time([r["obsTime"].rstrip("Z") for r in records], scale="utc").tai.mjd
    assert np.abs(told - given["midpointMjdTai"]).max() * 86400 < 6e-4
    # TAI that is taken for UTC is 37 s late: 0.3" for a main-belt asteroid at 0.2 deg/day
    wrong = Time([r["obsTime"].rstrip("Z") for r in records], scale="tai").mjd
    assert np.abs((wrong - given["midpointMjdTai"]) * 86400 + 37.0).max() < 6e-4
    for r, ra, dec, mag in zip(records, *(given[k] for k in ("ra", "dec", "mag")), strict=True):
        assert abs(float(r["ra"]) - ra) * 3600 < 2e-4 and abs(float(r["dec"]) - dec) * 3600 < 2e-4
        assert ("mag" in r) == bool(np.isfinite(mag))
        # rmsRA is an arc on the sky, raErr an error of the coordinate
        arc = max(3e-5 * np.cos(np.deg2rad(dec)) * 3600, 1e-3)
        assert float(r["rmsRA"]) == pytest.approx(arc, abs=6e-4)


def test_a_right_ascension_just_below_the_turn_is_zero():
    one = tables.take(detections(1), [0]) | {"ra": np.array([359.99999999])}
    assert ades.observations(one, ["A4u00001"], OPTIONS)[0]["ra"] == "0.0000000"


@pytest.mark.parametrize(
    ("option", "word"),
    [
        ({"astrometric_catalogue": "Gaiaxx"}, "Gaiaxx"),
        ({"photometric_catalogue": "mine"}, "mine"),
        ({"obscode": "QQ9"}, "QQ9"),
    ],
)
def test_what_the_schema_lets_pass_is_refused_here(option, word):
    options = OPTIONS | option
    with pytest.raises(BadInput, match=word):
        ades.write_psv(ades.observations(detections(2), names(2), options), options)


def test_long_names_and_detections_reported_twice_are_refused(records):
    with pytest.raises(BadInput, match="twice"):
        ades.check([records[0], dict(records[0])], OPTIONS)
    with pytest.raises(BadInput, match="trkSub"):
        ades.check([records[0] | {"trkSub": "A4u000001"}], OPTIONS)


def test_a_night_of_fifty_thousand_is_written_and_validated_in_five_seconds(official, capsys):
    given = detections(50_000)
    start = time.process_time()
    text = ades.write_psv(ades.observations(given, names(50_000), OPTIONS), OPTIONS)
    written = time.process_time() - start
    before = _seconds_of_children()
    verdict = official(text)
    validated = _seconds_of_children() - before
    with capsys.disabled():
        print(f"\n50,000 rows: written {written:.2f} s, validated {validated:.2f} s of CPU")
    assert "submit is OK" in verdict
    assert written + validated < 5.0


def _seconds_of_children():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
