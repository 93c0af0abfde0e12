"""Make the raw files of one visit, and its truth."""

from alertprod.simulate import job, survey

with job.logged(snakemake):
    survey.make_visit(
        snakemake.params.settings,
        snakemake.input.camera,
        snakemake.config["out"],
        int(snakemake.wildcards.visit),
    )
