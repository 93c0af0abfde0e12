"""Calibration: where the photons came from, and how many."""

from alertprod.calibrate.image import calibrate_image

__all__ = ["calibrate_image"]
