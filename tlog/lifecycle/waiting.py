"""Waiting for a seal or an index epoch: one watcher asks the database for everyone who waits on an open log.

The watcher runs only while somebody waits. What seals in this process or in a child of it says when it has sealed
something, and the watcher then asks at once. The database itself has to be asked again and again only while another process
leads, because nobody tells of the seals of another process.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, TypeVar

from tlog.errors import OverloadedError

if TYPE_CHECKING:
    from tlog.storage.reading import ReadStore
    from tlog.storage.rows import Epoch, SealedCheckpoint
    from tlog.writing.background import Background

_ASK_SECONDS: Final = 0.05
# A seal of this process is told, so the database is asked again only to find out whether another process took over.
_AGAIN_SECONDS: Final = 1.0
Found = TypeVar("Found", "SealedCheckpoint", "Epoch")


class Watcher:
    """Wakes everyone who waits on an open log; asks the database at most 20 times a second, and once after each seal."""

    def __init__(self, reader: ReadStore, background: Background) -> None:
        self._reader = reader
        self._background = background
        self._task: asyncio.Task[None] | None = None
        self._arrived = False  # somebody, since the database was asked last
        self._lacking = (0, 0)  # size of an epoch, and of a part of the log that has events beyond the epoch
        self.sealed: dict[asyncio.Future[SealedCheckpoint], int] = {}
        self.indexed: dict[asyncio.Future[Epoch], int] = {}

    async def wait(self, waiting: dict[asyncio.Future[Found], int], position: int, timeout: float) -> Found:  # noqa: ASYNC109 - seconds to the caller
        """Ask for a checkpoint and an epoch to be made, and return the first that is far enough.

        Args:
            waiting: `sealed` or `indexed`.
            position: the index that a checkpoint must cover, or the size below which all events must be indexed.
            timeout: seconds.

        Raises:
            TimeoutError: there was none in time.
            OverloadedError: the database is away, or the log is closed meanwhile.

        """
        future: asyncio.Future[Found] = asyncio.get_running_loop().create_future()
        waiting[future] = position
        self._arrived = True
        self._background.request()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._watch(), name="watcher")
        try:
            async with asyncio.timeout(timeout):
                return await future
        finally:
            waiting.pop(future, None)
            if future.done() and not future.cancelled():
                future.exception()  # retrieved, even if the waiter was cancelled at the same moment

    async def close(self) -> None:
        """End the watcher; whoever still waits gets an `OverloadedError`."""
        self._fail(OverloadedError("the log was closed; ask again when it is open"))
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _watch(self) -> None:
        now = asyncio.get_running_loop().time
        due = now() + _AGAIN_SECONDS
        while self.sealed or self.indexed:
            # Taken before the database is asked: what is sealed during the question is told by this event.
            changed = self._background.changed
            self._arrived = False
            if now() >= due:
                # The epoch that another process has made meanwhile is an entry, and this process has to seal that.
                self._background.request()
                due = now() + _AGAIN_SECONDS
            try:
                await self._ask()
            except Exception as error:  # noqa: BLE001 - whoever waits has to hear of it, whatever it is
                self._fail(error)
            await self._pause(changed, due)

    async def _pause(self, changed: asyncio.Event, due: float) -> None:
        """Return when the database should be asked again, or nobody waits any more."""
        while self.sealed or self.indexed:
            with suppress(TimeoutError):
                await asyncio.wait_for(changed.wait(), _ASK_SECONDS)
                return
            if self._arrived or not self._is_told() or asyncio.get_running_loop().time() >= due:
                return

    def _is_told(self) -> bool:
        """Tell whether what is waited for is made here: each new checkpoint and epoch sets `changed` then."""
        status = self._background.status
        return status.sealing and (status.indexing or not self.indexed)

    async def _ask(self) -> None:
        """Ask the database how far the log is, and wake whoever that is far enough for."""
        if self.sealed:
            checkpoint = await self._reader.latest_checkpoint()
            for future, index in list(self.sealed.items()):
                if checkpoint is not None and checkpoint.size > index:
                    _wake(self.sealed, future, checkpoint)
        if self.indexed:
            epoch = await self._reader.sealed_epoch()
            for waiter, size in sorted(self.indexed.items(), key=lambda each: each[1]):
                if epoch is None or not await self._covers(epoch, size):
                    break  # an epoch that lacks events below this size lacks them below every larger one
                _wake(self.indexed, waiter, epoch)

    async def _covers(self, epoch: Epoch, size: int) -> bool:
        """Tell whether an epoch covers all events below `size`; the database is not asked twice what cannot change."""
        known, lacking = self._lacking
        if epoch.size >= size:
            return True
        if epoch.size == known and size >= lacking:
            return False
        if await self._reader.has_keys(epoch.size, size):
            self._lacking = epoch.size, size
            return False
        return True

    def _fail(self, error: Exception) -> None:
        everyone: list[asyncio.Future[Any]] = [*self.sealed, *self.indexed]
        for future in everyone:
            if not future.done():
                future.set_exception(error)
        self.sealed.clear()
        self.indexed.clear()


def _wake(waiting: dict[asyncio.Future[Found], int], future: asyncio.Future[Found], found: Found) -> None:
    waiting.pop(future, None)
    if not future.done():
        future.set_result(found)
