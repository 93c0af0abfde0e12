"""Warp the calibrated exposures of one visit to a patch."""

from alertprod import job
from alertprod.template import warp_visit

job.run(snakemake, warp_visit)
