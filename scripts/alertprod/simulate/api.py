"""One exposure of one detector, in memory: for tests, and for every raw file of a survey.

    from alertprod.simulate import api
    camera = api.read_camera("config/instruments/simcam.yaml")
    visit = api.Observation(visit=2026100900021, band="r", ra=340.0, dec=-8.4)
    stars = api.Points(ra=..., dec=..., flux=...)              # degrees, nJy
    result = api.simulate_detector(camera, 0, visit, api.Scene(stars), seed=1)
    result.snaps[0].segments      # list of uint16 arrays, one per amplifier: the raw file's pixels
    result.snaps[0].electrons     # true electrons in trimmed pixels, before read-out
    result.x, result.y            # true pixel positions of the stars
    api.write_snap("raw.fits", camera, 0, visit, result, snap=0)

`Observation` says where the telescope was sent (`ra`, `dec`, `rotation`), where it truly pointed
(`pointing`), how sharp (`psf`) and how bright (`sky`, `transparency`) the sky was; each has a
plain default. Pixels depend on (seed, visit, detector) only.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from alertprod.simulate import electronics, optics, rawfile, render
from alertprod.simulate.camera import Camera, Detector, read_camera
from alertprod.simulate.hardware import HARDWARE, chip, throughput

__all__ = [
    "Galaxies",
    "Observation",
    "Points",
    "Scene",
    "Simulated",
    "Snap",
    "Trails",
    "read_camera",
    "simulate_detector",
    "write_snap",
]

AB_NJY = 31.4  # AB magnitude of 1 nJy
_EMPTY = np.zeros(0)


@dataclass(frozen=True)
class Points:
    """Stars: positions at the time of the visit [deg], fluxes [nJy]."""

    ra: np.ndarray = field(default_factory=lambda: _EMPTY)
    dec: np.ndarray = field(default_factory=lambda: _EMPTY)
    flux: np.ndarray = field(default_factory=lambda: _EMPTY)


@dataclass(frozen=True)
class Galaxies:
    """Sersic galaxies.

    `ra`, `dec` [deg], `flux` [nJy], `n` (Sersic index), `radius` (half-light, along the major axis
    [arcsec]), `axis_ratio`, `angle` (position angle of the major axis, east of north [deg]).
    """

    ra: np.ndarray = field(default_factory=lambda: _EMPTY)
    dec: np.ndarray = field(default_factory=lambda: _EMPTY)
    flux: np.ndarray = field(default_factory=lambda: _EMPTY)
    n: np.ndarray = field(default_factory=lambda: _EMPTY)
    radius: np.ndarray = field(default_factory=lambda: _EMPTY)
    axis_ratio: np.ndarray = field(default_factory=lambda: _EMPTY)
    angle: np.ndarray = field(default_factory=lambda: _EMPTY)


@dataclass(frozen=True)
class Trails:
    """Movers: places when each snap begins and ends, ``ra[k, snap, 0 or 1]`` [deg]; flux [nJy]."""

    ra: np.ndarray = field(default_factory=lambda: np.zeros((0, 2, 2)))
    dec: np.ndarray = field(default_factory=lambda: np.zeros((0, 2, 2)))
    flux: np.ndarray = field(default_factory=lambda: _EMPTY)


@dataclass(frozen=True)
class Scene:
    """What is on the sky during a visit."""

    points: Points = field(default_factory=Points)
    galaxies: Galaxies = field(default_factory=Galaxies)
    trails: Trails = field(default_factory=Trails)


@dataclass(frozen=True)
class Observation:
    """One visit: what the header says and what is true.

    Parameters
    ----------
    visit : int
        YYYYMMDDNNNNN.
    band : str
    ra, dec, rotation : float
        Commanded boresight and rotation [deg].
    begin : tuple of float
        When the shutter opens for each snap [MJD TAI].
    exposure : float
        Seconds per snap.
    pointing : Pointing or None
        The truth; None: as commanded.
    psf : PsfField or None
        None: round, of the camera's median seeing.
    sky : float or None
        Magnitudes per square arcsecond; None: the camera's dark sky.
    sky_slope : tuple of float
        Relative change of the sky per field radius along the focal plane's x and y.
    transparency : float
    airmass : float
    cosmics : bool
    purpose, image_type : str
        As in the header.
    """

    visit: int
    band: str
    ra: float
    dec: float
    rotation: float = 0.0
    begin: tuple[float, ...] = (61322.05,)
    exposure: float = 15.0
    pointing: optics.Pointing | None = None
    psf: optics.PsfField | None = None
    sky: float | None = None
    sky_slope: tuple[float, float] = (0.0, 0.0)
    transparency: float = 1.0
    airmass: float = 1.0
    cosmics: bool = True
    purpose: str = "SCIENCE"
    image_type: str = "OBJECT"

    def true_pointing(self) -> optics.Pointing:
        """Return where the telescope truly points."""
        return self.pointing or optics.Pointing(self.ra, self.dec, self.rotation)

    def true_psf(self, camera: Camera) -> optics.PsfField:
        """Return the point-spread function."""
        seeing = HARDWARE[camera.name].seeing
        return self.psf or optics.PsfField(seeing / camera.pixel_scale)

    def electrons_per_njy(self, camera: Camera) -> float:
        """Return electrons per second and nJy at unit response."""
        hardware = HARDWARE[camera.name]
        zero = hardware.zero_point[self.band] - hardware.extinction[self.band] * self.airmass
        return self.transparency * 10 ** (0.4 * (zero - AB_NJY))

    def sky_rate(self, camera: Camera) -> float:
        """Return electrons per second and pixel of sky at unit response."""
        hardware = HARDWARE[camera.name]
        sky = hardware.sky_mag[self.band] if self.sky is None else self.sky
        return camera.pixel_scale**2 * 10 ** (0.4 * (hardware.zero_point[self.band] - sky))


@dataclass(frozen=True)
class Snap:
    """One shutter opening.

    Parameters
    ----------
    segments : list of ndarray, uint16
        Raw pixels [adu] of each amplifier.
    electrons : ndarray, float32
        Charge in trimmed pixels before read-out.
    cosmics : ndarray, float32
        Electrons that cosmic rays left.
    full : ndarray, bool
        Saturated pixels.
    """

    segments: list[np.ndarray]
    electrons: np.ndarray
    cosmics: np.ndarray
    full: np.ndarray


@dataclass(frozen=True)
class Simulated:
    """A detector-visit: its snaps, and the true pixel positions of the scene's points."""

    snaps: list[Snap]
    x: np.ndarray
    y: np.ndarray


def simulate_detector(
    camera: Camera, detector_id: int, visit: Observation, scene: Scene, *, seed: int = 0
) -> Simulated:
    """Expose one detector.

    Parameters
    ----------
    camera : Camera
        From `read_camera`.
    detector_id : int
    visit : Observation
    scene : Scene
    seed : int
        With the visit and the detector, all that the noise depends on.

    Returns
    -------
    Simulated
    """
    detector = camera.detectors[detector_id]
    rng = np.random.default_rng([seed, visit.visit, detector_id])
    pointing, psf = visit.true_pointing(), visit.true_psf(camera)
    profile = optics.profile(psf.profile)
    response = throughput(camera, detector, visit.band)
    gain = visit.electrons_per_njy(camera) * visit.exposure
    x, y = optics.sky_to_pixel(pointing, camera, detector, scene.points.ra, scene.points.dec)
    electrons = np.asarray(scene.points.flux, float) * gain
    near = _near(detector, x, y)
    bright = near & (electrons > render.BRIGHT_ELECTRONS)
    faint = near & ~bright
    mean = render.draw_stars(
        (detector.ny, detector.nx),
        x[bright],
        y[bright],
        electrons[bright],
        psf.matrices(camera, detector, x[bright], y[bright]),
        profile,
    )
    mean += _sky(camera, detector, visit)
    mean *= response
    mean += chip(camera, detector).dark * np.float32(visit.exposure)
    snaps = []
    for snap in range(len(visit.begin)):
        shooter = render.Shooter(rng, response, profile)
        faint_psf = psf.matrices(camera, detector, x[faint], y[faint])
        shooter.shoot(x[faint], y[faint], electrons[faint], faint_psf)
        _shoot_galaxies(shooter, camera, detector, visit, scene.galaxies)
        _shoot_trails(shooter, camera, detector, visit, scene.trails, snap)
        charge = rng.poisson(mean).astype(np.float32) + shooter.electrons()
        snaps.append(expose(camera, detector, charge, rng, visit.exposure * visit.cosmics))
    return Simulated(snaps, x, y)


def expose(camera: Camera, detector: Detector, charge: np.ndarray, rng, seconds: float) -> Snap:
    """Let cosmic rays fall for a time, saturate, and read out."""
    number = rng.poisson(HARDWARE[camera.name].cosmics * seconds)
    cosmics = electronics.add_cosmic_rays(charge, rng, int(number))
    full = electronics.bleed(charge, electronics.wells(detector))
    return Snap(electronics.read_out(camera, detector, charge, rng), charge, cosmics, full)


def _near(detector: Detector, x, y) -> np.ndarray:
    """Say which sources can send light to the detector."""
    margin = 100.0
    with np.errstate(invalid="ignore"):
        inside = (x > -margin) & (x < detector.nx + margin)
        return inside & (y > -margin) & (y < detector.ny + margin)


def _sky(camera: Camera, detector: Detector, visit: Observation) -> np.ndarray:
    """Return the expected electrons of the sky at unit response: a tilted plane."""
    radius = HARDWARE[camera.name].field_radius * 3600 / camera.pixel_scale
    turn = np.deg2rad(detector.orientation)
    c, s = np.cos(turn), np.sin(turn)
    a, b = visit.sky_slope
    gx, gy = (a * c + b * s) / radius, (-a * s + b * c) / radius
    centre = np.asarray(detector.centre) * 3600 / camera.pixel_scale / radius
    level = visit.sky_rate(camera) * visit.exposure
    base = 1 + a * centre[0] + b * centre[1]
    x = gx * (np.arange(detector.nx) - (detector.nx - 1) / 2)
    y = gy * (np.arange(detector.ny) - (detector.ny - 1) / 2)
    return (level * (base + x[None, :] + y[:, None])).astype(np.float32)


def _shoot_galaxies(shooter, camera, detector, visit, galaxies: Galaxies) -> None:
    if len(galaxies.ra) == 0:
        return
    pointing = visit.true_pointing()
    x, y = optics.sky_to_pixel(pointing, camera, detector, galaxies.ra, galaxies.dec)
    near = _near(detector, x, y)
    x, y = x[near], y[near]
    gain = visit.electrons_per_njy(camera) * visit.exposure
    angle = np.deg2rad(galaxies.angle[near])
    ratio = galaxies.axis_ratio[near]
    # From (major, minor) to (north, east), then through the camera to pixels per arcsecond.
    to_sky = np.empty((x.size, 2, 2))
    to_sky[:, 0, 0], to_sky[:, 0, 1] = np.sin(angle), np.cos(angle) * ratio
    to_sky[:, 1, 0], to_sky[:, 1, 1] = np.cos(angle), -np.sin(angle) * ratio
    step = 1.0 / 3600
    at = pointing.ra, pointing.dec
    east = np.array([step / np.cos(np.deg2rad(at[1])), 0.0])
    corner = optics.sky_to_pixel(pointing, camera, detector, *at)
    e = optics.sky_to_pixel(pointing, camera, detector, at[0] + east[0], at[1])
    n = optics.sky_to_pixel(pointing, camera, detector, at[0], at[1] + step)
    to_pixel = np.array(
        [[e[0] - corner[0], n[0] - corner[0]], [e[1] - corner[1], n[1] - corner[1]]]
    )
    spread = shooter.galaxies(galaxies.n[near], galaxies.radius[near], to_pixel @ to_sky)
    matrices = visit.true_psf(camera).matrices(camera, detector, x, y)
    shooter.shoot(x, y, galaxies.flux[near] * gain, matrices, spread)


def _shoot_trails(shooter, camera, detector, visit, trails: Trails, snap: int) -> None:
    if len(trails.ra) == 0:
        return
    pointing = visit.true_pointing()
    ends = [
        optics.sky_to_pixel(
            pointing, camera, detector, trails.ra[:, snap, k], trails.dec[:, snap, k]
        )
        for k in (0, 1)
    ]
    x, y = (ends[0][0] + ends[1][0]) / 2, (ends[0][1] + ends[1][1]) / 2
    dx, dy = ends[1][0] - ends[0][0], ends[1][1] - ends[0][1]
    near = _near(detector, x, y)
    gain = visit.electrons_per_njy(camera) * visit.exposure
    matrices = visit.true_psf(camera).matrices(camera, detector, x[near], y[near])
    shooter.shoot(
        x[near], y[near], trails.flux[near] * gain, matrices, shooter.trails(dx[near], dy[near])
    )


def write_snap(path, camera: Camera, detector_id: int, visit: Observation, made, snap: int) -> None:
    """Write one snap of a `Simulated` as a raw file."""
    detector = camera.detectors[detector_id]
    header = raw_header(camera, visit, snap)
    rawfile.write_raw(path, camera, detector, header, made.snaps[snap].segments)


def raw_header(camera: Camera, visit: Observation, snap: int) -> dict:
    """Return the primary keywords of a raw file; the pointing is the commanded one."""
    day, seq = divmod(visit.visit, 100000)
    begin = visit.begin[snap]
    end = begin + visit.exposure / 86400
    kind = {"OBJECT": "O", "BIAS": "B", "DARK": "D", "FLAT": "F"}[visit.image_type]
    header = {
        "TELESCOP": "simulated",
        "IMGTYPE": visit.image_type,
        "OBSID": f"{camera.name}_{kind}_{day}_{seq:05d}",
        "DAYOBS": day,
        "SEQNUM": seq,
        "GROUPID": f"{visit.visit}",
        "CURINDEX": snap,
        "MAXINDEX": len(visit.begin),
        "TIMESYS": "TAI",
        "DATE-BEG": iso(begin),
        "DATE-END": iso(end),
        "MJD-BEG": (begin, "[d]"),
        "MJD-END": (end, "[d]"),
        "EXPTIME": (visit.exposure, "[s]"),
        "DARKTIME": (visit.exposure, "[s]"),
    }
    if visit.image_type == "OBJECT":
        header |= {
            "RA": (visit.ra, "[deg] commanded"),
            "DEC": (visit.dec, "[deg] commanded"),
            "ROTPA": (visit.rotation, "[deg] +y_f, east of north"),
            "AIRMASS": visit.airmass,
            "PURPOSE": visit.purpose,
        }
    if visit.image_type in ("OBJECT", "FLAT"):
        header["FILTER"] = camera.filters[visit.band]
    return header


def iso(mjd: float) -> str:
    """Return an MJD as an ISO string with microseconds (no scale change)."""
    whole = np.datetime64("1858-11-17", "us") + np.timedelta64(int(mjd // 1), "D")
    return str(whole + np.timedelta64(round(mjd % 1 * 86400e6), "us"))
