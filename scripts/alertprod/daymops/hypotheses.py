"""The grid of heliocentric range and range rate on which tracklets are tried.

A wrong range by dr displaces a tracklet at the reference epoch by about dr times the angle that
phase and sky motion sweep in half a window, while the clustering radius grows with the geocentric
distance: so the steps grow in proportion to the distance beyond the Earth's orbit. A wrong range
rate is nearly harmless (its two effects cancel), so a few values suffice; they reach out to the
rates of eccentric orbits, because objects seen at one end of the window are far from the reference
epoch. The fit that follows converges from hypotheses that are wrong by an astronomical unit.
"""

from __future__ import annotations

import numpy as np

from alertprod.core.kepler import GM_SUN

NEAREST = 0.9  # au: steps in range grow with the distance from here
# (first range, last range [au], relative step in range beyond the Earth, range rates as fractions
# of the circular speed; near the Earth most are slow, and there clusters are narrow)
ZONES = {
    "near": (1.02, 1.45, 0.19, (-0.6, -0.3, -0.1, 0.0, 0.1, 0.3, 0.6)),
    "main": (1.45, 4.4, 0.15, (-0.6, -0.35, -0.15, 0.0, 0.15, 0.35, 0.6)),
    "outer": (4.4, 12.0, 0.09, (-0.1, 0.1)),
    "distant": (12.0, 80.0, 0.16, (0.0,)),
}


def rings(zones=None) -> list[np.ndarray]:
    """Hypotheses (n, 2) in the order in which to try them, in groups.

    Each is a heliocentric range [au] and range rate [au/day] at the reference epoch.

    Parameters
    ----------
    zones : list of str or None
        Names in `ZONES`; None for all.
    """
    out: dict[tuple, list] = {}
    for name in zones or ZONES:
        first, last, step, rates = ZONES[name]
        count = max(1, int(np.ceil(np.log((last - NEAREST) / (first - NEAREST)) / np.log1p(step))))
        edges = NEAREST + (first - NEAREST) * ((last - NEAREST) / (first - NEAREST)) ** (
            np.arange(count + 1) / count
        )
        for r in 0.5 * (edges[1:] + edges[:-1]):
            speed = np.sqrt(GM_SUN / r)
            for rate in rates:
                out.setdefault((name == "near", abs(rate)), []).append((-r, rate * speed))
    # far and nearly circular first: most objects are found and out of the way when it comes to the
    # others, and to the ranges near the Earth in which strangers are most
    return [np.array([(-r, rdot) for r, rdot in sorted(out[key])]) for key in sorted(out)]
