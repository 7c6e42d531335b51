"""API keys at rest: who may do what, until when. Secrets are never stored, only their keyed digests.

A digest is over the secret and over everything else that its row says of the key, under the pepper, which is not in the
database: a row that was edited or inserted by somebody who does not have both is no key.
"""

from __future__ import annotations

import hmac
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from tlog.core.canonical import canonical
from tlog.storage.connection import translated
from tlog.storage.queries import QUERIES

if TYPE_CHECKING:
    from tlog.storage.database import Database


class ApiKey(NamedTuple):
    """One API key: `digest` is `digest_of` its secret and itself, `principal` the actor its uses are logged under.

    `rate` is events per second, `buckets` the different index buckets that it may have opened in a day; None for the service's
    own limits. `about` is what alone it may ask about, a resource's type and ID, or a userId; None for everything.
    """

    key_id: str
    digest: bytes
    principal: str
    scopes: list[str]
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    rate: int | None = None
    buckets: int | None = None
    about: list[str] | None = None


def bound_members(key: ApiKey) -> bytes:
    """Return the canonical JSON of what a key's digest is bound to: all members but the digest and `revoked_at`.

    Raises:
        ValueError: a time has no time zone; `tlog.storage` never reads such a one.

    """
    members = {**key._asdict(), "created_at": _moment(key.created_at), "expires_at": _moment(key.expires_at)}
    del members["digest"], members["revoked_at"]
    return canonical(members)


def digest_of(pepper: bytes, secret: str, members: bytes) -> bytes:
    """Return the 32-byte digest of a key: HMAC-SHA256(pepper, secret || `bound_members`)."""
    return hmac.digest(pepper, secret.encode() + members, "sha256")


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat(timespec="microseconds")


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
