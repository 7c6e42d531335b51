"""Work that exactly one process of a log does: the others stand by, and one of them takes over when it ends."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Generic, Literal, Protocol, TypeVar

import structlog

from tlog.errors import OverloadedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tlog.errors import Cause

Result = TypeVar("Result")
_log: Final = structlog.get_logger()


class LeaderStore(Protocol):
    """A connection that can hold a lock: who holds the lock leads, until the connection ends."""

    async def lead(self) -> bool:
        """Try to become the leader; tell whether this connection is."""

    async def close(self) -> None:
        """Close the connection, and with it give up leading."""


Store = TypeVar("Store", bound=LeaderStore)


class LeaderLoop(Generic[Store, Result]):
    """Works periodically and on demand, in whichever process leads."""

    def __init__(
        self,
        name: str,
        open_store: Callable[[], Awaitable[Store]],
        begin: Callable[[Store], Awaitable[Callable[[bool], Awaitable[Result | None]]]],
        interval: float,
        *,
        done: Callable[[Result], None] = lambda _: None,
    ) -> None:
        """Prepare.

        Args:
            name: of the work, for the log.
            open_store: opens a new connection to the database.
            begin: takes up the work where it was left; returns a function that does one step of it. The function is told
                whether the step was asked for, and returns None if there was nothing to do.
            interval: seconds between two steps that nobody asked for.
            done: called with the result of each step that did something.

        """
        self._name = name
        self._open_store = open_store
        self._begin = begin
        self._interval = interval
        self._done = done
        self._wake = asyncio.Event()
        self._stopping = False
        self.leading = False
        self.last: Result | None = None
        self.waits_for = ""
        self._told = ""
        self.cause: Cause = "database"  # of waiting, while it waits

    def request(self) -> None:
        """Ask for a step now instead of at the next interval."""
        self._wake.set()

    def stop(self) -> None:
        """Let `run` end after the step that it is doing."""
        self._stopping = True
        self._wake.set()

    async def run(self) -> None:
        """Stand by, lead, work, until stopped.

        Raises:
            OperatorError: the work raises it; the process must end.

        """
        while not self._stopping:
            try:
                await self._stand_by_and_lead()
            except OverloadedError as error:
                self.leading = False
                if str(error) != self.waits_for:
                    _log.warning(f"{self._name}_pauses", reason=str(error))
                self.waits_for, self.cause = str(error), error.cause
                await self._pause()
            finally:
                self.leading = False

    async def _stand_by_and_lead(self) -> None:
        store = await self._open_store()
        try:
            while not await store.lead():
                self._go_on()
                self._tell("follows")
                await self._pause()
                if self._stopping:
                    return
            step = await self._begin(store)
            self.leading = True
            self._tell("leads")
            requested = True
            while not self._stopping:
                result = await step(requested)
                self._go_on()
                if result is not None:
                    self.last = result
                    self._done(result)
                requested = await self._pause()
        finally:
            await store.close()

    def _tell(self, role: Literal["leads", "follows"]) -> None:
        """Tell of a role that this process did not have before; a pause leaves it what it was."""
        if role != self._told:
            _log.info(role, work=self._name)
        self._told = role

    def _go_on(self) -> None:
        """Wait for nothing any more."""
        if self.waits_for:
            _log.info(f"{self._name}_goes_on", reason=self.waits_for)
        self.waits_for = ""

    async def _pause(self) -> bool:
        """Wait for the interval or a request; tell whether it was a request."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), self._interval)
        requested = self._wake.is_set()
        if not self._stopping:
            self._wake.clear()
        return requested
