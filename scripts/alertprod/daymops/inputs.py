"""What the steps of this stage share: options and lists of tables."""

from __future__ import annotations

import logging

from alertprod.core import tables
from alertprod.core.errors import Rejected

log = logging.getLogger(__name__)


def with_station(defaults, config, camera) -> dict:
    """Options: defaults, then what the camera knows, then what the configuration says."""
    known = {} if camera is None else {"obscode": camera.obscode}
    return {**defaults, **known, **{k: v for k, v in (config or {}).items() if v is not None}}


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
