"""Sign-ins that were refused: an address has ten in a minute; the journal gets their number once a minute, and no more."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict, deque
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import structlog
from starlette.exceptions import HTTPException

from tlog.errors import TlogError
from tlog.lifecycle.journal import journal_failures

if TYPE_CHECKING:
    from collections.abc import Callable

    from tlog.lifecycle.opening import Log

MOST_FAILURES: Final = 10  # of an address, in a minute
_MINUTE: Final = 60.0
_MAX_ADDRESSES: Final = 4096
_log: Final = structlog.get_logger()


class Failures:
    """Sign-ins that were refused: for each address when, and how many are not in the journal yet."""

    def __init__(self, log: Log, timer: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._timer = timer
        self._times: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=MOST_FAILURES))
        self._untold = 0
        self._telling: asyncio.Task[None] | None = None

    def check(self, address: str) -> None:
        """Check that an address may try.

        Raises:
            HTTPException: it failed too often in the last minute.

        """
        times = self._times.get(address, deque())
        if len(times) == MOST_FAILURES and (wait := times[0] + _MINUTE - self._timer()) > 0:
            message = (
                f"{MOST_FAILURES} sign-ins of this address were refused within a minute; wait, and look at the key"
            )
            raise HTTPException(429, message, {"Retry-After": str(int(wait) + 1)})

    def count(self, address: str) -> None:
        """Count a refused sign-in."""
        if len(self._times) >= _MAX_ADDRESSES:
            self._times.clear()  # they must not fill the memory
        self._times[address].append(self._timer())
        self._untold += 1
        if self._telling is None or self._telling.done():
            self._telling = asyncio.create_task(self._tell_later(), name="failed sign-ins")

    async def close(self) -> None:
        """Journal what is not in the journal yet."""
        if self._telling is not None:
            self._telling.cancel()
            with suppress(asyncio.CancelledError):
                await self._telling
        await self._tell()

    async def _tell_later(self) -> None:
        await asyncio.sleep(_MINUTE)
        await self._tell()

    async def _tell(self) -> None:
        if not self._untold:
            return
        failures, self._untold = self._untold, 0
        try:
            await journal_failures(self._log, failures)
        except TlogError as error:
            self._untold += failures
            _log.warning("sign_ins_not_journaled", reason=str(error), failures=failures)
