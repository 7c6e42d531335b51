"""What an application needs to send events to a log and lose none, and what an auditor needs to ask; standard library alone.

`AuditLog` records an event in a spool, a file beside the application, and returns; a thread sends what is spooled. An event
that was recorded reaches the log once, whatever ends meanwhile: the application, the log, the network between them.

    `spool`  the file of recorded events, and what damages it
    `sender`  the thread that sends them, in order, until the log acknowledges or refuses them
    `rules`  the rules of an event, checked where it is made
    `http`  one connection to the service
    `reader`  `Client`: questions, proofs, exports, appends that wait
    `errors_`  the errors of tlog

Words: *recorded* is in the spool, *acknowledged* is in the log, *sealed* is covered by a signed checkpoint, *refused* was set
aside because the log says that it breaks a rule.

    from tlog_client import AuditLog          # within tlog itself: from tlog.client import AuditLog

    log = AuditLog("https://audit.example.com", token, source="ehr-api", spool="/var/lib/ehr/audit.spool")
    log.record("read", {"userId": "dr.weiss"}, {"type": "patient_record", "id": "patient-1042"})

Left out: verification (`tlog.core.verify`), network file systems for the spool, Windows. In tlog, this package imports
nothing of it but its errors, so that `tools/build_client.py` makes the package `tlog-client` of it, for Python 3.9 and newer.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from .errors_ import InvalidEventError, MalformedInputError, OverloadedError, TlogError
from .http import Connection, ServiceError
from .reader import Client
from .rules import check_event
from .sender import LIMITS, Sender
from .spool import SOURCE_SIZE, Spool, SpoolError, SpoolFullError, check_source

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Literal, Self

__all__ = [
    "AuditLog",
    "Client",
    "InvalidEventError",
    "MalformedInputError",
    "OverloadedError",
    "ServiceError",
    "SpoolError",
    "SpoolFullError",
    "TlogError",
]

_DURABILITIES: Final = ("process", "disk", "log")
_BLOCK_SECONDS: Final = 5.0
_LOG_SECONDS: Final = 30.0
_POLL_SECONDS: Final = 0.05


class AuditLog:
    """Records events, and sends them to a log. For all threads, and for processes that are forked from this one."""

    def __init__(
        self,
        url: str,
        token: str,
        *,
        source: str,
        spool: str | os.PathLike[str],
        durability: Literal["process", "disk", "log"] = "process",
        keep: Literal["acknowledged", "sealed"] = "acknowledged",
        when_full: Literal["block", "raise"] = "block",
        max_bytes: int = 256 << 20,
        flush_at_exit: float = 5.0,
    ) -> None:
        """Open the spool, and begin to send what is in it.

        Args:
            url: of the log's service, such as https://audit.example.com.
            token: an API key with the scope append.
            source: the name of this producer, such as ehr-api. It is public.
            spool: the path of the spool, in a directory that only this user can write. All processes that share it have one
                sequence of numbers; two sources, or two machines, never share one.
            durability: what a recorded event outlives: "process" the end of the process, kill -9 included; "disk" a loss of
                power; with "log" the log has acknowledged it.
            keep: until when an event stays in the spool: until the log acknowledged it, or until it is sealed. What is sealed
                survives even that an asynchronous replica takes the database's place.
            when_full: what `record` does when the spool is full: "block" waits for 5 seconds before it raises.
            max_bytes: how large the spool may become; a few megabytes of SQLite's own come beside it.
            flush_at_exit: how many seconds the process waits at its end for what is not acknowledged; the rest stays spooled.

        Raises:
            MalformedInputError: an argument cannot be.
            SpoolError: the spool cannot be used.

        """
        check_source(source)
        for name, value, choices in (
            ("durability", durability, _DURABILITIES),
            ("keep", keep, tuple(LIMITS)),
            ("when_full", when_full, ("block", "raise")),
        ):
            if value not in choices:
                message = f"{name} is one of {', '.join(choices)}"
                raise MalformedInputError(message)
        Connection(url, token)  # checks both
        self._url = url
        self._token = token
        self._source = source
        self._path = Path(spool).absolute()
        self._durability = durability
        self._keep = keep
        self._block_seconds = _BLOCK_SECONDS if when_full == "block" else 0.0
        self._max_bytes = max_bytes
        self._flush_at_exit = flush_at_exit
        self._closed = False
        self._lock = threading.RLock()
        self._parts: _Parts | None = None
        with self._lock:
            self._open()
        _open_logs.add(self)

    def __enter__(self) -> Self:
        """Return this."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def record(
        self,
        action: str,
        actor: Mapping[str, Any],
        resource: Mapping[str, Any],
        *,
        outcome: str | None = None,
        operation: str | None = None,
        related_resources: Sequence[Mapping[str, Any]] | None = None,
        details: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        timestamp: str | None = None,
        event_id: str | None = None,
    ) -> int:
        """Record an event; return its number in the sequence of this spool, once it is as durable as was asked for.

        The arguments are the event's members (docs/reference/event.md). The eventId is a new UUID and the timestamp is now,
        unless they are given.

        Raises:
            InvalidEventError: the event breaks rules of the format; `faults` names them, up to twenty. Nothing was recorded.
            SpoolFullError: the spool has no room. Nothing was recorded.
            SpoolError: the spool cannot be used, or this is closed. Nothing was recorded.
            OverloadedError: with durability "log": the event is recorded, and the log has not acknowledged it within 30 seconds.
            MalformedInputError: with durability "log": the log has refused the event, which is set aside.

        """
        members = {
            "action": action,
            "actor": actor,
            "details": details,
            "eventId": event_id,
            "metadata": metadata,
            "operation": operation,
            "outcome": outcome,
            "relatedResources": related_resources,
            "resource": resource,
            "timestamp": timestamp,
        }
        return self.record_event({name: member for name, member in members.items() if member is not None})

    def record_event(self, event: Mapping[str, Any]) -> int:
        """Record an event that is there as a whole, with the names of its JSON; as `record`."""
        whole = {"eventId": _new_id(), "timestamp": _now(), **event}
        if "source" in whole:
            message = "the spool sets this member: leave it out"
            raise InvalidEventError(message, "/source")
        body = check_event(whole, SOURCE_SIZE)
        parts, source_id, seq = self._add(whole["eventId"], body)
        parts.sender.wake()
        if self._durability == "log":
            self._wait(parts, source_id, seq, _LOG_SECONDS)
            with self._lock:
                refusal = parts.spool.refusal(seq)
            if refusal is not None:
                raise MalformedInputError(refusal[1], refusal[0])
        return seq

    async def arecord(self, *arguments: Any, **keywords: Any) -> int:  # noqa: ANN401 - those of `record`
        """Record an event in a thread of the event loop's executor; arguments, result and errors are those of `record`."""
        import asyncio  # noqa: PLC0415 - slow, and there already where this is called

        return await asyncio.to_thread(self.record, *arguments, **keywords)

    def flush(self, timeout: float = 30.0) -> None:
        """Return once all that this process has recorded so far is acknowledged (with keep "sealed": sealed) or refused.

        Raises:
            OverloadedError: that is not so after `timeout` seconds; everything stays spooled.
            SpoolError: the spool cannot be used.

        """
        with self._lock:
            parts = self._parts
            if parts is None or not parts.last:
                return
            last, source_id = parts.last, parts.spool.source_id
        self._wait(parts, source_id, last, timeout)

    def close(self) -> None:
        """Wait `flush_at_exit` seconds for what is not acknowledged, and end; what is left stays spooled for the next start."""
        if not self._closed:
            with suppress(TlogError):
                self.flush(self._flush_at_exit)
        with self._lock:
            self._closed = True
            parts, self._parts = self._parts, None
        _open_logs.discard(self)
        if parts is not None:
            parts.sender.stop(1.0)
            parts.spool.close()

    def health(self) -> dict[str, Any]:
        """Return how the spool is doing.

        `depth` is how many events wait, `bytes` how many the spool uses, `oldestSeconds` for how long the oldest event waits
        (None without one), `refused` how many events the log refused, `source` the spool's source id. `sending` is whether this
        process is the one that sends, and then `lastError` is why events wait, None if nothing hinders them.

        Raises:
            SpoolError: the spool cannot be used.

        """
        with self._lock:
            parts = self._open()
            state = parts.spool.state()
            source_id = parts.spool.source_id
        return {
            "depth": state.depth,
            "bytes": state.size,
            "oldestSeconds": None if state.oldest is None else max(0.0, time.time() - state.oldest),
            "refused": state.refused,
            "source": source_id,
            "sending": parts.sender.sends,
            "lastError": parts.sender.last_error,
        }

    def _open(self) -> _Parts:
        """Return what this process works with; the lock is held."""
        if self._closed:
            message = "this AuditLog is closed: make another one"
            raise SpoolError(message)
        if self._parts is None:
            sync = self._durability != "process"
            spool = Spool(self._path, self._source, sync=sync, max_bytes=self._max_bytes)
            try:
                sender = Sender(
                    f"{self._path}.sender",
                    lambda: Spool(self._path, self._source),
                    Connection(self._url, self._token),
                    self._keep,
                )
            except OSError as error:
                spool.close()
                message = f"the lock {self._path}.sender cannot be opened ({type(error).__name__})"
                raise SpoolError(message) from error
            self._parts = _Parts(spool, sender)
            sender.start()
        return self._parts

    def _add(self, event_id: str, body: bytes) -> tuple[_Parts, str, int]:
        """Add an event to the spool, and wait for room; return what this process works with, source id and number."""
        deadline = time.monotonic() + self._block_seconds
        while True:
            with self._lock:
                parts = self._open()
                try:
                    parts.last = parts.spool.add(event_id, body)
                except SpoolFullError:
                    if time.monotonic() >= deadline:
                        raise
                else:
                    return parts, parts.spool.source_id, parts.last
            time.sleep(_POLL_SECONDS)

    def _wait(self, parts: _Parts, source_id: str, last: int, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while True:
            with self._lock:
                if self._parts is not parts:
                    message = "this AuditLog was closed before all events were acknowledged; they stay spooled"
                    raise OverloadedError(message)
                if not parts.spool.waits(source_id, last):
                    return
            if time.monotonic() >= deadline:
                why = parts.sender.last_error
                message = "events are recorded, and the log has not acknowledged them yet"
                raise OverloadedError(f"{message}: {why}" if why else message)
            with parts.sender.changed:
                parts.sender.changed.wait(_POLL_SECONDS)

    def _forget(self) -> None:
        """Go on in a forked process: what the parent has open is its own, and locks may be held by threads that are not here."""
        self._lock = threading.RLock()
        if self._parts is not None:
            _keep_for_ever([self._parts.spool.forget(), *self._parts.sender.forget()])
            self._parts = None


class _Parts:
    """What one process works with, and the number of the last event that it recorded."""

    def __init__(self, spool: Spool, sender: Sender) -> None:
        self.spool = spool
        self.sender = sender
        self.last = 0


_open_logs: set[AuditLog] = set()
_kept: list[object] = []


def _new_id() -> str:
    """Return a UUID of version 7 (RFC 9562 section 5.7), by which a database keeps what is new together."""
    digits = f"{time.time_ns() // 1_000_000:012x}{os.urandom(10).hex()}"
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-7{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _keep_for_ever(parts: list[object]) -> None:
    """Keep objects of a parent process from ever being closed here, at the end of the interpreter neither."""
    _kept.extend(parts)
    with suppress(ImportError):
        import ctypes  # noqa: PLC0415 - for forked processes only, and not on every platform

        for each in parts:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(each))


def _forget_all() -> None:
    for each in _open_logs:
        each._forget()  # noqa: SLF001 - of this module


def _close_all() -> None:
    for each in tuple(_open_logs):
        each.close()


os.register_at_fork(after_in_child=_forget_all)
atexit.register(_close_all)
