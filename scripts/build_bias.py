"""Stack bias frames into a master bias."""

from alertprod import job
from alertprod.calibs import build_bias

job.run(snakemake, build_bias)
