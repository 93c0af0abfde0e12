"""Eighty columns: what goes in comes out, to the digits that the format has."""

import numpy as np
import pytest

from alertprod.core import observer
from alertprod.daymops import mpc80


def detections(n=400, seed=3):
    rng = np.random.default_rng(seed)
    mag = rng.uniform(10.0, 24.5, n)
    mag[::7] = np.nan
    return {
        "midpointMjdTai": 61322.0 + rng.uniform(0.0, 400.0, n), "mag": mag,
        "ra": rng.uniform(0.0, 360.0, n), "dec": rng.uniform(-90.0, 90.0, n),
        "band": np.array([*"ugrizy"], dtype=object)[rng.integers(0, 6, n)],
    }  # fmt: skip


def test_written_and_read_again_to_a_twentieth_of_a_second_and_fifteen_mas():
    given = detections()
    names = [f"A4u{k:04d}" for k in range(len(given["ra"]))]
    text = mpc80.write_mpc80(given, names, "X05")
    assert all(len(line) == 80 for line in text.splitlines())
    table, skipped = mpc80.read_mpc80(text)
    assert skipped == 0
    assert table["name"].tolist() == names
    utc = observer.tai_to_utc(given["midpointMjdTai"])
    # six digits of a day are 0.0864 s; five would lose 0.4 s, 0.1" at 5 deg/day
    assert np.abs(table["mjd_utc"] - utc).max() * 86400 < 0.05
    east = (table["ra"] - given["ra"] + 180.0) % 360.0 - 180.0
    assert np.abs(east).max() * 3600 < 0.0076
    assert np.abs(table["dec"] - given["dec"]).max() * 3600 < 0.0051
    known = np.isfinite(given["mag"])
    assert np.array_equal(np.isfinite(table["mag"]), known)
    assert np.abs(table["mag"] - given["mag"])[known].max() < 0.0501
    assert table["band"][known].tolist() == given["band"][known].tolist()
    assert set(table["station"]) == {"X05"} and set(table["note"]) == {"C"}
    # and once more: the text is a fixed point
    again = {**table, "midpointMjdTai": observer.utc_to_tai(table["mjd_utc"])}
    assert mpc80.write_mpc80(again, names, "X05") == text


@pytest.mark.parametrize("mjd_utc", [61321.9999999, 61322.0, 61399.99999959, 61405.9999995])
def test_the_end_of_a_day_is_the_beginning_of_the_next(mjd_utc):
    """Rounding up must carry into day, month and year (61405 is 2026 December 31)."""
    one = {
        "midpointMjdTai": np.array([observer.utc_to_tai(mjd_utc)]), "mag": np.array([20.0]),
        "ra": np.array([359.9999999]), "dec": np.array([-0.000001]), "band": ["r"],
    }  # fmt: skip
    text = mpc80.write_mpc80(one, ["A4u0001"], "X05")
    assert len(text) == 81
    table, _ = mpc80.read_mpc80(text)
    assert abs(table["mjd_utc"][0] - mjd_utc) * 86400 < 0.05
    assert table["ra"][0] == 0.0 and abs(table["dec"][0]) < 5e-6


def test_what_is_no_position_is_skipped_and_counted():
    text = mpc80.write_mpc80(detections(3), ["A", "B", "C"], "X05")
    lines = text.splitlines()
    lines[1] = lines[1][:32] + "25 99 99.999" + lines[1][44:]
    radar = lines[2][:14] + "R" + lines[2][15:]
    table, skipped = mpc80.read_mpc80("\n".join([*lines, radar, "short"]))
    assert table["name"].tolist() == ["A", "C"] and skipped == 3


@pytest.mark.parametrize(
    ("designation", "field", "read"),
    [
        ("3666", "03666       ", "03666"), ("2026 TA1", "     K26T01A", "K26T01A"),
        ("A4u00001", "     4u00001", "4u00001"), ("620000", "~0000       ", "~0000"),
    ],
)  # fmt: skip
def test_every_name_of_ours_has_its_columns(designation, field, read):
    assert mpc80.name_field(designation) == field
    text = mpc80.write_mpc80(detections(1), [field], "X05")
    assert len(text) == 81 and mpc80.read_mpc80(text)[0]["name"].tolist() == [read]


def test_a_name_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="seven characters"):
        mpc80.write_mpc80(detections(1), ["A4u00001"], "X05")
