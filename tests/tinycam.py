"""A tiny camera and its raw files, written by astropy: the truth for readers and calibration.

Two detectors of 96 x 64 px, four amplifiers each, read out towards the four corners.
"""

import numpy as np
from astropy.io import fits

NX, NY, PRESCAN, OVERSCAN = 96, 64, 4, 16
GAINS = (1.5, 1.6, 1.7, 1.8)
NOISE = (6.0, 6.5, 7.0, 7.5)  # electrons
LEVELS = (1000.0, 1100.0, 900.0, 1050.0)  # adu
SATURATION = 40000
MJD = 61000.1


def layout() -> list[dict]:
    """Amplifiers as the YAML describes them."""
    rows = []
    half_x, half_y = NX // 2, NY // 2
    for k in range(4):
        right, top = k % 2, k // 2
        rows.append(
            {
                "name": f"C{k}",
                "hdu": f"Segment{top}{right}",
                "gain": GAINS[k],
                "read_noise": NOISE[k],
                "saturation": SATURATION,
                "data": [PRESCAN, PRESCAN + half_x, 0, half_y],
                "bias": [PRESCAN + half_x, PRESCAN + half_x + OVERSCAN, 0, half_y],
                "detsec": [right * half_x, (right + 1) * half_x, top * half_y, (top + 1) * half_y],
                "flip_x": bool(right),
                "flip_y": bool(top),
            }
        )
    return rows


def description(**changes) -> dict:
    """The instrument file as a dictionary."""
    detector = {"nx": NX, "ny": NY, "orientation": 0.0}
    return {
        "name": "tinycam",
        "obscode": "X05",
        "longitude": -70.749,
        "latitude": -30.245,
        "height": 2663.0,
        "pixel_scale": 1.0,
        "parity": 1,
        "tract_nside": 128,
        "patch_px": 256,
        "refcat_order": 5,
        "filters": {"g_01": {"band": "g", "ref_band": "g"}, "r_03": {"band": "r", "ref_band": "r"}},
        "amplifier_layout": layout(),
        "detectors": [
            {"id": 0, "name": "A", "centre": [-0.02, 0.0], **detector},
            {"id": 1, "name": "B", "centre": [0.02, 0.01], **detector, "orientation": 180.0},
        ],
        **changes,
    }


def camera(**changes):
    """The camera."""
    from alertprod.instruments.camera import camera_from_dict

    return camera_from_dict(description(**changes), "tinycam.yaml")


def segment(electrons, k: int, rng, *, bias=0.0, quantum: bool = True) -> np.ndarray:
    """Read one amplifier out: quadrant `k` of an image [electrons] to ADU with overscan."""
    top, right = k // 2, k % 2
    quadrant = electrons[
        top * NY // 2 : (top + 1) * NY // 2, right * NX // 2 : (right + 1) * NX // 2
    ]
    if right:
        quadrant = quadrant[:, ::-1]
    if top:
        quadrant = quadrant[::-1]
    out = np.zeros((NY // 2, PRESCAN + NX // 2 + OVERSCAN))
    out[:, PRESCAN : PRESCAN + NX // 2] = quadrant / GAINS[k] + bias
    out += LEVELS[k] + np.linspace(0, 5, NY // 2)[:, None]  # the level drifts along the rows
    if rng is not None:
        out += rng.normal(0, NOISE[k] / GAINS[k], out.shape)
    out = np.clip(out, 0, 65535)
    return np.round(out).astype(np.uint16) if quantum else out.astype(np.float32)


def write_raw(path, electrons=None, rng=None, *, kind="OBJECT", bias=0.0, **cards):
    """Write a raw file with an image of `electrons` (already with its Poisson noise)."""
    electrons = np.zeros((NY, NX)) if electrons is None else electrons
    exposure = float(cards.pop("EXPTIME", 0.0 if kind == "BIAS" else 15.0))
    begin = float(cards.pop("MJD_BEG", MJD))
    header = {
        "INSTRUME": "tinycam",
        "IMGTYPE": kind,
        "OBSID": path.stem,
        "DAYOBS": 20251122,
        "SEQNUM": 7,
        "TIMESYS": "TAI",
        "MJD-BEG": begin,
        "MJD-END": begin + exposure / 86400,
        "EXPTIME": exposure,
        "DARKTIME": exposure,
        "RA": 150.0,
        "DEC": -20.0,
        "ROTPA": 10.0,
        "AIRMASS": 1.2,
        "FILTER": "r_03",
        "DETECTOR": 0,
    }
    header.update(cards)
    primary = fits.PrimaryHDU()
    primary.header.update({k: v for k, v in header.items() if v is not None})
    hdus = [primary]
    for k, row in enumerate(layout()):
        hdu = fits.ImageHDU(segment(electrons, k, rng, bias=bias), name=row["hdu"])
        hdus.append(hdu)
    path.parent.mkdir(parents=True, exist_ok=True)
    fits.HDUList(hdus).writeto(path, checksum=True, overwrite=True)
    return path


def row(**changes) -> dict:
    """Row of the exposure sheet, as the csv module reads it."""
    return {
        "visit": "2025112200007",
        "detector": "000",
        "night": "20251122",
        "purpose": "science",
        "instrument": "tinycam",
        "band": "r",
        "physical_filter": "r_03",
        "midpoint_mjd_tai": "61000.1001736111",
        "exposure_s": "30.0",
        "ra": "150.0",
        "dec": "-20.0",
        "rotation": "10.0",
        "airmass": "1.2",
        **changes,
    }
