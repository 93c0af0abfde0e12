"""Small symmetric systems, compiled."""

from __future__ import annotations

import math

import numpy as np
from numba import njit


@njit(cache=True)
def solve(matrix, right, out):
    """Solve a symmetric positive system by Cholesky with unit-diagonal scaling; False if not."""
    n = len(right)
    scale = np.empty(n)
    low = np.empty((n, n))
    for i in range(n):
        if not matrix[i, i] > 0.0:
            return False
        scale[i] = 1.0 / math.sqrt(matrix[i, i])
    for i in range(n):
        for j in range(i + 1):
            total = matrix[i, j] * scale[i] * scale[j]
            for k in range(j):
                total -= low[i, k] * low[j, k]
            if i == j:
                if not total > 0.0:
                    return False
                low[i, i] = math.sqrt(total)
            else:
                low[i, j] = total / low[j, j]
    for i in range(n):
        total = right[i] * scale[i]
        for k in range(i):
            total -= low[i, k] * out[k]
        out[i] = total / low[i, i]
    for i in range(n - 1, -1, -1):
        total = out[i]
        for k in range(i + 1, n):
            total -= low[k, i] * out[k]
        out[i] = total / low[i, i]
    for i in range(n):
        out[i] *= scale[i]
    return True


@njit(cache=True)
def invert(matrix):
    """Inverse of a symmetric positive matrix; NaN if it is singular."""
    n = matrix.shape[0]
    out = np.empty((n, n))
    unit = np.empty(n)
    column = np.empty(n)
    for j in range(n):
        unit[:] = 0.0
        unit[j] = 1.0
        if not solve(matrix, unit, column):
            out[:] = np.nan
            return out
        out[:, j] = column
    return 0.5 * (out + out.T)
