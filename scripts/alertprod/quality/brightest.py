"""The brightest alerts of a night, with their stamps."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from alertprod.core.errors import Rejected
from alertprod.core.tables import Table, n_rows, read_table, stack, take
from alertprod.quality.stamps import read_cutouts

COLUMNS = ["diaSourceId", "diaObjectId", "ssObjectId", "visit", "detector", "band", "ra", "dec"]
COLUMNS += ["psfFlux", "snr", "reliability", "isDipole", "isNegative"]
STAMPS = {
    "science": "cutoutScience",
    "template": "cutoutTemplate",
    "difference": "cutoutDifference",
}


def brightest_alerts(
    associations: Iterable[str], alerts: Iterable[str], count: int
) -> list[dict[str, Any]]:
    """Return the alerts with the highest signal to noise, at most one per object.

    Parameters
    ----------
    associations : iterable of paths
        Product ``association`` of the visits.
    alerts : iterable of paths
        Directories with their Avro containers, in the same order.
    count : int
        How many.

    Returns
    -------
    list of dict
        Columns of the source, and the stamps ``science``, ``template``, ``difference`` as
        arrays [y, x]; those without a stamp are left out.
    """
    tables, folders = [], {}
    for path, folder in zip(associations, alerts, strict=True):
        try:
            table = read_table(path, COLUMNS)
        except Rejected:
            continue
        if n_rows(table):
            tables.append(table)
            folders[int(table["visit"][0])] = Path(folder)
    if not tables:
        return []
    result = []
    for row in _chosen(stack(tables), count):
        container = folders[row["visit"]] / f"{row['detector']:03d}.avro"
        stamps = read_stamps(container, row["diaSourceId"])
        if stamps:
            result.append(row | stamps)
    return result


def _chosen(sources: Table, count: int) -> list[dict[str, Any]]:
    """Return the best source of each object, the brightest object first."""
    snr = np.nan_to_num(np.abs(sources["snr"].astype(np.float64)))
    fit = ~sources["isDipole"].astype(bool)
    order = np.lexsort([sources["diaSourceId"], -snr])
    owner = np.where(sources["ssObjectId"] != 0, sources["ssObjectId"], sources["diaObjectId"])
    seen: set[int] = set()
    rows: list[dict[str, Any]] = []
    for index in order[fit[order]]:
        if int(owner[index]) in seen:
            continue
        seen.add(int(owner[index]))
        row = take(sources, index)
        rows.append(
            {name: getattr(value, "item", lambda v=value: v)() for name, value in row.items()}
        )
        if len(rows) == count:
            break
    return rows


def read_stamps(container: Path, source: int) -> dict[str, np.ndarray]:
    """Return the stamps of one alert, empty if it is not in the container or lacks one."""
    images = read_cutouts(container, {source}, STAMPS.values()).get(source, {})
    found = {name: images[field] for name, field in STAMPS.items() if field in images}
    return found if len(found) == len(STAMPS) else {}
