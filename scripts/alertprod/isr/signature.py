"""From raw snaps and master calibrations to one image in electrons."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
from numba import njit

from alertprod.core.errors import Rejected
from alertprod.core.exposure import Exposure
from alertprod.core.masks import bits
from alertprod.core.stage import stage
from alertprod.instruments.assembly import Frame, assemble
from alertprod.instruments.camera import Camera, Detector
from alertprod.instruments.raw import Raw, read_raw
from alertprod.isr.interpolate import grow, interpolate
from alertprod.isr.lacosmic import find_cosmic_rays
from alertprod.isr.snaps import combine, find_in_pair

log = logging.getLogger(__name__)
_NOTHING = np.zeros((0, 0), dtype=np.float32)


@stage("isr", outputs=("isr",))
def remove_signature(
    raws: list,
    camera: Camera,
    exposure: dict,
    bias: Exposure | None = None,
    dark: Exposure | None = None,
    flat: Exposure | None = None,
    defects: Exposure | None = None,
    *,
    config: dict,
) -> Exposure:
    """Remove the instrument's signature from one detector of a visit.

    Overscan, saturation, crosstalk and linearity (if the camera's YAML gives them), assembly,
    bias, gain; then snaps are combined and cosmic rays found; dark, flat, variance (Poisson plus
    read noise), defects. The noise of the master calibrations is not in the variance: it is the
    same in every exposure and no measure of the scatter between them.

    Parameters
    ----------
    raws : list of path
        One snap or two.
    camera : Camera
    exposure : dict
        Row of the exposure sheet; values may still be strings.
    bias, dark, flat, defects : Exposure, optional
        Masters: ADU, electrons/s, mean 1, and a mask with BAD. Those named in
        ``config['require']`` must be there.
    config : dict
        Section ``isr``.

    Returns
    -------
    Exposure
        Electrons, with the nominal WCS. CR marks pixels that a cosmic ray touched: with two snaps
        the value is the other snap's, scaled, with its variance; with one it is interpolated
        (INTRP).

    Raises
    ------
    Rejected
        If a raw file cannot be read, a required master is missing or does not fit, or the image
        holds no information.

    References
    ----------
    LSST Data Management Science Pipelines, Juric et al. 2017, ASPC 512, 279, for the order.
    """
    detector = camera.detector(int(exposure["detector"]))
    masters = {"bias": bias, "dark": dark, "flat": flat, "defects": defects}
    _check_masters(masters, detector, exposure, config)
    if len(raws) not in (1, 2):
        raise Rejected(f"{len(raws)} snaps; a visit has one or two")
    frames, dark_time, exposures = [], 0.0, []
    for path in raws:
        raw = read_raw(path, camera, detector.id, verify=bool(config["verify_checksums"]))
        frames.append(_frame(raw, bias, config))
        dark_time += raw.metadata.dark_time
        exposures.append(raw.metadata.exposure)
        del raw
    image, mask, variance = _merge(frames, exposures, detector, defects, config)
    lost = _finish(
        image,
        mask,
        variance,
        _dark_rate(dark, defects),
        np.float32(dark_time),
        _NOTHING if flat is None else flat.image,
        np.float32(config["min_flat"]),
        bits("NO_DATA", "BAD"),
    )
    _repair(image, mask, variance, defects, config)
    meta = _meta(camera, detector, exposure, frames, len(raws))
    meta["NCRPIX"] = int(np.count_nonzero(mask & bits("CR")))
    meta["NSATPIX"] = int(np.count_nonzero(mask & bits("SAT")))
    _check_image(image, mask, Path(raws[0]).name, config)
    log.info(
        "detector %d: %d cosmic-ray, %d saturated, %d bad, %d lost px of %d",
        detector.id,
        meta["NCRPIX"],
        meta["NSATPIX"],
        int(np.count_nonzero(mask & bits("BAD"))),
        lost,
        mask.size,
    )
    wcs = camera.nominal_wcs(
        detector.id, float(exposure["ra"]), float(exposure["dec"]), float(exposure["rotation"])
    )
    return Exposure(image=image, mask=mask, variance=variance, meta=meta, wcs=wcs)


def _dark_rate(dark: Exposure | None, defects: Exposure | None) -> np.ndarray:
    """Return the dark current [electron/s]; without a master dark that of known warm pixels."""
    if dark is not None:
        return dark.image
    if defects is not None and defects.meta.get("BUNIT") == "electron/s":
        return defects.image
    return _NOTHING


def _check_masters(masters: dict, detector: Detector, exposure: dict, config: dict) -> None:
    for name in config["require"]:
        if masters[name] is None:
            raise Rejected(
                f"no master {name} for detector {detector.id}, band {exposure['band']}, and "
                f"isr.require asks for one"
            )
    for name, master in masters.items():
        if master is not None and master.shape != detector.shape:
            raise Rejected(
                f"the master {name} has {master.shape} px, detector {detector.id} {detector.shape}"
            )
    flat = masters["flat"]
    band = None if flat is None else flat.meta.get("BAND")
    if band not in (None, "", exposure["band"]):
        raise Rejected(f"the master flat is of band {band}, the exposure of {exposure['band']}")


def _frame(raw: Raw, bias: Exposure | None, config: dict) -> Frame:
    frame = assemble(
        raw,
        overscan=config["overscan"],
        bias=None if bias is None else bias.image,
        electrons=True,
    )
    if any(raw.detector.saturation_tail):
        grow(frame.mask, bits("SAT"), bits("SUSPECT"), raw.detector.saturation_tail)
    reach = int(config["grow_saturated_px"])
    if reach > 0:
        grow(frame.mask, bits("SAT"), bits("SAT"), (reach, reach, reach, reach))
    return frame


def _merge(
    frames: list[Frame],
    exposures: list[float],
    detector: Detector,
    defects: Exposure | None,
    config: dict,
):
    """Combine snaps (or take the only one), with cosmic rays; returns image, mask, variance."""
    first = frames[0]
    variance = np.empty(detector.shape, dtype=np.float32)
    for k, amplifier in enumerate(detector.amplifiers):
        # Of two snaps of one amplifier the noisier read-out is believed.
        noise = max(frame.read_noise[k] for frame in frames)
        variance[amplifier.detsec.slices] = noise**2
    ignore = np.zeros(detector.shape, dtype=np.bool_)
    for region in detector.bad_regions:
        ignore[region.slices] = True
    if defects is not None:
        ignore |= defects.bad("BAD")
    cosmic = config["cosmic_rays"]
    if len(frames) == 1:
        if cosmic["find"]:
            ignore |= (first.mask & bits("SAT")) != 0
            found = find_cosmic_rays(first.image, variance, ignore, config=cosmic["single"])
            first.mask[found] |= bits("CR", "INTRP")
        variance += np.maximum(first.image, 0)
        return first.image, first.mask, variance
    second = frames[1]
    if min(exposures) <= 0:
        raise Rejected(f"snaps of {exposures[0]} s and {exposures[1]} s cannot be combined")
    ratio = exposures[0] / exposures[1]
    if cosmic["find"]:
        ignore |= (first.mask & second.mask & bits("SAT")) != 0
        hit = find_in_pair(
            first.image, second.image, ratio, variance, ignore, config=cosmic["pair"]
        )
    else:
        hit = np.zeros(detector.shape, dtype=np.uint8)
    masks = (first.mask, second.mask)
    combine(first.image, second.image, masks, hit, np.float32(ratio), variance, bits("CR"))
    return first.image, first.mask, variance


@njit(cache=True)
def _finish(image, mask, variance, dark, dark_time, flat, min_flat, lost_bits):  # pragma: no cover
    """Subtract the dark, divide by the flat, and catch what is no number; returns their count."""
    ny, nx = image.shape
    lost = 0
    for y in range(ny):
        for x in range(nx):
            value, noise = image[y, x], variance[y, x]
            if dark.size > 0:
                value -= dark[y, x] * dark_time
            good = True
            if flat.size > 0:
                f = flat[y, x]
                if f > min_flat:
                    value /= f
                    noise /= f * f
                else:
                    good = False
            if not (good and np.isfinite(value) and np.isfinite(noise) and noise > 0):
                mask[y, x] |= lost_bits
                value, noise = np.float32(0.0), np.float32(1.0)
                lost += 1
            image[y, x], variance[y, x] = value, noise
    return lost


def _repair(image, mask, variance, defects: Exposure | None, config: dict) -> None:
    """Mark defects and give their pixels, and unrepaired cosmic rays', a value to stand on."""
    if defects is not None:
        mask |= defects.mask & bits("BAD", "NO_DATA", "SUSPECT")
    # In one snap CR comes with INTRP already: nothing but the neighbours knows the value.
    wanted = bits("BAD", "NO_DATA") | (bits("INTRP") if config["cosmic_rays"]["find"] else 0)
    good = (mask & (wanted | bits("SAT"))) == 0
    sample, noise = image[good][::64], variance[good][::64]
    sky = float(np.median(sample)) if sample.size else 0.0
    level = float(np.median(noise)) if noise.size else 1.0
    interpolate(
        image,
        variance,
        mask,
        wanted,
        wanted | bits("SAT"),
        (bits("INTRP"), bits("NO_DATA")),
        (np.float32(sky), np.float32(level)),
    )


def _check_image(image, mask, name: str, config: dict) -> None:
    saturated = float(np.count_nonzero(mask & bits("SAT"))) / mask.size
    if saturated > config["max_saturated_fraction"]:
        raise Rejected(f"{name}: {saturated:.0%} of the pixels are saturated")
    good = (mask & bits("SAT", "BAD", "NO_DATA")) == 0
    sample = image[good][::16]
    if sample.size == 0 or float(sample.max() - sample.min()) == 0.0:
        raise Rejected(f"{name}: all usable pixels have the same value")


def _meta(
    camera: Camera, detector: Detector, exposure: dict, frames: list[Frame], n_snaps: int
) -> dict:
    noise = np.sqrt(sum(float((frame.read_noise**2).mean()) for frame in frames))
    full = min(
        (a.saturation - a.pedestal) * a.gain for a in detector.amplifiers
    )  # the weakest amplifier's
    physical = str(exposure["physical_filter"])
    return {
        "VISIT": int(exposure["visit"]),
        "DETECTOR": detector.id,
        "NIGHT": int(exposure["night"]),
        "INSTRUME": camera.name,
        "OBSCODE": camera.obscode,
        "BAND": str(exposure["band"]),
        "FILTER": physical,
        "REFBAND": str(camera.filter(physical)["ref_band"]),
        "MJDMID": float(exposure["midpoint_mjd_tai"]),
        "EXPTIME": float(exposure["exposure_s"]),
        "NSNAP": n_snaps,
        "BORERA": float(exposure["ra"]),
        "BOREDEC": float(exposure["dec"]),
        "ROTPA": float(exposure["rotation"]),
        "AIRMASS": float(exposure["airmass"]),
        "PURPOSE": str(exposure["purpose"]),
        "BUNIT": "electron",
        "READNOIS": float(noise),
        "SATLEVEL": float(full * n_snaps),
    }
