"""Measure the prediction of a large orbit catalogue.

    python benchmarks/ephemerides.py [--orbits 1500000] [--visits 400]

Prints CPU seconds of the two-body screen, of the whole night with and without N-body, and of one
visit; memory; and how far two-body motion from the night's states is from N-body.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts"))

from alertprod.core import observer, orbits, tables
from alertprod.core.catalog import read_orbits
from alertprod.core.defaults import complete
from alertprod.ephemerides import night, predict_night, predict_visit

EPOCH = 61000.0
BASE = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def write_mpcorb(path, count, seed=1):
    """A catalogue of main-belt orbits in MPCORB's columns."""
    rng = np.random.default_rng(seed)
    a = rng.uniform(2.1, 3.3, count)
    e = np.minimum(rng.rayleigh(0.1, count), 0.6)
    incl = rng.rayleigh(8, count)
    angle = rng.uniform(0, 360, (3, count))
    with open(path, "w", encoding="ascii") as out:
        out.write("ORBITS\n" + "-" * 160 + "\n")
        for k in range(count):
            name = f"{BASE[k // 10000]}{k % 10000:04d}" if k < 620000 else _extended(k)
            out.write(
                f"{name:<7} 18.00  0.15 K25BL {angle[0, k]:9.5f}  {angle[1, k]:9.5f}  "
                f"{angle[2, k]:9.5f}  {incl[k]:9.5f}  {e[k]:9.7f} {0.2:11.8f} {a[k]:11.7f}"
                f"{'':91}\n"
            )


def _extended(k):
    k -= 620000
    text = ""
    for _ in range(4):
        k, digit = divmod(k, 62)
        text = BASE[digit] + text
    return "~" + text


def pointings(count):
    """A night of visits in forty fields along the ecliptic."""
    sun = -observer.earth_state(EPOCH)[0][0] + observer.sun_state(EPOCH)[0][0]
    ra, _ = orbits.directions(-sun[None])
    return [
        {"visit": k, "midpoint_mjd_tai": EPOCH + 0.4 * k / count, "band": "r", "obscode": "X05",
         "ra": float(ra[0] - 30 + 6 * (k % 10)) % 360, "dec": float(4.0 * (k // 10 % 4) - 6.0),
         "radius": 1.75}
        for k in range(count)
    ]  # fmt: skip


def timed(function, *args, **named):
    """CPU seconds and result."""
    start = time.process_time()
    result = function(*args, **named)
    return time.process_time() - start, result


def main():
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--orbits", type=int, default=1_500_000)
    parser.add_argument("--visits", type=int, default=400)
    parser.add_argument("--nbody", action="store_true")
    options = parser.parse_args()
    visits = pointings(options.visits)
    figures: dict = {"orbits": options.orbits, "visits": options.visits}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "MPCORB.DAT"
        write_mpcorb(path, options.orbits)
        figures["read_s"], catalogue = timed(read_orbits, path)
        warm = {k: (v[:50] if isinstance(v, np.ndarray) else v) for k, v in catalogue.items()}
        orbits.elements_to_states(warm["elements"], warm["epoch"])
        figures["states_s"], states = timed(
            orbits.elements_to_states, catalogue["elements"], catalogue["epoch"]
        )
        zero = np.zeros(len(states))
        settings = night.with_camera(complete({}, "ephemerides"), None)
        looks = night._pointings(visits, settings)
        night.screen(states[:50], catalogue["epoch"][:50], zero[:50], looks, settings)
        figures["screen_s"], near = timed(
            night.screen, states, catalogue["epoch"], zero, looks, settings
        )
        figures["near"] = int(near.sum())
        kinds = ["kepler", "nbody"] if options.nbody else ["kepler"]
        for kind in kinds:
            figures[f"night_{kind}_s"], table = timed(
                predict_night, path, None, visits, config={"dynamics": kind}
            )
        predict_visit(table, visits[0], config={})
        seconds = [timed(predict_visit, table, v, config={}) for v in visits[1:21]]
        figures["visit_ms"] = 1e3 * float(np.mean([s for s, _ in seconds]))
        figures["in_a_visit"] = float(np.mean([tables.n_rows(t) for _, t in seconds]))
    figures["memory_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
