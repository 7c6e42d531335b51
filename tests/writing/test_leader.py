"""The leader's loop: one process works, another takes over when it ends, and an overload is only a pause."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from tlog.errors import DamagedLogError, OverloadedError
from tlog.writing.leader import LeaderLoop

pytestmark = pytest.mark.anyio


class Lock:
    """What several stores want to hold."""

    holder = None


class Store:
    """A connection that can hold the lock."""

    def __init__(self, lock):
        self.lock = lock

    async def lead(self):
        self.lock.holder = self.lock.holder or self
        return self.lock.holder is self

    async def close(self):
        if self.lock.holder is self:
            self.lock.holder = None


def loop_over(lock, step, *, interval=60.0, done=lambda _: None):
    async def open_store():
        return Store(lock)

    async def begin(_):
        return step

    return LeaderLoop("work", open_store, begin, interval, done=done)


async def until(condition):
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - what the loop does sets no event
            await asyncio.sleep(0.001)


async def test_steps_are_told_whether_they_were_asked_for():
    asked, results = [], []

    async def step(requested):
        asked.append(requested)
        return len(asked) if len(asked) != 2 else None

    loop = loop_over(Lock(), step, interval=0.01, done=results.append)
    task = asyncio.create_task(loop.run())
    await until(lambda: len(asked) == 3)
    assert asked == [True, False, False], "the first step is due; the others only come at their time"
    loop.request()
    await until(lambda: True in asked[3:])
    assert loop.leading
    loop.stop()
    await task
    assert not loop.leading
    assert results == [number + 1 for number in range(len(asked)) if number != 1], "None is no result"
    assert loop.last == results[-1]


async def test_who_stands_by_takes_over():
    lock, worked = Lock(), []

    def recording(name):
        async def step(_):
            worked.append(name)

        return loop_over(lock, step, interval=0.005)

    one, two = recording("one"), recording("two")
    first = asyncio.create_task(one.run())
    await until(lambda: one.leading)
    second = asyncio.create_task(two.run())
    await until(lambda: len(worked) > 5)
    assert {*worked} == {"one"}
    assert not two.leading
    one.stop()
    await first
    await until(lambda: two.leading and "two" in worked)
    two.stop()
    await second
    assert lock.holder is None


async def test_an_overload_is_waited_for_and_the_lead_is_given_up():
    lock, steps = Lock(), []

    async def step(_):
        steps.append(lock.holder)
        if len(steps) == 2:
            message = "no room"
            raise OverloadedError(message)

    loop = loop_over(lock, step, interval=0.02)
    task = asyncio.create_task(loop.run())
    await until(lambda: loop.waits_for)
    assert (loop.waits_for, loop.leading, lock.holder) == ("no room", False, None)
    await until(lambda: len(steps) == 3)
    await until(lambda: not loop.waits_for)
    assert steps[2] is not steps[1], "over a new connection"
    loop.stop()
    await task


async def test_any_other_error_ends_it_and_the_lead():
    lock = Lock()

    async def step(_):
        message = "broken"
        raise DamagedLogError(message)

    loop = loop_over(lock, step)
    with pytest.raises(DamagedLogError):
        await loop.run()
    assert (loop.leading, lock.holder) == (False, None)


async def test_who_stands_by_can_be_stopped():
    lock = Lock()
    lock.holder = Store(lock)
    loop = loop_over(lock, None, interval=60)
    task = asyncio.create_task(loop.run())
    await asyncio.sleep(0.01)
    loop.stop()
    await asyncio.wait_for(task, 5)
    assert lock.holder is not None


async def test_who_leads_who_follows_and_every_pause_is_told():
    lock = Lock()
    errors = [OverloadedError("no room"), OverloadedError("no room"), OverloadedError("away")]
    steps = []

    async def step(_):
        steps.append(None)
        if 2 < len(steps) <= 5:
            raise errors[len(steps) - 3]

    async def idle(_):
        return None

    one, two = loop_over(lock, step, interval=0.005), loop_over(lock, idle, interval=0.005)
    with capture_logs() as lines:
        lock.holder = other = Store(lock)
        first = asyncio.create_task(one.run())
        await until(lambda: lines)
        await asyncio.sleep(0.02)
        await other.close()
        await until(lambda: len(steps) > 6 and not one.waits_for)
        second = asyncio.create_task(two.run())
        await until(lambda: sum(line["event"] == "follows" for line in lines) == 2)
        for loop, task in ((one, first), (two, second)):
            loop.stop()
            await task
    told = [(line["event"], line.get("work", line.get("reason"))) for line in lines]
    assert told == [
        ("follows", "work"),
        ("leads", "work"),
        ("work_pauses", "no room"),
        ("work_pauses", "away"),
        ("work_goes_on", "away"),
        ("follows", "work"),
    ]
