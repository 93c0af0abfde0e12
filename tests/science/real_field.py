"""Measure the figures of the real field from the products of a run (``make real``).

Nothing here uses the code under test to decide what is true: stars are compared with stars, the
ephemeris of HAT-P-32 b is published, and fakes are copies of the frame's own isolated stars, moved
by whole pixels, so that no model of the PSF enters.

Run as a script it prints the figures and writes them to ``<results>/figures.txt``.

References
----------
Hartman et al. 2011, ApJ 742, 59 (HAT-P-32 b: transits at BJD 2454420.44637 + 2.150008 n).
"""

import csv
import sys
from pathlib import Path

import numpy as np

from alertprod.commands import lightcurve, settings
from alertprod.core.errors import Rejected
from alertprod.core.fits import read_exposure
from alertprod.core.masks import bits
from alertprod.core.tables import read_table

ROOT = Path(__file__).parents[2]
TYCHO = 1000  # identifiers of the bright stars are below this
#: Flags that explain a detection.
EXPLAINED = (
    "pixelFlags_crCenter", "pixelFlags_edge", "pixelFlags_interpolatedCenter",
    "pixelFlags_nodataCenter", "pixelFlags_saturatedCenter", "pixelFlags_suspectCenter",
)  # fmt: skip
#: The area that these flags take, from the planes and their reach.
CENTRE_PLANES = ("BAD", "CR", "INTRP", "NO_DATA", "SAT", "SAT_TEMPLATE", "SUSPECT")
SPOILED = ("saturated", "suspect", "bad", "cr", "edge", "nodata")
#: From that ephemeris and the published duration, for 2017-12-20 [h].
CONTACTS_UT = (3 + 23 / 60, 3 + 48 / 60, 6 + 5 / 60, 6 + 30 / 60)
MIDDLE_UT = 4 + 57 / 60
MJD_OF_NIGHT = 58107.0  # 2017-12-20 0h
TAI_MINUS_UTC = 37.0 / 86400


def load(root: Path = ROOT) -> tuple[dict, list[dict]]:
    """Return the configuration and the rows of the exposure sheet with their folders."""
    config = settings.load([root / "config" / "hatp32.yaml"], str(root / "config/default.yaml"))
    with open(root / config["sheet"] / "exposures.csv", newline="") as handle:
        rows = sorted(csv.DictReader(handle), key=lambda row: row["visit"])
    results = root / settings.results(config)
    for row in rows:
        row["folder"] = results / row["night"] / row["visit"] / row["detector"]
    return config, rows


def solved(rows: list[dict]) -> dict:
    """Count solved frames and the bright stars that their solutions kept."""
    count, kept, rms = 0, [], []
    for row in rows:
        try:
            stars = read_table(row["folder"] / "stars.parquet")
        except Rejected:
            continue
        count += 1
        bright = (stars["refId"] > 0) & (stars["refId"] < TYCHO) & stars["isAstrometryStar"]
        kept.append(int(bright.sum()))
        residual = np.hypot(stars["refDRa"][bright], stars["refDDec"][bright])
        rms.append(float(np.sqrt(np.mean(residual.astype(float) ** 2) / 2)) / 5166)
    return {"solved": count, "tycho_least": min(kept), "rms_worst": max(rms)}


def clean(stars: dict, snr: float = 30) -> np.ndarray:
    """Say which stars are bright and untouched."""
    good = (stars["snr"] > snr) & ~stars["centroid_flag"] & ~stars["isBlended"]
    for name in SPOILED:
        good &= ~stars[f"pixelFlags_{name}"]
    return good


def registration(rows: list[dict]) -> dict:
    """Compare positions of common stars in successive frames [px per axis, of one frame]."""
    from scipy.spatial import cKDTree

    shifts, scatters, before = [], [], None
    for row in rows:
        try:
            stars = read_table(row["folder"] / "stars.parquet")
            wcs = read_exposure(row["folder"] / "calexp.fits").wcs
        except Rejected:
            continue
        good = np.flatnonzero(clean(stars))
        place = np.column_stack([stars["x"][good], stars["y"][good]])
        if before is not None:
            x, y = wcs.sky_to_pix(*before)
            distance, index = cKDTree(place).query(np.column_stack([x, y]), distance_upper_bound=1)
            pair = np.isfinite(distance)
            apart = np.column_stack([x, y])[pair] - place[index[pair]]
            shifts.append(np.abs(np.median(apart, axis=0)).max())
            spread = 1.4826 * np.median(np.abs(apart - np.median(apart, axis=0)), axis=0)
            scatters.append(spread.max() / np.sqrt(2))
        before = (stars["ra"][good], stars["dec"][good])
    return {
        "shift_worst": float(max(shifts)),
        "scatter_median": float(np.median(scatters)),
        "scatter_worst": float(max(scatters)),
    }


def kept_area(difference) -> np.ndarray:
    """Return where a detection would not be explained by a flag: bool, shape (ny, nx)."""
    from scipy.ndimage import binary_dilation

    centre = binary_dilation((difference.mask & bits(*CENTRE_PLANES)) != 0, np.ones((3, 3), bool))
    return ~centre & ((difference.mask & bits("EDGE")) == 0)


def unexplained(table: dict, config: dict, wcs) -> np.ndarray:
    """Say which DIASources carry no flag and are not the target."""
    good = np.ones(len(table["x"]), dtype=bool)
    for name in EXPLAINED:
        good &= ~table[name]
    for target in config["alerts"]["targets"]:
        x, y = wcs.sky_to_pix(target["ra"], target["dec"])
        good &= np.hypot(table["x"] - x, table["y"] - y) > 3
    return good


def detections(rows: list[dict], config: dict) -> dict:
    """Count detections per frame that nothing explains, and the area in which they were sought."""
    positive, negative, area = [], [], []
    for row in rows:
        try:
            difference = read_exposure(row["folder"] / "difference.fits")
            table = read_table(row["folder"] / "dia_sources.parquet")
        except Rejected:
            continue
        good = unexplained(table, config, difference.wcs)
        positive.append(int((good & ~table["isNegative"]).sum()))
        negative.append(int((good & table["isNegative"]).sum()))
        area.append(float(kept_area(difference).mean()))
    return {
        "subtracted": len(area),
        "positive": float(np.mean(positive)),
        "negative": float(np.mean(negative)),
        "area": float(np.mean(area)),
        "per_frame": list(zip(positive, negative, strict=True)),
    }


def transit_shape(hours: np.ndarray, middle: float) -> np.ndarray:
    """Return the trapezoid of the transit, 1 inside and 0 outside, at hours UT of the night."""
    first, second, third, fourth = CONTACTS_UT
    half_out, half_in = (fourth - first) / 2, (third - second) / 2
    return np.clip((half_out - np.abs(hours - middle)) / (half_out - half_in), 0, 1)


def fit_transit(hours, flux, groups, *, free_time: bool = True) -> dict:
    """Fit depth, a linear trend and one offset per group; the time on a grid.

    Parameters
    ----------
    hours, flux : float64, shape (n,)
    groups : array, shape (n,)
        Template run (or a constant): its own offset.
    """
    names = sorted(set(groups))
    offsets = np.column_stack([groups == name for name in names]).astype(float)
    grid = np.arange(MIDDLE_UT - 0.6, MIDDLE_UT + 0.6, 0.01) if free_time else [MIDDLE_UT]
    best = None
    for middle in grid:
        shape = transit_shape(hours, middle)
        design = np.column_stack([-shape, hours - MIDDLE_UT, offsets])
        keep = np.ones(len(hours), dtype=bool)
        for _ in range(4):
            solution, *_ = np.linalg.lstsq(design[keep], flux[keep], rcond=None)
            residual = flux - design @ solution
            width = 1.4826 * np.median(np.abs(residual[keep]))
            keep = np.abs(residual) < 4 * width
        cost = float(np.sum(np.minimum(np.abs(residual), 4 * width) ** 2))
        if best is None or cost < best["cost"]:
            inverse = np.linalg.inv(design[keep].T @ design[keep])
            scatter = float(np.std(residual[keep]))
            best = {"cost": cost, "depth": float(solution[0]), "middle": float(middle),
                    "scatter": scatter, "n": int(keep.sum()),
                    "depth_error": scatter * float(np.sqrt(inverse[0, 0]))}  # fmt: skip
    return best


def transit(curve: dict) -> dict:
    """Fit the transit to the light curves of the science and of the difference images."""
    good = ~curve["flag"]
    hours = (curve["mjd_tai"] - TAI_MINUS_UTC - MJD_OF_NIGHT)[good] * 24
    one = np.zeros(good.sum())
    science = fit_transit(hours, curve["relative_flux"][good], one)
    fixed = fit_transit(hours, curve["relative_flux"][good], one, free_time=False)
    run = curve["template_run"][good]
    subtracted = fit_transit(hours, curve["difference_flux"][good], run, free_time=False)
    return {
        "depth": fixed["depth"],
        "depth_error": fixed["depth_error"],
        "scatter": fixed["scatter"],
        "middle_off_minutes": (science["middle"] - MIDDLE_UT) * 60,
        "difference_depth": subtracted["depth"],
        "difference_depth_error": subtracted["depth_error"],
        "difference_scatter": subtracted["scatter"],
        "epochs": int(good.sum()),
    }


def repeatability(rows: list[dict], config: dict, count: int = 5) -> list[float]:
    """Return the relative scatter of the brightest unsaturated stars over the night.

    Each star is compared with the mean of the other clean stars of at least a tenth of the
    faintest one's flux; epochs that a defect touches are left out.
    """
    from alertprod.alerts.forced import circle_flux

    first = read_table(rows[len(rows) // 2]["folder"] / "stars.parquet")
    bright = np.flatnonzero(clean(first))
    bright = bright[np.argsort(-first["apFlux"][bright])]
    # Far enough from the rim of that frame to be on most of the others.
    inside = (np.abs(first["x"] - 325) < 200) & (first["y"] > 40) & (first["y"] < 460)
    stars = [int(k) for k in bright if inside[k]][:40]
    ra, dec = first["ra"][stars], first["dec"][stars]
    flux = np.full((len(stars), len(rows)), np.nan)
    radius = float(config["alerts"]["target_aperture_px"])
    for k, row in enumerate(rows):
        try:
            calexp = read_exposure(row["folder"] / "calexp.fits")
        except Rejected:
            continue
        found = circle_flux(calexp, *calexp.wcs.sky_to_pix(ra, dec), radius)
        flux[:, k] = np.where(found["flag"], np.nan, found["flux"])
    magnitude = np.log(flux) - np.nanmedian(np.log(flux), axis=1)[:, None]
    common = np.nanmedian(magnitude, axis=0)
    left = magnitude - common
    seen = np.isfinite(left).sum(axis=1) > 0.6 * len(rows)
    scatter = [float(np.nanstd(left[k])) for k in np.flatnonzero(seen)]
    return scatter[:count]


def measure(root: Path = ROOT) -> dict:
    """Measure all figures that need no further subtraction."""
    config, rows = load(root)
    results = root / settings.results(config)
    curve = lightcurve.read(results / "lightcurve_HAT-P-32.csv")
    return {
        **solved(rows),
        **registration(rows),
        **detections(rows, config),
        **transit(curve),
        "repeat": repeatability(rows, config),
    }


def text(figures: dict) -> str:
    """Return the figures as a page of text."""
    f = figures
    lines = [
        f"solved {f['solved']} of 71; at least {f['tycho_least']} Tycho-2 stars kept, "
        f"their rms at most {f['rms_worst']:.2f} px per axis",
        f"registration: shift <= {f['shift_worst']:.3f} px, star-to-star scatter per axis "
        f"{f['scatter_median']:.3f} px (worst {f['scatter_worst']:.3f})",
        f"unexplained detections per frame: {f['positive']:.2f} positive, {f['negative']:.2f} "
        f"negative, on {100 * f['area']:.1f} % of the area ({f['subtracted']} frames)",
        f"transit: depth {100 * f['depth']:.2f} +- {100 * f['depth_error']:.2f} % (calibrated), "
        f"{100 * f['difference_depth']:.2f} +- {100 * f['difference_depth_error']:.2f} % "
        f"(difference); scatter {100 * f['scatter']:.2f} % and "
        f"{100 * f['difference_scatter']:.2f} %; {f['epochs']} epochs",
        f"mid-transit {f['middle_off_minutes']:+.1f} minutes from 04:57 UT",
        "five brightest unsaturated stars repeat to "
        + ", ".join(f"{100 * s:.2f}" for s in f["repeat"])
        + " %",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    page = text(measure())
    print(page)
    shown = settings.results(load()[0]) / "figures.txt"
    (ROOT / shown).write_text(page + "\n", encoding="utf-8")
    sys.exit(0)
