"""Find the objects that may cross the fields of a night."""

from alertprod import job
from alertprod.ephemerides import predict_night

job.run(snakemake, predict_night)
