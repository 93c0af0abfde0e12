"""From pixels to the sky: positions, errors, lengths and directions."""

import numpy as np

RAD = np.pi / 180.0


def jacobians(wcs, x, y) -> np.ndarray:
    """Return d(east, north)/d(x, y) at the sources [deg/px], shape (n, 2, 2).

    East and north are those at the source itself, not at the tangent point.
    """
    columns = []
    for dx, dy in ((0.5, 0.0), (0.0, 0.5)):
        ra1, dec1 = wcs.pix_to_sky(x + dx, y + dy)
        ra0, dec0 = wcs.pix_to_sky(x - dx, y - dy)
        east = np.mod(ra1 - ra0 + 180.0, 360.0) - 180.0
        columns.append(np.stack([east * np.cos(0.5 * (dec0 + dec1) * RAD), dec1 - dec0], axis=-1))
    return np.stack(columns, axis=-1)


def position_errors(jacobian, dec, x_err, y_err, xy_cov):
    """Return raErr, decErr [deg] and ra_dec_Cov [deg^2].

    They are of the coordinates themselves: raErr carries no cos(dec).
    """
    covariance = np.empty((len(x_err), 2, 2))
    covariance[:, 0, 0], covariance[:, 1, 1] = x_err**2, y_err**2
    covariance[:, 0, 1] = covariance[:, 1, 0] = xy_cov
    sky = np.einsum("nij,njk,nlk->nil", jacobian, covariance, jacobian)
    cosine = np.maximum(np.cos(dec * RAD), 1e-9)
    return np.sqrt(sky[:, 0, 0]) / cosine, np.sqrt(sky[:, 1, 1]), sky[:, 0, 1] / cosine


def direction(jacobian, angle, length=1.0):
    """Return position angle [deg, 0 to 360] and length [arcsec] of a vector on the detector.

    Parameters
    ----------
    jacobian : (2, 2)
    angle : float
        From x to y [rad].
    length : float
        [px].
    """
    east, north = jacobian @ np.array([np.cos(angle), np.sin(angle)]) * length
    bearing = np.mod(np.arctan2(east, north) / RAD, 360.0)
    return bearing, np.hypot(east, north) * 3600.0
