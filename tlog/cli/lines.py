"""The one form of what a process that runs long says of itself: one JSON object a line on standard error.

Each line has `time`, `level`, `event` and `process`, in this order, and then what belongs to the event; docs/how-to/monitor.md
lists the events. What libraries say through `logging` and `warnings` becomes an event `library`. An exception is named by its
class and its place, never by its message, which could quote what somebody sent. Lines are written by a thread, so that a
reader who stalls does not stall the process.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import queue
import sys
import threading
import time
import traceback
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import structlog

from tlog.cli.escaping import visible

if TYPE_CHECKING:
    from collections.abc import MutableMapping


_MAX_WAITING: Final = 10_000
_END_SECONDS: Final = 1.0
_log: Final = structlog.get_logger()


def begin(process: str, level: str = "info") -> None:
    """Write lines as the process `serve`, `seal` or `signer`, from a level on; libraries are heard from `warning` on."""
    write_lines(process, level, _writer())
    logging.basicConfig(handlers=[_Libraries()], level=max(logging.WARNING, _number(level)), force=True)
    logging.captureWarnings(capture=True)
    sys.unraisablehook = lambda failed: _report_fault("an object's end", failed.exc_value)
    threading.excepthook = lambda failed: _report_fault("a thread", failed.exc_value)


def write_lines(process: str, level: str = "info", writer: _Writer | None = None) -> None:
    """Write this program's own lines, at once if there is no writer, and leave what libraries say where it goes."""

    def render(_: object, method: str, members: MutableMapping[str, Any]) -> str:
        moment = time.time()
        line = {
            "time": f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(moment))}.{int(moment % 1 * 1000):03d}Z",
            "level": method,
            "event": members.pop("event"),
            "process": process,
            **members,
        }
        # A control character that JSON would leave alone may still act on the terminal that shows the line.
        return visible(json.dumps(line, ensure_ascii=False, separators=(",", ":"), default=str))

    structlog.configure(
        processors=[render],
        wrapper_class=structlog.make_filtering_bound_logger(_number(level)),
        logger_factory=lambda *_: (
            structlog.PrintLogger(sys.stderr) if writer is None else writer
        ),  # the one of that moment
    )


class _Writer:
    """Writes lines in a thread of its own, so that whoever reads them slowly, or not at all, holds up nobody."""

    def __init__(self) -> None:
        # Past Python's buffers: at its end the interpreter waits for those, and a thread that a reader holds up has them.
        self._descriptor = None if sys.stderr is None else sys.stderr.fileno()  # a program may be started without one
        self._waiting: queue.Queue[str | None] = queue.Queue(_MAX_WAITING)
        self._thread = threading.Thread(target=self._run, name="lines", daemon=True)
        self._thread.start()
        atexit.register(self._end)

    def info(self, line: str) -> None:
        """Write a line, unless too many wait already."""
        with suppress(queue.Full):
            self._waiting.put_nowait(line)

    debug = warning = error = info

    def _run(self) -> None:
        while (line := self._waiting.get()) is not None:
            # JSON escapes for the bytes of a name that is not text.
            data = f"{line}\n".encode(errors="backslashreplace")
            with suppress(OSError):  # nobody reads any more
                while data and self._descriptor is not None:
                    data = data[os.write(self._descriptor, data) :]

    def _end(self) -> None:
        """Write what waits, unless nobody reads it."""
        with suppress(queue.Full):
            self._waiting.put(None, timeout=_END_SECONDS)
        self._thread.join(_END_SECONDS)


@lru_cache(maxsize=1)
def _writer() -> _Writer:
    return _Writer()


def _number(level: str) -> int:
    return logging.getLevelNamesMapping()[level.upper()]


class _Libraries(logging.Handler):
    """Makes lines of what libraries log: uvicorn, psycopg's pool, asyncio, and `warnings`."""

    def emit(self, record: logging.LogRecord) -> None:
        members: dict[str, Any] = {"logger": record.name, "message": record.getMessage().strip()}
        if record.exc_info is not None and isinstance(record.exc_info[1], BaseException):
            # asyncio's second line shows the task, with the exception's message.
            members |= {"message": members["message"].partition("\n")[0], **_fault(record.exc_info[1])}
        (_log.error if record.levelno >= logging.ERROR else _log.warning)("library", **members)


def _report_fault(where: str, error: BaseException | None) -> None:
    _log.error("library", logger="python", message=f"an exception that nobody caught, in {where}", **_fault(error))


def _fault(error: BaseException | None) -> dict[str, str]:
    """Return class and place of an exception."""
    frames = traceback.extract_tb(None if error is None else error.__traceback__)
    place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return {"error": type(error).__name__, "place": place}
