"""From three images to a table: what is found, how well it is measured, what is refused."""

import numpy as np
import pytest

from alertprod.core.errors import BadInput, Rejected
from alertprod.core.exposure import Exposure
from alertprod.core.masks import bits
from alertprod.core.products import columns
from alertprod.core.tables import n_rows
from alertprod.sources import measure_sources


def measure(images, config, **changes):
    return measure_sources(*images, config=config | changes)


def near(table, x, y, radius=2.0):
    return np.flatnonzero(np.hypot(table["x"] - x, table["y"] - y) < radius)


def grid(scene, step=40):
    ny, nx = scene.shape
    gy, gx = np.meshgrid(np.arange(30, ny - 25, step), np.arange(30, nx - 25, step))
    rng = np.random.default_rng(scene.seed)
    return gx.ravel() + rng.uniform(-0.5, 0.5, gx.size), gy.ravel() + rng.uniform(
        -0.5, 0.5, gx.size
    )


@pytest.mark.parametrize("fwhm", [2.2, 3.5])
def test_transients_of_both_signs_come_back_with_true_flux_position_and_errors(
    make_scene, config, fwhm
):
    """Also where the PSF is undersampled (FWHM of 2.2 px)."""
    pulls, ratios, found, total, false = [], [], 0, 0, 0
    for seed in range(2):
        scene = make_scene(fwhm=fwhm, seed=seed)
        x, y = grid(scene)
        sign = np.where(np.arange(x.size) % 3 == 0, -1.0, 1.0)
        noise = np.sqrt(1000.0 * np.pi) * fwhm
        flux = sign * noise * np.geomspace(10, 60, x.size)
        for one in zip(x, y, flux, strict=True):
            if one[2] < 0:  # a star that went out
                scene.add_star(one[0], one[1], -one[2])
            scene.add_transient(*one)
        table = measure(scene.finish(), config)
        total += x.size
        rows = [near(table, *one[:2]) for one in zip(x, y, strict=True)]
        false += n_rows(table) - sum(len(r) for r in rows)
        for row, xx, yy, f in zip(rows, x, y, flux, strict=True):
            if len(row) == 1:
                k = row[0]
                found += 1
                pulls.append(
                    [
                        (table["x"][k] - xx) / table["xErr"][k],
                        (table["y"][k] - yy) / table["yErr"][k],
                        (table["psfFlux"][k] - f) / table["psfFluxErr"][k],
                    ]
                )
                ratios.append(table["psfFlux"][k] / f)
                assert table["isNegative"][k] == (f < 0)
    assert found >= 0.98 * total
    assert false <= 2
    pulls = np.array(pulls)
    scatter = pulls.std(axis=0)
    assert (scatter > 0.85).all() and (scatter < 1.2).all()
    assert np.abs(pulls.mean(axis=0)).max() < 0.35
    assert abs(np.median(ratios) - 1) < 0.02


def test_an_empty_difference_gives_an_empty_table_with_all_columns(make_scene, config):
    table = measure(make_scene(seed=4).finish(), config)
    assert n_rows(table) <= 1
    assert list(table) == list(columns("dia_sources"))


def test_well_subtracted_stars_leave_nothing(make_scene, config):
    scene = make_scene(seed=5)
    x, y = grid(scene, 60)
    for k, (xx, yy) in enumerate(zip(x, y, strict=True)):
        scene.add_star(xx, yy, 10 ** (3.5 + 2.2 * k / x.size))
    table = measure(scene.finish(), config)
    assert n_rows(table) <= 1


def test_imperfect_subtraction_of_bright_stars_is_no_source(make_scene, config):
    """Two per cent of each star is left: the noise floor takes it."""
    scene = make_scene(seed=6)
    for x, y in ((100, 100), (300, 120), (200, 300)):
        scene.add_star(x, y, 4e5)
    left = 0.02 * scene.static
    assert n_rows(measure(scene.finish(leftover=left), config, model_error=0.0)) >= 3
    assert n_rows(measure(scene.finish(leftover=left), config, model_error=0.04)) == 0


def test_a_ripple_beside_a_bright_star_is_no_source_and_a_transient_there_is(make_scene, config):
    """A matching kernel rings at its edge by some thousandths of the star's light."""
    scene = make_scene(seed=8, fwhm=2.4)
    leftover = np.zeros(scene.shape)
    y, x = np.mgrid[: scene.shape[0], : scene.shape[1]]
    for u, v in ((100, 100), (300, 120), (200, 300)):
        scene.add_star(u, v, 4e6)
        leftover += 1200.0 * np.exp(-0.5 * np.hypot(x - u - 6, y - v) ** 2 / 1.02**2)
    scene.add_transient(205.2, 304.4, 1e5)
    images = scene.finish(leftover=leftover)
    images[0].meta["KREACH"] = 5
    beside = [(100, 100), (300, 120)]
    plain = measure(images, config)
    assert sum(len(near(plain, *one, radius=10)) for one in beside) >= 2
    table = measure(images, config, ripple_error=0.002)
    assert sum(len(near(table, *one, radius=10)) for one in beside) == 0
    assert len(near(table, 205.2, 304.4)) == 1


def test_cosmic_rays_are_dropped_and_stars_of_the_same_height_kept(make_scene, config):
    scene = make_scene(seed=7, fwhm=2.2)
    leftover = np.zeros(scene.shape)
    hits = [(50 + 30 * k, 60 + 25 * k) for k in range(10)]
    for x, y in hits:
        leftover[y, x] += 500.0
        leftover[y, x + 1] += 250.0
    stars = [(60.3 + 30 * k, 30.2 + 25 * k) for k in range(10)]
    for x, y in stars:
        scene.add_transient(x, y, 3000.0)
    table = measure(scene.finish(leftover=leftover), config)
    assert sum(len(near(table, *one)) for one in stars) == 10
    assert sum(len(near(table, *one)) for one in hits) == 0


def test_broad_residuals_are_dropped(make_scene, config):
    """A pedestal 25 px wide, such as a wrong background leaves, is no source."""
    scene = make_scene(seed=15)
    y, x = np.mgrid[: scene.shape[0], : scene.shape[1]]
    leftover = sum(
        40.0 * np.exp(-0.5 * ((x - cx) ** 2 + (y - cy) ** 2) / 10.0**2)
        for cx, cy in ((100, 100), (300, 150), (150, 300))
    )
    images = scene.finish(leftover=leftover)
    assert n_rows(measure(images, config, broad_margin=1e9, max_chi2=1e9)) >= 3
    assert n_rows(measure(images, config)) == 0


def test_peaks_on_useless_pixels_are_dropped_and_flags_tell_of_near_ones(make_scene, config):
    scene = make_scene(seed=8)
    places = {"NO_DATA": (60, 60), "SAT": (150, 60), "EDGE": (240, 60)}
    for plane, (x, y) in places.items():
        scene.add_transient(x, y, 1e4)
        scene.mask[y - 4 : y + 5, x - 4 : x + 5] |= bits(plane)
    scene.add_transient(100, 300, 1e4)
    scene.mask[301, 103] |= bits("CR")
    scene.mask[300, 100] |= bits("INTRP")
    scene.add_transient(200, 300, 1e4)
    table = measure(scene.finish(), config)
    assert n_rows(table) == 2
    (k,) = near(table, 100, 300)
    assert table["pixelFlags_cr"][k] and not table["pixelFlags_crCenter"][k]
    assert table["pixelFlags_interpolated"][k] and table["pixelFlags_interpolatedCenter"][k]
    (k,) = near(table, 200, 300)
    assert not any(table[name][k] for name in table if name.startswith("pixelFlags"))


def test_forced_fluxes_are_those_of_the_two_images(make_scene, config):
    scene = make_scene(seed=9)
    scene.add_star(200.3, 200.8, 2e4)
    scene.add_transient(200.3, 200.8, 1e4)
    table = measure(scene.finish(), config)
    assert n_rows(table) == 1
    for name, true in (("psfFlux", 1e4), ("scienceFlux", 3e4), ("templateFlux", 2e4)):
        assert abs(table[name][0] - true) < 4 * table[name + "Err"][0]
    assert abs(table["apFlux"][0] - 1e4) < 4 * table["apFluxErr"][0]
    assert not table["isDipole"][0] and np.isnan(table["trailLength"][0])


def test_identifiers_times_and_order_follow_the_rules(make_scene, config):
    scene = make_scene(seed=10)
    for k, flux in enumerate((3e3, 1e4, 5e3)):
        scene.add_transient(80 + 100 * k, 200, flux)
    table = measure(scene.finish(), config)
    assert (np.diff(table["snr"]) <= 0).all()
    assert (np.diff(table["diaSourceId"]) == 1).all()
    assert (table["midpointMjdTai"] == 61365.25).all()
    assert (table["timeProcessedMjdTai"] == 61365.25).all()
    assert set(table["band"]) == {"r"} and set(table["visit"]) == {2026112000042}


def test_sky_positions_are_those_of_astropy(make_scene, config):
    from astropy.wcs import WCS

    scene = make_scene(seed=11)
    scene.add_transient(100.25, 300.5, 3e4)
    images = scene.finish()
    table = measure(images, config)
    wcs = WCS(images[0].wcs.to_header())
    ra, dec = wcs.all_pix2world(table["x"], table["y"], 0)
    np.testing.assert_allclose(table["ra"], ra, atol=1e-9)
    np.testing.assert_allclose(table["dec"], dec, atol=1e-9)
    # 0.5"/px, so the sky errors follow; raErr is that of ra itself
    scale = 0.5 / 3600
    total = np.hypot(table["xErr"], table["yErr"]) * scale
    on_sky = np.hypot(table["raErr"] * np.cos(np.radians(table["dec"])), table["decErr"])
    np.testing.assert_allclose(on_sky, total, rtol=1e-4)


def test_the_same_images_give_the_same_table(make_scene, config):
    scene = make_scene(seed=12)
    for x, y in zip(*grid(scene, 80), strict=True):
        scene.add_transient(x, y, 2e3)
    images = scene.finish()
    first, second = measure(images, config), measure(images, config)
    for name, values in first.items():
        np.testing.assert_array_equal(values, second[name])


def test_many_supernovae_are_no_failed_subtraction(make_scene, config):
    """A third of the cells hold nothing bright but what is new."""
    scene = make_scene(seed=21)
    x, y = grid(scene, 60)
    for k, (xx, yy) in enumerate(zip(x, y, strict=True)):
        (scene.add_transient if k % 3 == 0 else scene.add_star)(xx, yy, 2e5)
    table = measure(scene.finish(), config)
    assert n_rows(table) >= 0.9 * np.ceil(x.size / 3)


def test_a_failed_subtraction_is_rejected(make_scene, config):
    scene = make_scene(seed=13, shape=(700, 700))
    for x, y in zip(*grid(scene, 70), strict=True):
        scene.add_star(x, y, 1e5)
    shifted = np.roll(scene.static, 2, axis=1) - scene.static
    with pytest.raises(Rejected, match="bad subtraction"):
        measure(scene.finish(leftover=shifted), config)


def test_too_many_detections_are_rejected(make_scene, config):
    scene = make_scene(seed=14)
    rng = np.random.default_rng(0)
    leftover = np.zeros(scene.shape)
    leftover[rng.integers(0, 400, 900), rng.integers(0, 400, 900)] = 3000.0
    with pytest.raises(Rejected, match="the subtraction failed"):
        measure(scene.finish(leftover=leftover), config)


def test_an_image_without_pixels_is_rejected(make_scene, config):
    scene = make_scene()
    scene.mask[:] = bits("NO_DATA")
    with pytest.raises(Rejected, match="usable"):
        measure(scene.finish(), config)


def test_images_of_different_size_are_refused(make_scene, config):
    difference, calexp, template = make_scene().finish()
    small = Exposure(
        template.image[:100, :100], template.mask[:100, :100], template.variance[:100, :100]
    )
    with pytest.raises(BadInput, match="same detector"):
        measure((difference, calexp, small), config)
