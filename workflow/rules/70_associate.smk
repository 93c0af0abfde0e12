"""
Association: the fold of the night, one visit after the other.

IN   <results>/{night}/{visit}/{detector}/dia_sources.parquet of all detectors
     <results>/{night}/{visit}/predicted.parquet    the state before: forced.parquet of the visit before
OUT  <results>/{night}/{visit}/association.parquet    and the APDB, a view of the fold's files
"""


localrules:
    associate_visit,
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
