"""Put the template patches on the pixels of a detector."""

from alertprod import job
from alertprod.template import warp_template

job.run(snakemake, warp_template)
