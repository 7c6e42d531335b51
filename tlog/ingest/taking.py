"""Taking from a stream: each message is logged once, or kept as a dead letter, whatever fails meanwhile.

How far a stream is taken moves on inside the transaction that appends, by comparing where it is (`tlog.writing.advancing`). So
several requests can be under way: each begins where the one before ends, and after a failure all later ones are fenced.

    a request failed        wait until all have ended, read how far the stream is taken
    batches before that     are durable, also where the answer of the commit was lost
    batches after that      are appended again in order, with a pause of 1 to 30 s; conflicts become dead letters
    that is no batch's edge another process takes from this stream: end

An append is never cancelled, because that would drop it. While anything is appended again, nothing is fetched, so memory stays
bounded.
Left out: where messages come from (`tlog.ingest.kafka`), and what an event is (`tlog.ingest.decoding`).
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

import structlog

from tlog.core.entry import to_microseconds
from tlog.errors import (
    EventConflictError,
    IntakeFencedError,
    OperatorError,
    OverloadedError,
    TlogError,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from datetime import datetime

    from tlog.ingest.batches import Batch, Maker
    from tlog.ingest.decoding import Message
    from tlog.storage.intake import Taken
    from tlog.writing.appender import Appender
    from tlog.writing.receipts import Receipts

_FETCH_MESSAGES: Final = 1_000
_FETCH_SECONDS: Final = 0.2
_MAX_BATCH_SIZE: Final = 8 << 20
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0
IDLE_SECONDS: Final = 60.0  # after which offsets without messages, such as transaction markers, are taken
_log: Final = structlog.get_logger()


class Limits(NamedTuple):
    """How much is taken at a time.

    Attributes:
        batch: messages in one request.
        linger: seconds after its first message until a request is sent though it is not full.
        in_flight: requests under way.
        max_refused: refusals in a row, after which somebody has to look.
        idle: seconds after which offsets without messages are taken.

    """

    batch: int = 4_000
    linger: float = 0.5
    in_flight: int = 3
    max_refused: int = 1_000
    idle: float = IDLE_SECONDS


class Fetched(NamedTuple):
    """What was fetched: messages, of each partition by offset, and the offset of each partition's end that was met."""

    messages: Sequence[Message]
    ends: Mapping[int, int]


class Source(Protocol):
    """Where messages come from. Its methods wait, and are called in one thread."""

    def fetch(self, most: int, seconds: float) -> Fetched:
        """Return up to `most` messages, waiting so many seconds for the first of them.

        Raises:
            OperatorError: the stream is not what it was, or has not what is asked for.

        """


class Sent(NamedTuple):
    """A batch under way."""

    batch: Batch
    appending: asyncio.Future[Receipts]
    begun: float


class Tally:
    """What was taken so far, for whoever watches.

    Attributes:
        fates: how many messages were logged, repeated and refused.
        fenced: how many requests another process came before.
        next_offset: of each partition, how far it is taken durably.
        failing_since: when the request failed that is appended again, None if none is.
        took: told how many seconds each request took.

    """

    def __init__(self) -> None:
        self.fates: Counter[str] = Counter(logged=0, repeated=0, refused=0)
        self.fenced = 0
        self.next_offset: dict[int, int] = {}
        self.failing_since: float | None = None
        self.took: Callable[[float], None] = lambda _: None


class Taker:
    """Takes from one stream."""

    def __init__(  # noqa: PLR0917 - what it works with, one by one
        self,
        source: Source,
        appender: Appender,
        maker: Maker,
        taken: Callable[[], Awaitable[Sequence[Taken]]],
        clock: Callable[[], datetime],
        limits: Limits,
    ) -> None:
        """Prepare.

        Args:
            source: where messages come from, which begins where `taken` says.
            appender: where they go.
            maker: what makes batches of them.
            taken: reads how far the stream is taken.
            clock: the log's.
            limits: how much is taken at a time.

        """
        self._source = source
        self._appender = appender
        self._maker = maker
        self._read_taken = taken
        self._clock = clock
        self._limits = limits
        self._sent: deque[Sent] = deque()
        self._positions: dict[int, int] = {}
        self._ends: dict[int, tuple[int, float]] = {}  # of each partition its end, and when it was met first
        self._refused_before = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="fetching")
        self._stopping = asyncio.Event()
        self.tally = Tally()

    def begin(self, positions: Mapping[int, int]) -> None:
        """Take further partitions, each from its position on."""
        self._positions |= positions
        self.tally.next_offset |= positions

    def stop(self) -> None:
        """Let `run` end after the requests that are under way."""
        self._stopping.set()

    async def call(self, work: Callable[[], None]) -> None:
        """Do something with the source in its thread, between two fetches."""
        await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def run(self) -> None:
        """Take until `stop` is called.

        Raises:
            OperatorError: see `Source.fetch`; or too many messages in a row are no events.
            IntakeFencedError: another process takes from the stream.

        """
        try:
            while not self._stopping.is_set():
                await self._settle_ended()
                batch = await self._gather()
                if batch is not None:
                    await self._send(batch)
            while self._sent and self.tally.failing_since is None:
                await self._settle()
        finally:
            # What is under way is durable or not; the next taker reads which. Cancelled, it would be dropped for certain.
            if under_way := [each.appending for each in self._sent]:
                await asyncio.wait(under_way, timeout=_LONGEST_PAUSE)
                for each in under_way:
                    _ = each.done() and (each.cancelled() or each.exception())
            self._thread.shutdown(wait=False, cancel_futures=True)

    # --- Gathering ---------------------------------------------------------------------------------------------------

    async def _gather(self) -> Batch | None:
        """Return the next batch, None if nothing came or the end is near."""
        messages: list[Message] = []
        size, deadline = 0, time.monotonic() + _FETCH_SECONDS
        while len(messages) < self._limits.batch and size < _MAX_BATCH_SIZE and not self._stopping.is_set():
            seconds = deadline - time.monotonic()
            if seconds <= 0:
                break
            most = min(_FETCH_MESSAGES, self._limits.batch - len(messages))
            fetched = await self._fetch(most, min(seconds, _FETCH_SECONDS))
            if fetched.messages and not messages:
                deadline = time.monotonic() + self._limits.linger
            messages += fetched.messages
            size += sum(len(each.value or b"") for each in fetched.messages)
            self._note_ends(fetched)
        starts, ends = self._range_of(messages)
        if not ends or self._stopping.is_set():
            return None
        batch = self._maker.make(messages, starts, ends, to_microseconds(self._clock()))
        self._refused_before = self._check_refusals(batch, self._refused_before)
        self._positions |= ends
        return batch

    async def _fetch(self, most: int, seconds: float) -> Fetched:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._source.fetch, most, seconds)

    def _note_ends(self, fetched: Fetched) -> None:
        now = time.monotonic()
        for partition in {message.partition for message in fetched.messages}:
            self._ends.pop(partition, None)
        for partition, end in fetched.ends.items():
            before = self._ends.get(partition)
            self._ends[partition] = end, now if before is None else before[1]

    def _range_of(self, messages: Sequence[Message]) -> tuple[dict[int, int], dict[int, int]]:
        """Return from where to where a batch of these messages goes in each partition that it takes something of."""
        ends = {each.partition: each.offset + 1 for each in messages}
        if not messages and not self._sent:
            idle = time.monotonic() - self._limits.idle
            ends = {
                partition: end
                for partition, (end, since) in self._ends.items()
                if since <= idle and end > self._positions.get(partition, end)
            }
        return {partition: self._positions[partition] for partition in ends}, ends

    def _check_refusals(self, batch: Batch, before: int) -> int:
        """Return how many refusals in a row a batch ends with that comes after so many.

        Raises:
            OperatorError: too many of them are in a row.

        """
        most, last = batch.refusals_in_a_row(before)
        if most >= self._limits.max_refused:
            message = (
                f"{most:,} messages in a row are no events, which looks like another topic or format; the last of them were not "
                "logged. Check --topic and --format, or raise --max-refused"
            )
            raise OperatorError(message)
        return last

    # --- Appending ---------------------------------------------------------------------------------------------------

    async def _send(self, batch: Batch) -> None:
        while len(self._sent) >= self._limits.in_flight and not self._stopping.is_set():
            await self._settle()
        if self._stopping.is_set():
            return  # the next taker reads its messages again
        self._sent.append(Sent(batch, asyncio.ensure_future(self._append(batch)), time.monotonic()))

    async def _append(self, batch: Batch) -> Receipts:
        drafts, advances = batch.request()
        return await self._appender.append(drafts, size=batch.size, advances=advances)

    async def _settle_ended(self) -> None:
        """Take note of the requests that have ended."""
        while self._sent and self._sent[0].appending.done() and not self._stopping.is_set():
            await self._settle()

    async def _settle(self) -> None:
        """Wait for the oldest request, and mend what failed."""
        oldest = self._sent[0]
        await asyncio.wait([oldest.appending])
        if oldest.appending.exception() is None:
            self._note_durable(oldest, oldest.appending.result())
        else:
            await self._recover()

    def _note_durable(self, sent: Sent, receipts: Receipts | None) -> None:
        """Count a batch that is durable; of one whose answer was lost it is not known which events were repeated."""
        self._sent.remove(sent)
        batch = sent.batch
        repeated = 0 if receipts is None else receipts.duplicates
        self.tally.fates.update(logged=len(batch) - batch.refused - repeated, repeated=repeated, refused=batch.refused)
        self.tally.next_offset |= batch.ends
        self.tally.took(time.monotonic() - sent.begun)
        if batch.refused:
            _log.warning("messages_refused", messages=batch.refused)

    async def _recover(self) -> None:
        """Append again, in order, what was not appended.

        Raises:
            IntakeFencedError: the stream is taken to where no batch ends: another process was here.
            OperatorError: too many messages in a row are no events, or what the appender meets.

        """
        await asyncio.wait([each.appending for each in self._sent])
        self.tally.failing_since = time.monotonic()
        pause = 0.0
        for each in self._sent:
            self._refuse_conflicts(each)
        while self._sent:
            if pause and await self._pause(pause):
                return
            try:
                await self._drop_durable()
                if self._sent:
                    await self._append_again()
            except EventConflictError:
                pause = 0.0
            except (OverloadedError, IntakeAgainError) as error:
                pause = min(max(_FIRST_PAUSE, 2 * pause), _LONGEST_PAUSE)
                _log.warning("taking_pauses", seconds=pause, reason=str(error))
            else:
                pause = 0.0
        self.tally.failing_since = None

    async def _drop_durable(self) -> None:
        """Leave out the batches that are durable, by how far the stream is taken."""
        at = {each.partition: each.next_offset for each in await self._read_taken() if not each.released}
        expected = {partition: start for each in reversed(self._sent) for partition, start in each.batch.starts.items()}
        durable = 0
        while any(at.get(partition) != offset for partition, offset in expected.items()):
            if durable == len(self._sent):
                message = "another process takes from this stream; one log has one taker, so stop one of them"
                raise IntakeFencedError(message)
            expected |= self._sent[durable].batch.ends
            durable += 1
        for each in [*self._sent][:durable]:
            self._note_durable(each, None)

    async def _append_again(self) -> None:
        oldest = self._sent[0]
        again = oldest._replace(appending=asyncio.ensure_future(self._append(oldest.batch)))
        self._sent[0] = again
        await asyncio.wait([again.appending])
        match again.appending.exception():
            case None:
                self._note_durable(again, again.appending.result())
            case IntakeFencedError() as error:
                # Perhaps a commit that was given up came through after all; reading anew tells.
                self._refuse_conflicts(again)
                raise IntakeAgainError(str(error))
            case error:
                self._refuse_conflicts(again)
                raise error

    def _refuse_conflicts(self, sent: Sent) -> None:
        """Make dead letters of the events of a request that the log has with other content.

        Raises:
            OperatorError: too many messages in a row are no events.

        """
        error = sent.appending.exception()
        self.tally.fenced += isinstance(error, IntakeFencedError)
        if isinstance(error, EventConflictError):
            sent.batch.refuse({int(each.pointer.split("/")[1]): each.rule() for each in error.conflicts})
            self._check_refusals(sent.batch, 0)

    async def _pause(self, seconds: float) -> bool:
        """Wait; tell whether the end came meanwhile."""
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            return False
        return True


class IntakeAgainError(TlogError):
    """A request was fenced that may be durable: how far the stream is taken has to be read again."""
