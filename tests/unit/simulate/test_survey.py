"""The demo survey: its plan, its asteroids, the files of one visit."""

import csv
import json

import numpy as np
import pytest
import yaml

from alertprod.simulate import plan, survey, truth


@pytest.fixture(scope="module")
def config(root):
    """The demo, with fewer galaxies."""
    settings = yaml.safe_load((root / "config" / "simulate" / "demo.yaml").read_text())
    settings["sky"] |= {"galaxies_per_deg2": 500}
    return settings


@pytest.fixture(scope="module")
def camera_path(root, config):
    return root / config["camera"]


@pytest.fixture(scope="module")
def made(config, camera_path, tmp_path_factory):
    """The sky of the demo and two of its visits, in files."""
    folder = tmp_path_factory.mktemp("survey")
    survey.make_sky(config, camera_path, folder)
    for visit in (2026090900022, 2026100900055):
        survey.make_visit(config, camera_path, folder, visit)
    return folder


@pytest.fixture(scope="module")
def visits(made):
    return json.loads((made / "truth" / "plan.json").read_text())


def test_plan_has_pairs_in_two_bands_on_four_nights_after_the_templates(visits):
    templates = [v for v in visits if v["purpose"] == "template"]
    science = [v for v in visits if v["purpose"] == "science"]
    assert max(v["mid"] for v in templates) + 20 < min(v["mid"] for v in science)
    for night in sorted({v["night"] for v in science}):
        pair = [v for v in science if v["night"] == night]
        assert {v["band"] for v in pair} == {"g", "r"}
        assert 20 < (pair[1]["mid"] - pair[0]["mid"]) * 1440 < 40
    assert len({v["night"] for v in science}) == 4
    assert {len(v["begin"]) for v in science} == {1, 2}
    low = [v for v in templates if v["airmass"] < 1.25]
    high = [v for v in templates if v["airmass"] > 1.4]
    assert len(low) == 6 and len(high) == 3


def test_the_field_is_up_in_the_dark(visits, camera_path):
    from astropy import units as u
    from astropy.coordinates import AltAz, EarthLocation, get_sun
    from astropy.time import Time
    from astropy.utils import iers

    from alertprod.simulate.camera import read_camera

    camera = read_camera(camera_path)
    site = EarthLocation.from_geodetic(
        camera.longitude * u.deg, camera.latitude * u.deg, camera.height * u.m
    )
    with iers.conf.set_temp("auto_download", False):
        times = Time([v["mid"] for v in visits], format="mjd", scale="tai")
        sun = get_sun(times).transform_to(AltAz(obstime=times, location=site))
    assert sun.alt.deg.max() < -18
    assert max(v["airmass"] for v in visits) < 1.8


def test_what_is_commanded_does_not_depend_on_the_seed(config, camera_path, visits):
    from alertprod.simulate.camera import read_camera

    other = plan.make_plan(config | {"seed": 99}, read_camera(camera_path))
    commanded = ("visit", "band", "purpose", "ra", "dec", "rotation", "begin", "airmass", "mid")
    for mine, theirs in zip(visits, other, strict=True):
        assert [mine[k] for k in commanded] == [theirs[k] for k in commanded]
        assert mine["pointing"] != theirs["pointing"]
        offset = np.hypot(
            mine["pointing"]["ra"] - mine["ra"], mine["pointing"]["dec"] - mine["dec"]
        )
        assert 0 < offset * 3600 < 30


def test_main_belt_asteroids_move_slowly_and_stay_on_the_camera(made, visits):
    asteroids = truth.read_table(made / "truth" / "asteroids.parquet")
    slow = asteroids["kind"] == "main_belt"
    assert slow.sum() == 5 and asteroids["known"].sum() == 2
    assert np.all((asteroids["a"][slow] > 2.1) & (asteroids["a"][slow] < 3.4))
    science = [v for v in visits if v["purpose"] == "science"]
    for first, second in zip(science[::2], science[1::2], strict=True):
        lapse = second["mid"] - first["mid"]
        for k in np.flatnonzero(slow):
            step = np.hypot(
                (second["movers"]["ra"][k] - first["movers"]["ra"][k]) * 0.989,
                second["movers"]["dec"][k] - first["movers"]["dec"][k],
            )
            assert 0.02 < step / lapse < 0.35  # deg/day
            assert step * 3600 > 1.0  # not taken for one object
    fast = int(np.flatnonzero(~slow)[0])
    trail = [v["movers"]["track_dec"][fast][0] for v in science]
    assert asteroids["e"][fast] < 1
    assert max(abs(t[1] - t[0]) for t in trail) * 3600 > 0.3


def test_orbit_catalogue_holds_the_known_ones_only(made):
    with open(made / "orbits.csv", newline="", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    assert [row["designation"] for row in rows] == ["SIMK001", "SIMK002"]
    asteroids = truth.read_table(made / "truth" / "asteroids.parquet")
    assert float(rows[0]["a"]) == asteroids["a"][0]
    assert set(rows[0]) == {
        *("designation", "epoch_mjd_tdb", "a", "e", "incl", "node", "argperi"),
        *("mean_anomaly", "H", "G"),
    }


def test_a_visit_writes_its_snaps_and_the_truth_that_is_on_them(made):
    files = sorted(p.name for p in (made / "raw" / "20261009").iterdir())
    assert files == [f"2026100900055_0_{d:03d}.fits" for d in range(4)]
    assert len(list((made / "raw" / "20260909").iterdir())) == 8
    table = truth.read_table(made / "truth" / "20261009" / "2026100900055.parquet")
    assert set(table["kind"]) >= {"star", "variable", "galaxy", "transient", "asteroid"}
    assert np.unique(table["source_id"]).size == table["source_id"].size
    assert np.all((table["x"] > -0.5) & (table["x"] < 1023.5))
    constant = table["kind"] == "star"
    np.testing.assert_allclose(table["flux"][constant], table["template_flux"][constant])
    changed = np.abs(table["diff_snr"][table["kind"] == "variable"]) > 5
    assert changed.mean() > 0.3
    new = table["kind"] == "transient"
    assert np.all(table["template_flux"][new] == 0)
    template = truth.read_table(made / "truth" / "20260909" / "2026090900022.parquet")
    assert "transient" not in set(template["kind"])


def test_the_truth_is_where_the_light_is(made, camera_path):
    """Bright, lone stars of the truth stand on peaks of the raw file, within a pixel."""
    import fitsio

    table = truth.read_table(made / "truth" / "20261009" / "2026100900055.parquet")
    good = (table["detector"] == 0) & (table["kind"] == "star") & ~table["saturated"]
    good &= (table["x"] < 500) & (table["y"] < 500) & (table["x"] > 12) & (table["y"] > 12)
    good &= ~table["defect"] & ~table["cosmic"] & (table["snr"] > 60)
    assert good.sum() >= 5
    raw = fitsio.read(made / "raw" / "20261009" / "2026100900055_0_000.fits", ext=1)
    for x, y in zip(table["x"][good], table["y"][good], strict=True):
        ix, iy = round(x) + 8, round(y)
        stamp = raw[iy - 3 : iy + 4, ix - 3 : ix + 4].astype(float)
        stamp -= np.median(raw)
        peak = np.unravel_index(np.argmax(stamp), stamp.shape)
        assert abs(peak[1] - 3) <= 1 and abs(peak[0] - 3) <= 1


def test_calibration_frames_are_numbered_and_of_their_kind(config, camera_path, tmp_path):
    import fitsio

    few = config | {"calibrations": config["calibrations"] | {"bias": 1, "dark": 1, "flat": 1}}
    numbers = survey.calibration_visits(few)
    assert numbers == {
        "bias": [2026090800001],
        "dark": [2026090800002],
        "flat_g": [2026090800003],
        "flat_r": [2026090800004],
    }
    survey.make_calibrations(few, camera_path, tmp_path, "flat")
    survey.make_calibrations(few, camera_path, tmp_path, "dark")
    flat = survey.calibration_path(tmp_path, 2026090800004, 3)
    header = fitsio.read_header(flat)
    assert (header["IMGTYPE"], header["FILTER"]) == ("FLAT", "r_03")
    assert np.median(fitsio.read(flat, ext=1)) == pytest.approx(30000 / 1.7 + 1000, rel=0.1)
    dark = survey.calibration_path(tmp_path, 2026090800002, 3)
    assert fitsio.read_header(dark)["DARKTIME"] == 120.0
    assert "FILTER" not in fitsio.read_header(dark)


def test_findable_counts_nights_with_two_good_sightings(tmp_path):
    """Asteroid 1 is seen twice on three nights; 2 is too faint once; 3 stands on a defect once."""
    ids = np.array([1, 2, 3])
    asteroids = {
        "asteroid_id": ids,
        "designation": np.array(["A", "B", "C"]),
        "known": np.zeros(3, bool),
        "kind": np.array(["main_belt"] * 3),
    }
    truth.write_table(tmp_path / "asteroids.parquet", asteroids)
    visits = []
    for night in (20261008, 20261009, 20261010):
        for seq in (1, 2):
            row = {"visit": night * 100000 + seq, "night": night, "purpose": "science"}
            last = (night, seq) == (20261010, 2)
            table = {
                "source_id": ids + truth.OFFSET["asteroid"],
                "kind": np.array(["asteroid"] * 3),
                "snr": np.array([20.0, 5.0 if last else 20.0, 20.0]),
                "saturated": np.zeros(3, bool),
                "defect": np.array([False, False, last]),
            }
            truth.write_table(truth.visit_path(tmp_path, row["visit"]), table)
            visits.append(row)
    found = truth.findable(tmp_path, visits, 7.0)
    assert found["findable"].tolist() == [True, False, False]
    assert found["visits"].tolist() == [6, 5, 5]
