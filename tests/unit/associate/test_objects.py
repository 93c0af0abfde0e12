"""DIAObject statistics against Rubin's own alerts, and against plain definitions."""

import numpy as np
import pytest

from alertprod.associate import objects

REAL = ("psfFluxMean", "psfFluxMeanErr", "psfFluxSigma", "psfFluxMin", "psfFluxMax")
REAL += ("psfFluxMaxSlope", "psfFluxErrMean", "scienceFluxMean", "scienceFluxMeanErr")


def table(rows):
    """Turn records of alerts into the columns that the statistics need."""
    result = {}
    for name in objects.SOURCE_COLUMNS:
        values = [row[name] for row in rows]
        if name == "band":
            result[name] = np.array(values, dtype=object)
        elif name.endswith("Id"):
            result[name] = np.array([value or 0 for value in values], dtype=np.int64)
        else:
            wide = name in ("ra", "dec", "midpointMjdTai")
            result[name] = np.array(values, dtype=np.float64).astype("f8" if wide else "f4")
    return result


@pytest.fixture(scope="module")
def real_alerts(real_data):
    """Alerts of Rubin with a DIAObject: (object, all its sources)."""
    import fastavro
    import pyarrow.parquet as pq

    with open(real_data / "rubin_fink_client" / "part-2-918301.avro", "rb") as handle:
        alerts = list(fastavro.reader(handle))
    path = next((real_data / "rubin_fink_filters").glob("part-00000-*.parquet"))
    alerts += pq.read_table(path).to_pylist()
    with_object = [a for a in alerts if a["diaObject"] and a["diaObject"]["diaObjectId"]]
    return [(a["diaObject"], [a["diaSource"], *(a["prvDiaSources"] or [])]) for a in with_object]


def test_statistics_of_real_alerts_reproduce_to_float32(real_alerts):
    assert len(real_alerts) >= 25
    compared = 0
    for truth, rows in real_alerts:
        for row in rows:
            row["diaObjectId"] = truth["diaObjectId"]
        ours = objects.summarise(np.array([truth["diaObjectId"]]), table(rows))
        assert ours["nDiaSources"][0] == truth["nDiaSources"]
        # 3e-9 deg = 0.01 mas
        assert ours["ra"][0] == pytest.approx(truth["ra"], abs=3e-9)
        assert ours["dec"][0] == pytest.approx(truth["dec"], abs=3e-9)
        for band in objects.BANDS:
            if not truth[f"{band}_psfFluxNdata"]:
                continue  # Rubin's packets carry the statistics of the alert's own band only
            assert ours[f"{band}_psfFluxNdata"][0] == truth[f"{band}_psfFluxNdata"]
            for name in REAL:
                value, expected = ours[f"{band}_{name}"][0], truth[f"{band}_{name}"]
                if expected is None or np.isnan(expected):
                    assert np.isnan(value), (band, name)
                    continue
                assert value == pytest.approx(expected, rel=3e-7), (band, name)
                compared += 1
    assert compared > 150


def world(count=400, seed=3):
    rng = np.random.default_rng(seed)
    owner = np.sort(rng.integers(1, 40, count))
    return {
        "diaSourceId": np.arange(count) + 1,
        "diaObjectId": owner,
        "midpointMjdTai": rng.uniform(0, 100, count),
        "band": rng.choice(list("gr"), count).astype(object),
        "ra": 10.0 + rng.normal(0, 1e-5, count),
        "dec": -80.0 + rng.normal(0, 1e-5, count),
        "raErr": np.full(count, 1e-5, dtype="f4"),
        "decErr": np.full(count, 2e-5, dtype="f4"),
        "ra_dec_Cov": np.full(count, 1e-11, dtype="f4"),
        "psfFlux": rng.normal(100, 30, count).astype("f4"),
        "psfFluxErr": rng.uniform(1, 5, count).astype("f4"),
        "scienceFlux": rng.normal(500, 30, count).astype("f4"),
        "scienceFluxErr": rng.uniform(1, 5, count).astype("f4"),
        "timeWithdrawnMjdTai": np.full(count, np.nan),
    }


def test_many_objects_at_once_are_each_on_its_own():
    sources = world()
    ids = np.unique(sources["diaObjectId"])
    ours = objects.summarise(ids, sources)
    for row, owner in enumerate(ids):
        for band in "gr":
            pick = (sources["diaObjectId"] == owner) & (sources["band"] == band)
            order = np.argsort(sources["midpointMjdTai"][pick])
            flux = sources["psfFlux"][pick][order].astype(float)
            time = sources["midpointMjdTai"][pick][order]
            error = sources["psfFluxErr"][pick][order].astype(float)
            assert ours[f"{band}_psfFluxNdata"][row] == len(flux)
            if len(flux) < 2:
                continue
            mean = np.average(flux, weights=error**-2)
            assert ours[f"{band}_psfFluxMean"][row] == pytest.approx(mean, rel=1e-6)
            assert ours[f"{band}_psfFluxSigma"][row] == pytest.approx(flux.std(ddof=1), rel=1e-6)
            slope = (np.diff(flux) / np.diff(time)).max()
            assert ours[f"{band}_psfFluxMaxSlope"][row] == pytest.approx(slope, rel=1e-6)


def test_the_order_of_the_rows_does_not_matter():
    sources = world()
    ids = np.unique(sources["diaObjectId"])
    mixed = np.random.default_rng(1).permutation(len(sources["ra"]))
    one = objects.summarise(ids, sources)
    two = objects.summarise(ids, {name: column[mixed] for name, column in sources.items()})
    assert all(np.array_equal(one[n], two[n], equal_nan=one[n].dtype.kind == "f") for n in one)


def test_a_mean_position_across_the_meridian_is_not_on_the_other_side_of_the_sky():
    sources = {name: column[:2].copy() for name, column in world().items()}
    sources["diaObjectId"][:] = 5
    sources["ra"][:] = (359.9999, 0.0003)
    sources["dec"][:] = 0.0
    ours = objects.summarise(np.array([5]), sources)
    assert ours["ra"][0] == pytest.approx(0.0001, abs=1e-9)
    assert ours["raErr"][0] == pytest.approx(1e-5 / np.sqrt(2), rel=1e-6)


def test_fluxes_that_failed_do_not_count():
    sources = {name: column[:3].copy() for name, column in world().items()}
    sources["diaObjectId"][:] = 5
    sources["band"][:] = "g"
    sources["psfFlux"][:] = (10.0, np.nan, 20.0)
    ours = objects.summarise(np.array([5]), sources)
    assert ours["g_psfFluxNdata"][0] == 2 and ours["nDiaSources"][0] == 3
    assert ours["g_psfFluxMax"][0] == 20.0 and ours["g_psfFluxMin"][0] == 10.0
    assert np.isnan(ours["r_psfFluxMean"][0]) and np.isnan(ours["g_fpFluxMean"][0])


def test_forced_fluxes_enter_their_own_columns():
    sources = {name: column[:1].copy() for name, column in world().items()}
    sources["diaObjectId"][:] = 5
    forced = {
        "diaForcedSourceId": np.array([1, 2]),
        "diaObjectId": np.array([5, 5]),
        "midpointMjdTai": np.array([1.0, 2.0]),
        "band": np.array(["z", "z"], dtype=object),
        "psfFlux": np.array([4.0, 8.0]),
        "psfFluxErr": np.array([1.0, 1.0]),
    }
    ours = objects.summarise(np.array([5]), sources, forced)
    assert ours["z_fpFluxMean"][0] == 6.0
    assert ours["z_fpFluxMeanErr"][0] == pytest.approx(np.sqrt(0.5))
    assert ours["z_psfFluxNdata"][0] == 0
