"""The sender: a thread that takes events from the spool to the log, in order, one request in flight.

Of all processes that share a spool, the one that holds a lock (`NAME.sender`) sends; if it ends, another takes over within a
second. An event leaves the spool once the log has acknowledged it, or has said what is wrong with it: then it is set aside, and
the others of the request are sent without it. Everything else means that the same bytes are sent again, later: the log knows
the eventIds, so what arrived twice is one event.

Left out: more than one request in flight, which would lose the order for nothing: a request may hold a thousand events.
"""

from __future__ import annotations

import fcntl
import logging
import os
import random
import re
import threading
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from .errors_ import OverloadedError, TlogError
from .http import NOT_NOW, Answer, Connection

if TYPE_CHECKING:
    from collections.abc import Callable

    from .spool import Spool, Spooled

_FOLLOW_SECONDS: Final = 0.5  # how often the lock of another sender is tried
_POLL_SECONDS: Final = 0.2  # how often events of other processes are looked for
_FIRST_DELAY: Final = 0.2
_LONGEST_DELAY: Final = 60.0
_AWAY_DELAY: Final = 10.0  # to find nobody costs nobody anything, and who was away for long has to be found again soon
_UNSENDABLE: Final = 413
_SERVERS_FAULT: Final = 500  # and above (RFC 9110 section 15.6)
_JUDGED: Final = (409, 422)
_PLACE: Final = re.compile(r"/(\d{1,9})(/.*)?", re.DOTALL)
_log: Final = logging.getLogger(__name__)


class Limits(NamedTuple):
    """What a request holds at most, and with which query it is sent."""

    events: int
    size: int
    query: dict[str, str]


LIMITS: Final = {
    "acknowledged": Limits(1_000, 1 << 20, {}),
    "sealed": Limits(10_000, 8 << 20, {"wait": "sealed"}),
}


class Sender:
    """Sends what a spool holds, in a thread of its own, for as long as this process is the one that sends."""

    def __init__(self, lock: str, open_spool: Callable[[], Spool], connection: Connection, keep: str) -> None:
        """Prepare; `start` begins.

        Args:
            lock: the path of the file whose lock makes this process the one that sends.
            open_spool: opens the spool, in the thread.
            connection: to the log.
            keep: a name of `LIMITS`: whether an event is kept until the log acknowledged it, or until it is sealed.

        """
        self.last_error: str | None = None
        self.sends = False
        self.changed = threading.Condition()
        self._open_spool = open_spool
        self._connection = connection
        self._limits = LIMITS[keep]
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._spool: Spool | None = None
        # Opened once and for all, so that a forked process knows which file to close.
        self._file: int | None = os.open(lock, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        self._source_id = ""
        self._batch: list[Spooled] = []
        self._failures = 0
        self._thread = threading.Thread(target=self._run, name="tlog-sender", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def wake(self) -> None:
        """Say that there is something to send."""
        self._wake.set()

    def stop(self, seconds: float) -> None:
        """End the thread; what is on its way gets so many seconds, and is sent again by whoever comes next."""
        self._stopping.set()
        self._wake.set()
        self._thread.join(seconds)
        if self._thread.is_alive():
            self._connection.abort()
            self._thread.join(1.0)

    def forget(self) -> list[object]:
        """Return what a forked process must not touch; close its copy of the lock, which leaves it to the parent."""
        if self._file is not None:
            os.close(self._file)
        return [self._connection, *([] if self._spool is None else [self._spool.forget()])]

    # --- In the thread ------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                seconds = self._step()
                (self._stopping if self._failures else self._wake).wait(seconds)
                self._wake.clear()
        finally:
            self._connection.close()
            if self._spool is not None:
                self._spool.close()
            if self._file is not None:
                file, self._file = self._file, None
                os.close(file)

    def _step(self) -> float:
        """Do what there is to do now; return how many seconds may pass before the next step."""
        try:
            if not self.sends and not self._lead():
                return _FOLLOW_SECONDS
            return self._send()
        except (TlogError, OSError) as error:
            return self._fail(str(error), None, _AWAY_DELAY if isinstance(error, OverloadedError) else _LONGEST_DELAY)
        except Exception as error:  # noqa: BLE001 - a thread that ends would lose no event, and send none
            # Class alone: the message of an error that nobody foresaw could quote an event.
            return self._fail(f"the sender failed ({type(error).__name__})", None, _LONGEST_DELAY)

    def _lead(self) -> bool:
        """Become the process that sends, if no other one is."""
        assert self._file is not None  # noqa: S101 - closed at the end of the thread
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        if self._spool is None:
            self._spool = self._open_spool()
        self.sends = True
        return True

    def _send(self) -> float:
        assert self._spool is not None  # noqa: S101 - `_lead` opened it
        if not self._batch:
            self._source_id, self._batch = self._spool.first(self._limits.events, self._limits.size)
            if not self._batch:
                return _POLL_SECONDS
            self._spool.sync_all()
        answer = self._connection.send(
            "POST",
            "/v1/audit/events",
            query=self._limits.query,
            body=b"\n".join(each.text(self._source_id) for each in self._batch),
            fields={"Content-Type": "application/x-ndjson", "Prefer": "return=minimal"},
        )
        return self._judge(answer, self._spool)

    def _judge(self, answer: Answer, spool: Spool) -> float:
        """Do what an answer means; return how many seconds may pass before the next request."""
        if answer.success:
            return self._acknowledged(answer.document(), spool)
        if answer.status in _JUDGED and (refused := self._named(answer.document())):
            return self._set_aside(refused, spool)
        if answer.status == _UNSENDABLE:
            return self._shorten(spool)
        return self._fail_with(answer)

    def _shorten(self, spool: Spool) -> float:
        """Send fewer events at a time, because a request is too large for what stands between here and the log."""
        if len(self._batch) == 1:
            return self._set_aside({0: ("", "too large for what stands between here and the log")}, spool)
        self._limits = self._limits._replace(events=len(self._batch) // 2)
        self._batch = self._batch[: self._limits.events]
        return 0

    def _fail_with(self, answer: Answer) -> float:
        """Note that a request was not done; return after how many seconds it is sent again."""
        message = _message(answer)
        if answer.status in NOT_NOW:
            return self._fail(message, answer.retry_after, _LONGEST_DELAY)
        if answer.status >= _SERVERS_FAULT:
            return self._fail(message, None, _AWAY_DELAY)
        self._fail(message, None, _LONGEST_DELAY)  # somebody has to act: a key was revoked, or this is no log
        return _LONGEST_DELAY

    def _acknowledged(self, document: dict[str, Any], spool: Spool) -> float:
        if document.get("count") != len(self._batch):
            self._fail("what answers is no log: it acknowledges something else", None, _LONGEST_DELAY)
            return _LONGEST_DELAY
        if "wait" in self._limits.query and document.get("sealed") is not True:
            return self._fail("the log has taken the events and has not sealed them yet", None, _AWAY_DELAY)
        self._done(spool, self._batch[-1].seq)
        return 0

    def _set_aside(self, refused: dict[int, tuple[str, str]], spool: Spool) -> float:
        """Set refused events aside, by their positions; the others are sent next."""
        spool.refuse(self._source_id, [(self._batch[position].seq, *why) for position, why in refused.items()])
        _log.warning("the log refused %d of %d events; they are set aside in the spool", len(refused), len(self._batch))
        self._batch = [each for position, each in enumerate(self._batch) if position not in refused]
        self._failures = 0
        with self.changed:
            self.changed.notify_all()
        return 0

    def _done(self, spool: Spool, last: int) -> None:
        spool.remove(self._source_id, last)
        if self._failures:
            _log.warning("the log takes events again")
        self._batch, self._failures, self.last_error = [], 0, None
        with self.changed:
            self.changed.notify_all()

    def _named(self, document: dict[str, Any]) -> dict[int, tuple[str, str]]:
        """Return the first fault, as pointer and rule, of each position that a problem document names."""
        named: dict[int, tuple[str, str]] = {}
        errors = document.get("errors")
        for each in errors if isinstance(errors, list) else ():
            place = _PLACE.fullmatch(str(each.get("pointer"))) if isinstance(each, dict) else None
            if place is not None and int(place[1]) < len(self._batch):
                named.setdefault(int(place[1]), (place[2] or "", str(each.get("detail", ""))))
        return named

    def _fail(self, message: str, retry_after: int | None, longest: float) -> float:
        """Note why events stay in the spool; return after how many seconds the same bytes are sent again."""
        if message != self.last_error:
            _log.warning("events stay in the spool: %s", message)
        self.last_error = message
        self._failures += 1
        if retry_after is not None:
            return min(retry_after, _LONGEST_DELAY) * random.uniform(1, 1.2)  # noqa: S311 - no secret
        delay: float = min(_FIRST_DELAY * 2 ** min(self._failures - 1, 20), longest)
        return delay * random.uniform(0.5, 1)  # noqa: S311 - no secret


def _message(answer: Answer) -> str:
    """Return in words why a request was not done."""
    try:
        answer.raise_problem()
    except TlogError as error:
        return str(error)
