"""Catalogued objects among the linkages: recognised in a dense catalogue of stale orbits."""

import csv

import moving_sky
import numpy as np
import pytest

from alertprod.core import kepler, nbody, orbits

pytestmark = pytest.mark.science
SEEDS = (1, 2, 3)
AGE = 500.0  # days from the catalogue's epoch to the window
LATE = 0.4  # days, standard deviation, of what a stale orbit is late
OFF = 2.0  # arcsec across the path, likewise
DECOYS = 4.0  # times as many strangers in the catalogue as objects in the sky


def stale(states, epoch, rng):
    """Elements at the catalogue's epoch of orbits that have gone stale."""
    old = nbody.propagate(states, epoch, epoch - AGE)
    old = kepler.propagate(old, rng.normal(0.0, LATE, len(old)))
    across = np.cross(old[:, :3], old[:, 3:])
    across /= np.linalg.norm(across, axis=1)[:, None]
    size = np.deg2rad(rng.normal(0.0, OFF, len(old)) / 3600) * np.linalg.norm(old[:, :3], axis=1)
    old[:, :3] += size[:, None] * across
    return orbits.states_to_elements(old, epoch - AGE)


def write_catalogue(path, elements, epoch):
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        names = ("q", "e", "incl", "node", "argperi", "peri_time", "H")
        rows.writerow(["designation", "epoch_mjd_tdb", *names])
        for number, row in enumerate(elements.tolist(), 1):
            rows.writerow([str(number), epoch - AGE, *row, ""])


@pytest.fixture(scope="module", params=SEEDS)
def figures(request, tmp_path_factory):
    """Recognised and mistaken linkages; every second object and many strangers are catalogued."""
    from alertprod.daymops import identity, link_tracklets, make_tracklets
    from alertprod.daymops.fitting import fit_linkages
    from alertprod.daymops.inputs import with_station

    seed = request.param
    sky = moving_sky.simulate(seed, half=(4.0, 4.0))
    others = moving_sky.simulate(seed + 100, DECOYS, half=(4.0, 4.0))
    rng = np.random.default_rng([seed, 77])
    listed = np.arange(0, len(sky.states), 2)
    elements = np.concatenate(
        [stale(sky.states[listed], sky.epoch, rng), stale(others.states, others.epoch, rng)]
    )
    path = tmp_path_factory.mktemp("catalogue") / "orbits.csv"
    write_catalogue(path, elements, sky.epoch)
    nights = moving_sky.by_visit(sky).values()
    linkages = link_tracklets([make_tracklets(n, config={}) for n in nights], config={})
    options = with_station({}, None)
    fitted = fit_linkages(linkages, options)
    names = identity.catalogued(linkages, fitted, path, options)
    of = dict(zip(sky.detections["diaSourceId"].tolist(), sky.truth.tolist(), strict=True))
    owner = np.array([of[int(i)] for i in fitted["firstDiaSourceId"]])
    right = np.array([str(k // 2 + 1) if k >= 0 and k % 2 == 0 else "" for k in owner])
    found = {
        "listed": int(np.sum(right != "")),
        "recognised": int(np.sum((right != "") & (names == right))),
        "mistaken": int(np.sum((names != "") & (names != right))), "linkages": len(names),
        "catalogue": len(elements),
    }  # fmt: skip
    print(f"\nseed {seed}: {found}")
    return found


def test_stale_orbits_recognise_their_objects(figures):
    assert figures["listed"] > 200
    assert figures["recognised"] >= 0.98 * figures["listed"]


def test_strangers_are_not_taken_for_catalogued_objects(figures):
    assert figures["catalogue"] > 4 * figures["linkages"]
    assert figures["mistaken"] <= max(1, 0.002 * figures["linkages"])
