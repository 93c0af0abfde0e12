"""Gather the figures of one visit from its products."""

from alertprod import job
from alertprod.instruments.camera import read_camera
from alertprod.quality import measure_visit, write_json

with job.job(snakemake):
    given = snakemake.input
    metrics = measure_visit(
        given.calexp,
        given.stars,
        given.template,
        given.difference,
        given.dia_sources,
        given.predicted,
        given.association,
        given.forced,
        given.alerts,
        read_camera(given.camera),
        visit=snakemake.params.given["visit"],
        config=snakemake.params.sections["quality"],
    )
    write_json(snakemake.output.metrics, metrics, job.provenance(snakemake, measure_visit))
