"""``alertprod objects`` and ``alertprod mpc`` on nights made of tables."""

import json

import moving_world
import pytest
import yaml

from alertprod.cli import main
from alertprod.daymops.store import store_moving_objects


@pytest.fixture
def world(tmp_path):
    """Two nights, two objects, and a configuration that points at them."""
    world = moving_world.World(tmp_path)
    world.write(0, new=(1,))
    world.write(1, new=(3,), seen={1: (1,)})
    store_moving_objects([], world.database, root=world.root, ledger=world.ledger)
    config = {"pathvars": {"results": str(world.root)}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    return world


def call(world, *arguments):
    return main([*arguments, "--configfile", str(world.root / "config.yaml")])


def test_a_list_has_a_line_per_object(world, capsys):
    assert call(world, "objects", "list") == 0
    text = capsys.readouterr().out
    assert "A4u00001" in text and "A4u00003" in text and "2 of 2 objects" in text
    assert call(world, "objects", "list", "--night", "20261010", "--class", "MBA") == 0
    text = capsys.readouterr().out
    assert "A4u00001" not in text and "1 of 1 objects" in text


def test_show_tells_elements_history_and_observations(world, capsys):
    assert call(world, "objects", "show", "A4u00001") == 0
    text = capsys.readouterr().out
    assert "Orbit of night 20261010 (MBA, good)" in text
    assert "2.100000 au" in text and "8 observations" in text
    history = text[text.index("History") :].splitlines()
    assert [line.split()[:2] for line in history[2:4]] == [["20261009", "6"], ["20261010", "8"]]
    assert call(world, "objects", "show", "A4u00003") == 0  # without magnitudes
    assert "        - " in capsys.readouterr().out


def test_observations_come_in_eighty_columns_for_other_programs(world, capsys):
    assert call(world, "objects", "show", "A4u00003", "--mpc80") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6 and all(len(line) == 80 for line in lines)
    # 2026 October 8, 2.4 h TAI, 37 s earlier in UTC
    assert lines[0].startswith("     4u00003  C2026 10 08.099572")


def test_an_unknown_name_is_one_sentence_with_a_guess(world, capsys):
    assert call(world, "objects", "show", "A4u0000") == 1
    error = capsys.readouterr().err
    assert "no object is called 'A4u0000'. Do you mean A4u00001, A4u00003?" in error
    assert call(world, "objects", "show", "2031 Q'*\"") == 1
    assert "alertprod objects list" in capsys.readouterr().err


def test_submit_is_dry_and_prints_what_would_go(world, capsys):
    assert call(world, "mpc", "submit", "20261010") == 0
    told = capsys.readouterr()
    assert told.out.startswith("# version=2022") and told.out.count("A4u00003") == 6
    assert "Would be sent (with --really): 8 observations of 2 objects in 1 batches" in told.err
    assert not world.ledger.exists()
    assert call(world, "mpc", "submit", "20261010", "--really") == 1
    assert "mpc.url is empty" in capsys.readouterr().err


def test_replies_reach_the_objects_and_the_next_report(world, capsys):
    path = world.root / "replies.json"
    path.write_text(json.dumps([{"trkSub": "A4u00001", "provID": "K26T01A"}]))
    assert call(world, "mpc", "replies", str(path), "--date", "2026-10-10") == 0
    assert "1 designations of the MPC in the database, 1 of them new" in capsys.readouterr().out
    assert call(world, "mpc", "replies", str(path), "--date", "2026-10-10") == 0
    assert "imported before" in capsys.readouterr().out
    assert call(world, "objects", "show", "2026 TA1") == 0
    assert "2026 TA1  designated, found in night 20261009" in capsys.readouterr().out
    assert call(world, "mpc", "submit", "20261010") == 0
    assert capsys.readouterr().out.count("2026 TA1|A4u00001") == 2
    assert call(world, "mpc", "status") == 0
    assert "0 submissions, 1 files of replies, 1 designations" in capsys.readouterr().out


def test_what_is_not_there_is_one_sentence(world, capsys):
    assert call(world, "mpc", "withdraw", "20261010_x") == 1
    assert "has no submission" in capsys.readouterr().err
    world.database.unlink()
    assert call(world, "objects", "list") == 1
    assert "there is no moving-object database" in capsys.readouterr().err
    assert not world.database.exists()
