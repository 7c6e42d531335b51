"""Watches over the embedded PostgreSQL while a log is open: is there space on its disk, does the server still run.

Once a second, in a thread: when too little space is left, appending stops (reading goes on) until there is enough again; when
the server has ended it is started again, after pauses that grow to a few seconds; when its ballast was thrown off it is made
anew; when its log is large it is begun anew. Nobody has to do anything but make space.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING, Final, NoReturn

import structlog

from tlog.errors import EmbeddedPostgresError, NoSpaceError
from tlog.postgres.space import MEGABYTE

if TYPE_CHECKING:
    from tlog.postgres.server import EmbeddedPostgres

_SECONDS: Final = 1.0
_RETRY_SECONDS: Final = 5
_LONGEST_PAUSE: Final = 5.0
_log: Final = structlog.get_logger()


class Watch:
    """Keeps one process's embedded server going; `run` does it."""

    def __init__(self, postgres: EmbeddedPostgres) -> None:
        self._postgres = postgres
        self._pause = 0.0
        self._next_start = 0.0
        self.trouble = ""

    def check(self) -> None:
        """Check that something may be appended.

        Raises:
            NoSpaceError: too little space is left on the disk.

        """
        if self.trouble:
            raise NoSpaceError(self.trouble, _RETRY_SECONDS)

    async def run(self) -> NoReturn:
        """Watch until cancelled."""
        while True:
            await asyncio.to_thread(self.look)
            await asyncio.sleep(_SECONDS)

    def look(self) -> None:
        """Look once, and do what is to be done."""
        try:
            self._look_at_space()
            self._look_at_server()
            self._postgres.rotate_log()
            if not self.trouble:
                self._postgres.take_ballast()
        except Exception as error:  # noqa: BLE001 - the next look may succeed; a watch that ended would help nobody
            _log.warning("postgres_unwatched", error=type(error).__name__)

    def _look_at_space(self) -> None:
        space = self._postgres.space()
        trouble = ""
        if space.free < space.reserve:
            trouble = (
                f"the disk of the log's database has {space.free // MEGABYTE} MB left and needs {space.reserve // MEGABYTE}; "
                "make space on it, and appending goes on by itself"
            )
        if bool(trouble) != bool(self.trouble):
            tell = partial(_log.warning, "disk_low", reason=trouble) if trouble else partial(_log.info, "disk_ok")
            tell(free=space.free, reserve=space.reserve)
        self.trouble = trouble

    def _look_at_server(self) -> None:
        if self._postgres.runs():
            self._pause = 0.0
            return
        now = time.monotonic()
        if now < self._next_start:
            return
        _log.warning("postgres_ended", reason="the embedded PostgreSQL has ended; it is started again")
        try:
            self._postgres.start_again()
        except EmbeddedPostgresError as error:
            _log.warning("postgres_does_not_start", reason=str(error))
        self._pause = min(2 * self._pause + 1, _LONGEST_PAUSE)
        self._next_start = time.monotonic() + self._pause
