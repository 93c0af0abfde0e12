"""LSST-like raw files: a primary header, then one image HDU of integers per amplifier."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from alertprod.simulate.camera import Camera, Detector

BLOCK = 2880


def _card(key: str, value, comment: str = "") -> str:
    if isinstance(value, bool):
        text = f"{'T' if value else 'F':>20}"
    elif isinstance(value, str):
        text = f"'{value:<8}'"
    elif isinstance(value, float):
        text = f"{value!r:>20}"
    else:
        text = f"{value:>20}"
    return f"{key:<8}= {text}{' / ' + comment if comment else ''}"[:80].ljust(80)


def _header(cards: list[str]) -> bytes:
    text = "".join(cards) + "END".ljust(80)
    return text.ljust(-(-len(text) // BLOCK) * BLOCK).encode("ascii")


def _section(x0: int, x1: int, y0: int, y1: int, flip_x=False, flip_y=False) -> str:
    x = f"{x1}:{x0 + 1}" if flip_x else f"{x0 + 1}:{x1}"
    y = f"{y1}:{y0 + 1}" if flip_y else f"{y0 + 1}:{y1}"
    return f"[{x},{y}]"


def write_raw(
    path: str | Path, camera: Camera, detector: Detector, header: dict, segments: list[np.ndarray]
) -> None:
    """Write one raw file, all at once under its final name only when complete.

    Parameters
    ----------
    header : dict
        Primary keywords: value, or (value, comment).
    segments : list of ndarray, uint16
        Raw pixels of each amplifier, in the order of the camera's amplifiers.
    """
    cards = [_card("SIMPLE", True), _card("BITPIX", 8), _card("NAXIS", 0), _card("EXTEND", True)]
    cards.append(_card("INSTRUME", camera.name))
    for key, value in header.items():
        cards.append(_card(key, *(value if isinstance(value, tuple) else (value,))))
    cards += [
        _card("RAFTBAY", detector.raft),
        _card("CCDSLOT", detector.name.rpartition("_")[2]),
        _card("DETECTOR", detector.id),
    ]
    parts = [_header(cards)]
    for amplifier, pixels in zip(detector.amplifiers, segments, strict=True):
        parts += [_extension(amplifier, pixels), _data(pixels)]
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(b"".join(parts))
    os.replace(temporary, path)


def _extension(amplifier, pixels: np.ndarray) -> bytes:
    ny, nx = pixels.shape
    return _header(
        [
            f"{'XTENSION':<8}= 'IMAGE   '".ljust(80),
            _card("BITPIX", 16),
            _card("NAXIS", 2),
            _card("NAXIS1", nx),
            _card("NAXIS2", ny),
            _card("PCOUNT", 0),
            _card("GCOUNT", 1),
            _card("BZERO", 32768, "unsigned integers"),
            _card("BSCALE", 1),
            _card("EXTNAME", f"Segment{amplifier.name[1:]}"),
            _card("BUNIT", "adu"),
            _card("DATASEC", _section(*amplifier.data)),
            _card("BIASSEC", _section(*amplifier.bias)),
            _card("DETSEC", _section(*amplifier.detsec, amplifier.flip_x, amplifier.flip_y)),
            _card("GAIN", amplifier.gain, "e-/adu"),
        ]
    )


def _data(pixels: np.ndarray) -> bytes:
    signed = (pixels ^ np.uint16(0x8000)).astype(">u2").tobytes()
    return signed + bytes(-len(signed) % BLOCK)
