"""One visit on the pixels of a patch."""

import logging
from typing import NamedTuple

import numpy as np

from alertprod.core.defaults import complete
from alertprod.core.errors import Rejected
from alertprod.core.exposure import Exposure
from alertprod.core.fits import read_exposure
from alertprod.core.masks import bits
from alertprod.core.psf import Psf
from alertprod.core.psfgrid import grid_positions, local_map, psf_through, resample_stamp
from alertprod.core.resample import Canvas
from alertprod.core.skymap import SkyMap
from alertprod.core.stage import stage
from alertprod.core.wcs import Wcs

log = logging.getLogger("alertprod.template")

#: What `config` may leave out.
#: Circumstances of a visit that its warp keeps.
VISIT_KEYS = (
    "VISIT", "NIGHT", "INSTRUME", "OBSCODE", "BAND", "FILTER", "MJDMID", "EXPTIME", "BORERA",
    "BOREDEC", "ROTPA", "AIRMASS", "BUNIT",
)  # fmt: skip


class Drawn(NamedTuple):
    """What is kept of a detector once its pixels are on the canvas."""

    meta: dict
    wcs: Wcs
    psf: Psf
    shape: tuple[int, int]


@stage("template", outputs=("warp",))
def warp_visit(calexps: list, patch: dict, camera, *, config: dict) -> Exposure:
    """Resample the detectors of one visit to a patch.

    Parameters
    ----------
    calexps : list of path or Exposure
        Calibrated exposures of one visit; rejected ones are left out.
    patch : dict
        ``tract`` and ``patch``; ``airmass_bin`` is noted in the header.
    camera : Camera
    config : dict
        Section ``template``.

    Returns
    -------
    Exposure
        nJy on the pixels of the patch, with a PSF. ``meta`` gains ``TRACT``, ``PATCH``,
        ``TMPLCOV`` (covered fraction), ``NDETECT``, ``LANCZOS``, ``AIRMBIN``.

    Raises
    ------
    Rejected
        If no detector of the visit can be used or reaches the patch.
    """
    config = complete(config, "template")
    sky = SkyMap(camera.tract_nside, camera.patch_px, camera.pixel_scale, camera.patch_border_px)
    wcs = sky.patch_wcs(patch["tract"], patch["patch"])
    canvas = Canvas(wcs, sky.patch_shape, int(config["lanczos_order"]))
    drawn, reasons = [], []
    for item in calexps:
        try:
            calexp = item if isinstance(item, Exposure) else read_exposure(item)
            _check(calexp, config)
        except Rejected as rejection:
            reasons.append(str(rejection))
            log.info("left out of patch %s/%s: %s", patch["tract"], patch["patch"], rejection)
            continue
        n = canvas.draw(calexp.image, calexp.variance, calexp.mask, calexp.wcs)
        if n:
            drawn.append(Drawn(calexp.meta, calexp.wcs, calexp.psf, calexp.shape))
    name = f"patch {patch['tract']}/{patch['patch']}"
    if not drawn:
        why = f" ({'; '.join(sorted(set(reasons)))})" if reasons else ""
        raise Rejected(f"none of {len(calexps)} detectors of the visit covers {name}{why}")
    meta = {key: drawn[0].meta[key] for key in VISIT_KEYS if key in drawn[0].meta}
    meta |= {
        "TRACT": int(patch["tract"]),
        "PATCH": int(patch["patch"]),
        "TMPLCOV": canvas.covered,
        "NDETECT": len(drawn),
        "LANCZOS": canvas.order,
        "AIRMBIN": str(patch.get("airmass_bin", "")),
    }
    psf = _patch_psf(canvas, drawn)
    return Exposure(canvas.image, canvas.mask, canvas.variance, meta, wcs=wcs, psf=psf)


def _check(calexp: Exposure, config: dict) -> None:
    limit = float(config["max_psf_fwhm_px"])
    seeing = float(calexp.meta.get("SEEING", 0.0))
    if limit > 0 and seeing > limit:
        raise Rejected(f"seeing of {seeing:.2f} px is worse than {limit:.2f} px")


def _patch_psf(canvas: Canvas, drawn: list):
    """PSF model on the patch from those of the detectors, in places where they have data."""
    stamps, xs, ys = [], [], []
    size = max(one.psf.size for one in drawn)
    for x, y in zip(*grid_positions(canvas.shape, 6), strict=True):
        for one in drawn:
            (sx, sy), jacobian = local_map(canvas.wcs, one.wcs, x, y)
            if 0 <= sx < one.shape[1] and 0 <= sy < one.shape[0]:
                kernel = one.psf.kernel_image(sx, sy)
                stamps.append(resample_stamp(kernel, jacobian, size, canvas.order))
                xs.append(x)
                ys.append(y)
                break
    if not stamps:  # a sliver between the grid's positions: take the middle of what is there
        one = drawn[0]
        have = np.argwhere((canvas.mask & bits("NO_DATA")) == 0).mean(axis=0)
        _, jacobian = local_map(canvas.wcs, one.wcs, have[1], have[0])
        kernel = one.psf.kernel_image((one.shape[1] - 1) / 2, (one.shape[0] - 1) / 2)
        stamps.append(resample_stamp(kernel, jacobian, size, canvas.order))
        xs, ys = [have[1]], [have[0]]
    apcorr = float(np.mean([one.psf.apcorr for one in drawn]))
    order = 1 if len(stamps) < 18 else 2
    return psf_through(np.array(stamps), xs, ys, canvas.shape, apcorr, order=order)
