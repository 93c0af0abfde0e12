"""Resampling against stars drawn by GalSim on either pixel grid, and against noise statistics."""

import galsim
import numpy as np
import pytest

from alertprod.core.masks import bits
from alertprod.core.resample import Canvas, lanczos_table, pixel_map, transfer_power
from alertprod.core.wcs import Wcs

SHAPE = (240, 260)


def wcs(angle=0.0, scale=1.0, dx=0.0, dy=0.0, sip=0.0):
    t = np.radians(angle)
    cd = np.array([[-np.cos(t), np.sin(t)], [np.sin(t), np.cos(t)]]) * scale / 3600
    a = b = None
    if sip:
        a, b = np.zeros((3, 3)), np.zeros((3, 3))
        a[2, 0], b[1, 1] = sip, -sip
    return Wcs([30.0, 45.0], [130.0 + dx, 120.0 + dy], cd, a, b)


def draw(stars, system, shape=SHAPE, fwhm=3.2):
    """Stars of a sky catalogue on the pixels of a WCS; the profile is round on the sky."""
    image = galsim.ImageF(shape[1], shape[0], xmin=0, ymin=0)
    x, y = system.sky_to_pix(stars[0], stars[1])
    profile = galsim.Moffat(beta=3.0, fwhm=fwhm, flux=1e5)
    for x_star, y_star in zip(x, y, strict=True):
        local = np.linalg.inv(system.jacobian(float(x_star), float(y_star)) * 3600)
        world = galsim.JacobianWCS(*np.linalg.inv(local).ravel())
        # x of the sky runs to the east; the round profile does not care about the flip.
        stamp = profile.drawImage(
            nx=49, ny=49, wcs=world, center=galsim.PositionD(float(x_star), float(y_star))
        )
        overlap = stamp.bounds & image.bounds
        image[overlap] += stamp[overlap]
    return image.array


@pytest.fixture(scope="module")
def stars():
    x, y = np.meshgrid(np.arange(45, 230, 42) + 0.31, np.arange(45, 210, 41) + 0.77)
    x = x + np.linspace(0, 1, x.size).reshape(x.shape)  # all sub-pixel phases
    return wcs().pix_to_sky(x.ravel(), y.ravel())


def planes(image, variance=1.0):
    return image, np.full(image.shape, variance, np.float32), np.zeros(image.shape, np.int32)


@pytest.mark.parametrize(
    "system", [wcs(dx=0.4, dy=-0.3), wcs(angle=33.0), wcs(scale=0.8), wcs(angle=3, sip=2e-5)]
)
def test_a_resampled_star_is_the_star_drawn_on_the_new_pixels(stars, system):
    target = wcs()
    canvas = Canvas(target, SHAPE)
    canvas.draw(*planes(draw(stars, system, (400, 400))), system)
    truth = draw(stars, target)
    x, y = target.sky_to_pix(*stars)
    for x_star, y_star in zip(np.round(x).astype(int), np.round(y).astype(int), strict=True):
        box = np.s_[y_star - 12 : y_star + 13, x_star - 12 : x_star + 13]
        if (canvas.mask[box] & bits("NO_DATA")).any():
            continue
        got, want = canvas.image[box].astype(float), truth[box].astype(float)
        same_scale = system.pixel_scale() > 0.9
        assert got.sum() == pytest.approx(want.sum(), rel=1.5e-3 if same_scale else 3e-3)
        v, u = np.mgrid[-12:13, -12:13]
        assert (got * u).sum() / got.sum() == pytest.approx((want * u).sum() / want.sum(), abs=0.02)
        assert (got * v).sum() / got.sum() == pytest.approx((want * v).sum() / want.sum(), abs=0.02)
        # The PSF is integrated over the old pixel, and over the new one in the truth.
        allowed = 0.012 if same_scale else 0.08
        assert np.abs(got - want).max() < allowed * want.max()


def test_a_flat_sky_stays_flat_and_keeps_its_brightness_per_area():
    source = wcs(angle=12.0, scale=0.5, dx=130, dy=160, sip=1e-6)
    canvas = Canvas(wcs(), (100, 100))
    sky = np.full((600, 600), 7.0, np.float32)
    # The distorted source is not uniform per solid angle: its own pixel areas divide out.
    mapping = pixel_map(wcs(), (100, 100), source, sky.shape)
    assert mapping.area.mean() == pytest.approx(4.0, rel=2e-3)
    canvas.draw(*planes(sky), source)
    have = (canvas.mask & bits("NO_DATA")) == 0
    assert have.mean() > 0.5
    assert canvas.image[have] / 7.0 == pytest.approx(4.0, rel=4e-3)


@pytest.mark.parametrize("scale", [1.0, 0.7])
def test_the_variance_tells_the_noise_of_sums_over_a_psf(scale):
    rng = np.random.default_rng(6)
    source = wcs(angle=5.0, scale=scale, dx=100.37, dy=100)
    image = rng.normal(0, 3.0, (700, 700)).astype(np.float32)
    canvas = Canvas(wcs(), SHAPE)
    canvas.draw(*planes(image, 9.0), source)
    assert canvas.covered == 1.0
    sums = canvas.image[:, :256].astype(float).reshape(30, 8, 32, 8).sum(axis=(1, 3))
    assert np.mean(sums**2) / 64 == pytest.approx(canvas.variance[100, 100], rel=0.12)


def test_the_power_left_to_noise_is_that_of_noise_sent_through_random_shifts():
    rng = np.random.default_rng(7)
    total = np.zeros(129)
    table = lanczos_table(3)
    for _ in range(400):
        row = rng.normal(size=300)
        weights = table[rng.integers(0, 2049)]
        moved = np.convolve(row, weights, mode="valid")[:256]
        total += np.abs(np.fft.rfft(moved)) ** 2 / 256
    measured = total / 400
    predicted = transfer_power(3, np.fft.rfftfreq(256))
    assert predicted[0] == pytest.approx(1.0, abs=1e-6)
    assert np.abs(measured[4:] - predicted[4:]).max() < 0.25
    assert measured[4:].mean() == pytest.approx(predicted[4:].mean(), rel=0.02)
    assert predicted[-1] < 0.6


def test_no_unmasked_pixel_feels_the_value_of_a_bad_one():
    rng = np.random.default_rng(8)
    image, variance, mask = planes(rng.normal(size=(300, 300)).astype(np.float32))
    source = wcs(angle=7.0)
    bad = rng.integers(30, 270, (2, 60))
    mask[bad[0], bad[1]] = bits("CR")
    drawn = []
    for value in (0.0, 1e5):
        image[bad[0], bad[1]] = value
        canvas = Canvas(wcs(), SHAPE)
        canvas.draw(image, variance, mask, source)
        drawn.append(canvas)
    changed = np.abs(drawn[1].image - drawn[0].image) > 1e-3 * 1e5
    flagged = (drawn[0].mask & bits("CR")) != 0
    assert flagged.any() and not (changed & ~flagged).any()
    assert flagged.mean() < 60 * 64 / flagged.size


def test_where_two_images_overlap_the_deeper_pixel_wins_and_holes_are_filled():
    left, right = np.full((200, 200), 1.0, np.float32), np.full((200, 200), 2.0, np.float32)
    system_l = Wcs([30.0, 45.0], [150.0, 100.0], wcs().cd)
    system_r = Wcs([30.0, 45.0], [50.0, 100.0], wcs().cd)
    target = Wcs([30.0, 45.0], [150.0, 100.0], wcs().cd)  # the pixels of the left image
    hole = np.zeros(left.shape, np.int32)
    hole[100, 120] = bits("NO_DATA")
    canvas = Canvas(target, (200, 300))
    canvas.draw(left, np.ones_like(left), hole, system_l)
    canvas.draw(right, np.ones_like(right), np.zeros_like(hole), system_r)
    row = canvas.image[60]
    assert row[105] == pytest.approx(1.0) and row[195] == pytest.approx(2.0)
    switch = np.flatnonzero(np.diff(row[10:290]) > 0.5)
    assert len(switch) == 1 and abs(switch[0] + 10 - 149) <= 1
    assert canvas.image[100, 120] == pytest.approx(2.0) and canvas.mask[100, 120] == 0
    assert canvas.mask[100, 298] & bits("NO_DATA")


def test_values_that_are_not_finite_become_missing_and_do_not_spread():
    image, variance, mask = planes(np.ones((200, 200), np.float32))
    image[100, 100] = np.nan
    canvas = Canvas(wcs(), SHAPE)
    canvas.draw(image, variance, mask, wcs(dx=0.5))
    assert np.isfinite(canvas.image).all()
    around = canvas.mask[96:105, 96:106] & bits("NO_DATA")
    assert around.any() and (canvas.image[80:90, 80:90] == pytest.approx(1.0))


def test_the_coarse_grid_is_good_to_a_thousandth_of_a_pixel():
    source = wcs(angle=20.0, sip=3e-5)
    mapping = pixel_map(wcs(), SHAPE, source, (400, 400))
    y, x = np.mgrid[3:230:17, 5:250:13]
    sx, sy = source.sky_to_pix(*wcs().pix_to_sky(x, y))
    j, i = y // mapping.step, x // mapping.step
    t, s = y / mapping.step - j, x / mapping.step - i
    for nodes, exact in ((mapping.x, sx), (mapping.y, sy)):
        near = (
            (1 - t) * ((1 - s) * nodes[j, i] + s * nodes[j, i + 1])
            + t * ((1 - s) * nodes[j + 1, i] + s * nodes[j + 1, i + 1])
        )  # fmt: skip
        assert np.abs(near - exact).max() < 2e-3
