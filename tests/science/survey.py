"""Compare the products of the simulated survey with its truth.

Nothing here uses the code under test to decide what is true: positions, fluxes and noise come from
the simulator's own tables, and alerts are read as any consumer reads them, with fastavro. Of the
pipeline's images only the mask of the difference is looked at, to leave out what it calls unusable.

Run as a script it prints the figures of finished runs: ``python tests/science/survey.py 1 2 3``.
"""

import csv
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
EVENTS = ("variable", "transient", "asteroid")
OFFSET = {"asteroid": 3_000_000}
MATCH_ARCSEC = 2.0
LEAST_SNR = 10.0
AIRMASS_EDGE = 1.3  # between the two bins of the templates
BRIGHT_SNR = 200.0  # photon noise below 5 mmag
#: Planes of the difference in which nothing is asked of the pipeline.
MASKED = ("BAD", "CR", "EDGE", "HIGH_VARIANCE", "NO_DATA", "SAT", "SAT_TEMPLATE", "STREAK")
FIELDS = (
    "diaSourceId visit detector ra dec raErr decErr x y psfFlux psfFluxErr snr reliability".split()
)


@dataclass
class Run:
    """Where one survey lies: its truth and its results."""

    truth: Path
    results: Path

    def plan(self) -> list[dict]:
        """Return the rows of the simulator's plan."""
        import json

        return json.loads((self.truth / "plan.json").read_text(encoding="utf-8"))

    def science(self) -> list[dict]:
        """Return the science visits in order."""
        return [row for row in self.plan() if row["purpose"] == "science"]


def read(path) -> dict[str, np.ndarray]:
    """Read a Parquet file: column -> values."""
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    return {name: table[name].to_numpy(zero_copy_only=False) for name in table.column_names}


def take(table: dict, keep) -> dict:
    """Return some rows."""
    return {name: values[keep] for name, values in table.items()}


def stack(tables: list[dict]) -> dict:
    """Put tables below each other."""
    return {name: np.concatenate([t[name] for t in tables]) for name in tables[0]}


def place(ra, dec) -> np.ndarray:
    """Return unit vectors, whose distance is the angle [rad] where it is small."""
    a, d = np.radians(ra), np.radians(dec)
    return np.column_stack([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)])


def nearest(ra, dec, other_ra, other_dec) -> tuple[np.ndarray, np.ndarray]:
    """Return index of and distance [arcsec] to the nearest of the others."""
    from scipy.spatial import cKDTree

    if len(other_ra) == 0:
        return np.full(len(ra), -1), np.full(len(ra), np.inf)
    distance, index = cKDTree(place(other_ra, other_dec)).query(place(ra, dec))
    return index, np.degrees(distance) * 3600


def truth_of(run: Run, row: dict) -> dict[str, np.ndarray]:
    """Return the truth of a visit; ``noise`` is that of a point source there [nJy]."""
    table = read(run.truth / str(row["night"]) / f"{row['visit']}.parquet")
    gain = table["electrons"] / table["flux"]
    return table | {"noise": table["flux"] / table["snr"], "gain": gain}


def template_light(run: Run) -> dict[str, dict]:
    """Return for each band what the template holds: mean flux by source, noise of blank sky.

    The science visits are near the zenith, so their templates come from the lower airmass bin.
    """
    found = {}
    for band in sorted({row["band"] for row in run.science()}):
        rows = [
            row
            for row in run.plan()
            if (row["purpose"], row["band"]) == ("template", band) and row["airmass"] < AIRMASS_EDGE
        ]
        total, variance = {}, 0.0
        for row in rows:
            table = truth_of(run, row)
            point = np.isin(table["kind"], ("star", "variable"))
            blank = np.median((table["noise"] ** 2 - table["flux"] / table["gain"])[point])
            variance += blank / len(rows) ** 2
            for identity, flux in zip(table["source_id"], table["flux"], strict=True):
                total.setdefault(int(identity), []).append(float(flux))
        light = {identity: float(np.mean(values)) for identity, values in total.items()}
        found[band] = {"light": light, "variance": float(variance)}
    return found


def difference_mask(run: Run, row: dict, detector: int) -> np.ndarray:
    """Return where the difference image says that it cannot be used; all, if it was rejected."""
    from astropy.io import fits

    path = folder(run, row) / f"{detector:03d}" / "difference.fits"
    with fits.open(path) as hdus:
        if hdus[0].header.get("STATUS") == "REJECTED":
            return np.ones((1, 1), bool)
        hdu = hdus["MASK"]
        planes = {k[3:]: int(v) for k, v in hdu.header.items() if k.startswith("MP_")}
        value = sum(1 << bit for name, bit in planes.items() if name in MASKED)
        return (np.asarray(hdu.data) & value) != 0


def folder(run: Run, row: dict) -> Path:
    """Return the directory of a visit's products."""
    return run.results / str(row["night"]) / str(row["visit"])


def alerts_of(run: Run, row: dict) -> dict[str, np.ndarray]:
    """Read the alerts of a visit: some fields of each diaSource, and to what it belongs."""
    import fastavro

    rows = []
    for path in sorted((folder(run, row) / "alerts").glob("*.avro")):
        with open(path, "rb") as handle:
            for alert in fastavro.reader(handle):
                source = alert["diaSource"]
                moving = alert.get("ssSource") is not None
                if not moving and alert.get("diaObject") is None:
                    continue
                rows.append([*(source[name] for name in FIELDS), moving])
    names = [*FIELDS, "known"]
    columns = zip(*rows, strict=True) if rows else [[] for _ in names]
    return {
        name: np.array([np.nan if v is None else v for v in column])
        for name, column in zip(names, columns, strict=True)
    }


def events(run: Run, row: dict, template: dict) -> dict[str, np.ndarray]:
    """Return what truly changed on a visit, with ``change`` [nJy], ``change_snr``, ``masked``."""
    from scipy.ndimage import binary_dilation

    table = truth_of(run, row)
    table = take(table, np.isin(table["kind"], EVENTS))
    light = np.array([template["light"].get(int(k), 0.0) for k in table["source_id"]])
    light[table["kind"] == "asteroid"] = 0.0
    change = table["flux"] - light
    noise = np.sqrt(table["noise"] ** 2 + template["variance"])
    masked = np.zeros(len(change), bool)
    for detector in np.unique(table["detector"]):
        mask = binary_dilation(difference_mask(run, row, int(detector)), np.ones((3, 3), bool))
        here = np.flatnonzero(table["detector"] == detector)
        x, y = (np.rint(table[name][here]).astype(int) for name in ("x", "y"))
        ny, nx = mask.shape  # 1 x 1 where the image was rejected
        masked[here] = mask[np.clip(y, 0, ny - 1), np.clip(x, 0, nx - 1)]
    visit = np.full(len(change), row["visit"])
    band = np.full(len(change), row["band"])
    blended = ~isolated(table, np.abs(change))
    extra = {"change": change, "change_snr": change / noise, "masked": masked, "blended": blended}
    return table | extra | {"visit": visit, "band": band}


def match(event: dict, alert: dict) -> tuple[dict, dict]:
    """Pair events and alerts of one visit.

    An alert is true if an event lies within 2 arcsec (and half a trail, whose pixels are one
    arcsec) of it. An event is alerted if an alert lies so near to it.
    """
    index, distance = nearest(alert["ra"], alert["dec"], event["ra"], event["dec"])
    reach = MATCH_ARCSEC + 0.75 * event["trail"][index] if len(event["ra"]) else np.inf
    alert = alert | {
        "true": distance <= reach,
        "source_id": np.where(distance <= reach, event["source_id"][index], 0),
        "distance": distance,
    }
    index, distance = nearest(event["ra"], event["dec"], alert["ra"], alert["dec"])
    found = distance <= MATCH_ARCSEC + 0.75 * event["trail"]
    return event | {"alerted": found, "alert": np.where(found, index, -1)}, alert


def all_events(run: Run) -> tuple[dict, dict]:
    """Return events and alerts of the survey, paired visit by visit."""
    template = template_light(run)
    every, alerts = [], []
    count = 0
    for row in run.science():
        event, alert = match(events(run, row, template[row["band"]]), alerts_of(run, row))
        event["alert"] = np.where(event["alert"] >= 0, event["alert"] + count, -1)
        count += len(alert["ra"])
        every.append(event)
        if len(alert["ra"]):
            alerts.append(alert)
    return stack(every), stack(alerts)


def completeness(event: dict, kinds=("variable", "transient")) -> dict:
    """Count events of S/N >= 10 outside masks, and those alerted."""
    wanted = np.isin(event["kind"], kinds) & (np.abs(event["change_snr"]) >= LEAST_SNR)
    asked = wanted & ~event["masked"]
    return {
        "wanted": int(asked.sum()),
        "alerted": int((asked & event["alerted"]).sum()),
        "masked": int((wanted & event["masked"]).sum()),
        "found_masked": int((wanted & event["masked"] & event["alerted"]).sum()),
    }


def width(values) -> float:
    """Return half the range of the middle 68 per cent."""
    low, high = np.percentile(values, [15.865525, 84.134475])
    return float(0.5 * (high - low))


def pulls(event: dict, alert: dict) -> dict[str, np.ndarray]:
    """Compare flux and position of alerted transients with the truth.

    Transients were not there when the template was taken, so no weight of a coadd enters; those
    near the limit would be biased by having been detected, so S/N >= 10 counts here, too. The
    survey crowds its transients into few galaxies: those with another one near by are left out.
    """
    good = (event["kind"] == "transient") & (event["change_snr"] >= LEAST_SNR)
    good &= ~event["masked"] & event["alerted"] & ~event["blended"]
    one, true = take(alert, event["alert"][good]), take(event, good)
    return {
        "ratio": one["psfFlux"] / true["change"] - 1,
        "flux": (one["psfFlux"] - true["change"]) / one["psfFluxErr"],
        "ra": (one["ra"] - true["ra"]) / one["raErr"],
        "dec": (one["dec"] - true["dec"]) / one["decErr"],
        "snr": true["change_snr"],
    }


def stars(run: Run) -> dict[str, np.ndarray]:
    """Match constant, isolated, clean stars of the science visits with the table ``stars``."""
    found = []
    for row in run.science():
        truth = truth_of(run, row)
        point = np.isin(truth["kind"], ("star", "variable", "transient", "galaxy"))
        truth = take(truth, point)
        alone = isolated(truth, truth["flux"])
        good = alone & (truth["kind"] == "star") & ~truth["saturated"]
        good &= ~truth["defect"] & ~truth["cosmic"] & (truth["snr"] > 20)
        for detector in np.unique(truth["detector"]):
            try:
                table = read(folder(run, row) / f"{detector:03d}" / "stars.parquet")
            except (FileNotFoundError, KeyError):
                continue
            here = take(truth, good & (truth["detector"] == detector))
            index, distance = nearest(here["ra"], here["dec"], table["ra"], table["dec"])
            seen = distance < 0.7
            mine, here = take(table, index[seen]), take(here, seen)
            with np.errstate(invalid="ignore", divide="ignore"):
                offset = -2.5 * np.log10(mine["psfFlux"] / here["flux"])
            east = (mine["ra"] - here["ra"]) * np.cos(np.radians(here["dec"]))
            found.append({
                "source_id": here["source_id"],
                "band": np.full(len(offset), row["band"]),
                "snr": here["snr"],
                "mag": 31.4 - 2.5 * np.log10(here["flux"]),
                "offset": offset,
                "east": east * 3.6e6,
                "north": (mine["dec"] - here["dec"]) * 3.6e6,
            })  # fmt: skip
    table = stack(found)
    return take(table, np.isfinite(table["offset"]))


def isolated(truth: dict, light, radius_px: float = 8.0, share: float = 0.01) -> np.ndarray:
    """Say which sources have no neighbour of a hundredth of their light within 8 px."""
    from scipy.spatial import cKDTree

    x = truth["x"] + 1e5 * truth["detector"]
    pairs = cKDTree(np.column_stack([x, truth["y"]])).query_pairs(radius_px, output_type="ndarray")
    alone = np.ones(len(x), bool)
    a, b = pairs[:, 0], pairs[:, 1]
    alone[a[light[b] > share * light[a]]] = False
    alone[b[light[a] > share * light[b]]] = False
    return alone


def repeatability(star: dict) -> dict[str, np.ndarray]:
    """Return for each star of each band the scatter of its magnitude over the visits [mag]."""
    out = {"mag": [], "snr": [], "scatter": []}
    for band in np.unique(star["band"]):
        mine = take(star, star["band"] == band)
        order = np.argsort(mine["source_id"], kind="stable")
        mine = take(mine, order)
        _, start = np.unique(mine["source_id"], return_index=True)
        for group in np.split(np.arange(len(order)), start[1:]):
            if len(group) >= 4:
                out["scatter"].append(np.std(mine["offset"][group], ddof=1))
                out["mag"].append(np.mean(mine["mag"][group]))
                out["snr"].append(np.mean(mine["snr"][group]))
    return {name: np.array(values) for name, values in out.items()}


def asteroids(run: Run, alert: dict) -> dict:
    """Compare what can be found with what was linked, what was known with what was recognised."""
    with open(run.truth / "findable.csv", newline="", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    last = run.results / str(run.science()[-1]["night"])
    linkages = read(last / "linkages.parquet")
    owner = dict(zip(alert["diaSourceId"].tolist(), alert["source_id"].tolist(), strict=True))
    pure, mixed = set(), 0
    for linkage in np.unique(linkages["linkageId"]):
        ids = linkages["diaSourceId"][linkages["linkageId"] == linkage]
        owners = {owner.get(int(k), 0) for k in ids}
        if len(owners) == 1 and min(owners) > OFFSET["asteroid"]:
            pure |= owners
        else:
            mixed += 1
    known = np.isin(alert["source_id"], [_identity(r) for r in rows if r["known"] == "True"])
    wanted = [_identity(r) for r in rows if r["findable"] == "True" and r["known"] != "True"]
    return {
        "findable": len(wanted),
        "linked": sum(k in pure for k in wanted),
        "missed": [k for k in wanted if k not in pure],
        "mixed": mixed,
        "known": int(known.sum()),
        "recognised": int((known & (alert["known"] == 1)).sum()),
    }


def _identity(row: dict) -> int:
    return int(row["asteroid_id"]) + OFFSET["asteroid"]


def measure(run: Run) -> dict:
    """Return all figures of a run; ``tables`` holds what they were made of."""
    event, alert = all_events(run)
    star = stars(run)
    pull, repeat = pulls(event, alert), repeatability(star)
    bright = star["snr"] > BRIGHT_SNR
    steady = repeat["snr"] > BRIGHT_SNR
    both = completeness(event)
    variables, transients = (completeness(event, (k,)) for k in ("variable", "transient"))
    return {
        "injected": len(np.unique(event["source_id"][event["kind"] != "asteroid"])),
        "wanted": both["wanted"],
        "completeness": both["alerted"] / both["wanted"],
        "completeness_variables": variables["alerted"] / variables["wanted"],
        "completeness_transients": transients["alerted"] / transients["wanted"],
        "masked": both["masked"] / (both["masked"] + both["wanted"]),
        "completeness_masked": both["found_masked"] / max(both["masked"], 1),
        "true_alerts": int(alert["true"].sum()),
        "false_alerts": int((~alert["true"]).sum()),
        "false_per_true": float((~alert["true"]).sum() / alert["true"].sum()),
        "repeat_mmag": 1000 * float(np.median(repeat["scatter"][steady])),
        "scale_mmag": 1000 * float(np.median(star["offset"][bright])),
        "east_mas": float(np.sqrt(np.mean(np.square(_clipped(star["east"][bright]))))),
        "north_mas": float(np.sqrt(np.mean(np.square(_clipped(star["north"][bright]))))),
        "flux_bias": float(np.median(pull["ratio"])),
        "flux_pull": width(pull["flux"]),
        "ra_pull": width(pull["ra"]),
        "dec_pull": width(pull["dec"]),
        **asteroids(run, alert),
        "tables": {"events": event, "alerts": alert, "stars": star, "pulls": pull,
                   "repeat": repeat},
    }  # fmt: skip


def _clipped(values: np.ndarray) -> np.ndarray:
    """Leave out mismatches: farther than 200 mas."""
    return values[np.abs(values) < 200]


def text(figures: dict) -> str:
    """Return the figures, one to a line."""
    shown = {name: value for name, value in figures.items() if name != "tables"}
    return "\n".join(
        f"{name:24s} {value:.4f}" if isinstance(value, float) else f"{name:24s} {value}"
        for name, value in shown.items()
    )


def run_of(seed: int, root: Path = ROOT) -> Run:
    """Return where the survey with a seed lies."""
    return Run(root / f"data/survey{seed}/truth", root / f"results/survey{seed}")


if __name__ == "__main__":
    for number in sys.argv[1:]:
        print(f"seed {number}\n{text(measure(run_of(int(number))))}")
