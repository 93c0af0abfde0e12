"""``alertprod apdb`` and ``alertprod show`` on the tiny survey."""

import fold_world
import pytest
import yaml

from alertprod.cli import main
from alertprod.commands import show
from alertprod.core.tables import read_table


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Three visits with alerts, and a configuration that points at them."""
    world = fold_world.World(tmp_path_factory.mktemp("results"))
    for index in range(3):
        world.observe(index)
    world.run(range(3))
    config = {"pathvars": {"results": str(world.root)}, "database": world.database}
    (world.root / "config.yaml").write_text(yaml.safe_dump(config))
    return world


def call(world, *arguments):
    return main([*arguments, "--configfile", str(world.root / "config.yaml")])


def test_status_says_where_the_database_stands(world, capsys):
    assert call(world, "apdb", "status") == 0
    text = capsys.readouterr().out
    assert "27 rows" in text and "6 of 3 visits" in text
    assert f"agree (last: package {fold_world.visit_number(2)})" in text


def test_rollback_says_what_would_go_does_it_and_sync_undoes_it(world, capsys):
    rows = fold_world.dump(world.database)
    visit = str(fold_world.visit_number(1))
    assert call(world, "apdb", "rollback", visit, "--dry-run") == 0
    assert "4 states of 2 visits would go" in capsys.readouterr().out
    assert fold_world.dump(world.database) == rows
    assert call(world, "apdb", "rollback", visit) == 0
    assert len(fold_world.dump(world.database)["fold"]) == 2
    capsys.readouterr()
    assert call(world, "apdb", "status") == 1
    assert "`alertprod apdb sync` brings it there" in capsys.readouterr().out
    assert call(world, "apdb", "sync") == 0
    assert fold_world.dump(world.database) == rows


def test_rollback_of_an_unknown_visit_is_one_sentence(world, capsys):
    assert call(world, "apdb", "rollback", "2025010100001") == 1
    assert "is not in the database" in capsys.readouterr().err


def test_show_prints_an_alert_and_draws_it(world, capsys, tmp_path):
    table = read_table(world.path(2, "association.parquet"))
    picture = tmp_path / "alert.png"
    identifier = str(table["diaSourceId"][4])
    assert call(world, "show", identifier, "--png", str(picture)) == 0
    text = capsys.readouterr().out
    assert identifier in text and "with 3 detections" in text
    assert "science" in text and "template" in text
    assert "6 points" in text
    lines = text.splitlines()
    start = next(k for k, line in enumerate(lines) if "template" in line and "science" in line[:30])
    stamp = [line[2:32] for line in lines[start + 1 : start + 16]]
    brightest = [(r, line.index("@")) for r, line in enumerate(stamp) if "@" in line]
    assert brightest and all(abs(r - 7) <= 2 and abs(c - 15) <= 3 for r, c in brightest)
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_show_of_an_alert_that_is_not_there_is_one_sentence(world, capsys):
    table = read_table(world.path(2, "association.parquet"))
    assert call(world, "show", str(table["diaSourceId"][0] + 100)) == 1
    assert "has no alert" in capsys.readouterr().err
    assert call(world, "show", "5") == 1
    assert "is not there" in capsys.readouterr().err


def test_a_light_curve_is_in_time_order_with_forced_points_marked():
    def row(time, flux):
        return {"midpointMjdTai": time, "psfFlux": flux, "psfFluxErr": 1.0, "band": "r"}

    alert = {
        "diaSource": row(3.0, 9.0),
        "prvDiaSources": [row(1.0, 5.0)],
        "prvDiaForcedSources": [row(2.0, -1.0), row(3.0, None)],
    }
    curve = show.light_curve(alert)
    assert curve["time"].tolist() == [1.0, 2.0, 3.0]
    assert curve["forced"].tolist() == [False, True, False]
    lines = show.curve_as_text(curve)
    assert lines[1].rstrip().endswith("r") and "." in lines[-2]
