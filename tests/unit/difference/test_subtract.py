"""The difference against GalSim's truth: stars vanish, transients stay, noise is white."""

import numpy as np
import pytest

from alertprod.core.errors import Rejected
from alertprod.core.masks import bits
from alertprod.difference import subtract_template


@pytest.fixture(scope="module")
def results(deep, shallow, blunt):
    return {
        name: (scene, subtract_template(scene.loud, scene.template, scene.stars, config={}))
        for name, scene in (("deep", deep), ("shallow", shallow), ("blunt", blunt))
    }


def blank(scene, difference):
    """Pulls on blank sky, and where that is."""
    from scipy.ndimage import maximum_filter

    new = np.zeros(scene.static.shape, bool)
    for x, y in scene.new[:, :2]:
        new[int(y) - 15 : int(y) + 16, int(x) - 15 : int(x) + 16] = True
    sky = (difference.mask == 0) & (maximum_filter(scene.static, 7) < 30) & ~new
    return difference.image / np.sqrt(difference.variance), sky


@pytest.mark.parametrize("name", ["deep", "shallow", "blunt"])
def test_noise_on_blank_sky_is_white_and_has_the_variance_it_says(results, name):
    pulls, sky = blank(*results[name])
    assert sky.sum() > 2e4
    assert pulls[sky].std() == pytest.approx(1.0, abs=0.02)
    for a, b in ((np.s_[:, 1:], np.s_[:, :-1]), (np.s_[1:], np.s_[:-1]), (np.s_[2:], np.s_[:-2])):
        both = sky[a] & sky[b]
        assert abs(np.mean(pulls[a][both] * pulls[b][both])) < 0.02
    assert abs(pulls[sky].mean()) < 0.03


def test_without_decorrelation_the_noise_of_a_shallow_template_is_coloured(shallow):
    plain = subtract_template(
        shallow.quiet, shallow.template, shallow.stars, config={"decorrelate": False}
    )
    pulls, sky = blank(shallow, plain)
    both = sky[:, 1:] & sky[:, :-1]
    assert np.mean(pulls[:, 1:][both] * pulls[:, :-1][both]) > 0.03
    assert pulls[sky].std() < 0.8


@pytest.mark.parametrize("name", ["deep", "shallow", "blunt"])
def test_five_sigma_transients_keep_their_flux_within_a_percent(results, name):
    scene, loud = results[name]
    quiet = subtract_template(scene.quiet, scene.template, scene.stars, config={})
    added = loud.image.astype(float) - quiet.image  # the same noise in both
    ratios = []
    for x, y, flux, _ in scene.new:
        j, i = int(np.floor(y + 0.5)), int(np.floor(x + 0.5))
        psf = loud.psf.image(x, y).astype(float)
        half = psf.shape[0] // 2
        if min(i, j) < half or max(i, j) >= len(added) - half:
            continue
        box = np.s_[j - half : j + half + 1, i - half : i + half + 1]
        if (loud.mask[box] & bits("SAT", "SAT_TEMPLATE", "EDGE")).any():
            continue
        ratios.append((psf * added[box]).sum() / (psf**2).sum() / flux)
    assert len(ratios) > 10
    assert np.median(ratios) == pytest.approx(1.0, abs=0.01)
    assert np.percentile(np.abs(np.array(ratios) - 1), 90) < 0.02


@pytest.mark.parametrize("name", ["deep", "shallow", "blunt"])
def test_bright_stars_leave_no_residuals_beyond_a_few_sigma(results, name):
    scene, difference = results[name]
    worst = []
    for x, y, _, _ in scene.field[scene.field[:, 2] > 2e4]:
        j, i = round(y), round(x)
        box = np.s_[j - 4 : j + 5, i - 4 : i + 5]
        if min(i, j) < 12 or max(i, j) > len(scene.static) - 13:
            continue
        near_new = np.hypot(scene.new[:, 0] - x, scene.new[:, 1] - y).min() < 16
        if near_new or (difference.mask[box] & bits("SAT", "SAT_TEMPLATE")).any():
            continue
        pulls = difference.image[box] / np.sqrt(difference.variance[box])
        # The photon noise of the star itself must not be what hides a residual.
        assert difference.variance[box].max() < 4 * scene.quiet.variance[box].max()
        worst.append(np.abs(pulls).max())
    assert len(worst) > 5
    assert max(worst) < 6.0 and np.median(worst) < 3.5


def test_the_blunter_template_makes_the_science_image_the_convolved_one(results):
    assert results["blunt"][1].meta["CONVOLVD"] == "science"
    assert results["deep"][1].meta["CONVOLVD"] == "template"


def test_the_header_says_how_well_it_went(results):
    meta = results["deep"][1].meta
    assert meta["KSUM"] == pytest.approx(1.0, abs=0.01)
    assert meta["NKSTAR"] > 20 and meta["KCOND"] > 1 and meta["TMPLCOV"] == 1.0
    assert meta["KCHI2"] == pytest.approx(1.0, abs=0.3)
    assert meta["DIFFSTD"] == pytest.approx(1.0, abs=0.04)


def test_a_photometric_scale_other_than_one_is_found(deep):
    bright = deep.template.copy()
    bright.image *= np.float32(1.25)
    bright.variance *= np.float32(1.25**2)
    difference = subtract_template(deep.quiet, bright, deep.stars, config={})
    assert difference.meta["KSUM"] == pytest.approx(0.8, abs=0.01)
    assert difference.meta["DIFFSTD"] == pytest.approx(1.0, abs=0.04)


def test_a_residual_sky_gradient_is_taken_out(deep):
    tilted = deep.quiet.copy()
    y, x = np.mgrid[: tilted.shape[0], : tilted.shape[1]]
    tilted.image += (20 + 0.1 * x - 0.05 * y + 2e-4 * x * y).astype(np.float32)
    difference = subtract_template(tilted, deep.template, deep.stars, config={})
    pulls, sky = blank(deep, difference)
    corners = [np.s_[:100, :100], np.s_[:100, -100:], np.s_[-100:, :100], np.s_[-100:, -100:]]
    for corner in corners:
        assert abs(pulls[corner][sky[corner]].mean()) < 0.12


def test_variable_stars_do_not_bend_the_kernel(deep):
    flickering = deep.quiet.copy()
    stars = deep.field[(deep.field[:, 3] == 0) & (deep.field[:, 2] > 2e4)][::4]
    extra = deep.draw(np.c_[stars[:, :2], 0.5 * stars[:, 2], stars[:, 3]], 4.0, 0.03, 1)
    flickering.image += extra.astype(np.float32)
    difference = subtract_template(flickering, deep.template, deep.stars, config={})
    assert difference.meta["KSUM"] == pytest.approx(1.0, abs=0.01)
    assert difference.meta["NKSTAR"] < difference.meta["NKTRIED"]


def test_pixels_without_template_are_missing_and_spoil_no_neighbour(deep):
    holed = deep.template.copy()
    holed.image[100:140, 200:260], holed.variance[100:140, 200:260] = 0.0, 0.0
    holed.mask[100:140, 200:260] |= bits("NO_DATA")
    difference = subtract_template(deep.quiet, holed, deep.stars, config={})
    assert (difference.mask[100:140, 200:260] & bits("NO_DATA")).all()
    assert np.isfinite(difference.image).all() and (difference.variance > 0).all()
    pulls = difference.image / np.sqrt(difference.variance)
    clean = (difference.mask == 0)[80:160, 180:280]
    assert clean.any() and np.abs(pulls[80:160, 180:280][clean]).max() < 5.5


def test_too_little_template_is_rejected_with_its_number(deep):
    empty = deep.template.copy()
    empty.mask[:, 30:] |= bits("NO_DATA")
    with pytest.raises(Rejected, match=r"covers 6\.2 %"):
        subtract_template(deep.quiet, empty, deep.stars, config={})


def test_a_field_with_no_star_to_match_is_rejected(deep):
    dark = deep.quiet.copy()
    rng = np.random.default_rng(0)
    dark.image = rng.normal(0, 30, dark.shape).astype(np.float32)
    none = {name: np.zeros(0) for name in ("x", "y", "psfFlux")}
    with pytest.raises(Rejected, match="stars can be used"):
        subtract_template(dark, deep.template, none, config={})


def test_the_same_input_gives_the_same_bytes_and_is_left_alone(deep):
    before = deep.quiet.copy(), deep.template.copy()
    first, second = (
        subtract_template(deep.quiet, deep.template, deep.stars, config={}) for _ in range(2)
    )
    assert first == second
    assert before[0] == deep.quiet and before[1] == deep.template


def test_what_is_stored_rebuilds_the_kernel(results):
    tables = results["deep"][1].kernel
    n = len(tables["powers"])
    side = round(np.sqrt(tables["terms"].size / n))
    assert tables["terms"].shape == (n, side * side)
    assert tables["terms"][0].sum() == pytest.approx(results["deep"][1].meta["KSUM"], abs=1e-9)


def test_noise_of_the_model_is_wider_than_a_star_and_has_its_sum(deep):
    """Else detection sees a ring where a bright star varies, and fits find no model for it."""

    def variance(floor):
        config = {"noise_floor_min": floor, "noise_floor_max": floor}
        made = subtract_template(deep.quiet, deep.template, deep.stars, config=config)
        return made.variance.astype(float)

    excess = variance(0.04) - variance(0.0)
    j, i = np.unravel_index(np.argmax(excess[20:-20, 20:-20]), (excess.shape[0] - 40,) * 2)
    window = excess[j + 5 : j + 36, i + 5 : i + 36]
    u = np.arange(-15, 16)
    along = (window.sum(axis=0) * u**2).sum() / window.sum()
    sigma = deep.quiet.psf.fwhm() / 2.3548
    # 0.5 sigma^2 of the squared star, 2 sigma^2 of the spreading
    assert 2.0 * sigma**2 < along < 4.0 * sigma**2
    light = np.square(0.04 * deep.static[j + 5 : j + 36, i + 5 : i + 36])
    assert window.sum() == pytest.approx(light.sum(), rel=0.1)
