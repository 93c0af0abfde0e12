"""Stars, galaxies, and the catalogue that a survey has of them."""

import numpy as np
import pytest

from alertprod.simulate import sky

FIELD = {"ra": 340.0, "dec": -8.4, "radius": 0.55}
CONTENT = {
    "stars_per_deg2": 4500,
    "stars_r_min": 11.0,
    "stars_r_max": 22.5,
    "galaxies_per_deg2": 5000,
    "galaxies_r_max": 22.5,
}


@pytest.fixture(scope="module")
def stars():
    return sky.make_stars(np.random.default_rng(11), CONTENT, FIELD)


def test_number_and_spread_of_stars(stars):
    area = np.pi * 0.55**2
    assert stars["ra"].size == pytest.approx(4500 * area, rel=0.06)
    east = (stars["ra"] - 340.0) * np.cos(np.deg2rad(-8.4))
    inner = np.hypot(east, stars["dec"] + 8.4) < 0.55 / np.sqrt(2)
    assert inner.mean() == pytest.approx(0.5, abs=0.03)
    counts = np.histogram(stars["mag_r"], [14, 16, 18, 20, 22])[0]
    assert np.all(np.diff(counts) > 0)
    assert np.log10(counts[3] / counts[0]) / 6 == pytest.approx(0.22, abs=0.03)


def test_colours_have_a_blue_edge_and_a_red_clump(stars):
    colour = stars["mag_g"] - stars["mag_r"]
    assert ((colour > 0.2) & (colour < 0.8)).mean() > 0.2
    assert ((colour > 1.2) & (colour < 1.65)).mean() > 0.3
    faint = stars["mag_r"] > 20
    assert np.median(colour[faint]) > np.median(colour[~faint])


def test_proper_motion_is_astropys(stars):
    import astropy.units as u
    from astropy.coordinates import SkyCoord
    from astropy.time import Time

    some = {name: value[:50] for name, value in stars.items()}
    some["parallax"] = np.zeros(50)
    now = Time(61322.0, format="mjd", scale="tai")
    ra, dec = sky.at_visit(some, 61322.0, np.zeros(3))
    then = SkyCoord(
        some["ra"] * u.deg,
        some["dec"] * u.deg,
        pm_ra_cosdec=some["pmra"] * u.mas / u.yr,
        pm_dec=some["pmdec"] * u.mas / u.yr,
        distance=1 * u.kpc,
        obstime=Time(2016.0, format="jyear", scale="tdb"),
    )
    expected = then.apply_space_motion(new_obstime=now)
    assert np.abs(some["pmra"]).max() > 10
    separation = SkyCoord(ra * u.deg, dec * u.deg).separation(SkyCoord(expected.ra, expected.dec))
    assert separation.mas.max() < 0.05


def test_parallax_is_the_angle_between_two_lines_of_sight():
    star = {"ra": np.array([340.0]), "dec": np.array([-8.4])}
    star |= {"pmra": np.zeros(1), "pmdec": np.zeros(1), "parallax": np.array([100.0])}
    observer = np.array([0.6, 0.7, 0.3])
    ra, dec = sky.at_visit(star, 57388.5, observer)
    a, d = np.deg2rad(340.0), np.deg2rad(-8.4)
    direction = np.array([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)])
    line = direction * 206264.806 * 10.0 - observer  # 10 pc in au
    line /= np.linalg.norm(line)
    expected = np.rad2deg(np.arctan2(line[1], line[0])) % 360, np.rad2deg(np.arcsin(line[2]))
    assert (ra[0] - expected[0]) * 3.6e6 == pytest.approx(0, abs=0.02)
    assert (dec[0] - expected[1]) * 3.6e6 == pytest.approx(0, abs=0.02)
    assert abs(dec[0] + 8.4) * 3.6e6 > 10


def test_reference_catalogue_has_honest_errors_and_a_faint_limit(stars):
    catalogue = sky.reference_catalogue(np.random.default_rng(12), stars, {"g": "g", "r": "r"})
    index = catalogue["source_id"] - (3 << 58) - 1
    assert np.all(np.diff(index) > 0)
    pull = (catalogue["dec"] - stars["dec"][index]) * 3.6e6 / catalogue["dec_error"]
    assert pull.std() == pytest.approx(1.0, abs=0.06)
    east = (catalogue["ra"] - stars["ra"][index]) * 3.6e6 * np.cos(np.deg2rad(-8.4))
    assert (east / catalogue["ra_error"]).std() == pytest.approx(1.0, abs=0.06)
    true = 10 ** (0.4 * (31.4 - stars["mag_r"][index]))
    flux_pull = (catalogue["flux_r"] - true) / catalogue["fluxErr_r"]
    assert flux_pull.std() == pytest.approx(1.0, abs=0.06)
    mag = stars["mag_r"]
    share = [np.isin(np.flatnonzero(m), index).mean() for m in (mag < 19, (mag > 21.2))]
    assert share[0] > 0.96 and share[1] < 0.05
    # Faint stars may have positions only.
    assert np.isnan(catalogue["pmra"]).any()
    assert np.isfinite(catalogue["pmra"][mag[index] < 19]).all()


def test_galaxies_shrink_and_multiply_towards_the_faint_end():
    galaxies = sky.make_galaxies(np.random.default_rng(13), CONTENT, FIELD)
    bright, faint = galaxies["mag_r"] < 20, galaxies["mag_r"] > 21.5
    assert faint.sum() > 4 * bright.sum()
    assert np.median(galaxies["radius"][bright]) > 1.2 * np.median(galaxies["radius"][faint])
    assert set(galaxies["n"]) == {1.0, 2.5, 4.0}
    assert np.all((galaxies["axis_ratio"] > 0.2) & (galaxies["axis_ratio"] <= 1))
