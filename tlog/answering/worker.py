"""A process beside the one that serves, which makes bulk answers, so that nobody who appends waits for them.

It is started when it is first needed, has connections of its own to the database in the role that reads, and gives way to
everybody else on the machine (`os.nice`), as does what PostgreSQL does for it. Of the log's keys it gets the public one, and
with each task what that needs.

Both processes have an end of one socket, through which the one that serves sends an end of another socket for each answer. The
child ends when the first is closed, and gives an answer up when the second is. Through that go:

    from the one that serves    a task after its length (4 bytes), then one byte for each frame that waits for it
    from the child              frames: kind (1 byte), length (4 bytes), and as many bytes
        `L`  at how many more entries was looked; waits
        `H`  the head of the answer; waits
        `D`  a piece of it
        `.`  the end of it
        `E`  an error instead
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import struct
import sys
from contextlib import aclosing, suppress
from traceback import extract_tb
from typing import TYPE_CHECKING, Final

import msgspec
import structlog

from tlog.answering.bulk import BulkMaker, Head, Task
from tlog.answering.query import Searcher
from tlog.core.note import parse_vkey
from tlog.errors import (
    DamagedLogError,
    MalformedInputError,
    NoSpaceError,
    NotCheckedError,
    NotFoundError,
    OverloadedError,
    TlogError,
    TooLargeError,
    UnreachableError,
    UnsafeDatabaseError,
)
from tlog.location import run_loop, tune_memory
from tlog.storage.database import Database
from tlog.storage.reading import ReadStore

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from tlog.core.note import Verifier

_NICE: Final = 10
_PIECE: Final = 64 << 10
_PART_SECONDS: Final = 60.0  # to take one part of a set: a snapshot is held
_END_SECONDS: Final = 5.0
_LENGTH: Final = struct.Struct(">I")
_FRAME: Final = struct.Struct(">cI")
_GO_ON: Final = b"+"
_ERRORS: Final[dict[str, type[TlogError]]] = {
    each.__name__: each
    for each in (
        DamagedLogError,
        MalformedInputError,
        NoSpaceError,
        NotCheckedError,
        NotFoundError,
        OverloadedError,
        TooLargeError,
        UnreachableError,
        UnsafeDatabaseError,
    )
}
_log: Final = structlog.get_logger()


class _Settings(msgspec.Struct):
    """What the child is told at its start."""

    database: str
    vkey: str


class _Failure(msgspec.Struct):
    """An error on its way: its class, its message, and pointer or seconds where it has them.

    Of one that nobody expects the name is "", and instead of the message, which could quote what was asked, its class and place.
    """

    name: str
    message: str
    more: str | int | None = None


# --- In the process that serves -----------------------------------------------------------------------------------------


class Worker:
    """The child, as `tlog.answering.bulk.MakesBulk`."""

    def __init__(self, database: Database, verifier: Verifier) -> None:
        """Prepare; nothing is started before the first task."""
        self._settings = _Settings(database.conninfo, verifier.vkey())
        self._starting = asyncio.Lock()
        self._process: Process | None = None
        self._control: socket.socket | None = None

    async def answer(self, task: Task, looked: Callable[[int], Awaitable[None]]) -> AsyncGenerator[Head | bytes]:
        """Yield the head of an answer, and then its pieces (`tlog.answering.bulk.MakesBulk.answer`).

        Raises:
            OverloadedError: the child ended; the next task starts it again.

        """
        try:
            reader, writer = await self._connect()
            try:
                data = msgspec.msgpack.encode(task)
                writer.write(_LENGTH.pack(len(data)) + data)
                while True:
                    kind, size = _FRAME.unpack(await reader.readexactly(_FRAME.size))
                    payload = await reader.readexactly(size)
                    if kind == b"D":
                        yield payload
                    elif kind == b"L":
                        await looked(msgspec.msgpack.decode(payload, type=int))
                        writer.write(_GO_ON)
                    elif kind == b"H":
                        yield msgspec.msgpack.decode(payload, type=Head)
                        writer.write(_GO_ON)
                    elif kind == b"E":
                        raise _error(msgspec.msgpack.decode(payload, type=_Failure))
                    else:
                        return
            finally:
                writer.close()
        except (asyncio.IncompleteReadError, ConnectionError):
            message = "the process that makes this answer ended; ask again"
            raise OverloadedError(message) from None

    async def close(self) -> None:
        """Let the child end, and wait for its end."""
        async with self._starting:
            if self._process is None:
                return
            self._end()
            try:
                async with asyncio.timeout(_END_SECONDS):
                    await self._process.wait()
            except TimeoutError:
                self._process.kill()
                await self._process.wait()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        async with self._starting:
            if self._process is None or self._process.returncode is not None:
                self._end()
                self._process, self._control = await self._start()
            assert self._control is not None  # noqa: S101 - made with the process; for the type checker
            ours, theirs = socket.socketpair()
            with theirs:
                try:
                    socket.send_fds(self._control, [_GO_ON], [theirs.fileno()])
                except OSError:
                    ours.close()
                    raise
        return await asyncio.open_unix_connection(sock=ours)

    async def _start(self) -> tuple[Process, socket.socket]:
        ours, theirs = socket.socketpair()
        with theirs:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tlog.answering.worker", str(theirs.fileno())),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # Ctrl-C in the terminal is for the parent, which ends its child in order
            )
        data = msgspec.msgpack.encode(self._settings)  # not on the command line, which everyone can read
        ours.sendall(_LENGTH.pack(len(data)) + data)
        ours.setblocking(False)
        return process, ours

    def _end(self) -> None:
        if self._control is not None:
            self._control.close()


def _error(failure: _Failure) -> Exception:
    kind = _ERRORS.get(failure.name)
    if kind is None:
        _log.error("bulk_answer_failed", error=failure.message, place=failure.more)
        return RuntimeError("the process that makes bulk answers failed")
    return kind(failure.message) if failure.more is None else kind(failure.message, failure.more)


# --- In the child -------------------------------------------------------------------------------------------------------


def main(descriptor: int) -> None:
    """Carry out what comes through a socket until its other end is closed."""
    logging.disable()  # the process that serves says the same of the database, in the one form of its lines
    os.nice(_NICE)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the parent still answers, and ends this process
    with socket.socket(fileno=descriptor) as control, suppress(EOFError):
        (size,) = _LENGTH.unpack(_read(control, _LENGTH.size))
        settings = msgspec.msgpack.decode(_read(control, size), type=_Settings)
        run_loop(serve(control, settings))


def _read(control: socket.socket, size: int) -> bytes:
    data = control.recv(size, socket.MSG_WAITALL)
    if len(data) < size:
        raise EOFError
    return data


async def serve(control: socket.socket, settings: _Settings) -> None:
    """Carry out what comes through `control` until its other end is closed."""
    reader = ReadStore(Database(settings.database), gives_way=True)
    try:
        await reader.open(wait=False)  # where the database is away, each answer says so
        # Every task brings the keys that it needs.
        searcher = Searcher(reader, dict[bytes, bytes]().__getitem__)
        await _Answers(BulkMaker(reader, parse_vkey(settings.vkey), searcher)).serve(control)
    finally:
        await reader.close()


class _Answers:
    """All answers under way in the child."""

    def __init__(self, maker: BulkMaker) -> None:
        self._maker = maker
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, control: socket.socket) -> None:
        """Begin an answer for each socket that comes, until no more can come."""
        loop, ended = asyncio.get_running_loop(), asyncio.Event()

        def accept() -> None:
            said, descriptors, _, _ = socket.recv_fds(control, 1, 1)
            for descriptor in descriptors:
                task = loop.create_task(self._answer(socket.socket(fileno=descriptor)))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            if not said:
                ended.set()

        tune_memory()
        control.setblocking(False)
        loop.add_reader(control.fileno(), accept)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(control.fileno())
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _answer(self, theirs: socket.socket) -> None:
        """Carry one task out, as long as the other end is open."""
        reader, writer = await asyncio.open_unix_connection(sock=theirs)
        try:
            (size,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
            task: Task = msgspec.msgpack.decode(await reader.readexactly(size), type=Task)
            answer = _Answer(writer)
            work = asyncio.create_task(answer.carry_out(self._maker, task))
            try:
                while await reader.read(1):
                    answer.go_on.release()
            finally:
                work.cancel()
                await asyncio.wait([work])
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # nobody takes it any more
        finally:
            writer.close()


class _Answer:
    """One answer, written as frames."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self.go_on = asyncio.Semaphore(0)

    async def carry_out(self, maker: BulkMaker, task: Task) -> None:
        """Carry a task out, and close the connection; an error goes out in the place of what is missing."""
        try:
            failure = await self._pieces(maker, task)
            await (self._send(b".", b"") if failure is None else self._say(b"E", failure))
        except (ConnectionError, TimeoutError):
            self._writer.transport.abort()  # nobody takes it any more
        finally:
            self._writer.close()

    async def _pieces(self, maker: BulkMaker, task: Task) -> _Failure | None:
        """Send head and pieces of an answer; return why there are no more, None if that is all."""
        seconds = None
        try:
            async with aclosing(maker.answer(task, self._looked)) as pieces:
                async for piece in pieces:
                    if isinstance(piece, Head):
                        seconds = _PART_SECONDS if piece.parts else None
                        await self._ask(b"H", piece)
                        continue
                    async with asyncio.timeout(seconds):
                        for at in range(0, len(piece), _PIECE):
                            await self._send(b"D", piece[at : at + _PIECE])
        except (ConnectionError, TimeoutError):
            raise
        except Exception as error:  # noqa: BLE001 - the last resort; nothing of a bug may reach the caller
            return _failure(error)
        return None

    async def _looked(self, entries: int) -> None:
        await self._ask(b"L", entries)

    async def _ask(self, kind: bytes, value: object) -> None:
        await self._say(kind, value)
        await self.go_on.acquire()

    async def _say(self, kind: bytes, value: object) -> None:
        await self._send(kind, msgspec.msgpack.encode(value))

    async def _send(self, kind: bytes, payload: bytes) -> None:
        self._writer.write(_FRAME.pack(kind, len(payload)))
        self._writer.write(payload)
        await self._writer.drain()


def _failure(error: Exception) -> _Failure:
    """Return an error as it goes out."""
    name = next((each.__name__ for each in type(error).__mro__ if each.__name__ in _ERRORS), "")
    if not name:
        places = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in extract_tb(error.__traceback__)]
        return _Failure("", type(error).__name__, ", ".join(places))
    more = error.pointer if isinstance(error, MalformedInputError) else None
    return _Failure(name, str(error), error.retry_after if isinstance(error, OverloadedError) else more)


if __name__ == "__main__":
    main(int(sys.argv[1]))
