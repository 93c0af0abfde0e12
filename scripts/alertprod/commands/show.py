"""``alertprod show``: one alert as stamps and light curve, in the terminal and as a picture."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from alertprod.commands import settings
from alertprod.core.errors import BadInput

SHADES = " .:-=+*#%@"
STAMPS = {
    "cutoutScience": "science",
    "cutoutTemplate": "template",
    "cutoutDifference": "difference",
}
COLOURS = {"u": "#56b4e9", "g": "#009e73", "r": "#d55e00", "i": "#e69f00", "z": "#cc79a7"}
WIDTH = 72


def add_parser(sub) -> None:
    """Declare the command."""
    parser = sub.add_parser(
        "show",
        help="show an alert: stamps and light curve, as text and as a PNG",
        description="Finds the alert among the results by its identifier.",
    )
    parser.add_argument("alert", type=int, help="diaSourceId of the alert")
    parser.add_argument("--png", metavar="FILE", help="picture (default: alert_<id>.png)")
    parser.add_argument("--no-png", action="store_true", help="text only")
    settings.add_arguments(parser)
    parser.set_defaults(run=run)


def run(args) -> int:
    """Print the alert and draw it."""
    config = settings.from_arguments(args)
    alert = find_alert(settings.results(config), args.alert)
    print(text_card(alert))
    if not args.no_png:
        path = Path(args.png or f"alert_{args.alert}.png")
        draw(alert, path)
        print(f"\nPicture: {path}")
    return 0


def find_alert(results: Path, identifier: int) -> dict[str, Any]:
    """Read the alert with an identifier.

    Parameters
    ----------
    results : path
        Results directory.
    identifier : int
        ``diaSourceId``; it says in which visit and detector the alert was made.

    Raises
    ------
    BadInput
        If there is no such alert.
    """
    import fastavro

    from alertprod.core.ids import parts, visit_parts

    visit, detector, counter = parts(identifier)
    path = results / str(visit_parts(visit)[0]) / str(visit) / "alerts" / f"{detector:03d}.avro"
    if not path.is_file():
        raise BadInput(
            f"{identifier} would be number {counter} of visit {visit}, detector {detector}, but "
            f"{path} is not there. Check the number, or name the results with --configfile."
        )
    with open(path, "rb") as handle:
        for alert in fastavro.reader(handle):
            if alert["diaSourceId"] == identifier:
                return alert
    raise BadInput(
        f"{path} has no alert {identifier}. Its source was not associated: see the visit's log."
    )


def light_curve(alert: dict[str, Any]) -> dict[str, np.ndarray]:
    """Return detections and forced fluxes in time order.

    Returns
    -------
    dict of arrays
        ``time`` [MJD TAI], ``flux``, ``error`` [nJy] on the difference, ``band``, ``forced``
        (bool).
    """
    detections = [*(alert["prvDiaSources"] or []), alert["diaSource"]]
    rows = [(row, False) for row in detections]
    rows += [(row, True) for row in alert["prvDiaForcedSources"] or []]
    rows = [(row, forced) for row, forced in rows if row["psfFlux"] is not None]
    rows.sort(key=lambda entry: (entry[0]["midpointMjdTai"], entry[1]))
    return {
        "time": np.array([row["midpointMjdTai"] for row, _ in rows]),
        "flux": np.array([row["psfFlux"] for row, _ in rows], dtype=float),
        "error": np.array([row["psfFluxErr"] or np.nan for row, _ in rows], dtype=float),
        "band": np.array([row["band"] or "?" for row, _ in rows]),
        "forced": np.array([forced for _, forced in rows], dtype=bool),
    }


def text_card(alert: dict[str, Any]) -> str:
    """Return the alert as lines of text."""
    blocks = [*_facts(alert), "", *_stamps_as_text(alert), "", *curve_as_text(light_curve(alert))]
    return "\n".join(blocks)


def _facts(alert: dict[str, Any]) -> list[str]:
    source, body = alert["diaSource"], alert["diaObject"]
    lines = [
        f"Alert {alert['diaSourceId']}   visit {source['visit']} detector {source['detector']:03d}"
        f" band {source['band']}   MJD {source['midpointMjdTai']:.5f} TAI",
        f"  RA {source['ra']:.6f}  Dec {source['dec']:+.6f}   pixel {source['x']:.1f},"
        f" {source['y']:.1f}   S/N {_number(source['snr'], '.1f')}"
        f"   reliability {_number(source['reliability'], '.2f')}",
        f"  difference {_number(source['psfFlux'], '.0f')}"
        f" +- {_number(source['psfFluxErr'], '.0f')} nJy"
        f"   science {_number(source['scienceFlux'], '.0f')}"
        f"   template {_number(source['templateFlux'], '.0f')}   {_magnitude(source)}",
    ]
    flags = sorted(name for name, value in source.items() if value is True)
    lines.append(f"  flags: {', '.join(flags) or 'none'}")
    if body:
        lines.append(f"  DIAObject {body['diaObjectId']} with {body['nDiaSources']} detections")
    if alert["ssSource"]:
        moving = alert["ssSource"]
        lines.append(
            f"  {moving['designation']}: {_number(moving['ephOffset'], '.2f')} arcsec from its"
            f" prediction, V {_number(moving['ephVmag'], '.1f')}"
        )
    return lines


def _number(value, form: str) -> str:
    return "-" if value is None else format(value, form)


def _magnitude(source: dict[str, Any]) -> str:
    flux = source["psfFlux"]
    if flux is None or flux <= 0:
        return "fainter than in the template" if flux else ""
    return f"{31.4 - 2.5 * np.log10(flux):.2f} mag"


def stamp_pixels(content: bytes) -> np.ndarray:
    """Return the image of a stamp."""
    from astropy.io import fits

    with fits.open(io.BytesIO(content)) as hdus:
        return np.array(hdus[0].data, dtype=float)


def _limits(pixels: np.ndarray) -> tuple[float, float]:
    """Return the grey levels between which to draw: the sky and nearly the peak."""
    good = pixels[np.isfinite(pixels)]
    if good.size == 0:
        return 0.0, 1.0
    low, high = np.percentile(good, (5.0, 99.5))
    return float(low), float(max(high, low + 1e-9))


def stamp_as_text(pixels: np.ndarray) -> list[str]:
    """Return a stamp as lines of characters, north up as stored; two rows make one line."""
    low, high = _limits(pixels)
    rows = pixels[: len(pixels) // 2 * 2].reshape(-1, 2, pixels.shape[1])
    # A plain mean keeps NaN, which is drawn as what it is.
    level = (rows.mean(axis=1) - low) / (high - low) * (len(SHADES) - 1)
    steps = np.clip(np.nan_to_num(level), 0, len(SHADES) - 1).round().astype(int)
    text = np.array(list(SHADES))[steps]
    text[~np.isfinite(level)] = "/"
    return ["".join(line) for line in text[::-1]]


def _stamps_as_text(alert: dict[str, Any]) -> list[str]:
    blocks = []
    for key, name in STAMPS.items():
        if alert[key]:
            lines = stamp_as_text(stamp_pixels(alert[key]))
            blocks.append([name.center(len(lines[0])), *lines])
    return ["  " + "   ".join(parts) for parts in zip(*blocks, strict=True)] if blocks else []


def curve_as_text(curve: dict[str, np.ndarray], height: int = 12) -> list[str]:
    """Return a light curve as text: the band's letter is a detection, a dot a forced flux."""
    time, flux = curve["time"], curve["flux"]
    if len(time) == 0:
        return ["  no fluxes"]
    low, high = min(flux.min(), 0.0), max(flux.max(), 0.0)
    span = max(high - low, 1e-9)
    days = max(time[-1] - time[0], 1e-9)
    canvas = np.full((height, WIDTH), " ")
    canvas[round((0.0 - low) / span * (height - 1))] = "-"
    order = np.argsort(~curve["forced"], kind="stable")  # detections are drawn last
    for k in order:
        column = round((time[k] - time[0]) / days * (WIDTH - 1))
        row = round((flux[k] - low) / span * (height - 1))
        canvas[row, column] = "." if curve["forced"][k] else curve["band"][k]
    lines = [f"  {high:>10.0f} nJy"]
    lines += ["  |" + "".join(row) for row in canvas[::-1]]
    lines.append(f"  {low:>10.0f} nJy    MJD {time[0]:.4f} to {time[-1]:.4f}, {len(time)} points")
    return lines


def draw(alert: dict[str, Any], path: Path) -> None:
    """Write stamps and light curve as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 7), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(2, 3, height_ratios=(1.0, 1.1))
    source = alert["diaSource"]
    place = f"RA {source['ra']:.5f}  Dec {source['dec']:+.5f}"
    figure.suptitle(f"{alert['diaSourceId']}   {source['band']}   {place}")
    for column, (key, name) in enumerate(STAMPS.items()):
        axes = figure.add_subplot(grid[0, column])
        axes.set_title(name)
        axes.set_xticks([])
        axes.set_yticks([])
        if alert[key]:
            pixels = stamp_pixels(alert[key])
            low, high = _limits(pixels)
            axes.imshow(pixels, origin="lower", cmap="gray", vmin=low, vmax=high)
    axes = figure.add_subplot(grid[1, :])
    curve = light_curve(alert)
    for band in sorted(set(curve["band"])):
        for forced, marker in ((True, "o"), (False, "s")):
            here = (curve["band"] == band) & (curve["forced"] == forced)
            if here.any():
                colour = COLOURS.get(str(band), "#555555")
                axes.errorbar(
                    curve["time"][here],
                    curve["flux"][here],
                    curve["error"][here],
                    fmt=marker,
                    color=colour,
                    markerfacecolor="none" if forced else colour,
                    label=f"{band} {'forced' if forced else 'detected'}",
                )
    axes.axhline(0.0, color="#999999", linewidth=0.8)
    axes.set_xlabel("MJD (TAI)")
    axes.set_ylabel("difference flux [nJy]")
    axes.ticklabel_format(useOffset=False)
    axes.legend()
    figure.savefig(path, dpi=110, metadata={"Software": None})
