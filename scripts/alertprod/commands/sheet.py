"""The exposure sheet for commands that do not plan: what a detector-visit is made from.

The rules decide the same in ``workflow/rules/common.smk``; a test in ``tests/workflow`` holds the
two together.
"""

import csv
from bisect import bisect_right
from pathlib import Path
from typing import Any

from alertprod.core.errors import BadInput

Row = dict[str, str]


class Sheet:
    """The three files of a sheet as dictionaries.

    Parameters
    ----------
    config : dict
        The whole configuration (see `alertprod.commands.settings.load`).

    Raises
    ------
    BadInput
        If a file is missing.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.rows: dict[tuple[str, str], Row] = {}
        self.visits: dict[str, Row] = {}
        self.runs: dict[str, list[Row]] = {}
        self.bins: dict[tuple, dict[str, list[Row]]] = {}
        for row in self._read("exposures"):
            self.rows[row["visit"], row["detector"]] = row
            self.visits.setdefault(row["visit"], row)
        for row in self._read("calibs"):
            self.runs.setdefault(row["calib_run"], []).append(row)
        for row in self._read("templates"):
            key = row["template_run"], row["tract"], row["patch"], row["band"]
            self.bins.setdefault(key, {}).setdefault(row["airmass_bin"], []).append(row)
        self.order = sorted(
            self.visits, key=lambda v: (float(self.visits[v]["midpoint_mjd_tai"]), v)
        )

    def _read(self, name: str) -> list[Row]:
        path = Path(self.config["sheet"]) / f"{name}.csv"
        if not path.is_file():
            raise BadInput(
                f"the sheet {path} does not exist. Write it with: alertprod ingest "
                f"{self.config['paths']['raw']} --instrument {self.config['instrument']} "
                f"--into {self.config['sheet']}"
            )
        with open(path, newline="", encoding="utf-8") as handle:
            return list(csv.DictReader(handle))

    def row(self, visit: str, detector: str) -> Row:
        """Return the row of a detector-visit.

        Raises
        ------
        BadInput
            If there is none.
        """
        key = str(visit), f"{int(detector):03d}"
        if key not in self.rows:
            known = sorted(d for v, d in self.rows if v == key[0])
            found = f"it has detectors {', '.join(known)}" if known else "it has no such visit"
            raise BadInput(
                f"the sheet {self.config['sheet']} has no detector {key[1]} of visit {key[0]} "
                f"({found}). Look up the number in its exposures.csv."
            )
        return self.rows[key]

    def nights(self) -> list[str]:
        """Return all nights, in order."""
        return sorted({row["night"] for row in self.visits.values()})

    def fold(self) -> list[str]:
        """Return the visits that are associated, in the order of time."""
        start = str(self.config["associate"]["start"] or "")
        return [v for v in self.order if self.visits[v]["purpose"] != "template" and v >= start]

    def selected(self) -> list[str]:
        """Return the visits of the fold that the configuration selects."""
        chosen = {k: {str(item) for item in v} for k, v in self.config["select"].items()}
        columns = (("nights", "night"), ("visits", "visit"), ("bands", "band"))
        return [
            visit
            for visit in self.fold()
            if all(not chosen[k] or self.visits[visit][name] in chosen[k] for k, name in columns)
        ]

    def of_night(self, night: str) -> list[str]:
        """Return the visits of a night, in the order of time."""
        return [visit for visit in self.order if self.visits[visit]["night"] == night]

    def detectors(self, visit: str) -> list[str]:
        """Return the selected detectors of a visit."""
        kept = {f"{int(d):03d}" for d in self.config["select"]["detectors"]}
        return sorted(d for v, d in self.rows if v == visit and (not kept or d in kept))

    def raws(self, row: Row) -> list[Path]:
        """Return the raw snaps of a detector-visit."""
        return [Path(self.config["paths"]["raw"]) / name for name in row["snaps"].split(";")]

    def shards(self, row: Row) -> list[Path]:
        """Return the shards of the reference catalogue under a detector-visit."""
        names = filter(None, row["shards"].split(";"))
        return [Path(self.config["paths"]["refcat"]) / name for name in names]

    def masters(self, row: Row, results: Path) -> dict[str, Path]:
        """Return the master calibrations that are valid for a detector-visit, by product."""
        found: dict[str, Path] = {}
        for run, rows in sorted(self.runs.items()):
            mine = [r for r in rows if r["detector"] == row["detector"]]
            if not mine or not mine[0]["valid_from"] <= row["night"] <= mine[0]["valid_until"]:
                continue
            folder = results / "calibs" / run / row["detector"]
            kinds = {(r["type"], r["band"]) for r in mine}
            found |= {k: folder / f"{k}.fits" for k in ("bias", "dark") if (k, "") in kinds}
            if ("flat", row["band"]) in kinds:
                found["flat"] = folder / f"flat_{row['band']}.fits"
            found["defects"] = folder / "defects.fits"
        return found

    def patches(self, row: Row, results: Path) -> list[Path]:
        """Return the template patches that serve a detector-visit, by filter and airmass."""
        run = row["template_run"] or self.config["template"]["run"]
        wanted = bisect_right(self.config["template"]["airmass_edges"], float(row["airmass"]))
        enough = self.config["template"]["enough_visits"]
        paths = []
        for place in filter(None, row["patches"].split(";")):
            tract, patch = place.split("/")
            bins = self.bins.get((run, tract, patch, row["band"]), {})
            full = [b for b in bins if len({r["visit"] for r in bins[b]}) >= enough]
            if full:
                nearest = min(full, key=lambda b: (abs(int(b) - wanted), b))
                paths.append(results / "templates" / run / place / row["band"] / f"{nearest}.fits")
        return paths
