"""Waiting for seals and epochs: how often the database is asked for how many, and that everybody who waits is woken."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import pytest
from support import ORIGIN, append, sample_events

from tlog.errors import OverloadedError
from tlog.lifecycle import waiting
from tlog.lifecycle.making import create_log
from tlog.lifecycle.opening import open_log
from tlog.lifecycle.running import running
from tlog.storage.reading import ReadStore
from tlog.writing import background
from tlog.writing.background import Status
from tlog.writing.sealer import Sealer

pytestmark = pytest.mark.anyio
WAITERS = 100
MAX_QUERIES = 25  # a second, for all of them
SECONDS = 2.0


@pytest.fixture
def asked(monkeypatch):
    """Every question that a `ReadStore` asks the database, as the time of it."""
    times = []
    reading = ReadStore._reading

    @asynccontextmanager
    async def counted(store):
        times.append(time.monotonic())
        async with reading(store) as connection:
            yield connection

    monkeypatch.setattr(ReadStore, "_reading", counted)
    return times


@pytest.fixture
def held(opened, monkeypatch):
    """Returns a context manager: a log of three events, and the event that every seal of it waits for."""
    go_on, seal = asyncio.Event(), Sealer.seal

    async def wait_and_seal(sealer):
        await go_on.wait()
        return await seal(sealer)

    @asynccontextmanager
    async def open_held():
        monkeypatch.setattr(Sealer, "seal", wait_and_seal)
        async with opened() as log:
            try:
                await append(log, sample_events(3))
                yield log, go_on
            finally:
                go_on.set()  # or the log would never close

    return open_held


@asynccontextmanager
async def sealed_elsewhere(location):
    """A log of three events that another one of the same process may seal, when it is opened."""
    await create_log(location, ORIGIN)
    async with open_log(location, sealing="elsewhere") as log, running(log):
        await append(log, sample_events(3))
        yield log


async def poll(log, index):
    """Wait as a single waiter would that knows of no other."""
    while (checkpoint := await log.reader.latest_checkpoint()) is None or checkpoint.size <= index:  # noqa: ASYNC110 - the control
        await asyncio.sleep(0.05)
    return checkpoint


def watchers():
    return [task for task in asyncio.all_tasks() if task.get_name() == "watcher"]


@pytest.mark.parametrize("each_for_itself", [False, True])
async def test_a_hundred_waiters_ask_as_one(location, asked, each_for_itself):
    """The control, each waiter asking for itself, is far beyond the bound."""
    async with sealed_elsewhere(location) as log:
        asked.clear()
        begun = time.monotonic()
        waits = (poll(log, 3) if each_for_itself else log.wait_sealed(3, 60) for _ in range(WAITERS))
        waiters = [asyncio.create_task(wait) for wait in waits]
        await asyncio.sleep(SECONDS)
        rate = len(asked) / (time.monotonic() - begun)
        assert not any(waiter.done() for waiter in waiters)
        async with open_log(location, interval=0.1, index=False) as other, running(other):
            checkpoints = await asyncio.gather(*waiters)
        assert {checkpoint.size for checkpoint in checkpoints} == {4}
        assert (rate > MAX_QUERIES) == each_for_itself, rate


async def test_a_hundred_waiters_on_a_seal_of_this_process_hardly_ask(held, asked):
    async with held() as (log, go_on):
        go_on.set()
        await log.wait_sealed(3, 30)
        go_on.clear()
        index = (await append(log, sample_events(1, seed=2)))[0].index
        asked.clear()
        waiters = [asyncio.create_task(log.wait_sealed(index, 30)) for _ in range(WAITERS)]
        await asyncio.sleep(SECONDS)
        assert 1 <= len(asked) <= 2 * SECONDS, "the seal will be told; only a change of leaders has to be found out"
        go_on.set()
        assert {checkpoint.size for checkpoint in await asyncio.gather(*waiters)} == {index + 1}


async def test_a_hundred_waiters_on_an_epoch_ask_as_one(opened, asked):
    """Each of them for another size. This process seals, once a minute or when asked, another one indexes."""
    async with opened() as log:
        await append(log, sample_events(WAITERS))
        await log.wait_sealed(WAITERS, 30)
        asked.clear()
        waiters = [asyncio.create_task(log.wait_indexed(size, 60)) for size in range(2, WAITERS + 2)]
        await asyncio.sleep(SECONDS)
        assert len(asked) <= MAX_QUERIES * SECONDS
        async with open_log(log.location, interval=0.1) as other, running(other):
            epochs = await asyncio.gather(*waiters)
    assert {epoch.size for epoch in epochs} == {WAITERS + 1}


@pytest.mark.parametrize("sealing", ["here", "beside"])
async def test_a_seal_wakes_at_once(location, monkeypatch, sealing):
    """The watcher waits for no tick of its own when it is told of the seal."""
    monkeypatch.setattr(waiting, "_ASK_SECONDS", 60)
    await create_log(location, ORIGIN)
    async with open_log(location, interval=60, sealing=sealing) as log, running(log):
        for seed in range(3):
            index = (await append(log, sample_events(2, seed=seed)))[-1].index
            assert (await log.wait_sealed(index, 30)).size > index
        assert (await log.wait_indexed(index + 1, 30)).size > index


async def test_a_child_reports_a_seal_at_once(monkeypatch):
    written = asyncio.Queue()
    monkeypatch.setattr(background, "_write", written.put_nowait)
    monkeypatch.setattr(background, "_REPORT_SECONDS", 60)
    sealing = background.External()
    reporting = asyncio.create_task(background.report(sealing))
    for size in range(3):
        sealing.status = Status(sealed=size)
        background._tell(sealing)
        assert (await asyncio.wait_for(written.get(), 10)).sealed == size
    background._tell(sealing)  # without a change there is nothing to report
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert written.empty()
    reporting.cancel()


async def test_what_is_sealed_already_is_answered_at_once(opened, monkeypatch):
    monkeypatch.setattr(waiting, "_ASK_SECONDS", 60)
    async with opened() as log:
        await append(log, sample_events(3))
        await log.wait_sealed(3, 30)
        assert (await log.wait_sealed(2, 30)).size == 4


async def test_each_waiter_has_its_own_time(held):
    async with held() as (log, go_on):
        long = asyncio.create_task(log.wait_sealed(3, 30))
        with pytest.raises(OverloadedError, match="entry 3 is durable, but was not sealed within 0 s"):
            await log.wait_sealed(3, 0.2)
        with pytest.raises(OverloadedError, match="the entries below 4 are durable, but were not indexed within 0 s"):
            await log.wait_indexed(4, 0.2)
        go_on.set()
        assert (await long).size == 4


async def test_a_cancelled_waiter_leaves_the_others_alone(held):
    async with held() as (log, go_on):
        waiters = [asyncio.create_task(log.wait_sealed(3, 30)) for _ in range(3)]
        await asyncio.sleep(0.1)
        waiters[0].cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiters[0]
        assert len(log.watcher.sealed) == 2
        go_on.set()
        assert [checkpoint.size for checkpoint in await asyncio.gather(*waiters[1:])] == [4, 4]


async def test_a_watcher_without_waiters_ends(held, asked):
    async with held() as (log, go_on):
        waiter = asyncio.create_task(log.wait_sealed(3, 30))
        await asyncio.sleep(0.1)
        assert len(watchers()) == 1
        waiter.cancel()
        await asyncio.wait([waiter, *watchers()], timeout=10)
        assert not watchers()
        asked.clear()
        go_on.set()
        await asyncio.sleep(0.3)
        assert asked == [], "nobody waits, so nobody asks"


async def test_a_database_that_is_away_is_said_to_all_who_wait_and_the_watcher_goes_on(held):
    async with held() as (log, go_on):
        pool = log.reader._pool
        pool.timeout, usual = 0.1, pool.timeout
        async with AsyncExitStack() as taken:
            for _ in range(pool.max_size):
                await taken.enter_async_context(pool.connection(timeout=10))
            waiters = [log.wait_sealed(3, 30), log.wait_sealed(2, 30), log.wait_indexed(4, 30)]
            for error in await asyncio.gather(*waiters, return_exceptions=True):
                assert isinstance(error, OverloadedError)
                assert "the database cannot serve this now" in str(error)
        pool.timeout = usual
        waiter = asyncio.create_task(log.wait_sealed(3, 30))
        go_on.set()
        assert (await waiter).size == 4


async def test_an_error_that_nobody_foresaw_is_raised_where_somebody_waits(opened, monkeypatch):
    async def fail(_):
        raise ZeroDivisionError

    async with opened() as log:
        monkeypatch.setattr(ReadStore, "latest_checkpoint", fail)
        with pytest.raises(ZeroDivisionError):
            await log.wait_sealed(0, 30)


async def test_closing_leaves_no_watcher_and_nobody_waiting(location):
    await create_log(location, ORIGIN)
    async with open_log(location, sealing="elsewhere") as log:
        waiters = [asyncio.create_task(wait) for wait in (log.wait_sealed(9, 60), log.wait_indexed(9, 60))]
        await asyncio.sleep(0.1)
        assert len(watchers()) == 1
    assert watchers() == []
    for waiter in waiters:
        with pytest.raises(OverloadedError, match="the log was closed"):
            await waiter
    with pytest.raises(OverloadedError):
        await log.wait_sealed(9, 60)
    with suppress(asyncio.CancelledError):
        await asyncio.gather(*watchers())
    assert watchers() == []
