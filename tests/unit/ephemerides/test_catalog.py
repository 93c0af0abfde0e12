"""Orbit catalogues: the MPC's fixed columns, JSON, CSV; and what is broken in them."""

import json

import numpy as np
import pytest

from alertprod.core.errors import BadInput
from alertprod.ephemerides import catalog

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


def test_a_file_of_rubbish_is_refused_with_a_sentence(tmp_path):
    with pytest.raises(BadInput, match="none of the 2 lines"):
        catalog.read_orbits(write(tmp_path, "not an orbit\nneither\n"))
    with pytest.raises(BadInput, match="does not exist"):
        catalog.read_orbits(tmp_path / "absent.dat")
    with pytest.raises(BadInput, match="designation"):
        catalog.read_orbits(write(tmp_path, "a,e\n1,0\n", "x.csv"))


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
