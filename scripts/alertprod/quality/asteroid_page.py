"""The page of a night's moving objects: a map, a table of orbits, a picture of each object."""

from pathlib import Path
from typing import Any

import numpy as np

from alertprod.core.tables import Table, empty, n_rows, take
from alertprod.quality.asteroids import (
    detections_of,
    objects_of_night,
    orbit_rows,
    read_or_empty,
    stories,
)
from alertprod.quality.night_map import outline, plot_map
from alertprod.quality.object_plots import along_track, plot_object
from alertprod.quality.report import embedded, render
from alertprod.quality.stamps import difference_stamps

TABLES = ("tracklets", "linkages", "sightings", "orbits")


def show_asteroids(
    products: dict[str, Any],
    visits: list[dict[str, Any]],
    camera,
    outputs: dict[str, str],
    *,
    root: str | Path,
    night: str,
    config: dict,
) -> None:
    """Write the page of a night's moving objects and its pictures.

    Parameters
    ----------
    products : dict
        ``tracklets``, ``linkages``, ``sightings``, ``orbits`` -> path of the night's product,
        ``attributed`` -> paths of those of the window.
    visits : list of dict
        ``ra``, ``dec``, ``rotation`` [deg] of the night's visits.
    camera : Camera
        Its station and its shape.
    outputs : dict
        ``page``, ``map`` -> path; ``objects`` -> folder for a picture of each object.
    root : path
        Results directory, where the alerts of the window's nights may be.
    night : str
        day_obs.
    config : dict
        Section ``quality``.
    """
    tables = {name: read_or_empty(products[name], name) for name in TABLES}
    recent = [path for path in products["attributed"] if Path(path).parent.name == night]
    tonight = read_or_empty(recent[0], "attributed") if recent else empty("attributed")
    objects = objects_of_night(tables["orbits"], tonight)
    listed = take(objects, slice(config["asteroids_listed"]))
    detections = detections_of(listed, products["attributed"], int(night))
    rows = orbit_rows(listed, detections)
    chosen = take(listed, slice(config["asteroids_shown"]))
    shown = stories(chosen, rows[: n_rows(chosen)], detections, camera.obscode)

    marks = _marks(tables, tonight, int(night))
    borders = [outline(camera, visit) for visit in visits]
    plot_map(tables["tracklets"], linked_of(tables), marks, borders, outputs["map"])
    pictures = _draw(shown, root, outputs["objects"])
    render(
        "asteroids.html.jinja",
        outputs["page"],
        night=night,
        counts=_counts(tables, objects),
        rows=rows,
        map=embedded(outputs["map"]),
        pictures={name: embedded(path) for name, path in pictures.items()},
        number=n_rows(objects),
    )


def _marks(tables: dict[str, Table], tonight: Table, night: int) -> dict[str, Table]:
    """Return tonight's detections of found and of catalogued objects."""
    own, sightings = tables["orbits"]["ssObjectId"], tables["sightings"]
    # tonight's orbits also claim sources of earlier nights, which lie elsewhere on the sky
    here = (tonight["visit"] // 100_000 == night) & np.isin(tonight["ssObjectId"], own)
    known = ~np.isin(sightings["ssObjectId"], own)
    return {"found": take(tonight, here), "known": take(sightings, known)}


def linked_of(tables: dict[str, Table]) -> np.ndarray:
    """Return the tracklets of tonight that a linkage holds."""
    return np.intersect1d(tables["tracklets"]["trackletId"], tables["linkages"]["trackletId"])


def _draw(shown: list[dict[str, Any]], root, folder: str) -> dict[str, Path]:
    """Draw each object; return designation -> picture."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    wanted = []
    for story in shown:
        rows = story["rows"]
        chosen = along_track(rows)
        columns = (rows[name][chosen].tolist() for name in ("diaSourceId", "visit", "detector"))
        wanted += zip(*columns, strict=True)
    stamps = difference_stamps(root, wanted)
    pictures = {}
    for story in shown:
        name = story["facts"]["designation"]
        pictures[name] = Path(folder) / f"{name.replace('/', '_').replace(' ', '_')}.png"
        plot_object(story, stamps, pictures[name])
    return pictures


def _counts(tables: dict[str, Table], objects: Table) -> dict[str, int]:
    linkages, orbits = tables["linkages"], tables["orbits"]
    links = np.unique(linkages["linkageId"])
    status = objects["status"].astype(str)
    return {
        "tracklets": len(np.unique(tables["tracklets"]["trackletId"])),
        "linked": len(linked_of(tables)),
        "linkages": len(links),
        "without": int((~np.isin(links, orbits["linkageId"])).sum()),
        "orbits": n_rows(orbits),
        **{name: int((status == name).sum()) for name in ("new", "updated", "kept")},
    }
