"""FITS headers and pixels, read straight from the bytes of a file.

A raw file comes from an instrument, with whatever its authors thought a header was: values without
quotes, a comma for a decimal point, a file cut off in mid-write. This reader keeps what it can
(a value that is no FITS value stays a string) and says in one sentence what it cannot. It reads
the file once; tile-compressed files go to ``fitsio``.

References
----------
Pence et al. 2010, A&A 524, A42 (FITS 3.0); FITS Standard 4.0, appendix J (checksums).
"""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from alertprod.core.errors import Rejected

BLOCK = 2880
_TYPES = {8: ">u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}


@dataclass(frozen=True, slots=True)
class Hdu:
    """A header and where its data lie in the file, in bytes."""

    header: dict
    start: int
    size: int


def read_bytes(path: str | Path) -> bytes:
    """Return the whole file, unpacked if it is gzipped.

    Raises
    ------
    Rejected
        If the file is missing or cannot be unpacked.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
        return gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    except FileNotFoundError:
        raise Rejected(f"{path.name}: the raw file is missing") from None
    except (OSError, EOFError, zlib.error) as error:
        raise Rejected(f"{path.name}: the raw file cannot be read ({error})") from None


def scan(data: bytes, name: str, *, primary_only: bool = False) -> list[Hdu]:
    """Find the HDUs in the bytes of a file.

    Parameters
    ----------
    data : bytes
    name : str
        File name, for messages.
    primary_only : bool
        Stop after the primary header, whose data may then be cut off.

    Raises
    ------
    Rejected
        If this is not FITS, or the file ends before its last HDU does.
    """
    if data[:9] != b"SIMPLE  =":
        raise Rejected(f"{name}: this is not a FITS file ({len(data)} bytes)")
    hdus: list[Hdu] = []
    position = 0
    while position < len(data):
        if hdus and data[position : position + 8] != b"XTENSION":
            break  # padding or special records after the last extension
        header, start = parse_header(data, position, name)
        size = _data_size(header, name)
        hdus.append(Hdu(header, start, size))
        if primary_only:
            return hdus
        if start + size > len(data):
            raise Rejected(
                f"{name}: truncated in HDU {len(hdus) - 1}, {len(data)} bytes of at least "
                f"{start + size}"
            )
        position = start + -(-size // BLOCK) * BLOCK
    return hdus


def parse_header(data: bytes, position: int, name: str) -> tuple[dict, int]:
    """Parse the header at a byte position; return it and the position of its data.

    Raises
    ------
    Rejected
        If the header has no END.
    """
    header: dict = {}
    last = ""
    while True:
        card = data[position : position + 80]
        if len(card) < 80:
            raise Rejected(f"{name}: truncated inside a header, {len(data)} bytes")
        position += 80
        text = card.decode("latin-1")
        key = text[:8].rstrip()
        if key == "END" and not text[8:].strip():
            break
        if key == "CONTINUE" and isinstance(header.get(last), str):
            header[last] = header[last].removesuffix("&") + str(_value(text[8:]))
            continue
        if key == "HIERARCH" and "=" in text:
            key, _, rest = text[9:].partition("=")
            key = key.strip()
        elif text[8:10] == "= ":
            rest = text[10:]
        else:
            continue
        if key not in header:  # the first of a repeated keyword counts
            header[key] = _value(rest)
            last = key
    return header, -(-position // BLOCK) * BLOCK


def _value(text: str):
    """Return a card's value; what is no FITS value stays the string that it is."""
    text = text.strip()
    if text.startswith("'"):
        end = 1
        while True:
            end = text.find("'", end)
            if end < 0:
                return text[1:].rstrip()  # the closing quote was cut off
            if text[end : end + 2] != "''":
                return text[1:end].replace("''", "'").rstrip()
            end += 2
    text = text.partition("/")[0].strip()
    if text in ("T", "F"):
        return text == "T"
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text.replace("D", "E").replace("d", "e"))
    except ValueError:
        return text


def _data_size(header: dict, name: str) -> int:
    try:
        n_axes = int(header.get("NAXIS", 0))
        if n_axes == 0:
            return 0
        n = 1
        for axis in range(1, n_axes + 1):
            n *= int(header[f"NAXIS{axis}"])
        n = (n + int(header.get("PCOUNT", 0))) * int(header.get("GCOUNT", 1))
        size = n * abs(int(header["BITPIX"])) // 8
    except (KeyError, TypeError, ValueError) as error:
        raise Rejected(f"{name}: a header does not say how large its data are ({error})") from None
    if size < 0:
        raise Rejected(f"{name}: a header gives its data a negative size")
    return size


def image(data: bytes, hdu: Hdu, name: str, *, verify: bool = False) -> np.ndarray:
    """Return the pixels of an image HDU in native byte order.

    Parameters
    ----------
    data : bytes
        The whole file.
    hdu : Hdu
    name : str
        For messages.
    verify : bool
        Check DATASUM, when there is one.

    Returns
    -------
    ndarray, shape (ny, nx)
        uint16 for unsigned 16-bit raws, float32 for all others (exact up to 24 bits): the pixel
        loops then need compiling for two types only.

    Raises
    ------
    Rejected
        If the HDU is no 2-D image, or its checksum does not hold.
    """
    header = hdu.header
    bitpix = header.get("BITPIX")
    if header.get("NAXIS") != 2 or bitpix not in _TYPES:
        raise Rejected(
            f"{name}: expected a 2-D image and found NAXIS {header.get('NAXIS')}, BITPIX {bitpix}"
        )
    if verify:
        _verify(data, hdu, name)
    shape = (header["NAXIS2"], header["NAXIS1"])
    pixels = np.frombuffer(data, dtype=_TYPES[bitpix], count=shape[0] * shape[1], offset=hdu.start)
    pixels = pixels.reshape(shape)
    scale, zero = header.get("BSCALE", 1), header.get("BZERO", 0)
    if bitpix == 16 and scale == 1 and zero == 32768:
        unsigned = pixels.byteswap().view(np.uint16)
        unsigned ^= np.uint16(0x8000)
        return unsigned
    out = pixels.astype(np.float32)
    if scale != 1 or zero != 0:
        out = (pixels * float(scale) + float(zero)).astype(np.float32)
    return out


def datasum(data: bytes) -> int:
    """Return the 32-bit ones'-complement sum of a data unit (a multiple of four bytes)."""
    total = int(np.frombuffer(data, dtype=">u4").sum(dtype=np.uint64))
    while total >> 32:
        total = (total & 0xFFFFFFFF) + (total >> 32)
    return total


def _verify(data: bytes, hdu: Hdu, name: str) -> None:
    try:
        expected = int(hdu.header["DATASUM"])
    except (KeyError, TypeError, ValueError):
        return  # no usable checksum: nothing to hold the data to
    end = hdu.start + -(-hdu.size // BLOCK) * BLOCK
    block = memoryview(data)[hdu.start : min(end, len(data))]
    block = block[: len(block) // 4 * 4]
    found = datasum(block)
    if found != expected:
        where = hdu.header.get("EXTNAME", "the primary")
        raise Rejected(f"{name}: corrupt pixels in {where} (DATASUM {found}, header {expected})")
