"""How far streams are taken, and what of them could not be logged: moved on inside the transaction that appends.

The log itself says how far (`tlog.core.intake`); the table is a copy that an append can compare and set. That is the fence
between two processes that take the same stream: whoever comes second changes no row.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Final, NamedTuple

from tlog.storage.connection import Connection, translated
from tlog.storage.queries import QUERIES
from tlog.storage.statements import read_controls, read_state

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from tlog.storage.database import Database


_INTAKE: Final = b'"type":"intake","v":1}'


class FencedError(Exception):
    """A stream is not where an advance begins: another process has taken from it."""


class DeadLetter(NamedTuple):
    """A message that is no event.

    Attributes:
        stream: the stream, with `partition` and `offset` of the message.
        refused_at: microseconds since 1970, UTC.
        reason: the rule that it broke, and `pointer` the member, as for a request over HTTP; never a value.
        digest: by which the log commits to it (`tlog.core.intake.refused_digest`).
        salt: of the digest; None, as `raw`, once it is discarded.
        raw: the message (`tlog.core.intake.raw_message`), None if that was too large to keep.
        forwarded: whether it went to another topic.

    """

    stream: str
    partition: int
    offset: int
    refused_at: int
    reason: str
    pointer: str
    digest: bytes
    salt: bytes | None
    raw: bytes | None
    forwarded: bool = False


class Advance(NamedTuple):
    """A step of one partition of a stream: what is at offset `start` and before `end` is taken.

    Attributes:
        refused: the messages of it that are no events.
        opens: it is the first step of the partition.
        releases: it is the last one.

    """

    stream: str
    partition: int
    start: int
    end: int
    refused: Sequence[DeadLetter] = ()
    opens: bool = False
    releases: bool = False


class Taken(NamedTuple):
    """How far a partition of a stream is taken: the next offset, and whether the log takes no more of it."""

    stream: str
    partition: int
    next_offset: int
    released: bool = False


async def advance(connection: Connection, advances: Sequence[Advance]) -> None:
    """Make steps, of each partition one, in the transaction that is open.

    Raises:
        FencedError: a partition is not where its step begins, or is open already, or is released.

    """
    for opens, statement in ((True, "open_intakes"), (False, "advance_intakes")):
        if steps := [each for each in advances if each.opens == opens]:
            values = {
                "streams": [each.stream for each in steps],
                "partitions": [each.partition for each in steps],
                "starts": [each.start for each in steps],
                "ends": [each.end for each in steps],
                "releases": [each.releases for each in steps],
            }
            cursor = await connection.execute(QUERIES[statement], values)
            if cursor.rowcount != len(steps):
                raise FencedError
    if refused := [letter for each in advances for letter in each.refused]:
        columns = zip(*refused, strict=True)
        values = dict(zip((f"{name}s" for name in DeadLetter._fields), map(list, columns), strict=True))
        await connection.execute(QUERIES["add_dead_letters"], values)


async def read_intakes(connection: Connection) -> list[Taken]:
    """Return how far streams are taken, by stream and partition."""
    cursor = await connection.execute(QUERIES["read_intakes"])
    return [Taken(*row) for row in await cursor.fetchall()]


async def write_intakes(connection: Connection, taken: Collection[Taken]) -> None:
    """Say how far streams are taken, whatever was said before: for a recovery, which reads it from the log."""
    if taken:
        columns = zip(*taken, strict=True)
        values = dict(zip(("streams", "partitions", "offsets", "releases"), map(list, columns), strict=True))
        await connection.execute(QUERIES["write_intakes"], values)


async def list_dead_letters(
    database: Database,
    stream: str | None = None,
    partition: int | None = None,
    offset: int | None = None,
    *,
    raw: bool = False,
) -> list[DeadLetter]:
    """Return the messages that are no events, of one stream, partition and offset if these are given, each with itself if `raw`.

    Raises:
        OverloadedError: the database cannot be reached.

    """
    connection = await database.connect("tlog_reader")
    async with connection:
        with translated():
            values = {"stream": stream, "partition": partition, "offset": offset, "raw": raw}
            cursor = await connection.execute(QUERIES["list_dead_letters"], values)
            return [DeadLetter(*row) for row in await cursor.fetchall()]


class IntakeStore:
    """What a taker of one stream asks and says, over a connection of its own that is made anew when it breaks."""

    def __init__(self, database: Database, stream: str) -> None:
        self._database = database
        self.stream = stream
        self._connection: Connection | None = None

    async def lead(self) -> bool:
        """Try to become the one process that takes from the stream; tell whether this connection leads.

        A courtesy between takers: what decides is that an append compares where a stream is.
        """
        lock = int.from_bytes(sha256(f"intake\0{self.stream}".encode()).digest()[:8], signed=True)
        connection = await self._connected()
        with translated():
            cursor = await connection.execute(QUERIES["lead"], {"lock": lock})
            row = await cursor.fetchone()
        return row is not None and bool(row[0])

    async def taken(self) -> list[Taken]:
        """Return how far the partitions of the stream are taken."""
        return [each for each in await self.all() if each.stream == self.stream]

    async def all(self) -> list[Taken]:
        """Return how far all streams are taken."""
        connection = await self._connected()
        with translated():
            return await read_intakes(connection)

    async def unreleased(self) -> set[str]:
        """Return all streams from which something is still taken."""
        return {each.stream for each in await self.all() if not each.released}

    async def taken_and_said(self, most: int) -> tuple[list[Taken], list[bytes]]:
        """Return how far the partitions of the stream are taken, and the intakes among the last `most` entries, newest first.

        Both are of one moment: another process may be taking from the stream.
        """
        connection = await self._connected()
        with translated():
            async with connection.transaction():
                await connection.execute(QUERIES["one_moment"])
                taken = [each for each in await read_intakes(connection) if each.stream == self.stream]
                end = (await read_state(connection)).size
                controls = await read_controls(connection, max(0, end - most), end)
                return taken, [entry for _, entry in reversed(controls) if entry.endswith(_INTAKE)]

    async def unforwarded(self, most: int) -> list[tuple[int, int, str, str, bytes]]:
        """Return (partition, offset, reason, pointer, digest) of dead letters that were not forwarded, oldest first."""
        connection = await self._connected()
        with translated():
            values = {"stream": self.stream, "most": most}
            cursor = await connection.execute(QUERIES["find_unforwarded"], values)
            return await cursor.fetchall()

    async def note_forwarded(self, places: Sequence[tuple[int, int]]) -> None:
        """Note that dead letters, by partition and offset, were forwarded."""
        connection = await self._connected()
        partitions, offsets = map(list, zip(*places, strict=True))
        values = {"stream": self.stream, "partitions": partitions, "offsets": offsets}
        with translated():
            await connection.execute(QUERIES["note_forwarded"], values)

    async def close(self) -> None:
        """Close the connection, and with it give up leading."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def _connected(self) -> Connection:
        if self._connection is None or self._connection.closed:
            self._connection = await self._database.connect("tlog_appender")
        return self._connection
