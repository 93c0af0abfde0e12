"""Header translation: real headers of other cameras, and the traps in them."""

import pytest

from alertprod.core.errors import Rejected
from alertprod.instruments.metadata import metadata

HEADERS = {
    "fitsheader-decam.yaml": {"detector": "CCDNUM"},
    "fitsheader-decam-0160496.yaml": {"detector": "CCDNUM"},
    "fitsheader-decam-raw_dec050441_25.yaml": {"detector": "CCDNUM"},
    "fitsheader-decam-calexp-0412037_10.yaml": {"detector": "CCDNUM"},
    "fitsheader-hsc.yaml": {"detector": "DET-ID", "image_type": "DATA-TYP", "filter": "FILTER01"},
    "fitsheader-suprimecam-CORR40535770.yaml": {
        "detector": "DET-ID",
        "image_type": "DATA-TYP",
        "filter": "FILTER01",
    },
    "fitsheader-megaprime.yaml": {"detector": {"key": "EXTNAME", "pattern": r"ccd(\d+)"}},
}


@pytest.mark.parametrize("name", sorted(HEADERS))
@pytest.mark.filterwarnings("ignore")
def test_real_headers_are_read_as_their_translators_do(real_data, tinycam, name):
    """Against astro_metadata_translator: times (UTC and TAI), pointing, exposure, airmass."""
    from astro_metadata_translator import ObservationInfo
    from astro_metadata_translator.tests import read_test_file

    header = read_test_file(str(real_data / "raw_header_yaml" / name))
    truth = ObservationInfo(header, pedantic=False)
    info = metadata(dict(header), tinycam.camera(header=HEADERS[name]), name)
    assert info.begin == pytest.approx(truth.datetime_begin.tai.mjd, abs=0.05 / 86400)
    assert info.exposure == pytest.approx(truth.exposure_time.to_value("s"))
    assert (info.midpoint - info.begin) * 86400 == pytest.approx(info.exposure / 2, abs=3)
    assert {"OBJECT": "science", "BIAS": "zero"}[info.image_type] == truth.observation_type
    assert info.detector == truth.detector_num
    if truth.boresight_airmass is not None:
        assert info.airmass == pytest.approx(truth.boresight_airmass)
    sky = truth.tracking_radec
    assert abs(info.dec - sky.dec.deg) < 0.1
    if "decam" not in name:  # DECam's translator takes TELRA, the telescope's own
        assert info.ra == pytest.approx(sky.ra.deg, abs=1e-4)


def simple(tinycam, header, **mapping):
    base = {"IMGTYPE": "OBJECT", "DATE-OBS": "2026-01-02T03:04:05", "EXPTIME": 10.0}
    return metadata({**base, **header}, tinycam.camera(header=mapping), "odd.fits")


def test_a_decimal_comma_is_a_number(tinycam):
    assert simple(tinycam, {"EXPTIME": "6,4E-05"}).exposure == pytest.approx(6.4e-5)


def test_a_word_for_a_number_is_rejected_by_name(tinycam):
    with pytest.raises(Rejected, match=r"odd\.fits: exposure is 'long'"):
        simple(tinycam, {"EXPTIME": "long"})


def test_an_offset_from_utc_is_applied(tinycam):
    local = simple(tinycam, {"DATE-OBS": "2026-01-01T20:04:05-0700"})
    assert local.begin == pytest.approx(simple(tinycam, {}).begin, abs=1e-9)


def test_tai_and_utc_differ_by_37_seconds(tinycam):
    tai = simple(tinycam, {"TIMESYS": "TAI"})
    assert (simple(tinycam, {}).begin - tai.begin) * 86400 == pytest.approx(37, abs=1e-4)


def test_a_date_without_a_time_is_not_midnight(tinycam):
    with pytest.raises(Rejected, match="a date alone"):
        simple(tinycam, {"DATE-OBS": "2026-01-02"})
    paired = simple(tinycam, {"DATE-OBS": "2026-01-02", "UT": "03:04:05"})
    assert paired.begin == pytest.approx(simple(tinycam, {}).begin, abs=1e-9)


def test_an_end_that_is_the_read_outs_is_not_believed(tinycam):
    late = simple(tinycam, {"DATE-END": "2026-01-02T03:05:05"})
    assert (late.midpoint - late.begin) * 86400 == pytest.approx(5, abs=1e-4)
    true = simple(tinycam, {"DATE-END": "2026-01-02T03:04:17"})
    assert (true.midpoint - true.begin) * 86400 == pytest.approx(6, abs=1e-4)


@pytest.mark.parametrize(
    ("ra", "dec", "expected"),
    [
        ("19:09:17.959", "-00:29:38.15", (287.3248292, -0.4939306)),
        (150.5, -20.25, (150.5, -20.25)),
        ("150.5", "-20.25", (150.5, -20.25)),
        ("19 09 17.959", "+59 29 38.15", (287.3248292, 59.4939306)),
        ("UNKNOWN", "N/A", (None, None)),
    ],
)
def test_pointings_come_in_many_forms(tinycam, ra, dec, expected):
    info = simple(tinycam, {"RA": ra, "DEC": dec})
    assert (info.ra, info.dec) == tuple(
        None if v is None else pytest.approx(v, abs=1e-6) for v in expected
    )


def test_a_header_map_takes_constants_patterns_and_translations(tinycam):
    info = simple(
        tinycam,
        {"OBSID": "MC_O_20250520_000177", "MODE": "Interactive"},
        rotation={"value": 12.5},
        day_obs={"key": "OBSID", "pattern": r"_(\d{8})_"},
        seq_num={"key": "OBSID", "pattern": r"_(\d{6})$"},
        image_type={"key": "MODE", "values": {"Interactive": "FLAT"}},
    )
    assert (info.rotation, info.day_obs, info.seq_num) == (12.5, 20250520, 177)
    assert info.image_type == "FLAT"


@pytest.mark.parametrize("card", [{"TIMESYS": "LOCAL"}, {"DATE-OBS": "9:99 o'clock"}])
def test_times_that_mean_nothing_are_rejected(tinycam, card):
    with pytest.raises(Rejected, match=r"odd\.fits"):
        simple(tinycam, card)
