"""The page of a night's moving objects says what DayMOPS found, and what it does not show."""

from pathlib import Path

import numpy as np
import pytest

from alertprod.core import tables
from alertprod.instruments.camera import read_camera
from alertprod.quality.asteroid_page import show_asteroids

VISITS = [{"ra": "38.0", "dec": "14.0", "rotation": "10.0"}]
NAMES = ("A1ap0000", "A1ap0001", "A1ap0002")


@pytest.fixture
def show(found, config):
    """Write the page of the last night from products; return its text."""

    def write(products, visits=VISITS, **options):
        folder = found.root / str(found.NIGHTS[-1]) / "report"
        outputs = {"page": folder / "asteroids.html", "map": folder / "tracklets.png"}
        outputs["objects"] = folder / "asteroids"
        show_asteroids(
            products,
            visits,
            read_camera("simcam"),
            {name: str(path) for name, path in outputs.items()},
            root=found.root,
            night=str(found.NIGHTS[-1]),
            config=config | options,
        )
        return outputs["page"].read_text(encoding="utf-8")

    return write


def headings(page):
    """Return the designations of the drawn objects, as they follow each other."""
    return [part.split('"')[0] for part in page.split('<h3 id="')[1:]]


def pixels(path):
    from PIL import Image

    return np.asarray(Image.open(path).convert("L"), dtype=float)


def test_every_object_is_named_and_drawn(found, show):
    page = show(found.write())
    assert page.count("data:image/png;base64,") == 4  # the map and three objects
    folder = found.root / str(found.NIGHTS[-1]) / "report"
    for path in (folder / "tracklets.png", *(folder / "asteroids" / f"{n}.png" for n in NAMES)):
        assert pixels(path).std() > 5  # not an empty canvas
    assert "3 tracklets, 3 of them in linkages" in page
    assert "2 new tonight, 1 with a better orbit" in page
    assert "objects drawn" not in page and "not listed" not in page


def test_new_objects_come_first_then_the_likely_near_earth_ones(found, show):
    assert headings(show(found.write())) == ["A1ap0002", "A1ap0000", "A1ap0001"]


def test_table_counts_how_detections_came(found, show):
    row = show(found.write()).split("A1ap0002</a>")[1].split("</tr>")[0]
    cells = [cell.split("<")[0] for cell in row.split(">") if cell.split("<")[0].strip()]
    assert cells[-6:] == ["6", "0", "0", "0", "0", "2"]  # all linked, two of them tonight
    assert "2.222" in cells  # a = q / (1 - e)


def test_what_is_beyond_the_cap_is_listed_and_counted(found, show):
    page = show(found.write(), asteroids_shown=1)
    assert headings(page) == ["A1ap0002"]
    assert "1 of 3 objects drawn, 2 not" in page
    assert all(name in page for name in NAMES)


def test_what_is_beyond_the_table_is_counted(found, show):
    page = show(found.write(), asteroids_listed=2)
    assert "A1ap0001" not in page and "1 more is not listed but stands" in page


def test_night_without_objects_says_so(found, show):
    products = found.write(status=(), score=())
    page = show(products)
    assert "No object was found or seen again in this night." in page
    assert (found.root / str(found.NIGHTS[-1]) / "report" / "asteroids").is_dir()
    assert page.count("data:image/png;base64,") == 1


def test_night_without_visits_still_has_a_page(found, show):
    assert "0 tracklets" in show(found.write(status=(), score=()), visits=[])


def test_object_that_nothing_happened_to_is_left_out(found, show):
    products = found.write(status=("kept",), score=(0.0,))
    tables.write_table(products["attributed"][-1], tables.empty("attributed"), "attributed")
    page = show(products)
    assert "1 object found so far: 0 new tonight" in page
    assert "A1ap0000" not in page


def test_catalogued_object_beside_its_predicted_place_is_none_of_ours(found, show):
    products = found.write(status=("new",), score=(0.0,))
    tonight = tables.read_table(products["attributed"][-1])
    tonight["ssObjectId"][:], tonight["how"][:] = 9, "identified"
    tonight["designation"][:], tonight["resRa"][:] = "2020 AB1", np.nan
    tables.write_table(products["attributed"][-1], tonight, "attributed")
    page = show(products)
    assert headings(page) == ["A1ap0000"] and "2020 AB1" not in page


def test_object_that_was_seen_again_is_shown(found, show):
    page = show(found.write(status=("kept",), score=(0.0,)))
    assert headings(page) == ["A1ap0000"] and "1 only seen again" in page


def test_stamps_stand_below_the_plots_where_there_are_alerts(found, night, show):
    products = found.write()
    show(products)
    picture = found.root / str(found.NIGHTS[-1]) / "report" / "asteroids" / "A1ap0000.png"
    without = pixels(picture).shape
    day = found.NIGHTS[0]
    night.alerts(Path(found.root) / str(day) / str(day * 100_000) / "alerts", [day * 1000])
    show(products)
    assert pixels(picture).shape[0] > without[0] and pixels(picture).shape[1] == without[1]


def test_linkage_without_an_orbit_is_counted(found, show):
    products = found.write()
    linkages = tables.read_table(products["linkages"])
    linkages["linkageId"][0] = 7
    tables.write_table(products["linkages"], linkages, "linkages")
    assert "4 linkages in the window, 1 without an acceptable orbit" in show(products)
