"""The instrument YAML as the simulator sees it (its own reader, on purpose)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml


@dataclass(frozen=True)
class Amplifier:
    """A read-out channel; sections are [x0, x1, y0, y1], 0-based, half-open."""

    name: str
    hdu: int
    gain: float  # e-/adu
    read_noise: float  # e-
    saturation: float  # adu in the raw file, bias included
    data: tuple[int, int, int, int]
    bias: tuple[int, int, int, int]
    detsec: tuple[int, int, int, int]
    flip_x: bool
    flip_y: bool
    linearity: float  # c2 of true = x + c2 x^2, x in adu above bias


@dataclass(frozen=True)
class Detector:
    """A chip of `nx` x `ny` light-sensitive pixels; `centre` is its field angle [deg]."""

    id: int
    name: str
    raft: str
    nx: int
    ny: int
    centre: tuple[float, float]
    orientation: float  # deg
    amplifiers: tuple[Amplifier, ...]
    crosstalk: tuple[tuple[float, ...], ...] | None  # [victim][source]


@dataclass(frozen=True)
class Camera:
    """A camera and its site."""

    name: str
    longitude: float  # deg east
    latitude: float  # deg
    height: float  # m
    pixel_scale: float  # arcsec
    parity: int
    filters: dict[str, str]  # physical filter by band
    ref_bands: dict[str, str]  # reference band by band
    detectors: dict[int, Detector]


def read_camera(path: str | Path) -> Camera:
    """Read ``config/instruments/{name}.yaml``."""
    text = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    detectors = {}
    for entry in text["detectors"]:
        values = entry.get("amplifier_values", {})
        amplifiers = tuple(
            _amplifier({**row, **values.get(row["name"], {})})
            for row in entry.get("amplifiers") or text["amplifier_layout"]
        )
        detectors[entry["id"]] = Detector(
            id=entry["id"],
            name=entry["name"],
            raft=entry["raft"],
            nx=entry["nx"],
            ny=entry["ny"],
            centre=tuple(entry["centre"]),
            orientation=float(entry["orientation"]),
            amplifiers=amplifiers,
            crosstalk=tuple(map(tuple, entry["crosstalk"])) if "crosstalk" in entry else None,
        )
    return Camera(
        name=text["name"],
        longitude=text["longitude"],
        latitude=text["latitude"],
        height=text["height"],
        pixel_scale=float(text["pixel_scale"]),
        parity=int(text["parity"]),
        filters={row["band"]: name for name, row in text["filters"].items()},
        ref_bands={row["band"]: row["ref_band"] for row in text["filters"].values()},
        detectors=detectors,
    )


def _amplifier(row: dict) -> Amplifier:
    return Amplifier(
        name=row["name"],
        hdu=row["hdu"],
        gain=float(row["gain"]),
        read_noise=float(row["read_noise"]),
        saturation=float(row["saturation"]),
        data=tuple(row["data"]),
        bias=tuple(row["bias"]),
        detsec=tuple(row["detsec"]),
        flip_x=row["flip_x"],
        flip_y=row["flip_y"],
        linearity=float(row.get("linearity", [0.0])[0]),
    )
