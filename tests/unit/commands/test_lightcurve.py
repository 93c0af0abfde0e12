"""Light curves: the ensemble gives back what the air took, and nothing of the star's own."""

import numpy as np
import pytest

from alertprod.commands import lightcurve
from alertprod.commands.ensemble import (
    choose_comparisons,
    common_residual,
    relative_curve,
    solve_ensemble,
)

EPOCHS, STARS, NOISE = 60, 12, 0.005


@pytest.fixture
def night():
    """Fluxes of comparison stars under passing clouds; star 3 varies, star 5 has a bad epoch."""
    rng = np.random.default_rng(4)
    air = np.clip(1 - 0.4 * np.abs(np.sin(np.arange(EPOCHS) / 9)), 0.5, 1)
    mean = rng.uniform(1e5, 1e6, STARS)
    flux = mean[:, None] * air * (1 + rng.normal(0, NOISE, (STARS, EPOCHS)))
    flux[3] *= 1 + 0.1 * np.sin(np.arange(EPOCHS) / 5)
    good = np.ones(flux.shape, dtype=bool)
    flux[5, 7] *= 3
    good[5, 7] = False
    return air, flux, good


def test_clouds_are_taken_out_and_a_variable_star_is_not_trusted(night):
    air, flux, good = night
    ensemble = solve_ensemble(flux, good)
    error = ensemble.factor / (air / np.median(air)) - 1
    assert np.std(error) < 2 * NOISE / np.sqrt(STARS - 1)
    assert np.isnan(ensemble.scatter[3]) and np.isfinite(ensemble.scatter[5])
    assert ensemble.n_stars[7] == STARS - 2 and ensemble.n_stars[8] == STARS - 1
    assert np.median(ensemble.error) == pytest.approx(NOISE / np.sqrt(STARS - 1), rel=0.4)


def test_a_dip_keeps_its_depth(night):
    air, flux, good = night
    dip = np.where((np.arange(EPOCHS) > 20) & (np.arange(EPOCHS) < 35), 0.98, 1.0)
    ensemble = solve_ensemble(flux, good)
    usable = np.ones(EPOCHS, dtype=bool)
    relative, error, reference = relative_curve(
        4e5 * air * dip, 0.001 * 4e5 * air, usable, ensemble
    )
    assert reference == pytest.approx(4e5 * np.median(air), rel=0.01)
    assert np.mean(relative[dip < 1]) / np.mean(relative[dip == 1]) == pytest.approx(0.98, abs=1e-3)
    assert (error > 0).all()


def test_the_error_of_a_templates_scale_is_what_constant_stars_share(night):
    air, flux, good = night
    rng = np.random.default_rng(6)
    scale = rng.normal(0, 0.02, EPOCHS)
    usual = np.median(flux / air, axis=1)
    left = usual[:, None] * air * (scale + rng.normal(0, NOISE, flux.shape))
    left[4, :5] = np.nan
    common = common_residual(left, flux, good, solve_ensemble(flux, good))
    assert np.std(common - scale) < 2 * NOISE / np.sqrt(STARS - 1)


def test_an_epoch_without_stars_has_no_factor(night):
    _, flux, good = night
    good[:, 11] = False
    ensemble = solve_ensemble(flux, good)
    assert np.isnan(ensemble.factor[11]) and ensemble.n_stars[11] == 0
    assert np.isfinite(np.delete(ensemble.factor, 11)).all()


def test_comparison_stars_are_clean_similar_and_alone():
    n = 7
    stars = {
        "ra": 30.0 + 0.01 * np.arange(n),
        "dec": np.full(n, 40.0),
        "x": 100.0 * np.arange(n),
        "y": np.zeros(n),
        # target, like it, too faint, saturated, companion's host, companion, brighter
        "apFlux": np.array([100.0, 90.0, 5.0, 120.0, 110.0, 60.0, 400.0]),
        "centroid_flag": np.zeros(n, dtype=bool),
    }
    stars["x"][5] = stars["x"][4] + 4
    for name in ("saturated", "suspect", "bad", "cr", "edge", "nodata"):
        stars[f"pixelFlags_{name}"] = np.zeros(n, dtype=bool)
    stars["pixelFlags_saturated"][3] = True
    rows = choose_comparisons(stars, 30.0, 40.0, count=9, faintest=0.3, isolation=10.0)
    assert rows.tolist() == [1, 6]


def test_the_table_is_read_back_as_it_was_written(tmp_path):
    n = 3
    curve = {name: np.linspace(0.5, 1.5, n) for name in lightcurve.COLUMNS}
    curve |= {name: np.array(["a", "b", "c"]) for name in
              ("visit", "detector", "band", "template_run", "utc")}  # fmt: skip
    curve["flag"] = np.array([False, True, False])
    curve["stars"] = np.arange(n)
    lightcurve.write(curve, tmp_path / "curve.csv")
    again = lightcurve.read(tmp_path / "curve.csv")
    for name, values in curve.items():
        assert np.array_equal(again[name], values), name
    lightcurve.draw(again, "a star", tmp_path / "curve.png")
    assert (tmp_path / "curve.png").stat().st_size > 10000
