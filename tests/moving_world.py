"""Nights with found objects as DayMOPS would leave them, made of nothing but tables.

Each object moves along a straight line on the sky, and is seen by two visits a night.
"""

from datetime import date, timedelta
from pathlib import Path

import numpy as np

from alertprod.core import designations, ephemeris, ids, orbits, tables
from alertprod.daymops import fit, report_discoveries

FIRST = date(2026, 10, 9)
STATE = np.array([2.0, 1.5, 0.5, -0.006, 0.007, 0.002])


def night_of(index):
    return int(f"{FIRST + timedelta(days=index):%Y%m%d}")


SIGNED = {key: ["T. Tester"] for key in ("observers", "measurers")} | {"submitter": "T. Tester"}


class World:
    """A results directory with the nights' files of DayMOPS."""

    def __init__(self, root):
        self.root = Path(root)
        self.orbits = {}  # night index -> cumulative table
        self.owner = {}  # unusual trkSub -> object
        self.shift = {}  # night index -> counter added to its sources' identifiers

    @property
    def database(self):
        return self.root / "db" / "moving_objects.sqlite"

    @property
    def ledger(self):
        return self.root / "mpc"

    def write(self, index, new=(), seen=None, names=None):
        """Write a night.

        Parameters
        ----------
        index : int
        new : sequence of int
            Objects found tonight; the two nights before and this one hold their sources.
        seen : dict
            Object found earlier -> nights whose sources it gets tonight.
        names : dict
            Object -> trkSub, where it is not the usual one.
        """
        seen = dict(seen or {})
        self.owner |= {name: number for number, name in (names or {}).items()}
        before = self.orbits.get(index - 1, tables.empty("orbits"))
        before["status"] = np.full(len(before["H"]), "kept", dtype=object)
        fresh = self._orbits(index, new, names or {})
        found = tables.stack([before, fresh]) if len(new) else before
        named = {self.owner.get(n, int(n[-2:])): n for n in found["designation"]}
        for number in seen:
            row = found["designation"].tolist().index(named[number])
            found["fitNight"][row], found["nObs"][row] = night_of(index), 8
            found["status"][row] = "updated"
        self.orbits[index] = {name: column.copy() for name, column in found.items()}
        nights = {**dict.fromkeys(new, (index - 2, index - 1, index)), **seen}
        attributed = self._attributed(nights, named)
        folder = self.root / str(night_of(index))
        tables.write_table(folder / "orbits.parquet", found, "orbits")
        tables.write_table(folder / "attributed.parquet", attributed, "attributed")
        tracklets = self._tracklets(index, sorted(named))
        tables.write_table(folder / "tracklets.parquet", tracklets, "tracklets")
        report = report_discoveries(found, attributed, config=SIGNED)
        (folder / "discoveries.psv").write_text(report)

    def source(self, number, night, visit):
        """One source of an object: what all tables say of it."""
        time = 61322.1 + night + 0.02 * visit
        number_of_visit = night_of(night) * 100_000 + 1 + visit
        identifier = ids.source_ids(number_of_visit, 1, 40)[number + self.shift.get(night, 0)]
        return {
            "diaSourceId": int(identifier), "visit": number_of_visit, "detector": 1,
            "midpointMjdTai": time, "ra": (10.0 * number + 0.2 * (night + 0.02 * visit)) % 360.0,
            "dec": 5.0 + number, "raErr": 3e-5, "decErr": 3e-5,
            "mag": np.nan if number == 3 else 21.5, "magErr": 0.05, "band": "r",
        }  # fmt: skip

    def _orbits(self, index, numbers, names):
        n, night = len(numbers), night_of(index)
        called = [names.get(k, name_of(k)) for k in numbers]
        fixed = {
            "fitNight": night, "discoveryNight": night, "epochMjdTdb": 61322.0, "q": 2.1, "e": 0.1,
            "incl": 4.0, "node": 10.0, "argperi": 20.0, "periTimeMjdTdb": 61000.0, "H": 18.0,
            "HErr": 0.1, "G": 0.15, "nObs": 6, "nNights": 3, "arc": 2.02, "rms": 0.1, "chi2": 12.0,
            "neoScore": 0.5, "digest2": np.nan,
            **dict(zip(("x", "y", "z", "vx", "vy", "vz"), STATE, strict=True)),
        }  # fmt: skip
        words = {"orbitClass": "MBA", "quality": "good", "status": "new"}
        table = {key: np.full(n, value) for key, value in fixed.items()}
        table |= {key: np.full(n, value, dtype=object) for key, value in words.items()}
        first = [self.source(k, index - 2, 0)["diaSourceId"] for k in numbers]
        table |= {
            "designation": np.array(called, dtype=object), "firstDiaSourceId": np.array(first),
            "ssObjectId": np.array([designations.ss_object_id(name) for name in called]),
        }  # fmt: skip
        return tables.conform(table if n else {}, "orbits")

    def _attributed(self, nights, named):
        rows = [
            {**self.source(k, night, visit), "designation": named[k], "how": "linked",
             "ssObjectId": designations.ss_object_id(named[k]), "resRa": 0.01, "resDec": -0.02}
            for k, of in sorted(nights.items()) for night in of for visit in (0, 1)
        ]  # fmt: skip
        return as_table(rows, "attributed")

    def _tracklets(self, index, numbers):
        rows = [
            {**self.source(k, index, visit), "trackletId": night_of(index) * 1000 + k, "nDet": 2,
             "rateRa": 0.2, "rateDec": 0.0, "gcrRms": 0.01}
            for k in numbers for visit in (0, 1)
        ]  # fmt: skip
        return as_table(rows, "tracklets")


def name_of(number):
    """Return the usual trkSub of an object."""
    return f"A4u{number:05d}"


def as_table(rows, product):
    """Return rows as a table of a product."""
    keys = rows[0] if rows else {}
    texts = {"designation", "how", "band"}
    columns = {
        key: np.array([row[key] for row in rows], dtype=object if key in texts else None)
        for key in keys
    }
    return tables.conform(columns, product)


EPOCH = 60000.0


def orbit_seen(days, sigma=0.1, seed=0, element=(2.3, 0.15, 8.0, 150.0, 20.0, 59900.0)):
    """State and observation block of one orbit seen at EPOCH + days."""
    rng = np.random.default_rng(seed)
    state = orbits.elements_to_states(np.array([element]), EPOCH)
    ra, dec = [], []
    for d in days:
        _, topo = ephemeris.topocentric(state, np.array([EPOCH]), EPOCH + d, "X05")
        a, b = orbits.directions(topo)
        ra.append(a[0])
        dec.append(b[0])
    dec = np.array(dec) + rng.normal(0, sigma / 3600, len(days))
    ra = np.array(ra) + rng.normal(0, sigma / 3600, len(days)) / np.cos(np.deg2rad(dec))
    error = np.full(len(days), max(sigma, 0.01) / 3600)
    mjd = EPOCH + np.asarray(days, float)
    block = fit.observation_block(mjd, ra, dec, error / np.cos(np.deg2rad(dec)), error, "X05")
    return state[0], block
