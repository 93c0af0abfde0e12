"""
Difference imaging: what changed on the sky since the template.

IN   <results>/{night}/{visit}/{detector}/  calexp.fits  template.fits  stars.parquet
OUT  <results>/{night}/{visit}/{detector}/difference.fits
"""


rule subtract_template:
    """Subtract the PSF-matched template from one calibrated image."""
    input:
        calexp=f"{DETECTOR}/calexp.fits",
        template=f"{DETECTOR}/template.fits",
        stars=f"{DETECTOR}/stars.parquet",
    output:
        difference=f"{DETECTOR}/difference.fits",
    log:
        "<logs>/{night}/{visit}/{detector}/subtract_template.log",
    benchmark:
        "<benchmarks>/{night}/{visit}/{detector}/subtract_template.tsv"
    wildcard_constraints:
        visit=STEPWISE,
    priority: in_time
    conda:
        "../../envs/pipeline.yaml"
    params:
        **settings("difference"),
    script:
        "../../scripts/subtract_template.py"
