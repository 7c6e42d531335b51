"""Checks of the whole log that run aside, at most one at a time.

A check is `tlog fsck`, in a process of its own that yields to the service. The first one looks at everything;
later ones at what came since, until the last full one is a day old or a full one is asked for.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from tlog.core.entry import format_logged_at

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from tlog.location import Location

_FULL_EVERY: Final = timedelta(days=1)
_NICENESS: Final = 10
_MAX_ERRORS: Final = 100


class Checks:
    """The checks of one service: at most one runs at a time."""

    def __init__(self, location: Location, clock: Callable[[], datetime]) -> None:
        self._location = location
        self._clock = clock
        self._task: asyncio.Task[None] | None = None
        self._progress = {"done": 0, "total": 0}
        self._last: dict[str, Any] | None = None
        self._last_at: datetime | None = None
        self._full_at: datetime | None = None
        self._failure: str | None = None
        self._end = b""

    async def result(self, *, full: bool, wait: int) -> dict[str, Any]:
        """Return the last result, after waiting at most `wait` seconds for the check that runs or is started now."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._check(full=full), name="check")
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(self._task), wait)
        return self._document()

    async def stop(self) -> None:
        """End a check that runs."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _check(self, *, full: bool) -> None:
        now = self._clock()
        full = full or not self._end or self._full_at is None or now - self._full_at > _FULL_EVERY
        self._progress = {"done": 0, "total": 0}
        with tempfile.TemporaryDirectory(prefix="tlog-check-") as name:
            saved = Path(name) / "verified.json"
            arguments = ["--save", str(saved)]
            if not full:
                since = Path(name) / "since.json"
                since.write_bytes(self._end)
                arguments += ["--since", str(since)]
            report = await self._run(arguments)
            if report is None:
                self._failure = "the check itself failed; see the service's log"
                return
            self._failure = None
            self._last, self._last_at = report, now
            # After a problem the next check is a full one again.
            self._end = saved.read_bytes() if saved.exists() else b""
            self._full_at = now if full else self._full_at

    async def _run(self, arguments: list[str]) -> dict[str, Any] | None:
        """Run `tlog fsck` and follow its progress; return its report, None if it made none."""
        command = [sys.executable, "-m", "tlog", "fsck", "--data", str(self._location.directory.root.absolute())]
        process = await asyncio.create_subprocess_exec(
            *command,
            *arguments,
            "--json",
            "--progress-json",
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self._location.environment(),
        )
        with suppress(OSError):  # it ended already
            os.setpriority(os.PRIO_PROCESS, process.pid, _NICENESS)
        assert process.stdout is not None  # noqa: S101 - PIPE; for the type checker
        assert process.stderr is not None  # noqa: S101 - likewise
        reading = asyncio.create_task(process.stdout.read())
        try:
            async for line in process.stderr:
                with suppress(msgspec.MsgspecError):
                    self._progress = msgspec.json.decode(line, type=dict[str, int])
            with suppress(msgspec.MsgspecError):
                report: dict[str, Any] = msgspec.json.decode(await reading)
                return report
            return None
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.terminate()
            await process.wait()

    def _document(self) -> dict[str, Any]:
        running = None if self._task is None or self._task.done() else self._progress
        document: dict[str, Any] = {"verified": None, "totalEvents": None, "brokenAt": None, "errors": []}
        if self._last is not None and self._last_at is not None:
            document |= {
                "verified": self._last["exitCode"] == 0,
                "totalEvents": self._last["checked"].get("events", 0),
                "brokenAt": self._last["brokenAt"],
                "errors": self._last["problems"][:_MAX_ERRORS],
                "unchecked": self._last["unchecked"],
                "treeSize": self._last["size"],
                "checkedFrom": self._last["start"],
                "checkedAt": format_logged_at(self._last_at).decode(),
                "ageSeconds": int((self._clock() - self._last_at).total_seconds()),
                "fullCheckAt": None if self._full_at is None else format_logged_at(self._full_at).decode(),
            }
        return {**document, "running": running, "failure": self._failure}
