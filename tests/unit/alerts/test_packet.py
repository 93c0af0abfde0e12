"""Alert packets as brokers read them."""

import io

import fastavro
import numpy as np
import pytest
from astropy.nddata import CCDData

from alertprod.alerts import packet
from alertprod.core.tables import read_table


@pytest.fixture(scope="session")
def alert_night(tmp_path_factory, survey, blank):
    """Results of three visits with images; the second lacks two sources."""
    world = survey.World(tmp_path_factory.mktemp("alerts"), blank=blank)
    world.options["alerts"]["targets"] = [{"name": "quiet star", "ra": 53.0, "dec": -28.0}]
    world.observe(0)
    world.observe(1, slice(0, 7))
    world.observe(2)
    world.run(range(3))
    return world


def retrieve(path):
    from lsst.alert.packet import retrieve_alerts

    with open(path, "rb") as handle:
        schema, records = retrieve_alerts(handle)
        return schema, list(records)


def test_alerts_are_read_by_rubins_reader_and_validate(alert_night):
    schema, alerts = retrieve(alert_night.path(2, "alerts/000.avro"))
    assert len(alerts) == 9
    newest = packet.schema()
    assert newest.definition["name"] >= "lsst.v11_1"
    assert schema.definition["name"] == newest.definition["name"]
    assert all(newest.validate(alert) for alert in alerts)


def test_an_alert_says_what_the_association_says(alert_night):
    _, alerts = retrieve(alert_night.path(2, "alerts/000.avro"))
    table = read_table(alert_night.path(2, "association.parquet"))
    assert [a["diaSourceId"] for a in alerts] == table["diaSourceId"].tolist()
    for row, alert in enumerate(alerts):
        assert alert["diaSource"]["psfFlux"] == float(table["psfFlux"][row])
        assert alert["diaSource"]["ra"] == table["ra"][row]
        assert alert["diaObject"]["diaObjectId"] == alert["diaSource"]["diaObjectId"]
        assert alert["diaObject"]["nDiaSources"] == table["diaObject_nDiaSources"][row]
        assert alert["diaObject"]["r_psfFluxMean"] == float(table["diaObject_r_psfFluxMean"][row])
        assert alert["diaObject"]["u_psfFluxMean"] is None
        assert alert["ssSource"] is None and alert["mpc_orbits"] is None


def test_the_history_holds_earlier_detections_and_all_forced_fluxes(alert_night, survey):
    _, alerts = retrieve(alert_night.path(2, "alerts/000.avro"))
    visits = [survey.visit_number(i) for i in range(3)]
    whole, gap = alerts[0], alerts[8]
    assert [s["visit"] for s in whole["prvDiaSources"]] == visits[:2]
    assert [s["visit"] for s in gap["prvDiaSources"]] == visits[:1]
    for alert in (whole, gap):
        forced = alert["prvDiaForcedSources"]
        assert [s["visit"] for s in forced] == visits
        flux = np.array([s["psfFlux"] for s in forced])
        there = [True, alert is whole, True]
        expected = np.where(there, alert["diaSource"]["psfFlux"], 0.0)
        assert np.abs(flux - expected).max() < 300
        assert forced[2]["scienceFlux"] - flux[2] == pytest.approx(3.0 / 0.02, rel=0.2)
    assert whole["prvDiaSources"][0]["diaObjectId"] == whole["diaObject"]["diaObjectId"]


def test_a_first_detection_has_no_history(alert_night):
    _, alerts = retrieve(alert_night.path(0, "alerts/000.avro"))
    assert all(alert["prvDiaSources"] is None for alert in alerts)
    assert all(len(alert["prvDiaForcedSources"]) == 1 for alert in alerts)


def test_the_stamps_show_the_source_in_the_middle(alert_night):
    _, alerts = retrieve(alert_night.path(1, "alerts/000.avro"))
    for alert in alerts[1:5]:
        source = alert["diaSource"]
        difference = CCDData.read(io.BytesIO(alert["cutoutDifference"]))
        x, y = difference.wcs.all_world2pix(source["ra"], source["dec"], 0)
        peak = np.unravel_index(np.nanargmax(difference.data), difference.shape)
        assert np.hypot(peak[1] - x, peak[0] - y) < 1.0
        assert abs(x - 15) <= 0.51 and abs(y - 15) <= 0.51
        science = CCDData.read(io.BytesIO(alert["cutoutScience"]))
        template = CCDData.read(io.BytesIO(alert["cutoutTemplate"]))
        excess = science.data - template.data - difference.data
        assert np.nanmax(np.abs(excess)) < 1e-3


def test_making_the_alerts_again_gives_the_same_bytes(alert_night):
    path = alert_night.path(1, "alerts/000.avro")
    before = path.read_bytes()
    path.unlink()
    alert_night.package(1)  # its state is in the database, and so is a later visit
    assert path.read_bytes() == before


def test_forced_photometry_of_targets_needs_no_detection_and_stays_out_of_the_database(
    alert_night, survey
):
    table = read_table(alert_night.path(0, "forced.parquet"))
    star = table["target"] == "quiet star"
    assert star.sum() == 1 and table["diaObjectId"][star] == 0
    assert abs(table["psfFlux"][star][0]) < 5 * table["psfFluxErr"][star][0]
    stored = survey.dump(alert_night.database)["DiaForcedSource"]
    assert len(stored) == 9 * 3


def test_the_forced_error_is_that_of_a_psf_fit_on_the_noise(alert_night, survey):
    table = read_table(alert_night.path(0, "forced.parquet"))
    expected = 10.0 / np.sqrt(np.square(survey.gaussian()).sum())
    assert np.median(table["psfFluxErr"]) == pytest.approx(expected, rel=0.05)


def test_a_rejected_detector_has_a_container_with_its_reason(world, survey, tmp_path):
    from alertprod.alerts.visit import Images
    from alertprod.core.fits import write_rejected_image

    world.observe(0)
    world.associate(0, None)
    path = tmp_path / "rejected.fits"
    write_rejected_image(path, "3 stars, fewer than 20")
    world.package(0, {4: Images(path, path, path)})
    file = world.path(0, "alerts/004.avro")
    _, alerts = retrieve(file)
    assert alerts == []
    with open(file, "rb") as handle:
        facts = fastavro.reader(handle).metadata
    assert facts["alertprod.status"] == "REJECTED"
    assert facts["alertprod.reason"] == "3 stars, fewer than 20"
    ledger = survey.dump(world.database)["fold_ledger"]
    assert ("REJECTED", "3 stars, fewer than 20") in [row[3:5] for row in ledger]


def test_an_asteroid_has_its_orbit_and_prediction_and_no_object(world, survey):
    world.observe(0)
    world.associate(0, None)
    table = {k: v[:1].copy() for k, v in read_table(world.path(0, "association.parquet")).items()}
    table["diaObjectId"][0], table["ssObjectId"][0] = 0, 21164719561062738
    table["ssSource_ssObjectId"][0] = 21164719561062738
    for name in ("eclLambda", "eclBeta", "galLon", "galLat"):
        table[f"ssSource_{name}"][0] = 1.0
    for name in ("designation",):
        table[f"ssSource_{name}"][0] = table[f"mpc_orbits_{name}"][0] = "2013 GR59"
    table["mpc_orbits_q"][0], table["mpc_orbits_e"][0] = 2.0, 0.2
    alert = packet.alerts(table, *(packet_history() for _ in "ab"), [stamps()], {})[0]
    assert packet.schema().validate(alert)
    assert alert["diaObject"] is None and alert["prvDiaSources"] is None
    assert alert["diaSource"]["diaObjectId"] is None
    assert alert["ssSource"]["designation"] == "2013 GR59"
    assert alert["mpc_orbits"]["packed_primary_provisional_designation"] == "K13G59R"
    assert alert["mpc_orbits"]["a"] == pytest.approx(2.5)
    assert alert["mpc_orbits"]["h"] is None


def packet_history():
    names = set(packet.fields("diaSource")) | set(packet.fields("diaForcedSource"))
    return {name: np.zeros(0) for name in names}


def stamps():
    return dict.fromkeys(("cutoutDifference", "cutoutScience", "cutoutTemplate"), b"")


def test_no_field_of_the_schema_is_forgotten(alert_night):
    """Every field of the database has a place in the packet and the other way round."""
    from alertprod.core.apdb.connection import Database

    with Database(alert_night.database) as database:
        for record, table in (
            ("diaSource", "DiaSource"),
            ("diaObject", "DiaObject"),
            ("diaForcedSource", "DiaForcedSource"),
        ):
            ours = set(database.columns(table)) - {"pixelId"}
            ours -= {"ssObjectReassocTimeMjdTai", "validityEndMjdTai"}
            assert set(packet.fields(record)) == ours
