"""The log's rows: appended in one transaction, sealed into tiles and checkpoints, read back.

One class for each role that acts: `AppendStore`, `SealStore`, `ReadStore`. They move bytes and decide nothing; the rules
are in `tlog.appender`, `tlog.sealer` and `tlog.fsck`.
"""

from __future__ import annotations

import struct
from contextlib import asynccontextmanager, suppress
from itertools import count
from typing import TYPE_CHECKING, Any, Final, LiteralString, NamedTuple, cast
from uuid import UUID

import psycopg

from tlog.core.bundle import format_bundle
from tlog.core.chain import CHAIN_START
from tlog.core.merkle import HASH_SIZE
from tlog.core.tile import ENTRIES, TILE_WIDTH, Tile
from tlog.errors import DamagedLogError
from tlog.storage.binary_copy import copy_in
from tlog.storage.database import Connection, Database, translated
from tlog.storage.index import (
    Epoch,
    Run,
    find_edge_runs,
    find_last_runs,
    read_epoch,
    read_index_tiles,
    read_keys,
    read_runs,
)
from tlog.storage.keys import ApiKey
from tlog.storage.leading import LeadingStore
from tlog.storage.queries import QUERIES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence

    from tlog.core.entry import DraftEntry

# Field count, then each field behind its length (PostgreSQL documentation, COPY, "Binary Format").
_LEAF_WITH_ID: Final = struct.Struct(">hiqi16si").pack
_LEAF_WITHOUT_ID: Final = struct.Struct(">hiqii").pack
_DISCLOSURE: Final = struct.Struct(">hiqi").pack
_UUID_SIZE: Final = 16
_LENGTH: Final = struct.Struct(">i").pack
_HASH_LENGTH: Final = _LENGTH(HASH_SIZE)


class State(NamedTuple):
    """The row every append continues: times are microseconds since 1970, UTC."""

    size: int
    chain_hash: bytes
    last_logged_at: int


class Leaf(NamedTuple):
    """One row of the log."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which means nothing here
    event_id: str | None
    entry: bytes
    leaf_hash: bytes
    chain_hash: bytes


class FoundEvent(NamedTuple):
    """A row with its disclosures, None where they were erased."""

    leaf: Leaf
    actor: bytes | None
    resource: bytes | None


class Position(NamedTuple):
    """How far a log is: its size, its newest checkpoint, its newest index epoch."""

    size: int
    checkpoint: SealedCheckpoint | None
    epoch: Epoch | None


class SealedCheckpoint(NamedTuple):
    """A published checkpoint; `sealed_at` is microseconds since 1970, UTC."""

    size: int
    root: bytes
    chain_hash: bytes
    note: bytes
    sealed_at: int


class Disclosure(NamedTuple):
    """The two disclosures of an event, each salt || body."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which means nothing here
    actor: bytes
    resource: bytes


class PackedRows(NamedTuple):
    """Rows of the log and their disclosures, as they are copied into the database."""

    leaves: bytes
    disclosures: bytes


class DuplicateEventIdError(Exception):
    """An eventId of this insertion is in the log already; the transaction is undone."""


class OvertakenError(Exception):
    """Another process appended first; the transaction is undone."""


class Append:
    """An open append transaction that holds the lock."""

    def __init__(self, connection: Connection, state: State, *, disclosed: bool) -> None:
        self._connection = connection
        self._disclosed = disclosed
        self.state = state

    async def find(self, event_ids: Collection[str]) -> list[FoundEvent]:
        """Return the events among `event_ids` that the log has."""
        return await _find(self._connection, event_ids)

    async def insert(self, rows: Sequence[PackedRows], end: State) -> None:
        """Write rows that continue the state, and the state behind them.

        Disclosures that were written ahead of the lock are not written again.

        Raises:
            DuplicateEventIdError: an eventId is there already.

        """
        try:
            await copy_in(self._connection, "copy_leaves", [each.leaves for each in rows])
        except psycopg.errors.UniqueViolation:
            raise DuplicateEventIdError from None
        if not self._disclosed:
            await copy_in(self._connection, "copy_disclosures", [each.disclosures for each in rows])
        await self._connection.execute(QUERIES["advance_state"], end._asdict())


class Ahead(NamedTuple):
    """What can be written before the lock is taken, if the state is going to be `start`."""

    start: State
    rows: Sequence[PackedRows]


class AppendStore:
    """Appends, over one connection of its own."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._connection: Connection | None = None
        self._partition_end = 0

    def twin(self) -> AppendStore:
        """Return another store of the same log, with a connection of its own."""
        return AppendStore(self._database)

    async def initialise(self, origin: str) -> None:
        """Write the first state of an empty log, if there is none."""
        connection = await self._database.connect("tlog_owner")
        async with connection:
            with translated():
                values = {"origin": origin, "chain_hash": CHAIN_START}
                await connection.execute(QUERIES["initialise_state"], values)

    @asynccontextmanager
    async def transaction(self, room: int = 0, ahead: Ahead | None = None) -> AsyncIterator[Append]:
        """Open a transaction that holds the lock, commit it at the end, and undo it on any error.

        Args:
            room: how many rows the caller may insert; the disclosure partitions for them are made first.
            ahead: what to write while others hold the lock.

        Raises:
            OvertakenError: the state is another one than `ahead` was made for; nothing is written.
            OverloadedError: the database is away. If that happens at the commit, the rows may be durable all the
                same; the eventIds make a second try safe.

        """
        with translated():
            connection = await self._connected()
            try:
                async with connection.transaction():
                    if ahead is not None:
                        await self._ensure_partition(connection, ahead.start.size, ahead.start.size + room)
                        await copy_in(connection, "copy_disclosures", [each.disclosures for each in ahead.rows])
                    cursor = await connection.execute(QUERIES["lock_state"])
                    row = await cursor.fetchone()
                    assert row is not None  # noqa: S101 - `initialise` wrote it; for the type checker
                    state = State(*row[:3])
                    if ahead is None:
                        await self._ensure_partition(connection, state.size, state.size + room)
                    elif ahead.start != state:
                        raise OvertakenError  # noqa: TRY301 - to undo the transaction is what it is for
                    yield Append(connection, state, disclosed=ahead is not None)
            except BaseException:
                self._partition_end = 0  # a partition made in this transaction is undone with it
                if connection.broken or connection.closed:
                    await self.close()
                raise

    async def close(self) -> None:
        """Close the connection; the next transaction opens a new one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def _connected(self) -> Connection:
        if self._connection is None or self._connection.closed:
            self._connection = await self._database.connect("tlog_appender")
        return self._connection

    async def _ensure_partition(self, connection: Connection, start: int, end: int) -> None:
        reached = start
        while self._partition_end <= end:
            cursor = await connection.execute(QUERIES["ensure_disclosure_partition"], {"index": reached})
            row = await cursor.fetchone()
            assert row is not None  # noqa: S101 - a function call returns a row; for the type checker
            reached = self._partition_end = row[0]


class SealStore(LeadingStore):
    """Reads entries back and publishes tiles and checkpoints, over one connection of its own."""

    role = "tlog_sealer"
    lock = 0x746C6F67_7365616C  # "tlogseal"

    async def state(self) -> State:
        """Return the committed state of the log."""
        return await read_state(self._connection)

    async def leaf(self, index: int) -> Leaf | None:
        """Return one row, None if it is not there."""
        return await _read_leaf(self._connection, index)

    async def rows(self, start: int, end: int) -> list[tuple[int, bytes, bytes, bytes]]:
        """Return (index, entry, leaf hash, chain hash) of the rows [start, end) in order, as many as there are."""
        with translated():
            values = {"start": start, "end": end}
            cursor = await self._connection.execute(QUERIES["read_rows"], values, binary=True)
            return cast("list[tuple[int, bytes, bytes, bytes]]", await cursor.fetchall())

    async def tiles(self, tiles: Iterable[Tile]) -> dict[tuple[int, int], bytes]:
        """Return the stored hashes of `tiles`, each cut to its width; absent ones are left out."""
        return await _read_tiles(self._connection, tiles)

    async def write_tiles(self, tiles: Mapping[tuple[int, int], bytes]) -> None:
        """Store tiles in one transaction; a stored tile only grows."""
        rows = [{"level": level, "tile_index": index, "hashes": hashes} for (level, index), hashes in tiles.items()]
        with translated():
            async with self._connection.transaction(), self._connection.cursor() as cursor:
                await cursor.executemany(QUERIES["write_tile"], rows)

    async def latest_checkpoint(self) -> SealedCheckpoint | None:
        """Return the largest published checkpoint."""
        return await _read_checkpoint(self._connection, QUERIES["read_latest_checkpoint"])

    async def publish(self, checkpoint: SealedCheckpoint) -> None:
        """Store a checkpoint; the same one twice is one."""
        values = checkpoint._asdict()
        values["root_hash"] = values.pop("root")
        with translated():
            await self._connection.execute(QUERIES["publish_checkpoint"], values)


class ReadStore:
    """Reads for many at a time, over a bounded pool."""

    def __init__(self, database: Database, connections: int = 8) -> None:
        self._database = database
        self._pool = database.pool("tlog_reader", connections)

    async def open(self) -> None:
        """Open the pool and wait for its first connection.

        Raises:
            OverloadedError: the database cannot be reached.

        """
        with translated():
            await self._pool.open(wait=True, timeout=10)

    async def close(self) -> None:
        """Close the pool."""
        await self._pool.close()

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[Connection]:
        """Lend a connection of the pool; a reader takes none in another way, so that each names every error as tlog does.

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

    async def leaf(self, index: int) -> Leaf | None:
        """Return one row, None if it is not there."""
        async with self._reading() as connection:
            return await _read_leaf(connection, index)

    async def find(self, event_ids: Collection[str]) -> list[FoundEvent]:
        """Return the events among `event_ids` that the log has."""
        async with self._reading() as connection:
            return await _find(connection, event_ids)

    async def tiles(self, tiles: Iterable[Tile]) -> dict[tuple[int, int], bytes]:
        """Return the stored hashes of `tiles`, each cut to its width; absent ones are left out."""
        async with self._reading() as connection:
            return await _read_tiles(connection, tiles)

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
        """Return the largest published checkpoint."""
        async with self._reading() as connection:
            return await _read_checkpoint(connection, QUERIES["read_latest_checkpoint"])

    async def checkpoint(self, size: int) -> SealedCheckpoint | None:
        """Return the published checkpoint of exactly `size`."""
        async with self._reading() as connection:
            return await _read_checkpoint(connection, QUERIES["read_checkpoint"], {"size": size})

    async def sealed_leaf(self, size: int | None, index: int) -> tuple[SealedCheckpoint | None, Leaf | None]:
        """Return the published checkpoint of `size`, the largest for None, and a row if it covers that; in one round trip."""
        async with self._reading() as connection:
            values = {"size": size, "index": index}
            cursor = await connection.execute(QUERIES["read_sealed_leaf"], values, binary=True)
            row = await cursor.fetchone()
            if row is None:
                return None, None
            return SealedCheckpoint(*row[:5]), None if row[5] is None else _leaf(row[5:])

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
        """Return up to where finished segments reach, whether an epoch has them already or not."""
        async with self._reading() as connection:
            cursor = await connection.execute(QUERIES["read_indexed_size"])
            row = await cursor.fetchone()
            return 0 if row is None else int(row[0])

    async def api_key(self, key_id: str) -> ApiKey | None:
        """Return an API key, None if there is none of this ID."""
        async with self._reading() as connection:
            cursor = await connection.execute(QUERIES["read_api_key"], {"key_id": key_id})
            row = await cursor.fetchone()
            return None if row is None else ApiKey(*row)

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
                yield View(connection)


class View:
    """The log as it is at one moment."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def position(self, *, sealed: bool) -> Position:
        """Return how far the log is; with `sealed` the epoch is one that the checkpoint covers."""
        cursor = await self._connection.execute(QUERIES["read_position"], {"sealed": sealed})
        row = await cursor.fetchone()
        assert row is not None  # noqa: S101 - `initialise` wrote it; for the type checker
        checkpoint = None if row[1] is None else SealedCheckpoint(*row[1:6])
        return Position(row[0], checkpoint, None if row[6] is None else Epoch(*row[6:]))

    async def keys_text(self, start: int, end: int) -> bytes:
        """Return the keys of entries; see `tlog.storage.index.read_keys`."""
        return await read_keys(self._connection, start, end)

    async def first_logged_at(self, logged_at: bytes, size: int) -> int:
        """Return the index of the first of `size` entries that is logged at `logged_at` (27 characters) or later."""
        values = {"logged_at": logged_at, "size": size}
        cursor = await self._connection.execute(QUERIES["find_logged_at"], values)
        row = await cursor.fetchone()
        if row is None:
            message = "an entry is missing; run 'tlog fsck'"
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
        """Return the rows of `indexes` with their disclosures, by index, as many as there are."""
        values = {"indexes": _array(indexes)}
        # One round trip. Bitmap scans read the pages in order and several at a time, which the planner does not expect to pay.
        await self._connection.execute(QUERIES["prefer_bitmaps"])
        leaves = await self._connection.execute(QUERIES["read_leaves_at"], values, binary=True)
        disclosures = await self._connection.execute(QUERIES["read_disclosures_at"], values, binary=True)
        await self._connection.execute(QUERIES["prefer_nothing"])
        disclosed = {row[0]: row for row in await disclosures.fetchall()}
        nothing = (None, None, None)
        found = [(_leaf(row), disclosed.get(row[0], nothing)) for row in await leaves.fetchall()]
        return [FoundEvent(leaf, row[1], row[2]) for leaf, row in sorted(found)]

    async def entries(self, indexes: Collection[int]) -> dict[int, bytes]:
        """Return the entries of `indexes`, as many as there are."""
        cursor = await self._connection.execute(QUERIES["read_entries_at"], {"indexes": _array(indexes)}, binary=True)
        return dict(await cursor.fetchall())

    async def tiles(self, tiles: Iterable[Tile]) -> dict[tuple[int, int], bytes]:
        """Return the stored hashes of `tiles`, each cut to its width; absent ones are left out."""
        return await _read_tiles(self._connection, tiles)


def pack_rows(
    start: int,
    drafts: Sequence[DraftEntry],
    entries: Sequence[bytes],
    leaf_hashes: Sequence[bytes],
    chain_hashes: Sequence[bytes],
) -> PackedRows:
    """Return rows from index `start` on: of each its draft, the entry it became, and its two 32-byte hashes."""
    leaves: list[bytes] = []
    disclosures: list[bytes] = []
    event_ids = _event_id_bytes([draft.event_id for draft in drafts])
    columns = zip(count(start), drafts, event_ids, entries, leaf_hashes, chain_hashes, strict=False)
    for index, draft, event_id, entry, leaf_hash, chain_hash in columns:
        if event_id is None:
            head = _LEAF_WITHOUT_ID(5, 8, index, -1, len(entry))
        else:
            actor, resource = draft.actor, draft.resource
            head = _LEAF_WITH_ID(5, 8, index, 16, event_id, len(entry))
            disclosures += (_DISCLOSURE(3, 8, index, len(actor)), actor, _LENGTH(len(resource)), resource)
        leaves += (head, entry, _HASH_LENGTH, leaf_hash, _HASH_LENGTH, chain_hash)
    return PackedRows(b"".join(leaves), b"".join(disclosures))


def _event_id_bytes(event_ids: Sequence[str | None]) -> list[bytes | None]:
    """Return the 16 bytes of each eventId, all of them read in one go if each entry has one."""
    with suppress(TypeError):
        whole = bytes.fromhex("".join(event_ids).replace("-", ""))  # type: ignore[arg-type]
        return [whole[start : start + _UUID_SIZE] for start in range(0, len(whole), _UUID_SIZE)]
    return [None if each is None else bytes.fromhex(each.replace("-", "")) for each in event_ids]


def pack_leaves(
    start: int, event_ids: Sequence[str | None], leaves: Sequence[tuple[bytes, bytes]], chain_hashes: Sequence[bytes]
) -> PackedRows:
    """Return rows without disclosures from index `start` on: of each its eventId, its entry and leaf hash, its chain hash."""
    parts: list[bytes] = []
    columns = zip(count(start), _event_id_bytes(event_ids), leaves, chain_hashes, strict=False)
    for index, event_id, (entry, leaf_hash), chain_hash in columns:
        if event_id is None:
            head = _LEAF_WITHOUT_ID(5, 8, index, -1, len(entry))
        else:
            head = _LEAF_WITH_ID(5, 8, index, 16, event_id, len(entry))
        parts += (head, entry, _HASH_LENGTH, leaf_hash, _HASH_LENGTH, chain_hash)
    return PackedRows(b"".join(parts), b"")


def _array(numbers: Iterable[int]) -> str:
    """Return numbers as the text of an array: adapting hundreds one by one would take longer than reading the rows."""
    return f"{{{','.join(map(str, numbers))}}}"


def _leaf(row: Sequence[Any]) -> Leaf:
    return Leaf(*row)


async def _find(connection: Connection, event_ids: Collection[str]) -> list[FoundEvent]:
    values = {"event_ids": [UUID(event_id) for event_id in event_ids]}
    cursor = await connection.execute(QUERIES["find_events"], values, binary=True)
    return [FoundEvent(_leaf(row[:5]), row[5], row[6]) for row in await cursor.fetchall()]


async def read_state(connection: Connection) -> State:
    """Return the state of the log, that of an empty one before it was initialised."""
    with translated():
        cursor = await connection.execute(QUERIES["read_state"])
        row = await cursor.fetchone()
        return State(0, CHAIN_START, 0) if row is None else State(*row[1:])


async def _read_leaf(connection: Connection, index: int) -> Leaf | None:
    with translated():
        cursor = await connection.execute(QUERIES["read_leaf"], {"index": index}, binary=True)
        row = await cursor.fetchone()
        return None if row is None else _leaf(row)


async def _read_tiles(connection: Connection, tiles: Iterable[Tile]) -> dict[tuple[int, int], bytes]:
    wanted = {(tile.level, tile.index): tile.width for tile in tiles}
    if not wanted:
        return {}
    values = {"levels": [level for level, _ in wanted], "indexes": [index for _, index in wanted]}
    with translated():
        cursor = await connection.execute(QUERIES["read_tiles"], values, binary=True)
        return {
            (level, index): hashes[: wanted[level, index] * HASH_SIZE]
            for level, index, hashes in await cursor.fetchall()
        }


async def _read_checkpoint(
    connection: Connection,
    query: LiteralString,
    values: Mapping[str, object] | None = None,
) -> SealedCheckpoint | None:
    with translated():
        cursor = await connection.execute(query, values)
        row = await cursor.fetchone()
        return None if row is None else SealedCheckpoint(*row)
