"""Link a simulated sky with heliolinx, in a process of its own: any Python that can import it.

    python benchmarks/peer_heliolinx.py IN.npz OUT.npz

IN holds arrays: mjd (UTC), ra, dec, mag, image of the detections in order of time; imageMjd,
imageRa, imageDec and station (heliocentric ecliptic state [km, km/s]) of the visits; earth (n, 7):
MJD TDB and such a state of the Earth for each day. OUT receives link, detection (rows of IN) and
seconds (CPU of tracklets, heliolinc, linkPlanarity).

Options are those that the authors' README recommends. The hypotheses are a grid of our own: the
wheel brings none. Its binding reads arrays rightly with numpy below 2 only.
"""

from __future__ import annotations

import sys
import time

import numpy as np

GM_SUN = 2.9591220828411956e-04


def hypotheses(library):
    """Ranges of the main belt and about it, range rates, accelerations [GM / r^2]: 225."""
    rows = [
        (r, rate * np.sqrt(GM_SUN / r), pull)
        for r in np.geomspace(1.5, 5.4, 15)
        for rate in (-0.35, -0.15, 0.0, 0.15, 0.35)
        for pull in (-0.15, 0.0, 0.15)
    ]
    out = library.create_hlradhyp(len(rows))
    out["HelioRad"], out["R_dot"], out["R_dubdot"] = np.array(rows).T
    return out


def prepare(library, given):
    """Detections, images and the Earth as heliolinx wants them."""
    earth = library.create_EarthState(len(given["earth"]))
    for k, name in enumerate(("MJD", "x", "y", "z", "vx", "vy", "vz")):
        earth[name] = given["earth"][:, k]
    n = len(given["mjd"])
    det = library.create_hldet(n)
    det["MJD"], det["RA"], det["Dec"] = given["mjd"], given["ra"], given["dec"]
    det["mag"], det["image"], det["index"] = given["mag"], given["image"], np.arange(n)
    det["sigmag"] = det["sig_across"] = det["sig_along"] = 0.1
    det["trail_PA"] = 90.0
    det["obscode"], det["band"] = b"X05", b"r"
    det["idstring"] = np.arange(n).astype("S20")
    image = library.create_hlimage(len(given["imageMjd"]))
    image["MJD"], image["RA"], image["Dec"] = (
        given["imageMjd"], given["imageRa"], given["imageDec"],
    )  # fmt: skip
    image["obscode"], image["exptime"] = b"X05", 30.0
    image["startind"] = np.searchsorted(given["image"], np.arange(len(image)))
    image["endind"] = np.searchsorted(given["image"], np.arange(len(image)), side="right")
    # the wheel's own observer_coords gives one number for all three axes
    for k, name in enumerate(("X", "Y", "Z", "VX", "VY", "VZ")):
        image[name] = given["station"][:, k]
    return det, image, earth


def link(library, given):
    """Run the three steps; (link, detection) rows and CPU seconds of each."""
    det, image, earth = prepare(library, given)
    middle = 0.5 * (given["mjd"].min() + given["mjd"].max())
    seconds = []
    config = library.MakeTrackletsConfig()
    config.maxvel, config.minarc, config.maxtime = 1.5, 0.3, 1.5 / 24.0
    start = time.process_time()
    paired, tracklets, of_tracklet = library.makeTracklets(config, det, image)
    seconds.append(time.process_time() - start)
    config = library.HeliolincConfig()
    config.MJDref, config.clustrad = middle, 2e5
    start = time.process_time()
    grid = hypotheses(library)
    clusters, of_cluster = library.heliolinc(
        config, image, paired, tracklets, of_tracklet, grid, earth
    )
    seconds.append(time.process_time() - start)
    config = library.LinkPurifyConfig()
    config.MJDref, config.max_oop, config.maxrms = middle, 1e4, 4e5
    config.max_astrom_rms, config.ptpow = 0.5, -1
    start = time.process_time()
    _, of_link = library.linkPlanarity(config, image, paired, clusters, of_cluster)
    seconds.append(time.process_time() - start)
    return of_link["i1"], paired["index"][of_link["i2"]], seconds


def main():
    """Command line."""
    import heliolinx.heliolinx as library

    given = dict(np.load(sys.argv[1]))
    number, detection, seconds = link(library, given)
    np.savez(sys.argv[2], link=number, detection=detection, seconds=np.array(seconds))


if __name__ == "__main__":
    main()
