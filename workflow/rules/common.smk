"""
Names of products, and all input functions; they answer from the exposure sheet.
"""

from bisect import bisect_right
from datetime import date, timedelta


include: "config.smk"


RESULTS = config["pathvars"]["results"]
CAMERA = f"config/instruments/{config['instrument']}.yaml"
DETECTOR = "<results>/{night}/{visit}/{detector}"
VISIT = "<results>/{night}/{visit}"
NIGHT = "<results>/{night}"
CALIBS = "<results>/calibs/{calib_run}/{detector}"
PATCH = "<results>/templates/{template_run}/{tract}/{patch}/{band}/{airmass_bin}"
MOVING_OBJECTS = "<results>/db/moving_objects.sqlite"


include: "code.smk"
include: "sheet.smk"


# Which visits a run may redo: no parameter of a rule, or another selection would rerun the fold.
config["planned"] = [int(visit) for visit in SHEET.targets]

# With granularity: detector the step rules stand aside for those of detector.smk.
STEPWISE = r"\d{13}" if config["granularity"] == "step" else "none"
STEPWISE_BIN = r"\d+" if config["granularity"] == "step" else "none"


wildcard_constraints:
    night=r"\d{8}",
    visit=r"\d{13}",
    detector=r"\d{3}",
    calib_run=r"[^/]+",
    template_run=r"[^/]+",
    tract=r"\d+",
    patch=r"\d+",
    band=r"[^/_]+",
    airmass_bin=r"\d+",


def in_time(wildcards):
    """Prefer earlier visits, so that the fold starts while later pixels are still at work."""
    return SHEET.rank[wildcards.visit]


def exposure(wildcards):
    """Return the row of the sheet of one detector-visit."""
    return SHEET.rows[wildcards.visit, wildcards.detector]


def exposure_row(wildcards):
    """Return what `remove_signature` must know of an exposure, as its parameter."""
    return {"exposure": exposure(wildcards)}


def raws(wildcards):
    """Return the raw snaps of a detector-visit."""
    return [
        f"{config['paths']['raw']}/{p}" for p in exposure(wildcards)["snaps"].split(";")
    ]


def masters(wildcards):
    """Return the master calibrations that are valid for the night of a detector-visit."""
    row, found = exposure(wildcards), {}
    for run, rows in sorted(SHEET.runs.items()):
        mine = [r for r in rows if r["detector"] == row["detector"]]
        if (
            not mine
            or not mine[0]["valid_from"] <= row["night"] <= mine[0]["valid_until"]
        ):
            continue
        folder = f"<results>/calibs/{run}/{row['detector']}"
        kinds = {(r["type"], r["band"]) for r in mine}
        found |= {k: f"{folder}/{k}.fits" for k in ("bias", "dark") if (k, "") in kinds}
        if ("flat", row["band"]) in kinds:
            found["flat"] = f"{folder}/flat_{row['band']}.fits"
        found["defects"] = f"{folder}/defects.fits"
    return found


def calibration_raws(kind):
    """Make the input function for the raw frames of one kind of master calibration."""

    def frames(wildcards):
        band = getattr(wildcards, "band", "")
        for row in SHEET.runs[wildcards.calib_run]:
            if (row["type"], row["band"], row["detector"]) == (
                kind,
                band,
                wildcards.detector,
            ):
                return [
                    f"{config['paths']['raw']}/{path}"
                    for path in row["raws"].split(";")
                ]
        raise WorkflowError(
            f"calibration run {wildcards.calib_run} has no {kind} {band} frames of detector "
            f"{wildcards.detector}. Add them to {config['sheet']}/calibs.csv with alertprod ingest."
        )

    return frames


def flats(wildcards):
    """Return the master flats of a calibration run, all bands."""
    rows = SHEET.runs[wildcards.calib_run]
    bands = {
        r["band"]
        for r in rows
        if r["type"] == "flat" and r["detector"] == wildcards.detector
    }
    return [f"{CALIBS}/flat_{band}.fits" for band in sorted(bands)]


def shards(wildcards):
    """Return the shards of the reference catalogue under a detector-visit."""
    row = exposure(wildcards)
    return [
        f"{config['paths']['refcat']}/{path}"
        for path in row["shards"].split(";")
        if path
    ]


def patches(wildcards):
    """Return the template patches that serve a detector-visit, by filter and airmass."""
    row, paths = exposure(wildcards), []
    run = row["template_run"] or config["template"]["run"]
    wanted = bisect_right(config["template"]["airmass_edges"], float(row["airmass"]))
    for place in filter(None, row["patches"].split(";")):
        tract, patch = place.split("/")
        bins = SHEET.bins.get((run, tract, patch, row["band"]), {})
        enough = config["template"]["enough_visits"]
        full = [b for b in bins if len({r["visit"] for r in bins[b]}) >= enough]
        if full:
            nearest = min(full, key=lambda b: (abs(int(b) - wanted), b))
            paths.append(
                f"<results>/templates/{run}/{place}/{row['band']}/{nearest}.fits"
            )
    return paths


def place(wildcards):
    """Return which patch of the sky to fill, as a parameter of the stage functions."""
    names = ("template_run", "tract", "patch", "band", "airmass_bin")
    return {"patch": {name: wildcards[name] for name in names}}


def members(wildcards):
    """Return the calibrated exposures of a patch: visit -> paths, by the template list."""
    w = wildcards
    rows = SHEET.bins[w.template_run, w.tract, w.patch, w.band][w.airmass_bin]
    return {
        row["visit"]: [
            f"<results>/{SHEET.night(row['visit'])}/{row['visit']}/{d}/calexp.fits"
            for d in row["detectors"].split(";")
        ]
        for row in sorted(rows, key=lambda row: row["visit"])
    }


def warp_members(wildcards):
    """Return the calibrated exposures of one visit that touch a patch."""
    return members(wildcards)[wildcards.visit]


def warps(wildcards):
    """Return the warps of a patch."""
    return [f"{PATCH}/{visit}.fits" for visit in members(wildcards)]


def patch_calexps(wildcards):
    """Return all calibrated exposures of a patch."""
    return [path for paths in members(wildcards).values() for path in paths]


def visit_inputs(name):
    """Make the input function for one product of all detectors of a visit."""

    def products(wildcards):
        detectors = SHEET.detectors(wildcards.visit)
        return [
            f"<results>/{wildcards.night}/{wildcards.visit}/{d}/{name}"
            for d in detectors
        ]

    return products


def visit_row(wildcards):
    """Return what a per-visit rule must know of its visit, as its parameter."""
    return visit_facts(wildcards.visit)


def visit_facts(visit):
    """Return what stage functions take as `visit`."""
    row = SHEET.visits[visit]
    names = ("visit", "night", "midpoint_mjd_tai", "ra", "dec", "band", "instrument")
    return {"visit": {name: row[name] for name in names}}


def pointings(wildcards):
    """Return the pointings of a night, as a parameter."""
    names = ("visit", "midpoint_mjd_tai", "ra", "dec", "band")
    rows = [SHEET.visits[visit] for visit in SHEET.of_night(wildcards.night)]
    return {"visits": [{name: row[name] for name in names} for row in rows]}


def visit_places(wildcards):
    """Return where the camera pointed in a night, as a parameter."""
    rows = [SHEET.visits[visit] for visit in SHEET.of_night(wildcards.night)]
    return [{name: row[name] for name in ("ra", "dec", "rotation")} for row in rows]


def fold_settings():
    """Return where the fold keeps its database and how it tells time."""
    names = ("instrument", "clock")
    return {"database": config["database"], **{name: config[name] for name in names}}


def apdb_file():
    """Return the file that stands for the database: itself, or a marker for a server's."""
    return (
        "<results>/db/apdb.json" if config["database"] else "<results>/db/apdb.sqlite"
    )


def last_states(wildcards):
    """Return the last product of the fold in each selected night."""
    last = {SHEET.night(visit): visit for visit in SHEET.targets}
    return [after_visit(visit) for visit in last.values()]


def after_visit(visit):
    """Return the product from which the fold goes on after a visit."""
    night = SHEET.night(visit)
    if config["daymops"]["enabled"] and visit == SHEET.of_night(night)[-1]:
        return f"<results>/{night}/reassigned.parquet"
    return f"<results>/{night}/{visit}/forced.parquet"


def end_of_night(wildcards):
    """Return the product of the fold after the last visit of a night."""
    visit = SHEET.of_night(wildcards.night)[-1]
    return f"<results>/{wildcards.night}/{visit}/forced.parquet"


def last_visit_row(wildcards):
    """Return what a state of the fold must know of the last visit of a night."""
    return visit_facts(SHEET.of_night(wildcards.night)[-1])


def at_hand(path, night):
    """Say whether a product of a night is there or will be made."""
    return night in SHEET.nights or exists(path.replace("<results>", RESULTS))


def done_or_planned(path, night, why):
    """Return a product of an earlier night; one sentence where it is neither selected nor there."""
    if not at_hand(path, night):
        raise WorkflowError(
            f"{why}, but {path.replace('<results>', RESULTS)} is not there and night {night} is "
            f"not selected. Run night {night} first, or set associate.start to begin the fold "
            "with an empty database."
        )
    return path


def previous_state(wildcards):
    """Return the product from which a visit's association continues."""
    before = SHEET.previous[wildcards.visit]
    if before is None:
        return []
    why = f"visit {wildcards.visit} continues from visit {before}"
    return done_or_planned(after_visit(before), SHEET.night(before), why)


def predictions(wildcards):
    """Return the predicted solar-system objects of a visit, where predictions are wanted."""
    return f"{VISIT}/predicted.parquet" if predicting() else []


def night_predictions(wildcards):
    """Return the predicted solar-system objects of all visits of a night."""
    return night_inputs("predicted.parquet")(wildcards) if predicting() else []


def predicting():
    """Say whether there is any orbit to predict from."""
    return bool(config["paths"]["orbits"]) or config["ephemerides"]["discovered"]


def known_orbits(wildcards):
    """Return the catalogue of known orbits."""
    return config["paths"]["orbits"] or []


def earlier_nights(wildcards):
    """Return the nights of the fold before a night, in order."""
    return [n for n in SHEET.fold_nights if n < wildcards.night]


def found_before(wildcards, name):
    """Return a product of the night before that this night's continues; none for the first."""
    nights = earlier_nights(wildcards)
    if not nights or not config["daymops"]["enabled"]:
        return []
    path = f"<results>/{nights[-1]}/{name}.parquet"
    return done_or_planned(
        path, nights[-1], f"night {wildcards.night} needs the {name} found before it"
    )


def found_orbits(wildcards):
    """Return the orbits that the nights before have found."""
    return found_before(wildcards, "orbits")


def found_linkages(wildcards):
    """Return the linkages of the window that ended the night before."""
    return found_before(wildcards, "linkages")


def attributed_before(wildcards):
    """Return what the nights before have given to solar-system objects.

    Those of the window are needed; older ones, which lengthen arcs, may have been put away.
    """
    needed = window("attributed.parquet")(wildcards)[:-1]
    older = [f"<results>/{n}/attributed.parquet" for n in earlier_nights(wildcards)]
    there = [p for n, p in zip(earlier_nights(wildcards), older) if at_hand(p, n)]
    return sorted({*needed, *there})


def orbits_to_predict(wildcards):
    """Return the found orbits where the configuration wants them predicted."""
    return found_orbits(wildcards) if config["ephemerides"]["discovered"] else []


def night_inputs(name):
    """Make the input function for one product of all visits of a night."""

    def products(wildcards):
        return [
            f"<results>/{wildcards.night}/{v}/{name}"
            for v in SHEET.of_night(wildcards.night)
        ]

    return products


def window(name):
    """Make the input function for one product of the nights within the linking window."""

    def products(wildcards):
        y, m, d = (int(wildcards.night[i:j]) for i, j in ((0, 4), (4, 6), (6, 8)))
        reach = timedelta(days=config["daymops"]["window_nights"] - 1)
        first = f"{date(y, m, d) - reach:%Y%m%d}"
        nights = [n for n in earlier_nights(wildcards) if n >= first]
        nights.append(wildcards.night)
        why = f"night {wildcards.night} needs {name} of its linking window"
        return [done_or_planned(f"<results>/{n}/{name}", n, why) for n in nights]

    return products


def selected_nights(name):
    """Make the input function for one product of all selected nights."""

    def products(wildcards):
        return [f"<results>/{night}/{name}" for night in SHEET.nights]

    return products


def everything(wildcards):
    """Return what a run is for: published visits, metrics, discoveries, pages, databases."""
    wanted = [apdb_file()] if SHEET.targets else []
    if SHEET.nights and config["daymops"]["enabled"]:
        wanted.append(MOVING_OBJECTS)
    for visit in SHEET.targets:
        folder = f"<results>/{SHEET.night(visit)}/{visit}"
        wanted += [f"{folder}/published.json", f"{folder}/metrics.json"]
    for night in SHEET.nights:
        wanted.append(f"<results>/{night}/summary.json")
        if config["daymops"]["enabled"]:
            wanted.append(f"<results>/{night}/discoveries.psv")
            wanted.append(f"<results>/{night}/report/asteroids.html")
    return wanted
