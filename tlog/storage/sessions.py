"""Sessions at rest: who signed in on the pages, by which API key, until when. What a cookie holds is never stored.

A row is found by a hash of the session's ID. Its digest is over the ID, over everything that the row says but when it was used
last, and over everything that its API key may do, under the pepper: a row that somebody edited or inserted in the database is
no session, and no session outlives a change of its key.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Final, NamedTuple

from tlog.core.canonical import canonical
from tlog.storage.connection import translated
from tlog.storage.keys import bound_members
from tlog.storage.queries import QUERIES

if TYPE_CHECKING:
    from tlog.storage.database import Database
    from tlog.storage.keys import ApiKey

IDLE: Final = timedelta(minutes=15)  # without a request, a session is over


class Session(NamedTuple):
    """One session: `lookup` is `lookup_of` its ID, `digest` is `tlog.storage.keys.digest_of` the ID and `bound_to`."""

    lookup: bytes
    digest: bytes
    principal: str
    scopes: list[str]
    key_id: str
    created_at: datetime
    expires_at: datetime
    seen_at: datetime


def lookup_of(session_id: str) -> bytes:
    """Return the 32 bytes by which a session is found: SHA-256 of its ID."""
    return sha256(session_id.encode()).digest()


def bound_to(session: Session, key: ApiKey) -> bytes:
    """Return the canonical JSON of what a session's digest is bound to: its members but three, and all that its key's is.

    Raises:
        ValueError: a time has no time zone; `tlog.storage` never reads such a one.

    """
    members = {
        "created_at": _moment(session.created_at),
        "expires_at": _moment(session.expires_at),
        "key": bound_members(key).decode(),
        "key_id": session.key_id,
        "principal": session.principal,
        "scopes": session.scopes,
    }
    return canonical(members)


def _moment(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


class SessionStore:
    """Begins, uses and ends sessions; the service looks one up with `ReadStore.session`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, session: Session) -> None:
        """Store a new session; delete those that are over."""
        async with await self._database.connect("tlog_authenticator") as connection:
            with translated():
                now = session.created_at
                await connection.execute(QUERIES["end_old_sessions"], {"now": now, "idle": now - IDLE})
                await connection.execute(QUERIES["add_session"], session._asdict())

    async def list(self, now: datetime) -> list[Session]:
        """Return the sessions that are not over at `now`, by their own end or for want of use, oldest first."""
        async with await self._database.connect("tlog_authenticator") as connection:
            with translated():
                cursor = await connection.execute(QUERIES["list_sessions"], {"now": now, "idle": now - IDLE})
                return [Session(*row) for row in await cursor.fetchall()]

    async def touch(self, lookup: bytes, now: datetime) -> None:
        """Note that a session was used."""
        await self._execute("touch_session", {"lookup": lookup, "now": now})

    async def end(self, lookup: bytes) -> None:
        """End a session, if there is one."""
        await self._execute("end_session", {"lookup": lookup})

    async def _execute(self, statement: str, values: dict[str, object]) -> None:
        async with await self._database.connect("tlog_authenticator") as connection:
            with translated():
                await connection.execute(QUERIES[statement], values)
