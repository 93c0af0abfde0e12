"""Show the moving objects of a night: a page with a map, orbits and pictures."""

from alertprod import job
from alertprod.instruments.camera import read_camera
from alertprod.quality.asteroid_page import show_asteroids

with job.job(snakemake):
    show_asteroids(
        dict(snakemake.input.items()),
        snakemake.params.visits,
        read_camera(snakemake.input.camera),
        dict(snakemake.output.items()),
        root=job.results(snakemake),
        night=snakemake.wildcards.night,
        config=snakemake.params.sections["quality"],
    )
