"""Raw files: from a path to segments of pixels and what the header says.

Two readers, named by the camera's YAML: ``lsst`` (one HDU per amplifier; any multi-extension
camera fits) and ``simple`` (one image, cut into amplifiers by sections). A file is read once.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from alertprod.core.errors import BadInput, Rejected
from alertprod.instruments import cards
from alertprod.instruments.camera import Amplifier, Camera, Detector
from alertprod.instruments.metadata import Metadata, metadata


@dataclass(frozen=True, slots=True)
class Raw:
    """A raw file in memory.

    Parameters
    ----------
    name : str
        File name, for messages.
    header : dict
        Primary header.
    metadata : Metadata
    detector : Detector
    segments : tuple of ndarray, shape (ny, nx)
        Raw pixels of each amplifier's HDU, ADU, in the order of ``detector.amplifiers``
        (uint16 or float32; amplifiers of one HDU share one array).
    """

    name: str
    header: dict
    metadata: Metadata
    detector: Detector
    segments: tuple[np.ndarray, ...]


def read_metadata(path: str | Path, camera: Camera) -> Metadata:
    """Read the primary header only.

    Raises
    ------
    Rejected
        If the file is not FITS or its header cannot be understood.
    """
    path = Path(path)
    header = _first_header(path)
    return metadata(header, camera, path.name)


def read_raw(
    path: str | Path, camera: Camera, detector_id: int | None = None, *, verify: bool = False
) -> Raw:
    """Read a raw file, once.

    Parameters
    ----------
    path : path-like
    camera : Camera
    detector_id : int, optional
        Default: the header's, or the only detector of the camera.
    verify : bool
        Check each amplifier's DATASUM, when there is one.

    Raises
    ------
    Rejected
        If the file is truncated, corrupt or of another detector; the reason names the file.
    BadInput
        If the camera's YAML asks for pixels that such files do not have.
    """
    path = Path(path)
    data = cards.read_bytes(path)
    hdus = cards.scan(data, path.name)
    header = dict(hdus[0].header)
    if len(hdus) > 1 and camera.reader == "simple" and hdus[0].header.get("NAXIS") == 0:
        header = {**hdus[1].header, **header}  # the only image of a compressed file
    info = metadata(header, camera, path.name)
    detector = _which_detector(info, camera, detector_id, path.name)
    # The first of several HDUs of one name counts; FITS names know no upper and lower case.
    names = {str(h.header.get("EXTNAME", "")).upper(): k for k, h in reversed([*enumerate(hdus)])}
    images: dict[int, np.ndarray] = {}
    segments = []
    for amplifier in detector.amplifiers:
        k = _which_hdu(amplifier, names, hdus, camera, path.name)
        if k not in images:
            images[k] = _pixels(path, data, hdus, k, verify)
        _check_size(amplifier, images[k], path.name)
        segments.append(images[k])
    return Raw(path.name, header, info, detector, tuple(segments))


def _first_header(path: Path) -> dict:
    """Header of the primary (and of a compressed image behind it), reading as little as can be."""
    try:
        with open(path, "rb") as handle:
            head = handle.read(cards.BLOCK * 20)
    except OSError:
        raise Rejected(f"{path.name}: the raw file cannot be opened") from None
    if head[:2] == b"\x1f\x8b" or b"END     " not in head:
        head = cards.read_bytes(path)
    first = cards.scan(head, path.name, primary_only=True)[0]
    if first.header.get("NAXIS") == 0 and head[first.start : first.start + 8] == b"XTENSION":
        try:
            second, _ = cards.parse_header(head, first.start, path.name)
        except Rejected:
            return first.header
        if second.get("ZIMAGE") is True:
            return {**second, **first.header}
    return first.header


def _which_detector(info: Metadata, camera: Camera, detector_id: int | None, name: str) -> Detector:
    if len(camera.detectors) == 1:
        only = next(iter(camera.detectors.values()))
        return only if detector_id is None else camera.detector(detector_id)
    if detector_id is None:
        if info.detector is None:
            raise BadInput(
                f"{name} does not say which of {camera.name}'s {len(camera.detectors)} detectors "
                "it is; map `detector` in the instrument file's header section"
            )
        return camera.detector(info.detector)
    if info.detector is not None and info.detector != int(detector_id):
        raise Rejected(f"{name}: header says detector {info.detector}, expected {detector_id}")
    return camera.detector(detector_id)


def _which_hdu(amplifier: Amplifier, names: dict, hdus: list, camera: Camera, name: str) -> int:
    if isinstance(amplifier.hdu, int):
        k = amplifier.hdu
        if camera.reader == "simple" and k == 0 and hdus[0].header.get("NAXIS") == 0:
            k = 1
        if k < len(hdus):
            return k
    elif amplifier.hdu.upper() in names:
        return names[amplifier.hdu.upper()]
    raise Rejected(
        f"{name}: amplifier {amplifier.name} should be in HDU {amplifier.hdu}, "
        f"the file has {len(hdus)} HDUs"
    )


def _pixels(path: Path, data: bytes, hdus: list, k: int, verify: bool) -> np.ndarray:
    if hdus[k].header.get("ZIMAGE") is not True:
        return cards.image(data, hdus[k], path.name, verify=verify)
    import fitsio

    try:
        with fitsio.FITS(str(path)) as handle:
            pixels = handle[k].read()
    except OSError as error:
        raise Rejected(f"{path.name}: HDU {k} cannot be unpacked ({error})") from None
    return pixels if pixels.dtype == np.uint16 else pixels.astype(np.float32)


def _check_size(amplifier: Amplifier, pixels: np.ndarray, name: str) -> None:
    ny, nx = pixels.shape
    for section in (amplifier.data, amplifier.bias):
        if section is not None and (section.x1 > nx or section.y1 > ny):
            raise Rejected(
                f"{name}: amplifier {amplifier.name} has {nx} x {ny} px, the instrument file "
                f"expects at least {section.x1} x {section.y1}"
            )
