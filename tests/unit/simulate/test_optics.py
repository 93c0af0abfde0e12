"""Where light falls: against astropy's WCS, for a camera without flaws."""

import dataclasses

import numpy as np
import pytest

from alertprod.simulate import hardware, optics

RNG = np.random.default_rng(5)


@pytest.fixture
def ideal(camera, monkeypatch):
    """The camera with all chips in their places and no distortion."""
    flawless = dataclasses.replace(
        hardware.HARDWARE["simcam"],
        distortion=0.0,
        scale_error=0.0,
        metrology_px=0.0,
        metrology_deg=0.0,
    )
    monkeypatch.setitem(hardware.HARDWARE, "ideal", flawless)
    return dataclasses.replace(camera, name="ideal")


def astropy_wcs(camera, detector, ra, dec, rotation):
    """Build the nominal WCS of a detector from the definition of the camera file."""
    from astropy.wcs import WCS

    r, o = np.deg2rad(rotation), np.deg2rad(detector.orientation)
    turn = np.array([[np.cos(o), -np.sin(o)], [np.sin(o), np.cos(o)]])
    mirror = np.diag([-camera.parity, 1.0])
    to_sky = np.array([[np.cos(r), np.sin(r)], [-np.sin(r), np.cos(r)]]) @ mirror
    scale = camera.pixel_scale / 3600
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [ra, dec]
    wcs.wcs.cd = to_sky @ turn * scale
    middle = np.array([(detector.nx + 1) / 2, (detector.ny + 1) / 2])
    wcs.wcs.crpix = middle - np.linalg.inv(turn) @ np.array(detector.centre) / scale
    return wcs


@pytest.mark.parametrize("rotation", [0.0, 33.0, 180.0])
def test_flawless_camera_agrees_with_astropy_on_every_detector(ideal, rotation):
    pointing = optics.Pointing(340.0, -8.4, rotation)
    for detector in ideal.detectors.values():
        x, y = RNG.uniform(0, 1023, (2, 50))
        wcs = astropy_wcs(ideal, detector, 340.0, -8.4, rotation)
        ra, dec = wcs.all_pix2world(x, y, 0)
        px, py = optics.sky_to_pixel(pointing, ideal, detector, ra, dec)
        np.testing.assert_allclose(px, x, atol=2e-6)
        np.testing.assert_allclose(py, y, atol=2e-6)


def test_north_is_up_and_east_is_left_at_rotation_zero(camera):
    pointing = optics.Pointing(340.0, -8.4, 0.0)
    x, y = optics.field_angle(pointing, camera, [340.0, 340.1], [-8.3, -8.4])
    assert y[0] == pytest.approx(0.1, abs=1e-5)
    assert x[1] < -0.09


def test_distortion_moves_corners_by_a_few_pixels(camera, ideal):
    pointing = optics.Pointing(340.0, -8.4, 0.0)
    shifts = []
    for detector in camera.detectors.values():
        x, y = np.array([0.0, 1023.0, 0.0, 1023.0]), np.array([0.0, 0.0, 1023.0, 1023.0])
        wcs = astropy_wcs(camera, detector, 340.0, -8.4, 0.0)
        px, py = optics.sky_to_pixel(pointing, camera, detector, *wcs.all_pix2world(x, y, 0))
        shifts.append(np.hypot(px - x, py - y))
    assert 2.0 < np.max(shifts) < 12.0


def test_pixel_to_sky_inverts_sky_to_pixel(camera):
    pointing = optics.Pointing(340.001, -8.402, 91.3, (2e-4, -1e-4))
    for detector in camera.detectors.values():
        x, y = RNG.uniform(0, 1023, (2, 30))
        ra, dec = optics.pixel_to_sky(pointing, camera, detector, x, y)
        px, py = optics.sky_to_pixel(pointing, camera, detector, ra, dec)
        np.testing.assert_allclose([px, py], [x, y], atol=1e-6)


def test_profile_is_galsims_with_unit_flux_and_width():
    import galsim

    profile = optics.profile("kolmogorov")
    shape = galsim.Kolmogorov(fwhm=1.0)
    assert profile.brightness(np.array([0.5]))[0] == pytest.approx(
        profile.brightness(np.array([0.0]))[0] / 2, rel=1e-3
    )
    for radius in (0.3, 1.0, 4.0):
        expected = shape.xValue(radius, 0.0)
        assert profile.brightness(np.array([radius]))[0] == pytest.approx(expected, rel=3e-3)
    assert profile.inverse(np.array([0.5]))[0] == pytest.approx(shape.calculateHLR(), rel=5e-3)


def test_point_spread_function_varies_over_the_field_and_keeps_its_area(camera):
    psf = optics.PsfField(2.2, size=(0.0, 0.0, 0.05), e1=(0.1, 0.0, 0.0), radial=0.03)
    detector = camera.detectors[3]
    corner, middle = psf.matrices(camera, detector, [0.0, 1023.0], [0.0, 1023.0])
    # This detector is mounted upside down: its pixel (1023, 1023) is next to the boresight.
    assert np.sqrt(np.linalg.det(middle)) == pytest.approx(2.2, rel=1e-3)
    assert np.sqrt(np.linalg.det(corner)) == pytest.approx(2.2 * 1.05, rel=5e-3)
    axes = np.linalg.svd(middle, compute_uv=False)
    assert axes[0] / axes[1] == pytest.approx(1.1 / 0.9, rel=1e-3)
