"""What everyone reads of a log: `ReadStore` for single facts, each from the newest state; a `View` for a whole question.

They move bytes and decide nothing; what the bytes have to be is checked by whoever reads them.
"""

from __future__ import annotations

from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import psycopg

from tlog.core.bundle import format_bundle
from tlog.core.entry import parse_logged_at, to_microseconds
from tlog.core.making.drafts import logged_at_of
from tlog.core.making.posting import NO_KEYS, keys_text
from tlog.core.run import PARTITION_ENTRIES, RUN_ENTRIES
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
from tlog.storage.runs import (
    DISCLOSURE_RUNS,
    ENTRY_RUNS,
    array_text,
    ask,
    read_entries,
    read_entry,
    statement,
)
from tlog.storage.sessions import Session
from tlog.storage.statements import (
    find_events,
    find_failovers,
    found_events,
    read_checkpoint,
    read_controls,
    read_latest_checkpoint,
    read_leaf,
    read_primary,
    read_state,
    read_tiles,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence

    from psycopg import AsyncCursor
    from psycopg.rows import TupleRow

    from tlog.core.run import Disclosed
    from tlog.storage.database import Database
    from tlog.storage.runs import Asked


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

    async def entry(self, index: int) -> bytes | None:
        """Return one entry, None if it is not there."""
        async with self._reading() as connection:
            return await read_entry(connection, index)

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
            return await read_entries(connection, start, end)

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

    async def has_keys(self, start: int, end: int) -> bool:
        """Tell whether any of the entries [start, end) has index keys, as every event has, and some control entries have."""
        async with self._reading() as connection:
            cursor = await connection.execute(QUERIES["has_events"], {"start": start, "end": end})
            if (await cursor.fetchone()) == (True,):
                return True
            return any(keys_text(entry) != NO_KEYS for _, entry in await read_controls(connection, start, end))

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
            size, sealed, sealed_at, indexed = row
            oldest = await read_entry(connection, sealed or 0) if (sealed or 0) < size else None
            since = None if oldest is None else logged_at_of(oldest)
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
        wanted = to_microseconds(parse_logged_at(logged_at.decode()))
        # The last partition that begins before the time.
        low, high = 0, -(-size // PARTITION_ENTRIES)
        while high - low > 1:
            middle = (low + high) // 2
            begin = await self._one("begin_of_partition", middle, first=middle * PARTITION_ENTRIES)
            low, high = (middle, high) if begin is not None and begin < wanted else (low, middle)
        bounds = {"start": low * PARTITION_ENTRIES, "end": min(size, high * PARTITION_ENTRIES)}
        reached = await self._one("find_run_logged_at", low, logged_at=wanted, **bounds) if size else 0
        if reached is None:
            message = f"one of the first {size} entries is missing; run 'tlog fsck'"
            raise DamagedLogError(message)
        # The run before begins earlier, and may reach over the time.
        before = await read_entries(self._connection, max(0, reached - RUN_ENTRIES), reached)
        return reached - sum(logged_at_of(entry) >= wanted for entry in before)

    async def _one(self, query: str, partition: int, **values: int) -> int | None:
        """Return the number that a statement over a partition of runs of entries returns, None without a row."""
        cursor = await self._connection.execute(statement(query, ENTRY_RUNS.table, partition), values)
        row = await cursor.fetchone()
        return None if row is None else int(row[0])

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
        """Return the rows of `indexes` with their entries and disclosures, by index, as many as there are; see `explained`.

        Raises:
            DamagedLogError: a run does not open, or is missing.

        """
        leaves, entries, groups = await self._ask(indexes)
        return found_events(await _fetch(leaves), await entries.found(), await groups.found())

    async def newest_events(self, indexes: Collection[int], most: int) -> list[FoundEvent]:
        """Return the rows of `indexes` as `events` does, the newest of them: at least one, and more while that is little.

        Args:
            indexes: of entries.
            most: of how many bytes of disclosures those of another row are read as well.

        """
        leaves, entries, groups = await self._ask(indexes)
        disclosed, _ = await _newest(groups, most)
        last = min(disclosed, default=0)
        found = [leaf for leaf in await _fetch(leaves) if leaf.index >= last]
        return found_events(found, await entries.found(), disclosed)

    async def events_within(self, indexes: Collection[int], most: int) -> list[FoundEvent] | None:
        """Return the rows of `indexes` as `events` does; None, without opening the rest, if they disclose more than `most`."""
        leaves, entries, groups = await self._ask(indexes)
        disclosed, size = await _newest(groups, most)
        return None if size > most else found_events(await _fetch(leaves), await entries.found(), disclosed)

    async def _ask(self, indexes: Collection[int]) -> tuple[AsyncCursor[TupleRow], Asked[bytes], Asked[Disclosed]]:
        """Ask for the rows of `indexes`, their entries, and what is disclosed of them, in one round trip."""
        leaves = await self._leaves(indexes)
        entries = await ask(self._connection, ENTRY_RUNS, indexes)
        return leaves, entries, await ask(self._connection, DISCLOSURE_RUNS, indexes)

    async def _leaves(self, indexes: Collection[int]) -> AsyncCursor[TupleRow]:
        # Bitmap scans read the pages in order and several at a time; the planner expects too little of that.
        await self._connection.execute(QUERIES["prefer_bitmaps"])
        values = {"indexes": array_text(indexes)}
        cursor = await self._connection.execute(QUERIES["read_leaves_at"], values, binary=True)
        await self._connection.execute(QUERIES["prefer_nothing"])
        return cursor

    async def sizes(self, indexes: Collection[int], *, disclosed: bool) -> dict[int, int]:
        """Return how many bytes there are of each of the entries `indexes` that is there; one run at a time is opened for it.

        Args:
            indexes: of entries.
            disclosed: whether their disclosures count as well.

        """
        sizes: dict[int, int] = {}
        async for run in (await ask(self._connection, ENTRY_RUNS, indexes)).runs():
            sizes |= {index: len(entry) for index, entry in run.items()}
        if disclosed:
            async for groups in (await ask(self._connection, DISCLOSURE_RUNS, indexes)).runs():
                sizes |= {index: sizes[index] + _size(each) for index, each in groups.items() if index in sizes}
        return sizes

    async def explained(self, events: Sequence[FoundEvent]) -> list[FoundEvent]:
        """Return rows, each with the outcome that explains what of it is absent."""
        return await explain(self._connection, events)

    async def entries(self, indexes: Collection[int]) -> dict[int, bytes]:
        """Return the entries of `indexes` by index, as many as there are."""
        return dict(sorted((await (await ask(self._connection, ENTRY_RUNS, indexes)).found()).items()))

    async def tiles(self, tiles: Iterable[Tile]) -> dict[tuple[int, int], bytes]:
        """Return the stored hashes of `tiles`, each cut to its width; absent ones are left out."""
        return await read_tiles(self._connection, tiles)


async def _fetch(leaves: AsyncCursor[TupleRow]) -> list[Leaf]:
    return sorted(Leaf(*row) for row in await leaves.fetchall())


async def _newest(groups: Asked[Disclosed], most: int) -> tuple[dict[int, Disclosed], int]:
    """Return what is disclosed of the newest of what was asked for, until that is more than `most` bytes, and how many it is."""
    disclosed: dict[int, Disclosed] = {}
    size = 0
    async with aclosing(groups.runs()) as runs:
        async for run in runs:
            for index in sorted(run, reverse=True):
                if size <= most:
                    disclosed[index] = run[index]
                    size += _size(run[index])
            if size > most:
                break
    return disclosed, size


def _size(disclosed: Disclosed) -> int:
    return len(disclosed.actor) + len(disclosed.resource) + sum(map(len, disclosed.related))
