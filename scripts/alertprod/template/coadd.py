"""Several visits of a patch become one template.

A thing that is there in one visit only (a cosmic ray that was missed, an asteroid, a satellite, a
supernova) must not enter. It stands out from the median of the visits by more than noise, by more
than registration explains (which scales with the local gradient) and by more than its seeing
explains (which scales with the flux).

References
----------
Fruchter & Hook 2002, PASP 114, 144; Gonzaga et al. 2012, The DrizzlePac Handbook, sect. 4.5
(clipping against a median, with a tolerance for gradients); AlSayyad, Bosch et al. 2019,
LSST DMTN-080 (outliers seen in too many epochs are real).
"""

import logging

import numpy as np
from numba import njit

from alertprod.core.defaults import complete
from alertprod.core.errors import Rejected
from alertprod.core.exposure import Exposure
from alertprod.core.fits import read_exposure
from alertprod.core.masks import bits
from alertprod.core.psfgrid import grid_positions, psf_through
from alertprod.core.stage import stage
from alertprod.template.warp import warp_visit

log = logging.getLogger("alertprod.template")

#: A pixel with one of these is not averaged where another visit has a better one.
UNUSABLE = ("BAD", "SAT", "CR", "NO_DATA", "STREAK", "CROSSTALK")
#: Kept when pixels that carry at least a third of the weight have it.
COMBINED = ("BAD", "SAT", "SUSPECT", "CR", "INTRP", "STREAK", "SPIKE", "CROSSTALK", "INJECTED")


@stage("template", outputs=("patch_template",))
def coadd_template(warps: list, *, config: dict) -> Exposure:
    """Average the warps of a patch.

    Parameters
    ----------
    warps : list of path or Exposure
        One per visit, all on the same pixels; rejected ones are left out.
    config : dict
        Section ``template``.

    Returns
    -------
    Exposure
        nJy, with the weighted mean PSF. ``meta`` gains ``NVISITS``, ``VISIT001``..., ``AIRMASS``
        (mean), ``AIRMMIN``, ``AIRMMAX``, ``MJDMIN``, ``MJDMAX``, ``TMPLCOV``, ``NCLIPPED``.

    Raises
    ------
    Rejected
        If fewer than ``min_visits`` warps can be used.
    """
    config = complete(config, "template")
    layers, reasons = [], []
    for item in warps:
        try:
            layers.append(item if isinstance(item, Exposure) else read_exposure(item))
        except Rejected as rejection:
            reasons.append(str(rejection))
    if len(layers) < max(1, int(config["min_visits"])):
        raise Rejected(
            f"{len(layers)} of {len(warps)} visits can be used for the template, "
            f"{config['min_visits']} are needed"
            + (f" ({'; '.join(sorted(set(reasons)))})" if reasons else "")
        )
    layers.sort(key=lambda layer: layer.meta.get("VISIT", 0))
    images = np.stack([layer.image for layer in layers])
    variances = np.stack([layer.variance for layer in layers])
    masks = np.stack([layer.mask for layer in layers])
    weights = np.array([_weight(layer) for layer in layers])
    usable = (masks & bits(*UNUSABLE)) == 0
    clipped = find_artifacts(images, variances, usable, _seeing_tolerance(layers), config)
    image, variance, mask = _average(
        images, variances, masks, usable & ~clipped, weights,
        np.array([1 << b for b in range(31) if bits(*COMBINED) >> b & 1], np.int32),
        np.array([bits("NO_DATA"), bits("SAT")], np.int32),
    )  # fmt: skip
    _flag_high_variance(variance, mask, float(config["high_variance_ratio"]))
    psf = _mean_psf(layers, weights)
    meta = _describe(layers, clipped, mask)
    return Exposure(image, mask, variance, meta, wcs=layers[0].wcs, psf=psf)


@stage("template", outputs=("patch_template",))
def build_template(calexps: list, patch: dict, camera, *, config: dict) -> Exposure:
    """Warp and coadd all visits of a patch in memory: `warp_visit`, then `coadd_template`.

    Parameters
    ----------
    calexps : list of path
        Calibrated exposures of all visits and detectors.
    patch, camera, config
        As for `warp_visit`.

    Returns
    -------
    Exposure

    Raises
    ------
    Rejected
        As `coadd_template`.
    """
    from alertprod.core.fits import read_meta

    visits: dict[int, list] = {}
    for path in calexps:
        try:
            visits.setdefault(int(read_meta(path)["VISIT"]), []).append(path)
        except Rejected as rejection:
            log.info("left out: %s", rejection)
    warps = []
    for visit in sorted(visits):
        try:
            warps.append(warp_visit(visits[visit], patch, camera, config=config))
        except Rejected as rejection:
            log.info("visit %d is left out: %s", visit, rejection)
    return coadd_template(warps, config=config)


def _weight(layer: Exposure) -> float:
    """One weight per visit: a weight that followed the pixels would change the PSF of stars."""
    good = (layer.mask[::4, ::4] & bits(*UNUSABLE)) == 0
    values = layer.variance[::4, ::4][good]
    values = values[values > 0]
    return 1.0 / float(np.median(values)) if len(values) else 0.0


def _seeing_tolerance(layers: list) -> np.ndarray:
    """By what fraction the peak of a star may differ from that in the median image."""
    width = np.array([layer.psf.fwhm() for layer in layers])
    return 0.05 + 1.2 * np.abs(1.0 - (np.median(width) / width) ** 2)


def find_artifacts(images, variances, usable, tolerance, config: dict) -> np.ndarray:
    """Find what is not there in most visits.

    Parameters
    ----------
    images, variances : float32, shape (n, ny, nx)
    usable : bool, shape (n, ny, nx)
    tolerance : float64, shape (n,)
        Fraction by which a visit may differ from the median.
    config : dict
        ``clip_sigma``, ``clip_sigma_grow``, ``clip_gradient``, ``max_fraction_clipped``.

    Returns
    -------
    bool, shape (n, ny, nx)
    """
    if len(images) < 2:
        return np.zeros(images.shape, bool)
    middle, middle_variance = _median(images, variances, usable)
    gradient = _gradient(middle)
    clipped = np.zeros(images.shape, bool)
    for k in range(len(images)):
        _clip_layer(
            images[k], variances[k], usable[k], (middle, middle_variance, gradient),
            (float(config["clip_sigma"]), float(config["clip_sigma_grow"]),
             float(config["clip_gradient"]), float(tolerance[k])),
            clipped[k],
        )  # fmt: skip
    often = clipped.sum(axis=0) > float(config["max_fraction_clipped"]) * usable.sum(axis=0)
    clipped &= ~often
    return clipped


@njit(cache=True)
def _median(images, variances, usable):
    """Median of the usable values (the lesser of two) and the variance to compare it with."""
    n, ny, nx = images.shape
    middle = np.zeros((ny, nx), np.float32)
    variance = np.zeros((ny, nx), np.float32)
    values = np.empty(n, np.float32)
    for y in range(ny):
        for x in range(nx):
            count = 0
            total = np.float32(0.0)
            for k in range(n):
                if usable[k, y, x]:
                    # Insertion keeps the few values sorted.
                    value = images[k, y, x]
                    j = count
                    while j > 0 and values[j - 1] > value:
                        values[j] = values[j - 1]
                        j -= 1
                    values[j] = value
                    total += variances[k, y, x]
                    count += 1
            if count == 0:
                continue
            if count == 2:
                middle[y, x] = values[0]
            elif count % 2:
                middle[y, x] = values[count // 2]
            else:
                middle[y, x] = np.float32(0.5) * (values[count // 2 - 1] + values[count // 2])
            variance[y, x] = np.float32(1.57) * total / np.float32(count * count)
    return middle, variance


@njit(cache=True)
def _gradient(image):
    """Largest step to one of the four neighbours."""
    ny, nx = image.shape
    out = np.zeros_like(image)
    for y in range(ny):
        for x in range(nx):
            value = image[y, x]
            step = np.float32(0.0)
            if y > 0:
                step = max(step, abs(value - image[y - 1, x]))
            if y < ny - 1:
                step = max(step, abs(value - image[y + 1, x]))
            if x > 0:
                step = max(step, abs(value - image[y, x - 1]))
            if x < nx - 1:
                step = max(step, abs(value - image[y, x + 1]))
            out[y, x] = step
    return out


@njit(cache=True)
def _clip_layer(image, variance, usable, reference, limits, out):
    """Mark seeds far from the reference, then neighbours that are less far; writes `out`."""
    middle, middle_variance, gradient = reference
    n_sigma, n_grow, slope, part = limits
    ny, nx = image.shape
    for y in range(ny):
        for x in range(nx):
            if not usable[y, x] or middle_variance[y, x] <= 0:
                continue
            expected = slope * gradient[y, x] + part * abs(middle[y, x])
            excess = abs(image[y, x] - middle[y, x]) - expected
            noise = np.sqrt(variance[y, x] + middle_variance[y, x])
            if excess <= n_sigma * noise:
                continue
            for j in range(max(0, y - 2), min(ny, y + 3)):
                for i in range(max(0, x - 2), min(nx, x + 3)):
                    if not usable[j, i] or (abs(j - y) + abs(i - x) == 4):
                        continue
                    away = abs(image[j, i] - middle[j, i])
                    away -= 0.5 * (slope * gradient[j, i] + part * abs(middle[j, i]))
                    near = abs(j - y) <= 1 and abs(i - x) <= 1
                    level = np.sqrt(variance[j, i] + middle_variance[j, i])
                    if near or away > n_grow * level:
                        out[j, i] = True


@njit(cache=True)
def _average(images, variances, masks, use, weights, combined, special):
    """Weighted mean of what is used; of anything with data where nothing is.

    Where a fifth of the visits are saturated the mean of the others counts as saturated too: its
    PSF is not that of the surroundings.
    """
    no_data, saturated = special
    n, ny, nx = images.shape
    image = np.zeros((ny, nx), np.float32)
    variance = np.zeros((ny, nx), np.float32)
    mask = np.zeros((ny, nx), np.int32)
    for y in range(ny):
        for x in range(nx):
            some = False
            for k in range(n):
                if use[k, y, x]:
                    some = True
            total, value, spread = 0.0, 0.0, 0.0
            for k in range(n):
                if use[k, y, x] or (not some and not masks[k, y, x] & no_data):
                    total += weights[k]
                    value += weights[k] * images[k, y, x]
                    spread += weights[k] * weights[k] * variances[k, y, x]
            if total <= 0:
                mask[y, x] = no_data
                continue
            image[y, x] = value / total
            variance[y, x] = spread / (total * total)
            for plane in combined:
                have = 0.0
                for k in range(n):
                    if use[k, y, x] or (not some and not masks[k, y, x] & no_data):
                        if masks[k, y, x] & plane:
                            have += weights[k]
                if have >= 0.333 * total:
                    mask[y, x] |= plane
            have, total = 0.0, 0.0
            for k in range(n):
                if not masks[k, y, x] & no_data:
                    total += weights[k]
                    if masks[k, y, x] & saturated:
                        have += weights[k]
            if have >= 0.2 * total:
                mask[y, x] |= saturated
    return image, variance, mask


def _flag_high_variance(variance: np.ndarray, mask: np.ndarray, ratio: float) -> None:
    """Mark pixels that few visits cover, or that bright stars made noisy."""
    good = (mask[::4, ::4] & bits("NO_DATA")) == 0
    if good.any():
        limit = ratio * float(np.median(variance[::4, ::4][good]))
        mask[(variance > limit) & ((mask & bits("NO_DATA")) == 0)] |= bits("HIGH_VARIANCE")


def _mean_psf(layers: list, weights: np.ndarray):
    """Weighted mean of the PSF models where the visits have data, as one model."""
    shape = layers[0].shape
    size = max(layer.psf.size for layer in layers)
    xs, ys = grid_positions(shape, 5)
    stamps, places = [], []
    for x, y in zip(xs, ys, strict=True):
        box = np.s_[int(max(0, y - 8)) : int(y + 9), int(max(0, x - 8)) : int(x + 9)]
        total, stamp = 0.0, np.zeros((size, size))
        for layer, weight in zip(layers, weights, strict=True):
            share = weight * float(np.mean((layer.mask[box] & bits("NO_DATA")) == 0))
            if share > 0:
                pad = (size - layer.psf.size) // 2
                stamp += share * np.pad(layer.psf.kernel_image(x, y).astype(float), pad)
                total += share
        if total > 0:
            stamps.append(stamp / total)
            places.append((x, y))
    if not stamps:
        return layers[0].psf
    apcorr = float(np.average([layer.psf.apcorr for layer in layers], weights=weights))
    at = np.array(places)
    return psf_through(np.array(stamps), at[:, 0], at[:, 1], shape, apcorr)


def _describe(layers: list, clipped: np.ndarray, mask: np.ndarray) -> dict:
    """Header of the coadd."""
    first = layers[0].meta
    names = "INSTRUME OBSCODE BAND FILTER BUNIT TRACT PATCH LANCZOS AIRMBIN".split()
    meta = {key: first[key] for key in names if key in first}
    meta |= {
        "NVISITS": len(layers),
        "TMPLCOV": float(np.mean((mask & bits("NO_DATA")) == 0)),
        "NCLIPPED": int(clipped.sum()),
    }
    airmass = [layer.meta["AIRMASS"] for layer in layers if "AIRMASS" in layer.meta]
    if airmass:
        meta |= {
            "AIRMASS": float(np.mean(airmass)),
            "AIRMMIN": float(min(airmass)),
            "AIRMMAX": float(max(airmass)),
        }
    times = [layer.meta["MJDMID"] for layer in layers if "MJDMID" in layer.meta]
    if times:
        meta |= {"MJDMIN": float(min(times)), "MJDMAX": float(max(times))}
    for number, layer in enumerate(layers, start=1):
        if "VISIT" in layer.meta:
            meta[f"VISIT{number:03d}"] = int(layer.meta["VISIT"])
    return meta
