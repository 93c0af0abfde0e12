"""PSF images on other pixels, against GalSim."""

import galsim
import numpy as np
import pytest

from alertprod.core.psfgrid import grid_positions, local_map, psf_through, resample_stamp
from alertprod.core.wcs import Wcs


def moffat(fwhm, jacobian=None, size=31):
    profile = galsim.Moffat(beta=3.0, fwhm=fwhm).shear(g1=0.1, g2=0.05)
    world = galsim.PixelScale(1.0) if jacobian is None else galsim.JacobianWCS(*jacobian.ravel())
    image = profile.drawImage(nx=size, ny=size, wcs=world).array.astype(float)
    return image / image.sum()


def test_a_resampled_psf_image_is_the_psf_seen_on_turned_pixels():
    t = np.radians(25.0)
    jacobian = np.array([[np.cos(t), -np.sin(t)], [np.sin(t), np.cos(t)]])
    got = resample_stamp(moffat(3.5), jacobian, 31, 3)
    want = moffat(3.5, jacobian)
    assert np.abs(got - want).max() < 0.01 * want.max()


def test_a_model_through_a_grid_gives_back_a_psf_that_varies_smoothly():
    shape = (400, 500)
    x, y = grid_positions(shape, 5)
    width = 3.0 + 0.4 * x / 500 - 0.2 * y / 400
    psf = psf_through([moffat(w) for w in width], x, y, shape)
    truth = moffat(3.0 + 0.4 * 0.33 - 0.2 * 0.71)
    assert np.abs(psf.kernel_image(0.33 * 500, 0.71 * 400) - truth).max() < 0.002 * truth.max()


def test_few_positions_lower_the_order_instead_of_inventing_gradients():
    psf = psf_through([moffat(3.0), moffat(3.2)], [100, 300], [50, 60], (400, 500))
    far = psf.kernel_image(499, 399)
    assert np.abs(far - 0.5 * (moffat(3.0) + moffat(3.2))).max() < 1e-6


def test_the_local_map_follows_rotation_and_scale():
    t = np.radians(30.0)
    turn = np.array([[-np.cos(t), np.sin(t)], [np.sin(t), np.cos(t)]])
    target = Wcs([10.0, -20.0], [100, 100], np.diag([-1.0, 1.0]) / 3600)
    source = Wcs([10.0, -20.0], [50, 60], turn * 0.5 / 3600)
    position, jacobian = local_map(target, source, 110.0, 100.0)
    expected = np.linalg.inv(turn * 0.5) @ np.diag([-1.0, 1.0])
    assert jacobian == pytest.approx(expected, abs=1e-5)
    moved = np.array([50, 60]) + expected @ np.array([10.0, 0.0])
    assert position == pytest.approx(moved, abs=1e-3)
