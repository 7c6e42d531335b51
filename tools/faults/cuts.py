"""R7: the connection to PostgreSQL cut at every kind of moment of an append, by a proxy that understands its messages."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

import psycopg
from psycopg.conninfo import make_conninfo

from faults.service import ORIGIN, Source
from tlog.core.making.parsing import parse_batch
from tlog.errors import OverloadedError
from tlog.lifecycle.making import create_log
from tlog.lifecycle.opening import open_log
from tlog.lifecycle.running import running
from tlog.location import DataDirectory, Location
from tlog.postgres.server import PORT, EmbeddedPostgres
from tlog.writing.drafting import LOCAL, draft_events

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter
    from collections.abc import Callable
    from pathlib import Path

    from faults.gate import Figures, Run
    from tlog.lifecycle.opening import Log

    Cuts = Callable[[bytes, bytes], int | None]

POINTS: Final = ("connect", "begin", "copy", "before commit", "after commit", "reply")
_APPENDER: Final = b"tlog_appender\0"
_EVENTS: Final = 20
_TRIES: Final = 50
_FIND: Final = "SELECT event_id::text, index FROM tlog.leaf WHERE event_id = ANY (%s::uuid[]) ORDER BY index"
_UNIQUE_GONE: Final = "ALTER TABLE tlog.leaf DROP CONSTRAINT leaf_event_id_key"


class Proxy:
    """Passes messages on between a service and PostgreSQL, until the moment it is told to cut an appender's connection at.

    PostgreSQL's messages are a type byte, a length and a body; the first one of a client has no type ("Frontend/Backend
    Protocol", "Message Formats").
    """

    def __init__(self, directory: Path, target: Path) -> None:
        self._path = directory / f".s.PGSQL.{PORT}"
        self._target = target / f".s.PGSQL.{PORT}"
        self._writers: set[StreamWriter] = set()
        self.point = ""
        self.cuts = 0

    async def start(self) -> asyncio.Server:
        """Listen."""
        return await asyncio.start_unix_server(self._serve, self._path)

    def cut_at(self, point: str) -> None:
        """Cut the next connection of an appender that comes to `point`."""
        self.point = point
        if point == "connect":
            self._cut()  # so that it has to connect again

    def _cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    def _reached(self, point: str) -> bool:
        if self.point != point:
            return False
        self.point = ""
        self.cuts += 1
        return True

    async def _serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        length = await reader.readexactly(4)
        first = await reader.readexactly(int.from_bytes(length) - 4)
        appender = _APPENDER in first
        if appender and self._reached("connect"):
            writer.transport.abort()
            return
        server_reader, server_writer = await asyncio.open_unix_connection(self._target)
        server_writer.write(length + first)
        if appender:
            self._writers |= {writer, server_writer}
        ways = [
            asyncio.create_task(self._pass_on(reader, server_writer, self._cuts_request if appender else None)),
            asyncio.create_task(self._pass_on(server_reader, writer, self._cuts_reply if appender else None)),
        ]
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        for each in (writer, server_writer):
            self._writers.discard(each)
            each.transport.abort()

    async def _pass_on(self, reader: StreamReader, writer: StreamWriter, cuts: Cuts | None) -> None:
        while True:
            head = await reader.readexactly(5)
            body = await reader.readexactly(int.from_bytes(head[1:]) - 4)
            if cuts is not None and (kept := cuts(head[:1], body)) is not None:
                writer.write((head + body)[:kept])
                await writer.drain()
                raise ConnectionAbortedError
            writer.write(head + body)
            await writer.drain()

    def _cuts_request(self, kind: bytes, body: bytes) -> int | None:
        """Return how many bytes of a request get through before the cut; None if the connection is left whole."""
        if kind in {b"Q", b"P"} and b"BEGIN" in body and self._reached("begin"):
            return 0
        if kind == b"d" and self._reached("copy"):
            return len(body) // 2
        if kind in {b"Q", b"P"} and b"COMMIT" in body and self._reached("before commit"):
            return 0
        return None

    def _cuts_reply(self, kind: bytes, body: bytes) -> int | None:
        """Return how many bytes of an answer still get through: PostgreSQL has committed by then."""
        if kind == b"C" and body.startswith(b"COMMIT"):
            if self._reached("after commit"):
                return 0
            if self._reached("reply"):
                return 3
        return None


def measure(run: Run) -> Figures:
    """Cut at each point again and again; every append is repeated until it is acknowledged."""
    return asyncio.run(_measure(run, run.count(5, 50), POINTS))


def measure_without_unique_key(run: Run) -> Figures:
    """Cut where the client cannot know, in a log whose eventIds need not be unique."""
    return asyncio.run(_measure(run, 2, ("after commit",), prepare=_UNIQUE_GONE))


async def _measure(run: Run, times: int, points: tuple[str, ...], *, prepare: str = "") -> Figures:
    directory, source = DataDirectory(run.directory / "data"), Source()
    await create_log(Location(directory), ORIGIN)
    with EmbeddedPostgres(directory.postgres) as postgres:
        direct = postgres.conninfo(user="tlog")
        admin = psycopg.connect(postgres.conninfo(user="postgres"), autocommit=True)
        if prepare:
            admin.execute(prepare.encode())
        proxy = Proxy(run.directory, directory.postgres / "socket")
        server = await proxy.start()
        location = Location(
            directory, make_conninfo(direct, host=str(run.directory)), postgres.conninfo(user="postgres")
        )
        counts = {"lost": 0, "duplicates": 0, "index_changed": 0, "durable_though_cut": 0, "false_acknowledgements": 0}
        async with open_log(location, sealing="elsewhere") as log, running(log):
            for number in range(times * len(points)):
                await _append_cut(log, admin, proxy, points[number % len(points)], source.take(_EVENTS), counts)
                run.progress(number + 1, times * len(points))
        server.close()
        admin.close()
    return {"cuts": proxy.cuts, "not_cut": times * len(points) - proxy.cuts, **counts}


async def _append_cut(  # noqa: PLR0917 - one step of `_measure`
    log: Log, admin: psycopg.Connection, proxy: Proxy, point: str, raws: list[bytes], counts: dict[str, int]
) -> None:
    names = [draft.event_id for draft in draft_events(parse_batch(raws), log.bucket_keys, LOCAL)]
    first: dict[str | None, int] = {}
    proxy.cut_at(point)
    for attempt in range(_TRIES):
        try:
            receipts = await log.appender.append(draft_events(parse_batch(raws), log.bucket_keys, LOCAL))
            break
        except OverloadedError:
            if attempt == 0:
                first = dict(admin.execute(_FIND, (names,)).fetchall())
    else:
        counts["lost"] += len(raws)
        return
    stored = admin.execute(_FIND, (names,)).fetchall()
    indexes: dict[str | None, int] = dict(stored)
    before = first if attempt else {}
    counts["durable_though_cut"] += bool(before)
    counts["false_acknowledgements"] += attempt == 0 and point != "connect"
    counts["lost"] += sum(receipt.event_id not in indexes for receipt in receipts)
    counts["duplicates"] += len(stored) - len(indexes)
    counts["index_changed"] += sum(
        receipt.index != before.get(receipt.event_id, receipt.index) or receipt.index != indexes.get(receipt.event_id)
        for receipt in receipts
    )
