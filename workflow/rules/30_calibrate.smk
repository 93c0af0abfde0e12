"""
Calibration: where the photons came from, and how many.

IN   <results>/{night}/{visit}/{detector}/isr.fits    reference catalogue shards
OUT  <results>/{night}/{visit}/{detector}/calexp.fits    stars.parquet
"""


rule calibrate_image:
    """Fit background, PSF, WCS and zero point of one image."""
    input:
        camera=CAMERA,
        isr=f"{DETECTOR}/isr.fits",
        refcat=shards,
    output:
        calexp=f"{DETECTOR}/calexp.fits",
        stars=f"{DETECTOR}/stars.parquet",
    log:
        "<logs>/{night}/{visit}/{detector}/calibrate_image.log",
    benchmark:
        "<benchmarks>/{night}/{visit}/{detector}/calibrate_image.tsv"
    wildcard_constraints:
        visit=STEPWISE,
    priority: in_time
    conda:
        "../../envs/pipeline.yaml"
    params:
        **settings("calibrate"),
    script:
        "../../scripts/calibrate_image.py"
