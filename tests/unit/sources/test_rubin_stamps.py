"""Real Rubin alerts: our PSF flux at Rubin's position, with Rubin's PSF, is Rubin's flux."""

import io

import numpy as np
import pytest

from alertprod.core.exposure import Exposure
from alertprod.core.photometry import fit_position, psf_flux
from alertprod.core.psf import Psf
from alertprod.core.wcs import Wcs
from alertprod.sources.shapes import adaptive_moments


@pytest.fixture(scope="module")
def alerts(real_data):
    """Return all packets: 27 + 10 from Fink's filters, 7 from its client."""
    import fastavro
    import pyarrow.parquet as pq

    packets = []
    names = ["diaSource", "cutoutDifference", "cutoutScience"]
    for path in sorted((real_data / "rubin_fink_filters").glob("*.parquet")):
        packets += pq.read_table(path, columns=names).to_pylist()
    for path in sorted((real_data / "rubin_fink_client").glob("*.avro")):
        with open(path, "rb") as handle:
            packets += list(fastavro.reader(handle))
    return packets


def stamp(packet, name="cutoutDifference"):
    """Return the stamp as an exposure; the HDU named UNCERT holds the variance."""
    from astropy.io import fits

    with fits.open(io.BytesIO(packet[name])) as hdus:
        image = hdus[0].data.astype(np.float32)
        variance = hdus["UNCERT"].data.astype(np.float32)
        kernel = np.asarray(hdus["PSFIMAGE"].data, dtype=np.float64)
        h = hdus[0].header  # its cards name no projection; it is TAN
    crval, crpix = [h["CRVAL1"], h["CRVAL2"]], [h["CRPIX1"] - 1, h["CRPIX2"] - 1]
    wcs = Wcs(crval, crpix, [[h["PC1_1"], h["PC1_2"]], [h["PC2_1"], h["PC2_2"]]])
    mask = np.zeros(image.shape, dtype=np.int32)
    return Exposure(image, mask, variance, {}, wcs, Psf.constant(kernel, image.shape))


def measured(alerts, cut="cutoutDifference"):
    """Yield packets' sources and exposures for point-like sources inside their stamps."""
    for packet in alerts:
        source = packet["diaSource"]
        if source["isDipole"] or source["psfFlux"] is None or packet[cut] is None:
            continue
        yield source, stamp(packet, cut)


def test_flux_at_the_given_position_is_rubins(alerts):
    """0.998 +- 0.015. Rubin multiplies flux and error by its aperture correction, which the stamps
    do not tell: the ratio of flux to error is free of it and agrees better.
    """
    ratios, strengths = [], []
    for source, exposure in measured(alerts):
        x, y = exposure.wcs.sky_to_pix(source["ra"], source["dec"])
        result = psf_flux(exposure, x, y)
        ratios.append(result["flux"][0] / source["psfFlux"])
        own = result["flux"][0] / result["fluxErr"][0]
        strengths.append(own / (source["psfFlux"] / source["psfFluxErr"]))
    assert len(ratios) >= 30
    assert np.median(ratios) == pytest.approx(0.998, abs=0.016)
    assert 0.5 * np.diff(np.quantile(ratios, [0.16, 0.84]))[0] < 0.025
    assert np.median(strengths) == pytest.approx(1.0, abs=0.006)


def test_the_fitted_position_is_rubins_within_its_error(alerts):
    offsets = []
    for source, exposure in measured(alerts):
        x, y = exposure.wcs.sky_to_pix(source["ra"], source["dec"])
        result = fit_position(exposure, np.round(x), np.round(y))
        if result["flag_position"][0] or (source["trailLength"] and source["trailLength"] > 1.5):
            continue
        own = np.hypot(result["xErr"][0], result["yErr"][0])
        offsets.append(np.hypot(result["x"][0] - x, result["y"][0] - y) / own)
    assert len(offsets) >= 20
    assert np.median(offsets) < 1.0


def test_psf_moments_are_rubins(alerts):
    ratios = []
    for source, exposure in measured(alerts):
        kernel = exposure.psf.kernel_image(15, 15).astype(np.float64)
        xx, yy, _, ok = adaptive_moments(kernel, np.ones_like(kernel), 0.0, 0.0, 4.0)
        assert ok
        area = exposure.wcs.pixel_scale() ** 2
        ratios.append((xx + yy) * area / (source["ixxPSF"] + source["iyyPSF"]))
    assert np.median(ratios) == pytest.approx(1.0, abs=0.02)
