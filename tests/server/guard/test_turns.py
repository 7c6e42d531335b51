"""Batches give way to answers, unless they pile up themselves."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from tlog.server.guard import turns
from tlog.server.guard.turns import Turns

pytestmark = pytest.mark.anyio

WORKED = 0.25


@pytest.fixture
def slept(monkeypatch):
    """Sleep no longer than a turn of the loop; return for how long it should have been."""
    asked, sleep = [], asyncio.sleep

    async def shortened(seconds):
        asked.append(seconds)
        await sleep(0)

    monkeypatch.setattr(turns.asyncio, "sleep", shortened)
    return asked


async def test_a_batch_waits_while_somebody_is_answered(slept):
    takes_turns = Turns()
    async with takes_turns.batch():
        await takes_turns.give_way(WORKED)
        with takes_turns.answer():
            await takes_turns.give_way(WORKED)
        with suppress(ValueError), takes_turns.answer():
            raise ValueError
        await takes_turns.give_way(WORKED)
    assert slept == [0, 3 * WORKED, 0]


async def test_batches_that_pile_up_give_way_to_nobody(slept):
    takes_turns = Turns()

    async def another() -> None:
        async with takes_turns.batch():
            slept.append("another's turn")
            await takes_turns.give_way(WORKED)

    with takes_turns.answer():
        async with takes_turns.batch():
            waiting = asyncio.create_task(another())
            await asyncio.wait([waiting], timeout=0.01)
            assert not slept, "one batch is drafted at a time"
            await takes_turns.give_way(WORKED)
        await waiting
    assert slept == [0, "another's turn", 3 * WORKED], "nobody comes after the last one"


async def test_s15_a_search_gives_way_to_appends(slept):
    takes_turns = Turns()
    await takes_turns.after_looking("a", WORKED)
    takes_turns.begin_append()
    takes_turns.begin_append()
    await takes_turns.after_looking("a", WORKED)
    takes_turns.end_append()
    await takes_turns.after_looking("a", WORKED)
    takes_turns.end_append()
    await takes_turns.after_looking("a", WORKED)
    assert slept[::3] == [0, 0]
    assert slept[1] == pytest.approx(3 * WORKED)
    assert 3 * WORKED < slept[2] <= 6 * WORKED, "the first pause was not over"


async def test_s15_searches_of_one_key_pause_one_after_the_other(slept, monkeypatch):
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: 1000.0)
    takes_turns = Turns()
    takes_turns.begin_append()
    await asyncio.gather(*(takes_turns.after_looking(key, WORKED) for key in "aabab"))
    assert slept == [3 * WORKED, 6 * WORKED, 3 * WORKED, 9 * WORKED, 6 * WORKED]


async def test_a_bulk_answer_is_sent_slowly_while_somebody_appends(slept, monkeypatch):
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: 1000.0)
    takes_turns = Turns()
    await takes_turns.after_sending("a", 8_000_000)
    takes_turns.begin_append()
    for key in "aab":
        await takes_turns.after_sending(key, 8_000_000)
    takes_turns.end_append()
    await takes_turns.after_sending("a", 8_000_000)
    assert slept == [0, 0.5, 1.0, 0.5, 0]
