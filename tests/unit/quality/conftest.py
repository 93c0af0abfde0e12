"""A night of tiny products whose figures are known because they are written down here."""

import io
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

from alertprod.core import fits, tables
from alertprod.core.exposure import Exposure
from alertprod.core.products import columns

NIGHT = 20260101
AVRO = {
    "type": "record",
    "name": "alert",
    "fields": [{"name": "diaSourceId", "type": "long"}]
    + [
        {"name": f"cutout{name}", "type": ["null", "bytes"]}
        for name in ("Difference", "Science", "Template")
    ],
}


def full(product, **given):
    """Return a table with the given columns and zeros in all others that may not be null."""
    rows = len(next(iter(given.values()))) if given else 0
    table = {k: np.asarray(v) for k, v in given.items()}
    for name, entry in columns(product).items():
        if name not in table and not entry.get("nullable"):
            table[name] = np.zeros(rows, dtype=tables.DTYPES[entry["type"]])
    return table


def stamp(value):
    """Return the bytes of a FITS image with one bright pixel."""
    from astropy.io import fits as pyfits

    image = np.zeros((9, 9), dtype=np.float32)
    image[4, 4] = value
    buffer = io.BytesIO()
    pyfits.HDUList([pyfits.PrimaryHDU(image)]).writeto(buffer)
    return buffer.getvalue()


class Night:
    """Writes the products of visits with two detectors."""

    full = staticmethod(full)

    def __init__(self, root: Path, config: dict) -> None:
        self.root, self.config = root, config
        self.camera = SimpleNamespace(pixel_scale=0.5)

    def folder(self, visit, detector=None):
        """Return the directory of a visit, or of one of its detectors."""
        path = self.root / str(NIGHT) / str(visit)
        return path if detector is None else path / f"{detector:03d}"

    def detector(self, visit, number, *, rejected=None, reason="", band="r", **meta):
        """Write the products of a detector; those from `rejected` on are rejected."""
        folder, pixels = self.folder(visit, number), np.ones((4, 4))
        circumstances = {"BAND": band, "MJDMID": 61041.1, "SEEING": 3.0, "ZEROPNT": 27.0} | meta
        exposure = Exposure(pixels, 0 * pixels, pixels, circumstances)
        gone = False
        for name in ("calexp", "stars", "template", "difference", "dia_sources"):
            gone = gone or name == rejected
            table = name in ("stars", "dia_sources")
            path = folder / f"{name}.{'parquet' if table else 'fits'}"
            if table and gone:
                tables.write_rejected_table(path, reason, name)
            elif table:
                tables.write_table(path, getattr(self, name)(visit, number), name)
            elif gone:
                fits.write_rejected_image(path, reason)
            else:
                fits.write_exposure(path, exposure)

    def stars(self, visit, number):
        """Return five stars, four of them good, at -20, -10, +10 and +20 mmag."""
        offsets = 10 ** (-0.4 * np.array([-0.02, -0.01, 0.01, 0.02, 3.0]))
        used = np.array([True] * 4 + [False])
        flux = np.full(5, 1e5)
        return full("stars", psfFlux=flux * offsets, refFlux=flux, isPhotometryStar=used)

    def dia_sources(self, visit, number):
        """Return six detections of all kinds."""
        flags = np.array([False, False, False, True, False, False])
        return full(
            "dia_sources",
            isNegative=np.array([False, False, True, False, False, True]),
            isDipole=np.array([False, False, False, False, True, False]),
            reliability=np.array([0.95, 0.05, 0.5, 0.99, np.nan, 0.02]),
            trailLength=np.array([np.nan, 4.0, np.nan, np.nan, np.nan, np.nan]),
            pixelFlags_bad=flags,
        )

    def fold(self, visit, snr, ledger):
        """Write association, forced photometry and alerts of detector 0."""
        folder, count = self.folder(visit), len(snr)
        ids = visit % 100_000 * 100 + np.arange(count)
        association = full(
            "association",
            diaSourceId=ids,
            diaObjectId=1 + np.arange(count),
            visit=np.full(count, visit),
            snr=np.asarray(snr, dtype=np.float32),
            psfFlux=np.asarray(snr, dtype=np.float32),
            band=np.full(count, "r", dtype=object),
            reliability=np.ones(count),
        )
        facts = {"ledger": ledger}
        tables.write_table(folder / "association.parquet", association, "association", None, facts)
        tables.write_table(folder / "forced.parquet", {}, "forced", None, {"ledger": []})
        self.alerts(folder / "alerts", ids)

    def alerts(self, folder, ids):
        """Write one container of alerts."""
        import fastavro

        folder.mkdir(parents=True, exist_ok=True)
        records = [
            {
                "diaSourceId": int(number),
                "cutoutDifference": stamp(3.0),
                "cutoutScience": stamp(5.0),
                "cutoutTemplate": stamp(2.0),
            }
            for number in ids
        ]
        with open(folder / "000.avro", "wb") as handle:
            fastavro.writer(handle, fastavro.parse_schema(AVRO), records)

    def inputs(self, visit):
        """Return the file arguments of `measure_visit`."""
        folders = sorted(p for p in self.folder(visit).iterdir() if p.name.isdigit())

        def of(name):
            return [str(folder / name) for folder in folders]

        return {
            "calexp": of("calexp.fits"),
            "stars": of("stars.parquet"),
            "template": of("template.fits"),
            "difference": of("difference.fits"),
            "dia_sources": of("dia_sources.parquet"),
            "predicted": [],
            "association": str(self.folder(visit) / "association.parquet"),
            "forced": str(self.folder(visit) / "forced.parquet"),
            "alerts": str(self.folder(visit) / "alerts"),
            "camera": self.camera,
            "visit": {
                "visit": str(visit),
                "night": str(NIGHT),
                "band": "r",
                "midpoint_mjd_tai": f"{61041.1 + visit % 100_000 / 100:.6f}",
            },
            "config": self.config,
        }


@pytest.fixture(scope="session")
def config(root):
    """Section ``quality`` of the default configuration."""
    with open(root / "config" / "default.yaml", encoding="utf-8") as handle:
        return yaml.safe_load(handle)["quality"]


@pytest.fixture
def night(tmp_path, config):
    """An empty night."""
    return Night(tmp_path, config)
