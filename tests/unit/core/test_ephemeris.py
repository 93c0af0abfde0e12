"""Brightness against phase: the published constants, integrals and limits."""

import numpy as np
import pytest

from alertprod.core import ephemeris

PHASE = np.linspace(0.0, 150.0, 20_001)


def test_the_published_derivatives_are_those_of_the_spline_through_the_published_values():
    """Values and derivatives stand in separate tables of the paper; a misprint shows here."""
    from scipy.interpolate import CubicSpline

    for number, knots in enumerate((ephemeris._PHI1, ephemeris._PHI2, ephemeris._PHI3)):
        angle, value, slope = knots.T
        ends = ((1, slope[0]), (1, slope[-1]))
        spline = CubicSpline(np.deg2rad(angle), value, bc_type=ends)
        assert np.allclose(spline(np.deg2rad(angle), 1), slope, atol=1e-6)
        inside = PHASE[(PHASE >= angle[0]) & (PHASE <= angle[-1])]
        ours = ephemeris.phase_functions(inside)[number]
        assert np.abs(ours - spline(np.deg2rad(inside))).max() < 1e-8


@pytest.mark.parametrize(("g1", "g2"), [(0.62, 0.14), (0.26, 0.38), (0.15, 0.60)])
def test_the_phase_integral_is_the_published_one(g1, g2):
    """q = 0.009082 + 0.4061 G1 + 0.8092 G2 (Muinonen et al. 2010); for Themis 0.374."""
    phi = ephemeris.phase_functions(PHASE)
    total = g1 * phi[0] + g2 * phi[1] + (1 - g1 - g2) * phi[2]
    angle = np.deg2rad(PHASE)
    q = 2.0 * np.trapezoid(total * np.sin(angle), angle)
    assert q == pytest.approx(0.009082 + 0.4061 * g1 + 0.8092 * g2, abs=3e-5)


def test_limits():
    phi = ephemeris.phase_functions([0.0, 7.5, 30.0, 150.0, 170.0])
    assert phi[:, 0].tolist() == [1.0, 1.0, 1.0]
    assert phi[:2, 1] == pytest.approx([0.75, 0.925], abs=1e-12)  # linear up to here
    assert phi[2, 2:].tolist() == [0.0, 0.0, 0.0]  # no opposition effect beyond 30 degrees
    assert np.array_equal(phi[:, 3], phi[:, 4])
    steps = np.diff(ephemeris.phase_functions(PHASE), axis=1)
    assert steps.max() <= 1e-15  # never brighter away from opposition
    low, high = ephemeris.g1_g2(np.array([0.2 - 1e-12, 0.2]))  # the two pieces meet
    assert np.ptp(low) < 1e-3 and np.ptp(high) < 1e-3


def test_opposition_gives_h_and_distances_count_as_squares():
    for g12 in (-0.1, 0.0, 0.41, 0.64, 1.0):
        mag = ephemeris.magnitude_hg12(10.0, g12, np.array([1.0, 2.0]), np.array([1.0, 3.0]), 0.0)
        assert mag == pytest.approx([10.0, 10.0 + 5.0 * np.log10(6.0)], abs=1e-9)


def test_dark_surfaces_fade_faster_than_bright_ones():
    """Magnitudes at 20 degrees: C types (G12 0.64) fade 0.1 to 0.2 mag more than E (near 0)."""
    fading = [float(ephemeris.magnitude_hg12(0.0, g, 1.0, 1.0, 20.0)[0]) for g in (0.0, 0.41, 0.64)]
    assert fading[0] < fading[1] < fading[2]
    assert 0.7 < fading[0] and fading[2] < 1.1


def test_both_systems_agree_where_asteroids_are_seen():
    """H,G with 0.15 and H,G12 of an average asteroid: within 0.1 mag from 0 to 30 degrees."""
    phase = np.linspace(0.0, 30.0, 61)
    one = ephemeris.magnitude_hg(0.0, 0.15, 1.0, 1.0, phase)
    two = ephemeris.magnitude_hg12(0.0, 0.5, 1.0, 1.0, phase)
    assert np.abs(one - two).max() < 0.1


def test_bowell_gives_the_values_of_the_astronomical_almanac():
    """Phi1 and Phi2 in their simple form exp(-A tan^B(alpha/2)) hold beyond the surge to 0.02."""
    phase = np.array([15.0, 25.0, 40.0])
    half = np.tan(np.deg2rad(phase) / 2.0)
    simple = -2.5 * np.log10(0.85 * np.exp(-3.33 * half**0.63) + 0.15 * np.exp(-1.87 * half**1.22))
    assert np.abs(ephemeris.magnitude_hg(0.0, 0.15, 1.0, 1.0, phase) - simple).max() < 0.02
