"""How a log is tiled into segments: where new ones end, and which are merged to longer ones.

A verifier takes every table that covers the log without gap (`tlog.core.segment`), so these lengths bind nobody. They only
weigh work: every proof looks into all segments, so segments have to be few; every merge writes all postings anew, so the
lengths that segments are merged to have to be few too.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence


class Tiling(NamedTuple):
    """The lengths of segments, in entries.

    From old to young the log has merged segments, base segments, and a young end: the entries after the last base segment.

    Attributes:
        base: the length of a base segment.
        sizes: the lengths that segments are merged to, rising, each a multiple of the one before.
        young: a segment of the young end that is as long stays until its base segment is complete.
        cuts: what is shorter is cut at multiples of these, falling, so that little is written anew at each epoch.

    """

    base: int
    sizes: tuple[int, ...]
    young: int
    cuts: tuple[int, ...]

    def young_ends(self, size: int, before: Sequence[int], added: int) -> list[int]:
        """Return where the segments after the last base segment end in the epoch of `size`.

        Args:
            size: of the epoch.
            before: where they ended in the epoch before.
            added: how many entries are new since then.

        """
        start = size // self.base * self.base
        ends = []
        for end in before:
            if end - start < self.young:
                break
            ends.append(end)
            start = end
        for cut in self.cuts if size - start < self.young else ():
            # Up to there it stays as it is in the next epoch, if that adds as little as this one.
            if added < cut and size // cut * cut > start:
                start = size // cut * cut
                ends.append(start)
        return [*ends, size] if size > start else ends

    def plan_merge(self, ends: Sequence[int]) -> tuple[int, int] | None:
        """Return the range [start, end) of the first segments to merge, None if there are none.

        Segments are merged when they fill an aligned range of one of the sizes; the others are the young end and wait.
        """
        known = set(ends)
        for size in self.sizes:
            for start, end in pairwise((0, *ends)):
                if start % size == 0 and end - start < size and start + size in known:
                    return start, start + size
        return None


# Base segments of 2^18 entries, whose keys are held in memory until then, are merged to as many as 2^30.
TILING: Final = Tiling(1 << 18, tuple(1 << 18 + 3 * level for level in range(5)), 1 << 15, (1 << 13, 1 << 10))
