"""The sky map: where templates live.

The sky is cut into *tracts*, the cells of a HEALPix grid (nested order). Each tract has one
tangent plane, at the centre of its cell, cut into square *patches*. A patch's inner square belongs
to it alone; a border on all sides overlaps its neighbours, so that a resampling kernel never runs
out of pixels between two patches.

Patches are numbered row by row over the square that encloses the tract: ``patch = iy * n + ix``,
with x to the west (as in any image with north up and east left) and y to the north. The numbering
depends on ``tract_nside``, ``patch_px`` and ``pixel_scale_arcsec`` alone, never on the data.
"""

from __future__ import annotations

import math

import numpy as np

from alertprod.core.errors import BadInput

_DEG = math.pi / 180.0


class SkyMap:
    """Tracts and patches for one camera.

    Parameters
    ----------
    tract_nside : int
        HEALPix nside of the tracts (a power of two, at least 4: larger cells do not fit a tangent
        plane without gross distortion).
    patch_px : int
        Side of a patch's inner square, px.
    pixel_scale_arcsec : float
        Pixel scale at the tangent point, arcsec/px.
    border_px : int
        Overlap added on every side, px.

    Raises
    ------
    BadInput
        If a parameter is out of range.

    References
    ----------
    Gorski et al. 2005, ApJ 622, 759 (HEALPix); Calabretta & Greisen 2002, A&A 395, 1077 (TAN).
    """

    def __init__(self, tract_nside, patch_px, pixel_scale_arcsec, border_px):
        nside = int(tract_nside)
        if nside < 4 or nside & (nside - 1):
            raise BadInput(f"tract_nside is {tract_nside}; use a power of two, at least 4")
        if not (patch_px > 0 and border_px >= 0 and pixel_scale_arcsec > 0):
            raise BadInput(
                f"patch_px {patch_px}, border_px {border_px}, pixel scale {pixel_scale_arcsec} "
                "arcsec: the first and the last must be positive, the border not negative"
            )
        self.nside = nside
        self.patch_px = int(patch_px)
        self.border_px = int(border_px)
        self.scale = float(pixel_scale_arcsec) / 3600.0
        half = math.tan(_max_cell_radius(nside)) / _DEG / self.scale
        self.n_patches = max(1, 2 * math.ceil(half / self.patch_px))

    @property
    def patch_shape(self):
        """tuple of int: (ny, nx) of every patch, borders included, px."""
        side = self.patch_px + 2 * self.border_px
        return side, side

    def tract_centre(self, tract):
        """Tangent point of a tract.

        Parameters
        ----------
        tract : int or str

        Returns
        -------
        ra, dec : float
            Degrees, ICRS.
        """
        ra, dec = _cell_centre(self.nside, np.array([int(tract)]))
        return float(ra[0]), float(dec[0])

    def patch_wcs(self, tract, patch):
        """World coordinates of a patch, north up and east left.

        Parameters
        ----------
        tract, patch : int or str
            As in ``'tract/patch'``.

        Returns
        -------
        alertprod.core.wcs.Wcs

        Raises
        ------
        BadInput
            If there is no such tract or patch.
        """
        from alertprod.core.wcs import Wcs

        tract, patch = int(tract), int(patch)
        if not 0 <= tract < 12 * self.nside**2 or not 0 <= patch < self.n_patches**2:
            raise BadInput(
                f"there is no patch {tract}/{patch} in this sky map: tracts run to "
                f"{12 * self.nside**2 - 1} and patches to {self.n_patches**2 - 1}; the template "
                "run was planned with another tract_nside, patch_px or pixel scale"
            )
        iy, ix = divmod(patch, self.n_patches)
        half = self.n_patches / 2
        crpix = (
            -(ix - half) * self.patch_px - 0.5 + self.border_px,
            -(iy - half) * self.patch_px - 0.5 + self.border_px,
        )
        cd = np.array([[-self.scale, 0.0], [0.0, self.scale]])
        return Wcs(np.array(self.tract_centre(tract)), np.array(crpix), cd)

    def patches_touching(self, ra_corners, dec_corners, margin_deg=0.0):
        """Patches that serve a footprint.

        A patch serves a point when the point lies in the patch's tract (its HEALPix cell) and in
        the patch's inner square; so each point of the sky is served by exactly one patch.

        Parameters
        ----------
        ra_corners, dec_corners : array_like, shape (4,)
            Corners of the footprint in order round it, degrees.
        margin_deg : float
            Distance by which each side is moved outwards, degrees.

        Returns
        -------
        list of str
            ``'tract/patch'``, sorted by tract and patch number.
        """
        ra, dec = _fill_quadrilateral(
            np.asarray(ra_corners, float),
            np.asarray(dec_corners, float),
            float(margin_deg),
            step=self.scale * max(1.0, min(max(self.border_px, 8), self.patch_px / 8)),
        )
        tract = _cell_of(self.nside, ra, dec)
        found: set[tuple[int, int]] = set()
        for number in np.unique(tract):
            inside = tract == number
            x, y = self._plane(self.tract_centre(number), ra[inside], dec[inside])
            half = self.n_patches / 2
            ix = np.clip(np.floor(x / self.patch_px + half), 0, self.n_patches - 1)
            iy = np.clip(np.floor(y / self.patch_px + half), 0, self.n_patches - 1)
            patches = np.unique((iy * self.n_patches + ix).astype(np.int64))
            found.update((int(number), int(patch)) for patch in patches)
        return [f"{tract}/{patch}" for tract, patch in sorted(found)]

    def _plane(self, centre, ra, dec):
        """Tangent-plane position in px, x to the west, y to the north."""
        xi, eta = _gnomonic(centre, ra, dec)
        return -xi / self.scale, eta / self.scale


def _max_cell_radius(nside):
    """Largest distance of a cell's corner from its centre on the whole grid, radians."""
    # The extreme cell touches the border between the equatorial and the polar zones.
    z_a, phi_a = 2.0 / 3.0, math.pi / (4 * nside)
    t = (1.0 - 1.0 / nside) ** 2
    z_b = 1.0 - t / 3.0
    cosine = z_a * z_b + math.sqrt((1 - z_a**2) * (1 - z_b**2)) * math.cos(phi_a)
    return math.acos(cosine)


def _cell_centre(nside, pixels):
    from astropy_healpix import healpy

    ra, dec = healpy.pix2ang(nside, pixels, nest=True, lonlat=True)
    return np.asarray(ra, float), np.asarray(dec, float)


def _cell_of(nside, ra, dec):
    from astropy_healpix import healpy

    return np.asarray(healpy.ang2pix(nside, ra, dec, nest=True, lonlat=True))


def _gnomonic(centre, ra, dec):
    """Standard coordinates (xi east, eta north) in degrees about ``centre`` (ra, dec) degrees."""
    d_ra = (np.asarray(ra) - centre[0]) * _DEG
    dec, dec0 = np.asarray(dec) * _DEG, centre[1] * _DEG
    cosine = np.sin(dec0) * np.sin(dec) + np.cos(dec0) * np.cos(dec) * np.cos(d_ra)
    xi = np.cos(dec) * np.sin(d_ra) / cosine
    eta = (np.cos(dec0) * np.sin(dec) - np.sin(dec0) * np.cos(dec) * np.cos(d_ra)) / cosine
    return xi / _DEG, eta / _DEG


def _inverse_gnomonic(centre, xi, eta):
    """Sky position (ra, dec), degrees, of standard coordinates in degrees."""
    xi, eta = np.asarray(xi) * _DEG, np.asarray(eta) * _DEG
    dec0 = centre[1] * _DEG
    denominator = np.cos(dec0) - eta * np.sin(dec0)
    ra = centre[0] + np.arctan2(xi, denominator) / _DEG
    dec = np.arctan2(np.sin(dec0) + eta * np.cos(dec0), np.hypot(xi, denominator)) / _DEG
    return ra % 360.0, dec


def _fill_quadrilateral(ra, dec, margin, step):
    """Points that cover a quadrilateral on the sky, at most ``step`` degrees apart."""
    vector = np.stack(
        [
            np.cos(dec * _DEG) * np.cos(ra * _DEG),
            np.cos(dec * _DEG) * np.sin(ra * _DEG),
            np.sin(dec * _DEG),
        ]
    ).mean(axis=1)
    centre = (
        math.degrees(math.atan2(vector[1], vector[0])),
        math.degrees(math.atan2(vector[2], math.hypot(vector[0], vector[1]))),
    )
    xi, eta = _gnomonic(centre, ra, dec)
    length = max(math.hypot(xi[i] - xi[j], eta[i] - eta[j]) for i in range(4) for j in range(i))
    n = max(3, math.ceil((length + 2 * margin) / step) + 1)
    s = np.linspace(0.0, 1.0, n)
    u, v = (grid.ravel() for grid in np.meshgrid(s, s))
    # Bilinear in the unit square; the margin stretches each axis about the middle.
    width = max(math.hypot(xi[1] - xi[0], eta[1] - eta[0]), 1e-12)
    height = max(math.hypot(xi[3] - xi[0], eta[3] - eta[0]), 1e-12)
    u = (u - 0.5) * (1 + 2 * margin / width) + 0.5
    v = (v - 0.5) * (1 + 2 * margin / height) + 0.5
    weights = np.stack([(1 - u) * (1 - v), u * (1 - v), u * v, (1 - u) * v])
    return _inverse_gnomonic(centre, xi @ weights, eta @ weights)
