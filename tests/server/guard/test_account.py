"""One account of memory for all requests that append: fair while others ask, and the slowest gives way."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

import pytest

from tlog.errors import OverloadedError
from tlog.server.guard.account import LEAST_RATE, MAX_MEMORY, Account

MEGABYTE = 1 << 20


class Scene:
    """An account of 16 MB, a clock, and requests that are receiving."""

    def __init__(self, stack, size=16 * MEGABYTE):
        self.now = 0.0
        self.account = Account(size, lambda: self.now)
        self._stack = stack
        self.ended = []

    def open(self, key_id, size=0):
        share = self._stack.enter_context(self.account.share(key_id))
        share.stop = lambda: self.ended.append(share)
        if size:
            self.account.grow(share, size)
        return share


@pytest.fixture
def scene():
    with ExitStack() as stack:
        yield Scene(stack)


def test_requests_have_a_bound_together():
    account = Account()
    with account.share("a") as first, account.share("a") as second:
        account.grow(first, MAX_MEMORY - 10)
        account.grow(second, 10)
        with pytest.raises(OverloadedError, match="large requests"):
            account.grow(second, 1)
    with account.share("a") as third:
        account.grow(third, MAX_MEMORY)
    assert not account._of_keys


def test_s5_a_key_has_a_quarter_while_others_ask(scene):
    alone = scene.open("a", 3 * MEGABYTE)
    scene.account.grow(alone, 3 * MEGABYTE)
    scene.open("b")
    with pytest.raises(OverloadedError, match="a quarter"):
        scene.account.grow(alone, 1)
    with pytest.raises(OverloadedError, match="a quarter"):
        scene.open("b", 5 * MEGABYTE)
    scene.open("b", 4 * MEGABYTE)


def test_s5_a_body_that_lags_is_refused_first(scene):
    bodies = [scene.open("a", MEGABYTE) for _ in range(16)]
    scene.now = 3.0
    asking = scene.open("b")
    # The key that fills it all has more than its quarter, whether it is slow or not.
    scene.account.grow(asking, 1)
    assert len(scene.ended) == 1
    scene.now = 100.0
    scene.account.grow(asking, 3 * MEGABYTE)
    assert len(scene.ended) == 4
    assert asking not in scene.ended
    for stopped in scene.ended:
        assert stopped in bodies
        with pytest.raises(OverloadedError, match="too slowly"):
            scene.account.grow(stopped, 1)


def test_s5_whoever_lags_most_goes_first(scene):
    keys = "abcd"
    shares = []
    for number, key in enumerate(keys):
        scene.now = float(number)
        shares.append(scene.open(key, 4 * MEGABYTE))
    scene.now = 2 + 1 + 4 * MEGABYTE / LEAST_RATE + 0.5
    scene.account.grow(scene.open("e"), MEGABYTE)
    assert scene.ended == [shares[0]]
    scene.account.grow(scene.open("f"), 4 * MEGABYTE)
    assert scene.ended == shares[:2]
    scene.account.grow(scene.open("g"), 4 * MEGABYTE)
    assert scene.ended == shares[:3]
    last = scene.open("h")
    with pytest.raises(OverloadedError, match="large requests"):
        scene.account.grow(last, 4 * MEGABYTE)
    assert shares[3] not in scene.ended, "who is in time, and has no more than a quarter, is not stopped"


def test_s5_what_came_whole_is_not_stopped():
    account = Account(16, lambda: 0.0)
    with account.share("a") as whole, account.share("b") as asking:
        account.grow(whole, 4)
        account.grow(asking, 4)
        with account.share("c") as third, account.share("d") as fourth:
            account.grow(third, 4)
            account.grow(fourth, 4)
            with account.share("e") as fifth, pytest.raises(OverloadedError):
                account.grow(fifth, 1)


@pytest.mark.anyio
async def test_s5_a_stopped_body_is_refused_and_its_memory_is_there_at_once():
    account = Account(16, lambda: now[0])
    now = [0.0]

    async def slow():
        with account.share("a") as share:
            async with share.receiving():
                share.grow(16)
                await asyncio.sleep(60)

    task = asyncio.create_task(slow())
    await asyncio.sleep(0)
    now[0] = 30.0
    with account.share("b") as share:
        account.grow(share, 4)
    with pytest.raises(OverloadedError, match="too slowly"):
        await task
