"""``alertprod objects``: what the moving-object database says of the objects we found."""

from __future__ import annotations

from alertprod.commands import settings
from alertprod.core.errors import BadInput

ORDERS = {"night": "discoveryNight, trkSub", "H": "H, trkSub", "class": "orbitClass, trkSub"}
ELEMENTS = (
    ("q", "au", 6), ("e", "", 6), ("incl", "deg", 4), ("node", "deg", 4), ("argperi", "deg", 4),
    ("periTimeMjdTdb", "MJD TDB", 3),
)  # fmt: skip


def add_parser(sub) -> None:
    """Declare the command."""
    parser = sub.add_parser(
        "objects",
        help="list the solar-system objects that were found, or show one",
        description="Reads <results>/db/moving_objects.sqlite, which Datasette shows, too.",
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="one line per object")
    listing.add_argument("--night", type=int, help="only those found in this night (YYYYMMDD)")
    listing.add_argument("--class", dest="kind", help="only this class (NEO, MBA, TNO, ...)")
    listing.add_argument("--sort", choices=sorted(ORDERS), default="night", help="order of lines")
    listing.add_argument("--limit", type=int, default=100, help="lines at most (default 100)")
    listing.set_defaults(run=list_objects)
    show = actions.add_parser("show", help="elements, history and observations of one object")
    show.add_argument("designation", help="trkSub, provisional or permanent designation")
    show.add_argument(
        "--mpc80",
        action="store_true",
        help="print its observations in the MPC's 80 columns instead",
    )
    show.set_defaults(run=show_object)
    for action in (listing, show):
        settings.add_arguments(action)


def list_objects(args) -> int:
    """Print a line per object."""
    wanted, values = ["1"], []
    for column, value in (("discoveryNight", args.night), ("orbitClass", args.kind)):
        if value is not None:
            wanted.append(f"{column} = ?")
            values.append(value)
    where = " AND ".join(wanted)
    with _open(args) as db:
        total = db.execute(f"SELECT count(*) FROM objects WHERE {where}", values).fetchone()[0]
        query = (
            "SELECT designation, trkSub, discoveryNight, status, orbitClass, quality, H, "
            f"nObservations, arc, neoScore FROM objects WHERE {where} "
            f"ORDER BY {ORDERS[args.sort]} LIMIT ?"
        )
        rows = db.execute(query, [*values, args.limit]).fetchall()
    print(f"{'designation':<14}{'trkSub':<10}{'found':<10}{'status':<12}{'class':<15}"
          f"{'orbit':<9}{'H':>6}{'obs':>6}{'arc/d':>9}{'NEO%':>6}")  # fmt: skip
    for name, own, night, status, kind, quality, h, n, arc, neo in rows:
        print(f"{name:<14}{own:<10}{night:<10}{status:<12}{kind:<15}"
              f"{quality:<9}{h:>6.2f}{n:>6}{arc:>9.2f}{_or_dash(neo, '.0f'):>6}")  # fmt: skip
    print(f"{len(rows)} of {total} objects")
    return 0


def show_object(args) -> int:
    """Print what is known of one object."""
    with _open(args) as db:
        db.conn.row_factory = _as_dict
        found = find(db, args.designation)
        key = (found["ssObjectId"],)
        names, fits, seen = (
            db.execute(query, key).fetchall()
            for query in (
                "SELECT * FROM designations WHERE ssObjectId = ? ORDER BY date, designation",
                "SELECT * FROM orbits WHERE ssObjectId = ? ORDER BY fitNight",
                "SELECT * FROM observations WHERE ssObjectId = ? "
                "ORDER BY midpointMjdTai, diaSourceId",
            )
        )
    if args.mpc80:
        print(_eighty_columns(args, found, seen), end="")
        return 0
    print(f"{found['designation']}  {found['status']}, found in night {found['discoveryNight']}")
    print(f"  ssObjectId {found['ssObjectId']}")
    for name in names:
        print(f"  {name['kind']:<12}{name['designation']:<14}{name['source']}, {name['date']}")
    if fits:
        _print_fit(fits[-1])
        print(
            'History of the orbit\n  night       obs  arc/d   rms/"         q         e   quality'
        )
        for fit in fits:
            print(f"  {fit['fitNight']}{fit['nObs']:>7}{fit['arc']:>7.2f}{fit['rms']:>8.3f}"
                  f"{fit['q']:>10.5f}{fit['e']:>10.5f}   {fit['quality']}")  # fmt: skip
    print(f"{len(seen)} observations\n  MJD TAI          ra/deg     dec/deg      mag band"
          "  residual/\" E, N  how          diaSourceId")  # fmt: skip
    for row in seen:
        print(f"  {row['midpointMjdTai']:.6f}{row['ra']:>12.6f}{row['dec']:>12.6f}"
              f"{_or_dash(row['mag'], '.2f'):>9}{row['band'] or '-':>3}"
              f"{row['resRa']:>11.3f}{row['resDec']:>8.3f}  {row['how']:<12} "
              f"{row['diaSourceId']}")  # fmt: skip
    return 0


def find(db, designation: str) -> dict:
    """Return the row of the object that bears a designation.

    Raises
    ------
    BadInput
        If none does; names that begin alike are mentioned.
    """
    query = (
        "SELECT o.* FROM objects AS o JOIN designations AS d USING (ssObjectId) "
        "WHERE d.designation = ? ORDER BY o.ssObjectId LIMIT 1"
    )
    row = db.conn.execute(query, (designation,)).fetchone()
    if row is not None:
        return row
    words = "".join(c if c.isalnum() else " " for c in designation).split()
    like = []
    if words:
        match = " ".join(f'"{word[:5]}"*' for word in words)
        query = "SELECT designation FROM designations_fts WHERE designations_fts MATCH ? LIMIT 5"
        like = [hit["designation"] for hit in db.conn.execute(query, (match,)).fetchall()]
    hint = f" Do you mean {', '.join(sorted(like))}?" if like else " See `alertprod objects list`."
    raise BadInput(f"no object is called {designation!r}.{hint}")


def _eighty_columns(args, found: dict, seen: list[dict]) -> str:
    import numpy as np

    from alertprod.daymops.mpc80 import name_field, write_mpc80
    from alertprod.instruments.camera import read_camera

    camera = read_camera(settings.camera_path(settings.from_arguments(args)))
    numbers = {
        key: np.array([np.nan if row[key] is None else row[key] for row in seen])
        for key in ("midpointMjdTai", "ra", "dec", "mag")
    }
    bands = [row["band"] or "" for row in seen]
    names = [name_field(found["designation"])] * len(seen)
    return write_mpc80({**numbers, "band": bands}, names, camera.obscode)


def _print_fit(fit: dict) -> None:
    print(f"Orbit of night {fit['fitNight']} ({fit['orbitClass']}, {fit['quality']}), "
          f"epoch MJD {fit['epochMjdTdb']:.3f} TDB")  # fmt: skip
    for name, unit, digits in ELEMENTS:
        print(f"  {name:<15}{fit[name]:>15.{digits}f} {unit}")
    print(f"  {'H, G':<15}{fit['H']:>15.2f} +- {_or_dash(fit['HErr'], '.2f')}, {fit['G']:.2f}")
    print(f"  {'near-Earth':<15}{_or_dash(fit['neoScore'], '.0f'):>15} %, "
          f"digest2 {_or_dash(fit['digest2'], '.0f')}")  # fmt: skip


def _or_dash(value, form: str) -> str:
    return "-" if value is None else format(value, form)


def _as_dict(cursor, row) -> dict:
    return {column[0]: value for column, value in zip(cursor.description, row, strict=True)}


def _open(args):
    from alertprod.daymops.database import open_database

    return open_database(settings.moving_objects(settings.from_arguments(args)), write=False)
