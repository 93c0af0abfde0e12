"""
Master calibrations: what the camera adds to the sky.

IN   raw bias, dark and flat frames of one calibration run (config sheet, calibs.csv)
OUT  <results>/calibs/{calib_run}/{detector}/  bias.fits  dark.fits  flat_{band}.fits  defects.fits
"""


rule build_bias:
    """Stack bias frames into a master bias."""
    input:
        camera=CAMERA,
        raws=calibration_raws("bias"),
    output:
        bias=f"{CALIBS}/bias.fits",
    log:
        "<logs>/calibs/{calib_run}/{detector}/build_bias.log",
    benchmark:
        "<benchmarks>/calibs/{calib_run}/{detector}/build_bias.tsv"
    conda:
        "../../envs/pipeline.yaml"
    params:
        **settings("calibs"),
    script:
        "../../scripts/build_bias.py"


rule build_dark:
    """Stack dark frames into a master dark."""
    input:
        camera=CAMERA,
        raws=calibration_raws("dark"),
        bias=f"{CALIBS}/bias.fits",
    output:
        dark=f"{CALIBS}/dark.fits",
    log:
        "<logs>/calibs/{calib_run}/{detector}/build_dark.log",
    benchmark:
        "<benchmarks>/calibs/{calib_run}/{detector}/build_dark.tsv"
    conda:
        "../../envs/pipeline.yaml"
    params:
        **settings("calibs"),
    script:
        "../../scripts/build_dark.py"


rule build_flat:
    """Stack flat frames of one band into a master flat."""
    input:
        camera=CAMERA,
        raws=calibration_raws("flat"),
        bias=f"{CALIBS}/bias.fits",
        dark=f"{CALIBS}/dark.fits",
    output:
        flat=f"{CALIBS}/flat_{{band}}.fits",
    log:
        "<logs>/calibs/{calib_run}/{detector}/build_flat_{band}.log",
    benchmark:
        "<benchmarks>/calibs/{calib_run}/{detector}/build_flat_{band}.tsv"
    conda:
        "../../envs/pipeline.yaml"
    params:
        **settings("calibs"),
    script:
        "../../scripts/build_flat.py"


rule find_defects:
    """Find the defects of a detector from its master calibrations."""
    input:
        camera=CAMERA,
        bias=f"{CALIBS}/bias.fits",
        dark=f"{CALIBS}/dark.fits",
        flats=flats,
    output:
        defects=f"{CALIBS}/defects.fits",
    log:
        "<logs>/calibs/{calib_run}/{detector}/find_defects.log",
    benchmark:
        "<benchmarks>/calibs/{calib_run}/{detector}/find_defects.tsv"
    wildcard_constraints:
        calib_run=SHEET.runs_with("bias"),
    conda:
        "../../envs/pipeline.yaml"
    params:
        **settings("calibs"),
    script:
        "../../scripts/find_defects.py"


rule find_science_defects:
    """Find the defects of a detector without calibration frames, from science frames."""
    input:
        camera=CAMERA,
        raws=calibration_raws("science"),
    output:
        defects=f"{CALIBS}/defects.fits",
    log:
        "<logs>/calibs/{calib_run}/{detector}/find_defects.log",
    benchmark:
        "<benchmarks>/calibs/{calib_run}/{detector}/find_defects.tsv"
    wildcard_constraints:
        calib_run=SHEET.runs_with("science"),
    conda:
        "../../envs/pipeline.yaml"
    params:
        **settings("calibs"),
    script:
        "../../scripts/find_science_defects.py"
