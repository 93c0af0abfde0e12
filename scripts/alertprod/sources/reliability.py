"""A first, explainable reliability: the product of soft judgements on measured features.

Each judgement is a logistic step between 0 and 1 in a quantity without a unit, so that it holds
for any camera. None is fitted to a data set, simulated or real: the middles are where a careful
person would begin to doubt. A trained model will replace this; the version says which one spoke.

References
----------
Bloom et al. 2012, PASP 124, 1175; Brink et al. 2013, MNRAS 435, 1047 (features of real and bogus
detections: PSF fit, shape, contrast with the reference, mask flags).
"""

import numpy as np

VERSION = "features-1"

STEPS = {
    # feature: (value at which the judgement is one half, width, sign: +1 rising, -1 falling)
    "significance": (5.0, 0.7, +1),
    "chi2": (2.0, 0.3, -1),
    "shape": (3.5, 0.6, -1),
    "spike": (0.8, 0.08, -1),
    "contrast": (0.02, 0.005, +1),
}
FLAGS = {
    "pixelFlags_saturated": 0.3,
    "pixelFlags_saturatedCenter": 0.1,
    "pixelFlags_suspect": 0.8,
    "pixelFlags_edge": 0.7,
    "pixelFlags_nodata": 0.7,
    "pixelFlags_crCenter": 0.3,
    "pixelFlags_interpolatedCenter": 0.6,
    "pixelFlags_streak": 0.3,
    "isDipole": 0.1,
    "psfFlux_flag": 0.1,
    "centroid_flag": 0.3,
}


def score(features: dict[str, np.ndarray], table: dict[str, np.ndarray]) -> np.ndarray:
    """Return the reliability, float32 in [0, 1].

    Parameters
    ----------
    features : dict of arrays, shape (n,)
        ``significance``: |S| in sigma; ``chi2``: of the best model, over its expectation;
        ``shape``: |log of the moments' trace over the PSF's| in sigma; ``spike``: what one or two
        pixels explain, over what the PSF explains; ``contrast``: |flux| over the template's flux
        there. NaN is no judgement.
    table : dict of arrays, shape (n,)
        Columns named in `FLAGS`, bool.
    """
    result = np.ones(features["significance"].shape)
    for name, (middle, width, sign) in STEPS.items():
        argument = np.clip(sign * (features[name] - middle) / width, -30, 30)
        result *= np.where(np.isfinite(argument), 1.0 / (1.0 + np.exp(-argument)), 1.0)
    for name, factor in FLAGS.items():
        result *= np.where(table[name], factor, 1.0)
    return result.astype(np.float32)
