"""The last step of a visit: its containers are handed on, and it is noted what went where."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import fastavro

from alertprod.core.errors import BadInput
from alertprod.core.stage import stage


@stage("alerts", outputs=("published",))
def publish_visit(alerts: str, visit: Mapping, *, config: Mapping) -> str:
    """Check the alert containers of a visit and note them.

    Parameters
    ----------
    alerts : path
        Directory of the containers, one per detector.
    visit : mapping
        ``visit`` and ``night``.
    config : mapping
        Section ``alerts``.

    Returns
    -------
    str
        JSON: for each detector its file, the number of alerts and the SHA-256 of the file.

    Raises
    ------
    BadInput
        If a container is cut short.
    """
    entries = {}
    for path in sorted(Path(alerts).glob("*.avro")):
        content = path.read_bytes()
        entries[path.stem] = {
            "file": f"alerts/{path.name}",
            "alerts": count_alerts(path),
            "sha256": hashlib.sha256(content).hexdigest(),
        }
    total = sum(entry["alerts"] for entry in entries.values())
    facts = {"visit": int(visit["visit"]), "alerts": total, "detectors": entries}
    return json.dumps(facts, indent=1, sort_keys=True) + "\n"


def count_alerts(path: Path) -> int:
    """Count the alerts of a container without decoding them."""
    try:
        with open(path, "rb") as handle:
            return sum(block.num_records for block in fastavro.block_reader(handle))
    except (EOFError, ValueError) as error:
        raise BadInput(
            f"{path} is cut short ({error}). Delete it and let Snakemake package the visit again."
        ) from error
