"""What is taken of a stream moves on with the append that says so, or not at all, however many processes try."""

from __future__ import annotations

import asyncio
import json

import pytest
from streams import STREAM, opening, release, rivals, taken, taking
from support import append, sample_events

from tlog.core.entry import IntakeEntry, parse_entry
from tlog.errors import EventConflictError, IntakeFencedError, TlogError
from tlog.storage.intake import Advance, FencedError, Taken
from tlog.storage.scan import scan
from tlog.writing.advancing import contract

pytestmark = pytest.mark.anyio


async def entries(log):
    async with scan(log.database) as snapshot:
        return [parse_entry(entry) async for page in snapshot.entries((await snapshot.state()).size) for entry in page]


async def test_events_and_how_far_they_are_taken_are_one_append(opened):
    async with opened() as log:
        await opening(0, 1).send(log.appender)
        receipts = await taking(log, 0, sample_events(3), refused=[b"{not json", b""]).send(log.appender)
        assert [receipt.index for receipt in receipts] == [2, 3, 4, 5]
        assert await taken(log.database) == [Taken(STREAM, 0, 5), Taken(STREAM, 1, 0)]
        *_, last = await entries(log)
        assert isinstance(last, IntakeEntry)
        assert [(part.logged, part.refused, part.end) for part in last.intake.partitions] == [(3, 2, 5)]


async def test_dead_letters_are_kept_with_the_append(opened, database):
    async with opened() as log:
        await opening(0).send(log.appender)
        await taking(log, 0, sample_events(1), refused=[b"{not json"]).send(log.appender)
        with pytest.raises(IntakeFencedError):
            await taking(log, 0, [], refused=[b"again"]).send(log.appender)
    with database.connect_admin() as admin:
        rows = admin.execute("SELECT partition, message_offset, reason, raw FROM tlog.dead_letter").fetchall()
    assert [row[:3] for row in rows] == [(0, 1, "not JSON")]
    assert b"{not json" in rows[0][3]


async def test_who_comes_second_is_refused_and_nothing_of_it_is_there(opened):
    first, second = sample_events(3, seed=1), sample_events(3, seed=2)
    async with opened() as log, rivals(log) as (one, two):
        await opening(0).send(one)
        await taking(log, 0, first).send(one)
        with pytest.raises(IntakeFencedError):
            await taking(log, 0, second).send(two)
        assert await taken(log.database) == [Taken(STREAM, 0, 3)]
        assert len(await entries(log)) == 1 + 1 + 4
        await taking(log, 3, second).send(two)
        assert await taken(log.database) == [Taken(STREAM, 0, 6)]


async def test_rivals_take_each_message_once(opened):
    """Two processes that both believe to lead: each offset is taken by one of them, whoever wins each time."""
    async with opened() as log, rivals(log) as appenders:
        await opening(0).send(log.appender)
        won = [0, 0]

        async def take(number, appender):
            while (start := (await taken(log.database))[0].next_offset) < 200:
                # Other events at the same offsets than the rival's: who logs both would be seen.
                request = taking(log, start, sample_events(10, seed=1000 * number + start + 1))
                try:
                    await request.send(appender)
                except IntakeFencedError:
                    continue
                won[number] += 1

        await asyncio.gather(*(take(number, appender) for number, appender in enumerate(appenders)))
        intakes = [entry.intake for entry in await entries(log) if isinstance(entry, IntakeEntry)]
        events = [entry for entry in await entries(log) if getattr(entry, "type", "") == "event"]
    ranges = [(each.partitions[0].start, each.partitions[0].end) for each in intakes[1:]]
    assert ranges == [(start, start + 10) for start in range(0, 200, 10)]
    assert (sum(won), len(events)) == (20, 200)


async def test_control_without_the_fence_both_are_logged(opened, monkeypatch):
    monkeypatch.setattr("tlog.storage.appending.advance", no_fence)
    async with opened() as log, rivals(log) as (one, two):
        await opening(0).send(one)
        await taking(log, 0, sample_events(3, seed=1)).send(one)
        await taking(log, 0, sample_events(3, seed=2)).send(two)
        events = [entry for entry in await entries(log) if getattr(entry, "type", "") == "event"]
    assert len(events) == 6


async def no_fence(*_):
    """Move nothing on, and object to nothing."""


async def test_requests_of_one_partition_in_one_group_take_the_quick_way(opened, monkeypatch):
    async def no_careful_way(*_):
        raise AssertionError

    async with opened() as log:
        await opening(0).send(log.appender)
        monkeypatch.setattr(log.appender, "_commit_carefully", no_careful_way)
        events = sample_events(30)
        requests = [taking(log, start, events[start : start + 10]) for start in (0, 10, 20)]
        before = log.appender.groups
        answers = await asyncio.gather(*(request.send(log.appender) for request in requests))
        assert log.appender.groups - before < 3, "they were of one group, at least two of them"
        assert [len(answer) for answer in answers] == [11, 11, 11]
        assert await taken(log.database) == [Taken(STREAM, 0, 30)]


async def test_others_of_a_fenced_group_do_not_suffer(opened):
    """HTTP requests of the group are appended, and so is what is taken of another partition; later steps of the fenced one are not."""
    async with opened() as log, rivals(log, 1) as (other,):
        await opening(0, 1).send(log.appender)
        await taking(log, 0, sample_events(2, seed=9)).send(other)
        events = sample_events(50)
        # One group: nothing of it is taken before all of it waits.
        answers = await asyncio.gather(
            append(log, events[:5]),
            append(log, events[5:10]),
            taking(log, 0, events[10:12]).send(log.appender),
            taking(log, 2, events[12:14]).send(log.appender),
            taking(log, 0, events[20:22], partition=1).send(log.appender),
            append(log, events[30:35]),
            return_exceptions=True,
        )
        at = await taken(log.database)
    fenced = [isinstance(answer, IntakeFencedError) for answer in answers]
    # The step at offset 2 begins where the other process ended, so it is right; the one at 0 came second.
    assert fenced == [False, False, True, False, False, False]
    assert at == [Taken(STREAM, 0, 4), Taken(STREAM, 1, 2)]


async def test_what_a_conflict_refuses_moves_nothing_on_and_later_requests_are_fenced(opened):
    known, *new = sample_events(4)
    changed = json.dumps({**json.loads(known), "action": "delete"}).encode()
    async with opened() as log:
        await append(log, [known])
        await opening(0).send(log.appender)
        answers = await asyncio.gather(
            taking(log, 0, [new[0], changed]).send(log.appender),
            taking(log, 2, [new[1]]).send(log.appender),
            return_exceptions=True,
        )
        assert [type(answer) for answer in answers] == [EventConflictError, IntakeFencedError]
        assert await taken(log.database) == [Taken(STREAM, 0, 0)]
        assert len(await entries(log)) == 3


async def test_events_that_are_known_are_taken_too(opened):
    events = sample_events(4)
    async with opened() as log:
        await opening(0).send(log.appender)
        await append(log, events[:2])
        receipts = await taking(log, 0, [*events, events[3]]).send(log.appender)
        assert [receipt.duplicate for receipt in receipts] == [True, True, False, False, True, False]
        assert await taken(log.database) == [Taken(STREAM, 0, 5)]


async def test_a_partition_is_opened_once_and_released_for_ever(opened):
    async with opened() as log:
        with pytest.raises(IntakeFencedError):
            await taking(log, 0, sample_events(1)).send(log.appender)
        await opening(0, start=7).send(log.appender)
        for wrong in (opening(0), opening(1, 0, start=7)):
            with pytest.raises(IntakeFencedError):
                await wrong.send(log.appender)
        await taking(log, 7, sample_events(1)).send(log.appender)
        await release(0, 8).send(log.appender)
        for wrong in (taking(log, 8, sample_events(1, seed=2)), opening(0, start=8), release(0, 8)):
            with pytest.raises(IntakeFencedError):
                await wrong.send(log.appender)
        assert await taken(log.database) == [Taken(STREAM, 0, 8, released=True)]


@pytest.mark.parametrize(
    "steps, contracted",
    [
        ([], []),
        ([(0, 5), (5, 9)], [(0, 9)]),
        ([(0, 5), (6, 9)], FencedError),
        ([(0, 5), (0, 5)], FencedError),
        ([(5, 9), (0, 5)], FencedError),
        ([(0, 5), (5, 5), (5, 6)], [(0, 6)]),
    ],
)
def test_steps_that_continue_each_other_are_one(steps, contracted):
    advances = [Advance("s", 0, *step) for step in steps]
    if contracted is FencedError:
        with pytest.raises(FencedError):
            contract(advances)
    else:
        assert [each[2:4] for each in contract(advances)] == contracted


def test_what_is_contracted_opens_releases_and_keeps_its_refused():
    steps = [Advance("s", 0, 0, 0, opens=True), Advance("s", 1, 4, 5), Advance("s", 0, 0, 3, refused=("a",))]
    steps += [Advance("s", 0, 3, 4, refused=("b",)), Advance("s", 0, 4, 4, releases=True), Advance("t", 0, 1, 2)]
    assert contract(steps) == [
        Advance("s", 0, 0, 4, refused=("a", "b"), opens=True, releases=True),
        Advance("s", 1, 4, 5),
        Advance("t", 0, 1, 2),
    ]
    for wrong in (Advance("s", 0, 4, 5), Advance("s", 0, 4, 4, opens=True)):
        with pytest.raises(FencedError):
            contract([*steps, wrong])
    with pytest.raises(FencedError):
        contract([steps[1], Advance("s", 1, 5, 5, opens=True)])


def test_a_fence_is_not_for_others_to_try_again():
    assert issubclass(IntakeFencedError, TlogError)
    assert IntakeFencedError.exit_code == 75
