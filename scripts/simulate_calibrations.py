"""Make all raw files of one kind of calibration frame."""

from alertprod.simulate import job, survey

with job.logged(snakemake):
    survey.make_calibrations(
        snakemake.params.settings,
        snakemake.input.camera,
        snakemake.config["out"],
        snakemake.params.kind,
    )
