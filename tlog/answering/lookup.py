"""Looking up: the indexed entries that have one of some index keys, in the order of the log, a bounded number at a time.

A question about a resource has two keys, under which no entry stands twice by intent; an entry that does, because another key
of it begins with the same 8 bytes, is found once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from tlog.core.making.posting import find_posting, from_bytes
from tlog.core.segment import POSTING_SIZE, Segment, offset_of, parse_table

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from tlog.storage.index import Run
    from tlog.storage.reading import View
    from tlog.storage.rows import Epoch

_RUNS_AT_ONCE: Final = 4
_RISING_RUNS: Final = 64


class _Asked(NamedTuple):
    """The postings [low, high) of one key in one segment."""

    segment: Segment
    segment_id: int
    key: bytes
    low: bytes
    high: bytes

    def indexes(self, pages: bytes) -> tuple[list[int], bool]:
        """Return the indexes of the entries that those of its postings in `pages` point to, and whether they begin in there."""
        postings = from_bytes(pages)
        first, last = find_posting(postings, self.key, offset_of(self.low), offset_of(self.high))
        return [self.segment.start + int(offset) for offset in postings.offsets[first:last]], first > 0


def met(epoch: Epoch, start: int, end: int) -> list[tuple[Segment, int]]:
    """Return the segments of an epoch that hold entries of [start, end), with their IDs, in the order of the log."""
    segments = zip(parse_table(epoch.table), epoch.segment_ids, strict=True)
    return [(segment, number) for segment, number in segments if segment.start < end and segment.end > start]


async def indexed_falling(
    view: View, epoch: Epoch, keys: Sequence[bytes], start: int, end: int
) -> AsyncIterator[list[int]]:
    """Yield the indexes of the indexed entries in [start, end) that have one of `keys`, falling, some at a time."""
    asked = _asked(epoch, keys, start, end)[::-1]
    # The first run of each segment and key in one go: for most keys that is all there is.
    runs = await view.find_last_runs([(each.segment_id, each.high) for each in asked], 1)
    found = {run.asked_at: run for run in runs}
    for first in range(0, len(asked), len(keys)):
        streams = [_falling(view, asked[at], found[at]) for at in range(first, first + len(keys)) if at in found]
        async for indexes in merged(streams, falling=True):
            yield indexes


def _asked(epoch: Epoch, keys: Sequence[bytes], start: int, end: int) -> list[_Asked]:
    return [
        _Asked(segment, segment_id, key, *segment.bounds(key, start, end))
        for segment, segment_id in met(epoch, start, end)
        for key in keys
    ]


async def _falling(view: View, asked: _Asked, run: Run) -> AsyncIterator[list[int]]:
    """Yield what one segment has under one key, given the run that holds its largest posting."""
    waiting = [run]
    while waiting:
        run = waiting.pop()
        indexes, all_of_them = asked.indexes(run.pages)
        yield indexes[::-1]
        if all_of_them:
            return
        if not waiting and run.number > 0:
            waiting = await view.find_last_runs([(asked.segment_id, run.pages[:POSTING_SIZE])], _RUNS_AT_ONCE)


async def indexed_rising(
    view: View, epoch: Epoch, keys: Sequence[bytes], start: int, end: int
) -> AsyncIterator[list[int]]:
    """Yield the indexes of the indexed entries in [start, end) that have one of `keys`, rising, some at a time."""
    asked = _asked(epoch, keys, start, end)
    for first in range(0, len(asked), len(keys)):
        streams = [_rising(view, each) for each in asked[first : first + len(keys)]]
        async for indexes in merged(streams, falling=False):
            yield indexes


async def _rising(view: View, asked: _Asked) -> AsyncIterator[list[int]]:
    """Yield what one segment has under one key."""
    edges = [run.number for run in await view.find_edge_runs([(asked.segment_id, asked.low, asked.high)])]
    end = max(edges, default=-1) + 1
    for first in range(min(edges, default=0), end, _RISING_RUNS):
        wanted = [(asked.segment_id, number) for number in range(first, min(first + _RISING_RUNS, end))]
        yield asked.indexes(b"".join(run.pages for run in await view.runs(wanted)))[0]


async def merged(streams: Sequence[AsyncIterator[list[int]]], *, falling: bool) -> AsyncIterator[list[int]]:
    """Yield what all streams yield, each in order, as one in that order, without repeats."""
    if len(streams) == 1:
        async for indexes in streams[0]:
            yield indexes
        return
    sign = -1 if falling else 1
    waiting: dict[int, list[int]] = {number: [] for number in range(len(streams))}
    while waiting:
        for number, indexes in list(waiting.items()):
            if not indexes:
                following = await anext(streams[number], None)
                if following is None:
                    del waiting[number]
                else:
                    waiting[number] = following
        if not waiting or not all(waiting.values()):
            continue
        # Up to where the first of them ends, nothing is still to come from any other.
        until = min(sign * indexes[-1] for indexes in waiting.values())
        taken = {index for indexes in waiting.values() for index in indexes if sign * index <= until}
        waiting = {number: [index for index in indexes if sign * index > until] for number, indexes in waiting.items()}
        yield sorted(taken, reverse=falling)
