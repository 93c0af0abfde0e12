"""
The exposure sheet: three CSV files in one directory, an input of the workflow.

`exposures.csv` has a row per visit and detector; `calibs.csv` and `templates.csv` list what
belongs to which calibration and template run. They are read once, into dictionaries, and checked
column by column. Paths never depend on a fitted WCS.
"""

import csv
import re
from os.path import exists

import yaml
from snakemake.exceptions import WorkflowError


def read_sheet(name):
    """Read one CSV file of the sheet."""
    path = f"{config['sheet']}/{name}.csv"
    if not exists(path):
        raise WorkflowError(
            f"the sheet {path} does not exist. Write it with: alertprod ingest "
            f"{config['paths']['raw']} --instrument {config['instrument']} --into {config['sheet']}"
        )
    with open(path, newline="", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    check_sheet(path, name, rows)
    return rows


def check_sheet(path, name, rows):
    """Check the distinct values of each column; a thousand times fewer than the cells."""
    schema = f"{workflow.basedir}/workflow/schemas/exposures.schema.yaml"
    with open(schema, encoding="utf-8") as handle:
        columns = yaml.safe_load(handle)[name]
    for column, wanted in columns.items():
        pattern = re.compile(wanted["pattern"])
        for value in {row.get(column) for row in rows}:
            if value is None:
                raise WorkflowError(
                    f"{path} lacks the column {column} ({wanted['doc']}). Write it again with alertprod ingest."
                )
            if not pattern.fullmatch(value):
                line = 2 + next(n for n, row in enumerate(rows) if row[column] == value)
                raise WorkflowError(
                    f"{path}, line {line}: {column} is {value!r}, but it must be {wanted['doc']}. Mend the sheet."
                )


class Sheet:
    """The sheet as dictionaries; a selection limits the targets, never the order of the fold."""

    def __init__(self):
        self.rows, self.visits, self.runs, self.bins = {}, {}, {}, {}
        for row in read_sheet("exposures"):
            self.rows[row["visit"], row["detector"]] = row
            self.visits.setdefault(row["visit"], dict(row, detectors=[]))
            self.visits[row["visit"]]["detectors"].append(row["detector"])
        for row in read_sheet("calibs"):
            self.runs.setdefault(row["calib_run"], []).append(row)
        for row in read_sheet("templates"):
            key = row["template_run"], row["tract"], row["patch"], row["band"]
            self.bins.setdefault(key, {}).setdefault(row["airmass_bin"], []).append(row)
        self.fold_order()
        self.select()

    def fold_order(self):
        """Put the science visits in the order of time; each continues from the one before."""
        order = sorted(
            self.visits, key=lambda v: (float(self.visits[v]["midpoint_mjd_tai"]), v)
        )
        self.rank = {visit: len(order) - n for n, visit in enumerate(order)}
        start = str(config["associate"]["start"] or "")
        self.fold = [v for v in order if self.purpose(v) != "template" and v >= start]
        self.previous = dict(zip(self.fold, [None, *self.fold], strict=False))
        self.fold_nights = sorted({self.night(v) for v in self.fold})

    def select(self):
        """Choose the target visits and detectors by the selection in the configuration."""
        chosen = {
            key: {str(item) for item in value}
            for key, value in config["select"].items()
        }
        columns = (("nights", "night"), ("visits", "visit"), ("bands", "band"))
        self.targets = [
            visit
            for visit in self.fold
            if all(
                not chosen[k] or self.visits[visit][name] in chosen[k]
                for k, name in columns
            )
        ]
        self.nights = sorted({self.night(v) for v in self.targets})
        self.kept = {f"{int(d):03d}" for d in chosen["detectors"]}

    def night(self, visit):
        """Return the night of a visit."""
        return self.visits[visit]["night"]

    def purpose(self, visit):
        """Return what a visit is for: template, science or both."""
        return self.visits[visit]["purpose"]

    def of_purpose(self, *purposes):
        """Return a pattern for the visits of the given purposes."""
        return "|".join(v for v in self.visits if self.purpose(v) in purposes) or "none"

    def runs_with(self, kind):
        """Return a pattern for the calibration runs that have frames of one kind."""
        runs = {
            run
            for run, rows in self.runs.items()
            if any(r["type"] == kind for r in rows)
        }
        return "|".join(sorted(re.escape(run) for run in runs)) or "none"

    def detectors(self, visit):
        """Return the selected detectors of a visit."""
        return [
            d
            for d in self.visits[visit]["detectors"]
            if not self.kept or d in self.kept
        ]

    def of_night(self, night):
        """Return the visits of a night in the fold, in the order of time."""
        return [v for v in self.fold if self.night(v) == night]


SHEET = Sheet()
