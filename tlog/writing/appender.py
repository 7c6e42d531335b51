"""Group commit: drafts become entries, in one transaction for all requests that wait, under one lock.

The order of the log is the order in which transactions take the row lock on the log's state, so several processes can
append at once. Under the lock: loggedAt = max(clock, last loggedAt), leaf hash, chain hash, COPY, new state, commit. A
request is acknowledged only after the commit is on disk; each is appended whole or not at all.

What a request becomes follows from the state it continues. While nobody else appends, that state is foreseen before the
lock is taken: requests are hashed and packed as they arrive, and of a large group everything that needs no lock is written
while the group before it is still being committed, over a second connection (a *lane*). Under the lock the state is
compared; if it is another one after all, the group is hashed, packed and written anew.

An eventId makes a retry safe. The common case, none of them known, is tried at once; only when the unique index objects
is the group taken apart: known events with the same content get their first receipt, with other content a conflict.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from traceback import extract_tb
from typing import TYPE_CHECKING, Final, NamedTuple, overload

import structlog

from tlog.core.chain import chain_hashes
from tlog.core.commitment import SALT_SIZE
from tlog.core.entry import (
    EventEntry,
    draft_entries,
    format_logged_at,
    from_microseconds,
    parse_entry,
    to_microseconds,
)
from tlog.core.event import MAX_EVENT_SIZE, parse_certain, parse_event
from tlog.core.merkle import leaf_hashes
from tlog.errors import EventConflictError, InvalidBatchError, InvalidEventError, OverloadedError, TlogError
from tlog.storage.appending import Ahead, DuplicateEventIdError, OvertakenError
from tlog.storage.rows import FoundEvent, Leaf, PackedRows, State, pack_rows

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from tlog.core.entry import DraftEntry
    from tlog.core.event import ParsedEvent
    from tlog.core.pseudonym import BucketKeys
    from tlog.storage.appending import AppendStore

MAX_GROUP_EVENTS: Final = 5_000
MAX_WAITING_EVENTS: Final = 50_000
MAX_REPORTED: Final = 20
# Large groups make a row cheaper: PostgreSQL's COPY has costs that are the same for 1,000 rows and for 5,000.
_AHEAD_EVENTS: Final = 3_000
_TOGETHER: Final = 100
_SPACE: Final = b" \t\r\n"
_log: Final = structlog.get_logger()


def draft_events(raws: Sequence[bytes], keys: BucketKeys) -> list[DraftEntry]:
    """Return the drafts of events, each one JSON text, if every one of them is valid.

    Raises:
        InvalidBatchError: at least one is not; it names the first twenty.

    """
    parsed = None
    if max(map(len, raws), default=0) <= MAX_EVENT_SIZE:
        parsed = parse_certain(b"\n".join(raws))
    if parsed is None or len(parsed) != len(raws):
        parsed = _parse_one_by_one(raws)
    return _draft(parsed, keys)


def draft_lines(lines: bytes, keys: BucketKeys) -> list[DraftEntry]:
    """Return the drafts of events, one in each line that is not blank, if every one of them is valid.

    Raises:
        InvalidBatchError: at least one is not; it names the first twenty.

    """
    parsed = parse_certain(lines.strip(_SPACE)) if len(lines) <= MAX_EVENT_SIZE else None
    if parsed is None:
        parsed = _parse_one_by_one(split_lines(lines))
    return _draft(parsed, keys)


def split_lines(lines: bytes) -> list[bytes]:
    """Return the lines that are not blank."""
    return [line for line in lines.split(b"\n") if line.strip(_SPACE)]


def _draft(parsed: Sequence[ParsedEvent], keys: BucketKeys) -> list[DraftEntry]:
    # One call for the whole batch: asking the kernel costs more than cutting the bytes.
    return draft_entries(parsed, keys, os.urandom(2 * SALT_SIZE * len(parsed)))


def _parse_one_by_one(raws: Sequence[bytes]) -> list[ParsedEvent]:
    parsed = []
    positions: list[int] = []
    found: list[InvalidEventError] = []
    for position, raw in enumerate(raws):
        try:
            parsed.append(parse_event(raw))
        except InvalidEventError as error:
            positions.append(position)
            found.append(error)
            if len(found) == MAX_REPORTED:
                break
    if found:
        raise InvalidBatchError(positions, found)
    return parsed


class Receipt(NamedTuple):
    """The acknowledgement of one event: where it is, and what pins it there until it is sealed."""

    event_id: str | None
    index: int  # type: ignore[assignment]  # hides tuple.index, which means nothing here
    leaf_hash: bytes
    chain_hash: bytes
    logged_at: str
    duplicate: bool = False


class _Rows(NamedTuple):
    """What drafts become when they continue `start`."""

    start: State
    end: State
    logged_at: str
    leaf_hashes: list[bytes]
    chain_hashes: list[bytes]
    packed: PackedRows


class Receipts(Sequence[Receipt]):
    """The receipts of one request in order, each made when it is looked at: many callers ask for counts only.

    Attributes:
        duplicates: how many of the events were in the log already.
        last_index: the largest index.

    """

    def __init__(self, length: int, make: Callable[[int], Receipt], *, duplicates: int, last_index: int) -> None:
        self._length = length
        self._make = make
        self.duplicates = duplicates
        self.last_index = last_index

    @classmethod
    def of_rows(cls, drafts: Sequence[DraftEntry], rows: _Rows, first: int = 0) -> Receipts:
        """Return the receipts of drafts that were all appended, as the rows from number `first` on."""
        index = rows.start.size + first

        def make(at: int) -> Receipt:
            hashes = rows.leaf_hashes[first + at], rows.chain_hashes[first + at]
            return Receipt(drafts[at].event_id, index + at, *hashes, rows.logged_at)

        return cls(len(drafts), make, duplicates=0, last_index=index + len(drafts) - 1)

    @classmethod
    def of(cls, receipts: Sequence[Receipt]) -> Receipts:
        """Return receipts that were made one by one."""
        duplicates = sum(receipt.duplicate for receipt in receipts)
        last_index = max((receipt.index for receipt in receipts), default=-1)
        return cls(len(receipts), receipts.__getitem__, duplicates=duplicates, last_index=last_index)

    def __len__(self) -> int:
        """Return how many there are."""
        return self._length

    @overload
    def __getitem__(self, at: int) -> Receipt: ...
    @overload
    def __getitem__(self, at: slice) -> list[Receipt]: ...
    def __getitem__(self, at: int | slice) -> Receipt | list[Receipt]:
        """Return one receipt, or several."""
        if isinstance(at, slice):
            return [self._make(each) for each in range(self._length)[at]]
        return self._make(range(self._length)[at])


class _Request(NamedTuple):
    drafts: Sequence[DraftEntry]
    done: asyncio.Future[Receipts]


class _Place(NamedTuple):
    """Where the rows of a request are: as the rows from number `first` on of `rows`, which are of others too."""

    rows: _Rows
    first: int


class _Group:
    """The requests of one transaction in order, and the rows of as many of them as are chained already.

    Small requests are chained together: one event by itself costs several times what it costs among hundreds.
    """

    def __init__(self) -> None:
        self.requests: list[_Request] = []
        self.events = 0
        self.repeats = False
        self._start: State | None = None
        self._rows: list[_Rows] = []
        self._places: list[_Place] = []
        self._event_ids: set[str] = set()

    @property
    def end(self) -> State | None:
        """The state behind it, None while it is not chained whole."""
        return self._rows[-1].end if self._rows and len(self._places) == len(self.requests) else None

    @property
    def event_ids(self) -> list[str]:
        """The eventIds of all requests."""
        return list(self._event_ids)

    def add(self, request: _Request) -> None:
        """Take in a request."""
        self.requests.append(request)
        self.events += len(request.drafts)
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
        """Chain more requests, the first of all to `start`; tell whether `least` events were there to be chained."""
        if self._start != start:
            self._start, self._rows, self._places = start, [], []
        continued = self._rows[-1].end if self._rows else start
        if self.events - (continued.size - start.size) < least:
            return False
        drafts: list[DraftEntry] = []
        firsts: list[int] = []
        for request in self.requests[len(self._places) : len(self._places) + _TOGETHER]:
            firsts.append(len(drafts))
            drafts += request.drafts
            if len(drafts) >= _TOGETHER:
                break
        rows = chain_drafts(continued, drafts, now)
        self._rows.append(rows)
        self._places += [_Place(rows, first) for first in firsts]
        return True

    async def chain(self, start: State, now: int) -> list[_Rows]:
        """Return the rows of all requests when the first of them continues `start`; others go on between the parts."""
        while self.chain_some(start, now):  # noqa: ASYNC110 - it works, and waits for nothing
            await asyncio.sleep(0)
        return self._rows

    def receipts(self) -> list[Receipts]:
        """Return the receipts of every request, once they are chained and durable."""
        return [
            Receipts.of_rows(request.drafts, *place) for request, place in zip(self.requests, self._places, strict=True)
        ]


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
        self._stores = store, store.twin()
        self._clock = clock
        self._max_waiting = max_waiting
        self._waiting: deque[_Group] = deque()
        self._waiting_events = 0
        self._wake = asyncio.Event()
        self._closing = False
        self._turn = asyncio.Lock()  # held from taking a group until the database's lock is held for it
        self._taken: _Group | None = None  # the group for which it is held
        self._under_way = 0  # how many groups are taken and not committed
        self._failures = 0
        self._last_end: State | None = None  # behind the last group that held the database's lock
        self._foreseen: State | None = None  # behind the last group that was taken, if nobody else appends

    @property
    def waiting_events(self) -> int:
        """How many events wait for their group's turn."""
        return self._waiting_events

    def check_room(self, events: int) -> None:
        """Check that so many events could wait now.

        Raises:
            OverloadedError: they could not, or the log is closing.

        """
        if self._closing or self._waiting_events + events > self._max_waiting:
            message = "the log is closing" if self._closing else "too many events wait to be appended"
            raise OverloadedError(message)

    async def append(self, drafts: Sequence[DraftEntry]) -> Receipts:
        """Append `drafts`, all or none, and return their receipts in order once they are durable.

        Raises:
            OverloadedError: too many events wait, the database is away, the clock is not to be believed, or the log is
                closing.
            EventConflictError: one of the eventIds is logged with other content.

        """
        if not drafts:
            return Receipts.of([])
        self.check_room(len(drafts))
        self._now()  # refused here, before it waits, if the clock is not to be believed
        request = _Request(drafts, asyncio.get_running_loop().create_future())
        if not self._waiting or self._waiting[-1].events + len(drafts) > MAX_GROUP_EVENTS:
            self._waiting.append(_Group())
        self._waiting[-1].add(request)
        self._waiting_events += len(drafts)
        self._chain_ahead()
        self._wake.set()
        return await request.done

    async def run(self) -> None:
        """Append what waits until `close` is called and nothing waits any more."""
        try:
            await asyncio.gather(*map(self._lane, self._stores))
        finally:
            self._closing = True
            for group in self._waiting:
                for request in group.requests:
                    if not request.done.done():
                        request.done.set_exception(OverloadedError("the log is closing"))
            for store in self._stores:
                await store.close()

    def close(self) -> None:
        """Refuse new requests and let `run` end after the waiting ones."""
        self._closing = True
        self._wake.set()

    def _now(self) -> int:
        return to_microseconds(self._clock())

    async def _lane(self, store: AppendStore) -> None:
        """Append group after group over one connection."""
        failures = self._failures
        while (group := await self._take()) is not None:
            try:
                if failures != self._failures:
                    failures = self._failures
                    await store.close()  # what broke the other lane's connection has probably broken this one too
                await self._append_group(store, group)
            finally:
                self._pass_turn(group)
                self._under_way -= 1
                self._wake.set()

    async def _take(self) -> _Group | None:
        """Take the next group, and with it the turn; None if the appender is closing and nothing waits."""
        await self._turn.acquire()
        while not (self._waiting and (self._under_way == 0 or self._waiting[0].events >= _AHEAD_EVENTS)):
            if self._closing and not self._waiting:
                self._turn.release()
                return None
            self._wake.clear()
            await self._wake.wait()
        group = self._waiting.popleft()
        self._waiting_events -= group.events
        self._under_way += 1
        self._taken = group
        return group

    def _pass_turn(self, group: _Group) -> None:
        if self._taken is group:
            self._taken = None
            self._turn.release()

    async def _append_group(self, store: AppendStore, group: _Group) -> None:
        outcomes: Sequence[Receipts | TlogError]
        try:
            outcomes = await self._commit(store, group)
        except TlogError as error:
            self._failures += 1
            self._foreseen = self._last_end = None
            outcomes = [error] * len(group.requests)
        except Exception as error:  # noqa: BLE001 - a bug must not stop the appender; the requests learn of it
            # Class and place only: a message could quote an event.
            place = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in extract_tb(error.__traceback__)]
            _log.error("append failed", error=type(error).__name__, place=place)
            self._foreseen = self._last_end = None
            outcomes = [OverloadedError("the append failed; try again with the same eventIds")] * len(group.requests)
        for request, outcome in zip(group.requests, outcomes, strict=True):
            with suppress(asyncio.InvalidStateError):  # its client went away meanwhile
                if isinstance(outcome, TlogError):
                    request.done.set_exception(outcome)
                else:
                    request.done.set_result(outcome)

    async def _commit(self, store: AppendStore, group: _Group) -> Sequence[Receipts | TlogError]:
        group.drop_cancelled()
        ahead = None
        if (start := self._foreseen) is not None:
            self._foreseen = None  # until it is known where this group ends
            ahead = Ahead(start, [rows.packed for rows in await group.chain(start, self._now())])
            self._foreseen = group.end
            self._chain_ahead()
        if not group.repeats:
            with suppress(DuplicateEventIdError):
                try:
                    return await self._commit_quickly(store, group, ahead)
                except OvertakenError:
                    return await self._commit_quickly(store, group, None)
        return await self._commit_carefully(store, group)

    async def _commit_quickly(self, store: AppendStore, group: _Group, ahead: Ahead | None) -> Sequence[Receipts]:
        """Append everything in one transaction, in the hope that no eventId is known."""
        async with store.transaction(group.events, ahead) as append:
            rows = await group.chain(append.state, self._now())
            end = rows[-1].end if rows else append.state
            self._locked(group, append.state, end)
            if rows:
                await append.insert([each.packed for each in rows], end)
        return group.receipts()

    def _locked(self, group: _Group, start: State, end: State) -> None:
        """Let the next group have its turn, to continue where this one ends, unless others append too."""
        alone = self._last_end in (None, start)
        self._last_end, self._foreseen = end, end if alone else None
        self._pass_turn(group)
        asyncio.get_running_loop().call_soon(self._chain_ahead)

    def _chain_ahead(self) -> None:
        """Chain some of what waits, if what it continues is foreseen; come back for more."""
        start = self._foreseen
        try:
            now = self._now()
        except OverloadedError:
            return  # the requests learn of it when their turn comes
        for group in self._waiting:
            if start is None:
                return
            if group.chain_some(start, now, _TOGETHER):
                asyncio.get_running_loop().call_soon(self._chain_ahead)
                return
            start = group.end

    async def _commit_carefully(self, store: AppendStore, group: _Group) -> list[Receipts | TlogError]:
        """Append what is new of each request, after looking up what is known, all in one transaction."""
        async with store.transaction(group.events) as append:
            known = {event.leaf.event_id: event for event in await append.find(group.event_ids)}
            fresh: dict[str, DraftEntry] = {}
            ordered: list[DraftEntry] = []
            conflicts: list[EventConflictError | None] = []
            for request in group.requests:
                added, conflict = _sort_out(request.drafts, known, fresh)
                conflicts.append(conflict)
                if conflict is None:
                    fresh |= {draft.event_id: draft for draft in added if draft.event_id is not None}
                    ordered += added
            rows = chain_drafts(append.state, ordered, self._now())
            self._locked(group, append.state, rows.end)
            if ordered:
                await append.insert([rows.packed], rows.end)
        receipts = Receipts.of_rows(ordered, rows)
        first = {id(draft): receipt for draft, receipt in zip(ordered, receipts, strict=True)}
        return [
            conflict or Receipts.of([_receipt(draft, first, fresh, known) for draft in request.drafts])
            for request, conflict in zip(group.requests, conflicts, strict=True)
        ]


def chain_drafts(start: State, drafts: Sequence[DraftEntry], now: int) -> _Rows:
    """Return the rows that `drafts` become when they continue `start` at `now` (microseconds since 1970)."""
    logged_at = max(now, start.last_logged_at) if drafts else start.last_logged_at
    text = format_logged_at(from_microseconds(logged_at))
    entries = [draft.head + text + draft.tail for draft in drafts]
    leaves = leaf_hashes(entries)
    chain = chain_hashes(start.chain_hash, leaves)
    end = State(start.size + len(drafts), chain[-1] if drafts else start.chain_hash, logged_at)
    packed = pack_rows(start.size, drafts, entries, leaves, chain)
    return _Rows(start, end, text.decode(), leaves, chain, packed)


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
