"""Packed names, with the Minor Planet Center's own examples."""

import numpy as np
import pytest

from alertprod.core import designations

PAIRS = [
    ("1995 XA", "J95X00A"), ("1995 XL1", "J95X01L"), ("1998 SQ108", "J98SA8Q"),
    ("2099 AZ193", "K99AJ3Z"), ("2008 AA360", "K08Aa0A"), ("2007 TA418", "K07Tf8A"),
    ("2040 P-L", "PLS2040"), ("3138 T-1", "T1S3138"), ("3202", "03202"), ("100345", "A0345"),
    ("360017", "a0017"), ("619999", "z9999"), ("620000", "~0000"), ("15396335", "~zzzz"),
]  # fmt: skip


@pytest.mark.parametrize(("plain", "packed"), PAIRS)
def test_examples_of_the_mpc(plain, packed):
    assert designations.pack(plain) == packed
    assert designations.unpack(packed) == plain


def test_beyond_the_old_cycle_counts_the_extended_scheme_begins():
    assert designations.pack("2025 DZ619")[0] == "K"
    first = designations.pack("2025 DA620")
    assert first == "_PD0000"
    assert designations.unpack(first) == "2025 DA620"
    assert designations.unpack(designations.pack("2030 VY9999")) == "2030 VY9999"


@pytest.mark.parametrize("text", ["", "Holman", "2002 cx17", "2002 II"])
def test_what_is_no_designation_is_refused(text):
    with pytest.raises(ValueError, match="designation"):
        designations.pack(text)


def test_identifiers_are_positive_64_bit_and_differ():
    names = ["3666", "2002 CX17", "A1V30000", "A1V30001", "a very long private name", "zzzzzzzz"]
    found = [designations.ss_object_id(name) for name in names]
    assert len(set(found)) == len(names)
    assert all(0 < value < 2**63 for value in found)


def test_base_62_refuses_what_does_not_fit():
    assert designations.from_base62(designations.base62(123456, 4)) == 123456
    with pytest.raises(ValueError, match="fit"):
        designations.base62(62**3, 3)


def test_numbers_are_unpacked_in_bulk_as_one_by_one():
    numbers = [1, 3666, 99_999, 100_000, 619_999, 620_000, 712_345, 620_000 + 62**4 - 1]
    texts = [designations.pack(str(n)) for n in numbers]
    others = ["K02C17X", "PLS2040", "", "A4u00001", "0000x", "~00+0", "_QC0000", "12"]
    found = designations.unpack_numbers(np.array([t.encode() for t in texts + others]))
    assert found.tolist() == numbers + [0] * len(others)
    assert designations.unpack_numbers(np.array([b"12", b""])).tolist() == [0, 0]
