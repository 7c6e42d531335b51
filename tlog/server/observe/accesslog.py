"""The access log: one line of JSON for each request, with the API key's ID and nothing personal.

The path as it was sent, its query and the principal may all be personal, so a line has the template of the path and the ID
of the key; `tlog token list` says whose it is. What was asked of the events is in the log itself (`tlog.lifecycle.journal`).

Lines are written by a thread of their own, a few times a second: whoever reads them slowly holds up nobody, and if nobody
reads them at all the newest are dropped and counted. Other processes may write to the same pipe, so each piece that is
written consists of whole lines and is no longer than a pipe takes at once (POSIX, `PIPE_BUF`).
"""

from __future__ import annotations

import os
import select
import threading
import time
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple, Self

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_SECONDS: Final = 0.2
_END_SECONDS: Final = 1.0
_MAX_WAITING: Final = 50_000


class _Line(NamedTuple):
    at: float
    method: str
    route: str | None
    status: int
    key_id: str | None
    sent: int
    seconds: float


class AccessLog:
    """Writes lines to a file descriptor, between `with` and its end."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._waiting: list[_Line] = []
        self._dropped = 0
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="access log", daemon=True)

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Write what waits, unless nobody reads it."""
        self._ending.set()
        self._thread.join(_END_SECONDS)

    def write(
        self, method: str, route: str | None, status: int, *, key_id: str | None, sent: int, seconds: float
    ) -> None:
        """Log one request: `route` None if no such path exists, `status` 0 if the client went away before an answer."""
        if len(self._waiting) < _MAX_WAITING:
            self._waiting.append(_Line(time.time(), method, route, status, key_id, sent, seconds))
        else:
            self._dropped += 1

    def _run(self) -> None:
        while not self._ending.wait(_SECONDS):
            if not self._flush():
                return
        self._flush()

    def _flush(self) -> bool:
        """Write what waits; tell whether there is still a reader."""
        waiting, self._waiting = self._waiting, []
        lines = list(map(_format, waiting))
        if self._dropped:
            dropped, self._dropped = self._dropped, 0
            lines.append(_encode(time.time(), "warning", "requests_dropped", {"lines": dropped}))
        try:
            for piece in _pieces(lines):
                data = piece
                while data:
                    data = data[os.write(self._descriptor, data) :]
        except OSError:
            return False
        return True


def _pieces(lines: list[bytes]) -> Iterator[bytes]:
    """Yield whole lines, as many together as a pipe takes without another writer's line among them."""
    piece: list[bytes] = []
    size = 0
    for line in lines:
        if size + len(line) > select.PIPE_BUF:
            yield b"".join(piece)
            piece, size = [], 0
        piece.append(line)
        size += len(line)
    yield b"".join(piece)


@lru_cache(maxsize=1)
def _second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def _format(line: _Line) -> bytes:
    members = {
        "method": line.method,
        "route": line.route,
        "status": line.status,
        "key": line.key_id,
        "bytes": line.sent,
        "ms": round(line.seconds * 1000, 3),
    }
    return _encode(line.at, "info", "request", members)


def _encode(at: float, level: str, event: str, members: Mapping[str, object]) -> bytes:
    """Return a line in the form of all lines (docs/how-to/monitor.md)."""
    whole = int(at)
    moment = f"{_second(whole)}.{int((at - whole) * 1000):03d}Z"
    return msgspec.json.encode({"time": moment, "level": level, "event": event, "process": "serve", **members}) + b"\n"
