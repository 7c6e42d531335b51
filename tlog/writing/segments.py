"""Segments on their way into the database: written piece by piece, merged a few runs at a time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, NamedTuple

from tlog.core.making.posting import Merge, SegmentBuilder
from tlog.errors import DamagedLogError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tlog.core.making.posting import Postings
    from tlog.core.segment import Segment
    from tlog.storage.index import IndexStore

# Each step of a merge costs some statements, however much it writes, and holds this many runs of each input in memory.
_RUNS_AT_ONCE: Final = 32
_TILES_AT_ONCE: Final = 256


class Stored(NamedTuple):
    """A segment, and the ID under which it is stored."""

    segment: Segment
    segment_id: int


class Writing:
    """A long segment that is written while it is built."""

    def __init__(self, store: IndexStore, segment_id: int, start: int, end: int) -> None:
        self._store = store
        self._segment_id = segment_id
        self._builder = SegmentBuilder(start, end)
        self._written = 0

    async def add(self, postings: Postings) -> None:
        """Write the next postings, or keep them until there is a run of them."""
        await self._write_runs(await asyncio.to_thread(self._builder.add, postings))
        await self._store.write_tiles(self._segment_id, self._builder.full_tiles(_TILES_AT_ONCE))

    async def finish(self, postings: int | None = None) -> Stored:
        """Write the rest; return the segment.

        Args:
            postings: how many there must have been, None if that is not known.

        Raises:
            DamagedLogError: there were more or fewer.

        """
        segment, runs, tiles = self._builder.finish()
        if postings is not None and segment.count != postings:
            message = f"the segments of entries {segment.start} to {segment.end - 1} are damaged; run 'tlog reindex'"
            raise DamagedLogError(message)
        await self._write_runs(runs)
        await self._store.write_tiles(self._segment_id, tiles)
        await self._store.finish_segment(self._segment_id, segment)
        return Stored(segment, self._segment_id)

    async def _write_runs(self, runs: Sequence[bytes]) -> None:
        await self._store.write_runs(self._segment_id, self._written, runs)
        self._written += len(runs)


class Merging:
    """A merge in progress: some runs are read, merged and written in each step."""

    def __init__(self, store: IndexStore, segment_id: int, inputs: Sequence[Stored]) -> None:
        self.segment_id = segment_id
        self.inputs = inputs
        self._store = store
        start = inputs[0].segment.start
        self._merge = Merge([each.segment.start - start for each in inputs])
        self._writing = Writing(store, segment_id, start, inputs[-1].segment.end)
        self._read = [0] * len(inputs)

    async def step(self) -> Stored | None:
        """Merge about as many postings as some runs of each input have; return the segment when it is whole."""
        for number in self._merge.wants():
            runs = await self._store.runs(self.inputs[number].segment_id, self._read[number], _RUNS_AT_ONCE)
            self._merge.feed(number, b"".join(runs))
            self._read[number] += len(runs)
        if self._merge.wants():
            return None  # an input ended; the others go on in the next step
        postings = await asyncio.to_thread(self._merge.merged)
        if postings is not None:
            await self._writing.add(postings)
            return None
        return await self._writing.finish(sum(each.segment.count for each in self.inputs))
