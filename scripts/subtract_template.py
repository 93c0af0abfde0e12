"""Subtract the PSF-matched template from one calibrated image."""

from alertprod import job
from alertprod.difference import subtract_template

job.run(snakemake, subtract_template)
