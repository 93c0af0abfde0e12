"""Difference stamps of many sources, each container of alerts read once."""

import io
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from alertprod.core.ids import visit_parts

FIELD = "cutoutDifference"


def difference_stamps(
    root: str | Path, sources: Iterable[tuple[int, int, int]]
) -> dict[int, np.ndarray]:
    """Read difference stamps.

    Parameters
    ----------
    root : path
        Results directory.
    sources : iterable of (diaSourceId, visit, detector)

    Returns
    -------
    dict
        diaSourceId -> image [y, x], of those that have one. Alerts of earlier nights may have
        been archived or deleted since, and a source need not have an alert.
    """
    wanted = defaultdict(set)
    for source, visit, detector in sources:
        wanted[int(visit), int(detector)].add(int(source))
    found: dict[int, np.ndarray] = {}
    for (visit, detector), members in sorted(wanted.items()):
        folder = Path(root) / str(visit_parts(visit)[0]) / str(visit) / "alerts"
        found |= _read(folder / f"{detector:03d}.avro", members)
    return found


def _read(container: Path, members: set[int]) -> dict[int, np.ndarray]:
    import fastavro
    from astropy.io import fits

    if not container.is_file():
        return {}
    found = {}
    with open(container, "rb") as handle:
        schema = fastavro.reader(handle).writer_schema
        handle.seek(0)
        # the histories of the alerts are skipped, not decoded
        fields = [f for f in schema["fields"] if f["name"] in ("diaSourceId", FIELD)]
        for record in fastavro.reader(handle, {**schema, "fields": fields}):
            if record["diaSourceId"] in members and record[FIELD]:
                with fits.open(io.BytesIO(record[FIELD])) as hdus:
                    found[record["diaSourceId"]] = np.array(hdus[0].data, dtype=np.float32)
    return found
