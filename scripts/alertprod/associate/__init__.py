"""Association: the detections of a visit meet the database of everything seen before."""

from alertprod.associate.reassign import reassign_sources
from alertprod.associate.sync import sync_apdb
from alertprod.associate.visit import associate_visit

__all__ = ["associate_visit", "reassign_sources", "sync_apdb"]
