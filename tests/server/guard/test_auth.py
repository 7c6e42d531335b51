"""API keys are read once for all requests that ask at the same time, and a failed reading is not remembered."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from tlog.errors import OverloadedError, UnauthorizedError
from tlog.server.guard.auth import CACHE_SECONDS, Authenticator, new_token

NOW = datetime(2026, 11, 24, tzinfo=UTC)
TOKEN, KEY = new_token(b"pepper", "test", ["append"], NOW)
HEADER = f"Bearer {TOKEN}"


class Readings:
    """Answers after a moment, as a database does, and counts how often it was asked."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.count = 0

    async def find(self, _):
        self.count += 1
        await asyncio.sleep(0)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def authenticator(readings, times):
    return Authenticator(readings.find, b"pepper", lambda: NOW, lambda: times[0])


def test_hundreds_of_requests_read_a_key_once():
    readings, times = Readings(KEY, KEY), [0.0]

    async def work():
        checker = authenticator(readings, times)
        assert await asyncio.gather(*(checker.check(HEADER, "append") for _ in range(300))) == [KEY] * 300
        assert readings.count == 1
        times[0] = CACHE_SECONDS
        await asyncio.gather(*(checker.check(HEADER, "append") for _ in range(300)))
        assert readings.count == 2

    asyncio.run(work())


def test_a_failure_is_everybodys_and_is_not_remembered():
    readings = Readings(OverloadedError("away"), KEY)

    async def work():
        checker = authenticator(readings, [0.0])
        found = await asyncio.gather(*(checker.check(HEADER, "append") for _ in range(3)), return_exceptions=True)
        assert [type(each) for each in found] == [OverloadedError] * 3
        assert await checker.check(HEADER, "append") == KEY

    asyncio.run(work())


def test_a_client_that_goes_away_does_not_take_the_others_along():
    readings = Readings(KEY)

    async def work():
        checker = authenticator(readings, [0.0])
        first, second = (asyncio.create_task(checker.check(HEADER, "append")) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        assert await second == KEY

    asyncio.run(work())


def test_a_revoked_key_is_refused_once_it_is_read_again():
    readings, times = Readings(KEY, KEY._replace(revoked_at=NOW)), [0.0]

    async def work():
        checker = authenticator(readings, times)
        await checker.check(HEADER, "append")
        times[0] = CACHE_SECONDS
        with pytest.raises(UnauthorizedError):
            await checker.check(HEADER, "append")

    asyncio.run(work())
