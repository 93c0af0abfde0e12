"""Remove the instrument signature and combine the snaps of a detector-visit."""

from alertprod import job
from alertprod.isr import remove_signature

job.run(snakemake, remove_signature)
