"""Calibration: where the photons came from, and how many."""

from alertprod.calibrate.image import calibrate_image
from alertprod.calibrate.local_reference import build_local_reference

__all__ = ["build_local_reference", "calibrate_image"]
