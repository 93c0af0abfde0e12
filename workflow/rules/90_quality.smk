"""
Quality: what a visit and a night were like, in numbers, words and pictures.

IN   all products of a visit; the metrics of a night's visits, its tracklets and orbits
OUT  <results>/{night}/{visit}/metrics.json
     <results>/{night}/  summary.json  summary.txt (printed at the end of a run)
     <results>/{night}/report/  index.html  conditions.png  stamps.png
                                asteroids.html  tracklets.png  asteroids/{designation}.png
"""


rule measure_visit:
    """Gather the figures of one visit from its products."""
    input:
        camera=CAMERA,
        calexp=visit_inputs("calexp.fits"),
        stars=visit_inputs("stars.parquet"),
        template=visit_inputs("template.fits"),
        difference=visit_inputs("difference.fits"),
        dia_sources=visit_inputs("dia_sources.parquet"),
        predicted=predictions,
        association=f"{VISIT}/association.parquet",
        forced=f"{VISIT}/forced.parquet",
        alerts=f"{VISIT}/alerts",
    output:
        metrics=f"{VISIT}/metrics.json",
    log:
        "<logs>/{night}/{visit}/measure_visit.log",
    benchmark:
        "<benchmarks>/{night}/{visit}/measure_visit.tsv"
    conda:
        "../../envs/pipeline.yaml"
    params:
        **settings("quality"),
        given=visit_row,
    script:
        "../../scripts/measure_visit.py"


rule summarize_night:
    """Summarise a night in figures, words and pictures."""
    input:
        metrics=night_inputs("metrics.json"),
        association=night_inputs("association.parquet"),
        alerts=night_inputs("alerts"),
        tracklets=f"{NIGHT}/tracklets.parquet" if config["daymops"]["enabled"] else [],
        linkages=f"{NIGHT}/linkages.parquet" if config["daymops"]["enabled"] else [],
        orbits=f"{NIGHT}/orbits.parquet" if config["daymops"]["enabled"] else [],
    output:
        summary=f"{NIGHT}/summary.json",
        text=f"{NIGHT}/summary.txt",
        conditions=f"{NIGHT}/report/conditions.png",
        stamps=f"{NIGHT}/report/stamps.png",
        page=report(
            f"{NIGHT}/report/index.html",
            caption="../report/night.rst",
            category="Nights",
            labels={"night": "{night}", "page": "summary"},
        ),
    log:
        "<logs>/{night}/summarize_night.log",
    benchmark:
        "<benchmarks>/{night}/summarize_night.tsv"
    conda:
        "../../envs/pipeline.yaml"
    params:
        **settings("quality"),
    script:
        "../../scripts/summarize_night.py"


rule show_asteroids:
    """Show the moving objects of a night: map, orbits, and a picture of each."""
    input:
        camera=CAMERA,
        tracklets=f"{NIGHT}/tracklets.parquet",
        linkages=f"{NIGHT}/linkages.parquet",
        sightings=f"{NIGHT}/sightings.parquet",
        orbits=f"{NIGHT}/orbits.parquet",
        attributed=window("attributed.parquet"),
        # for their stamps; those of earlier nights are taken where they are
        alerts=night_inputs("alerts"),
    output:
        page=report(
            f"{NIGHT}/report/asteroids.html",
            caption="../report/asteroids.rst",
            category="Nights",
            labels={"night": "{night}", "page": "asteroids"},
        ),
        map=f"{NIGHT}/report/tracklets.png",
        objects=directory(f"{NIGHT}/report/asteroids"),
    log:
        "<logs>/{night}/show_asteroids.log",
    benchmark:
        "<benchmarks>/{night}/show_asteroids.tsv"
    conda:
        "../../envs/pipeline.yaml"
    params:
        **settings("quality"),
        visits=visit_places,
    script:
        "../../scripts/show_asteroids.py"
