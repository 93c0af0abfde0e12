"""
Instrument signature removal: from raw snaps to one image in electrons.

IN   raw snaps of a detector-visit, master calibrations valid for the night
OUT  <results>/{night}/{visit}/{detector}/isr.fits
"""


rule remove_signature:
    """Remove the instrument signature and combine the snaps of a detector-visit."""
    input:
        unpack(masters),
        camera=CAMERA,
        raws=raws,
    output:
        isr=temp(f"{DETECTOR}/isr.fits"),
    params:
        **settings("isr"),
        given=exposure_row,
    log:
        "<logs>/{night}/{visit}/{detector}/remove_signature.log",
    benchmark:
        "<benchmarks>/{night}/{visit}/{detector}/remove_signature.tsv"
    priority: in_time
    wildcard_constraints:
        visit=STEPWISE,
    conda:
        "../../envs/pipeline.yaml"
    script:
        "../../scripts/remove_signature.py"
