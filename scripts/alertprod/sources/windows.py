"""Windows on the difference image for the fits, and the frame that the measurements share."""

from dataclasses import dataclass

import numpy as np

from alertprod.core.psfmodel import cut, kernels


@dataclass
class Frame:
    """A difference image prepared for measurement.

    Parameters
    ----------
    difference : Exposure
        With the variance scaled to the noise that blank sky shows.
    bad : bool, shape (ny, nx)
        Pixels that no fit may use.
    fwhm : float
        Of the PSF at the centre [px].
    config : dict
        Section ``sources``.
    """

    difference: object
    bad: np.ndarray
    fwhm: float
    config: dict

    @property
    def radius(self) -> float:
        """Radius of a point source fit [px]."""
        return max(self.config["fit_radius_fwhm"] * self.fwhm, 2.0)

    def kernel(self, x, y) -> np.ndarray:
        """Return the centred PSF at a position."""
        return kernels(self.difference.psf, x, y)[0]

    def window(self, x: float, y: float, radius: float) -> np.ndarray:
        """Return data, weights and variances round a position: float64, shape (3, m, m)."""
        m = 2 * int(np.ceil(radius)) + 1
        out = np.empty((3, m, m))
        ix, iy = int(np.floor(x + 0.5)), int(np.floor(y + 0.5))
        d = self.difference
        cut(d.image, d.variance, self.bad, ix, iy, radius, 2, out[0], out[2], out[1])
        return out
