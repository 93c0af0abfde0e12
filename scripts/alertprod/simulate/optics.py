"""True pointing, distortion and point-spread function.

The chain, for a field angle (x_f, y_f) on the focal plane: sky -> tangent plane about the *true*
boresight -> linear refraction -> rotation -> radial distortion -> the chip at its true place.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from alertprod.simulate.camera import Camera, Detector
from alertprod.simulate.hardware import HARDWARE, chip


@dataclass(frozen=True)
class Pointing:
    """Where the telescope truly points.

    Parameters
    ----------
    ra, dec : float
        Boresight [deg].
    rotation : float
        Position angle of +y_f, east of north [deg].
    shear : tuple of float
        Linear terms (s1, s2) of refraction on the tangent plane.
    """

    ra: float
    dec: float
    rotation: float
    shear: tuple[float, float] = (0.0, 0.0)


def tangent_plane(ra, dec, ra0: float, dec0: float):
    """Project onto the plane that touches the sphere at (ra0, dec0).

    Returns
    -------
    xi, eta : ndarray
        East and north [deg]; NaN beyond 90 degrees.
    """
    a, d = np.deg2rad(np.asarray(ra, float)), np.deg2rad(np.asarray(dec, float))
    a0, d0 = np.deg2rad(ra0), np.deg2rad(dec0)
    depth = np.sin(d) * np.sin(d0) + np.cos(d) * np.cos(d0) * np.cos(a - a0)
    depth = np.where(depth > 0, depth, np.nan)
    xi = np.cos(d) * np.sin(a - a0) / depth
    eta = (np.sin(d) * np.cos(d0) - np.cos(d) * np.sin(d0) * np.cos(a - a0)) / depth
    return np.rad2deg(xi), np.rad2deg(eta)


def field_angle(pointing: Pointing, camera: Camera, ra, dec):
    """Return the undistorted field angles (x_f, y_f) [deg] of positions on the sky [deg]."""
    xi, eta = tangent_plane(ra, dec, pointing.ra, pointing.dec)
    s1, s2 = pointing.shear
    xi, eta = xi * (1 + s1) + eta * s2, xi * s2 + eta * (1 - s1)
    c, s = np.cos(np.deg2rad(pointing.rotation)), np.sin(np.deg2rad(pointing.rotation))
    u, v = xi * c - eta * s, xi * s + eta * c
    return -camera.parity * u, v


def sky_to_pixel(pointing: Pointing, camera: Camera, detector: Detector, ra, dec):
    """Return the true pixel coordinates (0-based centres) of positions on the sky [deg]."""
    hardware = HARDWARE[camera.name]
    state = chip(camera, detector)
    x_f, y_f = field_angle(pointing, camera, ra, dec)
    stretch = (1 + hardware.distortion * (x_f**2 + y_f**2)) / (1 + hardware.scale_error)
    dx = (x_f * stretch - detector.centre[0]) * 3600 / camera.pixel_scale
    dy = (y_f * stretch - detector.centre[1]) * 3600 / camera.pixel_scale
    turn = np.deg2rad(detector.orientation + state.turn_deg)
    c, s = np.cos(turn), np.sin(turn)
    x = c * dx + s * dy - state.offset_px[0] + (detector.nx - 1) / 2
    y = -s * dx + c * dy - state.offset_px[1] + (detector.ny - 1) / 2
    return x, y


def pixel_to_sky(pointing: Pointing, camera: Camera, detector: Detector, x, y):
    """Invert `sky_to_pixel` by iteration (to 1e-6 px); for tests and for placing sources.

    Returns
    -------
    ra, dec : ndarray
        Degrees.
    """
    x, y = np.atleast_1d(np.asarray(x, float)), np.atleast_1d(np.asarray(y, float))
    ra, dec = np.full_like(x, pointing.ra), np.full_like(y, pointing.dec)
    step = 1e-3
    for _ in range(12):
        px, py = sky_to_pixel(pointing, camera, detector, ra, dec)
        ax, ay = sky_to_pixel(pointing, camera, detector, ra + step, dec)
        bx, by = sky_to_pixel(pointing, camera, detector, ra, dec + step)
        j = np.array([[ax - px, bx - px], [ay - py, by - py]]) / step
        det = j[0, 0] * j[1, 1] - j[0, 1] * j[1, 0]
        ex, ey = x - px, y - py
        ra = ra + (j[1, 1] * ex - j[0, 1] * ey) / det
        dec = dec + (-j[1, 0] * ex + j[0, 0] * ey) / det
        if max(np.abs(ex).max(), np.abs(ey).max()) < 1e-7:
            break
    return ra % 360.0, dec


@dataclass(frozen=True)
class PsfField:
    """A point-spread function that varies over the focal plane.

    The profile is fixed (unit FWHM); its size and ellipticity are polynomials of the field angle
    in units of the field radius.

    Parameters
    ----------
    fwhm_px : float
        At the boresight.
    size : tuple of float
        Relative size: coefficients of x, y and r^2.
    e1, e2 : tuple of float
        Ellipticity along the focal-plane axes: coefficients of 1, x, y.
    radial : float
        Ellipticity pointing away from the boresight at the field radius.
    profile : str
        ``kolmogorov`` or ``moffat`` (beta 3).
    """

    fwhm_px: float
    size: tuple[float, float, float] = (0.0, 0.0, 0.0)
    e1: tuple[float, float, float] = (0.0, 0.0, 0.0)
    e2: tuple[float, float, float] = (0.0, 0.0, 0.0)
    radial: float = 0.0
    profile: str = "kolmogorov"

    def matrices(self, camera: Camera, detector: Detector, x, y) -> np.ndarray:
        """Return the maps from the unit profile's plane to pixels, shape (n, 2, 2)."""
        radius = HARDWARE[camera.name].field_radius
        x, y = np.atleast_1d(np.asarray(x, float)), np.atleast_1d(np.asarray(y, float))
        c, s = _turn(detector)
        dx = (x - (detector.nx - 1) / 2) * camera.pixel_scale / 3600
        dy = (y - (detector.ny - 1) / 2) * camera.pixel_scale / 3600
        u = (detector.centre[0] + c * dx - s * dy) / radius
        v = (detector.centre[1] + s * dx + c * dy) / radius
        fwhm = 1 + self.size[0] * u + self.size[1] * v + self.size[2] * (u * u + v * v)
        fwhm = fwhm * self.fwhm_px
        e1 = self.e1[0] + self.e1[1] * u + self.e1[2] * v + self.radial * (u * u - v * v)
        e2 = self.e2[0] + self.e2[1] * u + self.e2[2] * v + self.radial * 2 * u * v
        norm = fwhm / np.sqrt(1 - e1 * e1 - e2 * e2)
        m = np.empty((x.size, 2, 2))
        m[:, 0, 0], m[:, 1, 1] = norm * (1 + e1), norm * (1 - e1)
        m[:, 0, 1] = m[:, 1, 0] = norm * e2
        return np.array([[c, s], [-s, c]]) @ m


def _turn(detector: Detector) -> tuple[float, float]:
    turn = np.deg2rad(detector.orientation)
    return np.cos(turn), np.sin(turn)


class InverseGrowth:
    """The inverse of a curve of growth, quick to evaluate: a uniform table but for the far wings.

    Parameters
    ----------
    growth, radius : ndarray
        Share of the flux within each radius, rising from 0 to 1.
    """

    CELLS = 8192
    WINGS = 0.98

    def __init__(self, growth: np.ndarray, radius: np.ndarray) -> None:
        self.growth, self.radius = growth, radius
        self.table = np.interp(np.linspace(0, 1, self.CELLS + 1), growth, radius)

    def __call__(self, share: np.ndarray) -> np.ndarray:
        """Return the radii that hold shares (0 to 1) of the flux."""
        cell = share * self.CELLS
        k = cell.astype(np.int64)
        low = self.table[k]
        out = low + (self.table[np.minimum(k + 1, self.CELLS)] - low) * (cell - k)
        wings = share > self.WINGS
        out[wings] = np.interp(share[wings], self.growth, self.radius)
        return out


class Profile:
    """A radial profile of unit FWHM and unit flux, tabulated out to 60 FWHM.

    Parameters
    ----------
    value : ndarray
        Surface brightness at multiples of `STEP`.

    Attributes
    ----------
    inverse : InverseGrowth
    noise_area : float
        Area of the equivalent top hat, 1 / integral of the square [FWHM^2].
    """

    STEP = 0.005

    def __init__(self, value: np.ndarray) -> None:
        radius = self.STEP * np.arange(value.size)
        ring = np.pi * np.diff(radius**2)
        growth = np.concatenate([[0.0], np.cumsum(ring * 0.5 * (value[1:] + value[:-1]))])
        # What lies beyond the table is cut, and made up for.
        self.value = value / growth[-1]
        self.inverse = InverseGrowth(growth / growth[-1], radius)
        middle = 0.5 * (self.value[1:] + self.value[:-1])
        self.noise_area = float(1.0 / np.sum(ring * middle**2))

    def brightness(self, radius: np.ndarray) -> np.ndarray:
        """Return the surface brightness at radii [FWHM]."""
        cell = radius * (1 / self.STEP)
        k = np.minimum(cell.astype(np.int64), self.value.size - 2)
        low = self.value[k]
        out = low + (self.value[k + 1] - low) * (cell - k)
        return np.where(cell < self.value.size - 1, out, 0.0)

    def reach(self, level: float) -> float:
        """Return the radius [FWHM] beyond which the profile is below `level`."""
        below = self.value < level
        return self.STEP * (int(np.argmax(below)) if below.any() else self.value.size - 1)


_PROFILES: dict[str, Profile] = {}


def profile(name: str = "kolmogorov") -> Profile:
    """Return a point-spread function's radial profile, from GalSim.

    References
    ----------
    Rowe et al. 2015, Astronomy and Computing 10, 121 (GalSim); Fried 1966, JOSA 56, 1372.
    """
    if name not in _PROFILES:
        import galsim

        shapes = {"moffat": galsim.Moffat(beta=3.0, fwhm=1.0)}
        shape = shapes.get(name) or galsim.Kolmogorov(fwhm=1.0)
        radius = Profile.STEP * np.arange(12001)
        _PROFILES[name] = Profile(np.array([shape.xValue(r, 0.0) for r in radius]))
    return _PROFILES[name]


def save_profile(path, name: str) -> None:
    """Store a profile's table, so that jobs need not import GalSim (a second each)."""
    np.save(path, profile(name).value)


def load_profile(path, name: str) -> None:
    """Take a profile's table from a file."""
    _PROFILES[name] = Profile(np.load(path))
