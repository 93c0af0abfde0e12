"""What the instrument YAML does not tell: throughput, optics and the flaws of each chip.

These belong to the camera, not to a survey: they are the same for every seed.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from alertprod.simulate.camera import Camera, Detector

BIAS_LEVEL = 1000.0  # adu, middle of the amplifiers
SATURATION_MARGIN = 1.03  # full well over the level that the YAML calls saturated


@dataclass(frozen=True)
class Hardware:
    """Numbers of a telescope and camera.

    Parameters
    ----------
    zero_point : dict
        AB magnitude that gives one electron per second above the atmosphere, by band.
    extinction : dict
        Magnitudes per airmass.
    colour_term : dict
        Camera's magnitude minus the reference system's, per magnitude of g - r.
    sky_mag : dict
        Dark sky at the zenith [mag/arcsec^2].
    seeing : float
        Median FWHM at the zenith in r [arcsec].
    field_radius : float
        Field angle of the outermost corner [deg].
    distortion : float
        Cubic radial distortion: r' = r (1 + d r^2) [deg^-2].
    scale_error : float
        True plate scale over the nominal one, minus 1.
    metrology_px, metrology_deg : float
        Scatter of the chips' places about the YAML's.
    dark : float
        Dark current [e-/s].
    prnu : float
        Scatter of pixel response.
    vignetting : float
        Loss of light at `field_radius`.
    hot_pixels, dead_pixels, dead_columns : int
        Per detector.
    cosmics : float
        Cosmic rays per second per detector.
    """

    zero_point: dict = field(default_factory=lambda: {"g": 25.4, "r": 25.5})
    extinction: dict = field(default_factory=lambda: {"g": 0.17, "r": 0.10})
    colour_term: dict = field(default_factory=lambda: {"g": 0.05, "r": -0.012})
    sky_mag: dict = field(default_factory=lambda: {"g": 22.0, "r": 21.1})
    seeing: float = 2.1
    field_radius: float = 0.41
    distortion: float = 0.0125
    scale_error: float = 8e-4
    metrology_px: float = 1.5
    metrology_deg: float = 0.02
    dark: float = 0.03
    prnu: float = 0.006
    vignetting: float = 0.08
    hot_pixels: int = 60
    dead_pixels: int = 40
    dead_columns: int = 1
    cosmics: float = 1.0


HARDWARE = {
    "simcam": Hardware(),
    "simlsst": Hardware(
        zero_point={"g": 28.3, "r": 28.2},
        colour_term={"g": 0.0, "r": 0.0},
        seeing=0.75,
        field_radius=0.162,
        distortion=0.03,
        dark=0.01,
        vignetting=0.01,
        hot_pixels=400,
        dead_pixels=300,
        dead_columns=3,
        cosmics=2.0,
    ),
}


@dataclass(frozen=True)
class Chip:
    """The true state of one detector, on trimmed pixels [y, x].

    Parameters
    ----------
    dark : ndarray, float32
        Dark current with glow and hot pixels [e-/s].
    response : ndarray, float32
        Response of each pixel, vignetting and dust left out; dead pixels near 0.
    offset_px : tuple of float
        True centre against the YAML's, along the pixel axes.
    turn_deg : float
        True orientation against the YAML's.
    defects : ndarray, bool
        Hot or dead.
    """

    dark: np.ndarray
    response: np.ndarray
    offset_px: tuple[float, float]
    turn_deg: float
    defects: np.ndarray


def generator(camera: Camera, detector: Detector, what: int) -> np.random.Generator:
    """Return the random stream of a property of one chip."""
    return np.random.default_rng([zlib.crc32(camera.name.encode()), detector.id, what])


@lru_cache(maxsize=8)
def _chip(name: str, detector_id: int, nx: int, ny: int) -> Chip:
    hardware = HARDWARE[name]
    rng = np.random.default_rng([zlib.crc32(name.encode()), detector_id, 1])
    offset = tuple(rng.normal(0, hardware.metrology_px, 2))
    turn = rng.normal(0, hardware.metrology_deg)
    response = 1 + hardware.prnu * rng.standard_normal((ny, nx), dtype=np.float32)
    y, x = np.arange(ny, dtype=np.float32)[:, None], np.arange(nx, dtype=np.float32)
    gradient = rng.normal(0, 0.006, 2)
    response *= 1 + gradient[0] * (x / nx - 0.5) + gradient[1] * (y / ny - 0.5)
    dark = np.full((ny, nx), hardware.dark, np.float32)
    # Amplifiers glow in one corner.
    dark += 0.05 * np.exp(-x / (0.06 * nx)) * np.exp(-y / (0.06 * ny))
    defects = np.zeros((ny, nx), bool)
    hot = rng.integers(0, nx * ny, hardware.hot_pixels)
    dark.ravel()[hot] += rng.lognormal(np.log(40.0), 1.2, hot.size).astype(np.float32)
    dead = rng.integers(0, nx * ny, hardware.dead_pixels)
    response.ravel()[dead] *= rng.uniform(0, 0.4, dead.size).astype(np.float32)
    defects.ravel()[hot] = True
    defects.ravel()[dead] = True
    for column in rng.integers(16, nx - 16, hardware.dead_columns):
        # Blocked on the way out: a blocked column loses all rows beyond the trap of its half.
        trap = int(rng.integers(0, ny // 3))
        response[trap : ny // 2, column] *= 0.02
        defects[trap : ny // 2, column] = True
    return Chip(dark, response, offset, turn, defects)


def chip(camera: Camera, detector: Detector) -> Chip:
    """Return the true state of a detector (cached)."""
    return _chip(camera.name, detector.id, detector.nx, detector.ny)


def throughput(camera: Camera, detector: Detector, band: str) -> np.ndarray:
    """Return the response of telescope and pixels to light, about 1.

    Returns
    -------
    ndarray, float32, shape (ny, nx)
    """
    hardware = HARDWARE[camera.name]
    state = chip(camera, detector)
    rng = generator(camera, detector, 2)
    ny, nx = detector.ny, detector.nx
    scale = camera.pixel_scale / 3600 / hardware.field_radius
    turn = 1 if abs(detector.orientation) < 90 else -1
    fx = detector.centre[0] / hardware.field_radius + turn * scale * (np.arange(nx) - nx / 2)
    fy = detector.centre[1] / hardware.field_radius + turn * scale * (np.arange(ny) - ny / 2)
    rho2 = (fx**2)[None, :] + (fy**2)[:, None]
    light = (1 - hardware.vignetting * rho2**2).astype(np.float32)
    for _ in range(2):  # shadows of dust on the window
        x, y = rng.uniform(0, nx), rng.uniform(0, ny)
        radius, depth = 0.02 * nx * rng.uniform(0.7, 1.3), rng.uniform(0.01, 0.03)
        gx = np.exp(-0.5 * ((np.arange(nx) - x) / radius) ** 2)
        gy = np.exp(-0.5 * ((np.arange(ny) - y) / radius) ** 2)
        light *= (1 - depth * gy[:, None] * gx).astype(np.float32)
    # Pixels differ more in the blue, where light is absorbed close to the surface.
    contrast = {"u": 1.6, "g": 1.25}.get(band, 1.0)
    fine = np.where(state.response > 0.5, 1 + contrast * (state.response - 1), state.response)
    return light * fine.astype(np.float32)


def full_well(amplifier) -> float:
    """Return the charge at which a pixel of an amplifier is full [e-]."""
    return SATURATION_MARGIN * (amplifier.saturation - BIAS_LEVEL) * amplifier.gain


def bias_structure(camera: Camera, detector: Detector, index: int, shape):
    """Return the fixed bias pattern of an amplifier's raw HDU, overscan included.

    Returns
    -------
    columns, rows : ndarray, float32
        Their outer sum is the pattern [adu].
    """
    rng = generator(camera, detector, 100 + index)
    ny, nx = shape
    x, y = np.arange(nx), np.arange(ny)
    columns = BIAS_LEVEL + rng.uniform(-80, 80) + rng.uniform(3, 7) * np.exp(-x / 12.0)
    columns = columns + rng.normal(0, 0.5, nx)
    # The first rows are read while the clocks settle; the serial overscan sees it as well.
    rows = rng.uniform(2, 5) * np.exp(-y / 30.0)
    return columns.astype(np.float32), rows.astype(np.float32)
