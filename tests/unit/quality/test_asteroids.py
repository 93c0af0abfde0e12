"""Which objects belong to a night, and where the residuals that are shown come from."""

import numpy as np

from alertprod.core.tables import read_table, take
from alertprod.quality.asteroids import detections_of, objects_of_night, orbit_rows, stories


def told(found, products):
    """Return the stories of the last night."""
    orbits = read_table(products["orbits"])
    tonight = read_table(products["attributed"][-1])
    objects = objects_of_night(orbits, tonight)
    detections = detections_of(objects, products["attributed"], found.NIGHTS[-1])
    return stories(objects, orbit_rows(objects, detections), detections, found.SITE)


def test_residuals_of_tonight_are_those_of_the_product(found):
    for story in told(found, found.write()):
        mine = take(story["rows"], story["rows"]["tonight"])
        assert len(mine["resRa"]) == 2
        np.testing.assert_array_equal(mine["resRa"], np.float32(found.WRITTEN[0]))
        np.testing.assert_array_equal(mine["resDec"], np.float32(found.WRITTEN[1]))


def test_residuals_of_earlier_nights_are_those_to_the_orbit_of_tonight(found):
    for story in told(found, found.write()):
        rest = take(story["rows"], ~story["rows"]["tonight"])
        np.testing.assert_allclose(rest["resRa"], found.OFFSET[0], atol=2e-4)
        np.testing.assert_allclose(rest["resDec"], found.OFFSET[1], atol=2e-4)


def test_object_without_detections_in_the_window_has_no_story(found):
    products = found.write()
    orbits = read_table(products["orbits"])
    detections = detections_of(take(orbits, slice(2)), products["attributed"], found.NIGHTS[-1])
    facts = orbit_rows(orbits, detections)
    shown = stories(orbits, facts, detections, found.SITE)
    assert [s["facts"]["designation"] for s in shown] == ["A1ap0000", "A1ap0001"]
    assert (facts[0]["linked"], facts[0]["tonight"], facts[2]["linked"]) == (6, 2, 0)


def test_unbound_orbit_has_no_axis_and_an_unknown_brightness_no_figure(found):
    orbits = found.orbits(("new",), (np.nan,))
    orbits["e"][:], orbits["H"][:] = 1.2, 99.0
    detections = detections_of(orbits, [], found.NIGHTS[-1])
    (row,) = orbit_rows(orbits, detections)
    assert row["a"] is None and row["H"] is None and row["neoScore"] is None
