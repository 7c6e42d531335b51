"""How the log is tiled into segments: where the young end is cut, and what is merged next."""

from __future__ import annotations

import pytest

from tlog.core.making.tiling import TILING, Tiling

B, SIZES = TILING.base, TILING.sizes


def test_the_lengths_that_a_log_has():
    assert Tiling(2**18, (2**18, 2**21, 2**24, 2**27, 2**30), 2**15, (2**13, 2**10)) == TILING


@pytest.mark.parametrize(
    "size, before, added, expected",
    [
        (1, [], 1, [1]),
        (1023, [], 1023, [1023]),
        (1025, [], 1, [1024, 1025]),
        (1025, [], 1024, [1025]),
        (9000, [8192, 8999], 1, [8192, 9000]),
        (9300, [8192, 9000], 300, [8192, 9216, 9300]),
        (9300, [8192, 8200], 1100, [8192, 9300]),
        (9300, [1000], 8300, [9300]),
        (33_000, [32_768, 32_900], 100, [32_768, 33_000]),
        (33_000, [20_000], 13_000, [33_000]),
        (53_000, [33_000], 20_000, [33_000, 53_000]),
        (B, [], 62_144, []),
        (B + 5, [], 5, [B + 5]),
        (3 * B + 40_000, [3 * B + 32_768], 7_232, [3 * B + 32_768, 3 * B + 40_000]),
    ],
)
def test_where_the_young_end_is_cut(size, before, added, expected):
    assert TILING.young_ends(size, before, added) == expected


@pytest.mark.parametrize(
    "ends, expected",
    [
        ([], None),
        ([B], None),
        ([*range(B, 8 * B, B), 7 * B + 7], None),
        ([*range(B, 9 * B, B)], (0, 8 * B)),
        ([*range(B, 9 * B, B), 8 * B + 1], (0, 8 * B)),
        ([*range(8 * B, 17 * B, B)], (8 * B, 16 * B)),
        ([4 * B, *range(5 * B, 13 * B, B)], (0, 8 * B)),
        ([*range(9 * B, 18 * B, B)], None),
        ([*range(8 * B, 65 * B, 8 * B)], (0, 64 * B)),
        ([*range(8 * B, 57 * B, 8 * B), *range(57 * B, 65 * B, B)], (56 * B, 64 * B)),
        ([*range(64 * B, 129 * B, 8 * B)], (64 * B, 128 * B)),
        # What another version tiled otherwise is merged to the same in the end.
        ([B // 4, B // 2, 3 * B // 4, B], (0, B)),
        ([4 * B, 8 * B, 8 * B + B // 4], (0, 8 * B)),
        ([16 * B, 20 * B, 24 * B, 24 * B + 1], (16 * B, 24 * B)),
        ([16 * B, 32 * B, 48 * B, 64 * B], (0, 64 * B)),
        ([16 * B, 20 * B, 21 * B, 22 * B], None),
        ([9 * B, 18 * B, 27 * B], None),
        ([*range(SIZES[-2], SIZES[-1] + 1, SIZES[-2])], (0, SIZES[-1])),
        ([*range(SIZES[-1], 9 * SIZES[-1], SIZES[-1])], None),
    ],
)
def test_what_is_merged_next(ends, expected):
    assert TILING.plan_merge(ends) == expected
