"""The fold on PostgreSQL: the same rows as on SQLite, and the same promises."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import fold_world
import numpy as np
import pytest

from alertprod.associate import sync_apdb
from alertprod.core.apdb import fold
from alertprod.core.apdb.connection import Database
from alertprod.core.apdb.create import open_database
from alertprod.core.errors import BadInput
from alertprod.core.tables import read_table

pytestmark = pytest.mark.integration


def binaries() -> Path | None:
    """Return the directory of PostgreSQL's programs, the newest version."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if found:
        return found[-1].parent
    other = shutil.which("initdb")
    return Path(other).parent if other else None


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Start a PostgreSQL server of our own; return the address of its socket."""
    programs = binaries()
    if programs is None:
        why = "PostgreSQL is not installed (no initdb)"
        if "postgres" in os.environ.get("ALERTPROD_REQUIRE", "").split(","):
            pytest.fail(why)
        pytest.skip(why)
    # The path of a socket may have no more than 107 characters, and root may not run the server.
    base = Path(
        subprocess.check_output(["mktemp", "-d", "/tmp/alertprod-pg-XXXXXX"], text=True).strip()
    )
    user = {}
    if os.geteuid() == 0:
        shutil.chown(base, "postgres", "postgres")
        user = {"user": "postgres", "group": "postgres"}
    data = base / "data"

    def run(*command):
        subprocess.run(command, check=True, cwd=base, stdout=subprocess.DEVNULL, **user)

    run(str(programs / "initdb"), "-D", str(data), "-U", "alertprod", "-A", "trust", "-N")
    options = f"-k {base} -c listen_addresses='' -c fsync=off"
    log = str(base / "log")
    run(str(programs / "pg_ctl"), "-D", str(data), "-w", "-o", options, "-l", log, "start")
    yield base
    run(str(programs / "pg_ctl"), "-D", str(data), "-m", "immediate", "stop")
    shutil.rmtree(base)


@pytest.fixture
def address(server, request):
    """Make an empty database and return its URL."""
    import psycopg

    name = f"t{abs(hash(request.node.name)) % 10**9}"
    with psycopg.connect(
        host=str(server), user="alertprod", dbname="postgres", autocommit=True
    ) as c:
        c.execute(f"DROP DATABASE IF EXISTS {name}")
        c.execute(f"CREATE DATABASE {name}")
    return f"postgresql://alertprod@/{name}?host={server}"


def comparable(world) -> dict:
    """Return the rows of a database with numbers as the columns mean them."""
    result = {}
    with Database(world.database) as database:
        for table in sorted(database.tables() - {"metadata"}):
            kinds = [kind for kind, _ in database.columns(table).values()]
            rows = database.execute(f'SELECT * FROM "{table}"')
            result[table] = sorted(
                (tuple(cell(*entry) for entry in zip(row, kinds, strict=True)) for row in rows),
                key=repr,
            )
    return result


def cell(value, kind):
    """PostgreSQL shows a REAL with as few digits as will do, SQLite with all those of a double."""
    if value is None or kind != "f4":
        return int(value) if isinstance(value, bool) else value
    return float(np.float32(value))


@pytest.fixture
def pair(tmp_path, address):
    """The same survey on both kinds of database, in results of their own."""
    worlds = (fold_world.World(tmp_path / "lite"), fold_world.World(tmp_path / "pg", address))
    for world in worlds:
        for index in range(4):
            world.observe(index)
    return worlds


def test_both_databases_hold_the_same_rows_and_give_the_same_files(pair):
    for world in pair:
        world.run(range(3))
    lite, postgres = (comparable(world) for world in pair)
    assert {table: len(rows) for table, rows in lite.items()}["DiaObject"] == 27
    for table in lite:
        assert postgres[table] == lite[table], table
    for index in range(3):
        for name in ("association.parquet", "forced.parquet", "alerts/000.avro"):
            one, two = (world.path(index, name).read_bytes() for world in pair)
            assert one == two, (index, name)


def test_sources_move_to_asteroids_alike(pair):
    for world in pair:
        world.run(range(2), images={})
        before = fold_world.dump(world.database)
        seen = read_table(world.path(1, "association.parquet"))
        moved = world.reassign(1, dict.fromkeys(seen["diaSourceId"][:3].tolist(), 4711))
        assert len(moved["diaSourceId"]) == 3
        world.associate(2, world.path(1, "reassigned.parquet"))
        world.package(2, {})
    lite, postgres = (comparable(world) for world in pair)
    for table in lite:
        assert postgres[table] == lite[table], table
    for index, name in ((1, "reassigned.parquet"), (2, "association.parquet")):
        one, two = (world.path(index, name).read_bytes() for world in pair)
        assert one == two, name
    with Database(pair[1].database) as database:  # and are taken back alike
        database.begin()
        fold.undo_after(database, 4, fold.Settings(pair[1].root))
        database.commit()
    assert fold_world.dump(pair[1].database) == before


def test_roll_back_rerun_and_replay(pair):
    _, world = pair
    world.run(range(4), images={})
    rows = fold_world.dump(world.database)
    world.observe(1, slice(0, 6))
    world.run(range(4), images={})
    assert fold_world.dump(world.database) != rows
    world.observe(1)
    world.run(range(4), images={})
    assert fold_world.dump(world.database) == rows
    with Database(world.database) as database:
        for table in sorted(database.tables()):
            database.execute(f'DROP TABLE "{table}"')
    last = [world.path(3, "forced.parquet")]
    sync_apdb(last, world.database, root=str(world.root), instrument="simcam")
    assert fold_world.dump(world.database) == rows


def test_a_killed_job_leaves_the_state_before(pair, monkeypatch):
    _, world = pair
    world.run(range(2), images={})
    before = fold_world.dump(world.database)
    pid = os.fork()
    if pid == 0:
        monkeypatch.setattr(Database, "commit", lambda _: os.kill(os.getpid(), signal.SIGKILL))
        try:
            world.associate(2, 1)
        finally:
            os._exit(0)
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL
    assert fold_world.dump(world.database) == before
    world.associate(2, 1)
    assert len(fold_world.dump(world.database)["DiaSource"]) == 27


def test_one_fold_at_a_time(pair):
    _, world = pair
    world.run(range(1), images={})
    with Database(world.database) as holder, Database(world.database, timeout=0.2) as waiting:
        holder.begin()
        with pytest.raises(BadInput, match="another process has held"):
            waiting.begin()


def test_a_foreign_database_is_refused(pair, address):
    _, world = pair
    world.run(range(1), images={})
    with pytest.raises(BadInput, match="belongs to the instrument 'simcam'"):
        open_database(address, "othercam")
    with pytest.raises(BadInput, match="cannot be reached"):
        Database(address.replace("host=", "host=/nowhere"))
