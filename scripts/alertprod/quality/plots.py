"""Pictures of a night. Matplotlib is imported inside, because it takes a second.

Bands differ in marker and grey value as well as in hue, so that the plots can be read in
greyscale and by everyone.

References
----------
Rubin Observatory, RTN-045 (colours and symbols of the bands).
"""

from pathlib import Path
from typing import Any

import numpy as np

COLOURS = {
    "u": "#0c71ff",
    "g": "#49be61",
    "r": "#c61c00",
    "i": "#ffc200",
    "z": "#f341a2",
    "y": "#5d0000",
}
MARKERS = {"u": "o", "g": "^", "r": "v", "i": "s", "z": "*", "y": "p"}
PANELS = (
    ("seeing", "seeing [arcsec]", False),
    ("zeroPoint", "zero point [mag]", False),
    ("skyLevel", "sky [electron]", False),
    ("limitingMag", "5 sigma depth [mag]", False),
    ("numDiaSources", "DIASources per visit", True),
    ("numAlerts", "alerts per visit", True),
)


def new_figure(*args, **options):
    """Make a figure without pyplot, which would want a display and remember everything."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(*args, **options)
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure, path: str | Path) -> None:
    """Write a figure as PNG, with the folder where it goes."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100, metadata={"Software": None})


def plot_conditions(summary: dict[str, Any], path: str | Path) -> None:
    """Plot seeing, zero point, sky, depth, sources and alerts against time.

    Parameters
    ----------
    summary : dict
        From `alertprod.quality.night.summarize_night`.
    path : path
        PNG file.
    """
    figure = new_figure(figsize=(10, 7.5), layout="constrained")
    axes = figure.subplots(3, 2, sharex=True).ravel()
    visits = summary["visits"]
    day = np.floor(min((v["midpointMjdTai"] for v in visits), default=0.0))
    for axis, (name, label, is_sum) in zip(axes, PANELS, strict=True):
        for band in summary["bands"]:
            group = "sum" if is_sum else "median"
            points = [
                (24.0 * (v["midpointMjdTai"] - day), v[group][name])
                for v in visits
                if v["band"] == band and v[group][name] is not None
            ]
            if points:
                x, y = np.array(points).T
                axis.plot(x, y, MARKERS[band], color=COLOURS[band], ms=6, mec="0.2", label=band)
        axis.set_ylabel(label)
        axis.grid(alpha=0.3)
    for axis in axes[-2:]:
        axis.set_xlabel(f"hours after MJD {day:.0f} (TAI)")
    handles, labels = axes[-2].get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), title="band")
    save_figure(figure, path)


def plot_stamps(alerts: list[dict[str, Any]], path: str | Path) -> None:
    """Show science, template and difference of the brightest alerts, side by side.

    Each triplet has one linear scale: from the sky to the brightest pixel of the science stamp,
    symmetric about zero for the difference.

    Parameters
    ----------
    alerts : list of dict
        From `alertprod.quality.brightest.brightest_alerts`.
    path : path
        PNG file.
    """
    columns = 3 if len(alerts) > 6 else 2 if len(alerts) > 3 else 1
    rows = max(1, -(-len(alerts) // columns))
    figure = new_figure(figsize=(4.2 * columns, 1.75 * rows), layout="constrained")
    axes = figure.subplots(rows, 3 * columns, squeeze=False)
    for axis in axes.ravel():
        axis.set_axis_off()
    if not alerts:
        figure.text(0.5, 0.5, "no alerts", ha="center", va="center")
    for number, alert in enumerate(alerts):
        row, column = divmod(number, columns)
        _triplet(axes[row, 3 * column : 3 * column + 3], alert)
    save_figure(figure, path)


def _triplet(axes, alert: dict[str, Any]) -> None:
    low, high = _range(alert["science"])
    reach = max(np.nanmax(np.abs(np.append(alert["difference"], 0.0))), 1e-30)
    scales = {
        "science": ("gray_r", low, high),
        "template": ("gray_r", low, high),
        "difference": ("RdBu_r", -reach, reach),
    }
    for axis, (name, (colours, least, most)) in zip(axes, scales.items(), strict=True):
        axis.imshow(
            alert[name],
            origin="lower",
            cmap=colours,
            vmin=least,
            vmax=most,
            interpolation="nearest",
        )
        axis.set_title(name, fontsize=7, pad=2)
    sign = "-" if alert["isNegative"] else "+"
    axes[1].text(
        0.5,
        -0.06,
        f"{alert['diaSourceId']}  {alert['band']}  S/N {sign}{abs(alert['snr']):.0f}",
        transform=axes[1].transAxes,
        ha="center",
        va="top",
        fontsize=7,
    )


def _range(image: np.ndarray) -> tuple[float, float]:
    good = image[np.isfinite(image)]
    if good.size == 0:
        return 0.0, 1.0
    low, high = float(np.percentile(good, 5)), float(good.max())
    return (low, high) if high > low else (low, low + 1.0)
