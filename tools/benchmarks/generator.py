"""The load generator: a process of its own that sends prepared requests over many connections and notes every answer.

Bodies are made before the clock starts and sent from a file mapped into memory, over plain non-blocking sockets, so that
the generator takes as little as possible of the CPU time that it shares with the log.
"""

from __future__ import annotations

import itertools
import json
import mmap
import multiprocessing
import re
import select
import socket
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from make_events import make_events

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from benchmarks.service import Service

_CONTEXT: Final = multiprocessing.get_context("spawn")
_CREATED: Final = b"HTTP/1.1 201 "
_LENGTH: Final = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)
_INDEX: Final = re.compile(rb'"(?:lastIndex|index)":(\d+)')
_PORTION: Final = 100_000
_BLOCK: Final = 1_000
_AHEAD: Final = 32


class Bodies(NamedTuple):
    """Prepared request bodies: the file, and where each ends in it."""

    path: Path
    batch: int
    number: int

    def read(self) -> Iterator[memoryview]:
        """Yield each of them, from the file mapped into memory."""
        ends = json.loads(self.path.with_suffix(".ends").read_text(encoding="utf-8"))
        with self.path.open("rb") as file:
            mapped = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        for start, end in itertools.pairwise([0, *ends]):
            yield mapped[start:end]


class Answer(NamedTuple):
    """One acknowledged request: when (on the machine's monotonic clock), after how many seconds, its largest index."""

    at: float
    seconds: float
    index: int  # type: ignore[assignment]  # hides tuple.index, which means nothing here


class Answers(NamedTuple):
    """All answers, and when there was no body left to send (on the machine's monotonic clock), None if there always was one."""

    found: list[Answer]
    ran_out_at: float | None


def prepare(path: Path, events: int, batch: int, *, seed: int = 1) -> Bodies:
    """Write `events` events, `batch` in each body, in processes on all CPUs; their timestamps end about now."""
    count = -(-events // batch)
    portion = max(_PORTION // batch, 1)
    starts = range(0, count, portion)
    jobs = [(path, number, min(portion, count - start) * batch, batch, seed) for number, start in enumerate(starts)]
    with _CONTEXT.Pool() as pool:
        lengths = [each for part in pool.starmap(_write, jobs) for each in part]
    with path.open("wb") as file:
        for number in range(len(jobs)):
            part = _part(path, number)
            file.write(part.read_bytes())
            part.unlink()
    path.with_suffix(".ends").write_text(json.dumps(list(itertools.accumulate(lengths))), encoding="utf-8")
    return Bodies(path, batch, len(lengths))


def _part(path: Path, number: int) -> Path:
    return path.with_suffix(f".{number}")


def _write(path: Path, number: int, events: int, batch: int, seed: int) -> list[int]:
    start = np.datetime64("now", "ms") - np.timedelta64((number + 1) * _PORTION * 10, "ms")
    source, lengths = make_events(events, seed=10_000 * seed + number, start=start), []
    with _part(path, number).open("wb") as file:
        while lines := list(itertools.islice(source, batch)):
            lengths.append(file.write(b"\n".join(lines)))
    return lengths


class Generator:
    """Sends `bodies` to a service for some seconds from a process of its own; `answers` waits for the end."""

    def __init__(self, service: Service, bodies: Bodies, *, connections: int, seconds: float) -> None:
        self._answers, sending = _CONTEXT.Pipe(duplex=False)
        head = (
            f"POST /v1/audit/events HTTP/1.1\r\nHost: {service.address.netloc}\r\nAuthorization: Bearer {service.token}\r\n"
            f"Content-Type: {'application/json' if bodies.batch == 1 else 'application/x-ndjson'}\r\n"
            f"{'' if bodies.batch == 1 else 'Prefer: return=minimal' + chr(13) + chr(10)}Content-Length: "
        )
        where = (str(service.address.hostname), int(service.address.port or 0))
        self.process = _CONTEXT.Process(
            target=_send, args=(where, head.encode(), bodies, connections, seconds, sending), daemon=True
        )
        self.process.start()
        sending.close()
        if self._answers.recv() != "ready":
            sys.exit("the load generator did not start")

    @property
    def pid(self) -> int:
        """The number of its process."""
        return int(self.process.pid or 0)

    def wait(self, seconds: float) -> None:
        """Wait so long, or until all bodies are sent and answered."""
        self._answers.poll(seconds)

    def answers(self) -> Answers:
        """Return all answers, once the time is over, or all bodies are sent, and the last is there."""
        try:
            found, ran_out_at = self._answers.recv()
        except EOFError:
            sys.exit("the load generator ended early")
        self.process.join(30)
        return Answers([Answer(*each) for each in found], ran_out_at)


class _Connection:
    """One request after the other over one connection."""

    def __init__(self, where: tuple[str, int], head: bytes, poll: select.epoll) -> None:
        self.socket = socket.create_connection(where)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self._head, self._poll = head, poll
        self._rest = memoryview(b"")
        self._received = b""
        self._begun = 0.0
        self._waits = False
        poll.register(self.socket, select.EPOLLIN)

    def begin(self, body: memoryview) -> None:
        """Begin to send a request."""
        head = self._head + b"%d\r\n\r\n" % len(body)
        self._begun = time.perf_counter()
        if len(body) < 1 << 14:
            self._rest = memoryview(head + body)
        else:
            self.socket.send(head)  # into an empty buffer, where it has room
            self._rest = body
        self.write()

    def write(self) -> None:
        """Send what the connection takes."""
        with suppress(BlockingIOError):
            self._rest = self._rest[self.socket.send(self._rest) :]
        if self._waits != bool(self._rest):
            self._waits = bool(self._rest)
            self._poll.modify(self.socket, select.EPOLLIN | (select.EPOLLOUT if self._waits else 0))

    def read(self) -> Answer | None:
        """Take in what has come; return the answer once it is there."""
        data = self.socket.recv(1 << 16)
        if not data:
            message = "the service closed a connection"
            raise ConnectionError(message)
        self._received += data
        head, separator, body = self._received.partition(b"\r\n\r\n")
        length = _LENGTH.search(head + b"\r\n")
        if not separator or length is None or len(body) < int(length[1]):
            return None
        now, self._received = time.perf_counter(), b""
        index = _INDEX.search(body)
        if not head.startswith(_CREATED) or index is None:
            message = f"{head[:80]!r} {body[:300]!r}"
            raise ConnectionError(message)
        return Answer(now, now - self._begun, int(index[1]))


def _send(  # noqa: PLR0917 - what a process is given
    where: tuple[str, int],
    head: bytes,
    bodies: Bodies,
    connections: int,
    seconds: float,
    answers: Any,  # noqa: ANN401
) -> None:
    found: list[Answer] = []
    with select.epoll() as poll:
        following = iter(list(bodies.read()))  # found now, so that nothing is left to do when the clock runs
        made = [_Connection(where, head, poll) for _ in range(connections)]
        by_number = {each.socket.fileno(): each for each in made}
        answers.send("ready")
        stop, open_requests, ran_out_at = time.perf_counter() + seconds, 0, None
        for each, body in zip(made, following, strict=False):
            each.begin(body)
            open_requests += 1
        while open_requests:
            for number, events in poll.poll(10.0):
                connection = by_number[number]
                if events & select.EPOLLOUT:
                    connection.write()
                if not events & ~select.EPOLLOUT or (answer := connection.read()) is None:
                    continue
                found.append(answer)
                more = next(following, None) if answer.at < stop else None
                if more is None:
                    open_requests -= 1
                    if ran_out_at is None and answer.at < stop:
                        ran_out_at = answer.at
                else:
                    connection.begin(more)
    answers.send(([tuple(each) for each in found], ran_out_at))


# --- For the appender as a library ---------------------------------------------------------------------------------------


def feed(events: int, *, seed: int = 1) -> Iterator[bytes]:
    """Yield events as blocks of 1,000 lines, made in a process of their own."""
    queue: multiprocessing.Queue[bytes] = _CONTEXT.Queue(_AHEAD)
    process = _CONTEXT.Process(target=_make, args=(events, seed, queue), daemon=True)
    process.start()
    while block := queue.get(timeout=60):
        yield block
    process.join(10)


def _make(events: int, seed: int, queue: multiprocessing.Queue[bytes]) -> None:
    source = make_events(events, seed=seed)
    while lines := list(itertools.islice(source, _BLOCK)):
        queue.put(b"\n".join(lines))
    queue.put(b"")
