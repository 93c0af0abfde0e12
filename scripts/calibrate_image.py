"""Fit background, PSF, WCS and zero point of one image."""

from alertprod import job
from alertprod.calibrate import calibrate_image

job.run(snakemake, calibrate_image)
