"""Take one detector of a template visit from raw frames to calexp."""

from alertprod import job
from alertprod.process import CALIBRATE

job.chain(snakemake, *CALIBRATE)
