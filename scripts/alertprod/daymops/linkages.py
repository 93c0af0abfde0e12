"""Linkages in memory, as arrays; and compressed lists, in which they keep their detections."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


def segments(start, which):
    """Where the elements of some of the lists of a compressed array are.

    Parameters
    ----------
    start : ndarray of int, shape (n + 1,)
        Where each list begins, and the end.
    which : ndarray of int
        Lists to pick.

    Returns
    -------
    start, index : ndarray of int
        Of the picked lists one after the other: their starts, and their elements' places.
    """
    count = (start[1:] - start[:-1])[which]
    begin = np.r_[0, np.cumsum(count)].astype(np.int64)
    return begin, np.arange(begin[-1]) + np.repeat(start[:-1][which] - begin[:-1], count)


@dataclass(frozen=True)
class Linkages:
    """Sets of detections with the orbit that explains each.

    `start` and `detections` (indices into the window) are compressed lists.
    """

    state: np.ndarray  # (n, 6) [au, au/day] at the epoch of the window
    covariance: np.ndarray  # (n, 6, 6)
    chi2: np.ndarray
    nights: np.ndarray
    start: np.ndarray
    detections: np.ndarray

    def __len__(self):
        return len(self.chi2)

    @property
    def count(self):
        """Number of detections of each."""
        return np.diff(self.start)

    def members(self, k):
        """Detections of the k-th."""
        return self.detections[self.start[k] : self.start[k + 1]]

    def take(self, which):
        """Some of them."""
        start, index = segments(self.start, which)
        return Linkages(self.state[which], self.covariance[which], self.chi2[which],
                        self.nights[which], start, self.detections[index])  # fmt: skip

    @classmethod
    def join(cls, parts):
        """All of several sets; of none, an empty one."""
        parts = [cls.filled(0, room(0, 0)), *parts]
        names = ("state", "covariance", "chi2", "nights")
        ends = np.cumsum([0, *(len(part.detections) for part in parts)])
        start = [part.start[1:] + end for part, end in zip(parts, ends[:-1], strict=True)]
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names),
                   np.concatenate([[0], *start]).astype(np.int64),
                   np.concatenate([part.detections for part in parts]))  # fmt: skip

    @classmethod
    def filled(cls, count, out):
        """Those that a kernel put into `room`."""
        if count < 0:
            raise RuntimeError("the room for overlapping linkages was too small")
        state, covariance, stat, start, detections = out
        return cls(state[:count], covariance[:count], stat[:count, 0],
                   stat[:count, 1].astype(np.int64), start[: count + 1],
                   detections[: start[count]])  # fmt: skip


def room(links, detections):
    """Arrays that kernels fill: states, covariances, (chi2, nights), starts, detections."""
    size = min(links, 4 * detections) + 1
    start = np.zeros(size + 1, dtype=np.int64)
    return (np.empty((size, 6)), np.empty((size, 6, 6)), np.empty((size, 2)), start,
            np.empty(16 * detections + 1024, dtype=np.int64))  # fmt: skip
