"""The index's rows: the indexer writes segments and epochs; whoever answers reads runs of pages, tiles and epochs back."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from tlog.core.making.posting import KEY_ROW_SIZE, count_entries, keys_text
from tlog.core.segment import POSTING_SIZE
from tlog.errors import DamagedLogError
from tlog.storage.binary_copy import copy_in, copy_out
from tlog.storage.connection import Connection, translated
from tlog.storage.explanations import Explanation, explanations_of, publish_explanations
from tlog.storage.leading import LeadingStore
from tlog.storage.queries import QUERIES
from tlog.storage.rows import Epoch
from tlog.storage.runs import portions, read_entries, read_entry
from tlog.storage.statements import read_controls

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from tlog.core.segment import Segment

_RUN: Final = struct.Struct(">hiqiqi12si").pack
_TILE: Final = struct.Struct(">hiqihiqi").pack


class Run(NamedTuple):
    """Run `number` of a segment's pages, which answers what was asked at position `asked_at`."""

    asked_at: int
    number: int
    pages: bytes


class IndexStore(LeadingStore):
    """Reads the keys of entries and writes segments and epochs, over one connection of its own."""

    role = "tlog_indexer"
    lock = 0x746C6F67_696E6478  # "tlogindx"

    async def sealed_size(self) -> int:
        """Return the size of the largest published checkpoint, 0 without one."""
        with translated():
            cursor = await self._connection.execute(QUERIES["read_latest_checkpoint"])
            row = await cursor.fetchone()
            return 0 if row is None else int(row[0])

    async def keys_text(self, start: int, end: int) -> bytes:
        """Return the keys of the entries [start, end) as `tlog.core.making.posting.decode_keys` takes them.

        Raises:
            DamagedLogError: an entry is missing, or has no keys in their place.

        """
        return await read_keys(self._connection, start, end)

    async def entry(self, index: int) -> bytes | None:
        """Return one entry, None if it is not there."""
        return await read_entry(self._connection, index)

    async def epoch(self) -> Epoch | None:
        """Return the newest epoch."""
        return await read_epoch(self._connection, sealed=False)

    async def stored(self, segment_ids: Collection[int]) -> dict[int, tuple[int, int, int | None, bytes | None]]:
        """Return (start, end, postings, root) of the segments among `segment_ids` that are stored."""
        with translated():
            cursor = await self._connection.execute(QUERIES["list_segments"], {"segment_ids": list(segment_ids)})
            return {row[0]: (row[1], row[2], row[3], row[4]) for row in await cursor.fetchall()}

    async def write_segment(
        self, segment: Segment, runs: Sequence[bytes], tiles: Mapping[tuple[int, int], bytes]
    ) -> int:
        """Write a small segment at once; the segment is whole when this returns its ID."""
        values = {
            "start": segment.start,
            "end": segment.end,
            "postings": segment.count,
            "root_hash": segment.root,
            "levels": [level for level, _ in tiles],
            "indexes": [index for _, index in tiles],
            "tiles": list(tiles.values()),
        }
        segment_id = await self._inserted("write_segment", values)
        await self.write_runs(segment_id, 0, runs)
        return segment_id

    async def begin_segment(self, start: int, end: int) -> int:
        """Make room for a segment of the entries [start, end) that is written in pieces; return its ID."""
        return await self._inserted("begin_segment", {"start": start, "end": end})

    async def write_runs(self, segment_id: int, first: int, runs: Sequence[bytes]) -> None:
        """Write the runs `first`, `first` + 1, … of a segment."""
        parts: list[bytes] = []
        for number, pages in enumerate(runs, first):
            parts += (_RUN(4, 8, segment_id, 8, number, POSTING_SIZE, pages[:POSTING_SIZE], len(pages)), pages)
        with translated():
            await copy_in(self._connection, "copy_runs", [b"".join(parts)])

    async def write_tiles(self, segment_id: int, tiles: Mapping[tuple[int, int], bytes]) -> None:
        """Write tiles of the tree over a segment's pages."""
        parts: list[bytes] = []
        for (level, index), hashes in tiles.items():
            parts += (_TILE(4, 8, segment_id, 2, level, 8, index, len(hashes)), hashes)
        with translated():
            await copy_in(self._connection, "copy_index_tiles", [b"".join(parts)])

    async def finish_segment(self, segment_id: int, segment: Segment) -> None:
        """Note that all runs and tiles of a segment are written."""
        values = {"segment_id": segment_id, "postings": segment.count, "root_hash": segment.root}
        with translated():
            await self._connection.execute(QUERIES["finish_segment"], values)

    async def runs(self, segment_id: int, first: int, count: int) -> list[bytes]:
        """Return the pages of the runs from `first` on, `count` of them or as many as there are."""
        values = {"segment_id": segment_id, "first": first, "end": first + count}
        with translated():
            return await copy_out(self._connection, "copy_segment_runs", values)

    async def publish(self, epoch: Epoch, explanations: Sequence[Explanation]) -> None:
        """Store an epoch, and what the outcomes explain that are new in it."""
        values = epoch._asdict()
        values["segment_table"] = values.pop("table")
        with translated():
            async with self._connection.transaction():
                await self._connection.execute(QUERIES["publish_epoch"], values)
                await publish_explanations(self._connection, explanations)

    async def outcomes(self, start: int, end: int) -> list[Explanation]:
        """Return what the outcomes among the entries [start, end) explain."""
        with translated():
            return explanations_of(await read_controls(self._connection, start, end))

    async def clear(self) -> None:
        """Forget all epochs, so that the index is made again from the entries."""
        with translated():
            async with self._connection.transaction():
                await self._connection.execute(QUERIES["delete_all_epochs"])
                await self._connection.execute(QUERIES["delete_explanations"])

    async def collect_garbage(self, kept: Iterable[int]) -> int:
        """Delete the epochs that nobody is answered from any more, and the segments that no epoch has, except `kept`.

        Returns:
            How many segments were deleted.

        """
        with translated():
            await self._connection.execute(QUERIES["delete_old_epochs"])
            cursor = await self._connection.execute(QUERIES["find_unused_segments"], {"kept": list(kept)})
            unused = [segment_id for (segment_id,) in await cursor.fetchall()]
            if unused:
                # The segments' own rows last: as long as they are there, the next collection finds what is left.
                for query in ("delete_runs", "delete_index_tiles", "delete_segments"):
                    await self._connection.execute(QUERIES[query], {"segment_ids": unused})
            return len(unused)

    async def _inserted(self, query: str, values: Mapping[str, object]) -> int:
        """Insert a row; return its ID."""
        with translated():
            cursor = await self._connection.execute(QUERIES[query], values)
            row = await cursor.fetchone()
            assert row is not None  # noqa: S101 - RETURNING; for the type checker
            return int(row[0])


async def read_keys(connection: Connection, start: int, end: int) -> bytes:
    """Return the joined key texts of the entries [start, end); see `IndexStore.keys_text`."""
    texts: list[bytes] = []
    for first, last in portions(start, end):
        texts += map(keys_text, await read_entries(connection, first, last))
    text = b"".join(texts)
    if len(texts) != end - start or len(text) % KEY_ROW_SIZE or count_entries(text) != len(texts):
        message = f"of the entries {start} to {end - 1} one is missing or without index keys; run 'tlog fsck'"
        raise DamagedLogError(message)
    return text


async def read_epoch(connection: Connection, *, sealed: bool) -> Epoch | None:
    """Return the newest epoch, or the newest one whose entry a published checkpoint covers."""
    with translated():
        cursor = await connection.execute(QUERIES["read_sealed_epoch" if sealed else "read_epoch"])
        row = await cursor.fetchone()
        return None if row is None else Epoch(*row)


async def find_edge_runs(connection: Connection, asked: Sequence[tuple[int, bytes, bytes]]) -> list[Run]:
    """Return the runs in which the places of two postings are, one or two runs of each segment.

    Args:
        connection: in the reader's role.
        asked: (segment ID, low, high) of each segment.

    """
    values = {
        "segment_ids": [segment_id for segment_id, _, _ in asked],
        "lows": [low for _, low, _ in asked],
        "highs": [high for _, _, high in asked],
    }
    return await _runs(connection, "find_edge_runs", values)


async def read_runs(connection: Connection, wanted: Sequence[tuple[int, int]]) -> list[Run]:
    """Return runs, each asked for as (segment ID, number); `Run.asked_at` is the position in `wanted`."""
    values = {"segment_ids": [segment_id for segment_id, _ in wanted], "runs": [run for _, run in wanted]}
    return await _runs(connection, "read_runs", values)


async def find_last_runs(connection: Connection, asked: Sequence[tuple[int, bytes]], count: int) -> list[Run]:
    """Return of each segment the run that holds its largest posting below `high`, and those before it.

    Args:
        connection: in the reader's role.
        asked: (segment ID, high) of each segment.
        count: how many runs of a segment to return at most; a segment without such a posting has none.

    """
    segment_ids, highs = [segment_id for segment_id, _ in asked], [high for _, high in asked]
    values = {"segment_ids": segment_ids, "highs": highs, "count": count}
    return await _runs(connection, "find_last_runs", values)


async def read_index_tiles(
    connection: Connection, wanted: Sequence[tuple[int, int, int]]
) -> dict[tuple[int, int, int], bytes]:
    """Return the stored tiles among `wanted`, each (segment ID, level, tile index)."""
    values = {
        "segment_ids": [each[0] for each in wanted],
        "levels": [each[1] for each in wanted],
        "indexes": [each[2] for each in wanted],
    }
    with translated():
        cursor = await connection.execute(QUERIES["read_index_tiles"], values, binary=True)
        return {(row[0], row[1], row[2]): row[3] for row in await cursor.fetchall()}


async def _runs(connection: Connection, query: str, values: Mapping[str, object]) -> list[Run]:
    with translated():
        cursor = await connection.execute(QUERIES[query], values, binary=True)
        # The database counts what was asked from one.
        return sorted(Run(asked - 1, number, pages) for asked, number, pages in await cursor.fetchall())
