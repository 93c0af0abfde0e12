"""What is sent to the Minor Planet Center: the night's asteroids as an ADES file."""

from __future__ import annotations

import logging

import numpy as np

from alertprod.core import tables
from alertprod.core.stage import stage
from alertprod.daymops import ades
from alertprod.daymops.inputs import with_station
from alertprod.daymops.window import DETECTION

log = logging.getLogger(__name__)


@stage("daymops", outputs=("discoveries",))
def report_discoveries(orbits, attributed, sightings=(), camera=None, *, config) -> str:
    """ADES text (PSV) of what the night saw of solar-system objects.

    That is every observation of the objects that are new tonight, those sources, of whatever
    night, that were recognised tonight as objects found earlier or as objects of the catalogue,
    and (``report_known``) what was seen tonight of the catalogue's objects where they were
    predicted. Each observation is attributed once, so over the nights each is reported once.

    Parameters
    ----------
    orbits, attributed : tables
        Products of the night.
    sightings : table, optional
        Product of the night.
    camera : Camera, optional
        Gives the station.
    config : dict
        Section ``daymops``.

    Returns
    -------
    str
        Empty when there is nothing. Objects in order of designation, observations in order of
        time.

    Raises
    ------
    BadInput
        If the MPC would refuse the station or a star catalogue.
    """
    options = with_station(config, camera)
    return ades.write_psv(records(orbits, attributed, sightings, options), options)


def records(orbits, attributed, sightings, options) -> list[dict]:
    """ADES records of the night's attributions."""
    columns = {name: attributed[name] for name in ("designation", *DETECTION)}
    part = columns
    if options["report_known"] and sightings and tables.n_rows(sightings):
        known = ~np.isin(sightings["ssObjectId"], orbits["ssObjectId"])
        known &= ~np.isin(sightings["diaSourceId"], attributed["diaSourceId"])
        known &= sightings["designation"] != ""
        part = tables.stack([columns, {c: sightings[c][known] for c in columns}])
    odd = {n for n in {str(d) for d in part["designation"]} if not ades.known_to_mpc(n)}
    if odd:
        log.warning("%d objects of the catalogue are not reported, since the MPC would refuse "
                    "names like %r", len(odd), min(odd))  # fmt: skip
        part = tables.take(part, np.array([str(n) not in odd for n in part["designation"]]))
    part = tables.sort_by(part, "designation", "midpointMjdTai", "diaSourceId")
    found = ades.observations(part, part["designation"], options)
    new = int(np.sum(orbits["status"] == "new"))
    log.info("%d new objects, %d observations", new, len(found))
    return found
