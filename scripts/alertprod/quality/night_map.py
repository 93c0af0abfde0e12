"""The sky of a night: where it was looked, what moved, and what of that was linked."""

from pathlib import Path
from typing import Any

import numpy as np

from alertprod.core.ephemeris import tangent_offsets
from alertprod.core.orbits import directions, unit_vectors
from alertprod.core.tables import Table, n_rows, take
from alertprod.core.wcs import Wcs
from alertprod.quality.plots import new_figure, save_figure

LINKED, LOOSE, FOUND, KNOWN = "#d55e00", "0.45", "#0072b2", "#009e73"
#: Arrows show the motion in one of these times [h]: the one that makes a typical one legible.
HOURS = (0.25, 0.5, 1, 2, 3, 6, 12, 24, 48, 96, 240, 480)
ARROW, LONGEST = 0.05, 0.12  # of the width of the map: a typical arrow, and any
MOST_NAMES = 30
CROWD = 500  # with more of them arrows get shorter, and tracklets without a linkage are dots


def outline(camera, visit: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Return right ascension and declination [deg] of the border of all detectors of a visit.

    Parameters
    ----------
    camera : Camera
    visit : dict
        ``ra``, ``dec``, ``rotation`` [deg].
    """
    from scipy.spatial import ConvexHull

    ra, dec = np.hstack([camera.footprint(number, 0.0, 0.0, 0.0) for number in camera.detectors])
    x, y = np.stack(tangent_offsets(0.0, 0.0, unit_vectors(ra, dec))) / 3600.0
    border = ConvexHull(np.stack([x, y], axis=-1)).vertices
    turn = np.deg2rad(float(visit["rotation"]))
    cd = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    place = float(visit["ra"]), float(visit["dec"])
    return Wcs(crval=place, crpix=(0.0, 0.0), cd=cd).pix_to_sky(x[border], y[border])


def plot_map(
    tracklets: Table,
    linked: np.ndarray,
    marks: dict[str, Table],
    borders: list[tuple[np.ndarray, np.ndarray]],
    path: str | Path,
) -> None:
    """Draw tracklets as arrows on the sky.

    Parameters
    ----------
    tracklets : table
        Product ``tracklets``.
    linked : ndarray
        trackletId of those that a linkage holds.
    marks : dict
        ``found`` and ``known``: detections (``ra``, ``dec``, ``designation``) of our own objects
        and of catalogued ones.
    borders : list of (ra, dec)
        Outlines of the visits, from `outline`.
    path : path
        PNG file.
    """
    figure = new_figure(figsize=(8.0, 8.4), layout="constrained")
    _, first = np.unique(tracklets["trackletId"], return_index=True)
    arrows = take(tracklets, first)
    tables = [arrows, *marks.values()]
    ra = np.concatenate([*(t["ra"] for t in tables), *(b[0] for b in borders)])
    dec = np.concatenate([*(t["dec"] for t in tables), *(b[1] for b in borders)])
    if not len(ra):
        figure.text(0.5, 0.5, "no visits", ha="center", va="center")
        save_figure(figure, path)
        return
    projection, size = _projection(ra, dec)
    axis = figure.add_subplot(projection=projection)
    for border in borders:
        x, y = projection.wcs_world2pix(*border, 0)
        axis.fill(x, y, fc=(0.0, 0.0, 0.0, 0.025), ec="0.7", lw=0.6, zorder=1)
    scale = _draw_arrows(axis, projection, arrows, np.isin(arrows["trackletId"], linked), size)
    _draw_marks(axis, projection, marks)
    axis.set_xlim(-size / 2, size / 2)
    axis.set_ylim(-size / 2, size / 2)
    axis.set_aspect("equal")
    _frame(axis, scale, size)
    save_figure(figure, path)


def _projection(ra: np.ndarray, dec: np.ndarray):
    """Return an equal-area projection (pixels of 1 degree) and the width that holds all."""
    from astropy.wcs import WCS

    middle = unit_vectors(ra, dec).mean(axis=0)
    for _ in range(2):  # the mean of many visits of one field is not the middle of the map
        centre = directions(middle)
        made = WCS(naxis=2)
        made.wcs.ctype = ["RA---ZEA", "DEC--ZEA"]
        made.wcs.crval = [float(c) for c in centre]
        made.wcs.crpix, made.wcs.cdelt = [1.0, 1.0], [-1.0, 1.0]
        x, y = made.wcs_world2pix(ra, dec, 0)
        x0, y0 = (x.min() + x.max()) / 2, (y.min() + y.max()) / 2
        ra0, dec0 = made.wcs_pix2world([x0], [y0], 0)
        middle = unit_vectors(ra0, dec0)[0]
    return made, max(1.12 * float(max(np.ptp(x), np.ptp(y))), 0.02)


def _draw_arrows(axis, projection, arrows: Table, linked: np.ndarray, size: float) -> str:
    """Draw the arrows; return in words what their length means."""
    if not n_rows(arrows):
        return "no tracklets"
    rate = np.maximum(np.hypot(arrows["rateRa"], arrows["rateDec"]).astype(float), 1e-6)
    typical = float(np.median(rate[linked] if linked.any() else rate))
    short = min(1.0, CROWD / max(int(linked.sum() if linked.any() else len(rate)), 1)) ** 0.5
    wanted = ARROW * short * size / typical * 24.0
    hours = float(min(HOURS, key=lambda h: abs(np.log(h / wanted))))
    # chance pairs are as fast as allowed, and would cover the map
    cut = LONGEST * short * size / hours * 24.0
    x0, y0, x1, y1 = _ends(projection, arrows, hours / 24.0 * np.minimum(1.0, cut / rate))
    for mine, colour, width, words in (
        (~linked, LOOSE, 0.002, "tracklet without a linkage"),
        (linked, LINKED, 0.0036, "tracklet in a linkage"),
    ):
        if not mine.any():
            continue
        dots = colour == LOOSE and mine.sum() > CROWD
        if dots:
            axis.plot(x0[mine], y0[mine], ",", color=colour, zorder=2)
        else:
            axis.quiver(
                x0[mine], y0[mine], (x1 - x0)[mine], (y1 - y0)[mine], angles="xy",
                scale_units="xy", scale=1.0, color=colour, width=width * short, zorder=3,
            )  # fmt: skip
        axis.plot(
            [], [], ls="none", marker="." if dots else r"$\rightarrow$", ms=16, color=colour,
            label=f"{words} ({int(mine.sum())})",
        )  # fmt: skip
    shortened = f"; cut where faster than {cut:.2g}°/d" if (rate > cut).any() else ""
    return f"arrows: motion in {hours:g} h{shortened}"


def _ends(projection, arrows: Table, days: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return where arrows begin and end on the map."""
    start = unit_vectors(arrows["ra"], arrows["dec"])
    ra = np.deg2rad(arrows["ra"])
    east = np.stack([-np.sin(ra), np.cos(ra), np.zeros_like(ra)], axis=-1)
    north = np.cross(start, east)
    rates = arrows["rateRa"][:, None] * east + arrows["rateDec"][:, None] * north
    end = directions(start + np.deg2rad(days)[:, None] * rates)
    x0, y0 = projection.wcs_world2pix(arrows["ra"], arrows["dec"], 0)
    return x0, y0, *projection.wcs_world2pix(*end, 0)


def _draw_marks(axis, projection, marks: dict[str, Table]) -> None:
    styles = {"found": ("o", FOUND, "found object"), "known": ("D", KNOWN, "known asteroid")}
    for name, table in marks.items():
        if not n_rows(table):
            continue
        marker, colour, words = styles[name]
        x, y = projection.wcs_world2pix(table["ra"], table["dec"], 0)
        axis.plot(
            x, y, marker, mfc="none", mec=colour, mew=1.3, ms=7, zorder=4,
            label=f"detection of a {words} ({n_rows(table)})",
        )  # fmt: skip
        unique, first = np.unique(table["designation"].astype(str), return_index=True)
        if len(unique) <= MOST_NAMES:
            for text, k in zip(unique, first, strict=True):
                axis.annotate(
                    text, (x[k], y[k]), (8, 8), textcoords="offset points", fontsize=9,
                    color=colour,
                )  # fmt: skip


def _frame(axis, scale: str, size: float) -> None:
    for coordinate, label in zip(axis.coords, ("right ascension", "declination"), strict=True):
        coordinate.set_major_formatter("d" if size > 10.0 else "d.dd")
        coordinate.set_axislabel(f"{label} [deg]")
    axis.coords.grid(color="0.5", alpha=0.25)
    handles, labels = axis.get_legend_handles_labels()
    if handles:
        axis.figure.legend(
            handles, labels, loc="outside upper center", ncols=2, title=scale, fontsize=9
        )
    else:
        axis.set_title(scale)
