"""Stars and galaxies of a field, and the reference catalogue that a survey would have of them."""

from __future__ import annotations

import numpy as np

MAS_PER_DEG = 3.6e6
REF_EPOCH = 2016.0
AB_NJY = 31.4


def in_disc(rng, number: int, field: dict) -> tuple[np.ndarray, np.ndarray]:
    """Return places spread evenly over a small disc ``{ra, dec, radius}`` [deg]."""
    r = field["radius"] * np.sqrt(rng.random(number))
    a = 2 * np.pi * rng.random(number)
    dec = field["dec"] + r * np.sin(a)
    return field["ra"] + r * np.cos(a) / np.cos(np.deg2rad(dec)), dec


def flux(mag) -> np.ndarray:
    """Return the flux [nJy] of an AB magnitude."""
    return 10 ** (0.4 * (AB_NJY - np.asarray(mag, float)))


def camera_flux(table: dict, band: str, colour_term: float) -> np.ndarray:
    """Return fluxes [nJy] in the camera's own band of sources with mag_g and mag_r.

    Parameters
    ----------
    colour_term : float
        Camera's magnitude minus the reference system's, per magnitude of g - r.
    """
    return flux(table[f"mag_{band}"] + colour_term * (table["mag_g"] - table["mag_r"]))


def make_stars(rng, config: dict, field: dict) -> dict[str, np.ndarray]:
    """Draw stars of a high-latitude field.

    The counts rise as 10^(0.22 m), as towards the galactic pole; blue turn-off stars give way to
    red dwarfs at the faint end; distances follow from a main sequence, motions from the thin disc
    and a share of halo stars.

    Returns
    -------
    dict
        star_id, ra, dec (ICRS at 2016.0 [deg]), pmra, pmdec [mas/yr], parallax [mas], mag_g, mag_r.
    """
    area = np.pi * field["radius"] ** 2
    number = rng.poisson(config["stars_per_deg2"] * area)
    slope, faint, bright = 0.22, config["stars_r_max"], config["stars_r_min"]
    low = 10 ** (slope * (bright - faint))
    mag_r = faint + np.log10(low + (1 - low) * rng.random(number)) / slope
    red = rng.random(number) < np.clip(0.15 + 0.11 * (mag_r - 15), 0.1, 0.75)
    colour = np.where(red, rng.normal(1.42, 0.1, number), rng.normal(0.5, 0.17, number))
    colour = np.clip(colour, -0.2, 1.65)
    absolute = (
        3.2 + 3.3 * colour + 1.6 * np.maximum(colour - 1.2, 0) * 6 + rng.normal(0, 0.4, number)
    )
    distance = np.clip(10 ** ((mag_r - absolute + 5) / 5), 15.0, 5e4)  # pc
    halo = (distance > 2500) & (rng.random(number) < 0.7)
    speed = np.where(halo, 140.0, 38.0)  # km/s per axis
    ra, dec = in_disc(rng, number, field)
    return {
        "star_id": np.arange(1, number + 1),
        "ra": ra,
        "dec": dec,
        "pmra": speed * rng.normal(0, 1, number) / 4.74 / distance * 1000,
        "pmdec": speed * rng.normal(-0.2, 1, number) / 4.74 / distance * 1000,
        "parallax": 1000.0 / distance,
        "mag_g": mag_r + colour,
        "mag_r": mag_r,
    }


def make_galaxies(rng, config: dict, field: dict) -> dict[str, np.ndarray]:
    """Draw galaxies: exponential discs, de Vaucouleurs ellipticals and profiles between them.

    Counts rise as 10^(0.4 m); sizes shrink with magnitude.
    """
    area = np.pi * field["radius"] ** 2
    number = rng.poisson(config["galaxies_per_deg2"] * area)
    slope, faint, bright = 0.4, config["galaxies_r_max"], 15.5
    low = 10 ** (slope * (bright - faint))
    mag_r = faint + np.log10(low + (1 - low) * rng.random(number)) / slope
    n = rng.choice([1.0, 2.5, 4.0], number, p=[0.6, 0.15, 0.25])
    ra, dec = in_disc(rng, number, field)
    return {
        "galaxy_id": np.arange(1, number + 1),
        "ra": ra,
        "dec": dec,
        "mag_g": mag_r
        + np.where(n == 4, rng.normal(1.0, 0.15, number), rng.normal(0.6, 0.2, number)),
        "mag_r": mag_r,
        "n": n,
        "radius": np.clip(
            1.1 * 10 ** (-0.12 * (mag_r - 20)) * rng.lognormal(0, 0.35, number), 0.25, 9
        ),
        "axis_ratio": np.where(n == 1, rng.uniform(0.25, 1, number), rng.uniform(0.55, 1, number)),
        "angle": rng.uniform(0, 180, number),
    }


def at_visit(stars: dict, mjd_tai: float, observer: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Carry stars from 2016.0 to the time of a visit by proper motion and parallax.

    Parameters
    ----------
    stars : dict
    mjd_tai : float
    observer : ndarray, shape (3,)
        Barycentric place of the telescope, ICRS axes [au].

    Returns
    -------
    ra, dec : ndarray
        ICRS [deg].
    """
    years = (mjd_tai - 57388.5) / 365.25  # 2016.0 is J2000 + 16 Julian years
    a, d = np.deg2rad(stars["ra"]), np.deg2rad(stars["dec"])
    x, y, z = observer
    p = stars["parallax"]
    east = stars["pmra"] * years + p * (x * np.sin(a) - y * np.cos(a))
    north = stars["pmdec"] * years + p * (
        x * np.cos(a) * np.sin(d) + y * np.sin(a) * np.sin(d) - z * np.cos(d)
    )
    return stars["ra"] + east / np.cos(d) / MAS_PER_DEG, stars["dec"] + north / MAS_PER_DEG


def reference_catalogue(rng, stars: dict, ref_bands: dict[str, str]) -> dict[str, np.ndarray]:
    """Observe the stars as Gaia would: with errors, incomplete at the faint end.

    Empty cells (NaN) stand for the motions of faint stars with positions only.
    """
    mag = stars["mag_r"]
    seen = rng.random(mag.size) < 0.99 / (1 + np.exp((mag - 20.4) / 0.2))
    keep = np.flatnonzero(seen)
    m, number = mag[keep], keep.size
    error = np.hypot(0.025, 0.5 * 10 ** (0.25 * (m - 20)))  # mas
    plain = (m > 19.8) & (rng.random(number) < 0.2)
    d = np.deg2rad(stars["dec"][keep])
    noise = rng.normal(0, 1, (5, number)) * error
    motions = {
        "pmra": stars["pmra"][keep] + noise[2],
        "pmdec": stars["pmdec"][keep] + noise[3],
        "parallax": stars["parallax"][keep] + noise[4],
    }
    out = {
        "source_id": (3 << 58) + stars["star_id"][keep].astype(np.int64),
        "ra": stars["ra"][keep] + noise[0] / np.cos(d) / MAS_PER_DEG,
        "dec": stars["dec"][keep] + noise[1] / MAS_PER_DEG,
        "ra_error": error,
        "dec_error": error,
        **{name: np.where(plain, np.nan, value) for name, value in motions.items()},
        "ref_epoch": np.full(number, REF_EPOCH),
    }
    for band, ref_band in ref_bands.items():
        true = flux(stars[f"mag_{band}"][keep])
        relative = np.hypot(0.003, 0.008 * 10 ** (0.32 * (m - 19)))
        out[f"flux_{ref_band}"] = true * (1 + relative * rng.normal(0, 1, number))
        out[f"fluxErr_{ref_band}"] = true * relative
    return out
