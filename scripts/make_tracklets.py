"""Collect the unattributed sources of a night and join them to tracklets."""

from alertprod import job
from alertprod.daymops import make_tracklets, select_singles

job.chain(snakemake, select_singles, make_tracklets)
