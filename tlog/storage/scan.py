"""What a full check reads: one snapshot of everything, and ranges of it by several processes at once.

The database's own indexes must not lie to a check: a superuser can take a row out of one and leave it in the table. So the
rows are counted by sequential scans, and read in ranges through the primary key, which is many times faster than to sort the
whole table. If each row was read once, and as many rows as were counted, then no row is hidden; if not, a range is read again
by a sequential scan.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, LiteralString, NamedTuple

import psycopg
from psycopg import sql

from tlog.core.segment import Segment
from tlog.storage.connection import Connection, translated
from tlog.storage.database import Database, snapshot
from tlog.storage.explanations import Explanation, read_explanations
from tlog.storage.intake import Taken, read_intakes
from tlog.storage.queries import QUERIES
from tlog.storage.rows import Epoch, SealedCheckpoint, State
from tlog.storage.runs import DISCLOSURE_RUNS, ENTRY_RUNS, partitions, portions, read_entries, statement
from tlog.storage.selfcheck import check_relations
from tlog.storage.statements import read_state

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection

    from psycopg.rows import TupleRow

    from tlog.storage.runs import Kind, RunRow

_SCAN_ROWS: Final = 5_000
_SCAN_LARGE: Final = 200
_LARGE_ROWS: Final = ("scan_upper_tiles", "scan_runs", "scan_index_tiles")
LeafRow = tuple[int, bytes | None, bytes, bytes]  # index, eventId, leaf hash, chain hash
DatedRunRow = tuple[int, int, int, bytes, int]  # first, part, count, data, loggedAt


class Counts(NamedTuple):
    """How many rows there are from an index on, counted by sequential scans; `last` is the largest index, or None."""

    leaves: int
    last: int | None


@asynccontextmanager
async def scan(database: Database, start: int = 0) -> AsyncIterator[Scan]:
    """Open one snapshot of everything after the first `start` entries; if that is all, sequential scans read it."""
    connection = await database.connect("tlog_reader")
    async with connection, snapshot(connection, index_scans=start > 0):
        yield Scan(connection, start)


class Scan:
    """What the log's tables hold at one moment from entry `start` on, in order, a few thousand rows at a time."""

    def __init__(self, connection: Connection, start: int) -> None:
        self._connection = connection
        self._start = start

    async def check_relations(self) -> None:
        """Check that the tables are plain tables, with the triggers they should have.

        Raises:
            UnsafeDatabaseError: a table was replaced or filtered, or a trigger is missing, disabled or added.

        """
        await check_relations(self._connection)

    async def share(self) -> str:
        """Return the name under which `RangeReader.open` reads from this snapshot, while it is open."""
        with translated():
            cursor = await self._connection.execute(QUERIES["export_snapshot"])
            row = await cursor.fetchone()
        assert row is not None  # noqa: S101 - a function call returns a row; for the type checker
        return str(row[0])

    async def state(self) -> State:
        """Return the state of the log."""
        return await read_state(self._connection)

    async def count(self) -> Counts:
        """Count the rows of the log."""
        return Counts(*await self._one("count_leaves"))

    async def count_runs(self, kind: Kind[Any], end: int) -> tuple[int, int]:
        """Return how many rows of runs there are, and how many of them hold something of entries that are not below `end`."""
        query = sql.SQL(QUERIES["count_runs"]).format(runs=sql.Identifier("tlog", kind.table))
        found, after = await self._one(query, end=end)
        return found, after

    async def stray_leaves(self, end: int) -> list[tuple[int, int]]:
        """Return (index, number of rows) of each index that several rows have or that is not below `end`: the first thousand."""
        with translated():
            values = {"start": self._start, "end": end}
            cursor = await self._connection.execute(QUERIES["find_stray_leaves"], values)
            return [(index, rows) for index, rows in await cursor.fetchall()]

    async def entries(self, size: int) -> AsyncIterator[list[bytes]]:
        """Yield the first `size` entries in order, some thousands at a time.

        Raises:
            DamagedLogError: a run does not open.

        """
        for start, end in portions(0, size):
            yield await read_entries(self._connection, start, end)

    async def lowest_tiles(self) -> list[int]:
        """Return the indexes of all tiles of level 0."""
        return [index async for rows in self._rows("scan_lowest_tiles") for (index,) in rows]

    async def upper_tiles(self) -> AsyncIterator[tuple[int, int, bytes]]:
        """Yield all tiles above level 0 as (level, index, hashes), by level and index."""
        async for rows in self._rows("scan_upper_tiles"):
            for level, index, hashes in rows:
                yield level, index, hashes

    async def checkpoints(self) -> list[SealedCheckpoint]:
        """Return the published checkpoints above the size at which the scan begins, by size."""
        return [SealedCheckpoint(*row) async for rows in self._rows("scan_checkpoints") for row in rows]

    async def sealed_size(self) -> int:
        """Return how many entries the newest checkpoint covers, wherever the scan begins."""
        return int((await self._one("sealed_size"))[0])

    async def epochs(self) -> list[Epoch]:
        """Return all stored index epochs by size; there are few."""
        return [Epoch(*row) async for rows in self._rows("scan_epochs") for row in rows]

    async def explanations(self) -> list[Explanation]:
        """Return what is kept of what outcomes explain."""
        with translated():
            return await read_explanations(self._connection)

    async def intakes(self) -> list[Taken]:
        """Return how far the table says that streams are taken."""
        with translated():
            return await read_intakes(self._connection)

    async def segments(self) -> AsyncIterator[tuple[int, Segment]]:
        """Yield all finished segments with their IDs."""
        async for rows in self._rows("scan_segments"):
            for segment_id, start, end, postings, root in rows:
                yield segment_id, Segment(start, end, postings, root)

    async def runs(self) -> AsyncIterator[tuple[int, int, bytes, bytes]]:
        """Yield all runs of pages as (segment ID, run, first posting, pages), in this order."""
        async for rows in self._rows("scan_runs"):
            for segment_id, run, first_posting, pages in rows:
                yield segment_id, run, first_posting, pages

    async def index_tiles(self) -> AsyncIterator[tuple[int, int, int, bytes]]:
        """Yield all tiles over pages as (segment ID, level, index, hashes), in this order."""
        async for rows in self._rows("scan_index_tiles"):
            for segment_id, level, index, hashes in rows:
                yield segment_id, level, index, hashes

    async def _one(self, query: sql.Composed | str, **values: int) -> tuple[Any, ...]:
        with translated():
            statement = QUERIES[query] if isinstance(query, str) else query
            cursor = await self._connection.execute(statement, {"start": self._start, **values})
            row = await cursor.fetchone()
        assert row is not None  # noqa: S101 - an aggregate returns a row; for the type checker
        return row

    async def _rows(self, query: str) -> AsyncIterator[list[tuple[Any, ...]]]:
        with translated():
            async with self._connection.cursor(name=query) as cursor:
                await cursor.execute(QUERIES[query].rstrip(";"), {"start": self._start}, binary=True)
                while rows := await cursor.fetchmany(_SCAN_LARGE if query in _LARGE_ROWS else _SCAN_ROWS):
                    yield rows


class RangeReader:
    """Reads ranges of rows from a snapshot that is open elsewhere, and waits for them: for threads and processes."""

    def __init__(self, connection: psycopg.Connection[TupleRow], tables: Collection[str]) -> None:
        self._connection = connection
        self._tables = tables  # the partitions that there are

    @classmethod
    def open(cls, database: Database, name: str) -> RangeReader:
        """Return a reader over a connection of its own, from the snapshot that `Scan.share` named.

        Raises:
            OverloadedError: the database cannot be reached, or the snapshot is gone.

        """
        connection = database.connect_blocking("tlog_reader")
        with translated():
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            connection.read_only = True
            connection.autocommit = False
            connection.execute(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(name))
            connection.execute(QUERIES["snapshot_settings"], {"index_scans": "off"})
            tables = {name for _, name, _ in connection.execute(QUERIES["list_partitions"])}
        return cls(connection, tables)

    def use(self, *, index_scans: bool) -> None:
        """Choose how the ranges from now on are read: by index scans, or by sequential ones."""
        values = {"index_scans": "on" if index_scans else "off", "sequential": "off" if index_scans else "on"}
        with translated():
            self._connection.execute(QUERIES["range_scans"], values)

    def leaves(self, start: int, end: int) -> list[LeafRow]:
        """Return the rows [start, end) that are there, by index; each eventId as 16 bytes."""
        return self._range(QUERIES["range_leaves"], start, end)

    def entry_runs(self, start: int, end: int) -> list[DatedRunRow]:
        """Return the rows of the runs of entries that begin in [start, end), by their first index."""
        return self._runs("range_dated_runs", ENTRY_RUNS.table, start, end)

    def disclosure_runs(self, start: int, end: int) -> list[RunRow]:
        """Return the rows of the runs of disclosures that begin in [start, end), by their first index."""
        return self._runs("range_runs", DISCLOSURE_RUNS.table, start, end)

    def tiles(self, start: int, end: int) -> dict[int, bytes]:
        """Return the hashes of the tiles [start, end) of level 0 that are there."""
        return dict(self._range(QUERIES["range_tiles"], start, end))

    def chain_hash(self, index: int) -> bytes | None:
        """Return the chain hash of one row, None if it is not there."""
        rows = self.leaves(index, index + 1)
        return rows[0][3] if rows else None

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _runs(self, query: str, table: str, start: int, end: int) -> list[Any]:
        there = [number for number in partitions(start, end) if f"{table}_{number}" in self._tables]
        return [row for number in there for row in self._range(statement(query, table, number), start, end)]

    def _range(self, query: LiteralString | bytes, start: int, end: int) -> list[Any]:
        with translated():
            return self._connection.execute(query, {"start": start, "end": end}, binary=True).fetchall()
