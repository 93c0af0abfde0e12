"""The database as a materialised view of the fold's files."""

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from alertprod.associate import sync_apdb
from alertprod.core.apdb import fold, history
from alertprod.core.apdb.connection import Database
from alertprod.core.errors import BadInput
from alertprod.core.tables import read_metadata, read_table, take


def products(world, visits):
    names = ("association.parquet", "forced.parquet")
    return {(i, name): world.path(i, name).read_bytes() for i in visits for name in names}


def in_child(action):
    """Run something in a forked process; return its number."""
    pid = os.fork()
    if pid == 0:
        try:
            action()
        finally:
            os._exit(0)
    return pid


def test_a_rerun_gives_the_same_rows_and_the_same_bytes(night, survey):
    rows, files = survey.dump(night.database), products(night, range(5))
    night.associate(2, 1)
    night.package(2, {})
    assert survey.dump(night.database) == rows
    assert products(night, range(5)) == files


def test_undoing_states_restores_every_table_as_it_was(world, survey):
    for index in range(5):
        world.observe(index)
    world.run(range(3), images={})
    before = survey.dump(world.database)
    previous = 2
    for index in (3, 4):
        world.associate(index, previous)
        world.package(index, {})
        previous = index
    assert survey.dump(world.database) != before
    with Database(world.database) as database:
        database.begin()
        undone = fold.undo_after(database, 6, fold.Settings(world.root))
        database.commit()
    assert [state.visit for state in undone] == [survey.visit_number(i) for i in (3, 3, 4, 4)]
    assert survey.dump(world.database) == before


def test_a_changed_early_visit_redoes_what_follows_and_changing_it_back_restores(
    night, survey, blank
):
    rows, files = survey.dump(night.database), products(night, range(5))
    night.observe(1, slice(0, 7), shift=0.3)
    night.run(range(5), images={})
    changed = survey.dump(night.database)
    assert len(changed["DiaSource"]) == len(rows["DiaSource"]) - 2
    fresh = survey.World(night.root, str(night.root / "db" / "fresh.sqlite"), blank)
    fresh.run(range(5), images={})
    assert survey.dump(fresh.database) == changed
    night.observe(1)
    night.run(range(5), images={})
    assert survey.dump(night.database) == rows
    assert products(night, range(5)) == files


def test_a_visit_taken_out_of_the_middle_leaves_no_trace(night, survey, blank):
    rows = survey.dump(night.database)
    for index in (3, 4):
        night.associate(index, 1 if index == 3 else 3)
        night.package(index, {})
    fresh = survey.World(night.root, str(night.root / "db" / "fresh.sqlite"), blank)
    fresh.run((0, 1, 3, 4), images={})
    assert survey.dump(night.database) == survey.dump(fresh.database)
    removed = survey.visit_number(2)
    assert all(row[1] != removed for row in survey.dump(night.database)["DiaSource"])
    # Added again: visit 2 itself is not run, it comes from its file.
    night.associate(3, 2)
    night.package(3, {})
    night.associate(4, 3)
    night.package(4, {})
    assert survey.dump(night.database) == rows


def test_a_deleted_database_comes_back_from_its_files(night, survey):
    rows = survey.dump(night.database)
    os.unlink(night.database)
    last = night.path(4, "forced.parquet")
    state = sync_apdb(
        [night.path(0, "forced.parquet"), last],
        night.database,
        root=str(night.root),
        instrument="simcam",
    )
    assert state.visit == survey.visit_number(4)
    assert survey.dump(night.database) == rows


def test_following_an_earlier_night_takes_no_later_one_back(night, survey):
    rows = survey.dump(night.database)
    first = [night.path(1, "forced.parquet")]
    sync_apdb(first, night.database, root=str(night.root), instrument="simcam")
    assert survey.dump(night.database) == rows


def test_a_new_visit_replays_what_a_deleted_database_has_lost(night, survey):
    night.observe(5)
    night.associate(5, 4)
    rows = survey.dump(night.database)
    os.unlink(night.database)
    night.associate(5, 4)
    assert survey.dump(night.database) == rows


def test_a_restored_older_database_catches_up(world, survey):
    for index in range(4):
        world.observe(index)
    world.run(range(2), images={})
    file = Path(world.database)
    backup = file.read_bytes()
    world.run(range(4), images={})
    rows = survey.dump(world.database)
    file.write_bytes(backup)
    world.package(3, {})
    assert survey.dump(world.database) == rows


def test_sigkill_inside_the_transaction_leaves_the_state_before(night, survey, monkeypatch):
    night.observe(5)
    before = survey.dump(night.database)

    def killed(_database):
        os.kill(os.getpid(), signal.SIGKILL)

    def action():
        monkeypatch.setattr(Database, "commit", killed)
        night.associate(5, 4)

    _, status = os.waitpid(in_child(action), 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    assert survey.dump(night.database) == before
    night.associate(5, 4)
    assert len(survey.dump(night.database)["DiaSource"]) == len(before["DiaSource"]) + 9


def test_an_orphan_that_still_holds_the_lock_does_no_harm(night, survey, blank, monkeypatch):
    night.observe(5)
    commit, flag = Database.commit, night.root / "inside"

    def slow(database):
        flag.touch()
        time.sleep(0.7)
        commit(database)

    def action():
        monkeypatch.setattr(Database, "commit", slow)
        night.associate(5, 4)

    pid = in_child(action)
    while not flag.exists():
        time.sleep(0.01)
    started = time.monotonic()
    table = night.associate(5, 4)
    assert time.monotonic() - started > 0.3  # it waited for the orphan
    os.waitpid(pid, 0)
    rows = survey.dump(night.database)
    assert len(table["diaSourceId"]) == 9
    assert len([row for row in rows["DiaSource"] if row[1] == survey.visit_number(5)]) == 9
    fresh = survey.World(night.root, str(night.root / "db" / "fresh.sqlite"), blank)
    fresh.run(range(5), images={})
    fresh.associate(5, 4)
    assert survey.dump(fresh.database) == rows


def test_a_lock_that_does_not_end_is_reported_in_one_sentence(night):
    with Database(night.database) as holder, Database(night.database, timeout=0.05) as waiting:
        holder.begin()
        with pytest.raises(BadInput, match="another process has held"):
            waiting.begin()


def test_visits_that_nobody_redoes_are_not_lost_without_leave(night, survey):
    rows = survey.dump(night.database)
    night.planned = [survey.visit_number(i) for i in range(3)]
    night.observe(2, slice(0, 5))
    with pytest.raises(BadInput, match=r"2 visits from (.|\n)*allow_rollback"):
        night.associate(2, 1)
    assert survey.dump(night.database) == rows
    night.options["associate"]["allow_rollback"] = True
    night.associate(2, 1)
    assert len(survey.dump(night.database)["fold"]) == 5


def test_allow_rollback_does_not_change_tokens():
    inputs = ("", "associate", 1, {"a": "b"}, "code")
    yes, no = ({"radius": 1.0, "allow_rollback": leave} for leave in (True, False))
    assert fold.make_token(*inputs, yes) == fold.make_token(*inputs, no)
    assert fold.make_token(*inputs, yes) != fold.make_token(*inputs, {"radius": 2.0})


def test_a_missing_product_of_the_chain_is_named(night):
    os.unlink(night.database)
    night.path(1, "association.parquet").unlink()
    night.observe(5)
    with pytest.raises(BadInput, match=r"100101/association\.parquet, which is missing"):
        night.associate(5, 4)


def test_a_product_made_anew_in_the_middle_of_the_chain_is_noticed(night, survey):
    night.observe(1, slice(0, 5))
    night.associate(1, 0)
    night.package(1, {})
    os.unlink(night.database)
    night.observe(5)
    with pytest.raises(BadInput, match="made anew"):
        night.associate(5, 4)


def test_midpoints_must_rise_along_the_sheet(night, survey, monkeypatch):
    night.observe(5)
    monkeypatch.setattr(
        night, "visit", lambda index: {**type(night).visit(night, index), "midpoint_mjd_tai": 60000}
    )
    with pytest.raises(BadInput, match="does not come after"):
        night.associate(5, 4)


def test_all_detectors_rejected_is_a_state_without_rows(world, survey):
    world.observe(0)
    world.reject(1, "12 stars, fewer than 20")
    world.observe(2)
    world.run(range(3), images={})
    rows = survey.dump(world.database)
    assert len(read_table(world.path(1, "association.parquet"))["diaSourceId"]) == 0
    assert [r[4] for r in rows["fold_ledger"] if r[3] == "REJECTED"] == ["12 stars, fewer than 20"]
    assert len(rows["fold"]) == 6
    facts = read_metadata(world.path(1, "association.parquet"))
    assert facts["status"] == "OK" and facts["ledger"][0]["status"] == "REJECTED"
    assert len(rows["DiaObject"]) == 18  # visit 2 found the objects of visit 0 again
    assert len({row[0] for row in rows["DiaObject"]}) == 9


def test_a_later_change_in_place_is_invisible_as_of_an_earlier_visit(night, survey):
    names = ["diaSourceId", "diaObjectId", "ssObjectId", "midpointMjdTai", "timeWithdrawnMjdTai"]
    rows = survey.dump(night.database)
    earlier = read_table(night.path(2, "association.parquet"))
    owner = int(earlier["diaObjectId"][0])
    moved = int(earlier["diaSourceId"][0])
    with Database(night.database) as database:
        end = survey.midpoint(4) + 0.2
        state = fold.State("reassign", "x", "", "daymops", 0, end, end)
        database.begin()
        fold.record(database, 11, state)
        fold.amend(database, "reassign", "DiaSource", "diaObjectId", {(moved,): None})
        fold.amend(database, "reassign", "DiaSource", "ssObjectId", {(moved,): 77})
        database.commit()
        moments = [
            history.Moment(seq, end + 1, when, inclusive=True)
            for seq, when in ((10, survey.midpoint(4)), (11, end))
        ]
        before, after = (
            history.sources_of(database, moment, [owner], names, 12) for moment in moments
        )
        assert len(before["diaSourceId"]) == 5 and len(after["diaSourceId"]) == 4
        assert moved in before["diaSourceId"] and moved not in after["diaSourceId"]
        assert not before["ssObjectId"].any()
        database.begin()
        fold.undo(database, state)
        database.commit()
    assert survey.dump(night.database) == rows


def test_wall_clock_times_do_not_enter_tokens_and_survive_a_rerun(world, survey, monkeypatch):
    world.observe(0)
    context = type(world).context
    for now in (61001.5, 61002.5):
        monkeypatch.setattr(
            world, "context", lambda *a, now=now: {**context(world, *a), "now": now}
        )
        table = world.associate(0, None)
        assert np.all(table["timeProcessedMjdTai"] == 61001.5)
        assert np.all(table["diaObject_validityStartMjdTai"] == 61001.5)


def test_history_ends_after_the_configured_months(night, survey):
    names = ["diaSourceId", "diaObjectId", "midpointMjdTai", "timeWithdrawnMjdTai"]
    owner = read_table(night.path(0, "association.parquet"))["diaObjectId"][:1]
    with Database(night.database) as database:
        moment = history.Moment(10, survey.midpoint(4), survey.midpoint(4))
        month = 2.5 / 24.0 / history.DAYS_PER_MONTH
        found = history.sources_of(database, moment, owner, names, month)
    assert np.allclose(found["midpointMjdTai"], [survey.midpoint(i) for i in (2, 3)])
    assert len(take(found, slice(0))["diaSourceId"]) == 0
