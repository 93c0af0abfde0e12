"""Small sets, artefacts and flawed rows: what is there is linked, what is not an object is not."""

import logging

import numpy as np
import pytest

from alertprod.core import tables
from alertprod.daymops import link_tracklets, make_tracklets


@pytest.fixture(scope="module")
def sky(moving_sky):
    """Three nights of one field without false detections, every object seen in every visit."""
    return moving_sky.simulate(
        seed=3, nights=3, half=(1.5, 1.5), lost=(), false=0.0, efficiency=1.0,
        counts={"main": 1500},
    )  # fmt: skip


@pytest.fixture(scope="module")
def ten(moving_sky, sky):
    """Associations by night of ten objects that have pairs on all three nights."""
    wanted = moving_sky.findable(sky)[:10]
    assert len(wanted) == 10
    return {
        night: [tables.take(t, np.isin(owners(sky, t), wanted)) for t in visits]
        for night, visits in moving_sky.by_visit(sky).items()
    }


def owners(sky, table):
    return sky.truth[np.searchsorted(sky.detections["diaSourceId"], table["diaSourceId"])]


def link(nights, **config):
    parts = [make_tracklets(visits, config=config) for visits in nights.values()]
    return link_tracklets(parts, config=config)


def objects(sky, linkages):
    """Owner of each linkage; an impure one fails."""
    found = []
    for number in np.unique(linkages["linkageId"]):
        mine = tables.take(linkages, linkages["linkageId"] == number)
        (owner,) = set(owners(sky, mine))
        assert owner >= 0 and len(set(mine["visit"])) == len(mine["visit"])
        found.append(owner)
    return sorted(found)


def more(table, ra, dec, first_id):
    """The table of a visit with false detections added."""
    n = len(ra)
    new = {name: np.repeat(column[:1], n) for name, column in table.items()}
    new |= {"ra": np.asarray(ra), "dec": np.asarray(dec)}
    new["diaSourceId"] = first_id + np.arange(n)
    return tables.stack([table, new])


def test_ten_clean_objects_on_three_nights_of_pairs_are_ten_pure_linkages(ten, sky):
    linkages = link(ten)
    assert len(set(objects(sky, linkages))) == 10
    assert tables.n_rows(linkages) == sum(len(t["ra"]) for v in ten.values() for t in v)


def test_a_night_without_pairs_leaves_two_nights_and_no_linkage(ten):
    (first, second, third) = ten.values()
    assert tables.n_rows(link({1: first, 2: second, 3: third[:1]})) == 0
    assert tables.n_rows(link({1: first[:1]})) == 0


def test_detections_given_twice_and_two_sources_in_one_place_count_once(ten, sky):
    double = {
        night: [tables.stack([t, tables.take(t, slice(0, 5))]) for t in visits]
        for night, visits in ten.items()
    }
    again = link(double)
    assert np.array_equal(again["diaSourceId"], link(ten)["diaSourceId"])
    # a second source of another number in each place, as a deblender leaves them
    twins = {
        night: [tables.stack([t, t | {"diaSourceId": t["diaSourceId"] + 500_000}]) for t in visits]
        for night, visits in ten.items()
    }
    linkages = link(twins)
    linkages["diaSourceId"] = np.where(
        linkages["diaSourceId"] % 1_000_000 >= 500_000,
        linkages["diaSourceId"] - 500_000, linkages["diaSourceId"],
    )  # fmt: skip
    assert set(objects(sky, linkages)) == set(objects(sky, again))


def test_what_stands_still_every_night_is_no_object(ten, sky):
    """Jitter beyond the least arc makes pairs of it, but no orbit stands still for three nights."""
    rng = np.random.default_rng(5)
    field = next(iter(ten.values()))[0]
    ra, dec = np.median(field["ra"]) + rng.uniform(-1, 1, 40), rng.uniform(-1, 1, 40)
    dec += np.median(field["dec"])
    nights = {
        night: [
            more(t, ra + rng.normal(0, 0.15, 40) / 3600, dec + rng.normal(0, 0.15, 40) / 3600,
                 10**12 * (k + 1) + night)
            for k, t in enumerate(visits)
        ]
        for night, visits in ten.items()
    }  # fmt: skip
    made = [make_tracklets(visits, config={}) for visits in nights.values()]
    assert sum((t["diaSourceId"] > 10**11).sum() for t in made) > 50
    linkages = link_tracklets(made, config={})
    assert (linkages["diaSourceId"] < 10**11).all()
    assert len(objects(sky, linkages)) == 10


def test_a_satellite_train_in_one_visit_of_each_night_costs_no_object(ten, sky):
    nights = {}
    for k, (night, visits) in enumerate(ten.items()):
        t = visits[0]
        along = np.arange(400) * 20.0 / 3600
        angle = 0.3 + k
        ra = np.median(t["ra"]) - 1 + along * np.cos(angle)
        dec = np.median(t["dec"]) + along * np.sin(angle)
        nights[night] = [more(t, ra, dec, 10**12 + night), *visits[1:]]
    linkages = link(nights)
    assert set(objects(sky, tables.take(linkages, linkages["diaSourceId"] < 10**11))) == set(
        objects(sky, link(ten))
    )
    assert (linkages["diaSourceId"] < 10**11).all()


@pytest.mark.parametrize("name", ["ra", "dec", "midpointMjdTai"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_rows_without_place_or_time_are_left_out_and_counted(ten, sky, name, value, caplog):
    flawed = {
        night: [t | {name: np.where(np.arange(len(t[name])) == 0, value, t[name])} for t in visits]
        for night, visits in ten.items()
    }
    with caplog.at_level(logging.WARNING):
        assert len(objects(sky, link(flawed))) == 9
    assert sum("1 detections without" in r.getMessage() for r in caplog.records) == 6
    # and the same in tracklets, should they come from elsewhere
    made = [make_tracklets(visits, config={}) for visits in ten.values()]
    made[0][name][0] = value
    with caplog.at_level(logging.WARNING):
        assert len(objects(sky, link_tracklets(made, config={}))) == 9
    assert any("1 tracklets without" in r.getMessage() for r in caplog.records)
