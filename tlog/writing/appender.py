"""Group commit: drafts become entries, in one transaction for all requests that wait, under one lock.

The order of the log is the order in which transactions take the row lock on the log's state, so several processes can
append at once. Under the lock: loggedAt = max(clock, last loggedAt), leaf hash, chain hash, COPY, new state, commit. A
request is acknowledged only after the commit is on disk; each is appended whole or not at all.

The rows of a request follow from the state they continue. While nobody else appends, that state is foreseen before the
lock is taken: requests are hashed and packed as they arrive, and everything of a large group that needs no lock is written
while the group before is still being committed, over a second connection (a *lane*). Under the lock the state is compared;
if another process appended after all, the group is hashed, packed and written anew.

An eventId makes a retry safe. The common case, none of them known, is tried at once; only when the unique index objects
is the group taken apart: a known event gets its first receipt if the content is the same, and a conflict if not. After a group
with a known eventId the next one is taken apart at once, because PostgreSQL writes a line for each objection of its index. A
group is taken apart too where somebody else took from a stream that one of its requests takes from (`tlog.writing.advancing`).

A COMMIT may wait for a standby without end. After ten seconds whoever waits is refused, and so is everybody who comes, until
that COMMIT is done.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from contextlib import suppress
from traceback import extract_tb
from typing import TYPE_CHECKING, Final, Literal

import structlog

from tlog.core.chain import CHAIN_START
from tlog.core.entry import to_microseconds
from tlog.core.making.outcome import draft_outcome
from tlog.errors import OverloadedError, RollbackError, TlogError
from tlog.storage.appending import Ahead, DuplicateEventIdError, OvertakenError
from tlog.storage.intake import FencedError
from tlog.storage.rows import NO_RUNS
from tlog.writing.advancing import advance_alone, contract
from tlog.writing.duplicates import TRUSTED, Sender, sort_out, strangers
from tlog.writing.grouping import TOGETHER, Batch, Group, Request
from tlog.writing.packing import pack, pack_group
from tlog.writing.receipts import ChainedRows, Receipt, Receipts, chain_drafts, stored_receipt
from tlog.writing.watermark import Watermark

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from datetime import datetime

    from tlog.core.making.drafts import DraftEntry
    from tlog.errors import Cause
    from tlog.storage.appending import Append, AppendStore
    from tlog.storage.intake import Advance
    from tlog.storage.rows import FoundEvent, PackedRuns, State
    from tlog.writing.failover import Succession

MAX_WAITING_EVENTS: Final = 50_000
# Seconds after which the requests of a transaction that is not done are refused. The transaction goes on: a COMMIT that waits for
# a standby must not be cancelled, or PostgreSQL would make it visible where no standby has it.
PATIENCE: Final = 10.0
# Large groups make a row cheaper: PostgreSQL's COPY has costs that are the same for 1,000 rows and for 5,000.
_AHEAD_EVENTS: Final = 3_000
_WATCH_SECONDS: Final = 1.0
_log: Final = structlog.get_logger()


class Appender:
    """Takes requests from many tasks and appends them in groups; `run` does the work.

    What its two lanes share:

        field         set by                    means                                          when there is none
        _turn         _take, _pass_turn         a lock: a lane holds it from when it waits     nobody is about to take a
                                                for a group until that group has the           group: another lane may
                                                database's lock
        _taken        _take, _pass_turn         the group for which the turn is held           None: the lane that holds the
                                                                                               turn still waits for a group,
                                                                                               or nobody holds the turn
        _under_way    _take, _lane              how many groups are taken and not committed    0: a group is taken at once,
                                                                                               however small it is
        _failures     _append_group             how many groups have failed: a lane that       0: none has failed
                                                sees more than before connects anew
        _last_end     _locked, _append_group    the state after the last group that had the    None: no group had it yet, or
                                                database's lock                                one has failed since
        _foreseen     _commit, _locked,         the state that the next group will continue    None: as above, or others
                      _append_group             if nobody else appends                         append too, or the group
                                                                                               before is being chained
        _repeated     _commit_carefully         whether the last group that was taken apart    False: no group was, or the
                                                had an eventId that the log knew               last one had none
    """

    def __init__(
        self,
        store: AppendStore,
        clock: Callable[[], datetime],
        *,
        reached: tuple[int, bytes] = (0, CHAIN_START),
        max_waiting: int = MAX_WAITING_EVENTS,
        succession: Succession | None = None,
        patience: float = PATIENCE,
    ) -> None:
        """Prepare.

        Args:
            store: where rows go.
            clock: returns the current time, aware.
            reached: size and chain hash of the log that the database must hold at least: what is anchored.
            max_waiting: how many events may wait; a request for which there is no room is refused.
            succession: decides whether the log goes on on another server; None where the log is only made.
            patience: seconds that a transaction may take until its requests are refused.

        Attributes:
            gate: what each request with events waits for first, None for nothing: see `tlog.lifecycle.life`.
            trouble: what the last group failed for, None if it did not fail.
            groups: how many groups were appended or failed.

        """
        self._succession = succession
        self._patience = patience
        self._late: set[Group] = set()
        self._stores = store, store.twin()
        self._clock = clock
        self._max_waiting = max_waiting
        self._watermark = Watermark(*reached)
        self._connected = False
        self._refused: RollbackError | None = None
        self.gate: Callable[[], Awaitable[None]] | None = None
        self._at_gate = 0
        self.trouble: Cause | None = None
        self.groups = 0
        self._waiting: deque[Group] = deque()
        self._waiting_events = 0
        self._wake = asyncio.Event()
        self._closing = False
        self._turn = asyncio.Lock()
        self._taken: Group | None = None
        self._under_way = 0
        self._failures = 0
        self._last_end: State | None = None
        self._foreseen: State | None = None
        self._repeated = False
        self.committed: Callable[[float], None] = lambda _: None
        """Told how many seconds a group took from when it was taken to when it was committed."""
        self.packed: Callable[[float, PackedRuns], None] = lambda *_: None
        """Told how many seconds it took to pack a group's runs, and the runs."""

    @property
    def waiting_events(self) -> int:
        """How many events wait at the gate or for their group's turn."""
        return self._at_gate + self._waiting_events

    @property
    def under_way(self) -> int:
        """How many groups are being appended."""
        return self._under_way

    def check_clock(self) -> None:
        """Check that the clock is to be believed.

        Raises:
            UntrueClockError: it is not.

        """
        self._now()

    @property
    def waits_for(self) -> Literal["", "standby", "database"]:
        """What appending has been waiting for too long, "" for nothing."""
        if not self._late:
            return ""
        return "standby" if any(group.committing for group in self._late) else "database"

    def check_room(self, events: int) -> None:
        """Check that so many events could wait now.

        Raises:
            OverloadedError: there is no room for so many, appending stands still, or the log is closing.

        """
        if self._late:
            raise self._standstill()
        if self._closing or self.waiting_events + events > self._max_waiting:
            message = "the log is closing" if self._closing else "too many events wait to be appended"
            raise OverloadedError(message)

    async def append(
        self, drafts: Sequence[DraftEntry], sender: Sender = TRUSTED, size: int = 0, advances: Sequence[Advance] = ()
    ) -> Receipts:
        """Append `drafts`, all or none, and return their receipts in order once they are durable.

        Args:
            drafts: what to append.
            sender: who sends them, which decides what is told of those that are known.
            size: about how many bytes they have, as far as the caller knows: large ones go into a group of their own.
            advances: steps of streams that are made with them, or not at all; the last draft is the entry that says so.

        Raises:
            OverloadedError: too many events wait, the database is away, the clock is not believed, or the log is closing.
            EventConflictError: one of the eventIds is logged with other content, or by somebody else.
            IntakeFencedError: a stream is not where one of `advances` begins.

        """
        if not drafts:
            return Receipts.of([])
        self.check_room(len(drafts))
        if self.gate is not None and drafts[0].event_id is not None:
            await self._pass(self.gate, len(drafts))
        return await self.submit([Batch(drafts, size, advances)], sender)[0]

    def submit(self, batches: Sequence[Batch], sender: Sender) -> list[asyncio.Future[Receipts]]:
        """Do the same for several batches of one sender, and wait for none: room and gate are the caller's to look at.

        Raises:
            UntrueClockError: the clock is not to be believed.

        """
        self._now()  # a clock that is not to be believed refuses the requests here, before they wait
        submitted = []
        for batch in batches:
            request = Request(batch, sender, asyncio.get_running_loop().create_future())
            if not self._waiting or not self._waiting[-1].has_room(batch):
                self._waiting.append(Group())
            self._waiting[-1].add(request)
            self._waiting_events += len(batch.drafts)
            submitted.append(request.done)
        self._chain_ahead()
        self._wake.set()
        return submitted

    async def _pass(self, gate: Callable[[], Awaitable[None]], events: int) -> None:
        """Wait at the gate, as events that wait for their group do."""
        self._at_gate += events
        try:
            await gate()
        finally:
            self._at_gate -= events
        self.check_room(events)

    async def run(self) -> None:
        """Append the requests that wait, until `close` is called and no request waits any more.

        Whoever cannot wait for that cancels it: then connections are closed, and the server goes on with what it is doing.

        Raises:
            RollbackError: the database went back. No lane appends anything any more; requests are refused.

        """
        watching = asyncio.create_task(self._watch(), name="watching")
        try:
            # A lane that refuses stops the other before its next transaction. It is not cancelled: its COMMIT may succeed.
            await asyncio.gather(*map(self._lane, self._stores))
            if self._refused is not None:
                raise self._refused
        finally:
            self._closing = True
            watching.cancel()
            for group in self._waiting:
                group.refuse(OverloadedError("the log is closing"))
            for store in self._stores:
                await store.close()

    def close(self) -> None:
        """Refuse new requests, and let `run` end after those that wait."""
        self._closing = True
        self._wake.set()

    async def _watch(self) -> None:
        """Connect anew within a second when the server has ended the connections, also while nobody appends.

        Then another server may be there, which others wait to hear of: what is pending is not signed before.
        """
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            idle = not (self._under_way or self._waiting or self._closing)
            if idle and self._connected and not any(store.lives() for store in self._stores):
                self._waiting.append(Group())  # of nobody
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
                    await store.close()  # whatever broke the other lane's connection has probably broken this one too
                await self._append_group(store, group)
            finally:
                self._pass_turn(group)
                self._under_way -= 1
                self.groups += 1
                self._wake.set()

    async def _take(self) -> Group | None:
        """Take the next group, and with it the turn; None if the appender is closing and nothing waits."""
        await self._turn.acquire()
        if self._refused is not None:
            self._turn.release()
            return None
        while not (self._waiting and (self._under_way == 0 or self._waiting[0].events >= _AHEAD_EVENTS)):
            if self._refused is not None or (self._closing and not self._waiting):
                self._turn.release()
                return None
            self._wake.clear()
            await self._wake.wait()
        group = self._waiting.popleft()
        self._waiting_events -= group.events
        self._under_way += 1
        self._taken = group
        return group

    def _pass_turn(self, group: Group) -> None:
        if self._taken is group:
            self._taken = None
            self._turn.release()

    async def _append_group(self, store: AppendStore, group: Group) -> None:
        outcomes: Sequence[Receipts | TlogError]
        tiring = asyncio.get_running_loop().call_later(self._patience, self._tire, group)
        self._connected = True
        begun, seconds = time.perf_counter(), None
        try:
            outcomes = await self._commit(store, group)
            self.trouble = None
            seconds = time.perf_counter() - begun
        except asyncio.CancelledError:
            group.refuse(OverloadedError("the log is closing; try again with the same eventIds"))
            raise
        except RollbackError as error:
            self._refused = self._refused or error
            self._closing = True
            outcomes = [OverloadedError("the log has stopped appending; its operator has to act")] * len(group.requests)
        except TlogError as error:
            self._failures += 1
            self.trouble = error.cause if isinstance(error, OverloadedError) else "database"
            self._foreseen = self._last_end = None
            outcomes = [error] * len(group.requests)
        except Exception as error:  # noqa: BLE001 - a bug must not stop the appender; the requests learn of it
            # The class and the place only: a message could quote an event.
            place = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in extract_tb(error.__traceback__)]
            _log.error("append_failed", error=type(error).__name__, place=place)
            self._foreseen = self._last_end = None
            outcomes = [OverloadedError("the append failed; try again with the same eventIds")] * len(group.requests)
        finally:
            tiring.cancel()
            self._late.discard(group)
        group.answer(outcomes)
        if seconds is not None:
            self.committed(seconds)

    def _tire(self, group: Group) -> None:
        """Refuse the requests of a group that takes too long, and those that wait; the group itself goes on."""
        self._late.add(group)
        _log.error("appending_stands_still", waits_for=self.waits_for)
        for each in (group, *self._waiting):
            each.refuse(self._standstill())
        self._waiting.clear()
        self._waiting_events = 0

    def _standstill(self) -> OverloadedError:
        what = "a standby" if self.waits_for == "standby" else "the database"
        return OverloadedError(f"appending waits for {what}; try again with the same eventIds")

    async def _commit(self, store: AppendStore, group: Group) -> Sequence[Receipts | TlogError]:
        group.drop_cancelled()
        ahead = None
        start, self._foreseen = self._foreseen, None  # until this group is chained, which says where it ends
        if self._repeated:
            return await self._commit_carefully(store, group)
        if start is not None:
            rows = await group.chain(start, self._now())
            self._foreseen = group.end
            self._chain_ahead()
            ahead = Ahead(start, await self._pack(rows))
        if not group.repeats:
            with suppress(DuplicateEventIdError, FencedError):
                try:
                    return await self._commit_quickly(store, group, ahead)
                except OvertakenError:
                    return await self._commit_quickly(store, group, None)
        return await self._commit_carefully(store, group)

    async def _commit_quickly(self, store: AppendStore, group: Group, ahead: Ahead | None) -> Sequence[Receipts]:
        """Append everything in one transaction, in the hope that no eventId is known."""
        async with store.transaction(group.events, ahead) as append:
            said = await self._check(append)
            await append.advance(contract(group.advances))
            rows = await group.chain(append.state, self._now())
            end = rows[-1].end if rows else append.state
            self._locked(group, append.state, end)
            if rows:
                runs = NO_RUNS if append.written else await self._pack(rows)
                await append.insert([each.leaves for each in rows], runs, end)
            group.committing = True
        if rows or said:
            self._watermark.rise(end)
        return group.receipts()

    async def _pack(self, rows: Sequence[ChainedRows]) -> PackedRuns:
        begun = time.perf_counter()
        runs = await pack_group(rows)
        self.packed(time.perf_counter() - begun, runs)
        return runs

    async def _check(self, append: Append) -> bool:
        """Check, before anything is written, that the log continues what this process saw committed, and where.

        On another server than before, what has to be said of that is written first; tell whether it was.
        """
        if self._refused is not None:
            raise self._refused
        await self._watermark.check(append)
        if self._succession is None:
            return False
        report = await self._succession.check(append, risen=self._watermark.risen)
        if report is None:
            return False
        if append.written:
            raise OvertakenError  # what was written ahead has other indexes then
        rows = chain_drafts(append.state, [draft_outcome(report)], self._now())
        await append.insert([rows.leaves], pack([rows]), rows.end)
        append.state = rows.end
        return True

    def _locked(self, group: Group, start: State, end: State) -> None:
        """Let the next group have its turn; unless others append too, it will continue where this one ends."""
        alone = self._last_end in (None, start)
        self._last_end, self._foreseen = end, end if alone else None
        self._pass_turn(group)
        asyncio.get_running_loop().call_soon(self._chain_ahead)

    def _chain_ahead(self) -> None:
        """Chain some of the requests that wait, if the state they continue is foreseen; come back for more."""
        start = self._foreseen
        try:
            now = self._now()
        except OverloadedError:
            return  # the requests learn of it when their turn comes
        for group in self._waiting:
            if start is None:
                return
            if group.chain_some(start, now, TOGETHER):
                asyncio.get_running_loop().call_soon(self._chain_ahead)
                return
            start = group.end

    async def _commit_carefully(self, store: AppendStore, group: Group) -> list[Receipts | TlogError]:
        """Append the new events of each request, after looking up the known ones, all in one transaction."""
        async with store.transaction(group.events) as append:
            said = await self._check(append)
            known = {event.leaf.event_id: event for event in await append.find(group.event_ids)}
            self._repeated = bool(known)
            principals = await _principals(append, group, known)
            fresh: dict[str, DraftEntry] = {}
            ordered: list[DraftEntry] = []
            refusals: list[TlogError | None] = []
            for request in group.requests:
                refusal: TlogError | None
                added, refusal = sort_out(request.drafts, known, fresh, request.sender, principals)
                if refusal is None and request.batch.advances:
                    refusal = await advance_alone(append, request.batch.advances)
                refusals.append(refusal)
                if refusal is None:
                    fresh |= {draft.event_id: draft for draft in added if draft.event_id is not None}
                    ordered += added
            rows = chain_drafts(append.state, ordered, self._now())
            self._locked(group, append.state, rows.end)
            if ordered:
                await append.insert([rows.leaves], await self._pack([rows]), rows.end)
            group.committing = True
        if ordered or said:
            self._watermark.rise(rows.end)
        receipts = Receipts.of_rows(ordered, rows)
        first = {id(draft): receipt for draft, receipt in zip(ordered, receipts, strict=True)}
        return [
            refusal or Receipts.of([_receipt(draft, first, fresh, known) for draft in request.drafts])
            for request, refusal in zip(group.requests, refusals, strict=True)
        ]


async def _principals(append: Append, group: Group, known: dict[str | None, FoundEvent]) -> dict[str, str | None]:
    """Return whose API keys are those with which what is in a group was sent, and what is known of it was logged."""
    sent = {request.sender.appended_by: request.sender.principal for request in group.requests}
    others = {first for request in group.requests for first in strangers(request.sender, request.drafts, known)}
    unknown = others - sent.keys()
    return {**sent, **(await append.principals(unknown) if unknown else {})}


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
    return stored_receipt(known[draft.event_id])._replace(duplicate=True)
