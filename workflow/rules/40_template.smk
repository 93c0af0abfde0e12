"""
Templates: the static sky, by patch, band and airmass.

IN   calibrated exposures of the template visits (config sheet, templates.csv)
OUT  <results>/templates/{template_run}/{tract}/{patch}/{band}/{airmass_bin}.fits
     <results>/{night}/{visit}/{detector}/template.fits    the patches on a detector's pixels
"""


rule warp_visit:
    """Warp the calibrated exposures of one visit to a patch."""
    input:
        camera=CAMERA,
        calexps=warp_members,
    output:
        warp=temp(f"{PATCH}/{{visit}}.fits"),
    log:
        "<logs>/templates/{template_run}/{tract}/{patch}/{band}/{airmass_bin}/{visit}.log",
    benchmark:
        "<benchmarks>/templates/{template_run}/{tract}/{patch}/{band}/{airmass_bin}/{visit}.tsv"
    wildcard_constraints:
        airmass_bin=STEPWISE_BIN,
    conda:
        "../../envs/pipeline.yaml"
    params:
        **settings("template"),
        given=place,
    script:
        "../../scripts/warp_visit.py"


rule coadd_template:
    """Coadd the warps of a patch, leaving out what was there only once."""
    input:
        camera=CAMERA,
        warps=warps,
    output:
        patch_template=f"{PATCH}.fits",
    log:
        "<logs>/templates/{template_run}/{tract}/{patch}/{band}/{airmass_bin}/coadd_template.log",
    benchmark:
        "<benchmarks>/templates/{template_run}/{tract}/{patch}/{band}/{airmass_bin}/coadd_template.tsv"
    wildcard_constraints:
        airmass_bin=STEPWISE_BIN,
    conda:
        "../../envs/pipeline.yaml"
    params:
        **settings("template"),
        given=place,
    script:
        "../../scripts/coadd_template.py"


rule warp_template:
    """Put the template patches on the pixels of a detector."""
    input:
        camera=CAMERA,
        calexp=f"{DETECTOR}/calexp.fits",
        patches=patches,
    output:
        template=f"{DETECTOR}/template.fits",
    log:
        "<logs>/{night}/{visit}/{detector}/warp_template.log",
    benchmark:
        "<benchmarks>/{night}/{visit}/{detector}/warp_template.tsv"
    wildcard_constraints:
        visit=STEPWISE,
    priority: in_time
    conda:
        "../../envs/pipeline.yaml"
    params:
        **settings("template"),
    script:
        "../../scripts/warp_template.py"
