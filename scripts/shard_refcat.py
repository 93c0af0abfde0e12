"""Cut a simulated reference catalogue into shards with the command that users have."""

import contextlib
import csv
import sys

from alertprod import cli

with open(snakemake.input.refcat, newline="", encoding="utf-8") as handle:
    columns = next(csv.reader(handle))
bands = [name.removeprefix("flux_") for name in columns if name.startswith("flux_")]
fluxes = [f"--flux={band}=flux_{band},fluxErr_{band}@nJy" for band in bands]
with open(snakemake.log[0], "w", encoding="utf-8") as log, contextlib.redirect_stdout(log):
    status = cli.main(["refcat", snakemake.input.refcat, snakemake.output.shards, *fluxes])
sys.exit(status)
