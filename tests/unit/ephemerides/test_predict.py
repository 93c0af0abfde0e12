"""Predictions: against JPL's own, against N-body, and what a visit needs of them."""

import csv
from types import SimpleNamespace

import numpy as np
import pytest

from alertprod.core import kepler, nbody, observer, orbits, tables
from alertprod.core.errors import BadInput
from alertprod.ephemerides import night, predict_night, predict_visit

EPOCH = 60600.0
HEADER = "designation,epoch_mjd_tdb,q,e,incl,node,argperi,peri_time,H,G\n"


@pytest.fixture
def catalogue(tmp_path):
    def write(*rows):
        path = tmp_path / "orbits.csv"
        path.write_text(HEADER + "".join(",".join(map(str, row)) + "\n" for row in rows))
        return path

    return write


def visit(mjd, ra, dec, **more):
    return {"visit": 2025051800001, "midpoint_mjd_tai": mjd, "ra": ra, "dec": dec,
            "radius": 1.75, "obscode": "X05", "band": "r", **more}  # fmt: skip


HOLMAN = ("3666", EPOCH, 2.71347881, 0.129302136, 2.365038037, 120.3051692, 53.44455934,
          59934.6815, 12.0, 0.15)  # fmt: skip


def test_predictions_seven_months_out_agree_with_an_independent_program(real_data, catalogue):
    """(3666) from X05 as Horizons and another N-body code give it."""
    with open(real_data / "mpc" / "holman_expected_predict.csv", newline="") as stream:
        rows = list(csv.reader(stream))[1::97]
    path = catalogue(HOLMAN)
    for row in rows:
        jd, ra, dec = float(row[2]), float(row[3]), float(row[4])
        look = visit(float(observer.tdb_to_tai(jd - 2400000.5)), ra, dec)
        found = predict_visit(predict_night(path, None, [look], config={}), look, config={})
        assert found["designation"].tolist() == ["3666"]
        assert abs(found["ra"][0] - ra) * 3600 * np.cos(np.deg2rad(dec)) < 0.005
        assert abs(found["dec"][0] - dec) * 3600 < 0.005


def crowd(n=300, seed=4):
    """Main-belt and near-Earth orbits near one field at EPOCH, and the field."""
    rng = np.random.default_rng(seed)
    el = np.stack([rng.uniform(1.0, 3.0, 60 * n), rng.uniform(0, 0.5, 60 * n),
                   rng.rayleigh(8, 60 * n), *rng.uniform(0, 360, (2, 60 * n)),
                   EPOCH + rng.uniform(-700, 700, 60 * n)], axis=-1)  # fmt: skip
    states = orbits.elements_to_states(el, EPOCH)
    earth = (observer.earth_state(EPOCH)[0] - observer.sun_state(EPOCH)[0])[0]
    ra, _ = orbits.directions(states[:, :3] - earth)
    centre = np.rad2deg(np.arctan2(earth[1], earth[0])) % 360
    near = np.abs((ra - centre + 180) % 360 - 180) < 15
    return el[near][:n], centre, np.rad2deg(np.arcsin(earth[2] / np.linalg.norm(earth)))


def test_the_screen_loses_nothing_that_nbody_puts_in_the_field(catalogue):
    el, ra, _ = crowd()
    path = catalogue(*[(f"S{k:04d}", EPOCH, *row, 18, 0.15) for k, row in enumerate(el)])
    looks = [visit(EPOCH + 20 + k * 0.03, ra + 2 * k, 11.0, radius=5.0) for k in range(3)]
    found = predict_night(path, None, looks, config={})
    states = orbits.elements_to_states(el, EPOCH)
    inside = set()
    for look in looks:
        tdb = float(observer.tai_to_tdb(look["midpoint_mjd_tai"]))
        truth = nbody.propagate(states, EPOCH, tdb)
        place = observer.observer_state("X05", look["midpoint_mjd_tai"])[0]
        vector = truth[:, :3] + observer.sun_state(tdb)[0] - place
        unit = vector / np.linalg.norm(vector, axis=1)[:, None]
        cosine = unit @ orbits.unit_vectors([look["ra"]], [look["dec"]])[0]
        inside |= {f"S{k:04d}" for k in np.flatnonzero(cosine > np.cos(np.deg2rad(4.95)))}
    assert len(inside) > 5
    assert inside <= set(found["designation"])
    assert len(set(found["designation"])) < len(el)


def test_the_night_keeps_within_milliarcseconds_of_nbody(catalogue):
    el, ra, dec = crowd(120)
    path = catalogue(*[(f"S{k:04d}", EPOCH, *row, 18, 0.15) for k, row in enumerate(el)])
    looks = [visit(EPOCH + 5.0 + t, ra, dec, radius=20.0) for t in (0.0, 0.2, 0.4)]
    found = predict_night(path, None, looks, config={})
    states = orbits.elements_to_states(el, EPOCH)
    errors = []
    for look in (looks[0], looks[2]):
        seen = predict_visit(found, look, config={})
        tdb = float(observer.tai_to_tdb(look["midpoint_mjd_tai"]))
        number = np.array([int(name[1:]) for name in seen["designation"]])
        delay = seen["topoRange"].astype(float) / observer.C_AU_DAY
        truth = nbody.propagate(states[number], EPOCH, tdb)
        truth = kepler.propagate(truth, -delay)
        place = observer.observer_state("X05", look["midpoint_mjd_tai"])[0]
        sun, speed = observer.sun_state(tdb)
        vector = truth[:, :3] + sun - delay[:, None] * speed - place
        a, d = orbits.directions(vector)
        errors.append(np.hypot((a - seen["ra"]) * np.cos(np.deg2rad(d)), d - seen["dec"]) * 3600)
    errors = np.concatenate(errors)
    assert len(errors) > 100
    assert np.percentile(errors, 95) < 0.01
    assert errors.max() < 0.1


def test_a_visit_gets_what_ssource_needs_in_its_footprint_only(catalogue):
    path = catalogue(HOLMAN, ("far", EPOCH, 30, 0.1, 5, 10, 20, 60000, 5, 0.15))
    states = orbits.elements_to_states(np.array([HOLMAN[2:8]], float), EPOCH)
    from alertprod.core import ephemeris

    _, topo = ephemeris.topocentric(states, np.array([EPOCH]), EPOCH, "X05")
    ra, dec = (float(v[0]) for v in orbits.directions(topo))
    look = visit(EPOCH, ra, dec)
    found = predict_visit(predict_night(path, None, [look], config={}), look, config={})
    assert found["designation"].tolist() == ["3666"]
    row = {name: column[0] for name, column in found.items()}
    assert row["ephRate"] == pytest.approx(np.hypot(row["ephRateRa"], row["ephRateDec"]), rel=1e-5)
    assert 2.3 < row["helioRange"] < 3.5
    assert row["helio_vtot"] == pytest.approx(17.0, abs=2.0)
    assert 0 < row["phaseAngle"] < 25
    assert row["mag"] == pytest.approx(row["ephVmag"] - 0.21, abs=1e-3)
    assert row["q"] == pytest.approx(2.7135, abs=1e-3)
    assert row["decErr"] * 3600 == pytest.approx(0.5, rel=1e-3)  # a catalogue without covariance
    away = predict_visit(
        predict_night(path, None, [look], config={}), visit(EPOCH, ra, dec + 3), config={}
    )
    assert tables.n_rows(away) == 0


def test_own_discoveries_are_predicted_with_their_uncertainty(catalogue):
    state = orbits.elements_to_states(np.array([HOLMAN[2:8]], float), EPOCH)[0]
    own = {"designation": np.array(["A1V30000"], dtype=object), "epochMjdTdb": np.array([EPOCH]),
           "H": np.array([15.0]), "G": np.array([0.15]),
           **{c: state[k : k + 1] for k, c in enumerate(night.STATE)},
           **{c: np.array([1e-12 if c[3] == c[4] else 0.0]) for c in night.COVARIANCE}}  # fmt: skip
    from alertprod.core import ephemeris

    _, topo = ephemeris.topocentric(state[None], np.array([EPOCH]), EPOCH + 1, "X05")
    ra, dec = (float(v[0]) for v in orbits.directions(topo))
    look = visit(EPOCH + 1, ra, dec)
    found = predict_visit(predict_night([], own, [look], config={}), look, config={})
    assert found["designation"].tolist() == ["A1V30000"]
    assert 0.01 < found["decErr"][0] * 3600 < 1.0


def test_near_the_earth_several_states_cover_the_night(catalogue):
    earth = (observer.earth_state(EPOCH)[0] - observer.sun_state(EPOCH)[0])[0]
    speed = (observer.earth_state(EPOCH)[1] - observer.sun_state(EPOCH)[1])[0]
    state = np.r_[earth * 1.02, speed * 1.02]
    el = orbits.states_to_elements(state[None], EPOCH)[0]
    ra, dec = orbits.directions(earth[None])
    look = visit(EPOCH, float(ra[0]), float(dec[0]), radius=10.0)
    path = catalogue(("close", EPOCH, *el, 25, 0.15))
    found = predict_night(path, None, [look, {**look, "midpoint_mjd_tai": EPOCH + 0.3}], config={})
    assert tables.n_rows(found) > 3
    assert np.all(np.diff(found["firstMjdTdb"]) > 0)
    assert np.allclose(found["lastMjdTdb"][:-1], found["firstMjdTdb"][1:])
    assert tables.n_rows(predict_visit(found, look, config={})) == 1


def test_the_camera_gives_station_and_field(catalogue):
    detector = SimpleNamespace(centre=(0.5, 0.0), nx=1024, ny=1024)
    camera = SimpleNamespace(obscode="W84", pixel_scale=1.0, detectors=[detector])
    options = night.with_camera({}, camera)
    assert options["obscode"] == "W84"
    assert options["field_radius_deg"] == pytest.approx(0.5 + 0.5 * np.hypot(1024, 1024) / 3600)


def test_nothing_to_predict_is_an_empty_table(catalogue):
    look = visit(EPOCH, 10.0, 10.0)
    for orbits_known, looks in (([], [look]), (catalogue(HOLMAN), [])):
        empty = predict_night(orbits_known, [], looks, config={})
        assert tables.n_rows(empty) == 0
        assert tables.n_rows(predict_visit(empty, look, config={})) == 0


def test_bad_pointings_and_options_are_refused(catalogue):
    with pytest.raises(BadInput, match="midpoint_mjd_tai"):
        predict_night(catalogue(HOLMAN), None, [{"ra": 1, "dec": 2}], config={})
    with pytest.raises(BadInput, match="nbody"):
        look = visit(EPOCH, 0.0, 0.0, radius=180.0)
        predict_night(catalogue(HOLMAN), None, [look], config={"dynamics": "magic"})


def test_brightness_follows_the_system_that_the_catalogue_gives(tmp_path):
    """Twenty degrees from opposition H,G12 of a dark surface and H,G differ by some 0.1 mag."""
    from alertprod.core import ephemeris

    orbit = ",".join(map(str, HOLMAN[1:9]))
    path = tmp_path / "orbits.csv"
    path.write_text(f"{HEADER.strip()},G12\nboth,{orbit},0.15,0.8\nplain,{orbit},0.15,\n")
    state = orbits.elements_to_states(np.array([HOLMAN[2:8]]), 60700.0)
    _, topo = ephemeris.topocentric(state, np.array([60700.0]), 60700.0, "X05")
    look = visit(60700.0, *(float(v[0]) for v in orbits.directions(topo)))
    found = predict_visit(predict_night(path, None, [look], config={}), look, config={})
    assert sorted(found["designation"]) == ["both", "plain"]
    for row, name in enumerate(found["designation"]):
        place = [found[key][row] for key in ("helioRange", "topoRange", "phaseAngle")]
        dark = ephemeris.magnitude_hg12(12.0, 0.8, *place)[0]
        average = ephemeris.magnitude_hg(12.0, 0.15, *place)
        assert found["ephVmag"][row] == pytest.approx(dark if name == "both" else average)
        assert abs(dark - average) > 0.02


def test_our_object_and_its_entry_in_the_catalogue_are_predicted_once(catalogue):
    """The MPC designates what we found; its orbit lies an arcsecond beside ours."""
    el, ra, dec = crowd(40)
    states = orbits.elements_to_states(el, EPOCH)
    names = [f"S{k:04d}" for k in range(len(el))]
    alike = el.copy()
    alike[:, 5] += 5e-4  # days late
    path = catalogue(*[(n, EPOCH, *row, 18, 0.15) for n, row in zip(names, alike, strict=True)])
    ours = {
        "designation": np.array([f"A4u0000{k}" for k in range(5)], dtype=object),
        "epochMjdTdb": np.full(5, EPOCH), "H": np.full(5, 18.0), "G": np.full(5, 0.15),
        **{c: states[:5, k] for k, c in enumerate(night.STATE)},
        **{c: np.full(5, 1e-14 if c[3] == c[4] else 0.0) for c in night.COVARIANCE},
    }  # fmt: skip
    looks = [visit(EPOCH + 2.0, ra, dec, radius=20.0)]
    alone = set(predict_night(path, None, looks, config={})["designation"])
    both = set(predict_night(path, ours, looks, config={})["designation"])
    assert alone & set(names[:5])
    assert both == (alone - set(names[:5])) | {
        ours["designation"][k] for k in range(5) if names[k] in alone
    }
