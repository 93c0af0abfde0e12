"""Postage stamps as FITS bytes that `astropy.nddata.CCDData.read` understands.

Ten thousand alerts need thirty thousand stamps; astropy's writer takes half a millisecond for
each. Here the cards that a whole detector shares are made once, and the pixels are copied. There
are no dates and no checksums, so that equal pixels give equal bytes.

References
----------
Pence et al. 2010, A&A 524, A42 (FITS 3.0); Rubin's alerts: CCDData with ``VarianceUncertainty``.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np

from alertprod.core.exposure import Exposure
from alertprod.core.masks import bits, planes
from alertprod.core.psfmodel import kernels

BLOCK, CARD = 2880, 80
#: Planes that say something of the sky and not of the quality of a pixel; a reader takes any bit
#: for "bad".
SKY_PLANES = ("DETECTED", "DETECTED_NEGATIVE")


@dataclass(frozen=True)
class Box:
    """A square stamp on a detector: first pixel (0-based, may be negative) and side."""

    x0: int
    y0: int
    side: int


def box_round(x: float, y: float, bbox_size: int, smallest: int, largest: int) -> Box:
    """Return the box of a source: `smallest`, or its footprint's box where that is larger."""
    side = int(min(max(smallest, bbox_size), largest))
    half = side // 2
    return Box(int(np.floor(x + 0.5)) - half, int(np.floor(y + 0.5)) - half, side)


def card(key: str, value, comment: str = "") -> bytes:
    """Return one FITS card of 80 bytes; numbers keep all their digits."""
    if isinstance(value, bool | np.bool_):
        text = f"{'T' if value else 'F':>20}"
    elif isinstance(value, int | np.integer):
        text = f"{int(value):>20}"
    elif isinstance(value, float | np.floating):
        text = f"{float(value)!r:>20}".upper()
    else:
        quoted = str(value).replace("'", "''")
        text = f"'{quoted:<8}'"
    line = f"{key:<8}= {text}" + (f" / {comment}" if comment else "")
    return line.encode("ascii")[:CARD].ljust(CARD)


def padded(content: bytes, fill: bytes = b"\0") -> bytes:
    """Fill up to whole blocks of 2880 bytes."""
    return content + fill * (-len(content) % BLOCK)


def _header(cards: list[bytes]) -> bytes:
    return padded(b"".join(cards) + b"END".ljust(CARD), b" ")


def _extension(bitpix: int, ny: int, nx: int, extra: list[bytes]) -> bytes:
    cards = [
        card("XTENSION", "IMAGE", "Image extension"),
        card("BITPIX", bitpix),
        card("NAXIS", 2),
        card("NAXIS1", nx),
        card("NAXIS2", ny),
        card("PCOUNT", 0),
        card("GCOUNT", 1),
    ]
    return _header(cards + extra)


@cache
def _opening(side: int) -> bytes:
    """Return the cards with which the primary HDU of a stamp begins."""
    cards = [
        card("SIMPLE", True, "conforms to FITS standard"),
        card("BITPIX", -32),
        card("NAXIS", 2),
        card("NAXIS1", side),
        card("NAXIS2", side),
        card("EXTEND", True),
    ]
    return b"".join(cards)


class Cutter:
    """Cuts stamps out of one image of one detector.

    Parameters
    ----------
    exposure : Exposure
        Difference, calibrated exposure or template, with WCS; PSF and ``ROTPA`` if it has them.
    """

    def __init__(self, exposure: Exposure) -> None:
        self.exposure = exposure
        self.blank = bits("NO_DATA")
        self.sky = bits(*SKY_PLANES)
        self.common = self._common_cards()
        names = sorted(planes().items(), key=lambda item: item[1])
        self.mask_cards = [
            card(f"MP_{bit:02d}", name, f"plane of bit {bit}")
            for name, bit in names
            if name not in SKY_PLANES
        ]
        self.headers: dict[int, tuple[bytes, bytes]] = {}

    def _common_cards(self) -> bytes:
        meta, cards = self.exposure.meta, []
        cards.append(card("BUNIT", meta.get("BUNIT", "nJy")))
        if "ROTPA" in meta:
            cards.append(card("ROTPA", float(meta["ROTPA"]), "[deg] angle of focal plane +Y wrt N"))
        if self.exposure.wcs is not None:
            rendered = self.exposure.wcs.with_inverse(self.exposure.shape).to_header()
            cards += [
                card(key, value) for key, value in rendered.items() if not key.startswith("CRPIX")
            ]
        return b"".join(cards)

    def psfs(self, x, y) -> np.ndarray | None:
        """Return the PSF images at many positions: big-endian float32, shape (n, s, s)."""
        if self.exposure.psf is None:
            return None
        return kernels(self.exposure.psf, x, y).astype(">f4")

    def cut(self, box: Box, psf: np.ndarray | None = None) -> bytes:
        """Return the stamp of a box as a FITS file.

        Parameters
        ----------
        box : Box
            Pixels outside the detector are NaN and masked NO_DATA.
        psf : array, optional
            One of `psfs`.
        """
        side = box.side
        image = np.full((side, side), np.nan, dtype=">f4")
        variance = np.full((side, side), np.nan, dtype=">f4")
        mask = np.full((side, side), self.blank, dtype=">i4")
        ny, nx = self.exposure.shape
        ya, yb = max(box.y0, 0), min(box.y0 + side, ny)
        xa, xb = max(box.x0, 0), min(box.x0 + side, nx)
        if ya < yb and xa < xb:
            there = np.s_[ya - box.y0 : yb - box.y0, xa - box.x0 : xb - box.x0]
            image[there] = self.exposure.image[ya:yb, xa:xb]
            variance[there] = self.exposure.variance[ya:yb, xa:xb]
            mask[there] = self.exposure.mask[ya:yb, xa:xb] & ~self.sky
        if side not in self.headers:
            self.headers[side] = self._extension_headers(side)
        uncertainty, masks = self.headers[side]
        parts = [
            self._primary(box),
            padded(image.tobytes()),
            uncertainty,
            padded(variance.tobytes()),
            masks,
            padded(mask.tobytes()),
        ]
        if psf is not None:
            parts += [self._psf_header(psf.shape), padded(psf.tobytes())]
        return b"".join(parts)

    def _primary(self, box: Box) -> bytes:
        cards = [
            _opening(box.side),
            card("CUTMINX", box.x0, "0-based column of the first pixel"),
            card("CUTMINY", box.y0, "0-based row of the first pixel"),
        ]
        wcs = self.exposure.wcs
        if wcs is not None:
            cards.append(card("CRPIX1", float(wcs.crpix[0] - box.x0 + 1)))
            cards.append(card("CRPIX2", float(wcs.crpix[1] - box.y0 + 1)))
        cards.append(self.common)
        return _header(cards)

    def _extension_headers(self, side: int) -> tuple[bytes, bytes]:
        name = [card("EXTNAME", "UNCERT"), card("UTYPE", "VarianceUncertainty")]
        return (
            _extension(-32, side, side, name),
            _extension(32, side, side, [card("EXTNAME", "MASK"), *self.mask_cards]),
        )

    def _psf_header(self, shape: tuple[int, ...]) -> bytes:
        return _extension(-32, shape[0], shape[1], [card("EXTNAME", "PSFIMAGE")])
