"""From visits to a template on a detector, against the static sky that GalSim drew."""

import numpy as np
import pytest

from alertprod.core.errors import Rejected
from alertprod.core.fits import write_exposure, write_rejected_image
from alertprod.core.masks import bits
from alertprod.core.psf import Psf
from alertprod.template import build_template, coadd_template, warp_template, warp_visit


@pytest.fixture(scope="module")
def patches(scene, visits, patch_names):
    out = []
    for name in patch_names:
        tract, patch = name.split("/")
        where = {"tract": tract, "patch": patch, "airmass_bin": "0"}
        warps = [warp_visit([one], where, scene.CAMERA, config={}) for one in visits]
        out.append(coadd_template(warps, config={}))
    return out


@pytest.fixture(scope="module")
def template(scene, patches):
    calexp = scene.visit(9, 2.6, scene.system(angle=4.0, dx=2.2, dy=1.7))
    return calexp, warp_template(calexp, patches, scene.CAMERA, config={"airmass_edges": [1.3]})


def pulls_at(scene, calexp, template, x, y, size=4):
    """Largest pull against the static sky round a place of the undithered detector."""
    static = scene.draw(scene.stars(), calexp.wcs, 2.67, scene.system())
    px, py = (float(v) for v in calexp.wcs.sky_to_pix(*scene.system().pix_to_sky(x, y)))
    box = np.s_[round(py) - size : round(py) + size + 1, round(px) - size : round(px) + size + 1]
    noise = np.sqrt(template.variance[box] + (0.1 * static[box]) ** 2)
    return np.abs((template.image[box] - static[box]) / noise).max()


def test_what_was_there_once_is_not_in_the_template(scene, template):
    calexp, out = template
    places = [(120.0, 140.0), (72.0, 180.0)] + [(60.0 + 25 * k, 90.0 + 12 * k) for k in range(4)]
    for x, y in places:
        assert pulls_at(scene, calexp, out, x, y) < 6.0
    # The supernova alone would have left a quarter of itself: 30 sigma.
    assert (out.image / np.sqrt(out.variance.clip(min=1)))[bad_free(out)].min() > -6.0


def bad_free(exposure):
    return (exposure.mask & bits("NO_DATA", "EDGE")) == 0


def test_cosmic_rays_that_nobody_masked_are_gone(scene, visits, template):
    calexp, out = template
    for x, y in ((104, 150), (200, 60)):
        sky = visits[2].wcs.pix_to_sky(float(x), float(y))
        home = scene.system().sky_to_pix(*sky)
        assert pulls_at(scene, calexp, out, float(home[0]), float(home[1]), size=6) < 6.0


def test_stars_keep_their_flux_and_the_psf_is_theirs(scene, template):
    calexp, out = template
    x, y, flux = scene.stars()
    px, py = calexp.wcs.sky_to_pix(*scene.system().pix_to_sky(x, y))
    ratios = []
    for x_star, y_star, true in zip(px, py, flux, strict=True):
        i, j = int(np.floor(x_star + 0.5)), int(np.floor(y_star + 0.5))
        if true < 3e4 or not (16 <= i < scene.N - 16 and 16 <= j < scene.N - 16):
            continue
        psf = out.psf.image(x_star, y_star).astype(float)
        half = psf.shape[0] // 2
        box = np.s_[j - half : j + half + 1, i - half : i + half + 1]
        ratios.append((psf * out.image[box]).sum() / (psf**2).sum() / true)
    assert len(ratios) > 5
    assert np.median(ratios) == pytest.approx(1.0, abs=0.01)
    assert np.std(ratios) < 0.015


def test_the_noise_of_the_template_is_the_one_it_says(scene, template):
    calexp, out = template
    static = scene.draw(scene.stars(), calexp.wcs, 2.67, scene.system())
    residual = out.image - static
    n = scene.N // 6 * 6
    blank = (static < 5) & bad_free(out) & ((out.mask & bits("HIGH_VARIANCE")) == 0)
    cut = np.s_[:n, :n]
    whole = blank[cut].reshape(n // 6, 6, n // 6, 6).all(axis=(1, 3))
    sums = residual[cut].reshape(n // 6, 6, n // 6, 6).sum(axis=(1, 3))[whole]
    want = out.variance[cut].reshape(n // 6, 6, n // 6, 6).sum(axis=(1, 3))[whole]
    assert len(sums) > 200
    # Four visits of 400 each; the clipping takes a little off the tails.
    assert np.median(out.variance[blank]) == pytest.approx(100.0, rel=0.12)
    assert np.mean(sums**2 / want) == pytest.approx(1.0, abs=0.2)


def test_patches_join_without_a_hole_or_a_seam(scene, patches, template):
    calexp, out = template
    assert out.meta["NPATCHES"] >= 4
    assert bad_free(out)[20:-20, 20:-20].all()
    again = warp_template(calexp, patches[::-1], scene.CAMERA, config={"airmass_edges": [1.3]})
    assert again == out


def test_the_header_tells_visits_and_airmasses(patches):
    meta = patches[0].meta
    assert meta["NVISITS"] == 4
    assert [meta[f"VISIT{k:03d}"] for k in range(1, 5)] == [2026090100001 + k for k in range(4)]
    assert meta["AIRMMIN"] == pytest.approx(1.1) and meta["AIRMMAX"] == pytest.approx(1.4)
    assert meta["NCLIPPED"] > 0


def test_a_template_of_another_airmass_bin_says_so(scene, patches, template):
    calexp = template[0].copy()
    for airmass, differs in ((1.2, False), (1.9, True)):
        calexp.meta["AIRMASS"] = airmass
        out = warp_template(calexp, patches, scene.CAMERA, config={"airmass_edges": [1.3]})
        assert out.meta["TMPLFALL"] is differs and out.meta["TMPLBIN"] == "0"


def test_warps_made_in_memory_and_through_files_are_the_same(scene, visits, patch_names, tmp_path):
    tract, patch = patch_names[0].split("/")
    where = {"tract": tract, "patch": patch, "airmass_bin": "0"}
    calexps, warps = [], []
    for k, one in enumerate(visits[:2]):
        calexps.append(tmp_path / f"calexp{k}.fits")
        write_exposure(calexps[-1], one)
        warps.append(tmp_path / f"warp{k}.fits")
        write_exposure(warps[-1], warp_visit([calexps[-1]], where, scene.CAMERA, config={}))
    rejected = tmp_path / "rejected.fits"
    write_rejected_image(rejected, "a frame of noise")
    stepwise = coadd_template([*warps, rejected], config={})
    at_once = build_template([*calexps, rejected], where, scene.CAMERA, config={})
    assert stepwise == at_once and stepwise.meta["NVISITS"] == 2


def test_nothing_usable_is_a_rejected_product_with_the_reason(scene, patch_names, tmp_path):
    tract, patch = patch_names[0].split("/")
    rejected = tmp_path / "rejected.fits"
    write_rejected_image(rejected, "3 stars, 5 are needed")
    with pytest.raises(Rejected, match="3 stars"):
        warp_visit([rejected], {"tract": tract, "patch": patch}, scene.CAMERA, config={})
    with pytest.raises(Rejected, match="0 of 1 visits"):
        coadd_template([rejected], config={})


def test_a_detector_that_the_template_hardly_touches_is_rejected(scene, patches):
    away = scene.visit(9, 2.6, scene.system(dx=-450.0))
    with pytest.raises(Rejected, match="cover"):
        warp_template(away, patches, scene.CAMERA, config={})
    with pytest.raises(Rejected, match="0 template patches cover"):
        warp_template(away, [], scene.CAMERA, config={})


def test_blurred_visits_are_left_out_on_request(scene, visits, patch_names):
    tract, patch = patch_names[0].split("/")
    with pytest.raises(Rejected, match=r"2\.90 px"):
        warp_visit(
            [visits[3]], {"tract": tract, "patch": patch}, scene.CAMERA,
            config={"max_psf_fwhm_px": 2.8},
        )  # fmt: skip


def test_a_star_saturated_in_some_visits_counts_as_saturated(scene, patch_names):
    tract, patch = patch_names[0].split("/")
    where = {"tract": tract, "patch": patch}
    made = []
    for limit in (None, 8000.0):
        seen = [scene.visit(k, 2.5, scene.system(dx=k), saturation=limit if k == 0 else None)
                for k in range(3)]  # fmt: skip
        made.append(
            coadd_template(
                [warp_visit([v], where, scene.CAMERA, config={}) for v in seen], config={}
            )
        )
    assert not made[0].bad("SAT").any()
    assert made[1].bad("SAT").any()
    # Its pixels come from the other two visits, so the flux is right all the same.
    star = made[1].bad("SAT")
    assert made[1].image[star].sum() == pytest.approx(made[0].image[star].sum(), rel=0.02)


def test_the_psf_of_a_coadd_is_the_weighted_mean(scene, visits, patch_names):
    tract, patch = patch_names[0].split("/")
    where = {"tract": tract, "patch": patch}
    sharp, blunt = (warp_visit([v], where, scene.CAMERA, config={}) for v in (visits[0], visits[3]))
    blunt.variance *= np.float32(2.0)
    mean = coadd_template([sharp, blunt], config={}).psf
    middle = 130.0, 130.0
    want = (2 * sharp.psf.kernel_image(*middle) + blunt.psf.kernel_image(*middle)) / 3
    assert isinstance(mean, Psf)
    assert np.abs(mean.kernel_image(*middle) - want).max() < 0.03 * want.max()
