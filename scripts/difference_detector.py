"""Take one detector from calexp to dia_sources."""

from alertprod import job
from alertprod.process import DIFFERENCE

job.chain(snakemake, *DIFFERENCE)
