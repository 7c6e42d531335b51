"""API keys are read once for all requests that ask at the same time, and a failed reading is not remembered."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from tlog.errors import ForbiddenError, OverloadedError, UnauthorizedError
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


WRONG = "A" * 43
REFUSED = {
    "no header": (None, False, "no API key was sent"),
    "an empty one": ("", False, "no API key was sent"),
    "another scheme": ("Basic dXNlcjpwYXNz", False, "no API key was sent"),
    "the scheme alone": ("Bearer", True, "malformed"),
    "a word": ("Bearer nonsense", True, "malformed"),
    "cut": (HEADER[:-1], True, "malformed"),
    "an ID that nobody has": (f"Bearer tlog_{'0' * 16}_{WRONG}", True, "unknown, expired or revoked"),
    "another secret": (f"Bearer {TOKEN[:-43]}{WRONG}", True, "unknown, expired or revoked"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_refusal_says_what_is_wrong_with_the_key(case):
    header, presented, words = REFUSED[case]

    async def find(key_id):
        return KEY if key_id == KEY.key_id else None

    async def work():
        with pytest.raises(UnauthorizedError, match=words) as caught:
            await Authenticator(find, b"pepper", lambda: NOW).check(header, "append")
        assert caught.value.presented == presented
        return str(caught.value)

    said = asyncio.run(work())
    assert WRONG not in said


def test_a_refusal_does_not_tell_which_key_ids_there_are():
    async def find(key_id):
        return KEY if key_id == KEY.key_id else None

    async def refusal(header, now):
        with pytest.raises(UnauthorizedError) as caught:
            await Authenticator(find, b"pepper", lambda: now).check(header, "append")
        return str(caught.value)

    headers = (REFUSED["an ID that nobody has"][0], REFUSED["another secret"][0])
    assert len({asyncio.run(refusal(header, NOW)) for header in headers}) == 1


def test_the_scope_that_is_lacking_is_named():
    async def find(_):
        return KEY

    async def work():
        with pytest.raises(ForbiddenError, match="lacks the scope 'read'") as caught:
            await Authenticator(find, b"pepper", lambda: NOW).check(HEADER, "read")
        assert caught.value.scope == "read"

    asyncio.run(work())
