"""Identifiers: 63 bits that say where and when, the same in every rerun.

``days since 2010-01-01 (15) | sequence (17) | detector (9) | counter (22)``.
"""

from datetime import date

import numpy as np

from alertprod.core.errors import BadInput

FIRST_DAY = date(2010, 1, 1)
DAY_BITS, SEQUENCE_BITS, DETECTOR_BITS, COUNTER_BITS = 15, 17, 9, 22


def visit_parts(visit: int) -> tuple[int, int]:
    """Split a visit YYYYMMDDNNNNN into day_obs (YYYYMMDD) and sequence number."""
    return divmod(int(visit), 100_000)


def visit_id(day_obs: int, sequence: int) -> int:
    """Make a visit YYYYMMDDNNNNN."""
    if not 0 <= sequence < 100_000:
        raise BadInput(
            f"sequence number {sequence} of night {day_obs} does not fit in five digits. "
            "Number the exposures of a night from 0 to 99999."
        )
    return day_obs * 100_000 + sequence


def source_ids(visit: int, detector: int, count: int) -> np.ndarray:
    """Return `count` identifiers of one detector-visit, int64, in rising order.

    Raises
    ------
    BadInput
        If the date, sequence, detector or count overflows its bits.
    """
    day_obs, sequence = visit_parts(visit)
    try:
        day = date(day_obs // 10_000, day_obs // 100 % 100, day_obs % 100)
    except ValueError as error:
        raise BadInput(
            f"visit {visit} does not begin with a date. Use YYYYMMDDNNNNN for visits."
        ) from error
    fields = (
        ("day", (day - FIRST_DAY).days, DAY_BITS),
        ("sequence", sequence, SEQUENCE_BITS),
        ("detector", int(detector), DETECTOR_BITS),
        ("number of sources", int(count), COUNTER_BITS),
    )
    value = 0
    for name, number, width in fields:
        if not 0 <= number < 1 << width:
            raise BadInput(
                f"visit {visit}, detector {detector}: the {name} is {number}, which does not fit "
                f"in {width} bits. Check the sheet and the camera."
            )
        value = value << width | number
    base = value - int(count)  # the counter was the last field
    return base + np.arange(int(count), dtype=np.int64)


def parts(identifier: int) -> tuple[int, int, int]:
    """Return visit, detector and counter of an identifier."""
    from datetime import timedelta

    rest, counter = divmod(int(identifier), 1 << COUNTER_BITS)
    rest, detector = divmod(rest, 1 << DETECTOR_BITS)
    days, sequence = divmod(rest, 1 << SEQUENCE_BITS)
    day = FIRST_DAY + timedelta(days=days)
    return int(day.strftime("%Y%m%d")) * 100_000 + sequence, detector, counter
