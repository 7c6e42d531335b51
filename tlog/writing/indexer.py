"""The indexer: segments over sealed entries, merged in the background, and epochs logged as entries.

    keys of sealed entries read → segments written → table → `index` entry appended → epoch published → garbage collected

Segments follow from the entries alone, so a crash anywhere costs only work: a segment that no epoch refers to is deleted, and
a missing one is made again, to the same bytes. From old to young the log is tiled into merged segments, base segments, and a
young end, which is cut so that little is written anew at each epoch (`tlog.core.making.tiling`). The keys of the young end
are held in memory until its base segment is complete.

Beside the index, what outcomes explain of absent disclosures is kept for answers, up to the same entry.

Nothing here has to be trusted: the epoch's entry commits to the table, and everyone who holds the entries can derive it
again (`Replay`), which `tlog fsck` does.
"""

from __future__ import annotations

import asyncio
from collections import deque
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import structlog

from tlog.core.entry import IndexEntry, parse_entry
from tlog.core.making.drafts import draft_index
from tlog.core.making.posting import (
    KEY_ROW_SIZE,
    READ_AT_ONCE,
    LoggedKeys,
    build_segment,
    count_entries,
    keys_text,
)
from tlog.core.pseudonym import public_text
from tlog.core.segment import Segment, format_table, parse_table, table_hash
from tlog.errors import MalformedInputError
from tlog.storage.rows import Epoch
from tlog.writing.segments import Merging, Stored, Writing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from tlog.core.making.drafts import DraftEntry
    from tlog.core.making.tiling import Tiling
    from tlog.storage.explanations import Explanation
    from tlog.storage.index import IndexStore
    from tlog.writing.receipts import Receipts

_EPOCHS_BETWEEN_COLLECTIONS: Final = 16
_MERGE_SECONDS: Final = 0.2
_MERGE_PAUSE: Final = 2.0  # of how long a step of a merge took
_MAX_FRESH: Final = 4 * READ_AT_ONCE
_OUTCOME: Final = public_text("control", "outcome").encode()
_log: Final = structlog.get_logger()


class FreshKeys:
    """The keys of entries that the sealer of the same process has just read, so that they need not be read again."""

    def __init__(self) -> None:
        self.end = 0
        self._texts: deque[bytes] = deque(
            maxlen=_MAX_FRESH
        )  # of each entry; if the indexer lags far, the oldest are forgotten

    def take_in(self, start: int, entries: Sequence[bytes]) -> None:
        """Take in entries from index `start` on."""
        if start != self.end:
            self._texts.clear()
        self._texts.extend(map(keys_text, entries))
        self.end = start + len(entries)

    def give(self, start: int, end: int) -> bytes | None:
        """Give away the keys of the entries [start, end) as `decode_keys` takes them; None unless all of them are here."""
        first = start - (self.end - len(self._texts))
        if first < 0 or end > self.end:
            return None
        for _ in range(first):
            self._texts.popleft()
        given = b"".join([self._texts.popleft() for _ in range(end - start)])
        # Of an entry that is malformed the keys are not to be guessed: who reads them from the database says so.
        return given if len(given) % KEY_ROW_SIZE == 0 and count_entries(given) == end - start else None


class Indexer:
    """Indexes one log. One instance leads; `recover` comes first, then `index` again and again."""

    def __init__(  # noqa: PLR0917 - each thing it works with, once
        self,
        store: IndexStore,
        fresh: FreshKeys,
        append: Callable[[Sequence[DraftEntry]], Awaitable[Receipts]],
        seal: Callable[[], None],
        again: Callable[[], None],
        interval: float,
        tiling: Tiling,
    ) -> None:
        """Prepare.

        Args:
            store: where segments go.
            fresh: keys that need not be read from the database.
            append: appends the epochs' entries.
            seal: asks for a checkpoint, which makes an epoch citable.
            again: asks for `index` to be called again soon.
            interval: seconds between two epochs at least.
            tiling: how long segments are.

        """
        self._store = store
        self._fresh = fresh
        self._append = append
        self._seal = seal
        self._again = again
        self._interval = interval
        self._tiling = tiling
        self._done: list[Stored] = []  # merged and base segments
        self._young: list[Stored] = []
        self._keys = LoggedKeys(0)
        self._explanations: list[Explanation] = []  # of entries from the last epoch on
        self._size = 0  # of the last epoch
        self._last_epoch = float("-inf")
        self._new_keys = 0
        self._published = 0
        self._merged = False  # since the last epoch
        self._merge: Merging | None = None
        self._asked = False

    async def recover(self) -> None:
        """Take up where the newest epoch stopped, or begin anew if the stored index is not the one that was logged.

        Raises:
            OverloadedError: the database is away.
            DamagedLogError: an entry is missing.

        """
        epoch = await self._store.epoch()
        if epoch is not None and not await self._take_up(epoch):
            _log.warning(
                "index_made_again",
                reason="the stored index is not the one that was logged; it is made again from the entries",
            )
            await self._store.clear()
            self._done, self._young, self._size, self._explanations = [], [], 0, []
        self._keys = LoggedKeys(self._done[-1].segment.end if self._done else 0)
        await self._read_keys(self._size)
        self._new_keys = 0
        await self._store.collect_garbage(())

    async def index(self) -> Epoch | None:
        """Index the sealed entries and go on merging; return the new epoch, None if no event is new and no merge has ended.

        Raises:
            OverloadedError: the database is away, or the log cannot take the epoch's entry now.
            DamagedLogError: an entry is missing.

        """
        epoch = None
        loop = asyncio.get_running_loop()
        now, due = loop.time(), self._last_epoch + self._interval
        if now < due:
            loop.call_later(due - now, self._again)
        else:
            sealed = await self._store.sealed_size()
            self._asked = not self._asked and self._fresh.end > sealed
            if self._asked:
                self._seal()  # first, or the epoch would lag by a seal; the end of this one calls `index` again
            else:
                await self._read_keys(sealed)
                if self._new_keys or (sealed > self._size and self._merged_all()):
                    epoch = await self._publish(sealed)
                    self._last_epoch = now
        await self._go_on_merging()
        return epoch

    # --- Epochs ------------------------------------------------------------------------------------------------------

    async def _read_keys(self, end: int) -> None:
        """Read keys up to `end`; a base segment that they complete is written at once."""
        base = self._tiling.base
        while self._keys.end < end:
            start = self._keys.end
            stop = min(end, start + READ_AT_ONCE, start // base * base + base)
            text = self._fresh.give(start, stop) or await self._store.keys_text(start, stop)
            self._new_keys += self._keys.extend(text, stop - start)
            if stop > self._size and _OUTCOME in text:
                self._explanations += await self._store.outcomes(max(start, self._size), stop)
            if stop % base == 0:
                self._done.append(await self._write_base(stop - base, stop))
                self._keys.forget(stop)
                self._young = []

    async def _publish(self, size: int) -> Epoch:
        before = [each.segment.end for each in self._young]
        starts = [self._keys.start, *self._tiling.young_ends(size, before, size - self._size)]
        kept = {(each.segment.start, each.segment.end): each for each in self._young}
        self._young = [kept.get((start, end)) or await self._write(start, end) for start, end in pairwise(starts)]
        stored = [*self._done, *self._young]
        table = format_table(each.segment for each in stored)
        draft = draft_index([each.segment.end for each in stored], table_hash(table))
        receipt = (await self._append([draft]))[0]
        epoch = Epoch(size, receipt.index, table, [each.segment_id for each in stored])
        await self._store.publish(epoch, self._explanations)
        self._explanations = []
        self._size, self._new_keys, self._merged = size, 0, False
        self._seal()
        self._published += 1
        if self._published % _EPOCHS_BETWEEN_COLLECTIONS == 0:
            await self._store.collect_garbage(self._kept())
        return epoch

    async def _write(self, start: int, end: int) -> Stored:
        """Build and write a segment from the young keys."""
        segment, runs, tiles = await asyncio.to_thread(_build, self._keys, start, end)
        return Stored(segment, await self._store.write_segment(segment, runs, tiles))

    async def _write_base(self, start: int, end: int) -> Stored:
        """Build and write a base segment from the young keys, piece by piece as a merged one is written."""
        writing = Writing(self._store, await self._store.begin_segment(start, end), start, end)
        for postings in self._keys.parts(start, end):
            await writing.add(postings)
        return await writing.finish()

    def _kept(self) -> list[int]:
        stored = [each.segment_id for each in (*self._done, *self._young)]
        return stored if self._merge is None else [*stored, self._merge.segment_id]

    async def _take_up(self, epoch: Epoch) -> bool:
        """Take over the segments of an epoch; tell whether they are those that the epoch's entry commits to."""
        try:
            entry = parse_entry(await self._store.entry(epoch.entry_index) or b"")
            segments = parse_table(epoch.table)
        except MalformedInputError:
            return False
        if not isinstance(entry, IndexEntry) or entry.table_hash() != table_hash(epoch.table):
            return False
        rows = await self._store.stored(epoch.segment_ids)
        stored = [Stored(*each) for each in zip(segments, epoch.segment_ids, strict=False)]
        if len(segments) != len(epoch.segment_ids) or any(rows.get(each.segment_id) != each.segment for each in stored):
            return False
        base = epoch.size // self._tiling.base * self._tiling.base
        self._done = [each for each in stored if each.segment.end <= base]
        self._young = [each for each in stored if each.segment.end > base]
        self._size = epoch.size
        return not self._young or self._young[0].segment.start == base

    # --- Merging -----------------------------------------------------------------------------------------------------

    def _merged_all(self) -> bool:
        """Whether an epoch is worth its entry without events: or a log that rests would be merged again at each start."""
        return self._merged and self._merge is None and self._planned() is None

    def _planned(self) -> tuple[int, int] | None:
        return self._tiling.plan_merge([each.segment.end for each in self._done])

    async def _go_on_merging(self) -> None:
        """Merge for a bounded time; ask to be called again while there is more to merge."""
        if self._merge is None:
            planned = self._planned()
            if planned is None:
                return
            inputs = [each for each in self._done if planned[0] <= each.segment.start < planned[1]]
            self._merge = Merging(self._store, await self._store.begin_segment(*planned), inputs)
        time = asyncio.get_running_loop().time
        until = time() + _MERGE_SECONDS
        while (begun := time()) < until:
            merged = await self._merge.step()
            if merged is not None:
                first = next(n for n, each in enumerate(self._done) if each.segment.start == merged.segment.start)
                self._done[first : first + len(self._merge.inputs)] = [merged]
                self._merge, self._merged = None, True
                break
            # Nobody waits for a merge, and it would take its time from sealing, which somebody waits for.
            await asyncio.sleep(_MERGE_PAUSE * (time() - begun))
        self._again()


def _build(keys: LoggedKeys, start: int, end: int) -> tuple[Segment, list[bytes], dict[tuple[int, int], bytes]]:
    return build_segment(start, end, keys.postings(start, end))
