"""Join the unattributed sources of a night to tracklets."""

from alertprod import job
from alertprod.daymops import make_tracklets

job.run(snakemake, make_tracklets)
