"""What the steps of this stage share: options and lists of tables."""

from __future__ import annotations

import logging

from alertprod.core import tables
from alertprod.core.defaults import complete
from alertprod.core.errors import Rejected

log = logging.getLogger(__name__)


def with_station(config, camera) -> dict:
    """Return the section of the configuration with the camera's station (X05 without a camera)."""
    known = {"obscode": "X05" if camera is None else camera.obscode}
    return {**known, **complete(config, "daymops")}


def read_all(items) -> list[dict]:
    """Tables given as such or as paths; rejected products are left out and logged."""
    out = []
    for item in items:
        if isinstance(item, dict):
            out.append(item)
            continue
        try:
            out.append(tables.read_table(item))
        except Rejected as reason:
            log.warning("%s is left out: %s", item, reason)
    return out
