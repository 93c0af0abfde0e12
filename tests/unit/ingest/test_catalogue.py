"""Star catalogues of several forms become the same shards."""

import numpy as np
import pytest

from alertprod.cli import main
from alertprod.core.refcat import read_region

RA, DEC = [10.0, 10.1, 200.0], [5.0, 5.1, -30.0]


def table():
    from astropy import units as u
    from astropy.table import MaskedColumn, Table

    return Table(
        {
            "source_id": np.array([4295806720, 17, 5], dtype=np.int64),
            "ra": RA * u.deg,
            "dec": DEC * u.deg,
            "pmra": MaskedColumn([10.0, 0.0, -5.0], mask=[False, True, False]),
            "phot_g_mean_mag": [15.0, 16.0, 17.0],
            "phot_rp_mean_mag": [14.0, 15.0, 16.0],
        }
    )


def stars(out):
    shards = sorted(out.rglob("*.parquet"))
    return read_region(shards, 0.0, 0.0, 180.0)


@pytest.mark.parametrize("form", ["csv", "fits", "votable"])
def test_csv_fits_and_votable_give_the_same_shards(tmp_path, form):
    path = tmp_path / {"csv": "a.csv", "fits": "a.fits", "votable": "a.vot"}[form]
    table().write(path, format={"csv": "ascii.csv"}.get(form, form))
    assert main(["refcat", str(path), str(tmp_path / "out"), "--order", "4"]) == 0
    got = stars(tmp_path / "out")
    assert got["source_id"].tolist() == [5, 17, 4295806720]
    assert got["ra"].tolist() == [200.0, 10.1, 10.0]
    assert np.isnan(got["pmra"]).tolist() == [False, True, False]
    # Gaia's Vega magnitudes: G_AB = G + 0.1136, RP_AB = RP + 0.3561; 31.4 mag AB is 1 nJy
    assert got["flux_G"][2] == pytest.approx(10 ** ((31.4 - 15.1136) / 2.5))
    assert got["flux_RP"][2] == pytest.approx(10 ** ((31.4 - 14.3561) / 2.5))
    assert len(sorted((tmp_path / "out").rglob("*.parquet"))) == 2


def test_named_columns_offsets_and_errors(tmp_path):
    path = tmp_path / "odd.csv"
    path.write_text("RAdeg,DEdeg,V,e_V,f\n10,5,12.0,0.1,500\n,5,12.0,0.1,500\n11,5,,,\n")
    options = ["--column", "ra=RAdeg", "--column", "dec=DEdeg", "--epoch", "1991.25"]
    options += ["--flux", "VT=V,e_V@mag+0.05", "--flux", "x=f@nJy"]
    assert main(["refcat", str(path), str(tmp_path / "out"), *options]) == 0
    got = stars(tmp_path / "out")
    assert got["source_id"].tolist() == [1, 3]  # the row without a position is dropped
    assert got["flux_VT"][0] == pytest.approx(10 ** ((31.4 - 12.05) / 2.5))
    assert got["fluxErr_VT"][0] == pytest.approx(got["flux_VT"][0] * 0.1 * np.log(10) / 2.5)
    assert got["flux_x"][0] == 500
    assert np.isnan(got["flux_VT"][1])
    assert (got["ref_epoch"] == 1991.25).all()


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        ("a,b\n1,2\n", [], "no column for ra"),
        ("ra,dec\n1,2\n", [], "no flux: name the columns"),
        ("ra,dec,m\n1,2,3\n", ["--flux", "r=n"], "no column n"),
        ("ra,dec,m\n1,2,3\n", ["--flux", "r"], "no flux rule"),
        ("ra,dec,m\n1,2,x\n", ["--flux", "r=m"], "no number"),
        ("ra,dec,m\n1,95,3\n", ["--flux", "r=m"], "no star with a position"),
        ("ra,dec,m\n1,2,3\n", ["--flux", "r=m", "--column", "x=y"], "no such column"),
    ],
)
def test_a_catalogue_that_cannot_be_used_is_one_line(tmp_path, capsys, text, options, words):
    (tmp_path / "a.csv").write_text(text)
    assert main(["refcat", str(tmp_path / "a.csv"), str(tmp_path / "out"), *options]) == 1
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1


def test_two_catalogues_do_not_mix_in_one_directory(tmp_path, capsys):
    (tmp_path / "a.csv").write_text("ra,dec,m\n1,2,3\n")
    (tmp_path / "b.csv").write_text("ra,dec,m\n100,2,3\n")
    call = ["refcat", str(tmp_path / "a.csv"), str(tmp_path / "out"), "--flux", "r=m"]
    assert main(call) == 0
    call[1] = str(tmp_path / "b.csv")
    assert main(call) == 1
    assert "1 shards already" in capsys.readouterr().err
    assert main([*call, "--replace"]) == 0
    assert stars(tmp_path / "out")["ra"].tolist() == [100.0]


def test_without_a_network_gaias_archive_is_one_line(tmp_path, capsys, monkeypatch):
    import urllib.request
    from urllib.error import URLError

    def refuse(*_, **__):
        raise URLError("no route")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    assert main(["refcat", "gaia:10,20,0.5", str(tmp_path / "out")]) == 1
    assert "did not answer" in capsys.readouterr().err


def test_what_gaias_archive_answers_becomes_shards(tmp_path, monkeypatch):
    import io
    import urllib.request
    from urllib.parse import parse_qs

    asked = {}

    def answer(url, data, timeout):
        asked.update(parse_qs(data.decode()))
        text = "source_id,ra,dec,pmra,phot_g_mean_mag\n7,10.0,20.0,,15.0\n"
        return io.BytesIO(text.encode())

    monkeypatch.setattr(urllib.request, "urlopen", answer)
    assert main(["refcat", "gaia:10,20,0.5", str(tmp_path / "out"), "--faintest", "18"]) == 0
    assert "CIRCLE(10.0000000, 20.0000000, 0.50000)" in asked["QUERY"][0]
    assert "phot_g_mean_mag < 18.000" in asked["QUERY"][0]
    assert np.isnan(stars(tmp_path / "out")["pmra"][0])


def test_a_local_catalogue_needs_its_stars(tmp_path, capsys):
    assert main(["refcat", "local:VT", str(tmp_path / "out")]) == 1
    assert "name their stars.parquet" in capsys.readouterr().err
    assert main(["refcat", "local:VT", str(tmp_path / "out"), "--stars", "none.parquet"]) == 1
    assert "no file none.parquet" in capsys.readouterr().err


def test_own_stars_become_shards_of_the_reference_band(tmp_path, monkeypatch):
    from alertprod import calibrate

    joined = {
        "source_id": np.array([3, 9]),
        "ra": np.array([10.0, 10.1]),
        "dec": np.array([5.0, 5.1]),
        "ra_error": np.array([4.0, 5.0]),
        "dec_error": np.array([4.0, 5.0]),
        "flux": np.array([1e6, 2e6]),
        "fluxErr": np.array([1e3, 2e3]),
    }
    asked = []
    monkeypatch.setattr(
        calibrate, "build_local_reference", lambda stars, config: asked.append(stars) or joined
    )
    files = [tmp_path / name for name in ("b.parquet", "a.parquet")]
    for path in files:
        path.write_bytes(b"")
    call = ["refcat", "local:VT", str(tmp_path / "out"), "--stars", *map(str, files)]
    assert main(call) == 0
    assert asked == [sorted(map(str, files))]
    got = stars(tmp_path / "out")
    assert got["flux_VT"].tolist() == [1e6, 2e6]
    assert got["fluxErr_VT"].tolist() == [1e3, 2e3]
    assert got["ra_error"].tolist() == [4.0, 5.0]


def test_stars_are_put_beside_those_of_another_catalogue(tmp_path, capsys):
    table().write(tmp_path / "a.csv", format="ascii.csv")
    (tmp_path / "b.csv").write_text("ra,dec,mag\n10.05,5.05,12.0\n")
    first, both = tmp_path / "first", tmp_path / "both"
    assert main(["refcat", str(tmp_path / "a.csv"), str(first), "--order", "4"]) == 0
    command = ["refcat", str(tmp_path / "b.csv"), str(both), "--order", "4", "--flux", "V=mag"]
    assert main([*command, "--beside", str(first)]) == 0
    got = stars(both)
    assert sorted(got["source_id"].tolist()) == [1, 5, 17, 4295806720]
    new = got["source_id"] == 1
    assert got["flux_V"][new][0] == pytest.approx(10 ** (0.4 * (31.4 - 12.0)))
    assert np.isnan(got["flux_G"][new]).all() and np.isnan(got["flux_V"][~new]).all()
    assert main([*command, "--replace", "--beside", str(tmp_path / "none")]) == 1
    assert "has no shards" in capsys.readouterr().err
