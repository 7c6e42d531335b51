"""API keys are read once for all requests that ask at the same time, and a failed reading is not remembered."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime, timedelta, timezone

import pytest

from tlog.errors import ForbiddenError, OverloadedError, UnauthorizedError
from tlog.server.guard.auth import CACHE_SECONDS, Authenticator, new_token, tagged

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
    "an ID that nobody has": (
        f"Bearer tlog_{tagged(b'pepper', '0' * 16)}_{WRONG}",
        True,
        "unknown, expired or revoked",
    ),
    "an invented ID": (f"Bearer tlog_{'0' * 24}_{WRONG}", True, "unknown, expired or revoked"),
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

    headers = [REFUSED[case][0] for case in ("an ID that nobody has", "an invented ID", "another secret")]
    assert len({asyncio.run(refusal(header, NOW)) for header in headers}) == 1


def test_the_scope_that_is_lacking_is_named():
    async def find(_):
        return KEY

    async def work():
        with pytest.raises(ForbiddenError, match="lacks the scope 'read'") as caught:
            await Authenticator(find, b"pepper", lambda: NOW).check(HEADER, "read")
        assert caught.value.scope == "read"

    asyncio.run(work())


# --- S9: what a key may do is bound to its secret ---------------------------------------------------------------------

FULL = new_token(b"pepper", "service:a", ["append"], NOW, NOW + timedelta(days=9), rate=5, buckets=7)
# Each is tried, at random many times over: what somebody might write over a member of a row.
CHANGES = {
    "digest": lambda draw: draw.randbytes(32),
    "principal": lambda draw: f"service:{draw.random()}",
    "scopes": lambda draw: draw.sample(["append", "read", "admin"], draw.randrange(2, 4)),
    "created_at": lambda draw: NOW - timedelta(microseconds=draw.randrange(1, 10**12)),
    "expires_at": lambda draw: draw.choice([None, NOW + timedelta(days=draw.randrange(10, 1000))]),
    "rate": lambda draw: draw.choice([None, draw.randrange(6, 10**6)]),
    "buckets": lambda draw: draw.choice([None, draw.randrange(8, 10**6)]),
    "about": lambda draw: draw.choice([["patient_record", f"P-{draw.random()}"], [f"user-{draw.random()}"]]),
    "key_id": lambda draw: tagged(b"pepper", f"{draw.randrange(16**16):016x}"),
}


async def admits(token, stored, pepper=b"pepper"):
    """Tell whether a service whose database holds this row takes the token for append, under the ID that the row has."""

    async def find(_):
        return stored

    _, _, secret = token.split("_", 2)
    try:
        checker = Authenticator(find, pepper, lambda: NOW)
        assert await checker.check(f"Bearer tlog_{stored.key_id}_{secret}", "append") == stored
    except UnauthorizedError:
        return False
    return True


def test_s9_each_change_of_a_row_makes_it_no_key():
    token, key = FULL
    draw, refused = random.Random(9), 0
    assert set(CHANGES) == set(key._asdict()) - {"revoked_at"}
    for number in range(100):
        member = [*CHANGES][number % len(CHANGES)]
        changed = key._replace(**{member: CHANGES[member](draw)})
        assert changed != key
        refused += not asyncio.run(admits(token, changed))
    assert refused == 100
    assert asyncio.run(admits(token, key)), "the row as it was made is a key"


def test_s9_a_row_of_somebody_without_the_pepper_is_no_key():
    token, key = new_token(b"another", "service:a", ["read", "append"], NOW)
    assert asyncio.run(admits(token, key, b"another"))
    assert not asyncio.run(admits(token, key))
    assert not asyncio.run(admits(token, key._replace(key_id=FULL[1].key_id)))


def test_s9_the_digest_does_not_depend_on_the_zone_that_the_database_answers_in():
    token, key = FULL
    zone = timezone(timedelta(hours=-7))
    moved = key._replace(created_at=key.created_at.astimezone(zone), expires_at=key.expires_at.astimezone(zone))
    assert asyncio.run(admits(token, moved))


# --- S12: invented IDs ------------------------------------------------------------------------------------------------


def test_s12_invented_ids_are_not_looked_up_and_shut_nobody_out():
    readings = Readings(*[KEY] * 12)

    async def work():
        checker = authenticator(readings, [0.0])
        for number in range(5000):
            with pytest.raises(UnauthorizedError):
                await checker.check(f"Bearer tlog_{number:024x}_{WRONG}", "append")
        assert readings.count == 0
        assert await checker.check(HEADER, "append") == KEY, "a key that was not seen yet is looked up all the same"

    asyncio.run(work())


def test_s12_an_old_id_is_found_missing_once():
    readings, times = Readings(None, None), [0.0]

    async def work():
        checker = authenticator(readings, times)
        for _ in range(5):
            with pytest.raises(UnauthorizedError):
                await checker.check(HEADER, "append")
        assert readings.count == 1
        times[0] = CACHE_SECONDS
        with pytest.raises(UnauthorizedError):
            await checker.check(HEADER, "append")
        assert readings.count == 2

    asyncio.run(work())
