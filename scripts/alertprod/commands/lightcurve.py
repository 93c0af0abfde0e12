"""``alertprod lightcurve``: a target's brightness in all visits, as a table and as a picture."""

from __future__ import annotations

import csv
import logging
from pathlib import Path
from typing import Any

import numpy as np

from alertprod.commands import settings
from alertprod.core.errors import BadInput, Rejected

log = logging.getLogger(__name__)
COMPARISONS = 40
FAINTEST = 0.3  # of the target's flux, of a comparison star
COLUMNS = (
    "visit", "detector", "band", "template_run", "mjd_tai", "utc", "relative_flux",
    "relative_flux_error", "difference_flux", "difference_flux_error", "flag", "stars",
)  # fmt: skip


def add_parser(sub) -> None:
    """Declare the command."""
    parser = sub.add_parser(
        "lightcurve",
        help="collect the light curve of a target, as CSV and PNG",
        description="Aperture fluxes of a target of the configuration (alerts.targets) in all "
        "visits: on the science images relative to stars of similar brightness on the same "
        "detector, on the difference images less what the same stars leave there.",
    )
    parser.add_argument("target", help="its name in the configuration")
    parser.add_argument("--into", type=Path, default=None, help="directory (default: <results>)")
    parser.add_argument("--comparisons", type=int, default=COMPARISONS, help="stars at most")
    settings.add_arguments(parser)
    parser.set_defaults(run=run)


def run(args) -> int:
    """Write the table and the picture, and say where they are."""
    config = settings.from_arguments(args)
    curve = collect(config, args.target, args.comparisons)
    folder = args.into or settings.results(config)
    folder.mkdir(parents=True, exist_ok=True)
    name = "".join(c if c.isalnum() or c in "+-." else "_" for c in args.target)
    path = folder / f"lightcurve_{name}.csv"
    write(curve, path)
    draw(curve, args.target, path.with_suffix(".png"))
    good = ~curve["flag"]
    print(f"{args.target}: {len(good)} visits, {good.sum()} of them untouched by defects")
    print(f"Table: {path}\nPicture: {path.with_suffix('.png')}")
    return 0


def collect(config: dict[str, Any], name: str, comparisons: int = COMPARISONS) -> dict:
    """Collect the light curve of a target.

    Parameters
    ----------
    config : dict
        The whole configuration.
    name : str
        Of the target.
    comparisons : int
        Comparison stars at most.

    Returns
    -------
    dict of arrays
        The columns of the table (see `COLUMNS`), in order of time; fluxes in units of the
        target's median flux.

    Raises
    ------
    BadInput
        If there is no such target, or nothing was measured.
    """
    from alertprod.commands.ensemble import common_residual, relative_curve, solve_ensemble
    from alertprod.core.times import mjd_to_iso, tai_to_utc

    target = _target(config, name)
    found = _epochs(config, name)
    if not found:
        raise BadInput(
            f"no visit has measured {name} in {settings.results(config)}. Run the visits first; "
            "the target must be in their configuration and on a detector."
        )
    curves = []
    for key in sorted({(row["detector"], row["band"]) for row in found}):
        rows = [row for row in found if (row["detector"], row["band"]) == key]
        flux, left, good = _measure_comparisons(rows, target, config, comparisons)
        ensemble = solve_ensemble(flux, good)
        common = common_residual(left, flux, good, ensemble)
        column = {k: np.array([row[k] for row in rows]) for k in rows[0] if k != "folder"}
        usable = ~column["flag"]
        relative, error, reference = relative_curve(
            column["science"], column["science_error"], usable, ensemble
        )
        scale = reference * ensemble.factor
        curves.append(
            {
                "visit": column["visit"],
                "detector": column["detector"],
                "band": column["band"],
                "template_run": column["template_run"],
                "mjd_tai": column["mjd_tai"],
                "utc": np.array([mjd_to_iso(float(t)) for t in tai_to_utc(column["mjd_tai"])]),
                "relative_flux": relative,
                "relative_flux_error": error,
                "difference_flux": column["difference"] / scale - common,
                "difference_flux_error": column["difference_error"] / scale,
                "flag": column["flag"] | ~np.isfinite(relative),
                "stars": ensemble.n_stars,
            }
        )
    joined = {name: np.concatenate([c[name] for c in curves]) for name in COLUMNS}
    order = np.lexsort([joined["detector"], joined["mjd_tai"]])
    return {name: column[order] for name, column in joined.items()}


def _target(config: dict, name: str) -> dict:
    targets = {str(t["name"]): t for t in config["alerts"]["targets"] or []}
    if name not in targets:
        known = ", ".join(sorted(targets)) or "none"
        raise BadInput(f"{name} is no target (alerts.targets has: {known}). Name it there.")
    if not float(config["alerts"]["target_aperture_px"]) > 0:
        raise BadInput("alerts.target_aperture_px is 0: targets have no aperture fluxes. Set it.")
    return targets[name]


def _epochs(config: dict, name: str) -> list[dict]:
    """Return what the forced photometry of each visit says about a target."""
    from alertprod.commands.sheet import Sheet
    from alertprod.core.tables import read_table

    sheet, results, found = Sheet(config), settings.results(config), []
    for visit in sheet.selected():
        night = sheet.visits[visit]["night"]
        path = results / night / visit / "forced.parquet"
        if not path.is_file():
            continue
        table = read_table(path)
        for k in np.flatnonzero(table["target"] == name):
            detector = f"{int(table['detector'][k]):03d}"
            run = sheet.row(visit, detector)["template_run"] or config["template"]["run"]
            found.append(
                {
                    "visit": visit,
                    "detector": detector,
                    "band": str(table["band"][k]),
                    "template_run": run,
                    "mjd_tai": float(table["midpointMjdTai"][k]),
                    "science": float(table["scienceApFlux"][k]),
                    "science_error": float(table["scienceApFluxErr"][k]),
                    "difference": float(table["apFlux"][k]),
                    "difference_error": float(table["apFluxErr"][k]),
                    "flag": bool(table["scienceApFlux_flag"][k] | table["apFlux_flag"][k]),
                    "folder": results / night / visit / detector,
                }
            )
    return found


def _measure_comparisons(rows: list[dict], target: dict, config: dict, count: int):
    """Measure comparison stars in the target's circle.

    Returns the fluxes on the science and on the difference images, and whether they are clean.
    """
    from alertprod.alerts.forced import circle_flux
    from alertprod.core.fits import read_exposure

    radius = float(config["alerts"]["target_aperture_px"])
    ra, dec = _comparisons(rows, target, radius, count)
    flux = np.full((len(ra), len(rows)), np.nan)
    left = np.full(flux.shape, np.nan)
    good = np.zeros(flux.shape, dtype=bool)
    for k, row in enumerate(rows):
        try:
            calexp = read_exposure(row["folder"] / "calexp.fits")
            difference = read_exposure(row["folder"] / "difference.fits")
        except (Rejected, FileNotFoundError) as error:
            log.info("visit %s is left out: %s", row["visit"], error)
            continue
        x, y = calexp.wcs.sky_to_pix(ra, dec)
        found = circle_flux(calexp, x, y, radius)
        flux[:, k], good[:, k] = found["flux"], ~found["flag"]
        found = circle_flux(difference, x, y, radius)
        left[:, k] = np.where(found["flag"], np.nan, found["flux"])
    return flux, left, good


def _comparisons(rows: list[dict], target: dict, radius: float, count: int):
    """Choose comparison stars in the exposure that shows the most of them."""
    from alertprod.commands.ensemble import choose_comparisons
    from alertprod.core.tables import read_table, take

    best = None
    for row in rows:
        try:
            stars = read_table(row["folder"] / "stars.parquet")
        except (Rejected, FileNotFoundError):
            continue
        chosen = choose_comparisons(
            stars,
            float(target["ra"]),
            float(target["dec"]),
            count=count,
            faintest=FAINTEST,
            isolation=2.5 * radius,
        )
        if best is None or len(chosen) > len(best["ra"]):
            best = take({name: stars[name] for name in ("ra", "dec")}, chosen)
        if len(chosen) == count:
            break
    if best is None or not len(best["ra"]):
        raise BadInput(
            f"{target['name']} has no comparison star: it is not among the stars of its "
            "exposures, or no other is similar and clean."
        )
    log.info("%d comparison stars", len(best["ra"]))
    return best["ra"], best["dec"]


def write(curve: dict, path: Path) -> None:
    """Write the table as CSV."""
    with open(path, "w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(COLUMNS)
        for values in zip(*(curve[name] for name in COLUMNS), strict=True):
            writer.writerow([_text(value) for value in values])


def read(path: Path) -> dict[str, np.ndarray]:
    """Read a table that `write` wrote."""
    with open(path, newline="", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    out = {name: np.array([row[name] for row in rows]) for name in COLUMNS}
    for name in COLUMNS[4:5] + COLUMNS[6:10]:
        out[name] = out[name].astype(float)
    out["flag"] = out["flag"] == "1"
    out["stars"] = out["stars"].astype(int)
    return out


def _text(value) -> str:
    if isinstance(value, (bool, np.bool_)):
        return str(int(value))
    if isinstance(value, (float, np.floating)):
        return f"{value:.8f}"
    return str(value)


def draw(curve: dict, name: str, path: Path) -> None:
    """Draw the light curve of the science and of the difference images."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 7), layout="constrained")
    FigureCanvasAgg(figure)
    upper, lower = figure.subplots(2, 1, sharex=True)
    good = ~curve["flag"]
    time = curve["mjd_tai"]
    upper.errorbar(
        time[good], curve["relative_flux"][good], curve["relative_flux_error"][good],
        fmt="o", color="#0072b2", markersize=4, elinewidth=0.8,
    )  # fmt: skip
    limits = upper.get_ylim()
    upper.plot(time[~good], curve["relative_flux"][~good], "x", color="#999999", label="flagged")
    upper.set_ylim(limits)
    upper.set_ylabel("science image, relative flux")
    upper.set_title(f"{name}: aperture photometry relative to similar stars")
    runs = sorted(set(curve["template_run"]))
    for run, colour in zip(runs, ("#d55e00", "#009e73", "#cc79a7", "#e69f00") * 9, strict=False):
        here = good & (curve["template_run"] == run)
        lower.errorbar(
            time[here], curve["difference_flux"][here], curve["difference_flux_error"][here],
            fmt="o", color=colour, markersize=4, elinewidth=0.8, label=f"template {run}",
        )  # fmt: skip
    lower.axhline(0.0, color="#999999", linewidth=0.8)
    lower.set_ylabel("difference image, flux / usual flux")
    lower.set_xlabel("MJD (TAI)")
    lower.ticklabel_format(useOffset=False)
    for axes in (upper, lower):
        axes.legend(loc="lower right")
    figure.savefig(path, dpi=110, metadata={"Software": None})
