"""Matching of positions, and of patterns under unknown shift, rotation and scale."""

import numpy as np
import pytest

from alertprod.core.match import Search, match_pattern, match_pixels, match_sky

SHAPE = (1000, 1200)


def test_partners_are_each_others_nearest():
    i, j, d = match_pixels([0, 10, 10.4], [0, 0, 0], [0.1, 10.1, 50], [0, 0, 0], 1.0)
    # the third point is near the second's partner, but not its nearest
    assert list(i) == [0, 1] and list(j) == [0, 1]
    assert d == pytest.approx([0.1, 0.1])


def test_sky_matches_cross_the_zero_meridian_and_the_pole():
    i, j, d = match_sky([359.9999, 10.0], [0.0, 89.9999], [0.0001, 190.0], [0.0, 89.9999], 2.0)
    assert list(i) == [0, 1] and list(j) == [0, 1]
    assert d == pytest.approx([0.72, 0.72], rel=1e-3)


def test_empty_and_nan_positions_match_nothing():
    assert len(match_pixels([], [], [1.0], [1.0], 5)[0]) == 0
    assert len(match_pixels([np.nan, 1.0], [0.0, 1.0], [1.0], [1.0], 5)[0]) == 1


def field(rng, n, margin):
    """Reference stars over the image and a margin; the first are the brightest."""
    x = rng.uniform(-margin, SHAPE[1] + margin, n)
    y = rng.uniform(-margin, SHAPE[0] + margin, n)
    return x, y


def observe(rng, x, y, *, shift, turn, scale=1.0, noise=0.3, lost=0.2, spurious=0.2):
    """Move the sky, lose some stars, shuffle brightness a little, add false ones."""
    c, s = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    u, v = x - SHAPE[1] / 2, y - SHAPE[0] / 2
    px = scale * (c * u - s * v) + SHAPE[1] / 2 + shift[0]
    py = scale * (s * u + c * v) + SHAPE[0] / 2 + shift[1]
    rank = np.arange(len(x)) * rng.lognormal(0, 0.3, len(x))
    inside = (px > 0) & (px < SHAPE[1]) & (py > 0) & (py < SHAPE[0])
    keep = np.flatnonzero(inside & (rng.uniform(size=len(x)) > lost))
    extra = int(spurious * len(keep))
    xs = np.append(px[keep] + rng.normal(0, noise, len(keep)), rng.uniform(0, SHAPE[1], extra))
    ys = np.append(py[keep] + rng.normal(0, noise, len(keep)), rng.uniform(0, SHAPE[0], extra))
    order = np.argsort(np.append(rank[keep], rng.uniform(0, len(x), extra)))
    return xs[order], ys[order], (px, py)


@pytest.mark.parametrize(
    ("n", "shift", "turn", "scale"),
    [(300, (25, -40), 0.8, 1.0), (2000, (-55, 10), -0.9, 1.003), (45, (30, 30), 0.3, 0.998)],
)
def test_pattern_is_found_under_shift_rotation_and_scale(n, shift, turn, scale):
    rng = np.random.default_rng(n)
    x, y = field(rng, n, 70)
    mx, my, (tx, ty) = observe(rng, x, y, shift=shift, turn=turn, scale=scale)
    found = match_pattern((mx, my), (x, y), SHAPE, Search(shift=80))
    assert found is not None
    px, py = found(x, y)
    assert np.max(np.hypot(px - tx, py - ty)) < 1.5
    right = np.hypot(mx[found.measured] - tx[found.predicted], my[found.measured]
                     - ty[found.predicted])  # fmt: skip
    assert np.mean(right < 3) > 0.95


def test_a_dozen_stars_suffice_for_a_shift_of_half_the_field():
    rng = np.random.default_rng(7)
    x, y = field(rng, 50, 420)
    mx, my, (tx, ty) = observe(rng, x, y, shift=(-300, 180), turn=-0.6, noise=0.5, lost=0.1,
                               spurious=1.0)  # fmt: skip
    found = match_pattern((mx, my), (x, y), SHAPE, Search(shift=400, scale=0.01))
    assert found is not None
    px, py = found(x, y)
    inside = (tx > 0) & (tx < SHAPE[1]) & (ty > 0) & (ty < SHAPE[0])
    assert np.max(np.hypot(px - tx, py - ty)[inside]) < 2.5


def test_unrelated_stars_never_match():
    search = Search(shift=100)
    for seed in range(6):
        rng = np.random.default_rng(seed)
        n = (15, 60, 400)[seed % 3]
        found = match_pattern(field(rng, n, 0), field(rng, 2 * n, 100), SHAPE, search)
        assert found is None


def test_a_mirrored_sky_does_not_match():
    rng = np.random.default_rng(3)
    x, y = field(rng, 300, 70)
    mx, my, _ = observe(rng, x, y, shift=(10, 10), turn=0.2)
    assert match_pattern((SHAPE[1] - mx, my), (x, y), SHAPE, Search(shift=80)) is None


def test_three_stars_are_no_pattern():
    assert match_pattern(([1, 2, 3], [4, 8, 1]), ([1, 2, 3], [4, 8, 1]), SHAPE, Search(60)) is None
