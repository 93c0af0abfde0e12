"""Detection on the difference image: noise floor, peaks, and the peaks that cannot be real."""

import logging

import numpy as np
from numba import njit

from alertprod.core.detect import Filtered, Peaks, drop_echoes, find_peaks, matched_filter
from alertprod.core.errors import Rejected
from alertprod.core.masks import bits
from alertprod.core.photometry import unusable
from alertprod.sources.windows import Frame

log = logging.getLogger(__name__)

CELL = 32  # px: about one bright source in each
LEAST_CELLS = 5
LEAST_PIXELS = 5
LEAST_GOOD = 0.02
BLANK_SIGMA = 4.0


def prepare(difference, calexp, config) -> tuple[Frame, Filtered]:
    """Filter the difference and scale its variance to the noise of blank sky.

    The detection sees more noise where light was subtracted: an imperfect PSF leaves a fraction
    of every star (``model_error``), which is no reason for an alert. The measurements keep the
    plain variance.

    Returns
    -------
    frame : Frame
    filtered : Filtered

    Raises
    ------
    Rejected
        If next to nothing of the image can be used.
    """
    bad = unusable(difference) | unusable(calexp)
    good = ~bad & np.isfinite(difference.image) & (difference.variance > 0)
    if good.mean() < LEAST_GOOD:
        raise Rejected(f"only {good.mean():.1%} of the difference image is usable")
    light = np.maximum(calexp.image, 0)
    blank = light < BLANK_SIGMA * np.sqrt(np.maximum(calexp.variance, 0))
    floor = np.square(np.float32(config["model_error"]) * light)
    variance = difference.variance + np.where(np.isfinite(floor), floor, 0)
    if config["ripple_error"] > 0:
        variance += _ripples(light, difference, config["ripple_error"])
    filtered = matched_filter(
        difference.image,
        variance,
        bad,
        difference.psf,
        floor=config["threshold"] - 0.5,
        blank=blank,
    )
    log.info("noise on blank sky is %.3f of what the variance says", filtered.noise_factor)
    scaled = type(difference)(
        difference.image,
        difference.mask | calexp.mask,
        difference.variance * np.float32(filtered.noise_factor**2),
        difference.meta,
        difference.wcs,
        difference.psf,
    )
    return Frame(scaled, bad, difference.psf.fwhm(), config), filtered


def _ripples(light, difference, error: float) -> np.ndarray:
    """Variance of what a matching kernel leaves beside a star, at the edge of its own support."""
    from scipy.ndimage import maximum_filter

    reach = int(difference.meta.get("KREACH", 0)) + int(np.ceil(1.5 * difference.psf.fwhm()))
    brightest = maximum_filter(np.where(np.isfinite(light), light, 0), 2 * reach + 1)
    return np.square(np.float32(error) * brightest)


def detect(frame: Frame, filtered: Filtered) -> Peaks:
    """Find peaks of both signs and drop those that cannot be real.

    Raises
    ------
    Rejected
        If there are so many that the subtraction must have failed.
    """
    config = frame.config
    peaks = find_peaks(filtered, config["threshold"])
    megapixels = frame.bad.size / 1e6
    limit = max(config["max_per_megapixel"] * megapixels, 100)
    if len(peaks) > limit:
        raise Rejected(
            f"{len(peaks)} peaks on the difference image, {limit:.0f} allowed "
            "(sources.max_per_megapixel): the subtraction failed"
        )
    own = peaks.take(
        drop_echoes(peaks, filtered, threshold=config["threshold"], leak=config["leak"])
    )
    worthless = _worthless(frame, own)
    log.info(
        "%d peaks: %d echoes of brighter ones, %d on or near unusable pixels",
        len(peaks),
        len(peaks) - len(own),
        worthless.sum(),
    )
    return own.take(~worthless)


def _worthless(frame: Frame, peaks: Peaks) -> np.ndarray:
    mask, config = frame.difference.mask, frame.config
    centre = bits(*config["exclude_centre"])
    near = bits(*config["exclude_near"])
    reach = config["exclude_near_fwhm"] * frame.fwhm
    on_bad = (mask[peaks.y, peaks.x] & centre) != 0
    return on_bad | _mask_within(mask, near, peaks.x, peaks.y, reach)


@njit(cache=True)
def _mask_within(mask, value, xs, ys, reach):
    """Say which positions have a pixel with one of the bits within `reach` px."""
    ny, nx = mask.shape
    span = int(np.ceil(reach))
    out = np.zeros(xs.size, dtype=np.bool_)
    for k in range(xs.size):
        x, y = xs[k], ys[k]
        for v in range(max(y - span, 0), min(y + span + 1, ny)):
            for u in range(max(x - span, 0), min(x + span + 1, nx)):
                if mask[v, u] & value and (v - y) ** 2 + (u - x) ** 2 <= reach * reach:
                    out[k] = True
    return out


def check_subtraction(frame: Frame, calexp) -> None:
    """Compare what is left of bright sources with what they were.

    The median over cells of the image judges: a supernova or a star that varies fills its own cell
    with light that was not there before, and is no failure.

    Raises
    ------
    Rejected
        If the median of |difference| / science over the cells is absurd.
    """
    limits = frame.config["bad_subtraction"]
    ratios = _footprint_ratios(
        frame.difference.image,
        frame.difference.variance,
        calexp.image,
        calexp.variance,
        frame.bad | frame.difference.bad("SAT_TEMPLATE", "SUSPECT"),
        float(limits["min_snr"]),
    )
    if ratios.size < LEAST_CELLS:
        return
    left = float(np.median(ratios))
    log.info("subtraction leaves %.3f of the light of bright sources", left)
    if left > limits["max_ratio"]:
        raise Rejected(
            f"bad subtraction: the median of |difference| / science on bright sources is "
            f"{left:.2f}, at most {limits['max_ratio']} is allowed"
        )


@njit(cache=True)
def _footprint_ratios(difference, variance, science, science_variance, bad, min_snr):
    """Return the ratio of summed light in each cell with bright pixels, free of noise."""
    ny, nx = difference.shape
    cy, cx = (ny + CELL - 1) // CELL, (nx + CELL - 1) // CELL
    left, light = np.zeros((cy, cx)), np.zeros((cy, cx))
    count = np.zeros((cy, cx), dtype=np.int64)
    for y in range(ny):
        for x in range(nx):
            s = science[y, x]
            if not s > 0 or bad[y, x] or not s * s > min_snr**2 * science_variance[y, x]:
                continue
            d, v = difference[y, x], variance[y, x]
            if not (np.isfinite(d) and v > 0):
                continue
            # the mean of |noise| is sqrt(2 / pi) sigma
            left[y // CELL, x // CELL] += abs(d) - np.sqrt(2.0 / np.pi * v)
            light[y // CELL, x // CELL] += s
            count[y // CELL, x // CELL] += 1
    out = np.empty(cy * cx)
    n = 0
    for j in range(cy):
        for i in range(cx):
            if count[j, i] >= LEAST_PIXELS:
                out[n] = left[j, i] / light[j, i]
                n += 1
    return out[:n]
