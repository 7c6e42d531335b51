"""Who may ask now: everything that can be decided about a request before its body is read.

In this order: is the key valid, has it the scope, has it any of its rate left; and for an append: is there space on the disk,
is there room in the queue. A refusal here has cost no body, no parsing and, for a key that was seen lately, no database.

A rate is events per second, averaged; a request that brings no event counts as one. It is kept for each key in this process:
of several services each has its own count. A request is let in while anything is left and charged whole, so a batch larger
than the rate is possible, and paid for by waiting:

- An append is charged when it is let in, for as many events as its Content-Length has room for, and that is corrected once
  they are counted: or many could be let in before the first one is charged.
- A question is charged one more for each 200 entries that are looked at for it.
- An event that the log knows already costs ten, whether it is a repeat or a conflict: a key is not to look for events of
  others.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from tlog.errors import RateLimitedError
from tlog.server.guard.about import check_endpoint
from tlog.server.guard.account import Account
from tlog.server.guard.protocol import MAX_EVENTS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request
    from starlette.responses import Response

    from tlog.lifecycle.opening import Log
    from tlog.server.guard.auth import Authenticator, Scope
    from tlog.storage.keys import ApiKey

# More than a service can append, so it is in nobody's way; a key that needs a bound gets its own.
DEFAULT_RATE: Final = 100_000
# Of an event that is in the log already.
KNOWN_COST: Final = 10
ENTRIES_LOOKED_AT: Final = 200  # for which a question is charged one
_SMALLEST_EVENT: Final = 160  # bytes; the shortest that are valid have some more
KEY_ID: Final = "tlog.key_id"
_KEY: Final = "tlog.key"
_MAX_BUCKETS: Final = 4096


class Bucket:
    """What is left of a rate: it fills up to one second's worth, and may be overdrawn once."""

    def __init__(self, rate: int, now: float) -> None:
        self.rate = rate
        self._left = float(rate)
        self._at = now

    def take(self, now: float) -> float:
        """Take one; return 0, or how many seconds to wait for it."""
        self._left = min(self.rate, self._left + (now - self._at) * self.rate)
        self._at = now
        if self._left < 1:
            return (1 - self._left) / self.rate
        self._left -= 1
        return 0.0

    def charge(self, count: float) -> None:
        """Take more, whether it is there or not; give back what is negative."""
        self._left -= count


class LetIn(NamedTuple):
    """A request that may append, and for how many events its key is charged until they are counted."""

    key: ApiKey
    charged: int


def asking(endpoint: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """Return the endpoint, asked only by keys with the scope `read`: before anything of the request is judged."""

    async def admitted(request: Request) -> Response:
        await request.app.state.service.admission.admit(request, "read")
        return await endpoint(request)

    return admitted


def key_of(request: Request) -> ApiKey:
    """Return the key of a request that was let in."""
    key: ApiKey = request.scope[_KEY]
    return key


class Admission:
    """Lets requests in."""

    def __init__(self, log: Log, authenticator: Authenticator, timer: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._authenticator = authenticator
        self._timer = timer
        self._buckets: dict[str, Bucket] = {}
        self.account = Account(timer=timer)

    async def admit(self, request: Request, scope: Scope) -> ApiKey:
        """Return the key of a request that has `scope` and some of its rate left.

        Raises:
            UnauthorizedError: there is no valid key.
            ForbiddenError: the key lacks the scope.
            NotYoursError: it is for one person's answers, and this is none.
            RateLimitedError: its rate is used up.

        """
        key = await self._authenticator.check(request.headers.get("authorization"), scope)
        self.admit_key(request, key)
        return key

    def admit_key(self, request: Request, key: ApiKey) -> None:
        """Let in a request of a key that was checked already.

        Raises:
            NotYoursError: it is for one person's answers, and this is none.
            RateLimitedError: its rate is used up.

        """
        request.scope[KEY_ID] = key.key_id  # for the access log
        check_endpoint(request, key)
        request.scope[_KEY] = key
        self._take(key)

    async def admit_append(self, request: Request) -> LetIn:
        """Let in a request that may append, if the log can take anything now.

        Raises:
            UnauthorizedError: there is no valid key.
            ForbiddenError: the key lacks the scope.
            RateLimitedError: its rate is used up.
            NoSpaceError: the disk is nearly full.
            OverloadedError: too much waits already, or the log is closing.

        """
        length = request.headers.get("content-length")
        return self._let_in(await self.admit(request, "append"), None if length is None else int(length))

    def seen(self, authorization: str | None) -> ApiKey | None:
        """Return the key of a request that may append, if it was read lately; None if it has to be looked up.

        Raises:
            UnauthorizedError: there is no valid key.
            ForbiddenError: the key lacks the scope.

        """
        return self._authenticator.check_seen(authorization, "append")

    def admit_seen(self, key: ApiKey, length: int) -> LetIn:
        """Let in a request of a key that `seen` returned, with a body of `length` bytes; else as `admit_append`."""
        self._take(key)
        return self._let_in(key, length)

    def _take(self, key: ApiKey) -> None:
        wait = self._bucket(key).take(self._timer())
        if wait:
            message = f"this API key may append or ask {key.rate or DEFAULT_RATE} times a second"
            raise RateLimitedError(message, math.ceil(wait))

    def _let_in(self, key: ApiKey, length: int | None) -> LetIn:
        if self._log.database.watch is not None:
            self._log.database.watch.check()
        self._log.appender.check_room(1)
        charged = MAX_EVENTS if length is None else min(MAX_EVENTS, length // _SMALLEST_EVENT + 1)
        self._bucket(key).charge(charged - 1)
        return LetIn(key, charged)

    def correct(self, let_in: LetIn, events: int) -> None:
        """Charge a key for as many events as a request has, instead of as many as it might have had."""
        self._bucket(let_in.key).charge(events - let_in.charged)

    def charge_looked(self, key: ApiKey, entries: int) -> None:
        """Charge a key for entries that are looked at to answer its question."""
        self._bucket(key).charge(entries / ENTRIES_LOOKED_AT)

    def charge_known(self, key: ApiKey, events: int) -> None:
        """Charge a key for events, charged already, that the log or the request itself had."""
        self._bucket(key).charge(events * (KNOWN_COST - 1))

    def _bucket(self, key: ApiKey) -> Bucket:
        rate = key.rate or DEFAULT_RATE
        bucket = self._buckets.get(key.key_id)
        if bucket is None or bucket.rate != rate:
            if len(self._buckets) >= _MAX_BUCKETS:
                self._buckets.clear()  # of keys that came and went; at worst everybody gets one second's worth anew
            bucket = self._buckets[key.key_id] = Bucket(rate, self._timer())
        return bucket
