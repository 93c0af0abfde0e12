"""The reference catalogue: shards, regions, and epochs against astropy."""

import numpy as np
import pytest

from alertprod.core import refcat
from alertprod.core.errors import BadInput

MJD = 61000.3


def catalogue(n=400, seed=1, dec_limit=80.0):
    rng = np.random.default_rng(seed)
    return {
        "source_id": rng.permutation(n).astype(np.int64),
        "ra": rng.uniform(0, 360, n),
        "dec": np.degrees(np.arcsin(rng.uniform(-1, 1, n) * np.sin(np.radians(dec_limit)))),
        "pmra": rng.normal(0, 300, n),
        "pmdec": rng.normal(0, 300, n),
        "parallax": rng.exponential(20, n) + 5.0,
        "ref_epoch": np.full(n, 2016.0),
    }


def arcsec(ra1, dec1, ra2, dec2):
    d_ra = (np.asarray(ra1) - ra2 + 180) % 360 - 180
    return np.hypot(d_ra * np.cos(np.radians(dec2)), np.asarray(dec1) - dec2) * 3600


@pytest.mark.parametrize("parallax", [False, True])
def test_positions_are_carried_as_astropy_carries_them(parallax):
    """Proper motion by apply_space_motion, parallax by the transformation to GCRS' origin."""
    from astropy import units as u
    from astropy.coordinates import (
        ICRS,
        CartesianRepresentation,
        Distance,
        SkyCoord,
        get_body_barycentric,
    )
    from astropy.time import Time

    table = catalogue()
    start = SkyCoord(
        table["ra"] * u.deg,
        table["dec"] * u.deg,
        distance=Distance(parallax=table["parallax"] * u.mas),
        pm_ra_cosdec=table["pmra"] * u.mas / u.yr,
        pm_dec=table["pmdec"] * u.mas / u.yr,
        radial_velocity=0 * u.km / u.s,
        obstime=Time(2016.0, format="jyear", scale="tdb"),
    )
    when = Time(MJD, format="mjd", scale="tai")
    there = start.apply_space_motion(new_obstime=when)
    if parallax:
        earth = get_body_barycentric("earth", when.tdb)
        there = ICRS(CartesianRepresentation(there.cartesian.xyz - earth.xyz[:, None]))
    ra, dec = refcat.at_epoch(table, MJD, parallax=parallax)
    assert arcsec(ra, dec, there.ra.deg, there.dec.deg).max() < 2e-4
    moved = arcsec(ra, dec, table["ra"], table["dec"])
    assert moved.max() > 5  # there was something to get wrong


def test_bright_hipparcos_stars_move_as_astropy_says(real_data):
    import gzip

    from astropy import units as u
    from astropy.coordinates import Distance, SkyCoord
    from astropy.time import Time

    rows = []
    with gzip.open(real_data / "hipparcos_bright" / "hip_main.dat.gz", "rt") as lines:
        for line in lines:
            fields = line.split("|")
            values = [fields[k].strip() for k in (8, 9, 12, 13, 11)]
            if all(values) and float(values[4]) > 0.5:
                rows.append([float(v) for v in values])
    ra, dec, pmra, pmdec, parallax = np.array(rows).T
    assert len(ra) > 8000
    table = {
        "ra": ra,
        "dec": dec,
        "pmra": pmra,
        "pmdec": pmdec,
        "parallax": parallax,
        "ref_epoch": np.full(len(ra), 1991.25),
    }
    start = SkyCoord(
        ra * u.deg,
        dec * u.deg,
        pm_ra_cosdec=pmra * u.mas / u.yr,
        pm_dec=pmdec * u.mas / u.yr,
        distance=Distance(parallax=parallax * u.mas),
        radial_velocity=0 * u.km / u.s,
        obstime=Time(1991.25, format="jyear", scale="tdb"),
    )
    there = start.apply_space_motion(new_obstime=Time(MJD, format="mjd", scale="tai"))
    got = refcat.at_epoch(table, MJD, parallax=False)
    # Barnard-like stars turn: uniform motion in space, not on the sphere
    assert arcsec(*got, there.ra.deg, there.dec.deg).max() < 1e-3
    annual = arcsec(*refcat.at_epoch(table, MJD), *got)
    # an ellipse whose longer half axis is the parallax, times the Earth's 1.017 au at most
    assert (annual < 1.02 * parallax / 1000).all()
    assert annual.max() > 0.3


def test_null_motions_and_epochs_leave_a_star_where_it_is():
    table = {k: v[:3] for k, v in catalogue().items()}
    for name in ("pmra", "pmdec", "parallax", "ref_epoch"):
        table[name] = np.full(3, np.nan)
    ra, dec = refcat.at_epoch(table, MJD)
    assert arcsec(ra, dec, table["ra"], table["dec"]).max() < 1e-9
    ra, dec = refcat.at_epoch({"ra": table["ra"], "dec": table["dec"]}, MJD)
    assert arcsec(ra, dec, table["ra"], table["dec"]).max() < 1e-9


def shards(tmp_path, table, order=3):
    """Write shards by healpy's own numbering."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from astropy_healpix import HEALPix

    pixels = HEALPix(2**order, order="nested").lonlat_to_healpix(
        *(np.radians(table[k]) * __import__("astropy.units").units.rad for k in ("ra", "dec"))
    )
    paths = {}
    for pixel in np.unique(pixels):
        path = tmp_path / refcat.shard_path(order, int(pixel))
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = pixels == pixel
        pq.write_table(
            pa.table({k: pa.array(v[rows], from_pandas=True) for k, v in table.items()}), path
        )
        paths[int(pixel)] = path
    return paths


def test_a_region_holds_all_stars_within_its_radius_and_no_others(tmp_path):
    from astropy import units as u
    from astropy.coordinates import SkyCoord

    table = catalogue(4000, dec_limit=89.9)
    table["flux_r"] = np.where(table["source_id"] % 3 == 0, np.nan, 100.0)
    paths = shards(tmp_path, table, order=1)
    region = refcat.read_region(list(paths.values()), 359.5, 30.0, 12.0)
    distance = SkyCoord(table["ra"] * u.deg, table["dec"] * u.deg).separation(
        SkyCoord(359.5 * u.deg, 30.0 * u.deg)
    )
    expected = np.sort(table["source_id"][distance.deg < 12.0])
    assert region["source_id"].tolist() == expected.tolist()
    assert np.isnan(region["flux_r"][region["source_id"] % 3 == 0]).all()
    assert region["source_id"].dtype == np.int64


def test_shards_with_other_columns_are_filled_with_null(tmp_path):
    one, two = catalogue(10, 1), catalogue(10, 2)
    del two["parallax"]
    two["source_id"] = two["source_id"] + 100
    paths = [*shards(tmp_path / "a", one).values(), *shards(tmp_path / "b", two).values()]
    region = refcat.read_region(paths, 0.0, 0.0, 180.0)
    assert len(region["ra"]) == 20
    assert np.isnan(region["parallax"]).sum() == 10
    assert "fluxErr_r" not in region


def test_no_shards_are_an_empty_region():
    region = refcat.read_region([], 10.0, 10.0, 1.0)
    assert len(region["ra"]) == 0 and region["source_id"].dtype == np.int64


def test_a_shard_without_positions_names_itself(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"source_id": [1], "ra": [2.0]}), tmp_path / "Npix=7.parquet")
    with pytest.raises(BadInput, match=r"Npix=7\.parquet lacks dec"):
        refcat.read_region([tmp_path / "Npix=7.parquet"], 0, 0, 1)


@pytest.mark.parametrize("dec", [-60.0, 0.0, 41.0, 88.0])
def test_the_shards_of_a_footprint_cover_every_point_of_it(dec):
    """Random points in the widened footprint lie in listed shards."""
    from alertprod.core.wcs import Wcs

    wcs = Wcs((123.0, dec), (0.0, 0.0), np.diag([-0.001, 0.001]))
    x, y = np.array([-900, 900, 900, -900]), np.array([-400, -400, 400, 400])
    listed = set(refcat.shards_touching(*wcs.pix_to_sky(x, y), 6, 0.1))
    rng = np.random.default_rng(3)
    inside = wcs.pix_to_sky(rng.uniform(-990, 990, 3000), rng.uniform(-490, 490, 3000))
    assert set(refcat.shard_of(6, *inside).tolist()) <= listed
    assert len(listed) < 20
