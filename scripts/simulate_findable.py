"""Say which asteroids a survey can find."""

from alertprod.simulate import job, survey

with job.logged(snakemake):
    survey.make_findable(snakemake.params.settings, snakemake.config["out"])
