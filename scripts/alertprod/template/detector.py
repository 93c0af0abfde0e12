"""The template patches on the pixels of a detector."""

import logging
from bisect import bisect_right

import numpy as np

from alertprod.core.defaults import complete
from alertprod.core.errors import Rejected
from alertprod.core.exposure import Exposure
from alertprod.core.fits import read_exposure
from alertprod.core.psfgrid import grid_positions, local_map, psf_through, resample_stamp
from alertprod.core.resample import Canvas
from alertprod.core.stage import stage
from alertprod.template.warp import VISIT_KEYS

log = logging.getLogger("alertprod.template")


@stage("template", outputs=("template",))
def warp_template(calexp: Exposure, patches: list, camera, *, config: dict) -> Exposure:
    """Resample the template patches to the pixels of a calibrated exposure.

    Where patches overlap the one is taken in which the pixel lies deepest.

    Parameters
    ----------
    calexp : Exposure
    patches : list of path or Exposure
        Coadded patches; rejected ones are left out.
    camera : Camera
        Not used; the sky map stands in the patches.
    config : dict
        Section ``template``.

    Returns
    -------
    Exposure
        nJy on the detector's pixels, with a PSF. ``meta`` gains ``TMPLCOV`` (covered fraction),
        ``NVISITS`` (fewest visits of a patch), ``NPATCHES``, ``LANCZOS``, ``TMPLBIN`` (airmass
        bin of the template), ``TMPLWANT`` (the exposure's own) and ``TMPLFALL`` (they differ).

    Raises
    ------
    Rejected
        If the patches cover less than ``min_coverage`` of the detector.
    """
    config = complete(config, "template")
    layers, reasons = [], []
    for item in patches:
        try:
            layers.append(item if isinstance(item, Exposure) else read_exposure(item))
        except Rejected as rejection:
            reasons.append(str(rejection))
            log.info("a template patch is left out: %s", rejection)
    layers.sort(key=lambda layer: (layer.meta.get("TRACT", 0), layer.meta.get("PATCH", 0)))
    canvas = Canvas(calexp.wcs, calexp.shape, int(config["lanczos_order"]))
    used = [
        layer
        for layer in layers
        if canvas.draw(layer.image, layer.variance, layer.mask, layer.wcs) > 0
    ]
    if canvas.covered < max(float(config["min_coverage"]), 1e-9):
        why = f" ({'; '.join(sorted(set(reasons)))})" if reasons else ""
        raise Rejected(
            f"{len(used)} template patches cover {100 * canvas.covered:.1f} % of the detector, "
            f"{100 * float(config['min_coverage']):.0f} % are needed{why}"
        )
    meta = {key: calexp.meta[key] for key in ("DETECTOR", *VISIT_KEYS) if key in calexp.meta}
    meta |= _describe(used, canvas, calexp, config)
    psf = _detector_psf(canvas, used)
    return Exposure(canvas.image, canvas.mask, canvas.variance, meta, wcs=calexp.wcs, psf=psf)


def _describe(used: list, canvas: Canvas, calexp: Exposure, config: dict) -> dict:
    meta = {
        "TMPLCOV": canvas.covered,
        "NPATCHES": len(used),
        "NVISITS": min(int(layer.meta.get("NVISITS", 1)) for layer in used),
        "LANCZOS": canvas.order,
    }
    bins = sorted({str(layer.meta.get("AIRMBIN", "")) for layer in used} - {""})
    if bins:
        meta["TMPLBIN"] = ",".join(bins)
    edges = list(config["airmass_edges"])
    if bins and "AIRMASS" in calexp.meta:
        wanted = str(bisect_right(edges, float(calexp.meta["AIRMASS"])))
        meta |= {"TMPLWANT": wanted, "TMPLFALL": bins != [wanted]}
    return meta


def _detector_psf(canvas: Canvas, used: list):
    """PSF model on the detector from the patch in which each place lies deepest."""
    size = max(layer.psf.size for layer in used)
    stamps, xs, ys = [], [], []
    for x, y in zip(*grid_positions(canvas.shape, 5), strict=True):
        best, found = -np.inf, None
        for layer in used:
            (sx, sy), jacobian = local_map(canvas.wcs, layer.wcs, x, y)
            ny, nx = layer.shape
            depth = min(sx, sy, nx - 1 - sx, ny - 1 - sy)
            if depth > best:
                best, found = depth, (layer, sx, sy, jacobian)
        if best > 0:
            layer, sx, sy, jacobian = found
            kernel = layer.psf.kernel_image(sx, sy)
            stamps.append(resample_stamp(kernel, jacobian, size, canvas.order))
            xs.append(x)
            ys.append(y)
    if not stamps:
        layer = used[0]
        ny, nx = layer.shape
        stamps = [layer.psf.kernel_image((nx - 1) / 2, (ny - 1) / 2)]
        xs, ys = [(canvas.shape[1] - 1) / 2], [(canvas.shape[0] - 1) / 2]
    apcorr = float(np.mean([layer.psf.apcorr for layer in used]))
    return psf_through(np.array(stamps), xs, ys, canvas.shape, apcorr)
