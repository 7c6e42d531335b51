"""What is looked up once a second: ages, lags, space, and what an operator has to hear of."""

from __future__ import annotations

import datetime
import math

import pytest
from structlog.testing import capture_logs
from support import append, sample_events

from tlog.errors import OverloadedError
from tlog.server.guard.auth import new_token
from tlog.server.observe.figures import Figures
from tlog.storage.keys import ApiKeyStore
from tlog.storage.rows import Progress, Standing

pytestmark = pytest.mark.anyio


class Clock:
    """The log's clock, which almost stands still until it is told otherwise."""

    def __init__(self):
        self.now = datetime.datetime.now(datetime.UTC) + datetime.timedelta(
            minutes=1
        )  # later than the making of the log

    def __call__(self):
        self.now += datetime.timedelta(microseconds=1)  # nothing is signed twice at the same time
        return self.now

    def step(self, **by):
        self.now += datetime.timedelta(**by)


async def looked(log):
    figures = Figures(log)
    await figures.look()
    return figures


async def test_what_waits_is_late_and_a_quiet_log_is_not(opened):
    clock = Clock()
    async with opened(clock=clock) as log:
        nothing = Figures(log)
        assert (nothing.oldest_pending_seconds(), math.isnan(nothing.seconds_since_seal())) == (0.0, True)
        receipts = await append(log, sample_events(3))
        await log.wait_sealed(receipts.last_index, 30)
        clock.step(seconds=60)
        figures = await looked(log)
        assert (figures.pending, figures.oldest_pending_seconds()) == (0, 0.0)
        assert figures.seconds_since_seal() >= 60
        await append(log, sample_events(2, seed=2))
        clock.step(seconds=7)
        await append(log, sample_events(1, seed=3))
        await figures.look()
        assert (figures.pending, figures.oldest_pending_seconds()) == (3, pytest.approx(7, abs=0.1))
        clock.step(seconds=5)
        assert figures.oldest_pending_seconds() == pytest.approx(12, abs=0.1), "ages grow between two looks"
        assert figures.index_lag == (await log.reader.state()).size, "nobody indexes this log"


async def test_the_space_and_the_versions_are_seen(opened):
    async with opened() as log:
        figures = Figures(log)
        assert figures.postgres == ""
        await figures.look()
        assert figures.postgres.startswith("18.")
        assert 0 < figures.space.free <= figures.space.total


async def test_a_database_that_is_away_leaves_what_was_seen_and_is_told_of_once(opened, monkeypatch):
    async with opened() as log:
        figures = await looked(log)
        before = figures.postgres

        errors = [OverloadedError("the database is away"), OverloadedError("the database is away"), KeyError("x")]

        async def away():
            raise errors.pop(0)

        monkeypatch.setattr(log.reader, "progress", away)
        with capture_logs() as lines:
            for _ in range(3):
                await figures.look()
        assert [line["reason"] for line in lines if line["event"] == "metrics_stale"] == [
            "the database is away",
            "KeyError",
        ]
        assert figures.postgres == before
        monkeypatch.undo()
        with capture_logs() as lines:
            await figures.look()
        assert [line for line in lines if line["event"] == "metrics_stale"] == []


def told(lines):
    found = [line for line in lines if line["event"].startswith("token")]
    return sorted((line["event"], line["key"], tuple(line["scopes"]), line.get("deleted")) for line in found)


async def test_keys_that_are_made_and_revoked_are_told_of(opened, location):
    async with opened() as log:
        figures = await looked(log)
        keys = ApiKeyStore(log.database)
        _, first = new_token(b"pepper", "service:a", ["append"], log.clock())
        _, second = new_token(b"pepper", "service:b", ["read", "append"], log.clock())
        await keys.add(first)
        await keys.add(second)
        with capture_logs() as lines:
            for _ in range(5):
                await figures.look()
        assert told(lines) == sorted(
            ("token_made", key.key_id, scopes, None)
            for key, scopes in ((first, ("append",)), (second, ("append", "read")))
        )
        await keys.revoke(first.key_id, log.clock())
        with capture_logs() as lines:
            for _ in range(10):
                await figures.look()
        assert told(lines) == [("token_revoked", first.key_id, ("append",), False)]
        assert not any("service:" in str(line) for line in lines), "nobody is named"


def test_every_change_of_a_key_is_told_of_once():
    figures = Figures.__new__(Figures)
    good, bad = Standing(["read"], revoked=False), Standing(["read"], revoked=True)
    figures._keys = {"stays": good, "deleted": good, "was revoked": bad, "revoked and deleted": bad}
    with capture_logs() as lines:
        figures._compare_keys({"stays": good, "was revoked": bad, "came and went": bad})
        figures._compare_keys({"stays": good, "was revoked": bad, "came and went": bad})
    assert told(lines) == [
        ("token_made", "came and went", ("read",), None),
        ("token_revoked", "came and went", ("read",), False),
        ("token_revoked", "deleted", ("read",), True),
    ]


@pytest.mark.parametrize("days, warned", [(120, False), (121, True)])
async def test_an_old_postgresql_is_told_of(opened, monkeypatch, days, warned):
    clock = Clock()
    async with opened() as log:

        async def progress():
            return Progress(1, 1, 1, 1, None, 180_004)

        figures = Figures(log)
        monkeypatch.setattr(log, "clock", clock)
        monkeypatch.setattr(log.reader, "progress", progress)
        clock.now = datetime.datetime(2026, 5, 14, tzinfo=datetime.UTC) + datetime.timedelta(days=days)
        with capture_logs() as lines:
            await figures.look()
            await figures.look()
        assert [line["postgres"] for line in lines if line["event"] == "postgres_old"] == ["18.4"] * warned
