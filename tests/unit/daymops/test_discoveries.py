"""Orbits of linkages: true, named, cumulative."""

import numpy as np
import pytest

from alertprod.core import orbits as conics
from alertprod.core import tables
from alertprod.daymops import describe, fit_orbits, fitting


@pytest.fixture(scope="module")
def found(linkages):
    return fit_orbits(linkages, [], config={})[0]


def test_orbits_are_those_of_the_truth(moving_sky, small_sky, linkages, found):
    owner = dict(zip(small_sky.detections["diaSourceId"].tolist(), small_sky.truth, strict=True))
    of = np.array([owner[i] for i in found["firstDiaSourceId"].tolist()])
    states = np.stack([found[c] for c in fitting.STATE], axis=-1)
    # carry the truth to the epoch of the fits by two-body motion: days only, far from the Earth
    from alertprod.core import kepler

    truth = kepler.propagate(small_sky.states[of], found["epochMjdTdb"] - small_sky.epoch)
    covariance = np.zeros((len(of), 6, 6))
    for name, (i, j) in zip(fitting.COVARIANCE, fitting.UPPER, strict=True):
        covariance[:, i, j] = covariance[:, j, i] = found[name]
    good = found["quality"] == "good"
    delta = (states - truth)[good]
    pull = np.array(
        [d @ np.linalg.solve(c, d) for d, c in zip(delta, covariance[good], strict=True)]
    )
    assert good.sum() > 7
    assert 2.5 < np.median(pull) < 11.0  # 5.35 for six Gaussian components
    main = (small_sky.kind[of] == 0) & good
    assert set(found["orbitClass"][main]) <= {"MBA", "Mars-crosser", "Hungaria", "Hilda"}
    assert np.all(found["arc"] > 1.0)


def test_distant_objects_are_bounded_and_say_so(small_sky, found):
    distant = found["orbitClass"] == "TNO"
    assert distant.any()
    assert set(found["quality"][distant]) <= {"bounded", "good"}
    assert np.all(found["e"][distant] < 1.0)


def test_the_next_night_keeps_names_and_adds_only_what_is_new(linkages, found):
    again = fit_orbits(linkages, [], [], found, config={})[0]
    assert again["designation"].tolist() == found["designation"].tolist()
    assert set(again["status"]) == {"kept"}
    half = tables.take(found, np.arange(tables.n_rows(found)) % 2 == 0)
    more = fit_orbits(linkages, [], [], half, config={})[0]
    assert more["designation"][: len(half["H"])].tolist() == half["designation"].tolist()
    assert len(set(more["designation"])) == tables.n_rows(more) == tables.n_rows(found)
    assert np.sum(more["status"] == "new") == tables.n_rows(found) - tables.n_rows(half)


def test_nothing_linked_leaves_the_orbits_as_they_were(found):
    same = fit_orbits(tables.empty("linkages"), [], [], found, config={})[0]
    assert same["designation"].tolist() == found["designation"].tolist()
    assert tables.n_rows(fit_orbits(tables.empty("linkages"), [], config={})[0]) == 0


def test_names_fit_the_mpc_and_identifiers_are_unique(found):
    assert all(len(name) == 8 for name in found["designation"])
    assert len(set(found["ssObjectId"].tolist())) == tables.n_rows(found)
    assert np.all(found["ssObjectId"] > 0)


def test_absurd_orbits_are_not_called_good():
    states = conics.elements_to_states(
        np.array([[2.5, 0.1, 5, 0, 0, 6e4], [0.01, 0.99, 5, 0, 0, 6e4], [1.0, 60.0, 5, 0, 0, 6e4],
                  [1.3, 6.1, 175, 0, 0, 6e4], [0.3, 0.2, 5, 0, 0, 6e4]]), 6e4,
    )  # fmt: skip
    elements = conics.states_to_elements(states, 6e4)
    assert fitting.is_sane(states, elements).tolist() == [True, False, False, True, False]


def test_absolute_magnitude_undoes_the_distances(linkages, found):
    """Against astropy-free arithmetic: brighter by 5 log(r delta) and the phase function."""
    from alertprod.core import ephemeris

    row = int(np.flatnonzero(found["orbitClass"] == "MBA")[0])
    part = tables.take(linkages, linkages["linkageId"] == found["linkageId"][row])
    state = np.array([[found[c][row] for c in fitting.STATE]])
    values = []
    for t, mag in zip(part["midpointMjdTai"], part["mag"], strict=True):
        helio, topo = ephemeris.topocentric(state, found["epochMjdTdb"][row : row + 1], t, "X05")
        r, d = np.linalg.norm(helio[0, :3]), np.linalg.norm(topo[0, :3])
        cosine = (helio[0, :3] @ topo[0, :3]) / (r * d)
        phase = np.rad2deg(np.arccos(cosine))
        values.append(mag + 0.21 - ephemeris.magnitude_hg(0.0, 0.15, r, d, np.array([phase]))[0])
    assert found["H"][row] == pytest.approx(np.mean(values), abs=0.05)
    assert 0.0 < found["HErr"][row] < 0.1


CLASSES = [
    (2.2, 0.15, 5, "MBA"), (1.0, 0.5, 5, "NEO"), (5.0, 0.04, 8, "Trojan"), (42, 0.05, 2, "TNO"),
    (1.5, 0.3, 5, "Mars-crosser"), (10, 0.3, 8, "Centaur"), (1.3566, 6.1, 175, "hyperbolic"),
]  # fmt: skip


@pytest.mark.parametrize(("q", "e", "incl", "name"), CLASSES)
def test_classes(q, e, incl, name):
    assert describe.orbit_class(q, e, incl) == name
