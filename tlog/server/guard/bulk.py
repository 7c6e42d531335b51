"""How many bulk answers there are at a time: exports, evidence, large pages, and questions that look at entries one by one.

Each bulk answer takes memory, a connection of the few there are, and time of a process. A key has a few of them at once,
so that others have theirs; all together have `MAX_MEMORY`, each the sixteenth of it that a bundle of evidence may have.
As many bytes are there for pages that are large and no bulk answers, from when they are made until they are sent.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from tlog.answering.evidence import MAX_SIZE
from tlog.errors import OverloadedError

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_MEMORY: Final = 256 << 20
MAX_BULK: Final = MAX_MEMORY // MAX_SIZE
MAX_BULK_OF_KEY: Final = 4
_AGAIN: Final = 5
WAITING_SECONDS: Final = 5.0


class BulkAnswers:
    """The bulk answers under way."""

    def __init__(self) -> None:
        self._of_keys: Counter[str] = Counter()
        self._ended = asyncio.Event()

    async def wait(self, key_id: str) -> None:
        """Wait until one more can be answered for a key, some seconds at most.

        For what turns out to be large after it was begun: refused at once, it would be asked, and begun, again at once.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(WAITING_SECONDS):
                while self._of_keys[key_id] >= MAX_BULK_OF_KEY or self._of_keys.total() >= MAX_BULK:
                    await self._ended.wait()

    @contextmanager
    def answer(self, key_id: str) -> Iterator[None]:
        """Answer in bulk.

        Raises:
            OverloadedError: as many bulk answers as can be are under way, of this key or in all.

        """
        if self._of_keys[key_id] >= MAX_BULK_OF_KEY:
            message = (
                f"{MAX_BULK_OF_KEY} exports, large pages, bundles of evidence or questions without an index key are under way "
                "for this API key; ask again when one of them is answered"
            )
            raise OverloadedError(message, _AGAIN)
        if self._of_keys.total() >= MAX_BULK:
            message = (
                f"{MAX_BULK} exports, large pages, bundles of evidence or questions without an index key are under way; ask "
                "again later"
            )
            raise OverloadedError(message, _AGAIN)
        self._of_keys[key_id] += 1
        try:
            yield
        finally:
            self._of_keys[key_id] -= 1
            if not self._of_keys[key_id]:
                del self._of_keys[key_id]
            ended, self._ended = self._ended, asyncio.Event()
            ended.set()


class LargePages:
    """The memory of the pages that are being sent; a key has a quarter of it."""

    def __init__(self) -> None:
        self._of_keys: Counter[str] = Counter()

    @contextmanager
    def hold(self, key_id: str, size: int) -> Iterator[None]:
        """Hold a page of so many bytes.

        Raises:
            OverloadedError: too much is held already, for this API key or in all.

        """
        whole, own = self._of_keys.total() + size > MAX_MEMORY, self._of_keys[key_id] + size > MAX_MEMORY // 4
        if whole or own:
            whose = " of this API key" if own else ""
            message = f"too many large pages{whose} are being sent; read them first, or ask for smaller ones"
            raise OverloadedError(message, _AGAIN)
        self._of_keys[key_id] += size
        try:
            yield
        finally:
            self._of_keys[key_id] -= size
            if not self._of_keys[key_id]:
                del self._of_keys[key_id]
