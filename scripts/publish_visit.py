"""Hand the alerts of a visit on, and note what went where."""

from alertprod import job
from alertprod.alerts import publish_visit

job.run(snakemake, publish_visit)
