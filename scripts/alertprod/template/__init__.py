"""The static sky: visits warped and coadded by patch, patches warped to detectors."""

from alertprod.template.coadd import build_template, coadd_template
from alertprod.template.detector import warp_template
from alertprod.template.warp import warp_visit

__all__ = ["build_template", "coadd_template", "warp_template", "warp_visit"]
