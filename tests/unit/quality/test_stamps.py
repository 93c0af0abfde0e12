"""Stamps are found by source, where there are any."""

from alertprod.quality.stamps import difference_stamps

DAY, VISIT = 20261009, 2026100900001


def test_stamps_are_the_difference_images_of_the_wanted_sources(tmp_path, night):
    night.alerts(tmp_path / str(DAY) / str(VISIT) / "alerts", [11, 12, 13])
    found = difference_stamps(tmp_path, [(11, VISIT, 0), (13, VISIT, 0), (14, VISIT, 0)])
    assert sorted(found) == [11, 13]
    assert found[11][4, 4] == 3.0 and found[11].sum() == 3.0  # template 2, science 5


def test_night_whose_alerts_are_gone_has_none(tmp_path):
    assert difference_stamps(tmp_path, [(11, VISIT, 0)]) == {}
