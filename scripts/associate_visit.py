"""Attribute and match the sources of a visit, in the order of time."""

from alertprod import job
from alertprod.associate import associate_visit

job.fold(snakemake, associate_visit)
