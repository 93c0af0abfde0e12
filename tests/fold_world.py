"""A tiny survey for tests of the fold: ten sources, one detector, visits an hour apart."""

import shutil
from pathlib import Path

import numpy as np
import yaml

from alertprod.alerts import package_alerts
from alertprod.alerts.visit import Images
from alertprod.associate import associate_visit, reassign_sources
from alertprod.core.exposure import Exposure
from alertprod.core.files import file_digest
from alertprod.core.ids import source_ids, visit_parts
from alertprod.core.products import columns
from alertprod.core.psf import Psf
from alertprod.core.tables import conform, read_table, write_rejected_table, write_table
from alertprod.core.wcs import Wcs

ROOT = Path(__file__).parents[1]
FIRST = 61000.25
SCALE = 0.2 / 3600.0
SIZE = 96
NIGHT = 20251121
SKY = np.array(
    [(20, 20), (48, 24), (75, 18), (30, 45), (60, 50), (80, 70), (15, 75), (45, 78), (62, 80)],
    dtype=float,
)


def settings(section: str) -> dict:
    """Return a section of the default configuration."""
    text = (ROOT / "config" / "default.yaml").read_text()
    return yaml.safe_load(text)[section]


def visit_number(index: int) -> int:
    return NIGHT * 100_000 + 100 + index


def midpoint(index: int) -> float:
    return FIRST + index / 24.0


def wcs() -> Wcs:
    return Wcs(
        np.array([53.0, -28.0]),
        np.array([47.5, 47.5]),
        np.array([[-SCALE, 0.0], [0.0, SCALE]]),
    )


def gaussian(side: int = 21, sigma: float = 2.0) -> np.ndarray:
    y, x = np.mgrid[:side, :side] - side // 2
    image = np.exp(-0.5 * (x * x + y * y) / sigma**2)
    return image / image.sum()


def sources(visit: int, time: float, x, y, flux, *, detector: int = 0, **more) -> dict:
    """Return a table dia_sources; `more` overrides columns."""
    x, y, flux = (np.asarray(a, dtype=float) for a in (x, y, flux))
    count = len(x)
    ra, dec = wcs().pix_to_sky(x, y)
    error = np.full(count, 0.03 / 3600.0)
    table = {
        "diaSourceId": source_ids(visit, detector, count),
        "visit": np.full(count, visit),
        "detector": np.full(count, detector),
        "midpointMjdTai": np.full(count, time),
        "exposureTime": np.full(count, 30.0),
        "band": np.array(["r"] * count, dtype=object),
        "ra": ra,
        "dec": dec,
        "raErr": error / np.cos(np.radians(dec)),
        "decErr": error,
        "ra_dec_Cov": np.zeros(count),
        "x": x,
        "y": y,
        "psfFlux": flux,
        "psfFluxErr": np.full(count, 100.0),
        "scienceFlux": np.abs(flux) + 500.0,
        "scienceFluxErr": np.full(count, 120.0),
        "isNegative": flux < 0,
        "snr": np.abs(flux) / 100.0,
        "bboxSize": np.full(count, 12),
        "timeProcessedMjdTai": np.full(count, time),
        **{name: np.asarray(value) for name, value in more.items()},
    }
    for name, entry in columns("dia_sources").items():
        if name not in table and not entry.get("nullable"):
            table[name] = np.zeros(count)
    return conform(table, "dia_sources")


class World:
    """Results directory, database and the calls that a workflow would make."""

    def __init__(self, root: Path, database: str | None = None, blank: Path | None = None) -> None:
        self.root = root
        self.database = database or str(root / "db" / "apdb.sqlite")
        if blank is not None:
            Path(self.database).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(blank, self.database)
        self.options = {"associate": settings("associate"), "alerts": settings("alerts")}
        self.options["alerts"]["forced_detections"] = 1
        self.planned = None
        self.code = "code"

    def path(self, index: int, name: str) -> Path:
        return self.root / f"{NIGHT}/{visit_number(index)}" / name

    def observe(self, index: int, keep=slice(None), *, shift=0.0, detector: int = 0) -> None:
        """Write the detections of a visit: the sky, a little brighter each time."""
        sky = SKY[keep]
        flux = 2000.0 + 100.0 * np.arange(len(sky)) + 50.0 * index
        jitter = 0.1 * np.sin(np.arange(len(sky)) + index) + shift
        x, y = sky[:, 0] + jitter, sky[:, 1] - jitter
        table = sources(visit_number(index), midpoint(index), x, y, flux, detector=detector)
        write_table(self.path(index, f"{detector:03d}/dia_sources.parquet"), table, "dia_sources")

    def reject(self, index: int, reason: str, detector: int = 0) -> None:
        path = self.path(index, f"{detector:03d}/dia_sources.parquet")
        write_rejected_table(path, reason, "dia_sources")

    def visit(self, index: int) -> dict:
        return {
            "visit": visit_number(index),
            "night": visit_parts(visit_number(index))[0],
            "midpoint_mjd_tai": midpoint(index),
            "instrument": "simcam",
        }

    def context(self, parent: Path | None, inputs: list[Path]) -> dict:
        return {
            "database": self.database,
            "root": str(self.root),
            "parent_file": None if parent is None else parent.relative_to(self.root).as_posix(),
            "inputs": {
                path.relative_to(self.root).as_posix(): file_digest(path) for path in inputs
            },
            "code": self.code,
            "planned": self.planned,
        }

    def reassign(self, index: int, moves: dict[int, int]) -> dict:
        """Give sources to solar-system objects after a visit, and write what moved."""
        attributed = self.path(index, "attributed.parquet")
        count = len(moves)
        zeros = {name: np.zeros(count) for name in columns("attributed")}
        text = {name: np.full(count, "A", dtype=object) for name in ("designation", "how", "band")}
        ids = {"diaSourceId": np.array(list(moves)), "ssObjectId": np.array(list(moves.values()))}
        table = conform({**zeros, **text, **ids}, "attributed")
        write_table(attributed, table, "attributed")
        moved, facts = reassign_sources(
            table,
            visit=self.visit(index),
            fold_context=self.context(self.path(index, "forced.parquet"), [attributed]),
            config=self.options["associate"],
        )
        write_table(self.path(index, "reassigned.parquet"), moved, "reassigned", None, facts)
        return moved

    def associate(self, index: int, previous: int | Path | None, predicted=None) -> dict:
        """Run and write one association; `previous` is a visit or a product of the fold."""
        inputs = sorted(self.path(index, "").glob("*/dia_sources.parquet"))
        parent = previous
        if isinstance(previous, int):
            parent = self.path(previous, "forced.parquet")
        table, facts = associate_visit(
            inputs,
            predicted,
            visit=self.visit(index),
            fold_context=self.context(parent, inputs),
            config=self.options["associate"],
        )
        write_table(self.path(index, "association.parquet"), table, "association", None, facts)
        return table

    def package(self, index: int, images: dict | None = None) -> dict:
        """Run and write forced photometry and alerts."""
        parent = self.path(index, "association.parquet")
        table, facts = package_alerts(
            read_table(parent),
            self.images(index) if images is None else images,
            str(self.path(index, "alerts")),
            visit=self.visit(index),
            fold_context=self.context(parent, [parent]),
            config=self.options["alerts"],
        )
        write_table(self.path(index, "forced.parquet"), table, "forced", None, facts)
        return table

    def images(self, index: int, detector: int = 0) -> dict:
        """Return images with the sources of the visit in them."""
        rng = np.random.default_rng([7, index, detector])
        table = read_table(self.path(index, f"{detector:03d}/dia_sources.parquet"))
        meta = {
            "VISIT": visit_number(index),
            "DETECTOR": detector,
            "MJDMID": midpoint(index),
            "BAND": "r",
            "BUNIT": "nJy",
            "ROTPA": 12.5,
        }
        psf = Psf.constant(gaussian(), (SIZE, SIZE))
        noise = rng.normal(0.0, 10.0, (SIZE, SIZE))
        signal = np.zeros((SIZE, SIZE))
        yy, xx = np.mgrid[:SIZE, :SIZE]
        for x, y, flux in zip(table["x"], table["y"], table["psfFlux"], strict=True):
            signal += flux * np.exp(-((xx - x) ** 2 + (yy - y) ** 2) / 8.0) / (8.0 * np.pi)
        made = {}
        for name, pixels in (
            ("difference", signal + noise),
            ("calexp", signal + noise + 3.0),
            ("template", np.full((SIZE, SIZE), 3.0)),
        ):
            mask, variance = np.zeros((SIZE, SIZE)), np.full((SIZE, SIZE), 100.0)
            made[name] = Exposure(pixels, mask, variance, meta, wcs=wcs(), psf=psf)
        return {detector: Images(**made)}

    def run(self, visits, *, package: bool = True, images: dict | None = None) -> None:
        """Run the fold over visits in order."""
        previous = None
        for index in visits:
            self.associate(index, previous)
            if package:
                self.package(index, images)
            previous = index


def dump(database: str) -> dict[str, list]:
    """Return all rows of all tables, sorted, for comparison."""
    from alertprod.core.apdb.connection import Database

    result = {}
    with Database(database) as connection:
        for table in sorted(connection.tables()):
            rows = connection.execute(f'SELECT * FROM "{table}"')
            result[table] = sorted(rows, key=repr)
    return result
