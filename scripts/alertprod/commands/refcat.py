"""``alertprod refcat``: from a star catalogue to the shards that calibration reads."""

from __future__ import annotations

from pathlib import Path

from alertprod.commands import settings
from alertprod.core.errors import BadInput


def add_parser(sub) -> None:
    """Declare the command."""
    parser = sub.add_parser(
        "refcat",
        help="make a reference catalogue from CSV, VOTable, FITS, Gaia's archive or own stars",
        description="Cut a star catalogue into HEALPix shards. Gaia's column names are known; "
        "other fluxes are named with --flux, other columns with --column. Where a catalogue has "
        "too few stars, local:BAND joins the stars of calibrated exposures (--stars).",
    )
    parser.add_argument(
        "source", help="catalogue file, gaia:RA,DEC,RADIUS (degrees), or local:REFERENCE_BAND"
    )
    parser.add_argument("out", type=Path, help="directory of the shards (paths.refcat)")
    parser.add_argument("--order", type=int, default=5, help="HEALPix order (refcat_order)")
    parser.add_argument(
        "--flux",
        action="append",
        default=[],
        metavar="BAND=COLUMN[,ERROR][@mag+OFFSET|@nJy]",
        help="flux of a reference band: an AB magnitude (plus an offset), or nJy",
    )
    parser.add_argument(
        "--column", action="append", default=[], metavar="NAME=COLUMN", help="such as ra=RAdeg"
    )
    parser.add_argument("--epoch", type=float, help="ref_epoch [yr] where the catalogue has none")
    parser.add_argument("--faintest", type=float, default=20.0, help="G limit for gaia:")
    parser.add_argument(
        "--stars", nargs="+", default=[], metavar="FILE", help="stars.parquet files, for local:"
    )
    parser.add_argument(
        "--beside", type=Path, metavar="DIR", help="shards whose stars are taken over as well"
    )
    settings.add_arguments(parser)
    parser.add_argument("--replace", action="store_true", help="replace shards that are there")
    parser.set_defaults(run=run)


def run(args) -> int:
    """Convert and say how many stars went where."""
    import numpy as np

    from alertprod.ingest import catalogue

    rules = [catalogue.parse_rule(text) for text in args.flux]
    renamed = dict(_pair(text) for text in args.column)
    unknown = sorted(set(renamed) - set(catalogue.NAMES))
    if unknown:
        raise BadInput(
            f"--column {unknown[0]}=...: no such column in a reference catalogue; there are "
            f"{', '.join(catalogue.NAMES)}"
        )
    if args.source.startswith("local:"):
        table = _local(args)
        rules = [catalogue.parse_rule(f"{args.source.removeprefix('local:')}=flux,fluxErr@nJy")]
    elif args.source.startswith("gaia:"):
        table = catalogue.query_gaia(*_circle(args.source), args.faintest)
    else:
        table = catalogue.read_catalogue(Path(args.source))
    columns = catalogue.standard_columns(table, rules, renamed)
    if len(columns["ra"]) == 0:
        raise BadInput(f"{args.source} has no star with a position; check --column ra=, dec=")
    if args.epoch is not None:
        columns["ref_epoch"] = np.where(
            np.isfinite(columns["ref_epoch"]), columns["ref_epoch"], args.epoch
        )
    if args.beside is not None:
        columns = catalogue.join(columns, args.beside)
    paths = catalogue.write_shards(columns, args.out, args.order, replace=args.replace)
    bands = sorted(name[5:] for name in columns if name.startswith("flux_"))
    print(f"{len(columns['ra'])} stars in {len(paths)} shards, bands {', '.join(bands)}")
    return 0


def _local(args) -> dict:
    """Join the stars of calibrated exposures to a catalogue."""
    from alertprod.calibrate import build_local_reference

    if not args.stars:
        raise BadInput(
            f"{args.source} joins the stars of calibrated exposures; name their stars.parquet "
            "files with --stars"
        )
    missing = [path for path in args.stars if not Path(path).is_file()]
    if missing:
        raise BadInput(f"there is no file {missing[0]}; calibrate its exposure first")
    config = settings.from_arguments(args)
    return build_local_reference(sorted(args.stars), config=config["calibrate"])


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name or not value:
        raise BadInput(f"--column {text}: write NAME=COLUMN, such as ra=RAdeg")
    return name, value


def _circle(text: str) -> tuple[float, float, float]:
    try:
        ra, dec, radius = (float(part) for part in text.removeprefix("gaia:").split(","))
    except ValueError:
        raise BadInput(f"'{text}': write gaia:RA,DEC,RADIUS in degrees") from None
    return ra, dec, radius
