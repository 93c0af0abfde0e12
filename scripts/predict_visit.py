"""Predict the objects inside the footprint of one visit."""

from alertprod import job
from alertprod.ephemerides import predict_visit

job.run(snakemake, predict_visit)
