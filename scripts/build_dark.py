"""Stack dark frames into a master dark."""

from alertprod import job
from alertprod.calibs import build_dark

job.run(snakemake, build_dark)
