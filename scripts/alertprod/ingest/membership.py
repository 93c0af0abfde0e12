"""Which visits make templates, and which template serves a visit."""

from __future__ import annotations

from alertprod.core.errors import BadInput
from alertprod.ingest.sheet import Row


def assign(
    rows: list[Row], old: list[Row], scheme: str, run: str, nights: set[str]
) -> dict[str, str]:
    """Set ``purpose`` and ``template_run`` of new rows; return visit -> run that it belongs to.

    Parameters
    ----------
    rows : list of dict
        New exposure rows, changed in place.
    old : list of dict
        Rows that stand in the sheet; their template visits may found a new run.
    scheme : str
        ``header`` (purpose from the header, else science), ``nights`` (all visits of `nights` are
        templates) or ``interleaved`` (every second visit of a band, in order of time, belongs to
        ``{run}-even``, which serves the others, and the other way round).
    run : str
        Name of the template run.
    nights : set of str
        For the scheme ``nights``.

    Raises
    ------
    BadInput
        If the scheme ``nights`` has no nights, or nights are given to another scheme.
    """
    if (scheme == "nights") != bool(nights):
        raise BadInput(
            f"template scheme '{scheme}' with {len(nights)} template nights; give "
            "--template-nights together with --template-scheme nights"
        )
    if scheme == "interleaved":
        return _interleaved(rows, old, run)
    for row in rows:
        if scheme == "nights":
            row["purpose"] = "template" if row["night"] in nights else "science"
        row["purpose"] = row["purpose"] or "science"
    return {row["visit"]: run for row in [*old, *rows] if row["purpose"] == "template"}


def _interleaved(rows: list[Row], old: list[Row], run: str) -> dict[str, str]:
    halves = (f"{run}-even", f"{run}-odd")
    order: dict[str, list[str]] = {}
    for row in sorted([*old, *rows], key=lambda r: (float(r["midpoint_mjd_tai"]), r["visit"])):
        visits = order.setdefault(row["band"], [])
        if row["visit"] not in visits:
            visits.append(row["visit"])
    half = {visit: k % 2 for visits in order.values() for k, visit in enumerate(visits)}
    for row in rows:
        row["purpose"] = "both"
        row["template_run"] = halves[1 - half[row["visit"]]]
    return {row["visit"]: halves[half[row["visit"]]] for row in [*old, *rows]}
