"""Real services for the gates: `tlog serve` as a process, clients that keep every receipt, and ways to kill it all."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from make_events import make_events

from faults.gate import NotHereError
from tlog.postgres.server import EmbeddedPostgres

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


ROOT: Final = Path(__file__).parents[2]
ORIGIN: Final = "example.com/gates"
TLOG: Final = ("-m", "tlog")
_SECONDS: Final = 60.0
_numbers = itertools.count()
_OK: Final = http.HTTPStatus.OK


def run_tlog(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own and return how it ended."""
    command = [sys.executable, *TLOG, *map(str, arguments)]
    variables = {**os.environ, **environment}
    return subprocess.run(
        command, capture_output=True, text=True, timeout=2 * _SECONDS, check=False, cwd=ROOT, env=variables
    )


def make_log(data: Path) -> None:
    """Make a log with an embedded PostgreSQL.

    Raises:
        NotHereError: this machine has none.

    """
    done = run_tlog("init", "--data", data, "--origin", ORIGIN)
    if done.returncode:
        raise NotHereError(done.stderr.strip())


def make_token(data: Path) -> str:
    """Return a new API key that may do everything."""
    done = run_tlog("token", "create", "--data", data, "--principal", "gates", "--scope", "admin", "--json")
    assert done.returncode == 0, done.stderr
    return str(json.loads(done.stdout)["token"])


class Service:
    """A running `tlog serve`.

    Attributes:
        ready_seconds: from the start of its process to its first "ready".

    """

    def __init__(self, data: Path, *options: object, program: Sequence[str] = TLOG, ready: bool = True) -> None:
        self.data = data
        self.said = data.with_name(f"{data.name}-{next(_numbers)}.said")
        command = [sys.executable, *program, "serve", "--data", str(data), "--port", "0", *map(str, options)]
        started = time.monotonic()
        with self.said.open("w") as said:
            self.process = subprocess.Popen(command, stdout=said, stderr=said, cwd=ROOT)
        self.address = urlsplit(self._url(started + _SECONDS))
        while ready and self.get("/readyz")[0] != _OK:
            assert time.monotonic() < started + _SECONDS, self.said.read_text()
            time.sleep(0.01)
        self.ready_seconds = time.monotonic() - started

    def _url(self, deadline: float) -> str:
        while (match := re.search(r'"address":"(http://[^"]+)"', self.said.read_text())) is None:
            assert self.process.poll() is None, self.said.read_text()
            assert time.monotonic() < deadline, self.said.read_text()
            time.sleep(0.01)
        return match[1]

    def connect(self, seconds: float = 30.0) -> http.client.HTTPConnection:
        """Return a connection to it."""
        return http.client.HTTPConnection(str(self.address.hostname), self.address.port, timeout=seconds)

    def get(self, path: str) -> tuple[int, bytes]:
        """Return status and body of an answer; status 0 if there was none."""
        with contextlib.closing(self.connect()) as connection:
            try:
                connection.request("GET", path)
                response = connection.getresponse()
                return response.status, response.read()
            except (OSError, http.client.HTTPException):
                return 0, b""

    def kill(self) -> None:
        """Kill its process at once."""
        self.process.kill()
        self.process.wait()

    def stop(self, seconds: float = _SECONDS) -> int:
        """End the service in order and return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            return -signal.SIGKILL

    def wait_sealed(self) -> None:
        """Wait until everything appended is sealed."""
        deadline = time.monotonic() + _SECONDS
        while True:
            status, body = self.get("/v1/log")
            if status == _OK and not json.loads(body)["pending"]:
                return
            assert time.monotonic() < deadline, f"not sealed: {body!r}"
            time.sleep(0.02)


@contextlib.contextmanager
def embedded(data: Path) -> Iterator[EmbeddedPostgres]:
    """Start or join the PostgreSQL of a log while the body runs."""
    postgres = EmbeddedPostgres(data / "postgres")
    with postgres:
        yield postgres


def kill_postgres(data: Path) -> None:
    """Kill all of a log's PostgreSQL at once: the server and every process of it, each of which leads a session of its own."""
    try:
        server = int((data / "postgres" / "cluster" / "postmaster.pid").read_text().split("\n")[0])
    except FileNotFoundError:
        return
    for pid in (server, *children(server)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def children(parent: int) -> list[int]:
    """Return the numbers of a process's children."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(status.read_text(errors="replace").rpartition(")")[2].split()[1]) == parent:
                found.append(int(status.parent.name))
    return found


def kill_left_over(directory: Path) -> None:
    """Kill every process that was started on something below a directory of our own, PostgreSQL's servers among them."""
    wanted = os.fsencode(f"{directory}/")
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if wanted in command.read_bytes() and int(command.parent.name) != os.getpid():
                os.kill(int(command.parent.name), signal.SIGKILL)


class Source:
    """Events without end, none twice, for many threads."""

    def __init__(self, seed: int = 1) -> None:
        self._events = make_events(10**9, seed=seed, random_ids=True)
        self._lock = threading.Lock()

    def take(self, count: int) -> list[bytes]:
        """Return the next events, each one JSON text."""
        with self._lock:
            return list(itertools.islice(self._events, count))


class Acknowledged:
    """Every receipt that clients got, and the checkpoints they saw, in the order in which they saw them."""

    def __init__(self) -> None:
        self.receipts: list[dict[str, Any]] = []
        self.notes: list[bytes] = []
        self.statuses: list[int] = []
        self.bare_refusals = 0
        self._lock = threading.Lock()

    def add(self, status: int, body: bytes, *, retry_after: bool) -> None:
        """Take in an answer to an append."""
        receipts = json.loads(body)["receipts"] if status in {200, 201} else []
        with self._lock:
            self.statuses.append(status)
            self.receipts += receipts
            self.bare_refusals += status == http.HTTPStatus.SERVICE_UNAVAILABLE and not retry_after

    def see(self, note: bytes) -> None:
        """Take in a published checkpoint."""
        with self._lock:
            if not self.notes or self.notes[-1] != note:
                self.notes.append(note)


class Load:
    """Clients that append until they are told to stop or their server is gone."""

    def __init__(
        self,
        service: Service,
        token: str,
        source: Source,
        acknowledged: Acknowledged,
        *,
        clients: int = 3,
        batch: int = 50,
    ) -> None:
        self._service = service
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/x-ndjson"}
        self._source = source
        self._acknowledged = acknowledged
        self._batch = batch
        self._ended = threading.Event()
        targets = [self._append] * clients + [self._watch]
        self._threads = [threading.Thread(target=target, daemon=True) for target in targets]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """Stop, and wait for the answers that are under way."""
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _append(self) -> None:
        connection = self._service.connect()
        while not self._ended.is_set():
            body = b"\n".join(self._source.take(self._batch))
            try:
                connection.request("POST", "/v1/audit/events", body, self._headers)
                response = connection.getresponse()
                retry_after = response.getheader("Retry-After") is not None
                self._acknowledged.add(response.status, response.read(), retry_after=retry_after)
            except (OSError, http.client.HTTPException):
                connection.close()
                self._ended.wait(0.005)
        connection.close()

    def _watch(self) -> None:
        while not self._ended.wait(0.02):
            status, note = self._service.get("/checkpoint")
            if status == _OK:
                self._acknowledged.see(note)
