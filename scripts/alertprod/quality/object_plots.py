"""The picture of one moving object: its path, residuals, brightness and stamps."""

from pathlib import Path
from typing import Any

import numpy as np

from alertprod.core.orbits import V_MINUS_BAND
from alertprod.core.tables import Table, n_rows
from alertprod.quality.plots import COLOURS, MARKERS, new_figure, save_figure

MOST_STAMPS = 12
MOST_STRETCH = 3.0
UNITS = ((1.0, "arcsec"), (60.0, "arcmin"), (3600.0, "deg"))
WIDTH = 10.5


def along_track(rows: Table) -> np.ndarray:
    """Return which detections have their stamps shown: all, or some spread evenly over time."""
    n = n_rows(rows)
    return np.unique(np.linspace(0, n - 1, min(n, MOST_STAMPS)).round().astype(int))


def plot_object(story: dict[str, Any], stamps: dict[int, np.ndarray], path: str | Path) -> None:
    """Draw an object.

    Parameters
    ----------
    story : dict
        From `alertprod.quality.asteroids.stories`.
    stamps : dict
        diaSourceId -> difference stamp; those of other objects are ignored.
    path : path
        PNG file.
    """
    rows = story["rows"]
    strip = [k for k in along_track(rows) if int(rows["diaSourceId"][k]) in stamps]
    tall = 4.9
    high = 1.35 if strip else 0.0
    figure = new_figure(figsize=(WIDTH, tall + high), layout="constrained")
    upper = figure
    if strip:
        upper, lower = figure.subfigures(2, 1, height_ratios=(tall, high), hspace=0.0)
        _stamps(lower, rows, strip, stamps)
    axes = upper.subplot_mosaic(
        [["sky", "east"], ["sky", "north"], ["sky", "mag"]], width_ratios=(1.0, 1.15)
    )
    day = float(np.floor(rows["midpointMjdTai"].min()))
    _path(axes["sky"], story)
    _against_time(axes["east"], rows, day, ("resRa", "raErr"), "O−C east [arcsec]")
    _against_time(axes["north"], rows, day, ("resDec", "decErr"), "O−C north [arcsec]")
    _brightness(axes["mag"], story, day)
    for name in ("east", "north"):
        axes[name].sharex(axes["mag"])
        axes[name].tick_params(labelbottom=False)
    upper.align_ylabels([axes[name] for name in ("east", "north", "mag")])
    upper.suptitle(headline(story["facts"]), fontsize=11)
    save_figure(figure, path)


def headline(facts: dict[str, Any]) -> str:
    """Return what an object is, in a line."""

    def figure(name, form):
        return "–" if facts[name] is None else format(facts[name], form)

    return (
        f"{facts['designation']}: {facts['orbitClass']}, {facts['status']}; "
        f"a {figure('a', '.3g')} au, e {figure('e', '.2f')}, i {figure('incl', '.1f')}°, "
        f"H {figure('H', '.1f')}; {facts['nObs']} detections in {figure('arc', '.1f')} d"
    )


def _groups(rows: Table):
    """Yield band, whether the linkage holds them, and the rows, in the order of the bands."""
    linked = rows["how"].astype(str) == "linked"
    bands = rows["band"].astype(str)
    for band in sorted(set(bands), key=lambda b: ("ugrizy".find(b), b)):
        for own in (True, False):
            mine = np.flatnonzero((bands == band) & (linked == own))
            if len(mine):
                yield band, own, mine


def _style(band: str, linked: bool) -> dict[str, Any]:
    colour = COLOURS.get(band, "0.4")
    return {
        "marker": MARKERS.get(band, "D"), "color": colour, "ls": "none", "ms": 6.5,
        "mfc": colour if linked else "white", "mec": "0.2" if linked else colour,
        "mew": 0.7 if linked else 1.5, "zorder": 3,
    }  # fmt: skip


def _path(axis, story: dict[str, Any]) -> None:
    rows, (relative, unit) = story["rows"], _in_handy_units(story["relative"])
    axis.plot(relative["east"], relative["north"], color="0.55", lw=1.0, zorder=1)
    for band, linked, mine in _groups(rows):
        axis.plot(relative["rowEast"][mine], relative["rowNorth"][mine], **_style(band, linked))
    _nights(axis, rows, relative)
    _limits(axis, relative)
    axis.set_xlabel(f"east of the mean motion [{unit}]")
    axis.set_ylabel(f"north of it [{unit}]")
    axis.set_title(
        f"path less {relative['rate']:.3g}°/d towards {relative['angle']:.0f}° (N through E)",
        fontsize=9,
    )
    axis.grid(alpha=0.3)
    _legend(axis, rows)


def _in_handy_units(relative: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """Return the path in arcsec, arcmin or degrees, whatever gives small figures."""
    extent = max(np.ptp(relative["east"]), np.ptp(relative["north"]))
    scale, unit = next((u for u in UNITS if extent < 600.0 * u[0]), UNITS[-1])
    names = ("east", "north", "rowEast", "rowNorth")
    return relative | {name: relative[name] / scale for name in names}, unit


def _limits(axis, relative: dict[str, Any]) -> None:
    """Fit the axes to the path; one is stretched at most so much that shapes can be told."""
    spans = [
        (np.nanmin(both), np.nanmax(both))
        for a, b in (("east", "rowEast"), ("north", "rowNorth"))
        for both in [np.append(relative[a], relative[b])]
    ]
    half = np.array([0.6 * (high - low) for low, high in spans])
    half = np.maximum(half, max(half.max() / MOST_STRETCH, 1e-3))
    (x, y), (dx, dy) = np.mean(spans, axis=1), half
    axis.set_xlim(x + dx, x - dx)  # as on the sky: east is left
    axis.set_ylim(y - dy, y + dy)


def _nights(axis, rows: Table, relative: dict[str, Any]) -> None:
    """Write month and day of some nights beside their first detections."""
    near = 0.08 * max(np.ptp(relative["east"]), np.ptp(relative["north"]))
    places: list[tuple[np.ndarray, list[str]]] = []
    _, first = np.unique(rows["visit"] // 100_000, return_index=True)
    first = first[np.isfinite(relative["rowEast"][first])]
    few = first if len(first) < 5 else first[[0, len(first) // 2, -1]]
    for k in few:
        place = np.array([relative["rowEast"][k], relative["rowNorth"][k]])
        name = date_of(int(rows["visit"][k]) // 100_000)
        same = [names for other, names in places if np.hypot(*(place - other)) < near]
        if same:  # the path may come back to where it was
            same[0].append(name)
        else:
            places.append((place, [name]))
    for place, names in places:
        axis.annotate(
            ", ".join(names), place, (0, 9), textcoords="offset points", fontsize=8, ha="center",
            bbox={"fc": "white", "ec": "none", "alpha": 0.75, "pad": 0.5}, zorder=2,
        )  # fmt: skip


def date_of(night: int) -> str:
    """Return month and day of a night."""
    return f"{night // 100 % 100:02d}-{night % 100:02d}"


def _legend(axis, rows: Table) -> None:
    from matplotlib.lines import Line2D

    groups = list(_groups(rows))
    bands = dict.fromkeys(band for band, _, _ in groups)
    handles = [Line2D([], [], **_style(band, True), label=band) for band in bands]
    if not all(linked for _, linked, _ in groups):
        plain = _style("", False) | {"marker": "o", "color": "0.4", "mec": "0.4"}
        handles.append(Line2D([], [], **plain, label="found by the orbit"))
    handles.append(Line2D([], [], color="0.55", label="orbit"))
    axis.legend(handles=handles, loc="best", fontsize=8, framealpha=0.8, handletextpad=0.4)


def _against_time(axis, rows: Table, day: float, names: tuple[str, str], label: str) -> None:
    value, error = names
    sigma = 3600.0 * rows[error].astype(float)
    if error == "raErr":
        sigma = sigma * np.cos(np.deg2rad(rows["dec"]))  # raErr carries no cos(dec)
    axis.axhline(0.0, color="0.55", lw=1.0, zorder=1)
    for band, linked, mine in _groups(rows):
        axis.errorbar(
            rows["midpointMjdTai"][mine] - day, rows[value][mine], sigma[mine],
            ecolor="0.6", elinewidth=1.0, **_style(band, linked),
        )  # fmt: skip
    reach = 1.15 * float(np.nanmax(np.abs(rows[value]) + sigma))
    axis.set_ylim(-reach, reach)
    axis.set_ylabel(label, fontsize=9)
    axis.grid(alpha=0.3)


def _brightness(axis, story: dict[str, Any], day: float) -> None:
    rows, track = story["rows"], story["track"]
    for band in dict.fromkeys(band for band, _, _ in _groups(rows)):
        if story["facts"]["H"] is not None:
            expected = track["V"] - V_MINUS_BAND.get(band, 0.0)
            colour = COLOURS.get(band, "0.4")
            axis.plot(track["time"] - day, expected, color=colour, lw=1.0, alpha=0.6, zorder=1)
    for band, linked, mine in _groups(rows):
        axis.errorbar(
            rows["midpointMjdTai"][mine] - day, rows["mag"][mine], rows["magErr"][mine],
            ecolor="0.6", elinewidth=1.0, **_style(band, linked),
        )  # fmt: skip
    axis.invert_yaxis()
    axis.set_ylabel("magnitude", fontsize=9)
    axis.set_xlabel(f"days after MJD {day:.0f} (TAI)")
    axis.grid(alpha=0.3)


def _stamps(figure, rows: Table, strip: list[int], stamps: dict[int, np.ndarray]) -> None:
    """Show difference stamps in a row, each with its own scale, symmetric about zero."""
    axes = figure.subplots(1, max(len(strip), 8), squeeze=False)[0]
    for axis in axes:
        axis.set_axis_off()
    for axis, k in zip(axes, strip, strict=False):
        image = stamps[int(rows["diaSourceId"][k])]
        reach = max(np.nanmax(np.abs(np.append(image, 0.0))), 1e-30)
        axis.imshow(
            image, origin="lower", cmap="RdBu_r", vmin=-reach, vmax=reach, interpolation="nearest"
        )
        night = date_of(int(rows["visit"][k]) // 100_000)
        axis.set_title(f"{night} {rows['band'][k]}\n{rows['how'][k]}", fontsize=8, pad=3)
