"""A real `tlog serve` in processes of its own, and questions to it."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from benchmarks.machine import ROOT, children, memory_of

if TYPE_CHECKING:
    from collections.abc import Iterator

_SETTLE_SECONDS = 600


@contextlib.contextmanager
def scratch(parent: Path | None) -> Iterator[Path]:
    """Make a directory that PostgreSQL's own user can reach, and remove it afterwards."""
    path = Path(tempfile.mkdtemp(prefix="tlog-bench-", dir=parent))
    path.chmod(0o711)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def tlog(*arguments: object, codes: tuple[int, ...] = (0,)) -> str:
    """Run the command line in a process of its own; return what it printed."""
    command = [sys.executable, "-m", "tlog", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)  # noqa: S603 - fixed
    if done.returncode not in codes:
        sys.exit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return done.stdout


class Service:
    """A running `tlog serve`, with a key that may do everything; use as a context manager."""

    def __init__(self, data: Path) -> None:
        self._said = tempfile.NamedTemporaryFile("w+", suffix=".stderr")  # noqa: SIM115 - closed with the process
        self.data = data
        command = [sys.executable, "-m", "tlog", "serve", "--data", str(data), "--port", "0"]
        if not (data / "keys").exists():
            command += ["--create", "--origin", "bench.example.com/log"]
        self.process = subprocess.Popen(command, stderr=self._said, cwd=ROOT)  # noqa: S603 - fixed
        while (match := re.search(r'"address":"(http://[^"]+)"', self.said())) is None:
            if self.process.poll() is not None:
                sys.exit(self.said())
            time.sleep(0.05)
        self.address = urlsplit(match[1])
        created = tlog("token", "create", "--data", data, "--principal", "bench", "--scope", "admin", "--json")
        self.token = json.loads(created)["token"]

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the server."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait(60)
        self._said.close()

    def said(self) -> str:
        """Return what the server has written to standard error."""
        return Path(self._said.name).read_text(encoding="utf-8")

    def heads(self) -> dict[str, int]:
        """Return the server's processes: the one that answers, and the one that seals and indexes."""
        below = [each for each in children().get(self.process.pid, []) if b"seal" in _command(each)]
        return {"front": self.process.pid, **({"sealing": below[0]} if below else {})}

    def memory(self) -> dict[str, float]:
        """Return the resident memory of the server's processes in MB."""
        return memory_of(self.heads())

    def connect(self) -> http.client.HTTPConnection:
        """Return a new connection."""
        return http.client.HTTPConnection(str(self.address.hostname), self.address.port, timeout=60)

    def ask(self, connection: http.client.HTTPConnection, path: str) -> tuple[float, bytes]:
        """Ask once; return seconds and the answer."""
        started = time.perf_counter()
        connection.request("GET", path, headers={"Authorization": f"Bearer {self.token}"})
        response = connection.getresponse()
        body = response.read()
        seconds = time.perf_counter() - started
        if response.status != http.HTTPStatus.OK:
            sys.exit(f"{path}: {response.status} {body[:300]!r}")
        return seconds, body

    def document(self, connection: http.client.HTTPConnection, path: str) -> Any:  # noqa: ANN401 - JSON
        """Ask once; return the JSON answer."""
        return json.loads(self.ask(connection, path)[1])

    def settle(self) -> int:
        """Wait until everything that was appended is sealed and indexed; return the size."""
        connection, deadline = self.connect(), time.monotonic() + _SETTLE_SECONDS
        while time.monotonic() < deadline:
            time.sleep(0.1)
            connection.request("GET", "/readyz")
            response = connection.getresponse()
            response.read()
            if response.status != http.HTTPStatus.OK:
                continue
            log = self.document(connection, "/v1/log")
            position = self.document(connection, "/v1/audit/events?limit=1")["asOf"]
            # Questions are events themselves, and index epochs are entries: a quiet log is never whole for long.
            if log["pending"] < 100 and position["size"] - position["indexed"] < 100:  # noqa: PLR2004 - see above
                connection.close()
                return int(log["size"])
        sys.exit("the log did not settle")


def _command(process: int) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/cmdline").read_bytes()
    return b""


def checked(data: Path) -> dict[str, Any]:
    """Check a whole log with `tlog fsck`; ends the benchmark if it is not in order."""
    report = json.loads(tlog("fsck", "--data", data, "--json", codes=(0, 1, 2, 3, 4)))
    if report["exitCode"] != 0:
        sys.exit(f"tlog fsck does not find the log in order: {json.dumps(report)[:2000]}")
    return {"fsck": "in order", "size": report["size"]}
