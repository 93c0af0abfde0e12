"""Names of minor planets: packed and unpacked, and the 64-bit identifiers made from them.

References
----------
Minor Planet Center, "Packed Provisional and Permanent Designations" and "Extended packed
designations" (cycle counts above 619, numbers above 619,999).
"""

from __future__ import annotations

import hashlib
import re

import numpy as np

BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_LETTERS = "ABCDEFGHJKLMNOPQRSTUVWXYZ"  # the second letter of a half-month: no I
_PROVISIONAL = re.compile(r"^(\d{4}) ([A-HJ-Y])([A-HJ-Z])(\d*)$")
_SURVEY = re.compile(r"^(\d{4}) (P-L|T-[123])$")
_FIRST_EXTENDED_NUMBER = 620_000
_FIRST_EXTENDED_ORDER = 620 * 25


def base62(number: int, width: int) -> str:
    """Write a non-negative integer with `width` digits 0-9A-Za-z.

    Raises
    ------
    ValueError
        If it does not fit.
    """
    digits = ""
    rest = int(number)
    for _ in range(width):
        rest, k = divmod(rest, 62)
        digits = BASE62[k] + digits
    if rest or number < 0:
        raise ValueError(f"{number} does not fit in {width} digits of base 62")
    return digits


def from_base62(text: str) -> int:
    """Read a base-62 number."""
    value = 0
    for letter in text:
        value = 62 * value + BASE62.index(letter)
    return value


def pack(designation: str) -> str:
    """Pack a number ("3666"), provisional ("2002 CX17") or survey ("2040 P-L") designation.

    Raises
    ------
    ValueError
        If it is none of these.
    """
    text = designation.strip()
    if text.isdigit():
        number = int(text)
        if number < _FIRST_EXTENDED_NUMBER:
            return BASE62[number // 10_000] + f"{number % 10_000:04d}"
        return "~" + base62(number - _FIRST_EXTENDED_NUMBER, 4)
    survey = _SURVEY.match(text)
    if survey:
        kind = survey.group(2)
        return ("PLS" if kind == "P-L" else f"T{kind[2]}S") + survey.group(1)
    found = _PROVISIONAL.match(text)
    if not found:
        raise ValueError(f"{designation!r} is not a designation of a minor planet")
    year, half, second, count = found.groups()
    cycle = int(count or 0)
    if cycle < 620:
        century = BASE62[int(year) // 100]
        return f"{century}{year[2:]}{half}{BASE62[cycle // 10]}{cycle % 10}{second}"
    order = cycle * 25 + _LETTERS.index(second) - _FIRST_EXTENDED_ORDER
    return f"_{BASE62[int(year) - 2000]}{half}{base62(order, 4)}"


def unpack(packed: str) -> str:
    """Inverse of `pack`.

    Raises
    ------
    ValueError
        If the text is not a packed designation.
    """
    text = packed.strip()
    try:
        if len(text) == 5:
            if text[0] == "~":
                return str(_FIRST_EXTENDED_NUMBER + from_base62(text[1:]))
            return str(BASE62.index(text[0]) * 10_000 + int(text[1:]))
        if len(text) == 7 and text[2] == "S" and text[:2] in ("PL", "T1", "T2", "T3"):
            return f"{int(text[3:]):04d} " + ("P-L" if text[0] == "P" else f"T-{text[1]}")
        if len(text) == 7 and text[0] == "_":
            cycle, second = divmod(from_base62(text[3:]) + _FIRST_EXTENDED_ORDER, 25)
            return f"{2000 + BASE62.index(text[1])} {text[2]}{_LETTERS[second]}{cycle}"
        if len(text) == 7:
            year = BASE62.index(text[0]) * 100 + int(text[1:3])
            cycle = BASE62.index(text[4]) * 10 + int(text[5])
            name = f"{year} {text[3]}{text[6]}{cycle or ''}"
            if _PROVISIONAL.match(name):
                return name
    except ValueError:
        pass
    raise ValueError(f"{packed!r} is not a packed designation")


def unpack_numbers(packed) -> np.ndarray:
    """Numbers of packed permanent designations; 0 for texts that are none.

    Parameters
    ----------
    packed : ndarray of bytes
        Without blanks round them.
    """
    packed = np.asarray(packed, dtype="S")
    letters = np.ascontiguousarray(packed).view(np.uint8).reshape(len(packed), -1)
    digit = np.full(256, -1)
    digit[np.frombuffer(BASE62.encode(), np.uint8)] = np.arange(62)
    if letters.shape[1] < 5:
        return np.zeros(len(packed), dtype=np.int64)
    value = digit[letters[:, :5]]
    five = (letters[:, 5:] == 0).all(axis=1) & (value[:, 1:] >= 0).all(axis=1)
    plain = five & (value[:, 0] >= 0) & (value[:, 1:] < 10).all(axis=1)
    tilde = five & (letters[:, 0] == ord("~"))
    number = value[:, 0] * 10_000 + value[:, 1:] @ np.array([1000, 100, 10, 1])
    beyond = _FIRST_EXTENDED_NUMBER + value[:, 1:] @ 62 ** np.arange(3, -1, -1)
    return np.where(plain, number, np.where(tilde, beyond, 0))


def ss_object_id(designation: str) -> int:
    """64-bit identifier of a solar-system object: the bytes of its packed name.

    Names that are no designation stand for themselves when they have at most eight ASCII
    characters; longer ones are hashed.
    """
    try:
        name = pack(designation)
    except ValueError:
        name = designation.strip()
    if 0 < len(name) <= 8 and name.isascii():
        return int.from_bytes(name.encode("ascii"), "big")
    digest = hashlib.blake2b(name.encode("utf-8"), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
