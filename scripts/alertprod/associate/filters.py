"""Which detections go to the database at all, and which may start a new DIAObject."""

import numpy as np

from alertprod.core.tables import Table, n_rows


def keep(sources: Table, config: dict) -> tuple[np.ndarray, dict[str, int]]:
    """Say which DIASources are fit for association.

    Parameters
    ----------
    sources : dict of arrays
        DIASources of one detector.
    config : dict
        ``reject_flags``, ``least_reliability``, ``least_science_snr``,
        ``fastest_trail_arcsec_s``; a value of None switches a cut off.

    Returns
    -------
    mask : bool, shape (n,)
    counts : dict
        How many each cut alone removes; 0 is left out.
    """
    count = n_rows(sources)
    cuts = {flag: sources[flag].astype(bool) for flag in config["reject_flags"]}
    if config["least_reliability"] is not None:
        cuts["reliability"] = sources["reliability"] < config["least_reliability"]
    if config["least_science_snr"] is not None:
        with np.errstate(invalid="ignore", divide="ignore"):
            snr = sources["scienceFlux"] / sources["scienceFluxErr"]
        cuts["science_snr"] = snr < config["least_science_snr"]
    if config["fastest_trail_arcsec_s"] is not None:
        with np.errstate(invalid="ignore", divide="ignore"):
            speed = sources["trailLength"] / sources["exposureTime"]
        cuts["trail"] = ~sources["trail_flag"] & (speed > config["fastest_trail_arcsec_s"])
    # A position without which nothing else makes sense.
    cuts["position"] = ~(np.isfinite(sources["ra"]) & np.isfinite(sources["dec"]))
    removed = np.zeros(count, dtype=bool)
    for mask in cuts.values():
        removed |= mask
    return ~removed, {name: int(mask.sum()) for name, mask in cuts.items() if mask.any()}


def clean(sources: Table, config: dict) -> np.ndarray:
    """Say which DIASources may start a new DIAObject: bool, shape (n,)."""
    dirty = np.zeros(n_rows(sources), dtype=bool)
    for flag in config["new_object_flags"]:
        dirty |= sources[flag].astype(bool)
    return ~dirty
