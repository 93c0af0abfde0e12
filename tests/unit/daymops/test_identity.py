"""Linkages of catalogued objects are recognised, however stale their orbits, and no others."""

import csv

import numpy as np
import pytest

from alertprod.core import kepler, nbody, orbits, tables
from alertprod.daymops import fit_orbits, identity
from alertprod.daymops.fitting import fit_linkages
from alertprod.daymops.inputs import with_station

AGE = 500.0  # days from the catalogue's epoch to the window
COLUMNS = ("designation", "epoch_mjd_tdb", "q", "e", "incl", "node", "argperi", "peri_time", "H")


@pytest.fixture(scope="module")
def owner(small_sky, linkages):
    """True object of each linkage, in order of linkageId."""
    of = dict(zip(small_sky.detections["diaSourceId"].tolist(), small_sky.truth, strict=True))
    return np.array([of[int(i)] for i in np.unique(linkages["linkageId"])])


@pytest.fixture
def catalogue(tmp_path):
    """Write a catalogue of states; each object is `late` days along its path, and 3" off it."""

    def write(numbers, states, epoch, late=0.0, first=0):
        old = nbody.propagate(states, epoch, epoch - AGE)
        old = kepler.propagate(old, np.full(len(old), -late))
        across = np.cross(old[:, :3], old[:, 3:])
        across /= np.linalg.norm(across, axis=1)[:, None]
        old[:, :3] += np.deg2rad(3.0 / 3600) * np.linalg.norm(old[:, :3], axis=1)[:, None] * across
        elements = orbits.states_to_elements(old, epoch - AGE)
        path = tmp_path / "orbits.csv"
        with path.open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(COLUMNS)
            for number, row in zip(numbers, elements.tolist(), strict=True):
                rows.writerow([str(first + number), epoch - AGE, *row, ""])
        return path

    return write


@pytest.mark.parametrize("late", [0.0, -1.2, 1.2])
def test_stale_orbits_recognise_their_objects_and_only_them(
    small_sky, linkages, owner, catalogue, late
):
    options = with_station({}, None)
    numbers = np.arange(1, len(small_sky.states), 2)
    path = catalogue(numbers, small_sky.states[numbers], small_sky.epoch, late)
    fitted = fit_linkages(linkages, options)
    names = identity.catalogued(linkages, fitted, path, options)
    known = np.isin(owner, numbers)
    assert known.sum() >= 5 and (~known).sum() >= 5
    assert names[known].tolist() == owner[known].astype(str).tolist()
    assert set(names[~known]) == {""}


def test_too_far_along_the_path_is_another_object(small_sky, linkages, catalogue):
    options = with_station({}, None)
    path = catalogue(np.arange(len(small_sky.states)), small_sky.states, small_sky.epoch, 12.0)
    fitted = fit_linkages(linkages, options)
    main = fitted["orbitClass"] == "MBA"  # distant ones do not move so far in twelve days
    assert set(identity.catalogued(linkages, fitted, path, options)[main]) == {""}


def test_a_recognised_linkage_is_no_discovery(small_sky, linkages, owner, catalogue):
    numbers = np.arange(1, len(small_sky.states), 2)
    path = catalogue(numbers, small_sky.states[numbers], small_sky.epoch, 0.5, first=5000)
    found, attributed = fit_orbits(linkages, [], orbits_known=path, config={})
    alone, _ = fit_orbits(linkages, [], config={})
    known = attributed["how"] == "identified"
    names = set(attributed["designation"][known])
    assert len(names) >= 4
    assert tables.n_rows(found) == tables.n_rows(alone) - len(names)
    assert names <= {str(5000 + n) for n in numbers}
    one = known & (attributed["designation"] == min(names))
    assert len(set(attributed["ssObjectId"][one])) == 1 and one.sum() >= 6
    assert np.isnan(attributed["resRa"][known]).all()


def test_linkages_far_from_every_catalogued_object_stay_new(linkages, catalogue):
    options = with_station({}, None)
    elsewhere = orbits.elements_to_states(np.array([[2.4, 0.1, 5.0, 10.0, 20.0, 6e4]]), 60953.0)
    fitted = fit_linkages(linkages, options)
    for states in (elsewhere, elsewhere * [-1, -1, -1, -1, -1, -1]):
        path = catalogue([1], states, 60953.0)
        assert set(identity.catalogued(linkages, fitted, path, options)) == {""}
