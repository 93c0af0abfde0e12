"""Master calibrations: from frames of one kind to bias, dark, flat and defects."""

from alertprod.calibs.defects import find_defects, find_science_defects
from alertprod.calibs.masters import build_bias, build_dark, build_flat

__all__ = ["build_bias", "build_dark", "build_flat", "find_defects", "find_science_defects"]
