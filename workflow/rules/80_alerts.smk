"""
Alerts: forced photometry, history and stamps of what a visit saw.

IN   <results>/{night}/{visit}/association.parquet    images of all detectors of the visit
OUT  <results>/{night}/{visit}/  forced.parquet  alerts/{detector}.avro  published.json
"""


localrules:
    package_alerts,
    publish_visit,


rule package_alerts:
    """Measure forced photometry and write the alerts of a visit, one container per detector."""
    input:
        association=f"{VISIT}/association.parquet",
        calexps=visit_inputs("calexp.fits"),
        differences=visit_inputs("difference.fits"),
        templates=visit_inputs("template.fits"),
    output:
        forced=f"{VISIT}/forced.parquet",
        alerts=directory(f"{VISIT}/alerts"),
    log:
        "<logs>/{night}/{visit}/package_alerts.log",
    benchmark:
        "<benchmarks>/{night}/{visit}/package_alerts.tsv"
    priority: in_time
    conda:
        "../../envs/pipeline.yaml"
    params:
        **settings("alerts"),
        **fold_settings(),
        given=visit_row,
    script:
        "../../scripts/package_alerts.py"


rule publish_visit:
    """Hand the alerts of a visit on, and note what went where."""
    input:
        alerts=f"{VISIT}/alerts",
    output:
        published=f"{VISIT}/published.json",
    log:
        "<logs>/{night}/{visit}/publish_visit.log",
    benchmark:
        "<benchmarks>/{night}/{visit}/publish_visit.tsv"
    priority: in_time
    conda:
        "../../envs/pipeline.yaml"
    params:
        **settings("alerts"),
        given=visit_row,
    script:
        "../../scripts/publish_visit.py"
