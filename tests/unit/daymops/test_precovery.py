"""Orbits find what tracklets missed: single detections before, between and after the pairs."""

import numpy as np
import pytest

from alertprod.core import tables
from alertprod.daymops import fit_orbits, link_tracklets, make_tracklets, select_singles


@pytest.fixture(scope="module")
def singles(nights):
    """Everything that was seen, night by night."""
    return [select_singles(parts, config={})[0] for parts in nights.values()]


@pytest.fixture(scope="module")
def result(linkages, singles):
    return fit_orbits(linkages, singles, config={})


@pytest.fixture(scope="module")
def owner(small_sky):
    """True object of each detection, -1 for false ones."""
    pairs = zip(small_sky.detections["diaSourceId"].tolist(), small_sky.truth, strict=True)
    return {int(i): int(k) for i, k in pairs}


def owners(attributed, owner):
    """True owner of each object, by its linked detections, and of each added detection."""
    linked = attributed["how"] == "linked"
    mine = {}
    for name in np.unique(attributed["designation"]):
        rows = linked & (attributed["designation"] == name)
        mine[name] = owner[int(attributed["diaSourceId"][rows][0])]
    added = np.flatnonzero(~linked)
    wanted = [mine[attributed["designation"][k]] for k in added]
    return wanted, [owner[int(attributed["diaSourceId"][k])] for k in added]


def test_nights_before_and_after_are_searched_with_the_orbit(nights, singles, owner):
    """Linked without the first and the last night, found again in both."""
    tracklets = [make_tracklets(parts, config={}) for parts in list(nights.values())[1:-1]]
    linked = link_tracklets(tracklets, config={})
    orbits, attributed = fit_orbits(linked, singles, config={})
    wanted, got = owners(attributed, owner)
    assert {"precovered", "recovered"} <= set(attributed["how"])
    assert np.mean(np.array(got) == np.array(wanted)) >= 0.97
    good = orbits["quality"] == "good"
    mine = {owner[int(i)] for i in orbits["firstDiaSourceId"][good]}
    there = [i for k in (0, -1) for i in singles[k]["diaSourceId"].tolist() if owner[i] in mine]
    found = set(attributed["diaSourceId"].tolist())
    assert len(there) > 20
    assert sum(i in found for i in there) >= 0.9 * len(there)


def test_every_source_has_one_owner_and_a_visit_one_source_of_an_object(result):
    _, attributed = result
    assert len(set(attributed["diaSourceId"].tolist())) == tables.n_rows(attributed)
    pairs = zip(attributed["designation"], attributed["visit"], strict=True)
    assert len(set(pairs)) == tables.n_rows(attributed)


def test_residuals_are_those_of_the_measurement(result):
    orbits, attributed = result
    good = np.isin(attributed["designation"], orbits["designation"][orbits["quality"] == "good"])
    for name in ("resRa", "resDec"):
        assert 0.05 < np.std(attributed[name][good]) < 0.15  # errors of 0.1 arcsec


def test_further_detections_make_the_orbit_better(result, linkages):
    alone, _ = fit_orbits(linkages, [], config={})
    orbits, _ = result
    more = orbits["nObs"] > alone["nObs"]
    assert more.any()
    assert np.all(orbits["cov00"][more] <= alone["cov00"][more] * 1.001)
    assert orbits["designation"].tolist() == alone["designation"].tolist()


def test_the_next_night_gives_only_what_is_new(result, linkages, singles):
    orbits, attributed = result
    again, second = fit_orbits(linkages, singles, [], orbits, [attributed], config={})
    assert tables.n_rows(second) == 0
    assert set(again["status"]) == {"kept"}


def test_what_the_prediction_recognised_refines_the_orbit(nights, owner):
    """Found on the first nights; what association then attributes counts as observation."""
    names = list(nights)
    early, late = names[:-2], names[-2:]
    first = [select_singles(nights[n], config={})[0] for n in early]
    linked = link_tracklets([make_tracklets(part, config={}) for part in first], config={})
    orbits, given = fit_orbits(linked, first, config={})
    ids = {owner[int(i)]: j for i, j in
           zip(orbits["firstDiaSourceId"], orbits["ssObjectId"], strict=True)}  # fmt: skip
    seen = []
    for night in late:
        for visit in nights[night]:
            mine = np.array([ids.get(owner[int(i)], 0) for i in visit["diaSourceId"]])
            seen.append(select_singles([{**visit, "ssObjectId": mine}], config={})[1])
    assert sum(tables.n_rows(part) for part in seen) > 10
    after, attributed = fit_orbits(linked, first, seen, orbits, [given], config={})
    assert set(attributed["how"]) == {"predicted"}
    better = after["status"] == "updated"
    assert better.sum() >= 5
    assert np.all(after["arc"][better] > orbits["arc"][better])
    assert np.all(after["cov00"][better] < orbits["cov00"][better])


def test_a_night_without_linkages_still_owns_its_sightings(result, nights):
    orbits, _ = result
    visit = next(iter(nights.values()))[0]
    marked = np.where(np.arange(len(visit["ra"])) < 3, orbits["ssObjectId"][0], 0)
    seen = select_singles([{**visit, "ssObjectId": marked}], config={})[1]
    same, attributed = fit_orbits(tables.empty("linkages"), [], [seen], orbits, config={})
    assert same["designation"].tolist() == orbits["designation"].tolist()
    assert attributed["how"].tolist() == ["predicted"] * 3
