"""A database that went back is noticed under the lock, before anything is written or acknowledged."""

from __future__ import annotations

import pytest
from stored import read_entries, tamper
from support import append, fill, sample_events

from tlog.core.chain import CHAIN_START
from tlog.errors import OverloadedError, RollbackError
from tlog.storage.rows import State
from tlog.writing.watermark import Watermark

pytestmark = pytest.mark.anyio

GO_BACK = """
DELETE FROM leaf WHERE index >= 8;
UPDATE tlog.log_state SET size = 8, chain_hash = (SELECT chain_hash FROM leaf WHERE index = 7)
"""
ANOTHER_HISTORY = "UPDATE tlog.log_state SET chain_hash = sha256('another')"
ANOTHER_PAST = "UPDATE leaf SET chain_hash = sha256('another') WHERE index = 10"


def entries(database):
    with database.connect_admin() as admin:
        return read_entries(admin)


async def reconnect(log):
    """Close the appender's connections, as a promotion does: no connection outlives the server it was made to."""
    for store in log.appender._stores:
        await store.close()


async def append_after(opened, database, statements):
    """Fill a log, change its database, and append on; return what is there when the appending begins."""
    async with opened() as log:
        await append(log, sample_events(10))
        with database.connect_admin() as admin:
            tamper(admin, statements)
        before = entries(database)
        for seed in range(2, 6):
            with pytest.raises(OverloadedError):
                await append(log, sample_events(3, seed=seed))
        assert entries(database) == before


async def test_a_shorter_log_is_never_continued(opened, database):
    with pytest.raises(RollbackError, match="ROLLBACK db=8 acknowledged=11") as refused:
        await append_after(opened, database, GO_BACK)
    assert refused.value.exit_code == 5


async def test_another_history_of_the_same_size_is_never_continued(opened, database):
    with pytest.raises(RollbackError, match="other entries below 11"):
        await append_after(opened, database, ANOTHER_HISTORY)


async def append_over_another_past(opened, database):
    async with opened() as log, opened() as other:
        await append(log, sample_events(10))
        await append(other, sample_events(10, seed=2))
        with database.connect_admin() as admin:
            tamper(admin, ANOTHER_PAST)
        await reconnect(log)
        with pytest.raises(OverloadedError, match="operator has to act"):
            await append(log, sample_events(5, seed=3))


async def test_a_longer_log_with_another_past_is_noticed_on_a_new_connection(opened, database):
    with pytest.raises(RollbackError, match="other entries below 11"):
        await append_over_another_past(opened, database)


async def test_without_the_watermark_the_indexes_are_given_twice(opened, database, monkeypatch):
    """The control: what happens if nobody looks."""

    async def nothing(*_):
        return None

    monkeypatch.setattr(Watermark, "check", nothing)
    async with opened(sealing="elsewhere") as log:  # nobody who seals meets the gap
        before = await append(log, sample_events(10))
        with database.connect_admin() as admin:
            tamper(admin, GO_BACK)
        after = await append(log, sample_events(5, seed=2))
    assert {receipt.index for receipt in before} & {receipt.index for receipt in after}


async def test_other_processes_may_append_without_being_suspected(opened):
    async with opened() as log, opened() as other:
        for seed in range(6):
            receipts = await append(log if seed % 2 else other, sample_events(4, seed=seed + 10))
            await reconnect(log)
        assert receipts[-1].index == 24


async def test_what_is_anchored_is_the_first_watermark(opened, database):
    async with opened() as log:
        await fill(log, 10)
    with database.connect_admin() as admin:
        tamper(admin, ANOTHER_PAST.replace("another", "x"))
        admin.execute("UPDATE tlog.log_state SET chain_hash = sha256('x')")
    with pytest.raises(RollbackError, match="acknowledged or signed"):
        async with opened() as log:
            await append(log, sample_events(1, seed=2))


def test_it_only_rises():
    watermark = Watermark(5, b"a")
    watermark.rise(State(4, b"b", 0))
    assert (watermark._size, watermark._chain_hash) == (5, b"a")
    watermark.rise(State(6, b"c", 0))
    assert (watermark._size, watermark._chain_hash) == (6, b"c")


class Opened:
    """An open transaction on an old connection."""

    new_connection = False

    def __init__(self, size, chain_hash):
        self.state = State(size, chain_hash, 0)

    async def chain_hash_after(self, _):
        raise AssertionError


@pytest.mark.parametrize("size", [0, 3])
async def test_an_empty_watermark_and_an_old_connection_ask_nothing(size):
    await Watermark(0, CHAIN_START).check(Opened(size, CHAIN_START))
    await Watermark(min(size, 1), CHAIN_START).check(Opened(size, CHAIN_START))
