"""Link tracklets over the nights of the window."""

from alertprod import job
from alertprod.daymops import link_tracklets

job.run(snakemake, link_tracklets)
