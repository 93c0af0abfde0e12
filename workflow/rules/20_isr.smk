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
    log:
        "<logs>/{night}/{visit}/{detector}/remove_signature.log",
    benchmark:
        "<benchmarks>/{night}/{visit}/{detector}/remove_signature.tsv"
    wildcard_constraints:
        visit=STEPWISE,
    priority: in_time
    conda:
        "../../envs/pipeline.yaml"
    params:
        **settings("isr"),
        given=exposure_row,
    script:
        "../../scripts/remove_signature.py"
