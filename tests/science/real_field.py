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
SAME_ARCSEC = 6.0  # about a pixel
OFTEN = 5  # detections in one place that call for a look at the star itself
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


def unexplained(table: dict, known: np.ndarray) -> np.ndarray:
    """Say which DIASources carry no flag and are no star that is known to vary.

    Parameters
    ----------
    table : dict of arrays
        ``dia_sources``.
    known : float64, shape (n, 2)
        ra, dec [deg] of the target and of variable stars.
    """
    good = np.ones(len(table["x"]), dtype=bool)
    for name in EXPLAINED:
        good &= ~table[name]
    for ra, dec in known:
        good &= separation(table["ra"], table["dec"], ra, dec) > SAME_ARCSEC
    return good


def separation(ra, dec, ra0: float, dec0: float) -> np.ndarray:
    """Return small angles [arcsec]."""
    return 3600 * np.hypot((ra - ra0) * np.cos(np.radians(dec0)), dec - dec0)


def repeated(tables: list[dict]) -> np.ndarray:
    """Return the places with detections of one sign in many frames: shape (n, 2), ra and dec."""
    places = []
    for negative in (False, True):
        ra, dec = (
            np.concatenate([t[name][t["isNegative"] == negative] for t in tables])
            for name in ("ra", "dec")
        )
        left = np.ones(len(ra), dtype=bool)
        for k in range(len(ra)):
            near = left & (separation(ra, dec, ra[k], dec[k]) < SAME_ARCSEC)
            if left[k] and near.sum() >= OFTEN:
                places.append((float(np.median(ra[near])), float(np.median(dec[near]))))
                left &= ~near
    return np.array(places).reshape(-1, 2)


def varies(rows: list[dict], ra: float, dec: float) -> bool:
    """Say whether a star varies by its aperture fluxes on the science images alone.

    Its slow changes (medians of five frames) must be larger than those of each of the forty stars
    nearest to it in brightness; blank sky has no such stars.
    """
    stars = read_table(rows[len(rows) // 2]["folder"] / "stars.parquet")
    own = circle_fluxes(rows, np.array([ra]), np.array([dec]), radius=3.0)
    good = np.flatnonzero(clean(stars, snr=10))
    good = good[separation(stars["ra"][good], stars["dec"][good], ra, dec) > SAME_ARCSEC]
    ratio = np.abs(np.log(stars["apFlux"][good] / np.nanmedian(own)))
    chosen = good[np.argsort(ratio)][:40]
    others = circle_fluxes(rows, stars["ra"][chosen], stars["dec"][chosen], radius=3.0)
    slow = np.array([slow_scatter(series) for series in relative(np.vstack([own, others]))])
    alike = np.nanmedian(own) > 0.5 * np.nanmedian(others)
    return bool(alike and slow[0] > np.nanmax(slow[1:]))


def slow_scatter(series: np.ndarray, width: int = 5) -> float:
    """Return the standard deviation of running medians of a series without its gaps."""
    values = series[np.isfinite(series)]
    if len(values) < 2 * width:
        return np.nan
    windows = np.lib.stride_tricks.sliding_window_view(values, width)
    return float(np.std(np.median(windows, axis=1)))


def circle_fluxes(rows: list[dict], ra, dec, radius: float) -> np.ndarray:
    """Return fluxes in circles, NaN where a defect touches: shape (n, exposures)."""
    from alertprod.alerts.forced import circle_flux

    flux = np.full((len(ra), len(rows)), np.nan)
    for k, row in enumerate(rows):
        try:
            calexp = read_exposure(row["folder"] / "calexp.fits")
        except Rejected:
            continue
        found = circle_flux(calexp, *calexp.wcs.sky_to_pix(ra, dec), radius)
        flux[:, k] = np.where(found["flag"] | ~(found["flux"] > 0), np.nan, found["flux"])
    return flux


def relative(flux: np.ndarray) -> np.ndarray:
    """Return log fluxes about each star's median and each exposure's."""
    magnitude = np.log(flux) - np.nanmedian(np.log(flux), axis=1)[:, None]
    return magnitude - np.nanmedian(magnitude, axis=0)


def detections(rows: list[dict], config: dict) -> dict:
    """Count detections per frame that nothing explains, and the area in which they were sought."""
    tables, area = [], []
    for row in rows:
        try:
            difference = read_exposure(row["folder"] / "difference.fits")
            tables.append(read_table(row["folder"] / "dia_sources.parquet"))
        except Rejected:
            continue
        area.append(float(kept_area(difference).mean()))
    known = [(target["ra"], target["dec"]) for target in config["alerts"]["targets"]]
    variable = [place for place in repeated(tables) if varies(rows, *place)]
    positive, negative = [], []
    for table in tables:
        good = unexplained(table, np.array([*known, *variable]))
        positive.append(int((good & ~table["isNegative"]).sum()))
        negative.append(int((good & table["isNegative"]).sum()))
    return {
        "subtracted": len(area),
        "positive": float(np.mean(positive)),
        "negative": float(np.mean(negative)),
        "area": float(np.mean(area)),
        "variable": [tuple(round(float(v), 4) for v in place) for place in variable],
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

    Each star is compared with the median of forty bright ones; epochs that a defect touches are
    left out, and so is the target.
    """
    first = read_table(rows[len(rows) // 2]["folder"] / "stars.parquet")
    good = clean(first)
    for target in config["alerts"]["targets"]:
        apart = separation(first["ra"], first["dec"], target["ra"], target["dec"])
        good &= apart > SAME_ARCSEC
    for row in (rows[0], rows[-1]):  # the drift goes one way: what both show is on all frames
        x, y = read_exposure(row["folder"] / "calexp.fits").wcs.sky_to_pix(
            first["ra"], first["dec"]
        )
        good &= (x > 15) & (x < 634) & (y > 25) & (y < 484)
    stars = np.flatnonzero(good)
    stars = stars[np.argsort(-first["apFlux"][stars])][:40]
    radius = float(config["alerts"]["target_aperture_px"])
    left = relative(circle_fluxes(rows, first["ra"][stars], first["dec"][stars], radius))
    return [float(np.nanstd(series)) for series in left[:count]]


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
        f"negative, on {100 * f['area']:.1f} % of the area ({f['subtracted']} frames); "
        f"variable stars at {', '.join(f'{ra} {dec:+}' for ra, dec in f['variable']) or 'none'}",
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
