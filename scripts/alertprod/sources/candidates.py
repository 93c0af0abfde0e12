"""Fit every candidate and decide what it is: point source, trail, dipole, or nothing real.

References
----------
van Dokkum 2001, PASP 113, 1420 (cosmic rays are sharper than the PSF).
"""

import logging
from dataclasses import dataclass, field

import numpy as np
from numba import njit

from alertprod.core.detect import Peaks
from alertprod.core.photometry import fit_position
from alertprod.core.psfmodel import render
from alertprod.sources.dipole import fit_dipole
from alertprod.sources.shapes import adaptive_moments, elongation
from alertprod.sources.trail import fit_trail
from alertprod.sources.windows import Frame

log = logging.getLogger(__name__)

SAME_PLACE_FWHM = 0.5
FWHM_TO_MOMENT = 1.0 / (8.0 * np.log(2.0))
BLOB_WIDTH = 3.0
"""Width, in that of the PSF, of the blob that tells broad residuals from sources."""

DIPOLE_CHI2 = 1.5
"""A lone peak with a higher reduced chi-square is tried as a dipole too."""


@dataclass
class Candidates:
    """Peaks with their fits; all arrays have one row per candidate.

    Parameters
    ----------
    peaks : Peaks
    point : dict of arrays
        Result of the point source fit (`alertprod.core.photometry.fit_position`); its ``x``,
        ``y`` are the source's position.
    moments, psf_moments : float64, shape (n, 4)
        ixx, iyy, ixy [px^2] and 1 where they settled.
    spike, broad : float64
        Chi-square that one or two pixels explain, and that a blob of three times the PSF's width
        explains, over what the PSF explains.
    trails, dipoles : dict of int -> dict
        Fits by row, accepted ones with ``accepted`` True.
    """

    peaks: Peaks
    point: dict[str, np.ndarray]
    moments: np.ndarray
    psf_moments: np.ndarray
    spike: np.ndarray
    broad: np.ndarray
    trails: dict[int, dict] = field(default_factory=dict)
    dipoles: dict[int, dict] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.peaks)

    def take(self, keep: np.ndarray) -> "Candidates":
        """Return the rows where `keep` is True."""
        rows = np.flatnonzero(keep)
        new = {int(old): k for k, old in enumerate(rows)}
        return Candidates(
            self.peaks.take(rows),
            {name: values[rows] for name, values in self.point.items()},
            self.moments[rows],
            self.psf_moments[rows],
            self.spike[rows],
            self.broad[rows],
            {new[k]: v for k, v in self.trails.items() if k in new},
            {new[k]: v for k, v in self.dipoles.items() if k in new},
        )

    def accepted(self, fits: dict[int, dict]) -> np.ndarray:
        """Return the rows with an accepted fit of a kind: bool."""
        out = np.zeros(len(self), dtype=bool)
        for row, fit in fits.items():
            out[row] = fit["accepted"]
        return out

    def chi2_excess(self, psf_error: float) -> np.ndarray:
        """Return chi-square of the best model over what a good fit of a true PSF would give.

        A PSF that is wrong by a fraction e adds about (e S)^2 to the chi-square of a source with
        signal-to-noise ratio S.
        """
        strength = self.point["flux"] / self.point["fluxErr"]
        out = _excess(self.point["chi2"], self.point["ndata"], strength, psf_error)
        for fits in (self.trails, self.dipoles):
            for row, fit in fits.items():
                if fit["accepted"]:
                    out[row] = _excess(fit["chi2"], fit["ndata"], fit["strength"], psf_error)
        return out


def _excess(chi2, ndata, strength, psf_error):
    return chi2 / np.maximum(ndata + np.square(psf_error * strength), 1.0)


def fit_candidates(frame: Frame, peaks: Peaks) -> Candidates:
    """Fit each peak as a point source and measure its shape."""
    point = fit_position(
        frame.difference, peaks.x, peaks.y, bad=frame.bad, radius=frame.radius, max_shift=frame.fwhm
    )
    moments = np.full((len(peaks), 4), np.nan)
    psf_moments = np.full((len(peaks), 4), np.nan)
    spike, broad = np.full(len(peaks), np.nan), np.full(len(peaks), np.nan)
    start = FWHM_TO_MOMENT * frame.fwhm**2
    for k in range(len(peaks)):
        x, y, sign = point["x"][k], point["y"][k], np.sign(peaks.snr[k])
        window = frame.window(x, y, 2.0 * frame.fwhm + 2)
        dx, dy = x - np.floor(x + 0.5), y - np.floor(y + 0.5)
        moments[k] = adaptive_moments(sign * window[0], window[1], dx, dy, start)
        kernel = frame.kernel(x, y)
        psf_moments[k] = adaptive_moments(kernel, np.ones_like(kernel), 0.0, 0.0, start)
        explained = (point["flux"][k] / point["fluxErr"][k]) ** 2
        spike[k] = _sharpest(sign * window[0], window[1], window[2]) / explained
        broad[k] = _broadness(kernel, window, dx, dy, BLOB_WIDTH**2 * start)
    return Candidates(peaks, point, moments, psf_moments, spike, broad)


@njit(cache=True)
def _sharpest(data, weight, noise):
    """Return the most chi-square that one pixel, or two neighbours, near the middle explain."""
    m = data.shape[0]
    half = m // 2
    best = 0.0
    for j in range(half - 2, half + 3):
        for i in range(half - 2, half + 3):
            own = _gain(data, weight, noise, j, i)
            best = max(best, own)
            if j + 1 < m:
                best = max(best, own + _gain(data, weight, noise, j + 1, i))
            if i + 1 < m:
                best = max(best, own + _gain(data, weight, noise, j, i + 1))
    return best


@njit(cache=True)
def _broadness(kernel, window, x, y, variance):
    """Return what a round Gaussian of a variance [px^2] explains, over what the PSF explains.

    With equal weights: under a bright source's own noise the wings would decide.
    """
    m = window.shape[1]
    psf = np.empty((3, m, m))
    render(kernel, x, y, False, psf)
    blob_d, blob_2, psf_d, psf_2 = 0.0, 0.0, 0.0, 0.0
    for j in range(m):
        for i in range(m):
            if window[1, j, i] <= 0:
                continue
            value = np.exp(-0.5 * ((i - m // 2 - x) ** 2 + (j - m // 2 - y) ** 2) / variance)
            blob_d += value * window[0, j, i]
            blob_2 += value * value
            psf_d += psf[0, j, i] * window[0, j, i]
            psf_2 += psf[0, j, i] ** 2
    if not (blob_2 > 0 and psf_d**2 > 0):
        return np.nan
    return (blob_d**2 / blob_2) / (psf_d**2 / psf_2)


@njit(cache=True)
def _gain(data, weight, noise, j, i):
    if weight[j, i] <= 0 or data[j, i] <= 0:
        return 0.0
    return data[j, i] ** 2 / noise[j, i]


def find_trails(frame: Frame, found: Candidates) -> Candidates:
    """Fit trails to elongated sources; the other peaks along an accepted trail are dropped."""
    config = frame.config["trail"]
    keep = np.ones(len(found), dtype=bool)
    # a trail that would gain enough leaves at least half of that in the point source's own pixels
    expected = found.point["chi2"] / np.maximum(found.chi2_excess(frame.config["psf_error"]), 1e-9)
    poor = ~(found.point["chi2"] - expected < 0.5 * config["min_gain"])
    poor |= found.point["flag_position"]
    for row in range(len(found)):
        if not (keep[row] and poor[row] and abs(found.peaks.snr[row]) >= config["min_snr"]):
            continue
        guess = _trail_guess(frame, found, row)
        if guess is None or not guess[2] >= config["min_elongation"]:
            continue
        x, y, _, angle, length = guess
        fit = fit_trail(frame, x, y, max(length, 1.0), angle)
        fit["accepted"] = bool(
            fit["ok"]
            and fit["gain"] >= config["min_gain"]
            and _explains(frame, fit)
            and fit["roundness"] < 1.0
            and fit["sharpness"] < 1.0
            and fit["length"] > 3 * np.sqrt(fit["cov"][3, 3])
            and np.sign(fit["flux"]) == np.sign(found.peaks.snr[row])
            and np.hypot(fit["x"] - x, fit["y"] - y) < 0.5 * fit["length"] + frame.fwhm
        )
        found.trails[row] = fit
        if fit["accepted"]:
            along = _along(fit, found.point["x"], found.point["y"], frame.fwhm)
            same = np.sign(found.peaks.snr) == np.sign(found.peaks.snr[row])
            others = along & same & (np.arange(len(found)) > row)
            keep[others] = False
    return found.take(keep)


def _explains(frame: Frame, fit: dict) -> bool:
    """Say whether a model is a good description of its pixels."""
    psf_error, limit = frame.config["psf_error"], frame.config["max_chi2"]
    return _excess(fit["chi2"], fit["ndata"], fit["strength"], psf_error) <= limit


def _trail_guess(frame: Frame, found: Candidates, row: int):
    """Return x, y, elongation, angle, length from the footprint or, if it is small, the moments."""
    x, y = found.point["x"][row], found.point["y"][row]
    psf = found.psf_moments[row]
    if psf[3] != 1:
        # a PSF without moments (noisy, very sharp): a Gaussian of its width will do for a guess
        psf = np.array([1.0, 1.0, 0.0, 1.0]) * FWHM_TO_MOMENT * frame.fwhm**2
    best = None
    if found.moments[row, 3] == 1:
        ratio, angle, length = elongation(*found.moments[row, :3], psf[:3])
        best = (x, y, float(ratio), float(angle), float(length))
    pixels = found.peaks.footprint_pixels(found.peaks.footprint[row]).astype(np.float64)
    box = np.ptp(pixels, axis=0).max() + 1
    if box > 3.0 * frame.fwhm:
        my, mx = pixels.mean(axis=0)
        (yy, xy), (_, xx) = np.cov(pixels.T)
        ratio, angle, length = elongation(xx, yy, xy, psf[:3])
        if best is None or ratio > best[2]:
            best = (float(mx), float(my), float(ratio), float(angle), float(length))
    return best


def _along(trail: dict, x, y, reach: float) -> np.ndarray:
    """Say which positions lie on a trail, or within `reach` px of it."""
    c, s = np.cos(trail["angle"]), np.sin(trail["angle"])
    dx, dy = x - trail["x"], y - trail["y"]
    along = np.clip(dx * c + dy * s, -0.5 * trail["length"], 0.5 * trail["length"])
    return np.hypot(dx - along * c, dy - along * s) < reach


def find_dipoles(frame: Frame, found: Candidates) -> Candidates:
    """Fit dipoles to opposite neighbours and to bad point sources; the weaker lobe is dropped."""
    config = frame.config["dipole"]
    keep = np.ones(len(found), dtype=bool)
    keep &= ~_same_place(frame, found)
    trailed = found.accepted(found.trails)
    reach = config["reach_fwhm"] * frame.fwhm
    x, y, flux = found.point["x"], found.point["y"], found.point["flux"]
    excess = found.chi2_excess(frame.config["psf_error"])
    for row in range(len(found)):
        if not keep[row] or trailed[row] or not np.isfinite(flux[row]):
            continue
        apart = np.hypot(x - x[row], y - y[row])
        lobes = keep & ~trailed & (apart < reach) & (flux * flux[row] < 0)
        if lobes.any():
            other = int(np.flatnonzero(lobes)[np.argmin(apart[lobes])])
            second = (flux[other], x[other], y[other])
        elif excess[row] > DIPOLE_CHI2:
            other, second = -1, _opposite(frame, x[row], y[row], flux[row])
        else:
            continue
        first = (flux[row], x[row], y[row])
        fit = fit_dipole(frame, *((first, second) if flux[row] > 0 else (second, first)))
        fit["accepted"] = bool(
            fit["ok"]
            and fit["gain"] >= config["min_gain"]
            and fit["ratio"] <= config["max_flux_ratio"]
            and _explains(frame, fit)
        )
        found.dipoles[row] = fit
        if fit["accepted"] and other >= 0:
            keep[other] = False
    return found.take(keep)


def _same_place(frame: Frame, found: Candidates) -> np.ndarray:
    """Say which candidates were drawn by their fit onto a stronger one of the same sign."""
    out = np.zeros(len(found), dtype=bool)
    x, y, snr = found.point["x"], found.point["y"], found.peaks.snr
    for row in range(1, len(found)):
        near = np.hypot(x[:row] - x[row], y[:row] - y[row]) < SAME_PLACE_FWHM * frame.fwhm
        out[row] = (near & (snr[:row] * snr[row] > 0) & ~out[:row]).any()
    return out


def _opposite(frame: Frame, x: float, y: float, flux: float) -> tuple[float, float, float]:
    """Guess a second lobe where the data are most opposite to the first, near it."""
    window = frame.window(x, y, frame.radius)
    data = -np.sign(flux) * np.where(window[1] > 0, window[0], 0.0)
    box = sum(np.roll(np.roll(data, i, 0), j, 1) for i in (-1, 0, 1) for j in (-1, 0, 1))
    row, column = np.unravel_index(np.argmax(box), box.shape)
    half = data.shape[0] // 2
    return -flux, np.floor(x + 0.5) + column - half, np.floor(y + 0.5) + row - half


def drop_unreal(frame: Frame, found: Candidates) -> Candidates:
    """Drop what is sharper or broader than the PSF, and what no model explains."""
    config = frame.config
    explained = np.square(found.point["flux"] / found.point["fluxErr"])
    single = ~found.accepted(found.trails) & ~found.accepted(found.dipoles)
    verdicts = {
        "have too few pixels": ~np.isfinite(explained),
        "are sharper than the PSF": single
        & (found.spike * explained > explained + config["spike_margin"]),
        "are broader than the PSF": single
        & (found.broad * explained > explained + config["broad_margin"]),
        "fit no model": found.chi2_excess(config["psf_error"]) > config["max_chi2"],
    }
    keep = np.ones(len(found), dtype=bool)
    for verdict, rows in verdicts.items():
        log.info("%d of %d candidates %s", (rows & keep).sum(), len(found), verdict)
        keep &= ~rows
    return found.take(keep)
