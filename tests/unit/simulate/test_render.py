"""Light on pixels, against GalSim's own rendering."""

import numpy as np
import pytest

from alertprod.simulate import optics, render

SHAPE = (41, 41)


def galsim_star(matrix, x, y, flux):
    import galsim

    m = np.asarray(matrix)
    star = galsim.Kolmogorov(fwhm=1.0, flux=flux).transform(m[0, 0], m[0, 1], m[1, 0], m[1, 1])
    star = star.withFlux(flux)
    offset = galsim.PositionD(x - (SHAPE[1] - 1) / 2, y - (SHAPE[0] - 1) / 2)
    image = star.drawImage(nx=SHAPE[1], ny=SHAPE[0], scale=1.0, offset=offset, dtype=float)
    return image.array


MATRIX = 2.1 * np.array([[1.05, 0.06], [0.06, 0.95]])


def test_drawn_star_is_galsims_star():
    drawn = render.draw_stars(
        SHAPE, [20.3], [19.6], [2e5], MATRIX[None], optics.profile("kolmogorov")
    )
    expected = galsim_star(MATRIX, 20.3, 19.6, 2e5)
    assert np.abs(drawn - expected).max() < 2e-3 * expected.max()
    assert drawn.sum() == pytest.approx(expected.sum(), rel=3e-3)


def reduced_chi2(shot, expected):
    """Compare counts with an expectation, where there are enough of them."""
    use = expected > 20
    assert use.sum() > 30
    return np.mean((shot[use] - expected[use]) ** 2 / expected[use])


def shooter(seed=1, response=None):
    response = np.ones(SHAPE, np.float32) if response is None else response
    rng = np.random.default_rng(seed)
    return render.Shooter(rng, response, optics.profile("kolmogorov"))


def test_shot_star_is_galsims_star_with_poisson_noise():
    gun = shooter()
    gun.shoot(np.array([20.3]), np.array([19.6]), np.array([3e5]), MATRIX[None])
    assert 0.8 < reduced_chi2(gun.electrons(), galsim_star(MATRIX, 20.3, 19.6, 3e5)) < 1.25


@pytest.mark.parametrize(("n", "ratio"), [(1.0, 0.4), (4.0, 0.7)])
def test_shot_galaxy_is_galsims_sersic_galaxy(n, ratio):
    import galsim

    angle, radius = np.deg2rad(30.0), 2.5
    galaxy = galsim.Sersic(n=n, half_light_radius=radius, trunc=0.0)
    galaxy = galaxy.transform(1, 0, 0, ratio).rotate(30 * galsim.degrees).withFlux(3e5)
    seen = galsim.Convolve([galaxy, galsim.Kolmogorov(fwhm=2.1)])
    expected = seen.drawImage(nx=SHAPE[1], ny=SHAPE[0], scale=1.0, dtype=float).array
    c, s = np.cos(angle), np.sin(angle)
    shape = np.array([[c, -s], [s, c]]) @ np.diag([1.0, ratio])
    gun = shooter()
    spread = gun.galaxies(np.array([n]), np.array([radius]), shape[None])
    middle = np.array([20.0])
    gun.shoot(middle, middle, np.array([3e5]), 2.1 * np.eye(2)[None], spread)
    assert 0.8 < reduced_chi2(gun.electrons(), expected) < 1.3


def test_trail_is_longer_than_a_star_by_its_length_along_its_motion():
    moments = {}
    for length in (0.0, 9.0):
        gun = shooter()
        spread = gun.trails(np.array([length * 0.6]), np.array([length * 0.8]))
        middle = np.array([20.0])
        gun.shoot(middle, middle, np.array([2e5]), 2.0 * np.eye(2)[None], spread)
        image = gun.electrons()
        y, x = np.mgrid[: SHAPE[0], : SHAPE[1]] - 20.0
        along = 0.6 * x + 0.8 * y
        moments[length] = np.sum(image * along**2) / image.sum()
    # A line of length L adds L^2 / 12 to the variance; wings cut by the stamp take a little.
    assert moments[9.0] - moments[0.0] == pytest.approx(81 / 12, rel=0.03)


def test_dead_pixels_collect_nothing():
    response = np.ones(SHAPE, np.float32)
    response[20, 20], response[20, 21] = 0.0, 0.5
    gun = shooter(response=response)
    gun.shoot(np.array([20.0]), np.array([20.0]), np.array([3e5]), 3 * np.eye(2)[None])
    image = gun.electrons()
    assert image[20, 20] == 0
    assert image[20, 21] == pytest.approx(image[20, 19] / 2, rel=0.05)
