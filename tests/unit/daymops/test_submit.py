"""Nothing is sent twice, nothing by accident, and what was sent is written down before it goes."""

import threading
from contextlib import contextmanager
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from alertprod.core import tables
from alertprod.core.errors import BadInput
from alertprod.daymops import ades, ledger
from alertprod.daymops.database import dump, open_database
from alertprod.daymops.store import store_moving_objects
from alertprod.daymops.submit import cut, submit_night, withdraw

ACCEPTED = "[alertprod].  Submission ID is 2026-10-10T00:57:49.887_0000EHer"


@contextmanager
def server(answer=(200, ACCEPTED)):
    """A stand-in for the MPC; yields its address and what it was sent."""
    posted = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
            parts = message_from_bytes(head + body).get_payload()
            posted.append(
                {
                    p.get_param("name", header="Content-Disposition"): p.get_payload(decode=True)
                    for p in parts
                }
            )
            if answer[0] is None:  # hang up without a word
                self.close_connection = True
                return
            self.send_response(answer[0])
            self.end_headers()
            self.wfile.write(answer[1].encode())

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{httpd.server_port}/submit_psv", posted
        finally:
            httpd.shutdown()
            thread.join()


@pytest.fixture
def stored(world):
    store(world)
    return world


def store(world, *nights):
    store_moving_objects(nights, world.database, root=world.root, ledger=world.ledger)


def settings(world, url=""):
    return {"url": url, "ledger": str(world.ledger), "contact": "a@b.org", "batch_rows": 10_000,
            "neo_score": 65.0, "timeout_s": 5.0}  # fmt: skip


def submit(world, night, url="", really=True, **more):
    options = settings(world, url) | more
    return submit_night(world.database, night, root=world.root, settings=options, really=really)


def identifiers(posted):
    texts = [message["source"].decode() for message in posted]
    return [r["obsSubID"] for text in texts for r in ades.read_psv(text)[1]]


def test_without_really_nothing_leaves_and_nothing_is_written(stored, moving_world):
    with server() as (url, posted):
        plan = submit(stored, moving_world.night_of(0), url, really=False)
    assert (plan.n_objects, plan.n_observations, plan.held) == (2, 12, {})
    assert not posted and not stored.ledger.exists()
    assert plan.batches[0].text.startswith("# version=2022")


def test_a_night_is_sent_once(stored, moving_world):
    night = moving_world.night_of(0)
    with server() as (url, posted):
        submit(stored, night, url)
        again = submit(stored, night, url)
    assert len(posted) == 1 and len(identifiers(posted)) == 12
    assert posted[0]["ac2"] == b"a@b.org" and posted[0]["ack"].startswith(b"alertprod 2026")
    assert again.batches == [] and again.held == {"sent before": 12}
    tables = dump(stored.database)
    assert [row[2] for row in tables["submissions"]] == ["accepted"]
    assert tables["receipts"][0][2:4] == (200, "2026-10-10T00:57:49.887_0000EHer")
    assert len(tables["submitted"]) == 12
    state = {row[1]: row[5] for row in tables["objects"]}
    assert state == {"A4u00001": "submitted", "A4u00002": "submitted", "A4u00003": "found"}


def test_a_deleted_database_still_knows_what_was_sent(stored, moving_world):
    night = moving_world.night_of(0)
    with server() as (url, posted):
        submit(stored, night, url)
        before = dump(stored.database)
        stored.database.unlink()
        store(stored)
        assert dump(stored.database) == before
        assert submit(stored, night, url).batches == []
    assert len(posted) == 1


def test_a_night_run_again_sends_only_what_is_new_to_the_mpc(stored, moving_world):
    """Identifiers count a detector's sources; one more source moves them all by one."""
    night = moving_world.night_of(0)
    with server() as (url, posted):
        submit(stored, night, url)
        for k in range(-2, 1):
            stored.shift[k] = 5
        stored.write(0, new=(1, 2, 4))
        stored.write(1, new=(3,), seen={1: (1,)})
        stored.write(2, seen={2: (2,)})
        store(stored, night)
        plan = submit(stored, night, url)
        assert plan.held == {"sent before": 12} and plan.n_observations == 6
        assert len(set(identifiers(posted))) == 18
        # a later night: the source of night 1 and the new object of it
        assert submit(stored, moving_world.night_of(1), url).n_observations == 8


def test_an_identifier_or_a_name_that_now_means_something_else_stays_here(stored, moving_world):
    night = moving_world.night_of(0)
    with server() as (url, _):
        submit(stored, night, url)
        # object 7 takes the name of object 1, object 5 the identifiers of object 2
        stored.source = shifted(stored, {5: -3})
        stored.write(0, new=(5, 7), names={7: "A4u00001"})
        for k in (1, 2):
            stored.write(k)
        store(stored, night)
        plan = submit(stored, night, url)
    assert plan.batches == []
    assert sorted((why.split(" (")[0], n) for why, n in plan.held.items()) == [
        ("identifier sent before for another place", 6),
        ("name sent before for another object", 6),
    ]


def shifted(world, by):
    usual = world.source

    def source(number, night, visit):
        row = usual(number, night, visit)
        return {**row, "diaSourceId": row["diaSourceId"] + by.get(number, 0)}

    return source


def test_a_refused_report_may_go_again(stored, moving_world):
    night = moving_world.night_of(0)
    with server((400, "first line of PSV must be '#version=2017'")) as (url, _):
        with pytest.raises(BadInput, match="first line of PSV"):
            submit(stored, night, url)
    with server() as (url, posted):
        submit(stored, night, url)
    assert len(identifiers(posted)) == 12
    states = sorted(row[2] for row in dump(stored.database)["submissions"])
    assert states == ["accepted", "refused"]


@pytest.mark.parametrize("answer", [(None, ""), (503, "busy")])
def test_an_answer_that_never_comes_counts_as_sent_until_taken_back(stored, moving_world, answer):
    night = moving_world.night_of(0)
    with server(answer) as (url, posted):
        with pytest.raises(BadInput, match="alertprod mpc withdraw 2026") as caught:
            submit(stored, night, url, batch_rows=6)
    assert len(posted) == 1  # the second batch stayed here
    with server() as (url, posted):
        assert submit(stored, night, url).held == {"sent before": 6}
        assert len(identifiers(posted)) == 6
        name = str(caught.value).split()[0]
        withdraw(stored.database, name, stored.ledger)
        submit(stored, night, url)
        assert len(set(identifiers(posted))) == 12
    with pytest.raises(BadInput, match="is withdrawn"):
        withdraw(stored.database, name, stored.ledger)
    with pytest.raises(BadInput, match="has no submission"):
        withdraw(stored.database, "20261009_0", stored.ledger)


def test_a_server_that_cannot_be_reached_has_got_nothing(stored, moving_world):
    with server() as (url, _):
        pass  # and is gone
    night = moving_world.night_of(0)
    with pytest.raises(BadInput, match="cannot be reached"):
        submit(stored, night, url)
    assert submit(stored, night, really=False).n_observations == 12


def test_a_designation_goes_with_the_next_report(stored, moving_world):
    rows = [{"trkSub": "A4u00001", "provID": "2026 TA1"}, {"trkSub": "A4u00002", "permID": "9"}]
    ledger.write_replies(stored.ledger, rows, "2026-10-10")
    store(stored)
    with server() as (url, posted):
        submit(stored, moving_world.night_of(1), url)
    records = ades.read_psv(posted[0]["source"].decode())[1]
    names = {(r["trkSub"], r.get("provID"), r.get("permID")) for r in records}
    assert names == {("A4u00001", "2026 TA1", None), ("A4u00003", None, None)}


def test_likely_near_earth_objects_go_first_and_by_themselves(stored, moving_world):
    """The MPC puts on its confirmation page what is announced as a candidate, batch by batch."""
    night = moving_world.night_of(1)
    path = stored.root / str(night) / "orbits.parquet"
    table = tables.read_table(path)
    table["neoScore"][table["designation"] == "A4u00003"] = 92.0
    tables.write_table(path, table, "orbits")
    store(stored, night)
    with server() as (url, posted):
        submit(stored, night, url)
    labels = [message["ack"].decode().split("alertprod")[0].strip() for message in posted]
    assert labels == ["NEO CANDIDATE", ""]
    objects = [
        {r["trkSub"] for r in ades.read_psv(message["source"].decode())[1]} for message in posted
    ]
    assert objects == [{"A4u00003"}, {"A4u00001"}]
    # once it has a designation it is no candidate any more
    rows = [{"trkSub": "A4u00003", "provID": "2026 TA1"}]
    ledger.write_replies(stored.ledger, rows, "2026-10-11")
    stored.write(2, seen={3: (2,)})
    store(stored, moving_world.night_of(2))
    with server() as (url, posted):
        submit(stored, moving_world.night_of(2), url)
    assert posted[0]["ack"].startswith(b"alertprod") and len(posted) == 1


def test_objects_are_not_split_between_batches():
    rows = [{"trkSub": name} for name in "aaabbbbcc"]
    assert [[r["trkSub"] for r in b] for b in cut(rows, 5)] == [["a"] * 3, ["b"] * 4, ["c"] * 2]
    assert [len(b) for b in cut(rows, 2)] == [3, 4, 2]
    assert cut([], 5) == []


def test_what_cannot_be_sent_is_one_sentence(stored, moving_world):
    with pytest.raises(BadInput, match=r"mpc\.url is empty"):
        submit(stored, moving_world.night_of(0))
    with pytest.raises(BadInput, match="has no report"):
        submit(stored, 20200101, really=False)
    stored.write(2, seen={1: (2,)})
    with pytest.raises(BadInput, match="does not hold night"):
        submit(stored, moving_world.night_of(2), really=False)


def test_nobody_reports_under_the_name_of_the_default_configuration(stored, moving_world):
    night = moving_world.night_of(0)
    path = stored.root / str(night) / "discoveries.psv"
    path.write_text(path.read_text().replace("T. Tester", "A. Observer"))
    with server() as (url, posted), pytest.raises(BadInput, match=r"signed A\. Observer"):
        submit(stored, night, url)
    assert not posted and not stored.ledger.exists()


def test_sending_leaves_the_time_by_which_the_workflow_goes(stored, moving_world):
    before = stored.database.stat().st_mtime_ns
    with server() as (url, _):
        submit(stored, moving_world.night_of(0), url)
    assert stored.database.stat().st_mtime_ns == before


def test_a_damaged_ledger_stops_everything(stored, moving_world):
    with server() as (url, _):
        submit(stored, moving_world.night_of(0), url)
    path = next((stored.ledger / "sent").glob("*.json"))
    stored.database.unlink()
    path.write_text("{")
    with pytest.raises(BadInput, match="is damaged"):
        store(stored)
    path.unlink()
    with pytest.raises(BadInput, match="is not in the ledger"):
        store(stored)
    with pytest.raises(BadInput), open_database(stored.database, write=False):
        pass
