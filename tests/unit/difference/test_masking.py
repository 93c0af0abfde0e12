"""How far faults reach."""

import numpy as np
import pytest
from scipy import ndimage

from alertprod.core.masks import bits
from alertprod.difference.masking import (
    gaussian_taps,
    grow,
    kernel_reach,
    propagate_mask,
    smooth,
    smoothing_width,
)


def test_growing_is_dilation_by_a_disc():
    rng = np.random.default_rng(2)
    mask = np.zeros((80, 90), bool)
    mask[rng.integers(0, 80, 12), rng.integers(0, 90, 12)] = True
    mask[30:50, 20:45] = True
    v, u = np.mgrid[-6:7, -6:7]
    disc = u**2 + v**2 <= 36.5
    assert np.array_equal(grow(mask, 6), ndimage.binary_dilation(mask, disc))


def test_the_reach_of_a_kernel_holds_nearly_all_of_it():
    u = np.arange(-12, 13)
    radius = np.hypot(u[:, None], u[None, :])
    kernel = np.exp(-0.5 * (radius / 2.0) ** 2)
    # 2 % of a Gaussian lie beyond sigma * sqrt(2 ln 50).
    assert abs(kernel_reach(kernel) - 2.0 * np.sqrt(2 * np.log(50))) < 1.0


def test_saturated_stars_grow_and_template_faults_keep_their_names():
    science, template = np.zeros((2, 60, 60), np.int32)
    science[30, 30] = bits("SAT")
    science[5, 50] = bits("CR", "DETECTED")
    template[10, 10] = bits("SAT")
    template[50, 50] = bits("NO_DATA")
    mask = propagate_mask(science, template, reach=3, saturation_reach=8, edge=2)
    assert mask[30, 38] & bits("SAT") and not mask[30, 40] & bits("SAT")
    assert mask[10, 18] & bits("SAT_TEMPLATE") and not mask[10, 18] & bits("SAT")
    assert mask[50, 53] & bits("NO_DATA") and not mask[50, 55] & bits("NO_DATA")
    assert mask[5, 50] == bits("CR") and mask[5, 51] == 0
    assert mask[0, 30] & bits("EDGE") and mask[58, 30] & bits("EDGE")
    assert not mask[2, 30] & bits("EDGE")


def test_variance_is_smeared_as_the_squared_kernel_smears_it():
    u = np.arange(-10, 11)
    kernel = np.exp(-0.5 * (u[:, None] ** 2 + u[None, :] ** 2) / 2.0**2)
    assert smoothing_width(kernel) == pytest.approx(2.0 / np.sqrt(2), rel=0.01)
    plane = np.ones((50, 60), np.float32)
    plane[25, 30] = 1001.0
    got = smooth(plane, gaussian_taps(1.4))
    want = ndimage.gaussian_filter(plane, 1.4, mode="nearest", radius=5)
    assert np.abs(got - want).max() < 0.01 * want.max()
    assert (got > 0).all()
