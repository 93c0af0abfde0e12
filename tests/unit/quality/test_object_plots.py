"""The picture of an object chooses its stamps and names it."""

import numpy as np

from alertprod.quality.object_plots import MOST_STAMPS, along_track, date_of, headline

FACTS = {
    "designation": "A1ap0000", "orbitClass": "NEO", "status": "new", "a": 1.5, "e": 0.3,
    "incl": 12.0, "H": None, "nObs": 7, "arc": 2.04,
}  # fmt: skip


def test_stamps_of_a_long_track_are_spread_from_its_first_to_its_last_detection():
    chosen = along_track({"diaSourceId": np.arange(100)})
    assert len(chosen) == MOST_STAMPS and (chosen[0], chosen[-1]) == (0, 99)
    assert np.ptp(np.diff(chosen)) <= 1


def test_all_stamps_of_a_short_track_are_shown():
    np.testing.assert_array_equal(along_track({"diaSourceId": np.arange(3)}), [0, 1, 2])


def test_headline_says_what_the_object_is_and_nothing_where_nothing_is_known():
    assert headline(FACTS) == (
        "A1ap0000: NEO, new; a 1.5 au, e 0.30, i 12.0°, H –; 7 detections in 2.0 d"
    )


def test_date_of_a_night():
    assert date_of(20261009) == "10-09"
