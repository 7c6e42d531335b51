"""API keys: bearer tokens with scopes, looked up by a public ID and compared in constant time.

A token is `tlog_<key ID>_<secret>`. Stored is a digest of the secret and of all that the key may do, under the pepper
(`tlog.storage.keys`): who reads the database cannot use a key, who writes there can neither make one nor change what it
may do, and who guesses cannot learn from timing. A key once read is remembered for a few seconds, so a revocation takes
effect within that time.

A key ID ends in a tag that only the pepper makes, so an ID that somebody invented is refused without a look-up: who invents
them keeps neither the database busy nor keys waiting that were not seen yet. Old IDs whose keys are gone are remembered too,
and only so many new ones are looked up in a second.
"""

from __future__ import annotations

import asyncio
import hmac
import re
import secrets
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from tlog.core.event import MAX_USER_ID, NO_CONTROL
from tlog.errors import ForbiddenError, MalformedInputError, OverloadedError, UnauthorizedError
from tlog.storage.keys import ApiKey, bound_members, digest_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

Scope = Literal["append", "read", "admin"]
CACHE_SECONDS: Final = 5.0
_CACHED_KEYS: Final = 1024
LOOKUPS_PER_SECOND: Final = 100
_KEY_ID_BYTES: Final = 8
_SECRET_BYTES: Final = 32
_TAG_BYTES: Final = 4
_NUMBER_DIGITS: Final = 2 * _KEY_ID_BYTES
_TOKEN: Final = re.compile(r"tlog_([0-9a-f]{24})_([A-Za-z0-9_-]{43})")


class _Known(NamedTuple):
    """A key that was read, when, and what its digest is bound to."""

    read_at: float
    key: ApiKey
    members: bytes


_NOBODY: Final = _Known(float("-inf"), ApiKey("", bytes(32), "", [], datetime.min.replace(tzinfo=UTC)), b"")


def tagged(pepper: bytes, number: str) -> str:
    """Return the key ID of a number, 16 hexadecimal digits: the number, and 8 digits of its HMAC-SHA256 under the pepper."""
    return number + hmac.digest(pepper, number.encode(), "sha256")[:_TAG_BYTES].hex()


def new_token(
    pepper: bytes,
    principal: str,
    scopes: Collection[str],
    now: datetime,
    expires_at: datetime | None = None,
    *,
    rate: int | None = None,
    buckets: int | None = None,
    about: list[str] | None = None,
) -> tuple[str, ApiKey]:
    """Return a fresh token, to be shown once, and the key to store for it.

    Raises:
        MalformedInputError: the principal cannot be the userId of the events its uses are logged as.

    """
    if re.fullmatch(NO_CONTROL, principal) is None or len(principal) > MAX_USER_ID:
        message = f"a principal is 1 to {MAX_USER_ID} characters without control characters, such as service:ehr-api"
        raise MalformedInputError(message)
    key_id, secret = tagged(pepper, secrets.token_hex(_KEY_ID_BYTES)), secrets.token_urlsafe(_SECRET_BYTES)
    key = ApiKey(key_id, b"", principal, sorted(scopes), now, expires_at, rate=rate, buckets=buckets, about=about)
    return f"tlog_{key_id}_{secret}", key._replace(digest=digest_of(pepper, secret, bound_members(key)))


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
        self._known: dict[str, _Known] = {}
        self._unknown: dict[str, float] = {}
        self._lookups = (0.0, 0)  # the second that began then, and how many IDs were looked up in it
        self._reading: dict[str, asyncio.Task[_Known]] = {}

    async def check(self, authorization: str | None, scope: Scope) -> ApiKey:
        """Return the key that an `Authorization` header presents, if it is valid and has `scope` (admin has all).

        Raises:
            UnauthorizedError: there is no bearer token, or it is malformed, or its key unknown, wrong,
                changed in the database, expired or revoked.
            ForbiddenError: the key lacks the scope.
            OverloadedError: too many unknown keys are tried, so this one cannot be looked up now.

        """
        key_id, secret = _parse(authorization)
        return self._judge(await self._cached(key_id), secret, scope)

    def check_seen(self, authorization: str | None, scope: Scope) -> ApiKey | None:
        """Do the same at once if the key was read lately; return None if it has to be looked up.

        Raises:
            UnauthorizedError: as `check` does.
            ForbiddenError: as `check` does.

        """
        key_id, secret = _parse(authorization)
        known = self._known.get(key_id, _NOBODY)
        return self._judge(known, secret, scope) if self._timer() - known.read_at < CACHE_SECONDS else None

    async def standing(self, key_id: str) -> ApiKey | None:
        """Return the key of an ID as it stands now, None if it is unknown, expired or revoked.

        For whoever knows by other means that the asker had its secret. What the row says is not checked here: it may have been
        changed in the database.
        """
        key = (await self._cached(key_id)).key
        return key if key.key_id and _is_valid(key, self._clock()) else None

    def _judge(self, known: _Known, secret: str, scope: Scope) -> ApiKey:
        _, key, members = known
        presented = digest_of(self._pepper, secret, members)
        # Compared even for an unknown key ID, so that both answers take the same time.
        if not hmac.compare_digest(presented, key.digest) or not _is_valid(key, self._clock()):
            # One answer for all of these: which key IDs there are is nobody's business.
            message = "this API key is unknown, expired or revoked; 'tlog token list' shows those there are"
            raise UnauthorizedError(message, presented=True)
        if scope not in key.scopes and "admin" not in key.scopes:
            raise ForbiddenError(scope)
        return key

    async def _cached(self, key_id: str) -> _Known:
        now = self._timer()
        known = self._known.get(key_id, _NOBODY)
        if now - known.read_at < CACHE_SECONDS:
            return known
        if known is _NOBODY:
            # Seen lately, a key has the right tag: it was read.
            right = hmac.compare_digest(tagged(self._pepper, key_id[:_NUMBER_DIGITS]), key_id)
            if not right or now - self._unknown.get(key_id, -CACHE_SECONDS) < CACHE_SECONDS:
                return _NOBODY
        # Hundreds of requests may find it too old in the same moment; one of them reads it for all.
        reading = self._reading.get(key_id)
        if reading is None:
            if known is _NOBODY:
                self._count_lookup(now)
            reading = self._reading[key_id] = asyncio.create_task(self._read(key_id, now))
        return await asyncio.shield(reading)

    async def _read(self, key_id: str, now: float) -> _Known:
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
            return _NOBODY
        self._known[key_id] = known = _Known(now, key, bound_members(key))
        return known

    def _count_lookup(self, now: float) -> None:
        began, count = self._lookups
        if now - began >= 1:
            began, count = now, 0
        if count >= LOOKUPS_PER_SECOND:
            message = "too many API keys that were not seen lately are tried at once"
            raise OverloadedError(message)
        self._lookups = began, count + 1


def _parse(authorization: str | None) -> tuple[str, str]:
    """Return the key ID and the secret that an `Authorization` header presents."""
    kind, _, token = (authorization or "").partition(" ")
    if kind.lower() != "bearer":
        message = "no API key was sent; send 'Authorization: Bearer tlog_…', 'tlog token create' makes keys"
        raise UnauthorizedError(message, presented=False)
    match = _TOKEN.fullmatch(token.strip())
    if match is None:
        message = "this API key is malformed; send it as 'tlog token create' printed it: 'Authorization: Bearer tlog_…'"
        raise UnauthorizedError(message, presented=True)
    return match[1], match[2]


def _is_valid(key: ApiKey, now: datetime) -> bool:
    return key.revoked_at is None and (key.expires_at is None or now < key.expires_at)
