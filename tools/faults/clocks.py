"""R6: the clock goes back, stands still, leaps ten years ahead and comes back, while a log is open and while it is not."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import psycopg
from stored import read_entries

from faults.service import ORIGIN, Source
from tlog.core.entry import parse_entry, to_microseconds
from tlog.core.making.parsing import parse_batch
from tlog.errors import OperatorError, OverloadedError
from tlog.lifecycle import opening as lifecycle
from tlog.lifecycle.making import create_log
from tlog.lifecycle.opening import open_log
from tlog.lifecycle.running import running
from tlog.location import DataDirectory, Location, utc_now
from tlog.postgres.server import EmbeddedPostgres
from tlog.writing.drafting import LOCAL, draft_events

if TYPE_CHECKING:
    from collections.abc import Iterator

    from faults.gate import Figures, Run
    from tlog.lifecycle.opening import Log

_YEARS: Final = timedelta(days=3_652)
_INTERVAL: Final = 0.02
_PAUSE: Final = 0.15
_FUTURE: Final = timedelta(hours=2)
# None: the clock stands still.
_SHIFTS: Final[tuple[timedelta | None, ...]] = (
    timedelta(0),
    timedelta(hours=-1),
    timedelta(milliseconds=-1),
    None,
    timedelta(0),
    _YEARS,
    timedelta(0),
)
_SEALS: Final = "SELECT size, sealed_at FROM tlog.checkpoint ORDER BY size"


class Clock:
    """A clock that can be set."""

    def __init__(self) -> None:
        self._shift: timedelta | None = timedelta(0)
        self._frozen = utc_now()

    def set(self, shift: timedelta | None) -> None:
        """Set the clock ahead or back, or stop the clock."""
        self._shift, self._frozen = shift, utc_now()

    def __call__(self) -> datetime:
        """Return its time."""
        return self._frozen if self._shift is None else utc_now() + self._shift


def measure(run: Run) -> Figures:
    """Set the clock in every way, in one run of a log and from run to run; then look at every time that was written."""
    return asyncio.run(_measure(run))


def measure_believing(run: Run) -> Figures:
    """The same with a log that believes its clock."""
    with _believing():
        return asyncio.run(_measure(run))


@contextmanager
def _believing() -> Iterator[None]:
    module: Any = lifecycle
    kept = module.SteadyClock, module.check_clock
    module.SteadyClock, module.check_clock = (lambda clock, _: clock), (lambda *_: None)
    try:
        yield
    finally:
        module.SteadyClock, module.check_clock = kept


async def _measure(run: Run) -> Figures:
    location, clock, source = Location(DataDirectory(run.directory / "data")), Clock(), Source()
    await create_log(location, ORIGIN)
    counts: Figures = {"appended": 0, "refused": 0, "refused_at_start": 0}
    rounds = run.count(1, 10)
    for number in range(rounds):
        async with open_log(location, clock=clock, interval=_INTERVAL, index=False) as log, running(log):
            for shift in _SHIFTS:
                clock.set(shift)
                await _append(log, source, counts)
        for shift in _SHIFTS:
            clock.set(shift)
            try:
                async with open_log(location, clock=clock, interval=_INTERVAL, index=False) as log, running(log):
                    await _append(log, source, counts)
            except OperatorError:
                counts["refused_at_start"] += 1
        run.progress(number + 1, rounds)
    with EmbeddedPostgres(location.directory.postgres) as postgres:
        return {**counts, **_times(postgres.conninfo(user="postgres"))}


async def _append(log: Log, source: Source, counts: Figures) -> None:
    for raw in source.take(5):
        try:
            await log.appender.append(draft_events(parse_batch([raw]), log.bucket_keys, LOCAL))
            counts["appended"] += 1
        except OverloadedError:
            counts["refused"] += 1
        log.background.request()
        await asyncio.sleep(_PAUSE / 5)
    await asyncio.sleep(_PAUSE)


def _times(conninfo: str) -> Figures:
    with psycopg.connect(conninfo) as connection:
        entries = list(map(_logged_at, read_entries(connection)))
        seals = connection.execute(_SEALS).fetchall()
    future = to_microseconds(datetime.now(UTC) + _FUTURE)
    return {
        "checkpoints": len(seals),
        "unsealed": len(entries) - (seals[-1][0] if seals else 0),
        "checkpoints_not_later": sum(new <= old for (_, old), (_, new) in pairwise(seals)),
        "entries_going_back": sum(new < old for old, new in pairwise(entries)),
        "entries_after_their_checkpoint": sum(entries[size - 1] > sealed_at for size, sealed_at in seals),
        "from_the_future": sum(time > future for time in entries) + sum(time > future for _, time in seals),
    }


def _logged_at(entry: bytes) -> int:
    return to_microseconds(datetime.fromisoformat(parse_entry(entry).loggedAt))
