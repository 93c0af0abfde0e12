"""Mask planes reach the flags of the sources that they touch, and no others."""

import numpy as np

from alertprod.core.detect import Peaks
from alertprod.core.masks import bits
from alertprod.core.products import columns
from alertprod.sources.flags import CENTRE, FOOTPRINT, pixel_flags


def peaks_at(*places):
    """Return one source with a 3 x 3 footprint at each place (x, y)."""
    pixels, starts = [], [0]
    for x, y in places:
        pixels += [(y + j, x + i) for j in (-1, 0, 1) for i in (-1, 0, 1)]
        starts.append(len(pixels))
    x, y = np.array(places).T
    n = len(places)
    return Peaks(x, y, np.full(n, 9.0), np.arange(n), np.array(pixels), np.array(starts))


def test_each_plane_sets_its_flag():
    for name, planes in FOOTPRINT.items():
        mask = np.zeros((40, 80), dtype=np.int32)
        mask[23, 20] = bits(planes[0])  # at the rim of the grown footprint
        table = pixel_flags(
            mask, peaks_at((20, 20), (60, 20)), np.array([20, 60]), np.array([20, 20])
        )
        assert table[name].tolist() == [True, False]
        set_flags = {k for k, v in table.items() if k != "bboxSize" and v.any()}
        assert set_flags == {name}


def test_each_plane_sets_its_central_flag():
    for name, planes in CENTRE.items():
        mask = np.zeros((40, 80), dtype=np.int32)
        mask[21, 21] = bits(planes[-1])
        table = pixel_flags(mask, peaks_at((20, 20)), np.array([20.4]), np.array([19.6]))
        assert table[name].tolist() == [True]


def test_the_box_holds_the_footprint_and_the_edge_is_told():
    mask = np.zeros((40, 80), dtype=np.int32)
    table = pixel_flags(mask, peaks_at((20, 20), (2, 20)), np.array([20, 2]), np.array([20, 20]))
    assert table["bboxSize"].tolist() == [7, 7]
    assert table["pixelFlags_edge"].tolist() == [False, True]
    assert set(table) <= set(columns("dia_sources"))
