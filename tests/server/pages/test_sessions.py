"""Sessions in a real database: what they may, how they end, and that a row somebody changed there is none."""

from __future__ import annotations

from datetime import timedelta

import pytest
from visitor import make_key

from tlog.errors import UnauthorizedError
from tlog.server.guard.auth import CACHE_SECONDS, Authenticator
from tlog.server.pages.sessions import LONGEST, Sessions
from tlog.storage.keys import ApiKeyStore
from tlog.storage.sessions import IDLE, lookup_of

pytestmark = pytest.mark.anyio
# What a superuser of the database might do, S9 of the threats: each is a statement.
CHANGES = (
    "UPDATE tlog.session SET principal = 'service:other'",
    "UPDATE tlog.session SET scopes = '{admin}'",
    "UPDATE tlog.session SET expires_at = expires_at + interval '1 second'",
    "UPDATE tlog.session SET expires_at = 'infinity'",
    "UPDATE tlog.session SET created_at = created_at + interval '1 second'",
    "UPDATE tlog.session SET key_id = 'another'",
    "UPDATE tlog.session SET digest = decode(repeat('00', 32), 'hex')",
    "UPDATE tlog.api_key SET principal = 'service:other'",
    "UPDATE tlog.api_key SET scopes = '{admin}'",
    "UPDATE tlog.api_key SET rate = 7",
    "UPDATE tlog.api_key SET expires_at = null",
    "DELETE FROM tlog.api_key",
)


class Times:
    """A clock and a timer that somebody sets."""

    def __init__(self, log):
        self.now, self.timer = log.clock(), 0.0
        log.clock = lambda: self.now

    def pass_by(self, **some):
        self.now += timedelta(**some)
        self.timer += timedelta(**some).total_seconds()


def sessions_of(log, times):
    return Sessions(log, Authenticator(log.reader.api_key, log.directory.pepper(), log.clock, lambda: times.timer))


async def goes_on(sessions, session_id):
    try:
        await sessions.find(session_id)
    except UnauthorizedError:
        return False
    return True


async def test_s9_a_row_changed_in_the_database_is_no_session(opened, database):
    async with opened() as log:
        times = Times(log)
        _, key = await make_key(log, rate=50)
        session_id = await sessions_of(log, times).begin(key)
        assert await sessions_of(log, times).find(session_id) == key
        with database.connect_admin() as admin:
            admin.execute("CREATE TABLE sessions AS TABLE tlog.session")
            admin.execute("CREATE TABLE keys AS TABLE tlog.api_key")
            for change in CHANGES:
                admin.execute(change)
                assert not await goes_on(sessions_of(log, times), session_id), change
                admin.execute("DELETE FROM tlog.session; DELETE FROM tlog.api_key")
                admin.execute("INSERT INTO tlog.session TABLE sessions; INSERT INTO tlog.api_key TABLE keys")
                assert await goes_on(sessions_of(log, times), session_id), change
            # The ID is nowhere in the row, so who reads the database has no session.
            stored = admin.execute("SELECT session::text FROM tlog.session").fetchone()[0]
            assert session_id not in stored
            assert lookup_of(session_id).hex() in stored


async def test_a_session_of_another_ends_with_its_own(opened):
    async with opened() as log:
        sessions = sessions_of(log, Times(log))
        first, second = [await sessions.begin((await make_key(log, name))[1]) for name in ("a", "b")]
        assert [(await sessions.find(each)).principal for each in (first, second)] == ["a", "b"]
        assert sessions.count() == 2
        await sessions.end(first)
        assert [await goes_on(sessions, each) for each in (first, second, "", first[:-1])] == [
            False,
            True,
            False,
            False,
        ]
        assert sessions.count() == 1


async def test_a_session_ends_when_nobody_uses_it_and_at_the_latest_after_eight_hours(opened, database):
    async with opened() as log:
        times = Times(log)
        sessions = sessions_of(log, times)
        used, _unused = [await sessions.begin((await make_key(log))[1]) for _ in range(2)]
        began = times.now
        while times.now - began < LONGEST - timedelta(minutes=10):
            times.pass_by(minutes=10)
            assert await goes_on(sessions, used)
        times.pass_by(minutes=10)
        assert not await goes_on(sessions, used)
        assert sessions.count() == 0
        await sessions.begin((await make_key(log))[1])
        with database.connect_admin() as admin:
            assert admin.execute("SELECT count(*) FROM tlog.session").fetchone() == (1,), (
                "those that are over are deleted"
            )


async def test_idle_for_fifteen_minutes_is_the_end(opened):
    async with opened() as log:
        times = Times(log)
        sessions = sessions_of(log, times)
        session_id = await sessions.begin((await make_key(log))[1])
        times.now += IDLE - timedelta(seconds=1)
        assert await goes_on(sessions, session_id)
        times.now += IDLE - timedelta(seconds=1)
        assert await goes_on(sessions, session_id)
        times.now += IDLE
        assert not await goes_on(sessions, session_id)


async def test_a_session_is_no_longer_than_its_key(opened):
    async with opened() as log:
        times = Times(log)
        _, key = await make_key(log)
        sessions = sessions_of(log, times)
        session_id = await sessions.begin(key)
        assert await goes_on(sessions, session_id)
        times.pass_by(seconds=CACHE_SECONDS - 1)
        await ApiKeyStore(log.database).revoke(key.key_id, times.now)
        assert await goes_on(sessions, session_id), "for a few seconds"
        times.pass_by(seconds=1)
        assert not await goes_on(sessions, session_id)
