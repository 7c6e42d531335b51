"""What everyone reads of a log: `ReadStore` for single facts, each from the newest state; a `View` for a whole question.

They move bytes and decide nothing; what the bytes have to be is checked by whoever reads them.
"""

from __future__ import annotations

from collections import Counter
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import psycopg

from tlog.core.bundle import format_bundle
from tlog.core.entry import parse_logged_at, to_microseconds
from tlog.core.tile import ENTRIES, TILE_WIDTH, Tile
from tlog.errors import DamagedLogError, OverloadedError
from tlog.storage.connection import Connection, translated
from tlog.storage.cosignatures import WitnessPolicy, read_witness_policy
from tlog.storage.explanations import explain
from tlog.storage.index import (
    Run,
    find_edge_runs,
    find_last_runs,
    read_epoch,
    read_index_tiles,
    read_keys,
    read_runs,
)
from tlog.storage.keys import ApiKey
from tlog.storage.queries import QUERIES
from tlog.storage.rows import (
    Epoch,
    FoundEvent,
    Leaf,
    Position,
    Primary,
    Progress,
    SealedCheckpoint,
    Standing,
    State,
)
from tlog.storage.sessions import Session
from tlog.storage.statements import (
    array_text,
    find_events,
    find_failovers,
    read_checkpoint,
    read_latest_checkpoint,
    read_leaf,
    read_primary,
    read_state,
    read_tiles,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence

    from psycopg.rows import TupleRow

    from tlog.storage.database import Database


_CLOSE_SECONDS: Final = 1.0
_NEVER: Final = SealedCheckpoint(0, b"", b"", b"", 0)


class ReadStore:
    """Reads for many at a time, over a pool of few connections."""

    def __init__(self, database: Database, connections: int = 8, *, gives_way: bool = False) -> None:
        self._database = database
        self._pool = database.pool("tlog_reader", connections, gives_way=gives_way)
        self._largest = _NEVER

    async def open(self, *, wait: bool = True) -> None:
        """Open the pool and, unless told otherwise, wait for its first connection.

        Raises:
            OverloadedError: the database cannot be reached.

        """
        with translated():
            await self._pool.open(wait=wait, timeout=10)

    async def close(self) -> None:
        """Close the pool, whether or not the database answers those that it still has."""
        await self._pool.close(timeout=_CLOSE_SECONDS)

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[Connection]:
        """Lend a connection of the pool; every reader takes its connection here, so that all name an error as tlog does.

        Raises:
            OverloadedError: the database is away, no connection became free in time, or too many readers wait.

        """
        with translated():
            async with self._pool.connection() as connection:
                yield connection

    async def origin(self) -> str | None:
        """Return the origin the database belongs to, None before the log was initialised."""
        async with self._reading() as connection:
            cursor = await connection.execute(QUERIES["read_state"])
            row = await cursor.fetchone()
            return None if row is None else str(row[0])

    async def state(self) -> State:
        """Return the committed state of the log."""
        async with self._reading() as connection:
            return await read_state(connection)

    async def primary(self) -> Primary:
        """Return which PostgreSQL the log is on."""
        async with self._reading() as connection:
            return await read_primary(connection)

    async def failovers(self, start: int) -> list[bytes]:
        """Return the entries from index `start` on that may say that the log goes on on another server."""
        async with self._reading() as connection:
            return await find_failovers(connection, start)

    async def leaf(self, index: int) -> Leaf | None:
        """Return one row, None if it is not there."""
        async with self._reading() as connection:
            return await read_leaf(connection, index)

    async def find(self, event_ids: Collection[str]) -> list[FoundEvent]:
        """Return the events among `event_ids` that the log has."""
        async with self._reading() as connection:
            return await explain(connection, await find_events(connection, event_ids))

    async def tiles(self, tiles: Iterable[Tile]) -> dict[tuple[int, int], bytes]:
        """Return the stored hashes of `tiles`, each cut to its width; absent ones are left out."""
        async with self._reading() as connection:
            return await read_tiles(connection, tiles)

    async def entries(self, start: int, end: int) -> list[bytes]:
        """Return the entries [start, end) in order, as many as there are."""
        async with self._reading() as connection:
            values = {"start": start, "end": end}
            cursor = await connection.execute(QUERIES["read_entries"], values, binary=True)
            return [entry for (entry,) in await cursor.fetchall()]

    async def bundle(self, tile: Tile) -> bytes | None:
        """Return the entry bundle of a tile of level ENTRIES, None if the entries are not all there."""
        assert tile.level == ENTRIES  # noqa: S101 - the caller's own mistake
        start = tile.index * TILE_WIDTH
        entries = await self.entries(start, start + tile.width)
        return format_bundle(entries) if len(entries) == tile.width else None

    async def latest_checkpoint(self) -> SealedCheckpoint | None:
        """Return the largest published checkpoint.

        Raises:
            OverloadedError: the database is away, or went back.

        """
        before = self._largest
        async with self._reading() as connection:
            return self._forward(before, await read_latest_checkpoint(connection))

    def _forward(self, before: SealedCheckpoint, checkpoint: SealedCheckpoint | None) -> SealedCheckpoint | None:
        """Return the checkpoint that was read, unless one that was read before is larger or another of that size.

        Whoever has seen a checkpoint is never shown an older one, even if the database is now an older copy. `before` is what was
        the largest when the reading began: other readings may have ended meanwhile.
        """
        there = _NEVER if checkpoint is None else checkpoint
        if there.size < before.size or (there.size == before.size > 0 and there.note != before.note):
            message = "the database went back: it holds an older checkpoint than this process has shown; its operator has to act"
            raise OverloadedError(message)
        if checkpoint is not None and checkpoint.size > self._largest.size:
            self._largest = checkpoint
        return checkpoint

    async def witness_policy(self) -> WitnessPolicy | None:
        """Return the policy under which checkpoints are published now, None if there never was one."""
        async with self._reading() as connection:
            return await read_witness_policy(connection)

    async def checkpoint(self, size: int) -> SealedCheckpoint | None:
        """Return the published checkpoint of exactly `size`."""
        async with self._reading() as connection:
            return await read_checkpoint(connection, size)

    async def sealed_leaf(self, size: int | None, index: int) -> tuple[SealedCheckpoint | None, Leaf | None]:
        """Return the published checkpoint of `size`, or the largest, and a row if the checkpoint covers it; in one round trip."""
        async with self._reading() as connection:
            values, before = {"size": size, "index": index}, self._largest
            cursor = await connection.execute(QUERIES["read_sealed_leaf"], values, binary=True)
            row = await cursor.fetchone()
            if row is None:
                return (self._forward(before, None) if size is None else None), None
            checkpoint = SealedCheckpoint(*row[:6])
            if size is None:
                self._forward(before, checkpoint)
            return checkpoint, None if row[6] is None else Leaf(*row[6:])

    async def checkpoints(self, below: int, limit: int) -> list[SealedCheckpoint]:
        """Return at most `limit` published checkpoints of a size smaller than `below`, largest first."""
        async with self._reading() as connection:
            values = {"below": below, "limit": limit}
            cursor = await connection.execute(QUERIES["list_checkpoints"], values)
            return [SealedCheckpoint(*row) for row in await cursor.fetchall()]

    async def sealed_epoch(self) -> Epoch | None:
        """Return the newest index epoch whose entry a published checkpoint covers."""
        async with self._reading() as connection:
            return await read_epoch(connection, sealed=True)

    async def has_events(self, start: int, end: int) -> bool:
        """Tell whether any of the entries [start, end) is an event."""
        async with self._reading() as connection:
            cursor = await connection.execute(QUERIES["has_events"], {"start": start, "end": end})
            row = await cursor.fetchone()
            return row is not None and bool(row[0])

    async def indexed_size(self) -> int:
        """Return up to which entry there are finished segments, whether an epoch has them already or not."""
        async with self._reading() as connection:
            cursor = await connection.execute(QUERIES["read_indexed_size"])
            row = await cursor.fetchone()
            return 0 if row is None else int(row[0])

    async def api_key(self, key_id: str) -> ApiKey | None:
        """Return an API key, None if there is none of this ID, or none that anybody made: with times that are no times here."""
        row = await self._made_row("read_api_key", {"key_id": key_id})
        return None if row is None else ApiKey(*row)

    async def session(self, lookup: bytes) -> Session | None:
        """Return a session, None if there is none under this lookup, or none that anybody began: with times that are none."""
        row = await self._made_row("read_session", {"lookup": lookup})
        return None if row is None else Session(*row)

    async def _made_row(self, query: str, values: dict[str, object]) -> tuple[Any, ...] | None:
        """Return the one row of a query, None if there is none, or none that anybody made: with times that are no times here."""
        async with self._reading() as connection:
            try:
                cursor = await connection.execute(QUERIES[query], values)
                return await cursor.fetchone()
            except psycopg.DataError:
                return None

    async def standing(self) -> dict[str, Standing]:
        """Return what each API key may do, and whether it was revoked, by its ID."""
        async with self._reading() as connection:
            cursor = await connection.execute(QUERIES["list_standing"])
            return {key_id: Standing(scopes, revoked) for key_id, scopes, revoked in await cursor.fetchall()}

    async def progress(self) -> Progress:
        """Return how far the log is, and on which PostgreSQL.

        Raises:
            OverloadedError: the database is away.
            MalformedInputError: the oldest entry that is not sealed has no loggedAt.

        """
        async with self._reading() as connection:
            cursor = await connection.execute(QUERIES["read_progress"])
            row = await cursor.fetchone()
            assert row is not None  # noqa: S101 - `initialise` wrote it; for the type checker
            size, sealed, sealed_at, indexed, logged_at = row
            since = (
                None if logged_at is None else to_microseconds(parse_logged_at(logged_at.decode("ascii", "replace")))
            )
            return Progress(size, sealed or 0, sealed_at, indexed or 0, since, connection.info.server_version)

    def connections(self) -> dict[str, int]:
        """Return how many connections of the pool are lent out and idle, and how many readers wait for one."""
        stats = self._pool.get_stats()
        idle = stats.get("pool_available", 0)
        return {"busy": stats.get("pool_size", 0) - idle, "idle": idle, "waited_for": stats.get("requests_waiting", 0)}

    @asynccontextmanager
    async def view(self) -> AsyncIterator[View]:
        """Open one snapshot to answer a question from.

        Raises:
            OverloadedError: the database is away, or too many questions wait.

        """
        async with self._reading() as connection:
            await connection.set_isolation_level(psycopg.IsolationLevel.REPEATABLE_READ)
            # In a pipeline, the beginning of the transaction travels with its first question.
            async with connection.pipeline(), connection.transaction():
                yield View(connection, partial(self._forward, self._largest))


class View:
    """The log as it is at one moment."""

    def __init__(
        self, connection: Connection, forward: Callable[[SealedCheckpoint | None], SealedCheckpoint | None]
    ) -> None:
        self._connection = connection
        self._forward = forward

    async def position(self, *, sealed: bool) -> Position:
        """Return how far the log is; with `sealed`, the newest epoch that the checkpoint covers.

        Raises:
            OverloadedError: the database went back.

        """
        cursor = await self._connection.execute(QUERIES["read_position"], {"sealed": sealed})
        row = await cursor.fetchone()
        assert row is not None  # noqa: S101 - `initialise` wrote it; for the type checker
        checkpoint = self._forward(None if row[1] is None else SealedCheckpoint(*row[1:7]))
        return Position(row[0], checkpoint, None if row[7] is None else Epoch(*row[7:]))

    async def keys_text(self, start: int, end: int) -> bytes:
        """Return the keys of entries; see `tlog.storage.index.read_keys`."""
        return await read_keys(self._connection, start, end)

    async def first_logged_at(self, logged_at: bytes, size: int) -> int:
        """Return the index of the first of `size` entries that is logged at `logged_at` (27 characters) or later."""
        values = {"logged_at": logged_at, "size": size}
        cursor = await self._connection.execute(QUERIES["find_logged_at"], values)
        row = await cursor.fetchone()
        if row is None:
            message = f"one of the first {size} entries is missing; run 'tlog fsck'"
            raise DamagedLogError(message)
        return int(row[0])

    async def find_edge_runs(self, asked: Sequence[tuple[int, bytes, bytes]]) -> list[Run]:
        """Return runs of pages; see `tlog.storage.index.find_edge_runs`."""
        return await find_edge_runs(self._connection, asked)

    async def runs(self, wanted: Sequence[tuple[int, int]]) -> list[Run]:
        """Return runs of pages; see `tlog.storage.index.read_runs`."""
        return await read_runs(self._connection, wanted)

    async def find_last_runs(self, asked: Sequence[tuple[int, bytes]], count: int) -> list[Run]:
        """Return runs of pages; see `tlog.storage.index.find_last_runs`."""
        return await find_last_runs(self._connection, asked, count)

    async def index_tiles(self, wanted: Sequence[tuple[int, int, int]]) -> dict[tuple[int, int, int], bytes]:
        """Return tiles of segments; see `tlog.storage.index.read_index_tiles`."""
        return await read_index_tiles(self._connection, wanted)

    async def events(self, indexes: Collection[int]) -> list[FoundEvent]:
        """Return the rows of `indexes` with their disclosures, by index, as many as there are; see `explained`."""
        values = {"indexes": array_text(indexes)}
        # One round trip. Bitmap scans read the pages in order and several at a time; the planner expects too little of that.
        await self._connection.execute(QUERIES["prefer_bitmaps"])
        leaves = await self._connection.execute(QUERIES["read_leaves_at"], values, binary=True)
        disclosures = await self._connection.execute(QUERIES["read_disclosures_at"], values, binary=True)
        await self._connection.execute(QUERIES["prefer_nothing"])
        disclosed = {row[0]: row for row in await disclosures.fetchall()}
        return _with_disclosures([Leaf(*row) for row in await leaves.fetchall()], disclosed)

    async def newest_events(self, indexes: Collection[int], most: int) -> list[FoundEvent]:
        """Return the rows of `indexes` as `events` does, the newest of them: at least one, and more while that is little.

        Args:
            indexes: of entries.
            most: of how many bytes of disclosures those of another row are read as well.

        """
        leaves, disclosed = await self._leaves_and_disclosures(indexes, most, whole=False)
        left = max((index for index, row in disclosed.items() if not row[4]), default=-1)
        return _with_disclosures([leaf for leaf in leaves if leaf.index > left], disclosed)

    async def events_within(self, indexes: Collection[int], most: int) -> list[FoundEvent] | None:
        """Return the rows of `indexes` as `events` does; None, without reading them, if they disclose more than `most` bytes."""
        leaves, disclosed = await self._leaves_and_disclosures(indexes, most, whole=True)
        return _with_disclosures(leaves, disclosed) if all(row[4] for row in disclosed.values()) else None

    async def _leaves_and_disclosures(
        self, indexes: Collection[int], most: int, *, whole: bool
    ) -> tuple[list[Leaf], dict[int, tuple[Any, ...]]]:
        """Return what `read_leaves_at` and `read_disclosures_within` return."""
        values = {"indexes": array_text(indexes), "most": most, "whole": whole}
        await self._connection.execute(QUERIES["prefer_bitmaps"])
        leaves = await self._connection.execute(QUERIES["read_leaves_at"], values, binary=True)
        disclosures = await self._connection.execute(QUERIES["read_disclosures_within"], values, binary=True)
        await self._connection.execute(QUERIES["prefer_nothing"])
        disclosed = {row[0]: row for row in await disclosures.fetchall()}
        return [Leaf(*row) for row in await leaves.fetchall()], disclosed

    async def sizes(self, indexes: Collection[int], *, disclosed: bool) -> dict[int, int]:
        """Return how many bytes are stored of each of the entries `indexes` that is there; nothing of them is read.

        Args:
            indexes: of entries.
            disclosed: whether their disclosures count as well.

        """
        values = {"indexes": array_text(indexes)}
        await self._connection.execute(QUERIES["prefer_bitmaps"])
        queries = ("read_sizes_at", *(("read_disclosed_sizes_at",) if disclosed else ()))
        cursors = [await self._connection.execute(QUERIES[query], values, binary=True) for query in queries]
        await self._connection.execute(QUERIES["prefer_nothing"])
        sizes: Counter[int] = Counter()
        for cursor in cursors:
            for index, size in await cursor.fetchall():
                sizes[index] += size
        return sizes

    async def explained(self, events: Sequence[FoundEvent]) -> list[FoundEvent]:
        """Return rows, each with the outcome that explains what of it is absent."""
        return await explain(self._connection, events)

    async def entries(self, indexes: Collection[int]) -> dict[int, bytes]:
        """Return the entries of `indexes`, as many as there are."""
        cursor = await self._connection.execute(
            QUERIES["read_entries_at"], {"indexes": array_text(indexes)}, binary=True
        )
        return dict(await cursor.fetchall())

    async def tiles(self, tiles: Iterable[Tile]) -> dict[tuple[int, int], bytes]:
        """Return the stored hashes of `tiles`, each cut to its width; absent ones are left out."""
        return await read_tiles(self._connection, tiles)


def _with_disclosures(leaves: list[Leaf], disclosed: Mapping[int, TupleRow]) -> list[FoundEvent]:
    """Return rows by index, each with its disclosures, given as (index, actor, resource, related)."""
    nothing = (None, None, None, None)
    found = [(leaf, disclosed.get(leaf.index, nothing)) for leaf in sorted(leaves)]
    return [FoundEvent(leaf, row[1], row[2], row[3] or ()) for leaf, row in found]
