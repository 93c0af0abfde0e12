"""Write the night's discoveries for the Minor Planet Center."""

from alertprod import job
from alertprod.daymops import report_discoveries

job.run(snakemake, report_discoveries)
