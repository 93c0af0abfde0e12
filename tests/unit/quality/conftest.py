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


class FoundNights:
    """Three nights at whose end DayMOPS has found some objects; their orbits are true.

    A detection lies `OFFSET` arcsec from where its object is. What the last night attributed has
    other residuals in the product, `WRITTEN`, so that it shows where a figure comes from.
    """

    NIGHTS = (20261009, 20261010, 20261011)
    STATE = np.array([2.0, 1.5, 0.5, -0.006, 0.007, 0.002])
    OFFSET, WRITTEN = (0.3, -0.2), (0.01, -0.02)
    SITE = "X05"

    def __init__(self, root: Path) -> None:
        self.root = root

    def orbits(self, status, score):
        """Return orbits of one object each."""
        n = len(status)
        text = {"orbitClass": "MBA", "quality": "good"}
        table = full(
            "orbits",
            designation=np.array([f"A1ap{k:04d}" for k in range(n)], dtype=object),
            ssObjectId=100 + np.arange(n), linkageId=500 + np.arange(n),
            status=np.array(status, dtype=object), neoScore=np.array(score),
            epochMjdTdb=np.full(n, 61323.0), q=np.full(n, 2.0), e=np.full(n, 0.1),
            H=np.full(n, 18.0), G=np.full(n, 0.15), nObs=np.full(n, 6),
            **{name: np.full(n, value, dtype=object) for name, value in text.items()},
        )  # fmt: skip
        for k, name in enumerate(("x", "y", "z", "vx", "vy", "vz")):
            table[name] = self.STATE[k] + (k == 0) * 0.01 * np.arange(n)
        return tables.conform(table, "orbits")

    def detections(self, orbits, night):
        """Return two detections of each object in a night."""
        from alertprod.core import ephemeris, nbody, observer
        from alertprod.core.orbits import directions

        state = np.stack([orbits[c] for c in ("x", "y", "z", "vx", "vy", "vz")], axis=-1)
        parts, n = [], tables.n_rows(orbits)
        for sequence, time in enumerate((61322.1, 61322.12)):
            time += self.NIGHTS.index(night)
            tdb = float(observer.tai_to_tdb(time))
            moved = nbody.propagate(state, orbits["epochMjdTdb"], tdb)
            _, topo = ephemeris.topocentric(moved, np.full(n, tdb), time, self.SITE)
            ra, dec = directions(topo[:, :3])
            east, north = np.array(self.OFFSET) / 3600.0
            parts.append(
                {
                    "designation": orbits["designation"], "ssObjectId": orbits["ssObjectId"],
                    "how": np.full(n, "linked", dtype=object),
                    "diaSourceId": night * 1000 + 100 * sequence + np.arange(n),
                    "visit": np.full(n, night * 100_000 + sequence),
                    "detector": np.zeros(n, int), "midpointMjdTai": np.full(n, time),
                    "ra": ra + east / np.cos(np.deg2rad(dec)), "dec": dec + north,
                    "raErr": np.full(n, 3e-5), "decErr": np.full(n, 3e-5),
                    "mag": np.full(n, 21.0), "magErr": np.full(n, 0.1),
                    "band": np.full(n, "gr"[sequence], dtype=object),
                    "resRa": np.full(n, self.WRITTEN[0]), "resDec": np.full(n, self.WRITTEN[1]),
                }
            )  # fmt: skip
        return tables.conform(tables.stack(parts), "attributed")

    def write(self, status=("new", "updated", "new"), score=(5.0, 90.0, 60.0)):
        """Write the files of DayMOPS; return what `show_asteroids` takes as products."""
        orbits = self.orbits(status, score)
        folder = self.root / str(self.NIGHTS[-1])
        paths = {"attributed": []}
        for night in self.NIGHTS:
            path = self.root / str(night) / "attributed.parquet"
            tables.write_table(path, self.detections(orbits, night), "attributed")
            paths["attributed"].append(str(path))
        seen = self.detections(orbits, self.NIGHTS[-1])
        n = len(status)
        track = {"trackletId": np.tile(np.arange(n), 2) + 1}
        shared = {name: seen[name] for name in ("diaSourceId", "visit", "ra", "dec", "band")}
        rates = {"rateRa": np.full(2 * n, 0.1), "rateDec": np.full(2 * n, -0.1)}
        links = {"linkageId": np.tile(orbits["linkageId"], 2)}
        products = {
            "tracklets": full("tracklets", **track, **shared, **rates),
            "linkages": full("linkages", **links, **track, **shared),
            "sightings": tables.empty("sightings"),
            "orbits": orbits,
        }
        for name, table in products.items():
            paths[name] = str(folder / f"{name}.parquet")
            tables.write_table(paths[name], table, name)
        return paths


@pytest.fixture
def found(tmp_path):
    """A results directory for nights with found objects."""
    return FoundNights(tmp_path)
