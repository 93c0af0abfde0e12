"""Alert production: raw exposures in, alerts and asteroids out."""

from snakemake.utils import min_version

min_version("9.27")


configfile: "config/default.yaml"


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/10_calibs.smk"
include: "workflow/rules/20_isr.smk"
include: "workflow/rules/30_calibrate.smk"
include: "workflow/rules/40_template.smk"
include: "workflow/rules/50_difference.smk"
include: "workflow/rules/60_sources.smk"
include: "workflow/rules/65_ephemerides.smk"
include: "workflow/rules/70_associate.smk"
include: "workflow/rules/80_alerts.smk"
include: "workflow/rules/85_daymops.smk"
include: "workflow/rules/90_quality.smk"


if config["granularity"] == "detector":

    include: "workflow/rules/detector.smk"


rule all:
    """Everything that the selection asks for."""
    default_target: True
    input:
        everything,


onsuccess:
    for night in SHEET.nights:
        if exists(f"{RESULTS}/{night}/summary.txt"):
            with open(f"{RESULTS}/{night}/summary.txt", encoding="utf-8") as text:
                print(text.read())
