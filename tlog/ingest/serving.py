"""The taker as a process: opens the log, waits to lead, prepares, takes, and watches over the topic meanwhile.

It runs beside `tlog serve`, or alone: sealing and indexing are started beside it, and wait where another process leads them.
"""

from __future__ import annotations

import asyncio
import threading
from base64 import b64encode
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
import structlog

from tlog.core.strict import encode_base64url
from tlog.errors import OperatorError, OverloadedError
from tlog.ingest.batches import Maker
from tlog.ingest.decoding import decoder_of
from tlog.ingest.preparing import Plan, Wishes, accept_gaps, check_table, open_partitions, plan
from tlog.ingest.taking import Taker
from tlog.lifecycle.life import living
from tlog.lifecycle.opening import open_log
from tlog.lifecycle.running import SERVICES_PATIENCE, running
from tlog.location import DEFAULT_INTERVAL, tune_memory, version
from tlog.storage.intake import IntakeStore, list_dead_letters

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tlog.ingest.kafka import Forwarder, Kafka, Topic
    from tlog.ingest.taking import Limits
    from tlog.lifecycle.opening import Log
    from tlog.location import Location, Sealing
    from tlog.storage.database import Database

_LEAD_SECONDS: Final = 1.0
_SAY_SECONDS: Final = 5.0
_FORWARD_SECONDS: Final = 1.0
_FORWARDED_AT_ONCE: Final = 500
# How many of the newest entries are compared with the table before anything is taken.
_COMPARED: Final = 200_000
_log: Final = structlog.get_logger()


class Options(NamedTuple):
    """How a topic is taken.

    Attributes:
        format: the name of the decoder (`tlog.ingest.decoding.decoder_of`), and `actions` what it takes.
        wishes: which partitions, from where on.
        limits: how much at a time.
        interval: seconds between two seals, where this process seals.
        sealing: where the log is sealed (`tlog.lifecycle.opening.open_log`).

    """

    format: str
    wishes: Wishes
    limits: Limits
    interval: float = DEFAULT_INTERVAL
    sealing: Sealing = "beside"
    actions: Mapping[str, str] | None = None


async def take(
    location: Location,
    kafka: Kafka,
    options: Options,
    stopped: asyncio.Event,
    *,
    forwarder: Forwarder | None = None,
    on_start: Callable[[Taker], None] = lambda _: None,
) -> None:
    """Take from a topic until it is to stop.

    Args:
        location: where the log is.
        kafka: the topic.
        options: how.
        stopped: set when it is to stop.
        forwarder: where dead letters go besides.
        on_start: called with the taker when it begins to take.

    Raises:
        OperatorError: the topic, the table or the log is not what it has to be, or the log cannot be opened.
        MalformedInputError: the wishes contradict each other, or what was taken before.
        IntakeFencedError: another process takes from the stream.
        OverloadedError: no broker answers, or the database is away, before anything was taken.

    """
    topic = await asyncio.to_thread(kafka.describe)
    await asyncio.to_thread(kafka.check_retention)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(asyncio.to_thread, kafka.close)
        log = await stack.enter_async_context(open_log(location, interval=options.interval, sealing=options.sealing))
        store = IntakeStore(log.database, topic.stream)
        stack.push_async_callback(store.close)
        if not await _lead(store, stopped):
            return
        background = await stack.enter_async_context(running(log, SERVICES_PATIENCE))
        await stack.enter_async_context(living(log, background))
        planned = await _prepare(log, store, kafka, topic, options)
        maker = Maker(topic.stream, options.format, decoder_of(options.format, options.actions), log.bucket_keys)
        taker = Taker(kafka, log.appender, maker, store.taken, log.clock, options.limits)
        taker.begin(planned.positions)
        await taker.call(lambda: kafka.begin(planned.positions))
        positions = {str(number): offset for number, offset in planned.positions.items()}
        _log.info("start", version=version(), origin=log.verifier.name, stream=topic.stream, positions=positions)
        tune_memory()
        on_start(taker)
        process = _Process(log, store, kafka, taker, options, forwarder)
        await process.run(stopped, background)


async def _lead(store: IntakeStore, stopped: asyncio.Event) -> bool:
    """Wait to be the one process that takes from the stream; tell whether it is, or the end came before."""
    said = False
    while not await store.lead():
        if not said:
            _log.info("waits", reason="another process takes from this stream")
        said = True
        with suppress(TimeoutError):
            await asyncio.wait_for(stopped.wait(), _LEAD_SECONDS)
        if stopped.is_set():
            return False
    return True


async def _prepare(log: Log, store: IntakeStore, kafka: Kafka, topic: Topic, options: Options) -> Plan:
    """Decide what is taken, and log what is new of it."""
    taken, said = await store.taken_and_said(_COMPARED)
    _check_streams(topic.stream, await store.unreleased())
    check_table(topic.stream, taken, said)
    bounds = await asyncio.to_thread(kafka.bounds, sorted(topic.partitions))
    planned = plan(options.wishes, topic.partitions, taken, bounds)
    if planned.new:
        await open_partitions(log.appender, topic.stream, options.format, planned.new)
    await accept_gaps(log.appender, topic.stream, options.format, planned, options.wishes.gaps, bounds)
    await asyncio.to_thread(kafka.check_positions, planned.positions)
    return planned


def _check_streams(stream: str, others: set[str]) -> None:
    """Check that the topic is the one that was taken from under its name.

    Raises:
        OperatorError: it was made again, or is of another cluster.

    """
    name = stream.split("/")[1]
    for other in sorted(others - {stream}):
        if other.split("/")[1] == name:
            message = (
                f"the topic {name} is {stream}, and this log takes from {other}: it was made again, or the cluster is another "
                "one. Nothing is taken. To take from the new one, release the old one ('tlog ingest release')"
            )
            raise OperatorError(message)


class _Process:
    """A taker that runs, and what goes on beside it."""

    def __init__(  # noqa: PLR0917 - its parts, one by one
        self, log: Log, store: IntakeStore, kafka: Kafka, taker: Taker, options: Options, forwarder: Forwarder | None
    ) -> None:
        self._log = log
        self._store = store
        self._kafka = kafka
        self._taker = taker
        self._options = options
        self._forwarder = forwarder
        self._ending = threading.Event()

    async def run(self, stopped: asyncio.Event, background: asyncio.Task[None]) -> None:
        """Take until it is to stop, or something ends that must not."""
        taking = asyncio.create_task(self._taker.run(), name="taking")
        beside = [
            asyncio.create_task(self._watch(), name="watching the topic"),
            asyncio.create_task(self._say_positions(), name="saying positions"),
        ]
        if self._forwarder is not None:
            beside.append(asyncio.create_task(self._forward(self._forwarder), name="forwarding"))
        waiting = asyncio.create_task(stopped.wait(), name="waiting for a signal")
        try:
            await asyncio.wait([taking, background, waiting, *beside], return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._ending.set()
            self._taker.stop()
            ended = [each for each in beside if each.done()]
            for each in (waiting, *beside):
                each.cancel()
            await asyncio.wait([taking, waiting, *beside])
            await asyncio.to_thread(self._kafka.commit, dict(self._taker.tally.next_offset))
        for each in (taking, *ended):
            await each

    async def _watch(self) -> None:
        """Compare the topic with what it was, every few seconds, and take partitions that were added."""
        warned: set[int] = set()
        while not self._ending.is_set():
            topic = await asyncio.to_thread(self._kafka.look, self._ending)
            if topic is None:
                continue
            new = topic.partitions - self._taker.tally.next_offset.keys() - warned
            if new and self._options.wishes.partitions is None:
                released = {each.partition for each in await self._store.taken() if each.released}
                await self._add(topic, sorted(new - released))
                warned |= new & released
            elif new:
                _log.warning("partitions_not_taken", partitions=sorted(new))
                warned |= new

    async def _add(self, topic: Topic, partitions: list[int]) -> None:
        starts = dict.fromkeys(partitions, 0)
        if not starts:
            return
        with suppress(OverloadedError):  # the next look tries again
            await open_partitions(self._log.appender, topic.stream, self._options.format, starts)
            self._taker.begin(starts)
            await self._taker.call(lambda: self._kafka.begin(starts))
            _log.info("partitions_added", partitions=partitions)

    async def _say_positions(self) -> None:
        """Tell the cluster how far the log has got."""
        while True:
            await asyncio.sleep(_SAY_SECONDS)
            await asyncio.to_thread(self._kafka.commit, dict(self._taker.tally.next_offset))

    async def _forward(self, forwarder: Forwarder) -> None:
        """Send dead letters on, each at least once: noted is what the cluster has."""
        store = IntakeStore(self._log.database, self._store.stream)
        try:
            while True:
                await asyncio.sleep(_FORWARD_SECONDS)
                with suppress(OverloadedError):
                    await _forward_some(self._log.database, store, forwarder)
        finally:
            await store.close()


async def _forward_some(database: Database, store: IntakeStore, forwarder: Forwarder) -> None:
    letters: list[tuple[bytes, bytes]] = []
    waiting = await store.unforwarded(_FORWARDED_AT_ONCE)
    for partition, offset, reason, pointer, digest in waiting:
        value: dict[str, object] = {
            "digest": encode_base64url(digest).decode(),
            "offset": offset,
            "partition": partition,
            "pointer": pointer,
            "reason": reason,
            "stream": store.stream,
        }
        if forwarder.raw:
            (letter,) = await list_dead_letters(database, store.stream, partition, offset, raw=True)
            value["raw"] = None if letter.raw is None else b64encode(letter.raw).decode()
        letters.append((f"{partition}/{offset}".encode(), msgspec.json.encode(value)))
    if not letters:
        return
    if await asyncio.to_thread(forwarder.send, letters):
        await store.note_forwarded([(partition, offset) for partition, offset, *_ in waiting])
