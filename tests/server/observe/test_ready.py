"""A service says whether it is ready without asking the database within the request."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from tlog.errors import OverloadedError
from tlog.server.observe import ready as module
from tlog.server.observe.ready import Ready
from tlog.storage.rows import SealedCheckpoint
from tlog.writing.background import Status

pytestmark = pytest.mark.anyio
CHECKPOINT = SealedCheckpoint(5, b"", b"", b"note", 0)


class Store:
    """A database that does what a test says: answers, says no, or says nothing."""

    answers = CHECKPOINT
    looks = 0
    closed = False

    def __init__(self, *_, **__):
        Store.latest = self

    async def open(self, *, wait):
        assert not wait, "a database that is away at the start must not end the service"

    async def close(self):
        self.closed = True

    async def latest_checkpoint(self):
        Store.looks += 1
        if Store.answers is TimeoutError:
            await asyncio.Event().wait()
        if Store.answers is OverloadedError:
            raise OverloadedError(str(self))
        return Store.answers


@pytest.fixture
def log(monkeypatch):
    monkeypatch.setattr(module, "ReadStore", Store)
    for name in ("_EVERY_SECONDS", "_SOON_SECONDS", "_PATIENCE"):
        monkeypatch.setattr(module, name, 0.001)
    Store.answers, Store.looks = CHECKPOINT, 0
    background = SimpleNamespace(status=Status(sealing=True))
    return SimpleNamespace(
        database=SimpleNamespace(watch=None), appender=SimpleNamespace(waits_for=""), background=background
    )


async def looks(ready, count=2):
    """Let it look so many times more."""
    until, task = Store.looks + count, asyncio.create_task(ready.run())
    async with asyncio.timeout(30):
        while Store.looks <= until:  # noqa: ASYNC110 - a look sets no event
            await asyncio.sleep(0.001)
    task.cancel()
    await asyncio.wait([task])
    assert Store.latest.closed
    return ready.document()


async def test_it_looks_again_and_again(log):
    ready = Ready(log)
    assert ready.document() == {"ready": False, "reason": "database"}, "before the first look"
    assert await looks(ready) == {"ready": True, "size": 5, "leading": True}


async def test_a_log_without_checkpoint_is_not_ready(log):
    ready, Store.answers = Ready(log), None
    assert await looks(ready) == {"ready": False, "reason": "no-checkpoint"}


async def test_a_database_that_says_no_counts_at_once(log):
    ready = Ready(log)
    await looks(ready)
    Store.answers = OverloadedError
    assert await looks(ready) == {"ready": False, "reason": "database"}


async def test_a_database_that_says_nothing_counts_after_a_while(log, monkeypatch):
    ready = Ready(log)
    await looks(ready)
    Store.answers = TimeoutError
    assert (await looks(ready))["ready"], "one look without an answer is none"
    monkeypatch.setattr(module, "_TOO_OLD", 0.0)
    assert await looks(ready) == {"ready": False, "reason": "database"}


@pytest.mark.parametrize("what", ["standby", "database"])
async def test_appending_that_stands_still_is_not_ready(log, what):
    ready = Ready(log)
    await looks(ready)
    log.appender.waits_for = what
    assert ready.document() == {"ready": False, "reason": what}


async def test_what_does_not_go_on_is_told_in_codes(log):
    ready = Ready(log)
    await looks(ready)
    log.background.status = Status(seal_error="x", index_error="x")
    log.database.watch = SimpleNamespace(trouble="x")
    assert ready.document() == {
        "ready": True, "size": 5, "leading": False, "sealing": "waiting", "indexing": "stopped", "appending": "no-space",
    }  # fmt: skip
    log.database.watch.trouble = ""
    assert "appending" not in ready.document()
