"""Draw the sky and the weather of a survey."""

from alertprod.simulate import job, survey

with job.logged(snakemake):
    survey.make_sky(snakemake.params.settings, snakemake.input.camera, snakemake.config["out"])
