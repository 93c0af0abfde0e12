"""Tracklets to heliocentric states at one epoch, under a hypothesis of range and range rate.

The line of sight of each detection meets the sphere r(t) in a point (two, when the sphere lies
inside the observer's): a tracklet becomes a position and a velocity. The second derivative of r is
not a third dimension of the grid: it follows from the tracklet's own angular momentum,
r'' = h^2/r^3 - GM/r^2. The state is carried to the reference epoch by Kepler motion.

The kernels work on blocks of tracklets, column by column and without
branches, so that the compiler makes vector instructions of them: square roots and divisions are
most of the work. These are exact in every width, so the states do not depend on the processor.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from alertprod.core import kepler, observer
from alertprod.daymops.fit import OX, TIME, UX

C = observer.C_AU_DAY
GM = kepler.GM_SUN
BLOCK = 256  # tracklets whose columns fit into the fastest memory
INSIDE = 1.02  # au: a sphere of at most this radius may be met twice
LEAST = 1e-4  # au: a sphere that is met nearer than this is not met


@njit(cache=True)
def ends(obs, which):
    """What this module reads of observation blocks: time, station, direction; shape (n, 9).

    Two more columns hold what the meeting with a sphere needs: station times direction, station
    squared.
    """
    out = np.empty((len(which), 9))
    for k in range(len(which)):
        ob = obs[which[k]]
        out[k, 0] = ob[TIME]
        along, square = 0.0, 0.0
        for c in range(3):
            out[k, 1 + c], out[k, 4 + c] = ob[OX + c], ob[UX + c]
            along += ob[OX + c] * ob[UX + c]
            square += ob[OX + c] ** 2
        out[k, 7], out[k, 8] = along, square
    return out


@njit(cache=True)
def columns(rows, which):
    """Some rows of an array (n, 9), as columns."""
    out = np.empty((9, len(which)))
    for low in range(0, len(which), BLOCK):
        high = min(low + BLOCK, len(which))
        for c in range(9):
            for k in range(low, high):
                out[c, k] = rows[which[k], c]
    return out


@njit(cache=True, error_model="numpy")
def _try(a, b, low, high, motion, sign, out):
    """First look at tracklets `low` to `high`, with a sphere that grows uniformly.

    Into `out`: the square of the speed at infinity [au^2/day^2], infinite if the sphere is missed;
    the second derivative of r that the angular momentum gives; the distances of both ends.
    """
    r, rdot, epoch = motion
    ta, ax, ay, az = a[0][low:high], a[1][low:high], a[2][low:high], a[3][low:high]
    au, av, aw = a[4][low:high], a[5][low:high], a[6][low:high]
    aa, as_ = a[7][low:high], a[8][low:high]
    tb, bx, by, bz = b[0][low:high], b[1][low:high], b[2][low:high], b[3][low:high]
    bu, bv, bw = b[4][low:high], b[5][low:high], b[6][low:high]
    ba, bs = b[7][low:high], b[8][low:high]
    excess, curve, first, last = out[0], out[1], out[2], out[3]
    for k in range(high - low):
        ra, rb = r + rdot * (ta[k] - epoch), r + rdot * (tb[k] - epoch)
        rho = sign * math.sqrt(aa[k] * aa[k] - as_[k] + ra * ra) - aa[k]
        rho2 = sign * math.sqrt(ba[k] * ba[k] - bs[k] + rb * rb) - ba[k]
        px, py, pz = ax[k] + rho * au[k], ay[k] + rho * av[k], az[k] + rho * aw[k]
        qx, qy, qz = bx[k] + rho2 * bu[k], by[k] + rho2 * bv[k], bz[k] + rho2 * bw[k]
        per = 1.0 / (tb[k] - ta[k])
        vx, vy, vz = (qx - px) * per, (qy - py) * per, (qz - pz) * per
        x, y, z = 0.5 * (px + qx), 0.5 * (py + qy), 0.5 * (pz + qz)
        radius2 = x * x + y * y + z * z
        inverse = 1.0 / math.sqrt(radius2)
        v2 = vx * vx + vy * vy + vz * vz
        radial = (x * vx + y * vy + z * vz) * inverse
        pull = GM * inverse * inverse
        met = (rho > LEAST) & (rho2 > LEAST)
        excess[k] = v2 - 2.0 * GM * inverse if met else math.inf
        curve[k] = min(max((v2 - radial * radial) * inverse - pull, -pull), pull)
        first[k], last[k] = rho, rho2


@njit(cache=True, error_model="numpy")
def _series(u, p, q, t):
    """Kepler motion over `t` days: f, g and their derivatives, to the fifth power of the time.

    Over half a window and beyond the Earth's orbit they err by less than 1e-6 au, a thousandth of
    what the clusters are wide. `u` is GM / r^3, `p` the product of place and velocity over r^2, `q`
    the square of the velocity over r^2, less u.
    """
    fourth = u * (3.0 * q - 15.0 * p * p + u)
    fifth = u * p * (7.0 * p * p - 3.0 * q - u)
    last = u * (9.0 * q - 45.0 * p * p + u)
    t2 = t * t
    t3, t4 = t2 * t, t2 * t2
    f = 1.0 - 0.5 * u * t2 + 0.5 * u * p * t3 + fourth / 24.0 * t4 + fifth / 8.0 * t2 * t3
    g = t - u / 6.0 * t3 + 0.25 * u * p * t4 + last / 120.0 * t2 * t3
    fdot = -u * t + 1.5 * u * p * t2 + fourth / 6.0 * t3 + 5.0 / 8.0 * fifth * t4
    gdot = 1.0 - 0.5 * u * t2 + u * p * t3 + last / 24.0 * t4
    return f, g, fdot, gdot


@njit(cache=True, error_model="numpy")
def _settle(work, count, motion, sign):
    """States of `count` tracklets at the epoch, with the second derivative and light time.

    `work` holds columns of `BLOCK` numbers, one after the other in one array: only so can the
    compiler tell that none overlaps another. Columns 0-17 are those of both `ends`, 18-20 what
    `_try` found; 21-28 receive the state, the geocentric distance and the square of the speed at
    infinity.
    """
    r, rdot, epoch = motion
    for k in range(count):
        ta, tb, curve = work[k], work[9 * BLOCK + k], work[18 * BLOCK + k]
        # the sphere is met when the light left
        da = ta - work[19 * BLOCK + k] / C - epoch
        db = tb - work[20 * BLOCK + k] / C - epoch
        ra, rb = r + (rdot + 0.5 * curve * da) * da, r + (rdot + 0.5 * curve * db) * db
        along, along2 = work[7 * BLOCK + k], work[16 * BLOCK + k]
        rho = sign * math.sqrt(along * along - work[8 * BLOCK + k] + ra * ra) - along
        rho2 = sign * math.sqrt(along2 * along2 - work[17 * BLOCK + k] + rb * rb) - along2
        da, db = ta - rho / C - epoch, tb - rho2 / C - epoch
        px = work[1 * BLOCK + k] + rho * work[4 * BLOCK + k]
        py = work[2 * BLOCK + k] + rho * work[5 * BLOCK + k]
        pz = work[3 * BLOCK + k] + rho * work[6 * BLOCK + k]
        qx = work[10 * BLOCK + k] + rho2 * work[13 * BLOCK + k]
        qy = work[11 * BLOCK + k] + rho2 * work[14 * BLOCK + k]
        qz = work[12 * BLOCK + k] + rho2 * work[15 * BLOCK + k]
        per = 1.0 / (db - da)
        vx, vy, vz = (qx - px) * per, (qy - py) * per, (qz - pz) * per
        x, y, z = 0.5 * (px + qx), 0.5 * (py + qy), 0.5 * (pz + qz)
        inverse = 1.0 / math.sqrt(x * x + y * y + z * z)
        v2 = vx * vx + vy * vy + vz * vz
        met = (rho > LEAST) & (rho2 > LEAST)
        inverse2 = inverse * inverse
        u = GM * inverse2 * inverse
        p = (x * vx + y * vy + z * vz) * inverse2
        f, g, fdot, gdot = _series(u, p, v2 * inverse2 - u, -0.5 * (da + db))
        work[21 * BLOCK + k], work[24 * BLOCK + k] = f * x + g * vx, fdot * x + gdot * vx
        work[22 * BLOCK + k], work[25 * BLOCK + k] = f * y + g * vy, fdot * y + gdot * vy
        work[23 * BLOCK + k], work[26 * BLOCK + k] = f * z + g * vz, fdot * z + gdot * vz
        work[27 * BLOCK + k] = 0.5 * (rho + rho2)
        work[28 * BLOCK + k] = v2 - 2.0 * GM * inverse if met else math.inf


@njit(cache=True)
def to_reference(first, last, motion, limits, scale, out, owner):
    """States of all tracklets at the reference epoch under one hypothesis.

    Parameters
    ----------
    first, last : ndarray, shape (9, n)
        The `ends` of each tracklet, as `columns`.
    motion : tuple
        Range [au] at the epoch, its rate [au/day]; the epoch [MJD TDB].
    limits : tuple
        Largest excess speed at infinity [au/day]; least geocentric distance [au]; the square of
        what errors may add to the motion of each tracklet [rad/day].
    scale : float
        Time [days] that turns velocities into distances.
    out : ndarray of float32, shape (2 n, 7)
        Receives place, velocity times `scale`, and geocentric distance, all in au.
    owner : ndarray of int, shape (2 n,)
        Receives the tracklet of each state.

    Returns
    -------
    int
        Number of states.
    """
    n = first.shape[1]
    r = motion[0]
    count = 0
    tried, work = np.empty((4, BLOCK)), np.empty(29 * BLOCK)
    cols = work.reshape(29, BLOCK)
    which = np.empty(BLOCK, dtype=np.int64)
    # most pairs are of strangers and far too fast: they are left before the costly part
    most = limits[0] ** 2
    for low in range(0, n, BLOCK):
        high = min(low + BLOCK, n)
        for sign in (1.0, -1.0):
            if sign < 0.0 and r > INSIDE:
                continue
            _try(first, last, low, high, motion, sign, tried)
            m = 0
            for k in range(high - low):
                which[m] = k
                m += tried[0, k] <= most + 0.2 * GM / r + limits[2][low + k] * r * r
            for c in range(9):
                for k in range(m):
                    cols[c, k] = first[c, low + which[k]]
                    cols[9 + c, k] = last[c, low + which[k]]
            for c in range(3):
                for k in range(m):
                    cols[18 + c, k] = tried[1 + c, which[k]]
            _settle(work, m, motion, sign)
            for k in range(m):
                allowed = most + limits[2][low + which[k]] * cols[27, k] ** 2
                if cols[28, k] <= allowed and cols[27, k] >= limits[1]:
                    for c in range(3):
                        out[count, c] = cols[21 + c, k]
                        out[count, 3 + c] = cols[24 + c, k] * scale
                    out[count, 6] = cols[27, k]
                    owner[count] = low + which[k]
                    count += 1
    return count


@njit(cache=True)
def moves(first, last, distance, motion, steps, scale, out):
    """How states shift with the hypothesis, by differences.

    Parameters
    ----------
    first, last : ndarray, shape (9, n)
        The `ends` of the tracklet of each state, as `columns`.
    distance : ndarray, shape (n,)
        Geocentric distance of each state, which tells the two inside the Earth's orbit apart.
    motion, scale
        As for `to_reference`.
    steps : tuple
        Small changes of range and range rate.
    out : ndarray, shape (n, 2, 6)
        Receives the derivatives by range and by range rate; not finite where a sphere is missed.
    """
    n = first.shape[1]
    r, rdot, epoch = motion
    tried, work, base = np.empty((4, BLOCK)), np.empty(29 * BLOCK), np.empty((6, BLOCK))
    cols = work.reshape(29, BLOCK)
    for low in range(0, n, BLOCK):
        m = min(BLOCK, n - low)
        cols[:9, :m], cols[9:18, :m] = first[:, low : low + m], last[:, low : low + m]
        for sign in (1.0, -1.0):
            if sign < 0.0 and r > INSIDE:
                continue
            for p in range(-1, 2):
                changed = r + (p == 0) * steps[0], rdot + (p == 1) * steps[1], epoch
                _try(first, last, low, low + m, changed, sign, tried)
                cols[18:21, :m] = tried[1:, :m]
                _settle(work, m, changed, sign)
                for k in range(m):
                    if p < 0:
                        base[:, k] = cols[21:27, k]
                    elif sign * (distance[low + k] + cols[7, k]) >= 0.0:
                        for c in range(6):
                            unit = scale if c > 2 else 1.0
                            out[low + k, p, c] = (cols[21 + c, k] - base[c, k]) * unit / steps[p]
