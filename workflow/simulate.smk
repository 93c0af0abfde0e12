"""
The simulator's own entry: a survey from a configuration, raw files to truth.

    snakemake -c2 -s workflow/simulate.smk --configfile config/simulate/demo.yaml

IN   config/simulate/*.yaml  config/instruments/{camera}.yaml
OUT  <out>/raw/{night}/{visit}_{snap}_{detector}.fits  <out>/raw/calib/{night}/...
     <out>/refcat.csv (and cut into shards by the pipeline's own command: <out>/refcat/)
     <out>/orbits.csv  and what only tests may read: <out>/truth/
"""

import hashlib
import sys
from pathlib import Path

import yaml
from snakemake.utils import min_version, validate

min_version("9.27")
validate(config, "schemas/simulate.schema.yaml")


pathvars:
    out=config["out"],


with open(config["camera"], encoding="utf-8") as handle:
    DETECTORS = [f"{row['id']:03d}" for row in yaml.safe_load(handle)["detectors"]]

TRUTH = "<out>/truth"
SKY = ["stars", "galaxies", "variables", "transients", "asteroids"]
CALIBRATIONS = config["calibrations"]
KINDS = ["bias", "dark", "flat"]
VISITS = {f"{v['night']}{v['seq']:05d}": v.get("snaps", 2) for v in config["visits"]}


def code():
    """Return the digest of the simulator: an edit makes the survey anew."""
    total = hashlib.sha256()
    for path in sorted(
        Path(workflow.basedir, "../scripts/alertprod/simulate").glob("*.py")
    ):
        total.update(path.read_bytes())
    return total.hexdigest()[:16]


def calibration_raws(kind):
    """Return the raw files of one kind of calibration frame, numbered through all kinds."""
    counts = {
        "bias": CALIBRATIONS["bias"],
        "dark": CALIBRATIONS["dark"],
        "flat": CALIBRATIONS["flat"] * len(CALIBRATIONS["bands"]),
    }
    first = 1 + sum(counts[name] for name in list(counts)[: list(counts).index(kind)])
    night = CALIBRATIONS["night"]
    return expand(
        f"<out>/raw/calib/{night}/{night}{{seq}}_0_{{detector}}.fits",
        seq=[f"{seq:05d}" for seq in range(first, first + counts[kind])],
        detector=DETECTORS,
    )


def with_snaps(number):
    """Return a pattern for the visits with a number of snaps."""
    return (
        "|".join(visit for visit, snaps in VISITS.items() if snaps == number) or "none"
    )


SETTINGS = {"settings": config, "code": code()}


wildcard_constraints:
    night=r"\d{8}",
    detector=r"\d{3}",


rule all:
    """A survey that the pipeline can take."""
    input:
        "<out>/refcat",
        "<out>/orbits.csv",
        f"{TRUTH}/findable.csv",
        [calibration_raws(kind) for kind in KINDS],


rule make_sky:
    """Draw the sky and the weather."""
    input:
        camera=config["camera"],
    output:
        refcat="<out>/refcat.csv",
        orbits="<out>/orbits.csv",
        plan=f"{TRUTH}/plan.json",
        profile=f"{TRUTH}/psf_profile.npy",
        sky=expand(f"{TRUTH}/{{table}}.parquet", table=SKY),
    log:
        "<out>/logs/make_sky.log",
    conda:
        "../envs/pipeline.yaml"
    params:
        **SETTINGS,
    script:
        "../scripts/simulate_sky.py"


rule make_shards:
    """Cut the reference catalogue, as a user would cut one of his own."""
    input:
        refcat="<out>/refcat.csv",
    output:
        shards=directory("<out>/refcat"),
    log:
        "<out>/logs/make_shards.log",
    conda:
        "../envs/pipeline.yaml"
    params:
        python=sys.executable,
        scripts=Path(workflow.basedir, "../scripts"),
    shell:
        "PYTHONPATH={params.scripts:q} {params.python:q} -m alertprod.cli refcat {input.refcat:q} {output.shards:q} > {log:q} 2>&1"


rule make_visit:
    """Expose all detectors, twice."""
    input:
        camera=config["camera"],
        plan=f"{TRUTH}/plan.json",
        profile=f"{TRUTH}/psf_profile.npy",
        sky=expand(f"{TRUTH}/{{table}}.parquet", table=SKY),
    output:
        first=expand(
            "<out>/raw/{{night}}/{{visit}}_0_{detector}.fits", detector=DETECTORS
        ),
        second=expand(
            "<out>/raw/{{night}}/{{visit}}_1_{detector}.fits", detector=DETECTORS
        ),
        truth=f"{TRUTH}/{{night}}/{{visit}}.parquet",
    log:
        "<out>/logs/{night}/{visit}.log",
    wildcard_constraints:
        visit=with_snaps(2),
    conda:
        "../envs/pipeline.yaml"
    params:
        **SETTINGS,
    script:
        "../scripts/simulate_visit.py"


use rule make_visit as make_single_visit with:
    output:
        first=expand(
            "<out>/raw/{{night}}/{{visit}}_0_{detector}.fits", detector=DETECTORS
        ),
        truth=f"{TRUTH}/{{night}}/{{visit}}.parquet",
    wildcard_constraints:
        visit=with_snaps(1),


rule make_bias:
    """Read out without light."""
    input:
        camera=config["camera"],
    output:
        raws=calibration_raws("bias"),
    log:
        "<out>/logs/calib/bias.log",
    conda:
        "../envs/pipeline.yaml"
    params:
        **SETTINGS,
        kind="bias",
    script:
        "../scripts/simulate_calibrations.py"


use rule make_bias as make_dark with:
    output:
        raws=calibration_raws("dark"),
    log:
        "<out>/logs/calib/dark.log",
    params:
        **SETTINGS,
        kind="dark",


use rule make_bias as make_flats with:
    output:
        raws=calibration_raws("flat"),
    log:
        "<out>/logs/calib/flat.log",
    params:
        **SETTINGS,
        kind="flat",


rule make_findable:
    """Say which asteroids the survey can find."""
    input:
        plan=f"{TRUTH}/plan.json",
        asteroids=f"{TRUTH}/asteroids.parquet",
        visits=[f"{TRUTH}/{visit[:8]}/{visit}.parquet" for visit in VISITS],
    output:
        findable=f"{TRUTH}/findable.csv",
    log:
        "<out>/logs/make_findable.log",
    conda:
        "../envs/pipeline.yaml"
    params:
        **SETTINGS,
    script:
        "../scripts/simulate_findable.py"
