"""API keys at rest: who may do what, until when. Secrets are never stored, only their keyed digests."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tlog.storage.connection import translated
from tlog.storage.queries import QUERIES

if TYPE_CHECKING:
    from datetime import datetime

    from tlog.storage.database import Database


class ApiKey(NamedTuple):
    """One API key: `digest` is HMAC-SHA256(pepper, secret), `principal` the actor its uses are logged under.

    `rate` is events per second, None for the service's own limit.
    """

    key_id: str
    digest: bytes
    principal: str
    scopes: list[str]
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    rate: int | None = None


class ApiKeyStore:
    """Lists and changes keys, for the administrator; the service looks one up with `ReadStore.api_key`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, key: ApiKey) -> None:
        """Store a new key."""
        values = key._asdict()
        async with await self._database.connect("tlog_owner") as connection:
            with translated():
                await connection.execute(QUERIES["add_api_key"], values)

    async def list(self) -> list[ApiKey]:
        """Return all keys, oldest first."""
        async with await self._database.connect("tlog_reader") as connection:
            with translated():
                cursor = await connection.execute(QUERIES["list_api_keys"])
                return [ApiKey(*row) for row in await cursor.fetchall()]

    async def revoke(self, key_id: str, now: datetime) -> bool:
        """Revoke a key; tell whether there was one of this ID that was not revoked yet."""
        async with await self._database.connect("tlog_owner") as connection:
            with translated():
                cursor = await connection.execute(QUERIES["revoke_api_key"], {"key_id": key_id, "now": now})
                return cursor.rowcount == 1
