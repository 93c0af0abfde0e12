"""Measure forced photometry and write the alerts of a visit."""

from alertprod import job
from alertprod.alerts import images_by_detector, package_alerts

files = snakemake.input
images = images_by_detector(files.calexps, files.differences, files.templates)
job.fold(snakemake, package_alerts, images=images, alerts=snakemake.output.alerts)
