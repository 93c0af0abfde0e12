"""
Association: the fold of the night, one visit after the other.

IN   <results>/{night}/{visit}/{detector}/dia_sources.parquet of all detectors
     <results>/{night}/{visit}/predicted.parquet    the state before: forced.parquet of the visit
     before, or what the night before has reassigned
OUT  <results>/{night}/{visit}/association.parquet <results>/{night}/reassigned.parquet    and the
     APDB, a view of the fold's files
"""


localrules:
    associate_visit,
    reassign_sources,
    sync_apdb,


rule associate_visit:
    """Attribute and match the sources of a visit, in the order of time."""
    input:
        dia_sources=visit_inputs("dia_sources.parquet"),
        predicted=predictions,
        previous=previous_state,
    output:
        association=f"{VISIT}/association.parquet",
    log:
        "<logs>/{night}/{visit}/associate_visit.log",
    benchmark:
        "<benchmarks>/{night}/{visit}/associate_visit.tsv"
    priority: in_time
    conda:
        "../../envs/pipeline.yaml"
    params:
        **settings("associate"),
        **fold_settings(),
        given=visit_row,
    script:
        "../../scripts/associate_visit.py"


rule reassign_sources:
    """Give sources of earlier visits to the solar-system objects that were found in them."""
    input:
        attributed=f"{NIGHT}/attributed.parquet",
        previous=end_of_night,
    output:
        reassigned=f"{NIGHT}/reassigned.parquet",
    log:
        "<logs>/{night}/reassign_sources.log",
    benchmark:
        "<benchmarks>/{night}/reassign_sources.tsv"
    conda:
        "../../envs/pipeline.yaml"
    params:
        **settings("associate"),
        **fold_settings(),
        given=last_visit_row,
    script:
        "../../scripts/reassign_sources.py"


rule sync_apdb:
    """Bring a database that was deleted or left behind to the state of the files."""
    input:
        products=last_states,
    output:
        database=update(apdb_file()),
    log:
        "<logs>/sync_apdb.log",
    benchmark:
        "<benchmarks>/sync_apdb.tsv"
    conda:
        "../../envs/pipeline.yaml"
    params:
        **settings("associate"),
        **fold_settings(),
    script:
        "../../scripts/sync_apdb.py"
