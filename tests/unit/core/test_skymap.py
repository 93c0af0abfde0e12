"""The sky map against astropy's WCS and astropy_healpix's own cell geometry."""

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS
from astropy_healpix import HEALPix

from alertprod.core.errors import BadInput
from alertprod.core.skymap import SkyMap, _max_cell_radius


@pytest.fixture(scope="module")
def skymap():
    return SkyMap(tract_nside=32, patch_px=1000, pixel_scale_arcsec=1.0, border_px=50)


def astropy_patch(skymap, tract, patch):
    """The same patch written with astropy alone."""
    cell = HEALPix(skymap.nside, order="nested").healpix_to_lonlat(tract)
    iy, ix = divmod(patch, skymap.n_patches)
    half = skymap.n_patches / 2
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [cell[0].deg, cell[1].deg]
    wcs.wcs.cdelt = [-1 / 3600, 1 / 3600]
    wcs.wcs.crpix = [
        0.5 + skymap.border_px - (ix - half) * 1000,
        0.5 + skymap.border_px - (iy - half) * 1000,
    ]
    return wcs


def square(ra, dec, half):
    d_ra = half / np.cos(np.radians(dec))
    south, north = dec - half, dec + half
    return [ra - d_ra, ra + d_ra, ra + d_ra, ra - d_ra], [south, south, north, north]


def test_patch_wcs_is_the_standard_tangent_projection(skymap):
    tract, patch = 4321, 3 * skymap.n_patches + 5
    ours, theirs = skymap.patch_wcs(tract, patch), astropy_patch(skymap, tract, patch)
    x, y = np.array([0.0, 17.5, 1099.0]), np.array([3.0, 800.25, 0.0])
    ra, dec = ours.pix_to_sky(x, y)
    ra_ref, dec_ref = theirs.all_pix2world(x, y, 0)
    assert np.allclose(ra, ra_ref, atol=1e-10) and np.allclose(dec, dec_ref, atol=1e-10)


def test_neighbouring_patches_share_their_overlap_pixel_for_pixel(skymap):
    left, right = skymap.patch_wcs(77, 40), skymap.patch_wcs(77, 41)
    ra_l, dec_l = left.pix_to_sky(1000.0 + 20.0, 300.0)
    ra_r, dec_r = right.pix_to_sky(20.0, 300.0)
    assert abs(ra_l - ra_r) < 1e-10 and abs(dec_l - dec_r) < 1e-10


@pytest.mark.parametrize("dec", [-89.9, -30.0, 0.0, 41.8, 60.0])
def test_every_point_of_a_footprint_lies_well_inside_one_of_its_patches(skymap, dec):
    rng = np.random.default_rng([5, int(abs(dec) * 10)])
    ra0 = 359.95
    ra_c, dec_c = square(ra0, dec, 0.05) if abs(dec) < 89 else square(ra0, dec, 0.04)
    names = skymap.patches_touching(ra_c, dec_c, margin_deg=0.01)
    assert names == sorted(names, key=lambda name: tuple(int(v) for v in name.split("/")))
    centre = SkyCoord(ra0, dec, unit="deg")
    for _ in range(40):
        point = centre.directional_offset_by(
            rng.uniform(0, 360) * centre.ra.unit, rng.uniform(0, 0.04) * centre.ra.unit
        )
        served = []
        for name in names:
            tract, patch = (int(v) for v in name.split("/"))
            x, y = astropy_patch(skymap, tract, patch).all_world2pix(point.ra.deg, point.dec.deg, 0)
            served.append(49.0 < x < 1050.0 and 49.0 < y < 1050.0)
        assert any(served)


def test_the_margin_reaches_further_patches(skymap):
    ra, dec = skymap.tract_centre(1000)
    # The tract centre lies on a patch corner; a footprint to the north-west of it needs one patch.
    ra_c, dec_c = square(ra - 0.1 / np.cos(np.radians(dec)), dec + 0.1, 0.05)
    assert len(skymap.patches_touching(ra_c, dec_c, 0.0)) == 1
    assert len(skymap.patches_touching(ra_c, dec_c, 0.06)) == 4


def test_cell_radius_bounds_all_cells():
    nside = 8
    healpix = HEALPix(nside, order="nested")
    pixels = np.arange(healpix.npix)
    lon, lat = healpix.boundaries_lonlat(pixels, 4)
    lon0, lat0 = healpix.healpix_to_lonlat(pixels)
    corner = SkyCoord(lon, lat)
    radius = corner.separation(SkyCoord(lon0[:, None], lat0[:, None])).rad.max()
    assert radius <= _max_cell_radius(nside) * (1 + 1e-9)
    assert radius > 0.98 * _max_cell_radius(nside)


def test_unknown_patch_names_the_probable_cause(skymap):
    with pytest.raises(BadInput, match="another tract_nside"):
        skymap.patch_wcs(1000, skymap.n_patches**2)


def test_nside_must_be_a_power_of_two():
    with pytest.raises(BadInput, match="48"):
        SkyMap(48, 1000, 1.0, 50)
