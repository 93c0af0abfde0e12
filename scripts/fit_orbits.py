"""Fit orbits to the linkages and add them to those found before."""

from alertprod import job
from alertprod.daymops import fit_orbits

job.run(snakemake, fit_orbits)
