"""Bring a database that was deleted or left behind to the state of the files."""

from alertprod import job
from alertprod.associate import sync_apdb

with job.job(snakemake):
    params = snakemake.params
    root = job.results(snakemake)
    url = job.database_url(params.database, root)
    state = sync_apdb(snakemake.input.products, url, root=root, instrument=params.instrument)
    job.mark_database(url, snakemake.output.database, state)
