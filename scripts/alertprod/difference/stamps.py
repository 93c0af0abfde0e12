"""Where the matching kernel is fitted: stars, and where they are few any bright peak."""

from dataclasses import dataclass

import numpy as np

from alertprod.core.masks import bits

#: A pixel with one of these is not used in the fit.
UNUSABLE = ("BAD", "SAT", "SUSPECT", "CR", "EDGE", "NO_DATA", "STREAK", "CROSSTALK")


@dataclass
class Stamps:
    """Cut-outs round the kernel stars.

    Attributes
    ----------
    x, y : int64, shape (n,)
        Middle pixels.
    fixed, variance : float32, shape (n, s, s)
        The image to be matched; the summed variance of both.
    moving : float32, shape (n, s + 2 h, s + 2 h)
        The image to be convolved, wider by the kernel's half-width h.
    usable : bool, shape (n, s, s)
    moving_variance : float64, shape (n,)
        Sky variance of the image to be convolved.
    """

    x: np.ndarray
    y: np.ndarray
    fixed: np.ndarray
    variance: np.ndarray
    moving: np.ndarray
    usable: np.ndarray
    moving_variance: np.ndarray

    def __len__(self) -> int:
        return len(self.x)


def choose_positions(image, variance, bad, stars: dict, config: dict):
    """Choose kernel stars, spread over the image.

    In each cell the brightest stars of the list come first, then the highest peaks of the image.

    Parameters
    ----------
    image, variance : float32, shape (ny, nx)
        The science image.
    bad : bool, shape (ny, nx)
        Pixels that must not lie near the middle of a stamp.
    stars : dict of arrays
        Table with ``x``, ``y`` [px] and ``psfFlux``.
    config : dict
        ``cells``, ``stars_per_cell``, ``min_star_sn``.

    Returns
    -------
    x, y : int64
        Middle pixels, sorted by y, then x.
    """
    ny, nx = image.shape
    star_x, star_y = (np.floor(np.asarray(stars[k], float) + 0.5) for k in ("x", "y"))
    inside = (star_x >= 0) & (star_x < nx) & (star_y >= 0) & (star_y < ny)
    star_x, star_y = star_x[inside].astype(np.int64), star_y[inside].astype(np.int64)
    peak_x, peak_y = _peaks(image, bad)
    x, y = np.concatenate([star_x, peak_x]), np.concatenate([star_y, peak_y])
    is_peak = np.arange(len(x)) >= len(star_x)
    sn = image[y, x] / np.sqrt(np.maximum(variance[y, x], 1e-30))
    good = (sn > config["min_star_sn"]) & ~bad[y, x]
    x, y, sn, is_peak = x[good], y[good], sn[good], is_peak[good]
    # The brightest first, listed stars before peaks; ties by position.
    order = np.lexsort((x, y, -sn, is_peak))
    return _spread(x[order], y[order], image.shape, config)


def _peaks(image: np.ndarray, bad: np.ndarray, block: int = 32):
    """Highest unmasked pixel of each block, if it is a local maximum."""
    ny, nx = image.shape[0] // block, image.shape[1] // block
    clean = np.where(bad, -np.inf, image)[: ny * block, : nx * block]
    boxes = clean.reshape(ny, block, nx, block).swapaxes(1, 2).reshape(ny, nx, -1)
    best = boxes.argmax(axis=2)
    y = (np.arange(ny)[:, None] * block + best // block).ravel()
    x = (np.arange(nx)[None, :] * block + best % block).ravel()
    inner = (y > 0) & (x > 0) & (y < image.shape[0] - 1) & (x < image.shape[1] - 1)
    y, x = y[inner], x[inner]
    around = np.max([image[y + j, x + i] for j in (-1, 0, 1) for i in (-1, 0, 1)], axis=0)
    keep = image[y, x] >= around
    return x[keep].astype(np.int64), y[keep].astype(np.int64)


def _spread(x, y, shape, config, apart: int = 12):
    """Take candidates in order, at most so many per cell, none close to another."""
    cells, limit = int(config["cells"]), int(config["stars_per_cell"])
    cell = (y * cells // shape[0]) * cells + x * cells // shape[1]
    count = np.zeros(cells * cells, np.int64)
    taken: dict[tuple[int, int], list[int]] = {}
    chosen = []
    for i in range(len(x)):
        if count[cell[i]] >= limit:
            continue
        home = (int(y[i]) // apart, int(x[i]) // apart)
        near = (
            j
            for dy in (-1, 0, 1)
            for dx in (-1, 0, 1)
            for j in taken.get((home[0] + dy, home[1] + dx), ())
        )
        if any((x[i] - x[j]) ** 2 + (y[i] - y[j]) ** 2 < apart**2 for j in near):
            continue
        taken.setdefault(home, []).append(i)
        count[cell[i]] += 1
        chosen.append(i)
    chosen = sorted(chosen, key=lambda i: (int(y[i]), int(x[i])))
    return x[chosen], y[chosen]


def cut_stamps(fixed, moving, x, y, *, half: int, reach: int) -> Stamps:
    """Cut stamps that lie wholly inside and whose middle is clean in both images.

    Parameters
    ----------
    fixed, moving : Exposure
        The image that is matched and the one that is convolved.
    x, y : int64, shape (n,)
        Middle pixels.
    half : int
        Half-width of the region that is fitted [px].
    reach : int
        Half-width of the kernel [px].

    Returns
    -------
    Stamps
    """
    ny, nx = fixed.shape
    wide = half + reach
    inside = (x >= wide) & (x < nx - wide) & (y >= wide) & (y < ny - wide)
    x, y = x[inside], y[inside]
    unusable = bits(*UNUSABLE)
    bad_moving = _cut(moving.mask & unusable, x, y, wide) != 0
    # A bad pixel spoils what lies within the bulk of the kernel.
    spread = np.abs(np.arange(2 * half + 1)[:, None] + reach - np.arange(2 * wide + 1)) <= reach / 2
    spread = spread.astype(np.float32)
    spoiled = spread @ bad_moving.astype(np.float32) @ spread.T > 0
    usable = ~spoiled & ((_cut(fixed.mask & unusable, x, y, half)) == 0)
    core = slice(half - 2, half + 3)
    keep = usable[:, core, core].all(axis=(1, 2)) & (usable.mean(axis=(1, 2)) > 0.5)
    x, y, usable = x[keep], y[keep], usable[keep]
    noise = _cut(moving.variance, x, y, half)
    variance = _cut(fixed.variance, x, y, half) + noise
    usable &= variance > 0
    fixed_cut, moving_cut = _cut(fixed.image, x, y, half), _cut(moving.image, x, y, wide)
    pixels = (2 * half + 1) ** 2
    sky_noise = np.sort(noise.reshape(len(x), pixels), axis=1)[:, pixels // 4]
    return Stamps(x, y, fixed_cut, variance, moving_cut, usable, sky_noise.astype(np.float64))


def _cut(image: np.ndarray, x, y, half: int) -> np.ndarray:
    offset = np.arange(-half, half + 1)
    return image[(y[:, None] + offset)[:, :, None], (x[:, None] + offset)[:, None, :]]
