"""
Ephemerides: which known solar-system objects a visit will see.

IN   known orbits (paths.orbits), orbits found on earlier nights, the sheet's pointings
OUT  <results>/{night}/predicted_night.parquet    coarse, all objects near the night's fields
     <results>/{night}/{visit}/predicted.parquet    precise, inside one visit's footprint
"""


rule predict_night:
    """Find the objects that may cross the fields of a night."""
    input:
        camera=CAMERA,
        orbits_known=known_orbits,
        orbits=orbits_to_predict,
    output:
        predicted_night=f"{NIGHT}/predicted_night.parquet",
    log:
        "<logs>/{night}/predict_night.log",
    benchmark:
        "<benchmarks>/{night}/predict_night.tsv"
    conda:
        "../../envs/pipeline.yaml"
    params:
        **settings("ephemerides"),
        given=pointings,
    script:
        "../../scripts/predict_night.py"


rule predict_visit:
    """Predict the objects inside the footprint of one visit."""
    input:
        camera=CAMERA,
        predicted_night=f"{NIGHT}/predicted_night.parquet",
    output:
        predicted=f"{VISIT}/predicted.parquet",
    log:
        "<logs>/{night}/{visit}/predict_visit.log",
    benchmark:
        "<benchmarks>/{night}/{visit}/predict_visit.tsv"
    priority: in_time
    conda:
        "../../envs/pipeline.yaml"
    params:
        **settings("ephemerides"),
        given=visit_row,
    script:
        "../../scripts/predict_visit.py"
