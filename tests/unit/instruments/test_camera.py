"""Geometry from the instrument file."""

import numpy as np
import pytest

from alertprod.core.errors import BadInput
from alertprod.instruments.camera import camera_from_dict, read_camera


def offsets(wcs, x, y, ra, dec):
    """Position east and north of a point, arcsec, by astropy."""
    from astropy import units as u
    from astropy.coordinates import SkyCoord

    centre = SkyCoord(ra * u.deg, dec * u.deg)
    sky = SkyCoord(*(v * u.deg for v in wcs.pix_to_sky(x, y)))
    east, north = centre.spherical_offsets_to(sky)
    return east.arcsec, north.arcsec


def test_north_is_up_and_west_right_at_rotation_zero_for_parity_plus(tinycam):
    camera = tinycam.camera(detectors=[dict(tinycam.description()["detectors"][0], centre=[0, 0])])
    wcs = camera.nominal_wcs(0, 150.0, -20.0, 0.0)
    east, north = offsets(wcs, 47.5 + 10, 31.5 + 5, 150.0, -20.0)
    assert (east, north) == pytest.approx((-10, 5), abs=1e-4)


def test_east_is_right_for_parity_minus(tinycam):
    camera = tinycam.camera(
        parity=-1, detectors=[dict(tinycam.description()["detectors"][0], centre=[0, 0])]
    )
    wcs = camera.nominal_wcs(0, 150.0, -20.0, 0.0)
    east, north = offsets(wcs, 47.5 + 10, 31.5 + 5, 150.0, -20.0)
    assert (east, north) == pytest.approx((10, 5), abs=1e-4)


@pytest.mark.parametrize("parity", [1, -1])
def test_the_focal_plane_y_axis_points_to_the_position_angle(tinycam, parity):
    camera = tinycam.camera(
        parity=parity, detectors=[dict(tinycam.description()["detectors"][0], centre=[0, 0])]
    )
    wcs = camera.nominal_wcs(0, 30.0, 40.0, 25.0)
    east, north = offsets(wcs, 47.5, 31.5 + 20, 30.0, 40.0)
    assert np.degrees(np.arctan2(east, north)) == pytest.approx(25.0, abs=1e-3)


def test_a_turned_detector_sits_at_its_centre_and_runs_backwards(tinycam):
    wcs = tinycam.camera().nominal_wcs(1, 150.0, 0.0, 0.0)
    # centre [0.02, 0.01] deg: 72" to the west, 36" to the north; turned by 180 deg
    assert offsets(wcs, 47.5, 31.5, 150.0, 0.0) == pytest.approx((-72, 36), abs=1e-4)
    assert offsets(wcs, 57.5, 31.5, 150.0, 0.0) == pytest.approx((-62, 36), abs=1e-4)


def test_the_pixel_scale_is_the_files(tinycam):
    wcs = tinycam.camera(pixel_scale=0.7).nominal_wcs(0, 10.0, 10.0, 77.0)
    assert wcs.pixel_scale() == pytest.approx(0.7, rel=1e-9)


def test_the_footprint_goes_round_the_outer_edges_of_the_pixels(tinycam):
    camera = tinycam.camera()
    ra, dec = camera.footprint(0, 150.0, 0.0, 0.0)
    assert (dec.max() - dec.min()) * 3600 == pytest.approx(64, abs=1e-3)
    assert (ra.max() - ra.min()) * 3600 == pytest.approx(96, abs=1e-3)


def test_values_of_one_detector_override_the_shared_layout(tinycam):
    text = tinycam.description()
    text["detectors"][1]["amplifier_values"] = {"C2": {"gain": 9.0}}
    camera = camera_from_dict(text)
    assert camera.detector(1).amplifiers[2].gain == 9.0
    assert camera.detector(0).amplifiers[2].gain == 1.7


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"parity": 2}, "parity is 2"),
        ({"obscode": None}, None),
        ({"amplifier_layout": None}, "amplifiers"),
    ],
)
def test_a_wrong_instrument_file_is_one_sentence(tinycam, change, words):
    text = {**tinycam.description(), **change}
    if words is None:
        del text["obscode"]
        words = "lacks obscode"
    with pytest.raises(BadInput, match=words):
        camera_from_dict(text, "odd.yaml")


@pytest.mark.parametrize(
    ("detsec", "words"),
    [
        ([0, 48, 0, 31], "same size"),
        ([1, 49, 0, 32], "overlaps"),
        ([60, 108, 0, 32], "outside"),
    ],
)
def test_amplifiers_that_do_not_tile_the_detector_are_refused(tinycam, detsec, words):
    text = tinycam.description()
    text["amplifier_layout"][0]["detsec"] = detsec
    with pytest.raises(BadInput, match=words):
        camera_from_dict(text)


def test_an_unknown_filter_or_detector_names_the_known_ones(tinycam):
    camera = tinycam.camera()
    with pytest.raises(BadInput, match="g_01, r_03"):
        camera.filter("B")
    with pytest.raises(BadInput, match="it has 0, 1"):
        camera.detector(5)


def test_all_instruments_of_the_repository_can_be_read(root):
    names = sorted(p.stem for p in (root / "config" / "instruments").glob("*.yaml"))
    assert "microobs" in names
    for name in names:
        assert read_camera(name).name == name


def test_a_missing_instrument_names_the_known_ones():
    with pytest.raises(BadInput, match=r"no instrument file nocam\.yaml.*microobs"):
        read_camera("nocam")
