"""Stamps of alerts, each container read once for all that is wanted of it."""

import io
from collections import defaultdict
from collections.abc import Collection, Iterable
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
        cutouts = read_cutouts(folder / f"{detector:03d}.avro", members, (FIELD,))
        found |= {source: images[FIELD] for source, images in cutouts.items() if images}
    return found


def read_cutouts(
    container: Path, members: Collection[int], fields: Iterable[str]
) -> dict[int, dict[str, np.ndarray]]:
    """Read cutouts of alerts: diaSourceId -> field -> image [y, x], of those that there are."""
    import fastavro
    from astropy.io import fits

    if not container.is_file():
        return {}
    found: dict[int, dict[str, np.ndarray]] = {}
    with open(container, "rb") as handle:
        schema = fastavro.reader(handle).writer_schema
        handle.seek(0)
        # the histories of the alerts are skipped, not decoded
        wanted = [f for f in schema["fields"] if f["name"] in ("diaSourceId", *fields)]
        for record in fastavro.reader(handle, {**schema, "fields": wanted}):
            source = record["diaSourceId"]
            if source not in members:
                continue
            found[source] = {}
            for field in fields:
                if record[field]:
                    with fits.open(io.BytesIO(record[field])) as hdus:
                        found[source][field] = np.array(hdus[0].data, dtype=np.float32)
            if len(found) == len(members):
                break
    return found
