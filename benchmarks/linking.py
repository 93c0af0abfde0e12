"""Measure tracklets, linking and orbits on simulated skies, beside heliolinx where it runs.

    python benchmarks/linking.py [--seeds 1 2 3] [--density 1 4] [--cadence sorcha] [--orbits]
                                 [--missed] [--peer [PYTHON]]

The cadence is a regular one (`moving_sky.py`), or that of visits that Rubin plans (`rubin_sky.py`;
they come with sorcha). Prints one line per sky: CPU seconds of each step, completeness by class,
purity, peak memory, and what the newest night costs when it is linked onto the linkages of the
night before; with several densities the exponent with which CPU seconds grow, from their means over
the seeds. `--missed` tells of each object that was not found and each linkage that is not pure.
`--peer` runs heliolinx (`peer_heliolinx.py`) on the same skies, by another Python if one is named:
its wheel wants numpy below 2.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "scripts")]

import missed  # noqa: E402
import moving_sky  # noqa: E402
import populations  # noqa: E402
import rubin_sky  # noqa: E402

from alertprod.core import kepler, nbody, observer, orbits  # noqa: E402
from alertprod.core.orbits import COVARIANCE, STATE, UPPER  # noqa: E402
from alertprod.daymops import fit_orbits, link_tracklets, make_tracklets  # noqa: E402


def measure(sky, with_orbits=False, with_increment=False, with_missed=False):
    """Run the chain on a sky; a dict of figures."""
    figures: dict = {"detections": len(sky.truth), "false": float(np.mean(sky.truth < 0))}
    figures |= {"visits": len(sky.visits["night"]), "nights": len(set(sky.visits["night"]))}
    figures["false_by_kind"] = {
        name: float(np.mean(sky.origin[sky.truth < 0] == k))
        for k, name in enumerate(moving_sky.FALSE)
    }
    figures["population"] = {
        name: int(np.sum(sky.kind == k)) for k, name in enumerate(moving_sky.CLASSES)
    }
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
    # pairs of the same field within a few minutes are no tracklets
    figures["findable_with_close_pairs"] = len(moving_sky.findable(sky, minutes=(0.0, 90.0)))
    figures["memory_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    if with_increment:
        figures |= measure_increment(sky, linkages, tracklets, wanted)
        whole = figures["tracklets_s"] + figures["linking_s"]
        figures["increment_ratio"] = figures["increment_s"] / whole
        figures["increment_linking_ratio"] = figures["increment_linking_s"] / figures["linking_s"]
    if with_orbits:
        figures |= measure_orbits(sky, linkages, tracklets)
    if with_missed:
        lost = {int(k) for k in wanted} - result["found"]
        figures["missed"] = missed.objects(sky, linkages, tracklets, lost)
        figures["mixed"] = missed.mixed(sky, linkages)
    return figures


def groups(linkages):
    """Sets of detections of the linkages."""
    order = np.argsort(linkages["linkageId"], kind="stable")
    _, start = np.unique(linkages["linkageId"][order], return_index=True)
    return {frozenset(g.tolist()) for g in np.split(linkages["diaSourceId"][order], start[1:])}


def measure_increment(sky, linkages, tracklets, wanted):
    """The newest night, its tracklets linked onto the linkages of the night before."""
    yesterday = link_tracklets(tracklets[:-1], config={})
    newest = list(moving_sky.by_visit(sky).values())[-1]
    start = time.process_time()
    newest = make_tracklets(newest, config={})
    paired = time.process_time()
    today = link_tracklets([*tracklets[:-1], newest], linkages=yesterday, config={})
    seconds = time.process_time() - start
    full, again = groups(linkages), groups(today)
    result = moving_sky.score(today["linkageId"], today["diaSourceId"], sky, wanted)
    return {
        "increment_s": seconds, "increment_linking_s": seconds - (paired - start),
        "increment_same": len(full & again) / max(len(full), 1),
        "increment_differ": len(full ^ again), "increment_pure": result["pure"],
        "increment_complete": result["complete"],
    }  # fmt: skip


def measure_night(seed=1, false=9.8):
    """CPU seconds of the tracklets of one night of some 100,000 detections, and their number."""
    sky = moving_sky.simulate(seed, nights=1, lost=(), false=false)
    (tables,) = moving_sky.by_visit(sky).values()
    start = time.process_time()
    make_tracklets(tables, config={})
    return {"detections": len(sky.truth), "tracklets_s": time.process_time() - start}


def peer(sky, python=sys.executable):
    """Figures of heliolinx on the same sky; None if the Python given cannot import it."""
    with tempfile.TemporaryDirectory() as folder:
        given, taken = Path(folder, "in.npz"), Path(folder, "out.npz")
        check = [python, "-c", "import heliolinx.heliolinx"]
        if subprocess.run(check, check=False, capture_output=True).returncode:
            return None
        order = _write_for_peer(sky, given)
        script = str(HERE / "peer_heliolinx.py")
        subprocess.run([python, script, str(given), str(taken)], check=True, capture_output=True)
        found = dict(np.load(taken))
    names = sky.detections["diaSourceId"][order][found["detection"]]
    result = moving_sky.score(found["link"], names, sky, moving_sky.findable(sky))
    figures = {k: result[k] for k in ("linkages", "pure", "complete", "by_class")}
    steps = dict(zip(("tracklets_s", "heliolinc_s", "planarity_s"), found["seconds"], strict=True))
    return {**steps, "total_s": float(found["seconds"].sum()), **figures}


def _write_for_peer(sky, path):
    """Detections in order of time, visits, stations and the Earth, as peer_heliolinx wants them."""
    det = sky.detections
    order = np.lexsort((det["diaSourceId"], det["midpointMjdTai"]))
    times, image = np.unique(det["midpointMjdTai"], return_inverse=True)
    utc = 37.0 / 86400.0
    unit = moving_sky.directions(det["ra"], det["dec"])
    x, y, z = np.array([unit[image == k].mean(axis=0) for k in range(len(times))]).T
    ra, dec = np.rad2deg(np.arctan2(y, x)) % 360.0, np.rad2deg(np.arctan2(z, np.hypot(x, y)))
    days = np.arange(np.floor(times[0]) - 10.0, times[-1] + 10.0)
    np.savez(
        path, mjd=det["midpointMjdTai"][order] - utc, ra=det["ra"][order], dec=det["dec"][order],
        mag=np.full(len(order), 22.0), image=image[order], imageMjd=times - utc, imageRa=ra,
        imageDec=dec, station=_ecliptic_states(times, moving_sky._observers),
        earth=np.c_[days, _ecliptic_states(days, _earth)],
    )  # fmt: skip
    return order


def _earth(times):
    """As `moving_sky._observers`, for the centre of the Earth."""
    tdb = observer.tai_to_tdb(times)
    return observer.earth_state(tdb)[0], observer.sun_state(tdb)[0], tdb


def _ecliptic_states(times, places):
    """Heliocentric ecliptic states [km, km/s], speeds by differences over two minutes."""
    step = 60.0 / 86400.0
    before, here, after = (
        np.subtract(*places(times + dt)[:2]) * observer.AU_KM for dt in (-step, 0.0, step)
    )
    states = np.stack([here, (after - before) / 120.0])
    c, s = math.cos(populations.OBLIQUITY), math.sin(populations.OBLIQUITY)
    turn = np.array([[1, 0, 0], [0, c, s], [0, -s, c]])
    return np.concatenate(list(states @ turn.T), axis=1)


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
    kind, arc = sky.kind[of[keep]], found["arc"][keep]
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
        "a_within_1pct_arc_12d": {
            name: float(near[long].mean())
            for k, name in enumerate(moving_sky.CLASSES)
            if np.any(long := (kind == k) & (arc >= 12.0))
        },
        "arc_12d": float(np.mean(arc[kind == 0] >= 12.0)),
        "rms_over_expected": float(np.sqrt(np.mean((found["rms"][keep] / expected) ** 2))),
        "mahalanobis_median": float(np.median(pull)),  # 5.35 when the covariance is right
    }  # fmt: skip


def warm():
    """Compile before timing."""
    sky = moving_sky.simulate(9, nights=8, half=(1.5, 1.5), counts={"main": 300}, lost=())
    measure(sky, with_orbits=True, with_increment=True)
    kepler.propagate(np.ones((1, 6)), np.ones(1))


def arguments():
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--density", type=float, nargs="+", default=[1.0])
    parser.add_argument("--cadence", choices=("regular", "sorcha"), default="regular")
    parser.add_argument("--half", type=float, nargs=2, default=[10.0, 5.0], help="regular")
    parser.add_argument("--radius", type=float, default=9.0, help="of the region, sorcha")
    parser.add_argument("--orbits", action="store_true")
    parser.add_argument("--missed", action="store_true", help="describe what was not found")
    parser.add_argument("--peer", nargs="?", const=sys.executable, help="Python for heliolinx")
    return parser.parse_args()


def main():
    """Print the figures of all skies."""
    options = arguments()
    warm()
    print(json.dumps({"one night": measure_night()}), flush=True)
    means = []
    for density in options.density:
        spent = []
        for seed in options.seeds:
            if options.cadence == "sorcha":
                sky = rubin_sky.simulate(seed, density, options.radius)
            else:
                sky = moving_sky.simulate(seed, density, half=tuple(options.half))
            newest = density == options.density[0]
            figures = measure(sky, options.orbits, newest, options.missed)
            figures = {"seed": seed, "density": density, **figures}
            for name in ("missed", "mixed"):
                for one in figures.pop(name, []):
                    print(json.dumps({name: one}), flush=True)
            print(json.dumps(figures, default=str), flush=True)
            spent.append(figures["tracklets_s"] + figures["linking_s"])
            if options.peer:
                beside = peer(sky, options.peer) or "cannot be imported: left out"
                print(json.dumps({"heliolinx": beside, "seed": seed}, default=str), flush=True)
        means.append((density, float(np.mean(spent))))
    if len(means) > 1:
        (d0, t0), (d1, t1) = means[0], means[-1]
        print(f"growth exponent with density: {math.log(t1 / t0) / math.log(d1 / d0):.2f}")


if __name__ == "__main__":
    main()
