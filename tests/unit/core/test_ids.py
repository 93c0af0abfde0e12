"""Identifiers say where and when, and refuse what does not fit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alertprod.core.errors import BadInput
from alertprod.core.ids import parts, source_ids, visit_id, visit_parts


@given(
    st.dates(min_value=__import__("datetime").date(2010, 1, 1)).filter(lambda d: d.year < 2099),
    st.integers(0, 99_999),
    st.integers(0, 511),
)
def test_visit_and_detector_can_be_read_back(day, sequence, detector):
    visit = visit_id(int(f"{day:%Y%m%d}"), sequence)
    ids = source_ids(visit, detector, 3)
    assert ids.dtype == np.int64
    assert [parts(i) for i in ids] == [(visit, detector, n) for n in range(3)]
    assert visit_parts(visit) == (int(f"{day:%Y%m%d}"), sequence)


def test_later_visits_have_larger_ids():
    assert source_ids(2026010100002, 0, 1)[0] > source_ids(2026010100001, 188, 5000)[-1]


@pytest.mark.parametrize(
    ("visit", "detector", "count", "what"),
    [
        (2026010100001, 512, 1, "detector"),
        (2026010100001, -1, 1, "detector"),
        (2026010100001, 0, 2**22, "number of sources"),
        (2009123100001, 0, 1, "day"),
        (2026133100001, 0, 1, "does not begin with a date"),
    ],
)
def test_what_overflows_is_refused(visit, detector, count, what):
    with pytest.raises(BadInput, match=what):
        source_ids(visit, detector, count)
