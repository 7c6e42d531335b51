"""Whether a service should get traffic: found out beside the requests, none of which asks the database for that.

A look a second goes to the database, over a connection of its own, and has half a second. What the last look saw holds for three
seconds; a database that says no, or a checkpoint that went back, counts at once. So `/readyz` answers at once, whatever the
database does.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

from tlog.errors import TlogError
from tlog.storage.reading import ReadStore

if TYPE_CHECKING:
    from tlog.lifecycle.opening import Log
    from tlog.storage.rows import SealedCheckpoint

_EVERY_SECONDS: Final = 1.0
_SOON_SECONDS: Final = 0.05  # until a first checkpoint was seen
_PATIENCE: Final = 0.5
_TOO_OLD: Final = 3.0


class Ready:
    """What was last seen of the database; `run` looks again and again."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._latest: SealedCheckpoint | None = None
        self._seen_at: float | None = None

    async def run(self) -> None:
        """Look at the database again and again, until cancelled."""
        store = ReadStore(self._log.database, connections=1)
        try:
            await store.open(wait=False)
            while True:
                await self._look(store)
                await asyncio.sleep(_EVERY_SECONDS if self._latest else _SOON_SECONDS)
        finally:
            await store.close()

    async def _look(self, store: ReadStore) -> None:
        try:
            async with asyncio.timeout(_PATIENCE):
                latest = await store.latest_checkpoint()
        except TimeoutError:
            return
        except TlogError:
            self._seen_at = None
            return
        self._latest, self._seen_at = latest, time.monotonic()

    def document(self) -> dict[str, Any]:
        """Return what is told to everybody: whether it is ready, why not, and what does not go on all the same."""
        log, latest = self._log, self._latest
        if self._seen_at is None or time.monotonic() - self._seen_at > _TOO_OLD:
            return {"ready": False, "reason": "database"}
        if latest is None:
            return {"ready": False, "reason": "no-checkpoint"}
        if log.appender.waits_for:
            return {"ready": False, "reason": log.appender.waits_for}
        status = log.background.status
        document: dict[str, Any] = {"ready": True, "size": latest.size, "leading": status.sealing}
        if status.seal_error:
            document["sealing"] = "waiting"
        if status.witnessing not in {"", "ok"}:
            document["witnessing"] = status.witnessing
        if status.index_error:
            document["indexing"] = "stopped"
        watch = log.database.watch
        if watch is not None and watch.trouble:
            document["appending"] = "no-space"
        return document
