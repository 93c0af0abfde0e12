"""What is sent to the Minor Planet Center: the night's discoveries as an ADES file."""

from __future__ import annotations

import logging

import numpy as np

from alertprod.core import tables
from alertprod.core.stage import stage
from alertprod.daymops import ades
from alertprod.daymops.inputs import with_station

log = logging.getLogger(__name__)


@stage("daymops", outputs=("discoveries",))
def report_discoveries(orbits, attributed, camera=None, *, config) -> str:
    """ADES text (PSV) of what the night adds to our objects.

    That is every observation of the objects that are new tonight, and those sources, of whatever
    night, that were recognised tonight as objects found earlier. Each observation is attributed
    once, so over the nights each is reported once.

    Parameters
    ----------
    orbits, attributed : tables
        Products of the night.
    camera : Camera, optional
        Gives the station.
    config : dict
        Section ``daymops``.

    Returns
    -------
    str
        Empty when there is nothing. Objects in order of designation, observations in order of
        time.
    """
    options = with_station(config, camera)
    return ades.write_psv(records(orbits, attributed, options), options)


def records(orbits, attributed, options) -> list[dict]:
    """ADES records of the night's attributions."""
    order = np.lexsort(
        [attributed["diaSourceId"], attributed["midpointMjdTai"], attributed["designation"]]
    )
    part = tables.take(attributed, order)
    found = ades.observations(part, part["designation"], options)
    new = int(np.sum(orbits["status"] == "new"))
    log.info("%d new objects, %d observations", new, len(found))
    return found
