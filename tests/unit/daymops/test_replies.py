"""What the MPC answers reaches the objects that were meant, also after a night was run again."""

import json
import sqlite3

import pytest

from alertprod.core.errors import BadInput
from alertprod.daymops import ledger
from alertprod.daymops.replies import read_replies
from alertprod.daymops.store import store_moving_objects


def written(tmp_path, content, name="replies.json"):
    path = tmp_path / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def names(world):
    connection = sqlite3.connect(world.database)
    rows = connection.execute(
        "SELECT trkSub, d.designation, d.kind, d.source, d.date FROM designations AS d "
        "JOIN objects USING (ssObjectId) WHERE d.source = 'MPC' ORDER BY 1, 5, 2"
    ).fetchall()
    best = dict(connection.execute("SELECT trkSub, designation FROM objects").fetchall())
    status = dict(connection.execute("SELECT trkSub, status FROM objects").fetchall())
    connection.close()
    return rows, best, status


def store(world):
    nights = [int(p.name) for p in world.root.glob("2" + "[0-9]" * 7)]
    store_moving_objects(nights, world.database, root=world.root, ledger=world.ledger)


def test_three_forms_say_the_same(tmp_path):
    csv = written(
        tmp_path,
        "trkSub,provID,obsSubID,status\nA4u00001,2026 TA1,,\nA4u00002,K26T01B,,\n,,77,published\n",
        "replies.csv",
    )
    rows = [
        {"trkSub": "A4u00001", "designation": "2026 TA1"},
        {"trkSub": "A4u00002", "provID": "2026 TB1"},
        {"obsSubID": 77, "status": "published"},
    ]
    plain = written(tmp_path, {"date": "2026-10-12", "replies": rows})
    assert read_replies(csv)[0] == read_replies(plain)[0]
    assert read_replies(plain)[1] == "2026-10-12"
    wamo = {"found": [{"A4u00001 X05": [
        {"obsid": "L4eBVG000000CfiO010000A9a", "obssubid": "77", "iau_desig": "K26T01A",
         "status": "P", "status_decoded": "published"}]}], "not_found": []}  # fmt: skip
    assert read_replies(written(tmp_path, wamo, "wamo.json"))[0] == [
        {"trkSub": "A4u00001", "obsSubID": 77, "obsID": "L4eBVG000000CfiO010000A9a",
         "provID": "2026 TA1", "status": "published"}
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "key", "told"),
    [
        ("(3666)", "permID", "3666"), ("~0000", "permID", "620000"),
        ("K19F00B", "provID", "2019 FB"),
        ("2015 AB281", "provID", "2015 AB281"), ("_QC0aEM", "provID", None),
        ("C/2026 A1", "provID", "C/2026 A1"), ("3I", "permID", "3I"),
    ],
)  # fmt: skip
def test_designations_packed_or_not(tmp_path, given, key, told):
    rows, _ = read_replies(written(tmp_path, [{"trkSub": "A", "designation": given}]))
    assert key in rows[0] and (told is None or rows[0][key] == told)


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("[]", "no replies"), ("{", "JSON"), ('{"a": 1}', "no known form"), ("[5]", "row 1"),
        ('[{"trkSub": "A"}, {"provID": "2026 TA1"}]', "row 2 names no trkSub"),
        ('[{"trkSub": "A", "provID": "Ceres"}]', "'Ceres' is no designation"),
        ('[{"obsSubID": "x7", "status": "P"}]', "not one of our numbers"),
        ('[{"trkSub": "A", "permID": "5", "date": "tomorrow"}]', "not YYYY-MM-DD"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_named_by_its_row(tmp_path, content, word):
    with pytest.raises(BadInput, match=word):
        read_replies(written(tmp_path, content))
    with pytest.raises(BadInput, match="there is no file"):
        read_replies(tmp_path / "absent.json")


def test_designations_reach_their_objects(world, moving_world):
    night, source = moving_world.night_of(1), world.source(2, 0, 0)["diaSourceId"]
    rows = [
        {"trkSub": "A4u00001", "provID": "2026 TA1"},
        {"obsSubID": source, "provID": "2015 AB281", "obsID": "L4eBVG000000CfiO010000A9a"},
        {"trkSub": "Z9999999", "provID": "2026 TZ9"},  # not ours
    ]
    assert ledger.write_replies(world.ledger, rows, "2026-10-11")[1]
    assert not ledger.write_replies(world.ledger, rows, "2026-10-11")[1]
    later = [{"trkSub": "A4u00001", "permID": "812345", "date": "2027-01-02"}]
    ledger.write_replies(world.ledger, later, "2027-01-05")
    store(world)
    told, best, status = names(world)
    assert told == [
        ("A4u00001", "2026 TA1", "provisional", "MPC", "2026-10-11"),
        ("A4u00001", "812345", "permanent", "MPC", "2027-01-02"),
        ("A4u00002", "2015 AB281", "provisional", "MPC", "2026-10-11"),
    ]
    assert best == {"A4u00001": "812345", "A4u00002": "2015 AB281", "A4u00003": "A4u00003"}
    assert status == {"A4u00001": "numbered", "A4u00002": "designated", "A4u00003": "found"}
    assert night  # and the same again
    store(world)
    assert names(world)[0] == told


def test_two_of_ours_that_are_one_object_are_seen_as_such(world):
    rows = [{"trkSub": f"A4u0000{k}", "provID": "2026 TA1"} for k in (1, 3)]
    ledger.write_replies(world.ledger, rows, "2026-10-11")
    store(world)
    connection = sqlite3.connect(world.database)
    found = connection.execute("SELECT designation, nObjects FROM identities").fetchall()
    connection.close()
    assert found == [("2026 TA1", 2)]


def test_a_reply_is_about_the_sources_that_were_sent_under_the_name(world, moving_world):
    """Object 1 was sent as A4u00001; run again, that name falls to object 5."""
    store(world)
    text = (world.root / str(moving_world.night_of(0)) / "discoveries.psv").read_text()
    facts = {"night": moving_world.night_of(0), "url": "", "madeUtc": "2026-10-09T09:00:00.000Z"}
    ledger.write_submission(world.ledger, facts, text)
    reply = [{"trkSub": "A4u00001", "provID": "2026 TA1"}]
    ledger.write_replies(world.ledger, reply, "2026-10-11")
    world.write(0, new=(5, 1), names={5: "A4u00001", 1: "A4u00019"})
    for k in (1, 2):
        world.write(k)
    store(world)
    told, best, _ = names(world)
    assert [row[:2] for row in told] == [("A4u00019", "2026 TA1")]
    assert best["A4u00001"] == "A4u00001"
