"""The log's clock, and the refusal to believe it when it leaps ahead (docs/adr/0016-clock.md).

Times are only ever written forwards: an entry is never logged earlier than the one before, and nothing is signed until the
clock is later than what was signed. A clock that is wrong by years to the future would therefore stop a log for years, even
after it was put right. So a time far ahead of all evidence is refused before anything is written with it: while a log is
open, the evidence is how long the machine has been running since; when it is opened, it is what was written last.
A clock that went back needs no refusal: entries keep their order, and signing waits.
"""

from __future__ import annotations

import os
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from tlog.core.entry import from_microseconds
from tlog.errors import OperatorError, UntrueClockError

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

MAX_AHEAD: Final = timedelta(hours=1)
MAX_PAUSE: Final = timedelta(days=30)
CONFIRMATION: Final = "TLOG_CLOCK_IS_RIGHT"
_RETRY_SECONDS: Final = 30


def elapsed_seconds() -> float:
    """Return seconds since some moment, which nobody can set; sleep counts where the system can tell."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class SteadyClock:
    """A clock that is not believed when it runs ahead of the time that has passed since this object was made."""

    def __init__(
        self, clock: Callable[[], datetime], last: int, elapsed: Callable[[], float] = elapsed_seconds
    ) -> None:
        """Take the present as true.

        Args:
            clock: returns the current time, aware.
            last: the latest time the log holds, in microseconds since 1970: a clock that lags may catch up.
            elapsed: returns seconds that pass as they do, whatever the clock is set to.

        """
        self._clock = clock
        self._elapsed = elapsed
        self._start = max(clock(), from_microseconds(last))
        self._started = elapsed()

    def __call__(self) -> datetime:
        """Return the current time.

        Raises:
            UntrueClockError: the clock leapt ahead; nothing may be logged or signed until it is back.

        """
        now = self._clock()
        if now - self._start - timedelta(seconds=self._elapsed() - self._started) > MAX_AHEAD:
            message = (
                "the clock leapt ahead by more than an hour; nothing is logged or signed with such a time. Set it right, or "
                "start tlog again if it is right now"
            )
            raise UntrueClockError(message, _RETRY_SECONDS)
        return now


def check_clock(now: datetime, last: int) -> None:
    """Check that the clock is not far later than what was written last, when a log is opened.

    Args:
        now: the clock's time.
        last: the latest time the log holds, in microseconds since 1970; 0 for none.

    Raises:
        OperatorError: the clock is later, and nobody confirmed today that it is right.

    """
    pause = now - from_microseconds(last)
    if not last or pause <= MAX_PAUSE or os.environ.get(CONFIRMATION) == f"{now:%Y-%m-%d}":
        return
    message = (
        f"the clock says {now:%Y-%m-%d}, {pause.days} days after the log was last written; a time too late could never be "
        f"taken back. Set the clock right, or, if that is today's date, confirm it with {CONFIRMATION}={now:%Y-%m-%d}"
    )
    raise OperatorError(message)
