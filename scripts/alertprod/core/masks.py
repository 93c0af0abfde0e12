"""Mask planes; the bits are data and stand in ``products.yaml``."""

from functools import cache

from alertprod.core.products import products


@cache
def planes() -> dict[str, int]:
    """Return the bit number of each mask plane."""
    return {name: entry["bit"] for name, entry in products()["mask_planes"].items()}


@cache
def bits(*names: str) -> int:
    """Return the mask value with the bits of the named planes set."""
    table = planes()
    value = 0
    for name in names:
        value |= 1 << table[name]
    return value
