"""Known objects with stale orbits are recognised by their motion, strangers are not."""

import numpy as np
import pytest

from alertprod.core import tables
from alertprod.daymops import fit_orbits, select_singles

MINUTE = 1.0 / 1440.0
EAST, NORTH = 9.0, 6.0  # arcsec in half an hour: the motion of a main-belt asteroid


def predicted(visit, minute, number=77, mag=20.0):
    """One object as the prediction has it."""
    step = minute / 30.0
    table = tables.empty("predicted")
    row = {name: np.zeros(1, dtype=column.dtype) for name, column in table.items()}
    row |= {
        "visit": np.array([visit]), "ssObjectId": np.array([number]),
        "designation": np.array(["1999 AB1"], dtype=object),
        "ra": np.array([10.0 + EAST * step / 3600]), "dec": np.array([NORTH * step / 3600]),
        "mag": np.array([mag]),
    }  # fmt: skip
    return tables.conform(row, "predicted")


def seen(visit, minute, offsets, flux=36307.8, first=1):  # 20 mag
    """Sources at offsets [arcsec] from where the object is predicted."""
    xy, step = np.atleast_2d(np.asarray(offsets, float)), minute / 30.0
    n = len(xy)
    return {
        "diaSourceId": np.arange(first, first + n), "visit": np.full(n, visit),
        "detector": np.zeros(n, int), "midpointMjdTai": np.full(n, 60000.1 + minute * MINUTE),
        "ra": 10.0 + (xy[:, 0] + EAST * step) / 3600, "dec": (xy[:, 1] + NORTH * step) / 3600,
        "raErr": np.full(n, 0.1 / 3600), "decErr": np.full(n, 0.1 / 3600),
        "ssObjectId": np.zeros(n, int), "psfFlux": np.full(n, flux),
        "psfFluxErr": np.full(n, 500.0), "band": np.full(n, "r", dtype=object),
    }  # fmt: skip


VISITS = (2025010100001, 2025010100002, 2025010100003)
TIMES = (0.0, 30.0, 60.0)
PREDICTED = [predicted(v, t) for v, t in zip(VISITS, TIMES, strict=True)]


def select(*tables_):
    return select_singles(list(tables_), PREDICTED, config={})


def test_an_object_ten_arcsec_off_its_prediction_is_identified():
    parts = [
        seen(VISITS[0], 0, [[8.0, -6.0], [40, 40]]),
        seen(VISITS[1], 30, [[8.2, -6.1], [-20, 9]], first=11),
        seen(VISITS[2], 60, [[8.3, -6.3]], first=21),
    ]
    singles, sightings = select(*parts)
    assert sightings["diaSourceId"].tolist() == [1, 11, 21]
    assert sightings["isIdentified"].all() and set(sightings["ssObjectId"]) == {77}
    assert set(sightings["designation"]) == {"1999 AB1"}
    assert singles["diaSourceId"].tolist() == [2, 12]


@pytest.mark.parametrize("second", [[3.0, -6.0], [-8.0, 6.0]])
def test_strangers_that_do_not_move_along_stay_single(second):
    singles, sightings = select(
        seen(VISITS[0], 0, [8.0, -6.0]), seen(VISITS[1], 30, second, first=11)
    )
    assert tables.n_rows(sightings) == 0 and tables.n_rows(singles) == 2


def test_one_source_alone_proves_nothing():
    singles, sightings = select(seen(VISITS[0], 0, [8.0, -6.0]))
    assert tables.n_rows(sightings) == 0 and tables.n_rows(singles) == 1


def test_a_source_of_the_wrong_brightness_is_another_one():
    _, sightings = select(
        seen(VISITS[0], 0, [8, -6], flux=500), seen(VISITS[1], 30, [8, -6], flux=500, first=11)
    )
    assert tables.n_rows(sightings) == 0


def test_the_orbit_stage_hands_the_identified_on():
    _, sightings = select(
        seen(VISITS[0], 0, [8.0, -6.0]), seen(VISITS[1], 30, [8.0, -6.0], first=11)
    )
    _, attributed = fit_orbits(tables.empty("linkages"), [], [sightings], config={})
    assert attributed["how"].tolist() == ["identified"] * 2
    assert set(attributed["ssObjectId"]) == {77} and np.isnan(attributed["resRa"]).all()
