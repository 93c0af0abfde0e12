"""What changes in brightness: variable stars, supernova-like transients."""

from __future__ import annotations

import numpy as np

from alertprod.simulate.sky import in_disc

SINE, RR_LYRAE = 0, 1
BAND_AMPLITUDE = {"u": 1.4, "g": 1.2, "r": 1.0, "i": 0.85, "z": 0.8, "y": 0.8}


def make_variables(rng, config: dict, stars: dict, inside: np.ndarray) -> dict[str, np.ndarray]:
    """Choose stars that vary, among those `inside` the field that every visit sees.

    Returns
    -------
    dict
        star (index), kind, period [d], phase, amplitude (half of peak to peak in r [mag]).
    """
    usable = inside & (stars["mag_r"] > 15.0) & (stars["mag_r"] < config["variables_r_max"])
    chosen = rng.permutation(np.flatnonzero(usable))[: config["variables"]]
    number = chosen.size
    pulsating = rng.random(number) < 0.35
    return {
        "star": np.sort(chosen),
        "kind": np.where(pulsating, RR_LYRAE, SINE),
        "period": np.where(
            pulsating, rng.uniform(0.35, 0.8, number), 10 ** rng.uniform(-0.7, 1.5, number)
        ),
        "phase": rng.random(number),
        "amplitude": np.where(
            pulsating, rng.uniform(0.2, 0.55, number), 10 ** rng.uniform(-1.0, -0.3, number)
        ),
    }


def variation(variables: dict, mjd_tai: float, band: str) -> np.ndarray:
    """Return the magnitude offset of each variable; its mean flux is that of its star or nearly so.

    RR Lyrae stars rise in 15 % of their period and fall in the rest.
    """
    phase = (mjd_tai / variables["period"] + variables["phase"]) % 1.0
    sine = np.sin(2 * np.pi * phase)
    saw = np.where(phase < 0.15, 1 - 2 * phase / 0.15, -1 + 2 * (phase - 0.15) / 0.85)
    shape = np.where(variables["kind"] == RR_LYRAE, saw, sine)
    return shape * variables["amplitude"] * BAND_AMPLITUDE[band]


def make_transients(
    rng, config: dict, galaxies: dict, inside: np.ndarray, field: dict, first_night: float
) -> dict[str, np.ndarray]:
    """Draw supernova-like transients, most of them in galaxies.

    Parameters
    ----------
    inside : ndarray, bool
        Galaxies within the field that every visit sees.
    field : dict
        Where those without a host may lie.
    first_night : float
        MJD of the first science visit; explosions fall up to 16 days before it and 1.5 after.

    Returns
    -------
    dict
        transient_id, ra, dec [deg], host (galaxy_id, 0: none), explosion [MJD TAI],
        rise, fall [d], mag_g, mag_r at peak.
    """
    number = config["transients"]
    hosted = rng.random(number) < config["transients_in_galaxies"]
    ra, dec = in_disc(rng, number, field)
    usable = np.flatnonzero(inside & (galaxies["mag_r"] < 21.0))
    if usable.size == 0:
        hosted[:] = False
    else:
        host = rng.choice(usable, number)
        # Light falls off exponentially; transients follow light.
        r = galaxies["radius"][host] / 1.678 * rng.gamma(2.0, 1.0, number) / 3600
        t, pa = 2 * np.pi * rng.random(number), np.deg2rad(galaxies["angle"][host])
        along, across = r * np.cos(t), r * np.sin(t) * galaxies["axis_ratio"][host]
        d = galaxies["dec"][host] + along * np.cos(pa) - across * np.sin(pa)
        east = along * np.sin(pa) + across * np.cos(pa)
        ra = np.where(hosted, galaxies["ra"][host] + east / np.cos(np.deg2rad(d)), ra)
        dec = np.where(hosted, d, dec)
    mag_r = rng.uniform(*config["transients_peak_r"], number)
    return {
        "transient_id": np.arange(1, number + 1),
        "ra": ra,
        "dec": dec,
        "host": np.where(hosted, galaxies["galaxy_id"][host], 0) if usable.size else 0 * hosted,
        "explosion": first_night + rng.uniform(-16.0, 1.5, number),
        "rise": rng.uniform(2.0, 6.0, number),
        "fall": rng.uniform(15.0, 35.0, number),
        "mag_g": mag_r + rng.normal(0.05, 0.15, number),
        "mag_r": mag_r,
    }


def transient_light(transients: dict, mjd_tai: float) -> np.ndarray:
    """Return the share of the peak flux: a rise and a decline, nothing before the explosion."""
    age = np.maximum(mjd_tai - transients["explosion"], 0.0)
    rise, fall = transients["rise"], transients["fall"]
    top = rise * np.log1p(fall / rise)
    shape = (1 - np.exp(-age / rise)) * np.exp(-age / fall)
    peak = (1 - np.exp(-top / rise)) * np.exp(-top / fall)
    return shape / peak
