"""
Sources: detect, measure and score what a difference image shows.

IN   <results>/{night}/{visit}/{detector}/  difference.fits  calexp.fits  template.fits
OUT  <results>/{night}/{visit}/{detector}/dia_sources.parquet
"""


rule measure_sources:
    """Detect and measure the sources on a difference image."""
    input:
        difference=f"{DETECTOR}/difference.fits",
        calexp=f"{DETECTOR}/calexp.fits",
        template=f"{DETECTOR}/template.fits",
    output:
        dia_sources=f"{DETECTOR}/dia_sources.parquet",
    log:
        "<logs>/{night}/{visit}/{detector}/measure_sources.log",
    benchmark:
        "<benchmarks>/{night}/{visit}/{detector}/measure_sources.tsv"
    wildcard_constraints:
        visit=STEPWISE,
    priority: in_time
    conda:
        "../../envs/pipeline.yaml"
    params:
        **settings("sources"),
    script:
        "../../scripts/measure_sources.py"
