"""One visit of the fold: who goes where."""

import numpy as np
import pytest

from alertprod.associate import filters
from alertprod.core.tables import read_metadata, read_table, write_table


def write(world, survey, index, **columns):
    """Write detections like those of `observe`, with some columns changed."""
    world.observe(index)
    path = world.path(index, "000/dia_sources.parquet")
    table = dict(read_table(path))
    for name, (row, value) in columns.items():
        table[name] = table[name].copy()
        table[name][row] = value
    write_table(path, table, "dia_sources")


def test_first_visit_makes_objects_and_the_second_finds_them(world, survey):
    for index in range(2):
        world.observe(index)
    first, second = world.associate(0, None), None
    world.package(0, {})
    second = world.associate(1, 0)
    assert np.array_equal(first["diaObjectId"], first["diaSourceId"])
    assert np.array_equal(np.sort(second["diaObjectId"]), first["diaObjectId"])
    assert set(second["diaObject_nDiaSources"]) == {2}
    assert np.all(second["diaObject_firstDiaSourceMjdTai"] == survey.midpoint(0))
    assert np.all(second["diaObject_lastDiaSourceMjdTai"] == survey.midpoint(1))
    mean = (first["psfFlux"].astype(float) + second["psfFlux"]) / 2
    assert np.allclose(second["diaObject_r_psfFluxMean"], mean, rtol=1e-6)


def test_an_asteroid_on_top_of_a_known_star_does_not_join_it(world, survey):
    for index in range(2):
        world.observe(index)
    world.associate(0, None)
    world.package(0, {})
    table = read_table(world.path(1, "000/dia_sources.parquet"))
    from alertprod.associate.solar_system import FROM_PREDICTION

    predicted = {name: np.zeros(1) for name in FROM_PREDICTION} | {
        "visit": np.array([survey.visit_number(1)]),
        "ssObjectId": np.array([99]),
        "designation": np.array(["2026 AB1"], dtype=object),
        "ra": table["ra"][:1],
        "dec": table["dec"][:1],
        "raErr": np.array([1e-5]),
        "decErr": np.array([1e-5]),
        "ra_dec_Cov": np.zeros(1),
        "ephRateRa": np.array([0.1]),
        "H": np.array([18.0]),
        "G": np.array([0.15]),
    }
    second = world.associate(1, 0, predicted)
    moving = second["ssObjectId"] == 99
    assert moving.sum() == 1
    assert second["diaObjectId"][moving] == 0
    assert second["ssSource_designation"][moving] == "2026 AB1"
    assert np.isnan(second["diaObject_ra"][moving])
    assert (second["diaObjectId"] != 0).sum() == 8


def test_a_dirty_source_may_join_an_object_but_not_start_one(world, survey):
    world.observe(0, slice(0, 5))
    write(world, survey, 1, pixelFlags_cr=([0, 8], True))
    world.associate(0, None)
    world.package(0, {})
    second = world.associate(1, 0)
    # Number 0 has an object from the first visit; number 8 has none and is dropped.
    assert len(second["diaSourceId"]) == 8
    assert second["pixelFlags_cr"].sum() == 1 and second["diaObjectId"].all()
    counts = read_metadata(world.path(1, "association.parquet"))["ledger"][0]["counts"]
    assert (counts["matched"], counts["new"], counts["dropped"]) == (5, 3, 1)


def test_a_detector_with_too_many_new_objects_is_rejected_and_the_visit_goes_on(world, survey):
    world.options["associate"]["max_new_objects"] = 5
    world.observe(0, slice(0, 4))
    world.observe(0, slice(4, 9), shift=3.0, detector=1)
    world.observe(0, slice(0, 8), shift=6.0, detector=2)
    table = world.associate(0, None)
    assert sorted(set(table["detector"])) == [0, 1]
    ledger = read_metadata(world.path(0, "association.parquet"))["ledger"]
    assert [entry["status"] for entry in ledger] == ["OK", "OK", "REJECTED"]
    assert "8 new objects on one detector, more than 5" in ledger[2]["reason"]


def test_an_object_seen_by_two_detectors_of_a_visit_has_one_new_version(world, survey):
    world.observe(0)
    world.associate(0, None)
    world.package(0, {})
    world.observe(1)
    world.observe(1, slice(0, 3), shift=0.4, detector=1)
    table = world.associate(1, 0)
    owners = table["diaObjectId"]
    assert len(np.unique(owners)) == len(owners) == 12  # the twin starts an object of its own
    assert len(survey.dump(world.database)["DiaObject"]) == 9 + 12


def test_cuts_and_their_counts(survey):
    table = survey.sources(2025112100100, 61000.0, [1, 2, 3, 4], [1, 2, 3, 4], [9e3] * 4)
    table["centroid_flag"] = np.array([True, False, False, False])
    table["scienceFlux"] = np.array([1e3, -1e3, 1e3, 1e3], dtype="f4")
    table["trailLength"] = np.array([np.nan, np.nan, 30.0, 3.0], dtype="f4")
    kept, removed = filters.keep(table, survey.settings("associate"))
    assert kept.tolist() == [False, False, False, True]
    assert removed == {"centroid_flag": 1, "science_snr": 1, "trail": 1}


def test_reliability_cut_spares_sources_without_a_score(survey):
    table = survey.sources(2025112100100, 61000.0, [1, 2, 3], [1, 2, 3], [9e3] * 3)
    table["reliability"] = np.array([0.2, 0.9, np.nan], dtype="f4")
    config = survey.settings("associate") | {"least_reliability": 0.5}
    assert filters.keep(table, config)[0].tolist() == [False, True, True]


def test_negative_sources_keep_their_sign(world, survey):
    write(world, survey, 0, isNegative=([2], True), psfFlux=([2], -900.0))
    table = world.associate(0, None)
    assert table["isNegative"].sum() == 1
    assert table["diaObject_r_psfFluxMean"].min() == pytest.approx(-900.0)
