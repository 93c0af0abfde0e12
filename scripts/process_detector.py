"""Take one detector of a science visit from raw frames to dia_sources."""

from alertprod import job
from alertprod.process import PROCESS

job.chain(snakemake, *PROCESS)
