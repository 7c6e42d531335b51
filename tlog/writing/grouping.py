"""Groups: the requests of one transaction, and the rows that they become when they continue a state of the log."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from tlog.errors import TlogError
from tlog.writing.receipts import ChainedRows, Receipts, chain_drafts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tlog.core.making.drafts import DraftEntry
    from tlog.storage.intake import Advance
    from tlog.storage.rows import State
    from tlog.writing.duplicates import Sender

MAX_GROUP_EVENTS: Final = 5_000
MAX_GROUP_SIZE: Final = 16 << 20
TOGETHER: Final = 100  # events that are chained in one go


class Batch(NamedTuple):
    """What is appended whole or not at all: drafts, about how many bytes they have, and steps of streams made with them."""

    drafts: Sequence[DraftEntry]
    size: int = 0
    advances: Sequence[Advance] = ()


class Request(NamedTuple):
    """A batch that waits, who sends it, and what is told of it."""

    batch: Batch
    sender: Sender
    done: asyncio.Future[Receipts]

    @property
    def drafts(self) -> Sequence[DraftEntry]:
        """What it appends."""
        return self.batch.drafts


class _Place(NamedTuple):
    """Where the rows of a request are: from number `first` on among `rows`, which holds rows of other requests too."""

    rows: ChainedRows
    first: int


class Group:
    """The requests of one transaction in order, and the rows of as many of them as are chained already.

    Small requests are chained together: one event by itself costs several times what it costs among hundreds.
    """

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.events = 0
        self.size = 0
        self.repeats = False
        self.committing = False
        self._start: State | None = None
        self._rows: list[ChainedRows] = []
        self._places: list[_Place] = []
        self._event_ids: set[str] = set()

    @property
    def end(self) -> State | None:
        """The state after its last row, None while it is not chained whole."""
        return self._rows[-1].end if self._rows and len(self._places) == len(self.requests) else None

    @property
    def event_ids(self) -> list[str]:
        """The eventIds of all requests."""
        return list(self._event_ids)

    @property
    def advances(self) -> list[Advance]:
        """The steps of streams of all requests, in order."""
        return [step for request in self.requests for step in request.batch.advances]

    def has_room(self, batch: Batch) -> bool:
        """Tell whether a batch fits in too."""
        return self.events + len(batch.drafts) <= MAX_GROUP_EVENTS and self.size + batch.size <= MAX_GROUP_SIZE

    def add(self, request: Request) -> None:
        """Add a request at the end."""
        self.requests.append(request)
        self.events += len(request.drafts)
        self.size += request.batch.size
        known = len(self._event_ids)
        event_ids = [draft.event_id for draft in request.drafts if draft.event_id is not None]
        self._event_ids.update(event_ids)
        self.repeats = self.repeats or len(self._event_ids) != known + len(event_ids)

    def drop_cancelled(self) -> None:
        """Leave out the requests whose client went away."""
        if any(request.done.cancelled() for request in self.requests):
            self.requests = [request for request in self.requests if not request.done.cancelled()]
            self.events = sum(len(request.drafts) for request in self.requests)
            self._start, self._rows, self._places = None, [], []

    def chain_some(self, start: State, now: int, least: int = 1) -> bool:
        """Chain more requests, the first of the group to `start`; tell whether there were `least` events to chain."""
        if self._start != start:
            self._start, self._rows, self._places = start, [], []
        continued = self._rows[-1].end if self._rows else start
        if self.events - (continued.size - start.size) < least:
            return False
        drafts: list[DraftEntry] = []
        firsts: list[int] = []
        for request in self.requests[len(self._places) : len(self._places) + TOGETHER]:
            firsts.append(len(drafts))
            drafts += request.drafts
            if len(drafts) >= TOGETHER:
                break
        rows = chain_drafts(continued, drafts, now)
        self._rows.append(rows)
        self._places += [_Place(rows, first) for first in firsts]
        return True

    async def chain(self, start: State, now: int) -> list[ChainedRows]:
        """Return the rows of all requests when the first of them continues `start`; other tasks run between the parts."""
        while self.chain_some(start, now):  # noqa: ASYNC110 - each turn does work, none waits for something
            await asyncio.sleep(0)
        return self._rows

    def receipts(self) -> list[Receipts]:
        """Return the receipts of every request, once they are chained and durable."""
        return [
            Receipts.of_rows(request.drafts, *place) for request, place in zip(self.requests, self._places, strict=True)
        ]

    def answer(self, outcomes: Sequence[Receipts | TlogError]) -> None:
        """Tell the requests what became of them, those that were not told yet."""
        for request, outcome in zip(self.requests, outcomes, strict=True):
            with suppress(asyncio.InvalidStateError):  # told already, or the request's client went away meanwhile
                if isinstance(outcome, TlogError):
                    request.done.set_exception(outcome)
                else:
                    request.done.set_result(outcome)

    def refuse(self, error: TlogError) -> None:
        """Tell all requests the same."""
        self.answer([error] * len(self.requests))
