"""Give sources of earlier visits to the solar-system objects that were found in them."""

from alertprod import job
from alertprod.associate import reassign_sources

job.fold(snakemake, reassign_sources)
