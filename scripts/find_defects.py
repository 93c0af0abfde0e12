"""Find the defects of a detector from its master calibrations."""

from alertprod import job
from alertprod.calibs import find_defects

job.run(snakemake, find_defects)
