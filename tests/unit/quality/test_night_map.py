"""The map of the sky: where the camera looked, and arrows that can be read."""

import numpy as np
import pytest

from alertprod.core.ephemeris import tangent_offsets
from alertprod.core.orbits import unit_vectors
from alertprod.core.tables import empty
from alertprod.instruments.camera import read_camera
from alertprod.quality.night_map import CROWD, outline, plot_map

NOTHING = {"found": empty("attributed"), "known": empty("sightings")}


def tracklets(ra, dec, rate):
    ids = np.arange(len(ra))
    zero = np.zeros(len(ra))
    return {"trackletId": ids, "ra": ra, "dec": dec, "rateRa": zero + rate, "rateDec": zero}


@pytest.mark.parametrize(("ra", "dec", "rotation"), [(0.1, -30.0, 0.0), (359.9, 70.0, 33.0)])
def test_outline_holds_the_corners_of_all_detectors(ra, dec, rotation):
    camera = read_camera("simcam")
    visit = {"ra": str(ra), "dec": str(dec), "rotation": str(rotation)}
    border = np.stack(tangent_offsets(ra, dec, unit_vectors(*outline(camera, visit)))).T
    corners = np.hstack([camera.footprint(d, ra, dec, rotation) for d in camera.detectors])
    inner = np.stack(tangent_offsets(ra, dec, unit_vectors(*corners))).T
    distance = np.hypot(*(border[:, None] - inner[None]).T).T
    assert distance.min(axis=1).max() < 1e-3  # arcsec: each vertex is a corner
    for k, start in enumerate(border):  # and each corner is on one side of each edge
        edge = border[(k + 1) % len(border)] - start
        side = edge[0] * (inner[:, 1] - start[1]) - edge[1] * (inner[:, 0] - start[0])
        assert (side > -1.0).all() or (side < 1.0).all()


@pytest.mark.parametrize("dec", [-89.0, 0.0])
def test_map_is_drawn_also_at_the_pole_and_across_ra_zero(tmp_path, dec):
    from PIL import Image

    ra = np.array([359.0, 0.5, 1.0])
    path = tmp_path / "map.png"
    plot_map(tracklets(ra, np.full(3, dec), 0.2), np.array([1]), NOTHING, [], path)
    red, _, blue = np.moveaxis(np.asarray(Image.open(path).convert("RGB"), dtype=int), -1, 0)
    assert ((red - blue) > 150).sum() > 100  # an arrow in vermilion


def test_crowd_without_linkages_becomes_dots(tmp_path):
    from PIL import Image

    rng = np.random.default_rng(4)
    n = CROWD + 100
    table = tracklets(rng.uniform(10, 20, n), rng.uniform(0, 10, n), 0.2)
    inked = []
    for linked in (np.arange(n), np.arange(0)):
        plot_map(table, linked, NOTHING, [], tmp_path / "map.png")
        image = np.asarray(Image.open(tmp_path / "map.png").convert("L"))
        inked.append((image < 200).sum())
    assert inked[1] < 0.6 * inked[0]
