"""
The pixel stages of a detector in one process: the same functions, the same products.

Starting a job costs more than most stages; a night runs one job per detector-visit. Template
visits stop at the calibrated exposure; a visit that is template and science at once starts
from it, because the templates of the others need it first.
"""


rule process_detector:
    """Take one detector of a science visit from raw frames to dia_sources."""
    input:
        unpack(masters),
        camera=CAMERA,
        raws=raws,
        refcat=shards,
        patches=patches,
    output:
        calexp=f"{DETECTOR}/calexp.fits",
        stars=f"{DETECTOR}/stars.parquet",
        template=f"{DETECTOR}/template.fits",
        difference=f"{DETECTOR}/difference.fits",
        dia_sources=f"{DETECTOR}/dia_sources.parquet",
    log:
        "<logs>/{night}/{visit}/{detector}/process_detector.log",
    benchmark:
        "<benchmarks>/{night}/{visit}/{detector}/process_detector.tsv"
    wildcard_constraints:
        visit=SHEET.of_purpose("science"),
    priority: in_time
    conda:
        "../../envs/pipeline.yaml"
    params:
        **settings("isr", "calibrate", "template", "difference", "sources"),
        given=exposure_row,
    script:
        "../../scripts/process_detector.py"


rule calibrate_detector:
    """Take one detector of a template visit from raw frames to calexp."""
    input:
        unpack(masters),
        camera=CAMERA,
        raws=raws,
        refcat=shards,
    output:
        calexp=f"{DETECTOR}/calexp.fits",
        stars=f"{DETECTOR}/stars.parquet",
    log:
        "<logs>/{night}/{visit}/{detector}/calibrate_detector.log",
    benchmark:
        "<benchmarks>/{night}/{visit}/{detector}/calibrate_detector.tsv"
    wildcard_constraints:
        visit=SHEET.of_purpose("template", "both"),
    priority: in_time
    conda:
        "../../envs/pipeline.yaml"
    params:
        **settings("isr", "calibrate"),
        given=exposure_row,
    script:
        "../../scripts/calibrate_detector.py"


rule difference_detector:
    """Take one detector from calexp to dia_sources."""
    input:
        camera=CAMERA,
        calexp=f"{DETECTOR}/calexp.fits",
        stars=f"{DETECTOR}/stars.parquet",
        patches=patches,
    output:
        template=f"{DETECTOR}/template.fits",
        difference=f"{DETECTOR}/difference.fits",
        dia_sources=f"{DETECTOR}/dia_sources.parquet",
    log:
        "<logs>/{night}/{visit}/{detector}/difference_detector.log",
    benchmark:
        "<benchmarks>/{night}/{visit}/{detector}/difference_detector.tsv"
    wildcard_constraints:
        visit=SHEET.of_purpose("both"),
    priority: in_time
    conda:
        "../../envs/pipeline.yaml"
    params:
        **settings("template", "difference", "sources"),
    script:
        "../../scripts/difference_detector.py"


rule build_template:
    """Warp and coadd the visits of a patch."""
    input:
        camera=CAMERA,
        calexps=patch_calexps,
    output:
        patch_template=f"{PATCH}.fits",
    log:
        "<logs>/templates/{template_run}/{tract}/{patch}/{band}/{airmass_bin}/coadd_template.log",
    benchmark:
        "<benchmarks>/templates/{template_run}/{tract}/{patch}/{band}/{airmass_bin}/coadd_template.tsv"
    conda:
        "../../envs/pipeline.yaml"
    params:
        **settings("template"),
        given=place,
    script:
        "../../scripts/build_template.py"
