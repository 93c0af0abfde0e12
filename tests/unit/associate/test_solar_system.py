"""Known asteroids explain their detections before anything else does."""

import numpy as np
import pytest

from alertprod.associate import solar_system
from alertprod.core.tables import conform

DEC = 20.0


@pytest.fixture
def config(survey):
    return survey.settings("associate")


def sources_at(survey, east, north):
    """Return DIASources at offsets [arcsec] from (40, DEC)."""
    east, north = np.atleast_1d(east).astype(float), np.atleast_1d(north).astype(float)
    table = survey.sources(2025112100100, 61000.0, 10 * np.ones(len(east)), east, 1e3 + 0 * east)
    table["ra"] = 40.0 + east / 3600 / np.cos(np.radians(DEC))
    table["dec"] = DEC + north / 3600
    return table


def prediction(east=0.0, north=0.0, *, sigma=(0.1, 0.1, 0.0), rate=(0.1, 0.05), **more):
    """Return one predicted object; sigma [arcsec] east, north and their correlation."""
    east, north = np.atleast_1d(east).astype(float), np.atleast_1d(north).astype(float)
    count, cosine = len(east), np.cos(np.radians(DEC))
    table = {name: np.zeros(count) for name in solar_system.FROM_PREDICTION}
    table |= {
        "visit": np.full(count, 2025112100100),
        "ssObjectId": np.arange(count) + 11,
        "designation": np.array([f"2026 A{chr(65 + k)}" for k in range(count)], dtype=object),
        "ra": 40.0 + east / 3600 / cosine,
        "dec": DEC + north / 3600,
        "raErr": np.full(count, sigma[0] / 3600 / cosine),
        "decErr": np.full(count, sigma[1] / 3600),
        "ra_dec_Cov": np.full(count, sigma[2] * sigma[0] * sigma[1] / 3600**2 / cosine),
        "ephRateRa": np.full(count, rate[0]),
        "ephRateDec": np.full(count, rate[1]),
        "H": np.full(count, 18.0),
        "G": np.full(count, 0.15),
        **{name: np.atleast_1d(value) for name, value in more.items()},
    }
    for name in ("mag", "q", "e", "incl", "node", "argperi", "periTimeMjdTdb", "epochMjdTdb"):
        table.setdefault(name, np.ones(count))
    for name in ("eclLambda", "eclBeta", "galLon", "galLat"):
        table.setdefault(name, np.zeros(count))
    return conform(table, "predicted")


def test_a_source_near_its_prediction_is_attributed_with_its_offset(survey, config):
    index, columns = solar_system.attribute(
        sources_at(survey, [0.3, 30.0], [-0.4, 0.0]), prediction(), config
    )
    assert index.tolist() == [0, -1]
    assert columns["ssSource_ssObjectId"].tolist() == [11, 0]
    assert columns["ssSource_ephOffsetRa"][0] == pytest.approx(0.3, abs=1e-6)
    assert columns["ssSource_ephOffsetDec"][0] == pytest.approx(-0.4, abs=1e-6)
    assert columns["ssSource_ephOffset"][0] == pytest.approx(0.5, abs=1e-6)
    along = (0.3 * 0.1 - 0.4 * 0.05) / np.hypot(0.1, 0.05)
    assert columns["ssSource_ephOffsetAlongTrack"][0] == pytest.approx(along, abs=1e-6)
    cross = columns["ssSource_ephOffsetCrossTrack"][0]
    assert along**2 + cross**2 == pytest.approx(0.25, abs=1e-6)
    assert np.isnan(columns["ssSource_ephOffset"][1])


def test_a_badly_known_orbit_reaches_farther_along_its_error_ellipse_only(survey, config):
    badly = prediction(sigma=(5.0, 0.2, 0.0), rate=(0.0, 0.0))
    along, _ = solar_system.attribute(sources_at(survey, 8.0, 0.0), badly, config)
    across, _ = solar_system.attribute(sources_at(survey, 0.0, 8.0), badly, config)
    assert along.tolist() == [0] and across.tolist() == [-1]


def test_the_correlation_of_the_errors_turns_the_ellipse(survey, config):
    tilted = prediction(sigma=(5.0, 5.0, 0.99), rate=(0.0, 0.0))
    inside, _ = solar_system.attribute(sources_at(survey, 6.0, 6.0), tilted, config)
    outside, _ = solar_system.attribute(sources_at(survey, 6.0, -6.0), tilted, config)
    assert inside.tolist() == [0] and outside.tolist() == [-1]


def test_of_two_candidates_the_likelier_is_taken_and_the_rank_says_which(survey, config):
    index, columns = solar_system.attribute(
        sources_at(survey, [0.6, 0.1], [0.0, 0.0]), prediction(), config
    )
    assert index.tolist() == [-1, 0]
    assert columns["ssSource_diaDistanceRank"].tolist() == [-1, 1] or columns[
        "ssSource_diaDistanceRank"
    ].tolist() == [0, 1]


def test_two_objects_share_two_sources(survey, config):
    index, _ = solar_system.attribute(
        sources_at(survey, [0.2, 0.5], [0.0, 0.0]), prediction([0.0, 0.4], [0.0, 0.0]), config
    )
    assert index.tolist() == [0, 1]


def test_offsets_of_real_alerts_reproduce(real_data):
    import pyarrow.parquet as pq

    path = real_data / "rubin_fink_filters" / "faint_trails.parquet"
    checked = 0
    for alert in pq.read_table(path).to_pylist():
        theirs, source = alert["ssSource"], alert["diaSource"]
        if not theirs or not theirs["ephRa"]:
            continue
        rates = {"ephRateRa": np.zeros(1), "ephRateDec": np.zeros(1)}
        ours = solar_system.observed(
            {name: np.array([source[name]]) for name in ("ra", "dec")},
            {"ra": np.array([theirs["ephRa"]]), "dec": np.array([theirs["ephDec"]]), **rates},
        )
        for name in ("ephOffset", "ephOffsetRa", "ephOffsetDec"):
            assert ours[name][0] == pytest.approx(theirs[name], abs=2e-6)
        for name in ("galLon", "galLat"):
            assert ours[name][0] == pytest.approx(theirs[name], abs=3e-5)
        # Rubin's ecliptic is the true one of J2000: its nutation moves the longitude by -13.9".
        assert ours["eclLambda"][0] == pytest.approx(theirs["eclLambda"] + 13.92 / 3600, abs=1e-4)
        assert ours["eclBeta"][0] == pytest.approx(theirs["eclBeta"], abs=1.7e-3)
        checked += 1
    assert checked >= 7


def test_an_unknown_magnitude_is_null_in_the_alert(survey, config):
    unknown = prediction(H=[99.0], ephVmag=[104.0])
    _, columns = solar_system.attribute(sources_at(survey, 0.0, 0.0), unknown, config)
    assert np.isnan(columns["mpc_orbits_h"][0]) and np.isnan(columns["ssSource_ephVmag"][0])


def test_no_predictions_is_no_error(survey, config):
    index, columns = solar_system.attribute(sources_at(survey, 0.0, 0.0), None, config)
    assert index.tolist() == [-1] and columns == {}
