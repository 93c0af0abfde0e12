"""Find the defects of a detector without calibration frames, from science frames."""

from alertprod import job
from alertprod.calibs import find_science_defects

job.run(snakemake, find_science_defects)
