"""Attacks on a running service, as functions: the tests run them small, the gates in full.

Each takes a `support.Server` and returns what was measured; the caller judges.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx2
import psycopg
import pytest
from support import sample_events

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support import Server

    from tlog.postgres.server import EmbeddedPostgres

# `tlog` whose guard waits a twentieth as long, so that a test need not.
IMPATIENT = """
from tlog.cli import app as cli
from tlog.server.guard import protocol
protocol.HEAD_SECONDS, protocol.BODY_SECONDS, protocol.BODY_PROGRESS, protocol.LINGER_SECONDS = 0.5, 1.5, 4096, 0.5
cli.main()
"""

# `tlog` without its guard: the control, which has to fall for what the guard refuses.
UNGUARDED = """
from tlog.cli import app as cli
from tlog.server import serve
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
serve.GuardedProtocol = lambda refused, silent, single, **options: HttpToolsProtocol(**options)
cli.main()
"""


@dataclass
class Answer:
    """What came back over a raw connection: answers until it was closed, and how long that took."""

    data: bytes
    seconds: float
    closed: bool

    @property
    def statuses(self) -> list[int]:
        """The status of each answer."""
        return [int(each) for each in re.findall(rb"HTTP/1\.1 (\d{3}) [A-Z]", self.data)]


def connect(server: Server, timeout: float = 15) -> socket.socket:
    """Open a raw connection."""
    address = urlsplit(server.url)
    return socket.create_connection((address.hostname, address.port), timeout=timeout)


def exchange(server: Server, *parts: bytes, pause: float = 0.0, timeout: float = 15) -> Answer:
    """Send bytes as they are, in parts, and read until the service closes the connection or `timeout` is over."""
    began = time.monotonic()
    data, closed = b"", False
    with connect(server, timeout) as connection:
        try:
            for part in parts:
                connection.sendall(part)
                time.sleep(pause)
            while piece := connection.recv(65_536):
                data += piece
            closed = True
        except TimeoutError:
            pass
        except OSError:
            closed = True
    return Answer(data, time.monotonic() - began, closed)


def post_event(
    token: str, event: dict[str, Any] | None = None, *fields: bytes, path: bytes = b"/v1/audit/events"
) -> bytes:
    """Return a whole valid request that appends one event."""
    body = json.dumps(event or event_of()).encode()
    head = [b"POST " + path + b" HTTP/1.1", b"Host: log", b"Authorization: Bearer " + token.encode(),
            b"Content-Type: application/json", b"Content-Length: %d" % len(body), *fields]  # fmt: skip
    return b"\r\n".join(head) + b"\r\n\r\n" + body


def event_of() -> dict[str, Any]:
    """Return a fresh event."""
    event: dict[str, Any] = json.loads(sample_events(1)[0])
    return {**event, "eventId": str(uuid4())}


def is_logged(server: Server, event: dict[str, Any]) -> bool:
    """Tell whether an event is in the log."""
    headers = {"Authorization": f"Bearer {server.token}"}
    answer = httpx2.get(f"{server.url}/v1/audit/events/{event['eventId']}", headers=headers, timeout=30)
    assert answer.status_code in (200, 404), answer.text
    return answer.status_code == 200


# --- R18: connections that never become requests ----------------------------------------------------------------------


@dataclass
class Siege:
    """What half-open and idle connections did to a service."""

    closed_after: list[float] = field(default_factory=list)
    still_open: int = 0
    before: list[float] = field(default_factory=list)
    during: list[float] = field(default_factory=list)
    failed: int = 0


def besiege(server: Server, *, half_open: int, idle: int, trickle: float = 0.2, limit: float = 15.0) -> Siege:
    """Open connections that send half a head, byte by byte, and ones that send nothing; append meanwhile."""
    siege = Siege()
    good = GoodClient(server)
    siege.before = good.append(20)
    with ExitStack() as stack:
        halves = [stack.enter_context(connect(server)) for _ in range(half_open)]
        others = [stack.enter_context(connect(server)) for _ in range(idle)]
        began = time.monotonic()
        for connection in halves:
            connection.sendall(b"POST /v1/audit/events HTTP/1.1\r\nHost: log\r\nX-Slow: ")
        waiting = halves + others
        for connection in waiting:
            connection.setblocking(False)
        while waiting and time.monotonic() - began < limit:
            siege.during += good.append(5)
            waiting = [each for each in waiting if _is_open(each, trickle=each in halves)]
            siege.closed_after += [time.monotonic() - began] * (
                half_open + idle - len(siege.closed_after) - len(waiting)
            )
            time.sleep(trickle)
        siege.still_open = len(waiting)
    siege.failed = good.failed
    good.close()
    return siege


def _is_open(connection: socket.socket, *, trickle: bool) -> bool:
    try:
        if trickle:
            connection.send(b"x")
        while connection.recv(4096):
            pass  # the refusal, before the end
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False


class GoodClient:
    """Appends one event after the other over one connection, and measures."""

    def __init__(self, server: Server) -> None:
        headers = {"Authorization": f"Bearer {server.token}"}
        self._http = httpx2.Client(base_url=server.url, headers=headers, timeout=30)
        self.failed = 0

    def append(self, count: int) -> list[float]:
        """Append events; return how many seconds each took."""
        taken = []
        for _ in range(count):
            began = time.monotonic()
            self.failed += self._http.post("/v1/audit/events", json=event_of()).status_code != 201
            taken.append(time.monotonic() - began)
        return taken

    def close(self) -> None:
        """Close the connection."""
        self._http.close()


# --- R8: the end of a service under load ------------------------------------------------------------------------------


@dataclass
class Ending:
    """How a service ended under load."""

    seconds: float = 0.0
    exit_code: int | None = None
    statuses: list[int] = field(default_factory=list)
    without_retry_after: int = 0
    acknowledged: list[str] = field(default_factory=list)
    stalled_answers: list[list[int]] = field(default_factory=list)
    ready: list[int] = field(default_factory=list)


def terminate_under_load(server: Server, *, stalled: int, clients: int = 4, patience: float = 60) -> Ending:
    """Send SIGTERM to a service while clients append and `stalled` bodies never come; kill it when `patience` seconds are over."""
    ending = Ending()
    stop = threading.Event()
    threads = [threading.Thread(target=_append_until, args=(server, ending, stop)) for _ in range(clients)]
    threads.append(threading.Thread(target=_watch_readiness, args=(server, ending, stop)))
    with ExitStack() as stack:
        bodies = [stack.enter_context(connect(server)) for _ in range(stalled)]
        for body in bodies:
            body.sendall(post_event(server.token)[:-10])
        for thread in threads:
            thread.start()
        time.sleep(0.5)
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        try:
            ending.exit_code = server.process.wait(patience)
        except subprocess.TimeoutExpired:
            server.process.kill()
            server.process.wait()
        ending.seconds = time.monotonic() - began
        stop.set()
        for thread in threads:
            thread.join(30)
        ending.stalled_answers = [_read_rest(body) for body in bodies]
    return ending


def _append_until(server: Server, ending: Ending, stop: threading.Event) -> None:
    headers = {"Authorization": f"Bearer {server.token}", "Prefer": "return=minimal"}
    with httpx2.Client(base_url=server.url, headers=headers, timeout=30) as http:
        while not stop.is_set():
            event = event_of()
            try:
                answer = http.post("/v1/audit/events", json=event)
            except httpx2.TransportError:
                time.sleep(0.01)  # no answer is no false one: the client sends the event again elsewhere
                continue
            ending.statuses.append(answer.status_code)
            if answer.status_code == 201:
                ending.acknowledged.append(event["eventId"])
            elif "retry-after" not in answer.headers:
                ending.without_retry_after += 1


def _watch_readiness(server: Server, ending: Ending, stop: threading.Event) -> None:
    while not stop.is_set():
        try:
            ending.ready.append(httpx2.get(server.url + "/readyz", timeout=10).status_code)
        except httpx2.TransportError:
            return
        time.sleep(0.05)


def _read_rest(connection: socket.socket) -> list[int]:
    data = b""
    try:
        while piece := connection.recv(65_536):
            data += piece
    except OSError:
        pass
    return Answer(data, 0, closed=True).statuses


# --- R3: the disk is full ---------------------------------------------------------------------------------------------


@contextmanager
def small_disk(path: Path, megabytes: int) -> Iterator[Path]:
    """Mount a small file system at `path`, which may be filled without harm to anybody; skip the test if that is not allowed."""
    path.mkdir()
    options = f"size={megabytes}m,mode=0711"
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", path], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {done.stderr.strip()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)


class Filler:
    """Somebody else's file, which takes the space."""

    def __init__(self, disk: Path) -> None:
        self._disk = disk
        self._path = disk / "filler"

    def leave(self, free: int) -> None:
        """Grow until only `free` bytes are left."""
        found = os.statvfs(self._disk)
        size = self._path.stat().st_size if self._path.exists() else 0
        with self._path.open("ab") as file:
            os.posix_fallocate(file.fileno(), 0, size + found.f_bavail * found.f_frsize - free)

    def go(self) -> None:
        """Give everything back."""
        self._path.unlink()


class Recorder:
    """A client that appends one event after the other, and keeps what was acknowledged and every other status."""

    def __init__(self, server: Server) -> None:
        self._http = httpx2.Client(base_url=server.url, headers={"Authorization": f"Bearer {server.token}"}, timeout=30)
        self.acknowledged: list[str] = []
        self.slowest_refusal = 0.0
        self.problem: dict[str, Any] = {}

    def append(self) -> int:
        """Append one event; return the status."""
        event = event_of()
        began = time.monotonic()
        answer = self._http.post("/v1/audit/events", json=event)
        if answer.status_code in (200, 201):
            self.acknowledged.append(event["eventId"])
        else:
            self.slowest_refusal = max(self.slowest_refusal, time.monotonic() - began)
            self.problem = {**answer.json(), "retryAfter": answer.headers.get("retry-after")}
        return answer.status_code

    def append_until(self, status: int, seconds: float) -> float:
        """Append until an answer has `status`; return how many seconds that took."""
        began = time.monotonic()
        while (answered := self.append()) != status:
            assert time.monotonic() - began < seconds, (answered, self.problem)
            time.sleep(0.1)
        return time.monotonic() - began

    def get(self, path: str) -> int:
        """Return the status of a question."""
        return self._http.get(path).status_code

    def close(self) -> None:
        """Close the connection."""
        self._http.close()


def write_until_it_ends(postgres: EmbeddedPostgres) -> None:
    """Make PostgreSQL write its log until it can no more, and ends."""
    with suppress(psycopg.Error), psycopg.connect(postgres.conninfo(user="postgres"), autocommit=True) as connection:
        for _ in range(1000):
            connection.execute("SELECT pg_logical_emit_message(false, 'x', repeat('x', 1000000))")
