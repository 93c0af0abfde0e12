"""One exposure in memory, and its raw file."""

import warnings

import numpy as np
import pytest

from alertprod.simulate import api, optics
from alertprod.simulate.hardware import chip, throughput

STARS = api.Points(
    np.array([339.86, 339.80, 339.90]), np.array([-8.54, -8.50, -8.60]), np.array([3e6, 4e5, 6e4])
)


def test_same_seed_same_bytes_whatever_came_before(camera, observe, tmp_path):
    visit = observe(begin=(61322.05, 61322.0502))
    first = api.simulate_detector(camera, 1, visit, api.Scene(STARS), seed=7)
    api.simulate_detector(camera, 0, observe(visit=2026100900022), api.Scene(STARS), seed=7)
    again = api.simulate_detector(camera, 1, visit, api.Scene(STARS), seed=7)
    for snap in (0, 1):
        api.write_snap(tmp_path / "a.fits", camera, 1, visit, first, snap)
        api.write_snap(tmp_path / "b.fits", camera, 1, visit, again, snap)
        assert (tmp_path / "a.fits").read_bytes() == (tmp_path / "b.fits").read_bytes()


@pytest.mark.parametrize("change", ["seed", "visit", "snap"])
def test_noise_differs_between_seeds_visits_and_snaps(camera, observe, change):
    visit = observe(begin=(61322.05, 61322.0502))
    one = api.simulate_detector(camera, 1, visit, api.Scene(), seed=7)
    other, snap = one, 0
    if change == "seed":
        other = api.simulate_detector(camera, 1, visit, api.Scene(), seed=8)
    elif change == "visit":
        other = api.simulate_detector(camera, 1, observe(visit=2026100900023), api.Scene(), seed=7)
    else:
        snap = 1
    a, b = (s.electrons[100:300, 100:300] for s in (one.snaps[0], other.snaps[snap]))
    usual = (np.abs(a - np.median(a)) < 150) & (np.abs(b - np.median(b)) < 150)
    assert usual.mean() > 0.98
    assert abs(np.corrcoef(a[usual], b[usual])[0, 1]) < 0.1


def test_raw_file_is_valid_fits_that_says_where_its_pixels_belong(camera, observe, tmp_path):
    from astropy.io import fits

    visit = observe(begin=(61322.05, 61322.0502), rotation=12.5, purpose="TEMPLATE")
    made = api.simulate_detector(camera, 2, visit, api.Scene(STARS), seed=1)
    api.write_snap(tmp_path / "raw.fits", camera, 2, visit, made, 1)
    with warnings.catch_warnings(), fits.open(tmp_path / "raw.fits") as hdus:
        warnings.simplefilter("error")
        hdus.verify("exception")
        header = hdus[0].header
        assert (header["INSTRUME"], header["IMGTYPE"], header["FILTER"]) == (
            "simcam",
            "OBJECT",
            "r_03",
        )
        assert (header["DAYOBS"], header["SEQNUM"], header["DETECTOR"]) == (20261009, 21, 2)
        assert (header["CURINDEX"], header["MAXINDEX"], header["TIMESYS"]) == (1, 2, "TAI")
        assert header["DATE-BEG"].startswith("2026-10-09T01:12:17.28")
        assert header["MJD-END"] - header["MJD-BEG"] == pytest.approx(15 / 86400, abs=1e-9)
        assert (header["RA"], header["ROTPA"], header["PURPOSE"]) == (340.0, 12.5, "TEMPLATE")
        assert len(hdus) == 5
        for k, hdu in enumerate(hdus[1:]):
            assert hdu.data.dtype == np.uint16
            np.testing.assert_array_equal(hdu.data, made.snaps[1].segments[k])
        assert hdus[4].header["DETSEC"] == "[1024:513,1024:513]"
        assert hdus[2].header["DATASEC"] == "[9:520,1:512]"


def test_a_star_has_its_flux_and_its_place(camera, observe):
    import galsim

    x0, y0 = 700.3, 610.6
    stamp = np.s_[611 - 25 : 611 + 26, 700 - 25 : 700 + 26]
    assert not chip(camera, camera.detectors[0]).defects[stamp].any()
    pointing = optics.Pointing(340.0, -8.4, 0.0)
    ra, dec = optics.pixel_to_sky(pointing, camera, camera.detectors[0], [x0], [y0])
    visit = observe(cosmics=False, psf=optics.PsfField(2.2))
    star = api.Scene(api.Points(ra, dec, np.array([2e6])))
    made = api.simulate_detector(camera, 0, visit, star, seed=2)
    empty = api.simulate_detector(camera, 0, visit, api.Scene(), seed=2)
    assert made.x[0] == pytest.approx(x0, abs=1e-5)
    image = made.snaps[0].electrons[stamp] - empty.snaps[0].electrons[stamp]
    image /= throughput(camera, camera.detectors[0], "r")[stamp]
    # 1 e-/s is magnitude 25.5 above the atmosphere; one airmass takes 0.10 mag; 2e6 nJy is 15.65.
    expected = 15 * 10 ** (0.4 * (25.5 - 0.10 - (31.4 - 2.5 * np.log10(2e6))))
    y, x = np.mgrid[611 - 25 : 611 + 26, 700 - 25 : 700 + 26].astype(float)
    core = np.hypot(x - x0, y - y0) < 5
    promise = galsim.Kolmogorov(fwhm=2.2, flux=expected).drawImage(
        nx=51, ny=51, scale=1.0, offset=(x0 - 700, y0 - 611), dtype=float
    )
    assert image[core].sum() == pytest.approx(promise.array[core].sum(), rel=0.015)
    weight = image[core] * np.exp(-((x - x0) ** 2 + (y - y0) ** 2) / 4)[core]
    assert np.sum(weight * x[core]) / weight.sum() == pytest.approx(x0, abs=0.02)
    assert np.sum(weight * y[core]) / weight.sum() == pytest.approx(y0, abs=0.02)


def test_sky_noise_is_poisson(camera, observe):
    visit = observe(cosmics=False)
    made = api.simulate_detector(camera, 0, visit, api.Scene(), seed=5)
    cut = made.snaps[0].electrons[100:200, 100:200].astype(float)
    other = api.simulate_detector(camera, 0, visit, api.Scene(), seed=6)
    difference = cut - other.snaps[0].electrons[100:200, 100:200]
    assert np.median(cut) == pytest.approx(visit.sky_rate(camera) * 15, rel=0.05)
    spread = 1.4826 * np.median(np.abs(difference))
    assert spread**2 / 2 == pytest.approx(np.median(cut), rel=0.05)


def test_iso_times_carry_microseconds():
    assert api.iso(61322.5) == "2026-10-09T12:00:00.000000"
    assert api.iso(57388.0 + 1.5e-6 / 86400) == "2016-01-01T00:00:00.000001"
