"""The exposure sheet from raw files: visits, times, patches, frozen runs."""

import csv
import re

import numpy as np
import pytest
import yaml

from alertprod.cli import main
from alertprod.core.errors import BadInput
from alertprod.ingest import frames, sheet


@pytest.fixture
def world(tinycam, tmp_path):
    """A raw directory, the instrument file, and a way to call the command."""

    class World:
        raw = tmp_path / "raw"
        into = tmp_path / "sheet"
        instrument = tmp_path / "tinycam.yaml"
        overlay = tmp_path / "overlay.yaml"

        def visit(self, seq, *, begin=None, night=20251122, snaps=2, detectors=(0, 1), **cards):
            begin = tinycam.MJD + seq * 60 / 86400 if begin is None else begin
            for detector in detectors:
                for snap in range(snaps):
                    tinycam.write_raw(
                        self.raw / str(night) / f"{seq:05d}_{snap}_{detector}.fits",
                        DETECTOR=detector,
                        DAYOBS=night,
                        SEQNUM=seq,
                        GROUPID=f"{night}-{seq}",
                        CURINDEX=snap + 1,
                        MAXINDEX=snaps,
                        MJD_BEG=begin + snap * 17 / 86400,
                        **cards,
                    )

        def calibrations(self, prefix="c", night=20251121, count=3):
            for kind in ("BIAS", "DARK", "FLAT"):
                for k in range(count):
                    tinycam.write_raw(
                        self.raw / "calib" / f"{prefix}{kind}{k}.fits",
                        kind=kind,
                        DAYOBS=night,
                        SEQNUM=900 + k,
                    )

        def ingest(self, *options):
            return main(
                [
                    "ingest",
                    str(self.raw),
                    *("--instrument", str(self.instrument)),
                    *("--into", str(self.into)),
                    *("--configfile", str(self.overlay)),
                    *options,
                ]
            )

        def rows(self, name):
            with open(self.into / f"{name}.csv", newline="") as handle:
                return list(csv.DictReader(handle))

    World.instrument.write_text(yaml.safe_dump(tinycam.description()))
    World.overlay.write_text("template: {run: first, airmass_edges: [1.3, 1.6]}\n")
    return World()


def test_snaps_are_grouped_and_the_midpoint_is_the_mean_of_theirs(world, tinycam):
    world.visit(5)
    assert world.ingest() == 0
    rows = world.rows("exposures")
    assert [(r["visit"], r["detector"]) for r in rows] == [
        ("2025112200005", "000"),
        ("2025112200005", "001"),
    ]
    row = rows[0]
    assert row["snaps"] == "20251122/00005_0_0.fits;20251122/00005_1_0.fits"
    begin = tinycam.MJD + 5 * 60 / 86400
    assert float(row["midpoint_mjd_tai"]) == pytest.approx(begin + (7.5 + 8.5) / 86400, abs=1e-9)
    assert float(row["exposure_s"]) == 30.0
    assert (row["night"], row["band"], row["purpose"]) == ("20251122", "r", "science")
    assert rows[1]["midpoint_mjd_tai"] == row["midpoint_mjd_tai"]


def test_every_row_obeys_the_schema_of_the_sheet(world, root):
    world.visit(5)
    world.visit(6, PURPOSE="TEMPLATE")
    world.visit(7, snaps=1, detectors=(1,))
    world.calibrations()
    assert world.ingest() == 0
    schema = yaml.safe_load((root / "workflow/schemas/exposures.schema.yaml").read_text())
    for name, columns in schema.items():
        rows = world.rows(name)
        assert rows, name
        for row in rows:
            for column, rule in columns.items():
                assert re.fullmatch(rule["pattern"], row[column]), (name, column, row[column])


def test_the_patches_and_shards_of_a_row_hold_the_whole_detector(world, tinycam):
    from alertprod.core.refcat import shard_of, shard_path

    world.visit(5)
    world.ingest()
    camera = tinycam.camera()
    for row in world.rows("exposures"):
        detector = int(row["detector"])
        wcs = camera.nominal_wcs(detector, 150.0, -20.0, 10.0)
        # ten pixels of pointing error and all corners
        x, y = np.meshgrid([-10.0, 40.0, 106.0], [-10.0, 30.0, 74.0])
        ra, dec = wcs.pix_to_sky(x.ravel(), y.ravel())
        for a, d in zip(ra, dec, strict=True):
            (one,) = sheet.sky_map(camera).patches_touching([a] * 4, [d] * 4)
            assert one in row["patches"].split(";")
        wanted = {shard_path(5, int(p)) for p in shard_of(5, ra, dec)}
        assert wanted <= set(row["shards"].split(";"))


def test_only_shards_of_the_catalogue_are_listed_when_it_is_named(world, tmp_path):
    world.visit(5)
    world.ingest("--refcat", str(tmp_path))
    assert {row["shards"] for row in world.rows("exposures")} == {""}


def test_template_visits_go_to_their_bins_by_airmass(world):
    for seq, airmass in ((1, 1.1), (2, 1.2), (3, 1.5), (4, 1.9)):
        world.visit(seq, AIRMASS=airmass, PURPOSE="TEMPLATE")
    world.visit(9)
    world.ingest()
    rows = world.rows("templates")
    bins = {row["visit"][-1]: row["airmass_bin"] for row in rows}
    assert bins == {"1": "0", "2": "0", "3": "1", "4": "2"}
    assert {row["template_run"] for row in rows} == {"first"}
    assert {row["detectors"] for row in rows} <= {"000", "001", "000;001"}
    listed = {f"{row['tract']}/{row['patch']}" for row in rows}
    wanted = {p for r in world.rows("exposures") for p in r["patches"].split(";")}
    assert listed == wanted


def test_whole_nights_can_be_made_templates(world):
    world.visit(1)
    world.visit(2, night=20251123, begin=61001.1)
    world.ingest("--template-scheme", "nights", "--template-nights", "20251122")
    purposes = {row["night"]: row["purpose"] for row in world.rows("exposures")}
    assert purposes == {"20251122": "template", "20251123": "science"}


def test_interleaved_halves_serve_each_other(world):
    for seq in range(1, 6):
        world.visit(seq, detectors=(0,))
    world.ingest("--template-scheme", "interleaved")
    serves = {row["visit"][-1]: row["template_run"] for row in world.rows("exposures")}
    member = {row["visit"][-1]: row["template_run"] for row in world.rows("templates")}
    assert {row["purpose"] for row in world.rows("exposures")} == {"both"}
    assert [member[k] for k in "12345"] == [f"first-{h}" for h in "even odd even odd even".split()]
    assert all(serves[k] != member[k] for k in "12345")


def test_a_second_ingest_adds_what_is_new_and_changes_nothing(world, capsys):
    world.visit(1, PURPOSE="TEMPLATE")
    world.visit(5)
    world.calibrations()
    world.ingest()
    before = {p.name: p.read_bytes() for p in world.into.iterdir()}
    assert world.ingest() == 0
    assert {p.name: p.read_bytes() for p in world.into.iterdir()} == before
    world.visit(3)
    world.visit(2, PURPOSE="TEMPLATE")
    world.calibrations("d")
    capsys.readouterr()
    assert world.ingest() == 0
    said = capsys.readouterr().out
    assert "template run first is frozen: 1 new visits" in said
    assert "calibration run is frozen: 9 new frames" in said
    for name in ("templates.csv", "calibs.csv"):
        assert (world.into / name).read_bytes() == before[name]
    assert [r["visit"][-1] for r in world.rows("exposures")][::2] == ["1", "2", "3", "5"]
    old = before["exposures.csv"].decode().splitlines()
    assert set(old) <= set((world.into / "exposures.csv").read_text().splitlines())


def test_a_new_run_by_name_takes_what_the_frozen_one_left(world):
    world.visit(1, PURPOSE="TEMPLATE")
    world.calibrations()
    world.ingest()
    world.visit(2, PURPOSE="TEMPLATE")
    world.calibrations("d")
    world.ingest("--template-run", "second", "--calib-run", "late")
    assert {r["template_run"]: set() for r in world.rows("templates")}.keys() == {"first", "second"}
    second = {r["visit"] for r in world.rows("templates") if r["template_run"] == "second"}
    assert len(second) == 2  # a template run may use all template visits
    late = [r for r in world.rows("calibs") if r["calib_run"] == "late"]
    assert all(p.startswith("calib/d") for r in late for p in r["raws"].split(";"))


def test_without_calibration_frames_defects_come_from_science_frames(world):
    for seq in range(1, 30):
        world.visit(seq, detectors=(0,), snaps=1)
    world.ingest()
    (row,) = world.rows("calibs")
    assert row["type"] == "science"
    paths = row["raws"].split(";")
    assert len(paths) == 16
    assert paths[0].endswith("00001_0_0.fits") and paths[-1].endswith("00029_0_0.fits")


def test_bad_files_are_left_out_and_named(world, capsys):
    world.visit(5)
    (world.raw / "broken.fits").write_bytes(b"not FITS at all")
    world.visit(6, FILTER="none")
    assert world.ingest() == 0
    said = capsys.readouterr().out
    assert "left out: broken.fits: this is not a FITS file" in said
    assert "filter 'none' is not known to instrument tinycam" in said
    assert len(world.rows("exposures")) == 2


def test_a_raw_file_cut_off_in_its_pixels_still_stands_in_the_sheet(world):
    world.visit(5)
    path = next(world.raw.rglob("*_0_0.fits"))
    path.write_bytes(path.read_bytes()[:8000])
    world.ingest()
    assert len(world.rows("exposures")) == 2  # the night's report will say that it was rejected


def test_two_visits_of_one_moment_are_refused(world, tinycam, capsys):
    world.visit(5, begin=tinycam.MJD)
    world.visit(6, begin=tinycam.MJD)
    assert world.ingest() == 1
    assert "have the same midpoint" in capsys.readouterr().err


def test_a_visit_without_sequence_number_is_numbered_by_seconds(world, tinycam):
    tinycam.write_raw(
        world.raw / "a.fits", SEQNUM=None, DAYOBS=None, TIMESYS="UTC", MJD_BEG=61000.25
    )
    world.ingest()
    # 2025-11-21T06:00 UTC is 18 h after the night of the 20th began at 12 h UTC
    assert world.rows("exposures")[0]["visit"] == "2025112064800"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--template-scheme", "nights"], "0 template nights"),
        (["--template-nights", "20251122"], "1 template nights"),
        (["--configfile", "none.yaml"], "none.yaml"),
    ],
)
def test_wrong_options_are_one_line_and_exit_one(world, capsys, options, words):
    world.visit(5)
    assert world.ingest(*options) == 1
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1


def test_an_empty_directory_is_one_line(world, capsys):
    world.raw.mkdir()
    assert world.ingest() == 1
    assert "no FITS file below" in capsys.readouterr().err


def test_midpoints_of_one_visit_may_repeat_over_detectors():
    frames.check_midpoints([(1, 5.0), (1, 5.0), (2, 6.0)])
    with pytest.raises(BadInput):
        frames.check_midpoints([(1, 5.0), (2, 5.0)])


def test_the_real_field_is_ingested_whole(real_data, tmp_path):
    overlay = tmp_path / "o.yaml"
    overlay.write_text("template: {run: halves, airmass_edges: []}\n")
    code = main(
        [
            "ingest",
            str(real_data / "microobservatory_hatp32"),
            *("--instrument", "microobs", "--into", str(tmp_path / "sheet")),
            *("--template-scheme", "interleaved", "--configfile", str(overlay)),
        ]
    )
    assert code == 0
    with open(tmp_path / "sheet" / "exposures.csv", newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert len(rows) == 71
    assert {row["night"] for row in rows} == {"20171219"}  # one night in Arizona
    assert {row["template_run"] for row in rows} == {"halves-even", "halves-odd"}
    times = [float(row["midpoint_mjd_tai"]) for row in rows]
    assert times == sorted(times)
    assert 6.9 < (times[-1] - times[0]) * 24 < 7.1
