"""Which source belongs to which object."""

import numpy as np
import pytest

from alertprod.associate.assign import assign, match_objects, offsets, pairs_within

CONFIG = {
    "radius_arcsec": 1.0,
    "sigma_floor_arcsec": 0.05,
    "sigma_default_arcsec": 0.2,
    "stray_fraction": 0.01,
}


def places(east, north=None, *, ra=30.0, dec=60.0, sigma=0.1):
    """Return positions given as offsets [arcsec] from a point."""
    east = np.atleast_1d(np.asarray(east, dtype=float))
    north = np.zeros_like(east) if north is None else np.atleast_1d(np.asarray(north, dtype=float))
    return {
        "ra": (ra + east / 3600.0 / np.cos(np.radians(dec))) % 360.0,
        "dec": dec + north / 3600.0,
        "raErr": np.full(len(east), sigma / 3600.0 / np.cos(np.radians(dec))),
        "decErr": np.full(len(east), sigma / 3600.0),
    }


def test_pairs_agree_with_brute_force_on_the_sphere():
    rng = np.random.default_rng(4)
    one, two = (places(rng.uniform(-5, 5, 60), rng.uniform(-5, 5, 60)) for _ in "ab")
    i, j, separation = pairs_within(one["ra"], one["dec"], two["ra"], two["dec"], 1.0)
    a, d = (np.radians(np.subtract.outer(one[k], two[k])) for k in ("ra", "dec"))
    cosine = np.multiply.outer(np.cos(np.radians(one["dec"])), np.cos(np.radians(two["dec"])))
    angle = 2 * np.arcsin(np.sqrt(np.sin(d / 2) ** 2 + cosine * np.sin(a / 2) ** 2))
    angle = np.degrees(angle) * 3600
    expected = np.argwhere(angle <= 1.0)
    assert len(expected) > 50
    assert np.array_equal(np.stack([i, j], axis=1), expected)
    assert np.allclose(separation, angle[i, j], atol=1e-7)


def test_no_object_is_farther_than_the_radius():
    found = match_objects(places([0.0, 10.0, 20.0]), places([0.9, 11.1]), CONFIG)
    assert found.tolist() == [0, -1, -1]


def test_a_lone_source_inside_the_circle_joins_whatever_its_quoted_errors():
    assert match_objects(places(0.98, sigma=0.001), places(0.0, sigma=0.001), CONFIG)[0] == 0


def test_each_object_takes_one_source_and_the_nearer_one_wins():
    found = match_objects(places([0.3, 0.05, -0.4]), places([0.0]), CONFIG)
    assert found.tolist() == [-1, 0, -1]


def test_a_good_pair_is_not_broken_to_make_two_bad_ones():
    # Greedy by count would give source 0 to object 1 so that source 1 can have object 0.
    found = match_objects(places([0.0, 0.9], sigma=0.02), places([0.02, -0.95], sigma=0.02), CONFIG)
    assert found.tolist() == [0, -1]


def test_the_pairing_is_the_best_one_for_all_not_for_the_first():
    # Source 0 is nearest to object 0, but object 0 is all that source 1 has.
    found = match_objects(places([0.10, -0.15]), places([0.0, 0.25]), CONFIG)
    assert found.tolist() == [1, 0]


def test_quoted_errors_decide_between_two_objects():
    one = places([0.0], sigma=0.05)
    two = places([0.3, -0.4])
    two["raErr"] = two["raErr"] * np.array([0.5, 4.0])
    assert match_objects(one, two, CONFIG)[0] == 1


def test_ties_are_broken_by_the_order_of_identifiers():
    sources, objects_ = places([0.0]), places([0.0, 0.0])
    assert match_objects(sources, objects_, CONFIG)[0] == 0


def test_across_the_zero_meridian():
    found = match_objects(places([0.1], ra=0.0), places([-0.1], ra=0.0), CONFIG)
    assert found[0] == 0
    east, _ = offsets(np.array([0.0001]), np.array([0.0]), np.array([359.9999]), np.array([0.0]))
    assert east[0] == pytest.approx(0.72)


def test_the_assignment_is_the_cheapest_of_all():
    from itertools import permutations

    rng = np.random.default_rng(5)
    cost = rng.uniform(0, 10, (4, 5))
    refusal = np.full(4, 6.0)
    i, j = (a.ravel() for a in np.indices((4, 5)))
    found = assign(i, j, cost[i, j], refusal, 4)
    best = min(
        sum(min(cost[r, c], refusal[r]) if c < 5 else refusal[r] for r, c in enumerate(choice))
        for choice in permutations(range(9), 4)
    )
    total = sum(cost[r, c] if c >= 0 else refusal[r] for r, c in enumerate(found))
    assert total == pytest.approx(best)
    assert len(set(found[found >= 0])) == (found >= 0).sum()


def test_nothing_to_match_is_no_error():
    none = {name: column[:0] for name, column in places([0.0]).items()}
    assert match_objects(none, places([0.0]), CONFIG).shape == (0,)
    assert match_objects(places([0.0]), none, CONFIG).tolist() == [-1]
