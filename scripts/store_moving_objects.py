"""Bring the moving-object database to the nights' files, and to what the MPC was told and said."""

import os
from pathlib import Path

from alertprod import job
from alertprod.daymops import store_moving_objects

with job.job(snakemake):
    root, database = job.results(snakemake), snakemake.output.database
    nights = [int(Path(path).parent.name) for path in snakemake.input.orbits]
    ledger = snakemake.config["mpc"]["ledger"].replace("<results>", root)
    store_moving_objects(nights, database, root=root, ledger=ledger)
    os.utime(database)  # newer than the files it follows, also when they changed nothing
