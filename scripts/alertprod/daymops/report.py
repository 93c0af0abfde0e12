"""What is sent to the Minor Planet Center: the night's new objects as an ADES file."""

from __future__ import annotations

import logging

import numpy as np

from alertprod.core import tables
from alertprod.core.stage import stage
from alertprod.daymops import ades
from alertprod.daymops.inputs import with_station

log = logging.getLogger(__name__)


@stage("daymops", outputs=("discoveries",))
def report_discoveries(orbits, linkages, camera=None, *, config) -> str:
    """ADES text (PSV) of the objects that are new tonight.

    Parameters
    ----------
    orbits, linkages : tables
        Products of the night.
    camera : Camera, optional
        Gives the station.
    config : dict
        Section ``daymops``.

    Returns
    -------
    str
        Empty when nothing is new. Objects in order of designation, detections in order of time.
    """
    options = with_station(config, camera)
    return ades.write_psv(new_records(orbits, linkages, options), options)


def new_records(orbits, linkages, options) -> list[dict]:
    """ADES records of the new objects."""
    records = []
    new = [k for k in range(tables.n_rows(orbits)) if orbits["status"][k] == "new"]
    for k in sorted(new, key=lambda k: orbits["designation"][k]):
        rows = np.flatnonzero(linkages["linkageId"] == orbits["linkageId"][k])
        part = tables.sort_by(tables.take(linkages, rows), "midpointMjdTai", "diaSourceId")
        for j in range(tables.n_rows(part)):
            row = {name: column[j] for name, column in part.items()}
            records.append(ades.observation(row, str(orbits["designation"][k]), options))
    log.info("%d new objects, %d observations", len(new), len(records))
    return records
