"""API keys in a real database: what is stored comes back, and a row that somebody changed there is no key."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tlog.errors import UnauthorizedError
from tlog.server.guard.auth import Authenticator, new_token
from tlog.storage.keys import ApiKeyStore

pytestmark = pytest.mark.anyio
# What a superuser of the database might do, S9 of the threats: each is an UPDATE of the row.
CHANGES = (
    "scopes = '{read}'",
    "scopes = '{append,read}'",
    "scopes = '{{append},{read}}'",
    "scopes = '{append,null}'",
    "principal = 'service:other'",
    "created_at = created_at - interval '1 second'",
    "expires_at = null",
    "expires_at = 'infinity'",
    "created_at = '-infinity'",
    "rate = null",
    "buckets = 65536",
    "about = null",
    "about = '{patient_record,P-1008}'",
    "about = '{patient_record}'",
    "digest = decode(repeat('00', 32), 'hex')",
)


async def test_s9_a_row_changed_in_the_database_is_no_key(opened, database):
    async with opened() as log:
        pepper, expires = log.directory.pepper(), log.clock() + timedelta(days=1)
        token, key = new_token(
            pepper,
            "service:ä",
            ["append"],
            log.clock(),
            expires,
            rate=50,
            buckets=9,
            about=["patient_record", "P-1007"],
        )
        store = ApiKeyStore(log.database)
        await store.add(key)
        assert await store.list() == [key]

        async def admitted():
            try:
                return await Authenticator(log.reader.api_key, pepper, log.clock).check(f"Bearer {token}", "append")
            except UnauthorizedError:
                return None

        assert await admitted() == key
        with database.connect_admin() as admin:
            admin.execute("CREATE TABLE kept AS TABLE tlog.api_key")
            for change in CHANGES:
                admin.execute(f"UPDATE tlog.api_key SET {change}")
                assert await admitted() is None, change
                admin.execute("DELETE FROM tlog.api_key")
                admin.execute("INSERT INTO tlog.api_key TABLE kept")
                assert await admitted() == key, change
            # A revocation needs no pepper, and can be undone by whoever may write: the database's part.
            assert await store.revoke(key.key_id, log.clock())
            assert await admitted() is None
            assert not await store.revoke(key.key_id, log.clock())
