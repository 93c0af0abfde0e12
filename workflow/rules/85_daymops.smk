"""
DayMOPS: asteroids from the sources that nothing else explains.

IN   <results>/{night}/{visit}/association.parquet of the night's visits, tracklets of the window
OUT  <results>/{night}/  singles.parquet sightings.parquet tracklets.parquet  linkages.parquet  orbits.parquet (cumulative)  attributed.parquet
                     discoveries.psv    <results>/db/moving_objects.sqlite, a view of the nights' files
"""


localrules:
    store_moving_objects,


rule make_tracklets:
    """Collect the unattributed sources of a night and join them to tracklets."""
    input:
        associations=night_inputs("association.parquet"),
        predictions=night_predictions,
    output:
        singles=f"{NIGHT}/singles.parquet",
        sightings=f"{NIGHT}/sightings.parquet",
        tracklets=f"{NIGHT}/tracklets.parquet",
    log:
        "<logs>/{night}/make_tracklets.log",
    benchmark:
        "<benchmarks>/{night}/make_tracklets.tsv"
    conda:
        "../../envs/pipeline.yaml"
    params:
        **settings("daymops"),
    script:
        "../../scripts/make_tracklets.py"


rule link_tracklets:
    """Link tracklets over the nights of the window."""
    input:
        camera=CAMERA,
        tracklets=window("tracklets.parquet"),
        linkages=found_linkages,
    output:
        linkages=f"{NIGHT}/linkages.parquet",
    log:
        "<logs>/{night}/link_tracklets.log",
    benchmark:
        "<benchmarks>/{night}/link_tracklets.tsv"
    conda:
        "../../envs/pipeline.yaml"
    params:
        **settings("daymops"),
    script:
        "../../scripts/link_tracklets.py"


rule fit_orbits:
    """Fit orbits to the linkages, add them to those found before, and find more detections."""
    input:
        camera=CAMERA,
        linkages=f"{NIGHT}/linkages.parquet",
        singles=window("singles.parquet"),
        sightings=window("sightings.parquet"),
        orbits=found_orbits,
        given=attributed_before,
        orbits_known=known_orbits,
    output:
        orbits=f"{NIGHT}/orbits.parquet",
        attributed=f"{NIGHT}/attributed.parquet",
    log:
        "<logs>/{night}/fit_orbits.log",
    benchmark:
        "<benchmarks>/{night}/fit_orbits.tsv"
    conda:
        "../../envs/pipeline.yaml"
    params:
        **settings("daymops"),
    script:
        "../../scripts/fit_orbits.py"


rule report_discoveries:
    """Write what the night adds to our objects for the Minor Planet Center (ADES)."""
    input:
        camera=CAMERA,
        orbits=f"{NIGHT}/orbits.parquet",
        attributed=f"{NIGHT}/attributed.parquet",
        sightings=f"{NIGHT}/sightings.parquet",
    output:
        discoveries=f"{NIGHT}/discoveries.psv",
    log:
        "<logs>/{night}/report_discoveries.log",
    benchmark:
        "<benchmarks>/{night}/report_discoveries.tsv"
    conda:
        "../../envs/pipeline.yaml"
    params:
        **settings("daymops"),
    script:
        "../../scripts/report_discoveries.py"


rule store_moving_objects:
    """Bring the moving-object database to the state of the nights' files."""
    input:
        tracklets=selected_nights("tracklets.parquet"),
        orbits=selected_nights("orbits.parquet"),
        attributed=selected_nights("attributed.parquet"),
    output:
        database=update(MOVING_OBJECTS),
    log:
        "<logs>/store_moving_objects.log",
    benchmark:
        "<benchmarks>/store_moving_objects.tsv"
    conda:
        "../../envs/pipeline.yaml"
    params:
        **settings("daymops"),
    script:
        "../../scripts/store_moving_objects.py"
