"""Warp and coadd the visits of a patch."""

from alertprod import job
from alertprod.template import build_template

job.run(snakemake, build_template)
