"""Exposures on disk.

An empty primary HDU carries the circumstances and the provenance; then IMAGE, MASK, VARIANCE;
then the exact numbers of WCS, PSF, background and kernel as one-row binary tables. The celestial
cards in IMAGE are a rendering for other programs.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np

from alertprod.core.errors import BadInput, Rejected
from alertprod.core.exposure import Background, Exposure
from alertprod.core.files import digest, replacing
from alertprod.core.masks import planes
from alertprod.core.psf import Psf
from alertprod.core.times import mjd_to_iso
from alertprod.core.wcs import Wcs

Provenance = dict[str, Any]
PLANES = ("IMAGE", "MASK", "VARIANCE")
#: Cards that belong to the file, not to the exposure.
OWN_CARDS = frozenset(
    "SIMPLE BITPIX NAXIS EXTEND CHECKSUM DATASUM STATUS REASON PIPEVER RULE CODEHASH CFGHASH "
    "NINPUTS DATE-AVG TIMESYS MJD-AVG".split()
)


def write_exposure(
    path: str | os.PathLike, exposure: Exposure, provenance: Provenance | None = None
) -> None:
    """Write an exposure; the file appears whole or not at all.

    Parameters
    ----------
    path : path
        Name of the file.
    exposure : Exposure
    provenance : dict, optional
        ``rule``, ``version``, ``code``, ``config`` (digests) and ``inputs`` (names).
    """
    from astropy.io import fits

    primary = _primary(exposure.meta, provenance, "OK", "")
    image = fits.ImageHDU(exposure.image, name="IMAGE")
    if "BUNIT" in exposure.meta:
        image.header["BUNIT"] = exposure.meta["BUNIT"]
    if exposure.wcs is not None:
        image.header.update(exposure.wcs.with_inverse(exposure.shape).to_header())
    mask = fits.ImageHDU(exposure.mask, name="MASK")
    for name, bit in planes().items():
        mask.header[f"HIERARCH MP_{name}"] = bit
    variance = fits.ImageHDU(exposure.variance, name="VARIANCE")
    hdus = [primary, image, mask, variance]
    for name, tables in _extras(exposure).items():
        hdus.append(_table_hdu(name, tables))
    _write(path, hdus)


def write_rejected_image(
    path: str | os.PathLike, reason: str, provenance: Provenance | None = None
) -> None:
    """Write the product that stands for an exposure that cannot be used."""
    _write(path, [_primary({}, provenance, "REJECTED", reason)])


def read_exposure(path: str | os.PathLike) -> Exposure:
    """Read an exposure.

    Raises
    ------
    Rejected
        If the file is a rejected product; the message is its reason.
    BadInput
        If the file is not one of ours.
    """
    from astropy.io import fits

    with fits.open(path, memmap=False, lazy_load_hdus=True) as hdus:
        header = hdus[0].header
        _raise_if_rejected(header)
        try:
            image, mask, variance = (_native(hdus[name].data) for name in PLANES)
        except KeyError as error:
            raise BadInput(
                f"{Path(path).name} has no HDU {error}. It is not an image product of this "
                "pipeline: make it again by asking Snakemake for it."
            ) from error
        names = {hdu.name for hdu in hdus[4:]}
        extras = {name: _table_arrays(hdus[name]) for name in names}
        meta = _meta(header)
    background = None
    if "BACKGROUND" in extras:
        stored = extras["BACKGROUND"]
        ny, nx = (int(n) for n in stored["shape"])
        background = Background(stored["grid"], (ny, nx))
    return Exposure(
        image,
        mask,
        variance,
        meta,
        wcs=Wcs.from_tables(extras["WCS"]) if "WCS" in extras else None,
        psf=Psf.from_tables(extras["PSF"]) if "PSF" in extras else None,
        background=background,
        kernel=extras.get("KERNEL"),
    )


def read_meta(path: str | os.PathLike) -> dict[str, Any]:
    """Read the circumstances of an exposure without its pixels; raises Rejected likewise."""
    from astropy.io import fits

    header = fits.getheader(path, 0)
    _raise_if_rejected(header)
    return _meta(header)


def status(path: str | os.PathLike) -> tuple[str, str]:
    """Return the status of an image product (``OK``, ``REJECTED``) and the reason."""
    from astropy.io import fits

    header = fits.getheader(path, 0)
    return str(header.get("STATUS", "OK")), str(header.get("REASON", ""))


def content_digest(path: str | os.PathLike) -> str:
    """Return a digest of status and pixels, from the checksums in the headers (cheap)."""
    from astropy.io import fits

    with fits.open(path, memmap=False, lazy_load_hdus=True) as hdus:
        header = hdus[0].header
        facts = [str(header.get("STATUS", "OK")), str(header.get("REASON", ""))]
        facts += [str(hdu.header.get("DATASUM", "")) for hdu in hdus]
    return digest(*facts)


def _raise_if_rejected(header) -> None:
    if header.get("STATUS") == "REJECTED":
        raise Rejected(str(header.get("REASON", "no reason was given")))


def _primary(meta: dict, provenance: Provenance | None, state: str, reason: str):
    from astropy.io import fits

    header = fits.Header()
    header["STATUS"] = (state, "OK or REJECTED")
    if reason:
        header["REASON"] = reason
    for key, value in meta.items():
        header[key] = value
    if "MJDMID" in meta:
        header["TIMESYS"] = ("TAI", "scale of the times in this file")
        header["DATE-AVG"] = (mjd_to_iso(meta["MJDMID"]), "middle of the exposure (TAI)")
        header["MJD-AVG"] = (meta["MJDMID"], "[d] middle of the exposure (TAI)")
    if provenance:
        header["PIPEVER"] = (provenance["version"], "version of alertprod")
        header["RULE"] = (provenance["rule"], "what made this file")
        header["CODEHASH"] = (provenance["code"], "digest of the stage's code")
        header["CFGHASH"] = (provenance["config"], "digest of the stage's configuration")
        inputs = provenance.get("inputs", [])
        header["NINPUTS"] = (len(inputs), "number of input files")
        for number, name in enumerate(inputs, start=1):
            header[f"IN{number:04d}"] = name
    hdu = fits.PrimaryHDU(header=header)
    hdu.header["EXTEND"] = True  # astropy would add it after the checksum
    return hdu


def _meta(header) -> dict[str, Any]:
    return {
        key: value
        for key, value in header.items()
        if key not in OWN_CARDS and not (key.startswith("IN") and key[2:].isdigit())
    }


def _extras(exposure: Exposure) -> dict[str, dict[str, np.ndarray]]:
    extras: dict[str, dict[str, np.ndarray]] = {}
    if exposure.wcs is not None:
        extras["WCS"] = exposure.wcs.to_tables()
    if exposure.psf is not None:
        extras["PSF"] = exposure.psf.to_tables()
    if exposure.background is not None:
        shape = np.array(exposure.background.shape, dtype=np.int64)
        extras["BACKGROUND"] = {"grid": exposure.background.grid, "shape": shape}
    if exposure.kernel:
        extras["KERNEL"] = exposure.kernel
    return extras


def _table_hdu(name: str, arrays: dict[str, np.ndarray]):
    from astropy.io import fits

    codes = {"float64": "D", "float32": "E", "int64": "K"}
    columns = []
    for key, array in arrays.items():
        code = codes[array.dtype.name]
        dim = f"({','.join(str(n) for n in array.shape[::-1])})" if array.ndim > 1 else None
        columns.append(fits.Column(key, f"{array.size}{code}", dim=dim, array=array[None]))
    return fits.BinTableHDU.from_columns(columns, name=name)


def _table_arrays(hdu) -> dict[str, np.ndarray]:
    row = hdu.data[0]
    return {name: _native(np.atleast_1d(row[name])) for name in hdu.columns.names}


def _native(array: np.ndarray) -> np.ndarray:
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _write(path: str | os.PathLike, hdus: list) -> None:
    from astropy.io import fits

    for hdu in hdus:
        hdu.add_checksum(when="unset by design")  # the time of writing would change the bytes
    with replacing(path) as temporary, open(temporary, "wb") as handle:
        fits.HDUList(hdus).writeto(handle)
