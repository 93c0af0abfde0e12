"""Orbit parameters in which a short arc is nearly linear: directions, rates, inverse distance.

A Cartesian state makes least squares creep along a curved valley when the distance is badly known;
in these six numbers the valley is straight.

References
----------
Bernstein, G. & Khushalani, B. 2000, AJ 120, 3323.
"""

from __future__ import annotations

from numba import njit


@njit(cache=True)
def to_state(frame, params, state):
    """State of the parameters (a, b, g, a', b', g') in a frame at the observer.

    position = O + (k + a e + b n) / g, velocity = (a' e + b' n + g' k) / g, with O, k, e, n the
    rows of `frame`. In these the observed motion, parallax included, is nearly linear, also in
    the inverse distance g that a short arc hardly tells.
    """
    a, b, g = params[0], params[1], params[2]
    for c in range(3):
        state[c] = frame[0, c] + (frame[1, c] + a * frame[2, c] + b * frame[3, c]) / g
        state[c + 3] = (
            params[3] * frame[2, c] + params[4] * frame[3, c] + params[5] * frame[1, c]
        ) / g


@njit(cache=True)
def to_params(frame, state, params):
    """Inverse of `to_state`."""
    depth = 0.0
    for c in range(3):
        depth += (state[c] - frame[0, c]) * frame[1, c]
    depth = max(depth, 1e-4)
    for k in range(2):
        place, speed = 0.0, 0.0
        for c in range(3):
            place += (state[c] - frame[0, c]) * frame[2 + k, c]
            speed += state[c + 3] * frame[2 + k, c]
        params[k] = place / depth
        params[3 + k] = speed / depth
    params[2] = 1.0 / depth
    params[5] = 0.0
    for c in range(3):
        params[5] += state[c + 3] * frame[1, c] / depth


@njit(cache=True)
def jacobian(frame, params, state, out):
    """Derivative of the state by the parameters (6x6)."""
    g = params[2]
    for c in range(3):
        out[c, 0] = frame[2, c] / g
        out[c, 1] = frame[3, c] / g
        out[c, 2] = -(state[c] - frame[0, c]) / g
        out[c + 3, 2] = -state[c + 3] / g
        out[c + 3, 3] = frame[2, c] / g
        out[c + 3, 4] = frame[3, c] / g
        out[c + 3, 5] = frame[1, c] / g
        for j in (3, 4, 5):
            out[c, j] = 0.0
        out[c + 3, 0] = 0.0
        out[c + 3, 1] = 0.0


@njit(cache=True)
def transform(normal, right, jac, new_normal, new_right):
    """Normal equations of the parameters from those of the state."""
    for i in range(6):
        total = 0.0
        for k in range(6):
            total += jac[k, i] * right[k]
        new_right[i] = total
        for j in range(i + 1):
            total = 0.0
            for k in range(6):
                part = 0.0
                for m in range(6):
                    part += normal[k, m] * jac[m, j]
                total += jac[k, i] * part
            new_normal[i, j] = total
            new_normal[j, i] = total
