"""Summarise a night in figures, words and pictures."""

from alertprod import job
from alertprod.quality import show_night, summarize_night, write_json

with job.job(snakemake):
    given, config = snakemake.input, snakemake.params.sections["quality"]
    summary = summarize_night(
        given.metrics,
        given.tracklets,
        given.linkages,
        given.orbits,
        night=snakemake.wildcards.night,
        config=config,
    )
    write_json(snakemake.output.summary, summary, job.provenance(snakemake, summarize_night))
    places = snakemake.config["pathvars"]
    benchmarks = places["benchmarks"].replace("<results>", places["results"])
    show_night(
        summary,
        given.association,
        given.alerts,
        dict(snakemake.output.items()),
        benchmarks=f"{benchmarks}/{summary['night']}",
        config=config,
    )
