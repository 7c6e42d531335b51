"""Sessions: who signed in may ask with a cookie, for 15 minutes without a request and for 8 hours at most.

A session has the rights of the API key that it was begun with, and ends with that key, a few seconds after a revocation. Its ID
is in the cookie and nowhere else (`tlog.storage.sessions`).
"""

from __future__ import annotations

import hmac
import secrets
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from tlog.errors import UnauthorizedError
from tlog.storage.keys import digest_of
from tlog.storage.sessions import IDLE, Session, SessionStore, bound_to, lookup_of

if TYPE_CHECKING:
    from datetime import datetime

    from tlog.lifecycle.opening import Log
    from tlog.server.guard.auth import Authenticator
    from tlog.storage.keys import ApiKey

LONGEST: Final = timedelta(hours=8)
_TOUCHED: Final = timedelta(minutes=1)  # so seldom is written that a session is used
_ID_BYTES: Final = 32
_MAX_SEEN: Final = 4096


class Sessions:
    """The sessions of a log's pages."""

    def __init__(self, log: Log, authenticator: Authenticator) -> None:
        self._log = log
        self._pepper = log.directory.pepper()
        self._authenticator = authenticator
        self._store = SessionStore(log.database)
        self._seen: dict[bytes, datetime] = {}

    async def begin(self, key: ApiKey) -> str:
        """Begin a session with the rights of a key that was presented; return its ID, for the cookie.

        Raises:
            OverloadedError: the database is away.

        """
        session_id, now = secrets.token_urlsafe(_ID_BYTES), self._log.clock()
        end = now + LONGEST if key.expires_at is None else min(now + LONGEST, key.expires_at)
        session = Session(lookup_of(session_id), b"", key.principal, key.scopes, key.key_id, now, end, now)
        digest = digest_of(self._pepper, session_id, bound_to(session, key))
        await self._store.add(session._replace(digest=digest))
        self._note(session.lookup, now)
        return session_id

    async def find(self, session_id: str) -> ApiKey:
        """Return the key of a session that goes on, and note that it was used.

        Raises:
            UnauthorizedError: there is no such session any more, or somebody changed it in the database.
            OverloadedError: the database is away.

        """
        lookup, now = lookup_of(session_id), self._log.clock()
        session = await self._log.reader.session(lookup)
        key = None if session is None else await self._authenticator.standing(session.key_id)
        if session is None or key is None or not self._is_whole(session, session_id, key) or not _goes_on(session, now):
            self._seen.pop(lookup, None)
            message = "nobody is signed in, or not any more; sign in with an API key"
            raise UnauthorizedError(message, presented=bool(session_id))
        if now - session.seen_at >= _TOUCHED:
            await self._store.touch(lookup, now)
        self._note(lookup, now)
        return key

    async def end(self, session_id: str) -> None:
        """End a session, if there is one.

        Raises:
            OverloadedError: the database is away.

        """
        lookup = lookup_of(session_id)
        await self._store.end(lookup)
        self._seen.pop(lookup, None)

    def count(self) -> int:
        """Return how many sessions this process has seen lately."""
        now = self._log.clock()
        return sum(now - seen < IDLE for seen in self._seen.values())

    def _is_whole(self, session: Session, session_id: str, key: ApiKey) -> bool:
        return hmac.compare_digest(digest_of(self._pepper, session_id, bound_to(session, key)), session.digest)

    def _note(self, lookup: bytes, now: datetime) -> None:
        if len(self._seen) >= _MAX_SEEN:
            self._seen = {each: seen for each, seen in self._seen.items() if now - seen < IDLE}
        self._seen[lookup] = now


def _goes_on(session: Session, now: datetime) -> bool:
    return now < session.expires_at and now - session.seen_at < IDLE
