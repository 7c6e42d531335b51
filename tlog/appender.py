"""Group commit: drafts become entries, in one transaction for all requests that wait, under one lock.

The order of the log is the order in which transactions take the row lock on the log's state, so several processes can
append at once. Under the lock: loggedAt = max(clock, last loggedAt), leaf hash, chain hash, COPY, new state, commit. A
request is acknowledged only after the commit is on disk; each is appended whole or not at all.

An eventId makes a retry safe. The common case, none of them known, is tried at once; only when the unique index objects
is the group taken apart: known events with the same content get their first receipt, with other content a conflict.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from contextlib import suppress
from traceback import extract_tb
from typing import TYPE_CHECKING, Final, NamedTuple

import structlog

from tlog.core.chain import chain_hash
from tlog.core.commitment import SALT_SIZE
from tlog.core.entry import (
    EventEntry,
    draft_event,
    format_logged_at,
    from_microseconds,
    parse_entry,
    to_microseconds,
)
from tlog.core.event import parse_event
from tlog.core.merkle import leaf_hash
from tlog.errors import EventConflictError, InvalidBatchError, InvalidEventError, OverloadedError, TlogError
from tlog.storage.log import Disclosure, DuplicateEventIdError, FoundEvent, Leaf

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime

    from tlog.core.entry import DraftEntry
    from tlog.core.pseudonym import BucketKeys
    from tlog.storage.log import Append, AppendStore, State

MAX_GROUP_EVENTS: Final = 5_000
MAX_WAITING_EVENTS: Final = 50_000
_MAX_REPORTED: Final = 20
_log: Final = structlog.get_logger()


def draft_events(raws: Sequence[bytes], keys: BucketKeys) -> list[DraftEntry]:
    """Return the drafts of events, each one JSON text, if every one of them is valid.

    Raises:
        InvalidBatchError: at least one is not; it names the first twenty.

    """
    # One call for the whole batch: asking the kernel costs more than cutting the bytes.
    salts = os.urandom(2 * SALT_SIZE * len(raws))
    drafts = []
    positions: list[int] = []
    found: list[InvalidEventError] = []
    for position, raw in enumerate(raws):
        try:
            salt = salts[2 * SALT_SIZE * position : 2 * SALT_SIZE * (position + 1)]
            drafts.append(draft_event(parse_event(raw), keys, salt))
        except InvalidEventError as error:
            positions.append(position)
            found.append(error)
            if len(found) == _MAX_REPORTED:
                break
    if found:
        raise InvalidBatchError(positions, found)
    return drafts


class Receipt(NamedTuple):
    """The acknowledgement of one event: where it is, and what pins it there until it is sealed."""

    event_id: str | None
    index: int  # type: ignore[assignment]  # hides tuple.index, which means nothing here
    leaf_hash: bytes
    chain_hash: bytes
    logged_at: str
    duplicate: bool = False


class _Request(NamedTuple):
    drafts: Sequence[DraftEntry]
    done: asyncio.Future[list[Receipt]]


class Appender:
    """Takes requests from many tasks and appends them in groups; `run` does the work."""

    def __init__(
        self, store: AppendStore, clock: Callable[[], datetime], *, max_waiting: int = MAX_WAITING_EVENTS
    ) -> None:
        """Prepare.

        Args:
            store: where rows go.
            clock: returns the current time, aware.
            max_waiting: events that may wait at most; a request beyond is refused.

        """
        self._store = store
        self._clock = clock
        self._max_waiting = max_waiting
        self._waiting: deque[_Request] = deque()
        self._waiting_events = 0
        self._wake = asyncio.Event()
        self._closing = False

    @property
    def waiting_events(self) -> int:
        """How many events wait for their group."""
        return self._waiting_events

    async def append(self, drafts: Sequence[DraftEntry]) -> list[Receipt]:
        """Append `drafts`, all or none, and return their receipts in order once they are durable.

        Raises:
            OverloadedError: too many events wait, the database is away, or the log is closing.
            EventConflictError: one of the eventIds is logged with other content.

        """
        if not drafts:
            return []
        if self._closing or self._waiting_events + len(drafts) > self._max_waiting:
            message = "the log is closing" if self._closing else "too many events wait to be appended"
            raise OverloadedError(message)
        request = _Request(drafts, asyncio.get_running_loop().create_future())
        self._waiting.append(request)
        self._waiting_events += len(drafts)
        self._wake.set()
        return await request.done

    async def run(self) -> None:
        """Append what waits until `close` is called and nothing waits any more."""
        try:
            while not self._closing or self._waiting:
                if self._waiting:
                    await self._append_group(self._take_group())
                else:
                    self._wake.clear()
                    await self._wake.wait()
        finally:
            self._closing = True
            for request in self._waiting:
                if not request.done.done():
                    request.done.set_exception(OverloadedError("the log is closing"))
            await self._store.close()

    def close(self) -> None:
        """Refuse new requests and let `run` end after the waiting ones."""
        self._closing = True
        self._wake.set()

    def _take_group(self) -> list[_Request]:
        group: list[_Request] = []
        events = 0
        while self._waiting and (not group or events + len(self._waiting[0].drafts) <= MAX_GROUP_EVENTS):
            request = self._waiting.popleft()
            self._waiting_events -= len(request.drafts)
            # Whose client went away before the group was formed is not appended at all.
            if not request.done.cancelled():
                group.append(request)
                events += len(request.drafts)
        return group

    async def _append_group(self, group: Sequence[_Request]) -> None:
        if not group:
            return
        try:
            outcomes = await self._commit(group)
        except TlogError as error:
            outcomes = [error] * len(group)
        except Exception as error:  # noqa: BLE001 - a bug must not stop the appender; the requests learn of it
            # Class and place only: a message could quote an event.
            place = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in extract_tb(error.__traceback__)]
            _log.error("append failed", error=type(error).__name__, place=place)
            outcomes = [OverloadedError("the append failed; try again with the same eventIds")] * len(group)
        for request, outcome in zip(group, outcomes, strict=True):
            with suppress(asyncio.InvalidStateError):  # its client went away meanwhile
                if isinstance(outcome, TlogError):
                    request.done.set_exception(outcome)
                else:
                    request.done.set_result(outcome)

    async def _commit(self, group: Sequence[_Request]) -> list[list[Receipt] | TlogError]:
        drafts = [draft for request in group for draft in request.drafts]
        event_ids = [draft.event_id for draft in drafts if draft.event_id is not None]
        if len(set(event_ids)) == len(event_ids):
            with suppress(DuplicateEventIdError):
                async with self._store.transaction(len(drafts)) as append:
                    receipts = iter(await self._insert(append, drafts))
                return [[next(receipts) for _ in request.drafts] for request in group]
        return await self._commit_carefully(group, len(drafts), event_ids)

    async def _commit_carefully(
        self, group: Sequence[_Request], room: int, event_ids: Sequence[str]
    ) -> list[list[Receipt] | TlogError]:
        """Append what is new of each request, after looking up what is known, all in one transaction."""
        async with self._store.transaction(room) as append:
            known = {event.leaf.event_id: event for event in await append.find(event_ids)}
            fresh: dict[str, DraftEntry] = {}
            ordered: list[DraftEntry] = []
            conflicts: list[EventConflictError | None] = []
            for request in group:
                added, conflict = _sort_out(request.drafts, known, fresh)
                conflicts.append(conflict)
                if conflict is None:
                    fresh |= {draft.event_id: draft for draft in added if draft.event_id is not None}
                    ordered += added
            receipts = await self._insert(append, ordered) if ordered else []
        first = {id(draft): receipt for draft, receipt in zip(ordered, receipts, strict=True)}
        outcomes: list[list[Receipt] | TlogError] = []
        for request, conflict in zip(group, conflicts, strict=True):
            outcomes.append(conflict or [_receipt(draft, first, fresh, known) for draft in request.drafts])
        return outcomes

    async def _insert(self, append: Append, drafts: Sequence[DraftEntry]) -> list[Receipt]:
        logged_at = max(to_microseconds(self._clock()), append.state.last_logged_at)
        leaves = chain_leaves(append.state, drafts, format_logged_at(from_microseconds(logged_at)))
        disclosures = [
            Disclosure(leaf.index, draft.actor, draft.resource)
            for leaf, draft in zip(leaves, drafts, strict=True)
            if draft.event_id is not None
        ]
        await append.insert(leaves, disclosures, logged_at)
        text = format_logged_at(from_microseconds(logged_at)).decode()
        return [Receipt(leaf.event_id, leaf.index, leaf.leaf_hash, leaf.chain_hash, text) for leaf in leaves]


def chain_leaves(state: State, drafts: Iterable[DraftEntry], logged_at: bytes) -> list[Leaf]:
    """Return the rows that `drafts` become when they continue `state` at `logged_at`."""
    index, chain = state.size, state.chain_hash
    leaves = []
    for draft in drafts:
        entry = draft.entry(logged_at)
        leaf = leaf_hash(entry)
        chain = chain_hash(chain, leaf)
        leaves.append(Leaf(index, draft.event_id, entry, leaf, chain))
        index += 1
    return leaves


def _sort_out(
    drafts: Sequence[DraftEntry], known: dict[str | None, FoundEvent], fresh: dict[str, DraftEntry]
) -> tuple[list[DraftEntry], EventConflictError | None]:
    """Return which drafts of one request are new, or the conflict that refuses the request whole."""
    added: list[DraftEntry] = []
    mine: dict[str, DraftEntry] = {}
    for position, draft in enumerate(drafts):
        if draft.event_id is None:
            added.append(draft)
            continue
        stored = known.get(draft.event_id)
        earlier = fresh.get(draft.event_id) or mine.get(draft.event_id)
        if (stored is not None and not same_content(draft, stored)) or (
            earlier is not None and _content(earlier) != _content(draft)
        ):
            return [], EventConflictError(draft.event_id, f"/{position}/eventId")
        if stored is None and earlier is None:
            mine[draft.event_id] = draft
            added.append(draft)
    return added, None


def same_content(draft: DraftEntry, stored: FoundEvent) -> bool:
    """Tell whether a draft says what the log already holds: all clear members, and what is left of the disclosures."""
    entry = parse_entry(stored.leaf.entry)
    clear, actor, resource = _content(draft)
    return (
        isinstance(entry, EventEntry)
        and _clear(entry) == clear
        and (stored.actor is None or stored.actor[SALT_SIZE:] == actor)
        and (stored.resource is None or stored.resource[SALT_SIZE:] == resource)
    )


def _content(draft: DraftEntry) -> tuple[tuple[object, ...], bytes, bytes]:
    entry = parse_entry(draft.entry(format_logged_at(from_microseconds(0))))
    assert isinstance(entry, EventEntry)  # noqa: S101 - it has an eventId; for the type checker
    return _clear(entry), draft.actor[SALT_SIZE:], draft.resource[SALT_SIZE:]


def _clear(entry: EventEntry) -> tuple[object, ...]:
    """Return what the producer decided; salts, and so commitments, differ from try to try."""
    return entry.action, entry.keys, entry.outcome, entry.resourceType, entry.source, entry.timestamp


def _receipt(
    draft: DraftEntry,
    first: dict[int, Receipt],
    fresh: dict[str, DraftEntry],
    known: dict[str | None, FoundEvent],
) -> Receipt:
    if id(draft) in first:
        return first[id(draft)]
    if draft.event_id in fresh:
        return first[id(fresh[draft.event_id])]._replace(duplicate=True)
    return stored_receipt(known[draft.event_id].leaf)._replace(duplicate=True)


def stored_receipt(leaf: Leaf) -> Receipt:
    """Return the receipt of a row of the log."""
    return Receipt(leaf.event_id, leaf.index, leaf.leaf_hash, leaf.chain_hash, parse_entry(leaf.entry).loggedAt)
