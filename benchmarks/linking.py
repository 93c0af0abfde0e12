"""Measure tracklets, linking and orbits on simulated skies, beside heliolinx where it runs.

    python benchmarks/linking.py [--seeds 1 2 3] [--density 1] [--orbits]

Prints one line per seed: CPU seconds of each step, completeness by class, purity, peak memory; and
the growth exponent when several densities are given. The figures of heliolinx on a set of the same
make (5,300 objects, 244,709 detections, 213 hypotheses): 207 CPU seconds, 839 MB, 99.9 % complete.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import sys
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "scripts")]

import moving_sky  # noqa: E402

from alertprod.core import kepler, nbody, orbits  # noqa: E402
from alertprod.daymops import fit_orbits, link_tracklets, make_tracklets  # noqa: E402
from alertprod.daymops.fitting import COVARIANCE, STATE, UPPER  # noqa: E402


def measure(sky, with_orbits=False):
    """Run the chain on a sky; a dict of figures."""
    figures: dict = {"detections": len(sky.truth), "false": float(np.mean(sky.truth < 0))}
    nights = moving_sky.by_visit(sky)
    start = time.process_time()
    tracklets = [make_tracklets(tables, config={}) for tables in nights.values()]
    figures["tracklets_s"] = time.process_time() - start
    start = time.process_time()
    linkages = link_tracklets(tracklets, config={})
    figures["linking_s"] = time.process_time() - start
    wanted = moving_sky.findable(sky)
    result = moving_sky.score(linkages["linkageId"], linkages["diaSourceId"], sky, wanted)
    figures |= {k: result[k] for k in ("linkages", "pure", "complete", "by_class")}
    figures["findable"] = len(wanted)
    figures["memory_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    if with_orbits:
        figures |= measure_orbits(sky, linkages, tracklets)
    return figures


def measure_orbits(sky, linkages, tracklets):
    """Figures of the orbits of pure linkages."""
    start = time.process_time()
    found, _ = fit_orbits(linkages, [], config={})
    seconds = time.process_time() - start
    owner = dict(zip(sky.detections["diaSourceId"].tolist(), sky.truth.tolist(), strict=True))
    of = np.array([owner[i] for i in found["firstDiaSourceId"].tolist()])
    keep = of >= 0
    epoch = found["epochMjdTdb"][0]
    truth = nbody.propagate(sky.states[of[keep]], np.full(keep.sum(), sky.epoch), epoch)
    elements = orbits.states_to_elements(truth, epoch)
    a_true = elements[:, 0] / (1 - elements[:, 1])
    a = (found["q"] / (1 - found["e"]))[keep]
    kind = sky.kind[of[keep]]
    near = np.abs(a / a_true - 1) < 0.01
    good = found["quality"][keep] == "good"
    states = np.stack([found[c] for c in STATE], axis=-1)[keep]
    cov = np.zeros((keep.sum(), 6, 6))
    for name, (i, j) in zip(COVARIANCE, UPPER, strict=True):
        cov[:, i, j] = cov[:, j, i] = found[name][keep]
    pull = [
        d @ np.linalg.solve(c, d) for d, c in zip((states - truth)[good], cov[good], strict=True)
    ]
    expected = 0.1 * np.sqrt(1 - 3 / found["nObs"][keep])
    return {
        "orbits": int(keep.sum()),
        "orbit_ms": 1e3 * seconds / max(len(of), 1),
        "poor": int(np.sum(found["quality"] == "poor")),
        "a_within_1pct": {
            name: float(near[kind == k].mean())
            for k, name in enumerate(moving_sky.CLASSES) if np.any(kind == k)
        },
        "rms_over_expected": float(np.mean(found["rms"][keep] / expected)),
        "mahalanobis_median": float(np.median(pull)),  # 5.35 when the covariance is right
    }  # fmt: skip


def warm():
    """Compile before timing."""
    measure(moving_sky.simulate(9, nights=8, half=(1.5, 1.5), counts={"main": 300}, lost=()), True)
    kepler.propagate(np.ones((1, 6)), np.ones(1))


def main():
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--density", type=float, nargs="+", default=[1.0])
    parser.add_argument("--half", type=float, nargs=2, default=[10.0, 5.0])
    parser.add_argument("--orbits", action="store_true")
    options = parser.parse_args()
    warm()
    spent = []
    for density in options.density:
        for seed in options.seeds:
            sky = moving_sky.simulate(seed, density, half=tuple(options.half))
            figures = measure(sky, options.orbits)
            print(
                json.dumps({"seed": seed, "density": density, **figures}, default=str), flush=True
            )
            spent.append((density, figures["tracklets_s"] + figures["linking_s"]))
    if len(options.density) > 1:
        (d0, t0), (d1, t1) = spent[0], spent[-1]
        print(f"growth exponent with density: {math.log(t1 / t0) / math.log(d1 / d0):.2f}")


if __name__ == "__main__":
    main()
