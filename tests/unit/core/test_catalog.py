"""Orbit catalogues: the MPC's fixed columns, JSON, CSV; and what is broken in them."""

import gzip
import json

import numpy as np
import pytest

from alertprod.core import catalog
from alertprod.core.errors import BadInput

HEADER = (
    "MINOR PLANET CENTER ORBIT DATABASE (MPCORB)\n\nDes'n     H     G   Epoch\n" + "-" * 160 + "\n"
)


def line(packed="00001", h=" 3.34", epoch="K24AH", m=188.70269, e="0.0789126", a="2.7660512"):
    text = (
        f"{packed:<7} {h:>5} {' 0.15':>5} {epoch:>5} {m:9.5f}  {73.27343:9.5f}  {80.25221:9.5f}  "
        f"{10.58780:9.5f}  {e:>9} {0.21424651:11.8f} {a:>11}  0 E2024-V47  7258 123 1801-2024 0.80"
    )
    return text.ljust(165) + " (1) Ceres".ljust(29) + "\n"


def write(tmp_path, text, name="MPCORB.DAT"):
    path = tmp_path / name
    path.write_text(text)
    return path


def test_a_line_of_mpcorb_gives_ceres(tmp_path):
    found = catalog.read_orbits(write(tmp_path, HEADER + line()))
    assert found["designation"].tolist() == ["1"]
    assert found["epoch"][0] == 60600.0  # K24AH is 2024 October 17
    q, e, incl, node, peri, tp = found["elements"][0]
    assert q == pytest.approx(2.7660512 * (1 - 0.0789126))
    assert (e, incl, node, peri) == pytest.approx((0.0789126, 10.58780, 80.25221, 73.27343))
    # mean anomaly 188.7 deg: the perihelion to come is nearer than the one passed
    assert tp - 60600.0 == pytest.approx((360 - 188.70269) / 0.21424651, rel=1e-5)
    assert (found["h"][0], found["g"][0]) == (3.34, 0.15)


def test_broken_lines_are_counted_and_left_out(tmp_path):
    good, blank_h = line("K02C17X"), line("00002", h="")
    bad = [line("00003")[:90] + "\n", line("00004", e="x.xxxxxxx"), line("00005", epoch="K24Zz"),
           line("00006", a="   -1.00000")]  # fmt: skip
    found = catalog.read_orbits(write(tmp_path, HEADER + good + "".join(bad) + blank_h))
    assert found["designation"].tolist() == ["2002 CX17", "2"]
    assert found["skipped"] == 4
    assert found["h"][1] == catalog.DEFAULT_H

    # the header has four lines; the first broken one is behind a good one
    assert found["first"] == "line 6 has 90 of 103 columns"


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (line("00003", epoch="K24Zz"), "has no date as its epoch"),
        (line("00004", epoch="     "), "has no date as its epoch"),
        (line("00005", epoch="K24D0"), "has no date as its epoch"),
        (line("00006", e="x.xxxxxxx"), "lacks a readable e"),
        (line("00007", a="   -1.00000"), "has an impossible a, q or e"),
        (line("       "), "has no designation"),
        (line("00008")[:26] + " " * 9 + line("00008")[35:], "lacks a readable element"),
        (line("00009")[:60], "has 57 of 103 columns"),
    ],
)
def test_a_broken_line_is_named_by_its_number_and_fault(tmp_path, broken, why):
    found = catalog.read_orbits(write(tmp_path, HEADER + line() + "\n" + line("00002") + broken))
    assert found["designation"].tolist() == ["1", "2"]
    assert (found["skipped"], found["first"]) == (1, f"line 8 {why}")


def test_a_name_beyond_the_scheme_is_kept_as_it_is_and_told(tmp_path, caplog):
    path = write(tmp_path, HEADER + line() + line("XYZ-7?") + line("?"))
    with caplog.at_level("WARNING"):
        found = catalog.read_orbits(path)
    assert found["designation"].tolist() == ["1", "XYZ-7?", "?"] and found["skipped"] == 0
    assert "2 designations are none" in caplog.text and "the first: line 6 'XYZ-7?'" in caplog.text


def test_a_night_says_what_it_left_out(tmp_path, caplog):
    from alertprod.ephemerides import predict_night

    path = write(tmp_path, HEADER + line() + line("00002", epoch="K24Zz"))
    look = {"midpoint_mjd_tai": 60600.0, "ra": 0.0, "dec": 0.0}
    with caplog.at_level("WARNING"):
        predict_night(path, None, [look], config={"dynamics": "kepler"})
    assert f"1 of 2 rows of {path} are left out, the first: line 6 has no date" in caplog.text


RUBBISH = {
    "not an orbit\nneither\n": "none of the 2 lines",
    HEADER: "ends after the 4 lines of its header, without an orbit",
    HEADER.rstrip("\n"): "header, without an orbit",
    "": "without an orbit",
    HEADER + line() + 25 * line("00002", epoch="K24Zz"): "only 1 of the 26 lines",
}


@pytest.mark.parametrize("text", RUBBISH, ids=RUBBISH.values())
def test_a_file_of_rubbish_is_refused_with_a_sentence(tmp_path, text):
    path = write(tmp_path, text)
    with pytest.raises(BadInput, match=RUBBISH[text]) as caught:
        catalog.read_orbits(path)
    assert str(path) in str(caught.value)


OTHERS = [
    ("x.csv", b"a,e\n1,0\n", "no 'designation'"),
    ("x.csv", b"", "no 'designation'"),
    ("x.csv", b"designation,epoch,a,incl,node,argperi,M\n1,6e4,2,1,1,1,1\n", "no e. Add it"),
    ("x.csv", b"designation,epoch,e,incl,node,argperi,M\n1,6e4,2,1,1,1,1\n", "no q or a"),
    ("x.csv", b"\xff\xfe\x00", "no CSV in UTF-8"),
    ("x.parquet", b"PAR1 no", "no readable Parquet"),
    ("x.json", b'[{"a": 1},', "no valid JSON"),
    ("x.json", b'{"a": 1}', "not a list of orbits"),
    ("MPCORB.DAT.gz", gzip.compress(HEADER.encode() * 99)[:80], "cannot be unpacked"),
    ("MPCORB.DAT.gz", b"<html>", "cannot be unpacked"),
]


@pytest.mark.parametrize(("name", "content", "why"), OTHERS)
def test_a_damaged_file_is_refused_with_a_sentence(tmp_path, name, content, why):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadInput, match=why) as caught:
        catalog.read_orbits(tmp_path / name)
    assert name in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(BadInput, match="does not exist"):
        catalog.read_orbits(tmp_path / "absent.dat")


COLUMNS = "designation,epoch_mjd_tdb,a,e,incl,node,argperi,mean_anomaly,H,G,G12\n"


def test_a_table_without_rows_is_a_survey_that_knows_nothing(tmp_path):
    found = catalog.read_orbits(write(tmp_path, COLUMNS, "x.csv"))
    assert len(found["designation"]) == found["skipped"] == 0


def test_rows_with_too_few_or_too_many_cells_are_no_crash(tmp_path):
    row = "60600,2.7,0.1,10,80,70,180,15,0.15,"
    text = f"{COLUMNS}A,{row}\nB,60600,2.7\nC,{row},9,9\n,{row}\n"
    found = catalog.read_orbits(write(tmp_path, text, "x.csv"))
    assert found["designation"].tolist() == ["A", "C"]
    assert (found["skipped"], found["first"]) == (2, "line 3 lacks a readable e")


def test_slopes_are_read_where_given_and_chosen_where_not(tmp_path):
    orbit = "60600,2.7,0.1,10,80,70,180,15"
    text = f"{COLUMNS}A,{orbit},0.25,\nB,{orbit},,0.6\nC,{orbit},,\n"
    path = write(tmp_path, text, "x.csv")
    found = catalog.read_orbits(path, default_g=0.12)
    assert found["g"].tolist() == [0.25, 0.12, 0.12]
    assert np.array_equal(found["g12"], [np.nan, 0.6, np.nan], equal_nan=True)
    found = catalog.read_orbits(path, default_g12=0.5)
    assert np.array_equal(found["g12"], [np.nan, 0.6, 0.5], equal_nan=True)


def test_csv_and_extended_json_tell_the_same_orbit_as_mpcorb(tmp_path):
    dat = catalog.read_orbits(write(tmp_path, HEADER + line("K02C17X")))
    csv = catalog.read_orbits(
        write(tmp_path, "designation,epoch_mjd_tdb,a,e,incl,node,argperi,mean_anomaly,H,G\n"
              "2002 CX17,60600,2.7660512,0.0789126,10.5878,80.25221,73.27343,188.70269,3.34,0.15\n",
              "orbits.csv")
    )  # fmt: skip
    names = ("Principal_desig", "Epoch", "a", "e", "i", "Node", "Peri", "M", "H", "G")
    values = ("2002 CX17", 2460600.5, 2.7660512, 0.0789126, 10.5878, 80.25221, 73.27343, 188.70269)
    row = dict(zip(names, (*values, 3.34, 0.15), strict=True))
    js = catalog.read_orbits(write(tmp_path, json.dumps([row]), "mpcorb_extended.json"))
    for other in (csv, js):
        assert other["designation"].tolist() == dat["designation"].tolist()
        assert np.allclose(other["elements"], dat["elements"], rtol=1e-9)
        assert other["epoch"][0] == dat["epoch"][0]


def test_hyperbolic_orbits_come_by_perihelion_time(tmp_path):
    path = write(tmp_path, "designation,epoch_mjd_tdb,q,e,incl,node,argperi,peri_time,H\n"
                 "3I,60858,1.356,6.14,175.1,322.2,128.0,60977.5,12\n"
                 "bad,60858,1.356,6.14,175.1,322.2,128.0,,12\n", "c.csv")  # fmt: skip
    found = catalog.read_orbits(path)
    assert found["designation"].tolist() == ["3I"]
    assert found["skipped"] == 1


@pytest.mark.parametrize(("text", "mjd"), [("J9611", 50083.0), ("K01AM", 52204.0), ("K24Zz", None)])
def test_packed_dates(text, mjd):
    value = catalog.unpack_epoch(text)
    assert np.isnan(value) if mjd is None else value == mjd
