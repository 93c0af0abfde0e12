"""Stack flat frames of one band into a master flat."""

from alertprod import job
from alertprod.calibs import build_flat

job.run(snakemake, build_flat)
