"""``alertprod status``: how far a night is, what was rejected, and why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alertprod.commands import settings
from alertprod.commands.sheet import Sheet
from alertprod.core.errors import BadInput

#: Products of a detector-visit in the order in which they are made.
TEMPLATE_PRODUCTS = ("calexp.fits", "stars.parquet")
PRODUCTS = (*TEMPLATE_PRODUCTS, "template.fits", "difference.fits", "dia_sources.parquet")
HEADINGS = ("images", "calexp", "diff", "sources", "rejected", "associated", "alerts")


def add_parser(sub) -> None:
    """Declare the command."""
    parser = sub.add_parser(
        "status",
        help="say how far a night is, what was rejected and why",
        description="Reads the products of a night as far as they are there.",
    )
    parser.add_argument("night", help="night as YYYYMMDD")
    settings.add_arguments(parser)
    parser.set_defaults(run=run)


def run(args) -> int:
    """Print the state of a night."""
    from alertprod.quality.night import rejections

    config = settings.from_arguments(args)
    sheet = Sheet(config)
    visits = sheet.of_night(args.night)
    if not visits:
        raise BadInput(
            f"the sheet {config['sheet']} has no visit in night {args.night}; it has nights "
            f"{', '.join(sheet.nights())}"
        )
    folder = settings.results(config) / args.night
    states = [visit_state(sheet, visit, folder / visit) for visit in visits]
    print(f"Night {args.night} in {folder}")
    print(f"  {'visit':<14}{'band':<5}{'for':<9}" + "".join(f"{h:>11}" for h in HEADINGS))
    for state in states:
        print(state_line(state))
    images = [image for state in states for image in state["images"]]
    groups = rejections(images)
    reasons = {f"{i['visit']}/{i['detector']:03d}": i["reason"] for i in images}
    print(f"Rejected: {sum(g['count'] for g in groups)} of {len(images)} images")
    for group in groups:
        print(f"  {group['count']} x {group['product']}: {group['reason']}")
        for name in group["images"]:
            print(f"      {name}  {reasons[name]}")
    if groups:
        print(f"Logs: {settings.resolve('<logs>', config)}/{args.night}/<visit>/<detector>/")
    return 0


def visit_state(sheet: Sheet, visit: str, folder: Path) -> dict[str, Any]:
    """Return how far a visit is.

    Parameters
    ----------
    sheet : Sheet
    visit : str
    folder : path
        Directory of the visit's products; need not exist.

    Returns
    -------
    dict
        ``visit``, ``band``, ``purpose``, ``images`` (`image_state` of each detector),
        ``associated`` (bool or None where a visit is not for association), ``alerts`` (count).
    """
    from alertprod.quality.visit import count_alerts

    row = sheet.visits[visit]
    wanted = TEMPLATE_PRODUCTS if row["purpose"] == "template" else PRODUCTS
    images = [
        {"visit": visit, "detector": int(d), "band": row["band"], **image_state(folder / d, wanted)}
        for d in sheet.detectors(visit)
    ]
    association = folder / "association.parquet"
    if association.is_file():
        _add_ledger(images, association)
    alerts = sorted((folder / "alerts").glob("*.avro"))
    return {
        "visit": visit,
        "band": row["band"],
        "purpose": row["purpose"],
        "images": images,
        "associated": None if row["purpose"] == "template" else association.is_file(),
        "alerts": sum(count_alerts(path) for path in alerts),
    }


def image_state(folder: Path, wanted: tuple[str, ...] = PRODUCTS) -> dict[str, Any]:
    """Return how far a detector-visit is.

    Returns
    -------
    dict
        ``status`` (OK, REJECTED, PENDING), ``done`` (products made and good), ``product`` and
        ``reason`` of the first rejected product.
    """
    from alertprod.job import status

    done = []
    for name in wanted:
        path = folder / name
        if not path.is_file():
            return {"status": "PENDING", "done": done, "product": "", "reason": ""}
        state, reason = status(path)
        product = name.split(".")[0]
        if state == "REJECTED":
            return {"status": state, "done": done, "product": product, "reason": reason}
        done.append(product)
    return {"status": "OK", "done": done, "product": "", "reason": ""}


def state_line(state: dict[str, Any]) -> str:
    """Return the line of a visit."""
    images = state["images"]
    counts = [
        len(images),
        *(sum(p in i["done"] for i in images) for p in ("calexp", "difference", "dia_sources")),
        sum(i["status"] == "REJECTED" for i in images),
    ]
    associated = {None: "-", True: "yes", False: "not yet"}[state["associated"]]
    cells = "".join(f"{n:>11}" for n in (*counts, associated, state["alerts"]))
    return f"  {state['visit']:<14}{state['band']:<5}{state['purpose']:<9}{cells}"


def _add_ledger(images: list[dict], association: Path) -> None:
    """Count the detectors that only association rejected."""
    from alertprod.core.tables import read_metadata

    ledger = {int(e["detector"]): e for e in read_metadata(association).get("ledger", [])}
    for image in images:
        line = ledger.get(image["detector"])
        if line and line["status"] == "REJECTED" and image["status"] == "OK":
            image |= {"status": "REJECTED", "product": "association", "reason": line["reason"]}
