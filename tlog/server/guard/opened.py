"""Which index buckets a key has opened: evidence about a name hands out the key of the name's bucket, and with it all its names.

Whoever has a bucket's key can try the names that he knows on the entries, which may be public, and so learns of people whom
he never asked about (docs/explanation/security.md). So each question that is answered with evidence names the buckets in
the journal, and no key opens more than so many in a day (UTC). The count is this process's; it begins anew when that does.
"""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, Final

from tlog.errors import RateLimitedError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from datetime import date

    from tlog.storage.keys import ApiKey

DEFAULT_BUCKETS: Final = 500


class OpenedBuckets:
    """The buckets that each key has opened today."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._day: date | None = None
        self._opened: dict[str, set[int]] = {}

    def open(self, key: ApiKey, buckets: Collection[int]) -> int:
        """Let a key open buckets; return how many of them it had not opened yet.

        Raises:
            RateLimitedError: it would have opened more than it may in a day.

        """
        now = self._clock().astimezone(UTC)
        if self._day is None or now.date() > self._day:
            self._day = now.date()
            self._opened.clear()
        mine = self._opened.setdefault(key.key_id, set())
        new = set(buckets) - mine
        most = key.buckets or DEFAULT_BUCKETS
        if len(mine) + len(new) > most:
            message = (
                f"evidence for this API key may open {most} index buckets in a day, and this question needs {len(new)} more than "
                "were opened; ask again after midnight (UTC), or without evidence"
            )
            midnight = datetime.combine(now.date() + timedelta(days=1), time(), UTC)
            raise RateLimitedError(message, int((midnight - now).total_seconds()) + 1)
        mine |= new
        return len(new)
