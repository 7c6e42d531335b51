"""API keys: bearer tokens with scopes, looked up by a public ID and compared in constant time.

A token is `tlog_<key ID>_<secret>`. Stored is HMAC-SHA256(pepper, token); who reads the database cannot use a key, and
who guesses cannot learn from timing. A key once read is remembered for a few seconds, so a revocation takes effect
within that time. Key IDs nobody has are remembered too, and only so many new ones are looked up in a second: who invents
them keeps neither the database busy nor known keys waiting.
"""

from __future__ import annotations

import asyncio
import hmac
import re
import secrets
import time
from typing import TYPE_CHECKING, Any, Final, Literal

from tlog.core.event import MAX_USER_ID, NO_CONTROL
from tlog.errors import ForbiddenError, MalformedInputError, OverloadedError, UnauthorizedError
from tlog.storage.keys import ApiKey

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection
    from datetime import datetime

Scope = Literal["append", "read", "admin"]
CACHE_SECONDS: Final = 5.0
_CACHED_KEYS: Final = 1024
LOOKUPS_PER_SECOND: Final = 100
_KEY_ID_BYTES: Final = 8
_SECRET_BYTES: Final = 32
_TOKEN: Final = re.compile(r"tlog_([0-9a-f]{16})_[A-Za-z0-9_-]{43}")


def digest_of(pepper: bytes, token: str) -> bytes:
    """Return the 32-byte digest under which a token is stored."""
    return hmac.digest(pepper, token.encode(), "sha256")


def new_token(
    pepper: bytes,
    principal: str,
    scopes: Collection[str],
    now: datetime,
    expires_at: datetime | None = None,
    *,
    rate: int | None = None,
) -> tuple[str, ApiKey]:
    """Return a fresh token, to be shown once, and the key to store for it.

    Raises:
        MalformedInputError: the principal cannot be the userId of the events its uses are logged as.

    """
    if re.fullmatch(NO_CONTROL, principal) is None or len(principal) > MAX_USER_ID:
        message = f"a principal is 1 to {MAX_USER_ID} characters without control characters, such as service:ehr-api"
        raise MalformedInputError(message)
    key_id = secrets.token_hex(_KEY_ID_BYTES)
    token = f"tlog_{key_id}_{secrets.token_urlsafe(_SECRET_BYTES)}"
    return token, ApiKey(key_id, digest_of(pepper, token), principal, sorted(scopes), now, expires_at, rate=rate)


class Authenticator:
    """Checks `Authorization` headers."""

    def __init__(
        self,
        find: Callable[[str], Awaitable[ApiKey | None]],
        pepper: bytes,
        clock: Callable[[], datetime],
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._find = find
        self._pepper = pepper
        self._clock = clock
        self._timer = timer
        self._known: dict[str, tuple[float, ApiKey]] = {}
        self._unknown: dict[str, float] = {}
        self._lookups = (0.0, 0)  # the second that began then, and how many IDs were looked up in it
        self._reading: dict[str, asyncio.Task[ApiKey | None]] = {}

    async def check(self, authorization: str | None, scope: Scope) -> ApiKey:
        """Return the key that an `Authorization` header presents, if it is valid and has `scope` (admin has all).

        Raises:
            UnauthorizedError: there is no bearer token, or it is malformed, or its key unknown, wrong, expired or revoked.
            ForbiddenError: the key lacks the scope.
            OverloadedError: too many unknown keys are tried, so this one cannot be looked up now.

        """
        kind, _, token = (authorization or "").partition(" ")
        if kind.lower() != "bearer":
            message = "no API key was sent; send 'Authorization: Bearer tlog_…', 'tlog token create' makes keys"
            raise UnauthorizedError(message, presented=False)
        match = _TOKEN.fullmatch(token.strip())
        if match is None:
            message = (
                "this API key is malformed; send it as 'tlog token create' printed it: 'Authorization: Bearer tlog_…'"
            )
            raise UnauthorizedError(message, presented=True)
        key = await self._cached(match[1])
        presented = digest_of(self._pepper, match[0])
        # Compared even for an unknown key ID, so that both answers take the same time.
        right = hmac.compare_digest(presented, bytes(32) if key is None else key.digest)
        if key is None or not right or not _is_valid(key, self._clock()):
            # One answer for all of these: which key IDs there are is nobody's business.
            message = "this API key is unknown, expired or revoked; 'tlog token list' shows those there are"
            raise UnauthorizedError(message, presented=True)
        if scope not in key.scopes and "admin" not in key.scopes:
            raise ForbiddenError(scope)
        return key

    async def _cached(self, key_id: str) -> ApiKey | None:
        now = self._timer()
        read_at, key = self._known.get(key_id, (-CACHE_SECONDS, None))
        if now - read_at < CACHE_SECONDS:
            return key
        if key is None and now - self._unknown.get(key_id, -CACHE_SECONDS) < CACHE_SECONDS:
            return None
        # Hundreds of requests may find it too old in the same moment; one of them reads it for all.
        reading = self._reading.get(key_id)
        if reading is None:
            if key is None:
                self._count_lookup(now)
            reading = self._reading[key_id] = asyncio.create_task(self._read(key_id, now))
        return await asyncio.shield(reading)

    async def _read(self, key_id: str, now: float) -> ApiKey | None:
        try:
            key = await self._find(key_id)
        finally:
            del self._reading[key_id]
        cache: dict[str, Any] = self._unknown if key is None else self._known
        if len(cache) >= _CACHED_KEYS:
            cache.clear()  # they must not fill the memory
        if key is None:
            self._known.pop(key_id, None)
            self._unknown[key_id] = now
        else:
            self._known[key_id] = now, key
        return key

    def _count_lookup(self, now: float) -> None:
        began, count = self._lookups
        if now - began >= 1:
            began, count = now, 0
        if count >= LOOKUPS_PER_SECOND:
            message = "too many API keys that were not seen lately are tried at once"
            raise OverloadedError(message)
        self._lookups = began, count + 1


def _is_valid(key: ApiKey, now: datetime) -> bool:
    return key.revoked_at is None and (key.expires_at is None or now < key.expires_at)
