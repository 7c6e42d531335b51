"""The account of memory: what all requests that append hold together, from the first byte of a body until the answer.

It stands for bodies, for the drafts that are made of them, and for the groups in which these wait. While others ask, no key
has more than a quarter of it. When it is full, whoever sends slowest gives way first: a body that lags 256 KiB/s is
refused; then those of keys that have more than their quarter, as far as they are on their way.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

from tlog.errors import OverloadedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from typing import Self

MAX_MEMORY: Final = 256 << 20
LEAST_RATE: Final = 256 << 10  # bytes a second
_GRACE_SECONDS: Final = 1.0
_FULL: Final = "too many large requests are under way"
_QUARTER: Final = "this API key has a quarter of the memory for requests, and others ask too; send less at a time"
_SLOW: Final = "the memory for requests is full, and this one comes too slowly; send it again"


class Share:
    """What one request holds, while the context is open."""

    __slots__ = ("_account", "began", "key_id", "size", "stop", "stopped")

    def __init__(self, account: Account, key_id: str, began: float) -> None:
        self._account = account
        self.key_id = key_id
        self.began = began
        self.size = 0
        self.stop: Callable[[], None] | None = None  # while its body is on its way
        self.stopped = False

    def __enter__(self) -> Self:
        """Open it."""
        self._account.open(self)
        return self

    def __exit__(self, *_: object) -> None:
        """Give everything back."""
        self._account.close(self)

    def grow(self, size: int) -> None:
        """Hold more (`Account.grow`)."""
        self._account.grow(self, size)

    def lag(self, now: float) -> float:
        """Return by how many bytes its body lags the least rate."""
        return (now - self.began - _GRACE_SECONDS) * LEAST_RATE - self.size

    @asynccontextmanager
    async def receiving(self) -> AsyncIterator[None]:
        """Receive its body.

        Raises:
            OverloadedError: its memory was needed for others first.

        """
        end = asyncio.timeout(None)
        self.stop = partial(end.reschedule, 0)
        try:
            async with end:
                yield
        except TimeoutError:
            raise OverloadedError(_SLOW) from None
        finally:
            self.stop = None


class Account:
    """What all requests hold."""

    def __init__(self, size: int = MAX_MEMORY, timer: Callable[[], float] = time.monotonic) -> None:
        self._free = size
        self._quarter = size // 4
        self._timer = timer
        self._shares: set[Share] = set()
        self._of_keys: dict[str, int] = {}
        self._requests: dict[str, int] = {}

    def share(self, key_id: str) -> Share:
        """Return what a request of a key holds, nothing yet."""
        return Share(self, key_id, self._timer())

    def open(self, share: Share) -> None:
        """Count a request."""
        self._shares.add(share)
        self._requests[share.key_id] = self._requests.get(share.key_id, 0) + 1

    def close(self, share: Share) -> None:
        """Take back what a request holds."""
        self._shares.discard(share)
        self._give_back(share)
        self._requests[share.key_id] -= 1
        if not self._requests[share.key_id]:
            del self._requests[share.key_id], self._of_keys[share.key_id]

    def grow(self, share: Share, size: int) -> None:
        """Let a request hold more.

        Raises:
            OverloadedError: the account is full, or the key has its quarter while others ask, or the request was stopped.

        """
        if share.stopped:
            raise OverloadedError(_SLOW)
        if self._of_keys.get(share.key_id, 0) + size > self._quarter and len(self._requests) > 1:
            raise OverloadedError(_QUARTER)
        if size > self._free:
            self._make_room(share, size)
        self._free -= size
        self._of_keys[share.key_id] = self._of_keys.get(share.key_id, 0) + size
        share.size += size

    def _make_room(self, asking: Share, size: int) -> None:
        now = self._timer()
        under_way = [each for each in self._shares if each.stop is not None and each is not asking]
        slow = sorted((each for each in under_way if each.lag(now) > 0), key=lambda each: -each.lag(now))
        large = [each for each in under_way if self._of_keys[each.key_id] > self._quarter]
        for each in [*slow, *large]:
            if size <= self._free:
                return
            # The first of them may have given back enough for their key.
            if not each.stopped and (each in slow or self._of_keys[each.key_id] > self._quarter):
                self._stop(each)
        if size > self._free:
            raise OverloadedError(_FULL)

    def _stop(self, share: Share) -> None:
        assert share.stop is not None  # noqa: S101 - it is under way; for the type checker
        share.stopped = True
        self._give_back(share)
        share.stop()

    def _give_back(self, share: Share) -> None:
        self._free += share.size
        self._of_keys[share.key_id] = self._of_keys.get(share.key_id, 0) - share.size
        share.size = 0
