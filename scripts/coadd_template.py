"""Coadd the warps of a patch."""

from alertprod import job
from alertprod.template import coadd_template

job.run(snakemake, coadd_template)
