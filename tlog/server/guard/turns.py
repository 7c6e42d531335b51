"""Whose turn it is on the event loop: batches are drafted one at a time and give way to answers, bulk answers to appends."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

_TO_ANSWERS: Final = 3.0
_TO_APPENDS: Final = 3.0
_SENT_BESIDE_APPENDS: Final = 16e6  # bytes a second of bulk answers to one key while somebody appends


class Turns:
    """Takes turns between batches, which are long, and answers, which somebody waits for at a screen."""

    def __init__(self) -> None:
        self._drafting = asyncio.Lock()
        self._batches = 0
        self._answers = 0
        self._appends = 0
        self._pauses: dict[str, float] = {}  # of each key, until when its searches and bulk answers pause

    def begin_append(self) -> None:
        """Append from now on, until `end_append`."""
        self._appends += 1

    def end_append(self) -> None:
        """Say that an append was answered."""
        self._appends -= 1

    async def after_looking(self, key_id: str, worked: float) -> None:
        """Let others go on after a portion of a search that took `worked` seconds: longer while somebody appends.

        Searches of one key pause one after the other, so that many of them take no more of the loop than one.
        """
        await self._pause(key_id, worked * _TO_APPENDS)

    async def after_sending(self, key_id: str, size: int) -> None:
        """Let others go on after `size` bytes of a bulk answer, as `after_looking` does.

        The pause goes by the number of bytes, because most of the time that they take is not this process's: another one makes
        them, PostgreSQL reads them, and the kernel carries them.
        """
        await self._pause(key_id, size / _SENT_BESIDE_APPENDS)

    async def _pause(self, key_id: str, seconds: float) -> None:
        if not self._appends:
            self._pauses.clear()
            await asyncio.sleep(0)
            return
        now = asyncio.get_running_loop().time()
        end = self._pauses[key_id] = max(now, self._pauses.get(key_id, now)) + seconds
        await asyncio.sleep(end - now)

    @asynccontextmanager
    async def batch(self) -> AsyncIterator[None]:
        """Draft a batch, once those before it are drafted."""
        self._batches += 1
        try:
            async with self._drafting:
                yield
        finally:
            self._batches -= 1

    @contextmanager
    def answer(self) -> Iterator[None]:
        """Answer a question."""
        self._answers += 1
        try:
            yield
        finally:
            self._answers -= 1

    async def give_way(self, worked: float) -> None:
        """Let others go on after a portion of a batch that took `worked` seconds.

        With an answer under way it gets three times as long, unless other batches wait already: nobody's events are to pile up
        because somebody asks all the time.
        """
        await asyncio.sleep(worked * _TO_ANSWERS if self._answers and self._batches == 1 else 0)
