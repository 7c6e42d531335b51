"""Taking from a stream without a broker: whatever fails, each message is logged once or kept as a dead letter."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import threading
import time

import pytest
from streams import STREAM, opening, release, rivals, taken, taking
from support import append, sample_events
from tampering import check

from tlog.core.entry import EventEntry, IntakeEntry, parse_entry
from tlog.errors import EventConflictError, IntakeFencedError, OperatorError, OverloadedError
from tlog.ingest.batches import MAX_KEPT_SIZE, Maker
from tlog.ingest.decoding import Message, own_text
from tlog.ingest.taking import Fetched, Limits, Taker
from tlog.storage.intake import Taken, list_dead_letters
from tlog.storage.scan import scan

pytestmark = pytest.mark.anyio
SMALL = Limits(batch=10, linger=0.01, in_flight=3, max_refused=1_000, idle=0.2)


class Stream:
    """Messages in memory, fetched as those of a topic are."""

    def __init__(self, values, partition=0, start=0):
        self.messages = [Message(partition, start + number, None, value) for number, value in enumerate(values)]
        self.ends = {}
        self.at = 0
        self.changed = threading.Event()

    def fetch(self, most, seconds):
        if self.at == len(self.messages):
            time.sleep(min(seconds, 0.01))
            return Fetched([], self.ends)
        some = self.messages[self.at : self.at + most]
        self.at += len(some)
        return Fetched(some, {})

    def go_back(self, offset):
        """Begin again at an offset, as a process does that is started anew."""
        self.at = next((at for at, each in enumerate(self.messages) if each.offset >= offset), len(self.messages))


def taker_of(log, stream, *, appender=None, limits=SMALL):
    async def where():
        return [each for each in await taken(log.database) if each.stream == STREAM]

    maker = Maker(STREAM, "tlog", own_text, log.bucket_keys)
    return Taker(stream, log.appender if appender is None else appender, maker, where, log.clock, limits)


@contextlib.asynccontextmanager
async def taking_from(log, stream, **options):
    """Run a taker from where the table says, until the body ends."""
    taker = taker_of(log, stream, **options)
    at = (await taken(log.database))[0].next_offset
    stream.go_back(at)
    taker.begin({0: at})
    running = asyncio.create_task(taker.run())
    try:
        yield taker
    finally:
        taker.stop()
        await running


async def until(log, offset, seconds=20):
    async with asyncio.timeout(seconds):
        while (await taken(log.database))[0].next_offset < offset:  # noqa: ASYNC110 - the log says nothing by itself
            await asyncio.sleep(0.01)


async def logged(log):
    """Return how often each event stands in the log, and its intakes."""
    async with scan(log.database) as snapshot:
        entries = [
            parse_entry(entry) async for page in snapshot.entries((await snapshot.state()).size) for entry in page
        ]
    ids = [entry.eventId for entry in entries if isinstance(entry, EventEntry)]
    return ids, [entry.intake for entry in entries if isinstance(entry, IntakeEntry)]


def ids_of(events):
    return [json.loads(each)["eventId"] for each in events]


async def test_everything_is_taken_once_in_order(opened, location):
    events = sample_events(95)
    async with opened() as log:
        await opening(0).send(log.appender)
        async with taking_from(log, Stream(events)) as taker:
            await until(log, 95)
        ids, intakes = await logged(log)
        assert ids == ids_of(events)
        assert taker.tally.fates == {"logged": 95, "repeated": 0, "refused": 0}
        assert (taker.tally.next_offset, taker.tally.fenced) == ({0: 95}, 0)
        await log.wait_sealed((await log.reader.state()).size - 1, 30)
        assert (await check(location)).problems == []
    assert sum(part.logged for each in intakes for part in each.partitions) == 95


async def test_who_took_an_event_in_is_said(opened):
    async with opened() as log:
        await opening(0).send(log.appender)
        async with taking_from(log, Stream(sample_events(1))):
            await until(log, 1)
        (found,) = await log.reader.find(ids_of(sample_events(1)))
    assert json.loads(found.actor[16:])["appendedBy"] == STREAM


async def test_what_is_no_event_is_a_dead_letter_and_the_next_goes_on(opened):
    good = sample_events(5)
    values = [good[0], b"{not json", good[1], None, b"x" * (MAX_KEPT_SIZE + 1), *good[2:]]
    async with opened() as log:
        await opening(0).send(log.appender)
        async with taking_from(log, Stream(values)) as taker:
            await until(log, 8)
        letters = await list_dead_letters(log.database, raw=True)
        assert taker.tally.fates == {"logged": 5, "repeated": 0, "refused": 3}
        assert (await logged(log))[0] == ids_of(good)
    assert [(each.partition, each.offset) for each in letters] == [(0, 1), (0, 3), (0, 4)]
    assert [each.raw is None for each in letters] == [False, False, True]
    assert "not JSON" in letters[0].reason
    assert letters[0].raw.endswith(b"{not json\0\0")


async def test_conflicts_are_dead_letters_and_repeats_are_counted(opened):
    events = sample_events(30)
    changed = [json.dumps({**json.loads(each), "action": "delete"}).encode() for each in events[:3]]
    values = [*events[:10], changed[0], changed[1], *events[10:15], events[12], changed[2], *events[15:]]
    async with opened() as log:
        await append(log, events[:5])
        await opening(0).send(log.appender)
        async with taking_from(log, Stream(values)) as taker:
            await until(log, len(values))
        ids, _ = await logged(log)
        letters = await list_dead_letters(log.database)
        assert sorted(ids) == sorted(ids_of(events))
    assert [each.offset for each in letters] == [10, 11, 18]
    assert all("is already logged" in each.reason and each.pointer == "/eventId" for each in letters)
    assert taker.tally.fates["refused"] == 3
    assert taker.tally.fates["logged"] + taker.tally.fates["repeated"] == 31


async def test_offsets_without_messages_are_taken_when_nothing_else_comes(opened):
    stream = Stream(sample_events(3))
    stream.ends = {0: 9}
    async with opened() as log:
        await opening(0).send(log.appender)
        async with taking_from(log, stream):
            await until(log, 9)
        _, intakes = await logged(log)
    last = intakes[-1].partitions[0]
    assert (last.start, last.end, last.logged, last.refused) == (3, 9, 0, 0)


async def test_too_many_refusals_in_a_row_end_it_and_those_are_not_logged(opened):
    good = sample_events(15)
    async with opened() as log:
        await opening(0).send(log.appender)
        taker = taker_of(log, Stream([*good, *[b"no"] * 40]), limits=SMALL._replace(max_refused=20))
        taker.begin({0: 0})
        with pytest.raises(OperatorError, match="messages in a row are no events"):
            await taker.run()
        assert (await taken(log.database))[0].next_offset < 15 + 20
        values = [good[0], *[b"no"] * 19, good[1], *[b"no"] * 19, *good[2:]]
        await release(0, (await taken(log.database))[0].next_offset).send(log.appender)
        await opening(1).send(log.appender)
        taker = taker_of(log, Stream(values, partition=1), limits=SMALL._replace(max_refused=20))
        taker.begin({1: 0})
        running = asyncio.create_task(taker.run())
        async with asyncio.timeout(20):
            while (await taken(log.database))[1].next_offset < len(values):  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.01)
        taker.stop()
        await running


class Failing:
    """An appender of which some requests fail, before they are appended or after."""

    def __init__(self, appender, chance):
        self._appender = appender
        self._random = random.Random(chance)
        self.failed = {"before": 0, "after": 0}

    async def append(self, drafts, **options):
        what = self._random.choice(["before", "after", "", "", ""])
        if what == "before":
            self.failed[what] += 1
            raise OverloadedError(what)
        receipts = await self._appender.append(drafts, **options)
        if what == "after":
            self.failed[what] += 1
            raise OverloadedError(what)
        return receipts


@pytest.mark.parametrize("chance", [1, 2])
async def test_requests_that_fail_and_answers_that_are_lost_lose_and_repeat_nothing(opened, monkeypatch, chance):
    monkeypatch.setattr("tlog.ingest.taking._FIRST_PAUSE", 0.01)
    events = sample_events(300)
    async with opened() as log:
        await opening(0).send(log.appender)
        failing = Failing(log.appender, chance)
        async with asyncio.timeout(30), taking_from(log, Stream(events), appender=failing) as taker:
            while taker.tally.next_offset != {0: 300} or taker.tally.failing_since is not None:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.01)
        ids, intakes = await logged(log)
    assert ids == ids_of(events)
    assert min(failing.failed.values()) > 0
    parts = [each.partitions[0] for each in intakes]
    assert [part.start for part in parts[1:]] == [part.end for part in parts[:-1]]
    assert taker.tally.fates == {"logged": 300, "repeated": 0, "refused": 0}
    assert taker.tally.failing_since is None


async def test_a_taker_that_is_fenced_ends_and_logs_nothing_of_it(opened):
    """A zombie: another process took what this one has in its memory."""
    events = sample_events(40)
    async with opened() as log, rivals(log, 1) as (other,):
        await opening(0).send(log.appender)
        taker = taker_of(log, Stream(events))
        taker.begin({0: 0})
        await taking(log, 0, events[:7]).send(other)
        with pytest.raises(IntakeFencedError, match="another process takes"):
            await taker.run()
        ids, _ = await logged(log)
        assert ids == ids_of(events[:7])
        assert taker.tally.fenced > 0


async def test_a_partition_that_was_released_meanwhile_ends_it(opened):
    async with opened() as log:
        await opening(0).send(log.appender)
        taker = taker_of(log, Stream(sample_events(5)))
        taker.begin({0: 0})
        await release(0, 0).send(log.appender)
        with pytest.raises(IntakeFencedError):
            await taker.run()
        assert await taken(log.database) == [Taken(STREAM, 0, 0, released=True)]


async def test_stopped_while_the_database_is_away_it_ends(opened):
    async with opened() as log:
        await opening(0).send(log.appender)
        away = Failing(log.appender, 0)
        away._random.choice = lambda _: "before"
        async with asyncio.timeout(20), taking_from(log, Stream(sample_events(50)), appender=away) as taker:
            while not away.failed["before"] or taker.tally.failing_since is None:  # noqa: ASYNC110 - nothing to wait for
                await asyncio.sleep(0.01)
        assert await taken(log.database) == [Taken(STREAM, 0, 0)]


async def test_two_takers_of_one_stream_log_each_message_once(opened, monkeypatch):
    """Both believe to lead; whoever is fenced begins again where the log is, as a supervisor would have it."""
    events = sample_events(400)
    async with opened() as log, rivals(log) as appenders:
        await opening(0).send(log.appender)

        async def take(appender):
            fenced = at = 0  # both begin at the same place
            while at < 400:
                stream = Stream(events)
                stream.go_back(at)
                taker = taker_of(log, stream, appender=appender)
                taker.begin({0: at})
                running = asyncio.create_task(taker.run())
                ending = asyncio.create_task(until(log, 400))
                await asyncio.wait([running, ending], return_when=asyncio.FIRST_COMPLETED)
                taker.stop()
                await asyncio.gather(running, ending, return_exceptions=True)
                fenced += taker.tally.fenced
                at = (await taken(log.database))[0].next_offset
            return fenced

        fenced = await asyncio.gather(*map(take, appenders))
        ids, intakes = await logged(log)
    assert ids == ids_of(events)
    assert sum(part.logged for each in intakes for part in each.partitions) == 400, "no event has two receipts"
    assert sum(fenced) > 0


async def test_control_a_conflict_error_names_all_of_its_conflicts(opened):
    events = sample_events(4)
    changed = [json.dumps({**json.loads(each), "action": "delete"}).encode() for each in events]
    async with opened() as log:
        await append(log, events)
        with pytest.raises(EventConflictError) as caught:
            await append(log, changed)
    assert [each.pointer for each in caught.value.conflicts] == [f"/{number}/eventId" for number in range(4)]
