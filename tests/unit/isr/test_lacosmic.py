"""The single-image finder against astroscrappy and against a known sky."""

import numpy as np
import pytest

from alertprod.isr.lacosmic import find_cosmic_rays

SKY, NOISE = 400.0, 7.0


def field(seed, shape=(300, 300), fwhm=3.2, n_stars=120, n_rays=60):
    """Stars, noise and straight tracks; returns the image and where the tracks are."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    scene = np.full(shape, SKY)
    sigma = fwhm / 2.3548
    for _ in range(n_stars):
        cx, cy = rng.uniform(0, shape[1]), rng.uniform(0, shape[0])
        flux = 10 ** rng.uniform(3, 5.8)
        box = (slice(max(int(cy) - 12, 0), int(cy) + 13), slice(max(int(cx) - 12, 0), int(cx) + 13))
        r2 = (x[box] - cx) ** 2 + (y[box] - cy) ** 2
        # a Moffat profile: real stars have wings
        scene[box] += flux * 1.5 / (np.pi * 6 * sigma**2) * (1 + r2 / (6 * sigma**2)) ** -2.5
    image = rng.poisson(scene) + rng.normal(0, NOISE, shape)
    track = np.zeros(shape, dtype=bool)
    charge = np.zeros(shape)
    for _ in range(n_rays):
        length, angle = rng.integers(1, 16), rng.uniform(0, np.pi)
        x0, y0 = rng.uniform(0, shape[1]), rng.uniform(0, shape[0])
        level = 10 ** rng.uniform(2.5, 3.7)
        for step in np.arange(0, length, 0.5):
            px, py = round(x0 + step * np.cos(angle)), round(y0 + step * np.sin(angle))
            if 0 <= px < shape[1] and 0 <= py < shape[0]:
                charge[py, px] = level
                track[py, px] = True
    return (image + charge).astype(np.float32), track, scene


def run(image, config, ignore=None):
    noise = np.full(image.shape, NOISE**2, np.float32)
    ignore = np.zeros(image.shape, bool) if ignore is None else ignore
    return find_cosmic_rays(image, noise, ignore, config=config)


@pytest.fixture
def config(default_config):
    return default_config["isr"]["cosmic_rays"]["single"]


def test_tracks_are_found_and_stars_are_not(config):
    image, track, scene = field(1)
    found = run(image, config)
    assert (found & track).sum() / track.sum() > 0.95
    # growth takes in rims of tracks, never whole stars
    from scipy.ndimage import binary_dilation

    rim = binary_dilation(track, iterations=2)
    assert (found & ~rim).sum() < 0.03 * found.sum()
    assert (found & (scene > 5 * SKY) & ~rim).sum() == 0


def test_it_finds_what_astroscrappy_finds(config):
    import astroscrappy

    image, track, _ = field(2)
    theirs, _ = astroscrappy.detect_cosmics(
        image, gain=1.0, readnoise=NOISE, sigclip=4.5, sigfrac=0.33, objlim=5.0, niter=4,
        sepmed=False, cleantype="medmask", satlevel=1e9,
    )  # fmt: skip
    ours = run(image, config)
    assert (ours & track).sum() >= (theirs & track).sum() - 2
    assert (ours & ~track).sum() <= (theirs & ~track).sum() * 1.1 + 5


def test_an_empty_sky_has_none(config):
    rng = np.random.default_rng(3)
    image = (rng.poisson(SKY, (400, 400)) + rng.normal(0, NOISE, (400, 400))).astype(np.float32)
    # 4.5 sigma of a Laplacian: a handful of noise peaks in 160,000 pixels
    assert run(image, config).sum() < 40


def test_ignored_pixels_stay(config):
    image, track, _ = field(4)
    assert not (run(image, config, ignore=track) & track).any()


def test_the_input_is_not_changed(config):
    image, _, _ = field(5, shape=(80, 80))
    before = image.copy()
    run(image, config)
    assert np.array_equal(image, before)


def test_a_real_image_full_of_cosmic_rays_agrees_with_astroscrappy(real_data, config):
    """Seeing of 4 px; a lower contrast finds the wide tracks too."""
    import astroscrappy
    from astropy.io import fits

    image = fits.getdata(real_data / "hsc_cosmicrays" / "hsc_crs.fits").astype(np.float32)
    image = np.ascontiguousarray(image)
    theirs, _ = astroscrappy.detect_cosmics(
        image, gain=1.0, readnoise=NOISE, sigclip=4.5, sigfrac=0.33, objlim=3.0, niter=4,
        sepmed=False, cleantype="medmask", satlevel=1e9,
    )  # fmt: skip
    # no stars to speak of here: times the contrast of a typical one, 0.6
    ours = run(image, {**config, "contrast": 5.0})
    assert theirs.sum() > 300
    both = (ours & theirs).sum()
    assert both / theirs.sum() > 0.97
    assert both / ours.sum() > 0.97
