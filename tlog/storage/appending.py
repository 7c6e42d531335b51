"""Appending rows: one transaction under the lock that orders the log, over a connection of its own."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, NamedTuple

import psycopg
import structlog

from tlog.core.chain import CHAIN_START
from tlog.core.run import PARTITION_ENTRIES
from tlog.storage.binary_copy import copy_in
from tlog.storage.connection import Connection, is_ended, translated
from tlog.storage.intake import advance, write_intakes
from tlog.storage.queries import QUERIES
from tlog.storage.rows import FoundEvent, PackedRuns, Primary, State
from tlog.storage.runs import last_disclosed
from tlog.storage.statements import find_events, find_failovers, read_controls, read_leaf, read_primary, read_state

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Sequence

    from tlog.storage.database import Database
    from tlog.storage.intake import Advance, Taken

_PARTITIONS_AHEAD: Final = 1 << 20  # entries
_COMMITMENTS: Final = b'"commitments":{'
_log: Final = structlog.get_logger()


class DuplicateEventIdError(Exception):
    """An eventId of this insertion is in the log already; the transaction is undone."""


class OvertakenError(Exception):
    """Another process appended first; the transaction is undone."""


class Append:
    """An open append transaction that holds the lock."""

    def __init__(
        self, connection: Connection, state: State, primary: Primary, *, written: bool, new_connection: bool
    ) -> None:
        self._connection = connection
        self.written = written  # whether the runs were, ahead of the lock
        self.state = state
        self.primary = primary
        self.new_connection = new_connection

    async def chain_hash_after(self, size: int) -> bytes | None:
        """Return the chain hash after the first `size` entries, None if the last of them is not there."""
        leaf = await read_leaf(self._connection, size - 1)
        return None if leaf is None else leaf.chain_hash

    async def failovers(self, start: int) -> list[bytes]:
        """Return the entries from index `start` on that may say that the log goes on on another server."""
        return await find_failovers(self._connection, start)

    async def find(self, event_ids: Collection[str]) -> list[FoundEvent]:
        """Return the events among `event_ids` that the log has."""
        return await find_events(self._connection, event_ids)

    async def principals(self, key_ids: Collection[str]) -> dict[str, str]:
        """Return whose API keys these are, those that were revoked too; left out is what is no key."""
        cursor = await self._connection.execute(QUERIES["read_principals"], {"key_ids": [*key_ids]})
        return dict(await cursor.fetchall())

    async def undisclosed(self, start: int, end: int) -> tuple[int, int]:
        """Return from which of the entries [start, end) on nothing is disclosed, and how many from there on name commitments."""
        last = await last_disclosed(self._connection, start, end)
        first = start if last is None else last + 1
        cursor = await self._connection.execute(QUERIES["count_events"], {"start": first, "end": end})
        row = await cursor.fetchone()
        assert row is not None  # noqa: S101 - an aggregate returns a row; for the type checker
        controls = await read_controls(self._connection, first, end)
        return first, row[0] + sum(_COMMITMENTS in entry for _, entry in controls)

    async def advance(self, steps: Sequence[Advance]) -> None:
        """Move on what is taken of streams, of each partition by one step.

        Raises:
            FencedError: another process has taken from one of them.

        """
        if steps:
            await advance(self._connection, steps)

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """Undo only what the body does if the body raises."""
        async with self._connection.transaction():
            yield

    async def rewrite_intakes(self, taken: Collection[Taken]) -> None:
        """Say how far streams are taken, as entries say that a recovery brings back."""
        await write_intakes(self._connection, taken)

    async def insert(self, leaves: Sequence[bytes], runs: PackedRuns, end: State) -> None:
        """Write rows that continue the state, and the state after them.

        Args:
            leaves: `pack_leaves` of the rows, in pieces.
            runs: of their entries; where they were written ahead of the lock, they are not written again.
            end: the state after them.

        Raises:
            DuplicateEventIdError: an eventId is there already.

        """
        try:
            await copy_in(self._connection, "copy_leaves", leaves)
        except psycopg.errors.UniqueViolation:
            raise DuplicateEventIdError from None
        if not self.written:
            await _write_runs(self._connection, runs)
        await self._connection.execute(QUERIES["advance_state"], end._asdict())


class Ahead(NamedTuple):
    """Runs that continue `start`, the state that is foreseen: they are written before the lock is taken."""

    start: State
    runs: PackedRuns


class AppendStore:
    """Appends, over one connection of its own."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._connection: Connection | None = None
        self._size = self._partitions_end = 0  # as far as is known
        self._primary = Primary("", 0, 0)
        self._new = True  # nothing was committed over the connection yet

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
            room: how many rows the caller may insert; the partitions for their runs are made first.
            ahead: runs that are written while others hold the lock.

        Raises:
            OvertakenError: the state is another one than `ahead` continues; nothing is written.
            OverloadedError: the database is away. At the commit this may mean that the rows are durable; the eventIds
                make a second try safe.

        """
        with translated():
            connection = await self._connected()
            try:
                # By itself: in the transaction, whoever makes partitions and whoever waits for them could hold each other up.
                await self._ensure_partitions(connection, self._size if ahead is None else ahead.start.size)
                async with connection.transaction():
                    if ahead is not None:
                        await _write_runs(connection, ahead.runs)
                    cursor = await connection.execute(QUERIES["lock_state"])
                    row = await cursor.fetchone()
                    assert row is not None  # noqa: S101 - `initialise` wrote it; for the type checker
                    state = State(*row[:3])
                    if ahead is not None and ahead.start != state:
                        raise OvertakenError  # noqa: TRY301 - raised here, it undoes the transaction
                    self._size = state.size
                    if state.size + room > self._partitions_end:  # others have appended many
                        await self._ensure_partitions(connection, state.size)
                    yield Append(connection, state, self._primary, written=ahead is not None, new_connection=self._new)
                self._new = False
            except BaseException:
                self._partitions_end = 0  # a partition made in this transaction is undone with it
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
            self._new = True
            self._primary = await read_primary(self._connection)
            self._size = (await read_state(self._connection)).size
        return self._connection

    def lives(self) -> bool:
        """Tell whether there is a connection, and the server has not ended it."""
        return self._connection is not None and not is_ended(self._connection)

    async def _ensure_partitions(self, connection: Connection, size: int) -> None:
        """Make the partitions for what follows `size` entries, unless they are known to be there: long before they are needed."""
        if size + _PARTITIONS_AHEAD <= self._partitions_end:
            return
        end = await self._ensure(connection, size)
        self._partitions_end = await self._ensure(connection, end) if end - size < _PARTITIONS_AHEAD else end

    async def _ensure(self, connection: Connection, index: int) -> int:
        begun = time.perf_counter()
        cursor = await connection.execute(QUERIES["ensure_partitions"], {"index": index})
        row = await cursor.fetchone()
        assert row is not None  # noqa: S101 - a function call returns a row; for the type checker
        following, made = row
        if made:
            seconds = round(time.perf_counter() - begun, 3)
            _log.info("partition_made", number=index // PARTITION_ENTRIES, seconds=seconds)
        return int(following)


async def _write_runs(connection: Connection, runs: PackedRuns) -> None:
    await copy_in(connection, "copy_entry_runs", [runs.entries])
    await copy_in(connection, "copy_disclosure_runs", [runs.disclosures])
