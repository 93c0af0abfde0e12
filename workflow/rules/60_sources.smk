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
    params:
        **settings("sources"),
    log:
        "<logs>/{night}/{visit}/{detector}/measure_sources.log",
    benchmark:
        "<benchmarks>/{night}/{visit}/{detector}/measure_sources.tsv"
    priority: in_time
    wildcard_constraints:
        visit=STEPWISE,
    conda:
        "../../envs/pipeline.yaml"
    script:
        "../../scripts/measure_sources.py"
