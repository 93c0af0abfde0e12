"""Reading shards until `alertprod.core.refcat` does it."""

import numpy as np


def read_region(paths, ra, dec, radius):
    """Read all rows of the shards within `radius` deg."""
    import pyarrow.parquet as pq

    from alertprod.core.match import unit_vectors

    parts = [pq.read_table(p).to_pydict() for p in paths]
    names = parts[0].keys()
    table = {n: np.concatenate([np.array(p[n], dtype=None) for p in parts]) for n in names}
    table = {
        n: (v if n == "source_id" else np.array([np.nan if q is None else q for q in v], float))
        for n, v in table.items()
    }
    near = unit_vectors(table["ra"], table["dec"]) @ unit_vectors([ra], [dec])[0]
    return {n: v[near > np.cos(np.radians(radius))] for n, v in table.items()}


def at_epoch(table, mjd_tai):
    """Apply proper motion."""
    years = (mjd_tai - 51544.5) / 365.25 + 2000 - table["ref_epoch"]
    dra = np.nan_to_num(table["pmra"] * years) / 3.6e6 / np.cos(np.radians(table["dec"]))
    return table["ra"] + dra, table["dec"] + np.nan_to_num(table["pmdec"] * years) / 3.6e6
