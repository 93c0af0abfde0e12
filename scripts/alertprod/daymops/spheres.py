"""Tracklets to heliocentric states at one epoch, under a hypothesis of range and range rate.

The line of sight of each detection meets the sphere r(t) in a point (two, when the sphere lies
inside the observer's): a tracklet becomes a position and a velocity. The second derivative of r is
not a third dimension of the grid: it follows from the tracklet's own angular momentum,
r'' = h^2/r^3 - GM/r^2. The state is carried to the reference epoch by Kepler motion.

A tracklet is a place on the sky and its motion, both in the middle between its ends: nothing is
left of the small differences that would ask for double precision. The kernels work on blocks of
tracklets, column by column and without branches, so that the compiler makes vector instructions of
them. These are exact in every width, so the states do not depend on the processor.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from alertprod.core import kepler, observer
from alertprod.daymops import heliolinc
from alertprod.daymops.fit import OX, TIME, UX

GM = kepler.GM_SUN
WIDTH = 15  # columns of what is read of tracklets
BLOCK = 256  # tracklets whose columns fit into the fastest memory
INSIDE = 1.02  # au: a sphere of at most this radius may be met twice
# in single precision: beside other numbers single columns would be calculated in double
PULL, PER_C = np.float32(GM), np.float32(1.0 / observer.C_AU_DAY)
LEAST = np.float32(1e-4)  # au: a sphere that is met nearer than this is not met
TWENTIETH, EIGHTH, SIXTH, QUARTER, HALF = (np.float32(1.0 / k) for k in (20, 8, 6, 4, 2))
ONE, TWO, THREE, FIVE, SEVEN, NINE = (np.float32(k) for k in (1, 2, 3, 5, 7, 9))


@njit(cache=True)
def middles(obs, first, last, epoch):
    """What this module needs of tracklets, in single precision; shape (n, `WIDTH`).

    Time since the epoch, station and direction in the middle between the first and the last
    detection; how station and direction move; station times direction; square distance of the line
    of sight from the Sun, negative.
    """
    out, row = np.empty((len(first), WIDTH), dtype=np.float32), np.empty(WIDTH)
    for k in range(len(first)):
        a, b = obs[first[k]], obs[last[k]]
        row[0] = 0.5 * (a[TIME] + b[TIME]) - epoch
        per = 1.0 / (b[TIME] - a[TIME])
        square = 0.0
        for c in range(3):
            row[1 + c], row[4 + c] = 0.5 * (a[OX + c] + b[OX + c]), a[UX + c] + b[UX + c]
            row[7 + c] = (b[OX + c] - a[OX + c]) * per
            row[10 + c] = (b[UX + c] - a[UX + c]) * per
            square += row[4 + c] ** 2
        along, distance2 = 0.0, 0.0
        for c in range(3):
            row[4 + c] /= math.sqrt(square)
            along += row[1 + c] * row[4 + c]
            distance2 += row[1 + c] ** 2
        row[13], row[14] = along, along * along - distance2
        out[k] = row
    return out


@njit(cache=True)
def columns(rows, which):
    """Some of the `middles` as columns, shape (`WIDTH`, n)."""
    out = np.empty((WIDTH, len(which)), dtype=np.float32)
    for low in range(0, len(which), BLOCK):
        high = min(low + BLOCK, len(which))
        for c in range(WIDTH):
            for k in range(low, high):
                out[c, k] = rows[which[k], c]
    return out


@njit(cache=True, error_model="numpy")
def farthest(tracklets, limits, slack, ranges, swing):
    """How far out each tracklet can be and still move slowly enough to be kept.

    What it moves across the line of sight at its distance on a sphere does not depend on how the
    sphere grows.

    Parameters
    ----------
    tracklets : ndarray, shape (n, WIDTH)
        See `middles`.
    limits : ndarray
        As for `to_reference`.
    slack : ndarray, shape (n,)
        Square of what errors may add to the motion of each [rad/day].
    ranges : ndarray
        Heliocentric ranges [au] to try.
    swing : ndarray
        By how much [au] spheres of these ranges may differ from them in the window.

    Returns
    -------
    ndarray of float32, shape (n,)
        The largest of the ranges; 0 if it is none.
    """
    n = len(tracklets)
    out = np.zeros(n, dtype=np.float32)
    still, turn, stand, along, aside, most = np.empty((6, BLOCK))
    for low in range(0, n, BLOCK):
        m = min(BLOCK, n - low)
        for k in range(m):
            row = tracklets[low + k]
            # how fast the station moves across, how fast the direction turns, and at what distance
            # an object moves across as little as it can
            here = row[4] * row[7] + row[5] * row[8] + row[6] * row[9]
            both = row[7] * row[10] + row[8] * row[11] + row[9] * row[12]
            turn[k] = row[10] ** 2 + row[11] ** 2 + row[12] ** 2
            stand[k] = -both / turn[k]
            still[k] = row[7] ** 2 + row[8] ** 2 + row[9] ** 2 - here * here + both * stand[k]
            along[k], aside[k], most[k] = row[13], row[14], 0.0
        for i in range(len(ranges)):
            r, d = ranges[i], swing[i]
            # a sphere inside is met nearer by, too, however fast a tracklet moves
            bound = limits[0] ** 2 + 2.0 * GM / (r - d) if r > INSIDE else np.inf
            for k in range(m):
                rho = math.sqrt(max(aside[k] + r * r, 0.0)) - along[k]
                off = max(abs(rho - stand[k]) - d, 0.0)
                fits = still[k] + turn[k] * off * off <= bound + slack[low + k] * (rho + d) ** 2
                most[k] = max(most[k], r if fits else 0.0)
        out[low : low + m] = most[:m]
    return out


@njit(cache=True, error_model="numpy")
def _series(u, p, q, t):
    """Kepler motion over `t` days: f, g and their derivatives, to the fifth power of the time.

    Over half a window and beyond the Earth's orbit they err by less than 1e-6 au, a thousandth of
    what the clusters are wide. `u` is GM / r^3, `p` the product of place and velocity over r^2, `q`
    the square of the velocity over r^2, less u.
    """
    bent, swift = THREE * (q - FIVE * p * p), SEVEN * p * p - THREE * q
    fourth, last = SIXTH * u * (bent + u), SIXTH * u * (THREE * bent + u)
    fifth = EIGHTH * u * p * (swift - u)
    t2 = t * t
    t3, t4 = t2 * t, t2 * t2
    f = ONE - HALF * u * t2 + HALF * u * p * t3 + QUARTER * fourth * t4 + fifth * t2 * t3
    g = t - SIXTH * u * t3 + QUARTER * u * p * t4 + TWENTIETH * last * t2 * t3
    fdot = (THREE * HALF * p * t - ONE) * u * t + fourth * t3 + FIVE * fifth * t4
    gdot = ONE - HALF * u * t2 + u * p * t3 + QUARTER * last * t4
    return f, g, fdot, gdot


@njit(cache=True, error_model="numpy")
def _meet(work, count, motion, sign):
    """States of `count` tracklets at the epoch, from the sphere that their lines of sight meet.

    `work` holds columns of `BLOCK` numbers, one after the other in one array: only so can the
    compiler tell that none overlaps another. The first `WIDTH` are those of the tracklets; eight
    more receive the state, the geocentric distance and the square of the speed at infinity,
    infinite if the sphere is missed.
    """
    r, rdot = np.float32(motion[0]), np.float32(motion[1])
    side = np.float32(sign)
    for k in range(count):
        t = work[k]
        ox, oy, oz = work[BLOCK + k], work[2 * BLOCK + k], work[3 * BLOCK + k]
        ux, uy, uz = work[4 * BLOCK + k], work[5 * BLOCK + k], work[6 * BLOCK + k]
        ex, ey, ez = work[7 * BLOCK + k], work[8 * BLOCK + k], work[9 * BLOCK + k]
        wx, wy, wz = work[10 * BLOCK + k], work[11 * BLOCK + k], work[12 * BLOCK + k]
        along, aside2 = work[13 * BLOCK + k], work[14 * BLOCK + k]
        # a first look, at a sphere that grows uniformly, gives the second derivative of r
        far = r + rdot * t
        root = side * math.sqrt(aside2 + far * far)
        rho = root - along
        x, y, z = ox + rho * ux, oy + rho * uy, oz + rho * uz
        vx, vy, vz = ex + rho * wx, ey + rho * wy, ez + rho * wz
        out = (far * rdot - (x * vx + y * vy + z * vz)) / root
        vx, vy, vz = vx + out * ux, vy + out * uy, vz + out * uz
        inverse = ONE / far
        pull = PULL * inverse * inverse
        curve = (vx * vx + vy * vy + vz * vz - rdot * rdot) * inverse - pull
        curve = HALF * min(max(curve, -pull), pull)
        met = rho > LEAST
        # the sphere is met when the light left
        t -= rho * PER_C
        far, fast = r + (rdot + curve * t) * t, rdot + TWO * curve * t
        root = side * math.sqrt(aside2 + far * far)
        rho = root - along
        x, y, z = ox + rho * ux, oy + rho * uy, oz + rho * uz
        vx, vy, vz = ex + rho * wx, ey + rho * wy, ez + rho * wz
        out = (far * fast - (x * vx + y * vy + z * vz)) / (root + far * fast * PER_C)
        # while the light gets longer on its way, less time passes there than here
        slow = ONE + out * PER_C
        vx, vy, vz = (vx + out * ux) * slow, (vy + out * uy) * slow, (vz + out * uz) * slow
        v2 = vx * vx + vy * vy + vz * vz
        met &= rho > LEAST
        inverse = ONE / far
        inverse2 = inverse * inverse
        u = PULL * inverse2 * inverse
        p = (x * vx + y * vy + z * vz) * inverse2
        f, g, fdot, gdot = _series(u, p, v2 * inverse2 - u, -t)
        work[15 * BLOCK + k], work[18 * BLOCK + k] = f * x + g * vx, fdot * x + gdot * vx
        work[16 * BLOCK + k], work[19 * BLOCK + k] = f * y + g * vy, fdot * y + gdot * vy
        work[17 * BLOCK + k], work[20 * BLOCK + k] = f * z + g * vz, fdot * z + gdot * vz
        work[21 * BLOCK + k] = rho
        work[22 * BLOCK + k] = v2 - TWO * PULL * inverse if met else np.float32(math.inf)


@njit(cache=True)
def to_reference(tracklets, some, motion, limits, scale, sieve, out):
    """States of tracklets at the reference epoch under one hypothesis.

    Parameters
    ----------
    tracklets : tuple of ndarray
        Their `columns`; their numbers; the square of what errors may add to the motion of each
        [rad/day].
    some : int
        The first so many are of interest.
    motion : tuple
        Range [au] at the epoch, and its rate [au/day].
    limits : ndarray
        Largest excess speed at infinity [au/day]; least geocentric distance [au].
    scale : float
        Time [days] that turns velocities into distances.
    sieve : tuple
        What `heliolinc.mark` gave, if only states near the marked ones are of interest, else no
        bits; the size [au] that it was given.
    out : tuple of ndarray
        Receive states, float32, shape (2 n, 7): place, velocity times `scale`, and geocentric
        distance, all in au; and the number of the tracklet of each.

    Returns
    -------
    int
        Number of states.
    """
    count = 0
    work = np.empty((WIDTH + 8) * BLOCK, dtype=np.float32)
    cols = work.reshape(WIDTH + 8, BLOCK)
    found, rho, excess = cols[WIDTH : WIDTH + 6], cols[WIDTH + 6], cols[WIDTH + 7]
    given, number, slack = tracklets
    states, owner = out
    most, least, unit = np.float32(limits[0] ** 2), np.float32(limits[1]), np.float32(scale)
    marked, axis, bits = sieve[0]
    half = 0.5 / sieve[1]
    for low in range(0, some, BLOCK):
        m = min(BLOCK, some - low)
        for c in range(WIDTH):
            for k in range(m):
                cols[c, k] = given[c, low + k]
        for sign in (1.0, -1.0):
            if sign < 0.0 and motion[0] > INSIDE:
                continue
            _meet(work, m, motion, sign)
            for k in range(m):
                allowed = most + slack[low + k] * rho[k] * rho[k]
                if not (excess[k] <= allowed and rho[k] >= least):
                    continue
                u, v, w = found[3, k] * unit, found[4, k] * unit, found[5, k] * unit
                if len(marked) and not heliolinc.passes(
                    found[2, k], found[axis, k], w, u if axis == 0 else v, (marked, bits, half)
                ):
                    continue
                states[count, 0], states[count, 1], states[count, 2] = found[:3, k]
                states[count, 3], states[count, 4], states[count, 5] = u, v, w
                states[count, 6], owner[count] = rho[k], number[low + k]
                count += 1
    return count


@njit(cache=True)
def moves(tracklets, distance, motion, steps, scale, out):
    """How states shift with the hypothesis, by differences.

    Parameters
    ----------
    tracklets : ndarray, shape (WIDTH, n)
        Those of the states; see `columns`.
    distance : ndarray, shape (n,)
        Geocentric distance of each state, which tells the two inside the Earth's orbit apart.
    motion, scale
        As for `to_reference`.
    steps : tuple
        Small changes of range and range rate.
    out : ndarray, shape (n, 2, 6)
        Receives the derivatives by range and by range rate; not finite where a sphere is missed.
    """
    n = tracklets.shape[1]
    r, rdot = motion
    work = np.empty((WIDTH + 8) * BLOCK, dtype=np.float32)
    base = np.empty((6, BLOCK))
    cols = work.reshape(WIDTH + 8, BLOCK)
    state, along = cols[WIDTH : WIDTH + 6], cols[13]
    for low in range(0, n, BLOCK):
        m = min(BLOCK, n - low)
        cols[:WIDTH, :m] = tracklets[:, low : low + m]
        for sign in (1.0, -1.0):
            if sign < 0.0 and r > INSIDE:
                continue
            for p in range(-1, 2):
                changed = r + (p == 0) * steps[0], rdot + (p == 1) * steps[1]
                _meet(work, m, changed, sign)
                for k in range(m):
                    if p < 0:
                        base[:, k] = state[:, k]
                    elif sign * (distance[low + k] + along[k]) >= 0.0:
                        for c in range(6):
                            unit = scale if c > 2 else 1.0
                            out[low + k, p, c] = (state[c, k] - base[c, k]) * unit / steps[p]
