"""Detect and measure the sources on a difference image."""

from alertprod import job
from alertprod.sources import measure_sources

job.run(snakemake, measure_sources)
