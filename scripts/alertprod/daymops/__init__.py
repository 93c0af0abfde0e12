"""Unknown solar-system objects: tracklets, linkages, orbits, reports."""

from alertprod.daymops.discoveries import fit_orbits
from alertprod.daymops.linking import link_tracklets
from alertprod.daymops.report import report_discoveries
from alertprod.daymops.singles import select_singles
from alertprod.daymops.store import store_moving_objects
from alertprod.daymops.tracklets import make_tracklets

__all__ = [
    "fit_orbits",
    "link_tracklets",
    "make_tracklets",
    "report_discoveries",
    "select_singles",
    "store_moving_objects",
]
