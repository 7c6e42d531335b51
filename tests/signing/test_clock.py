"""The clock: what is believed, what is not, and that nothing is written with a time that is not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from support import append, sample_events

from tlog.core.entry import to_microseconds
from tlog.errors import OperatorError, OverloadedError
from tlog.location import utc_now
from tlog.signing.clock import CONFIRMATION, SteadyClock, check_clock

NOW = datetime(2026, 3, 1, tzinfo=UTC)
LAST = to_microseconds(NOW)


class Times:
    """A clock and the seconds that pass, both settable."""

    def __init__(self):
        self.clock = NOW
        self.passed = 100.0

    def steady(self, last=0):
        return SteadyClock(lambda: self.clock, last, lambda: self.passed)


@pytest.mark.parametrize(
    "leap, passed, believed",
    [
        (timedelta(0), 0, True),
        (timedelta(minutes=59), 0, True),
        (timedelta(minutes=61), 0, False),
        (timedelta(days=3_652), 0, False),
        (timedelta(days=3), 3 * 86_400, True),
        (timedelta(days=-3), 0, True),
        (timedelta(hours=-1), 3_600, True),
    ],
    ids=str,
)
def test_a_leap_ahead_is_not_believed_until_it_is_taken_back(leap, passed, believed):
    times = Times()
    steady = times.steady()
    times.clock += leap
    times.passed += passed
    if believed:
        assert steady() == times.clock
    else:
        with pytest.raises(OverloadedError, match="leapt ahead") as caught:
            steady()
        assert caught.value.retry_after == 30
        times.clock = NOW
        assert steady() == NOW


def test_a_clock_that_starts_behind_the_log_may_catch_up():
    times = Times()
    times.clock = datetime(1970, 1, 1, tzinfo=UTC)
    steady = times.steady(LAST)
    times.clock = NOW
    assert steady() == NOW


def test_a_long_pause_has_to_be_confirmed_with_todays_date(monkeypatch):
    check_clock(NOW + timedelta(days=30), LAST)
    check_clock(NOW + timedelta(days=3_652), 0)
    check_clock(NOW - timedelta(days=3_652), LAST)
    late = NOW + timedelta(days=31)
    with pytest.raises(OperatorError, match=r"says 2026-04-01, 31 days after.* TLOG_CLOCK_IS_RIGHT=2026-04-01"):
        check_clock(late, LAST)
    monkeypatch.setenv(CONFIRMATION, "2026-04-01")
    check_clock(late, LAST)
    with pytest.raises(OperatorError):
        check_clock(late + timedelta(days=1), LAST)


@pytest.mark.anyio
async def test_nothing_is_logged_or_sealed_with_a_time_that_is_not_believed(opened):
    leap = timedelta(0)
    async with opened(clock=lambda: utc_now() + leap) as log:
        (first,) = await append(log, sample_events(1))
        await log.wait_sealed(first.index, 30)
        leap = timedelta(days=3_652)
        with pytest.raises(OverloadedError, match="leapt ahead"):
            await append(log, sample_events(1, seed=2))
        assert (await log.reader.state()).size == 2
        leap = timedelta(0)
        (second,) = await append(log, sample_events(1, seed=2))
        assert second.index == 2
        await log.wait_sealed(second.index, 30)
    leap = timedelta(days=3_652)
    with pytest.raises(OperatorError, match="after the log was last written"):
        async with opened(clock=lambda: utc_now() + leap):
            pass
