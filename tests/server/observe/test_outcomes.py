"""What the log says of itself is counted from the log, whichever process said it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
from support import append, control_draft, sample_events

from tlog.core.making.drafts import DraftEntry
from tlog.core.making.outcome import draft_outcome
from tlog.core.outcome import Checked, Lost, Stalled, Started, Stopped
from tlog.errors import OverloadedError
from tlog.lifecycle.life import say
from tlog.server.observe import outcomes
from tlog.server.observe.figures import Figures
from tlog.server.observe.metrics import Metrics

pytestmark = pytest.mark.anyio
NOW = datetime(2026, 11, 27, 10, 0, tzinfo=UTC)
INSTANCE = "AAECAwQFBgc"


def samples(metrics):
    """Return the samples of the log's outcomes by name and labels."""
    lines = [line for line in metrics.text().decode().splitlines() if not line.startswith("#")]
    figures = dict(line.rsplit(" ", 1) for line in lines)
    return {
        name: float(value)
        for name, value in figures.items()
        if "outcomes" in name or "fsck" in name or "stalled" in name
    }


def stalled(seconds, what):
    times = {"start": "2026-11-27T09:00:00.000000Z", "end": f"2026-11-27T09:00:{seconds:02}.500000Z"}
    return Stalled(**times, what=what, why="database")


async def test_all_kinds_are_counted_whoever_said_them(opened, monkeypatch):
    monkeypatch.setattr(outcomes, "_AT_ONCE", 3)
    async with opened() as log:
        metrics = Metrics(log, Figures(log))
        await metrics.outcomes.count()
        nothing = samples(metrics)
        assert nothing.pop("tlog_fsck_seconds_since") == float("inf")
        assert set(nothing.values()) == {0.0}
        kinds = ("checked", "failover", "lost", "other", "restored", "stalled", "started", "stopped")
        whats = ("appending", "sealing")
        assert nothing.keys() == {f'tlog_outcomes_total{{kind="{kind}"}}' for kind in kinds} | {
            f'tlog_stalled_seconds_total{{what="{what}"}}' for what in whats
        }
        await say(
            log.appender, Started(instance=INSTANCE, version="1"), stalled(30, "sealing"), stalled(10, "appending")
        )
        await append(log, sample_events(5))
        await say(log.appender, stalled(12, "sealing"), Lost(start=1, end=2, n=1))
        await metrics.outcomes.count()
        unknown = draft_outcome(Stopped(instance=INSTANCE))
        unknown = DraftEntry(None, unknown.head.replace(b"stopped", b"unheard-of"), unknown.tail)
        await log.appender.append([unknown, control_draft(log, "somebody")])
        checked = [Checked(since=0, size=7, unexplained=2, verdict=verdict) for verdict in ("verified", "failed")]
        await say(log.appender, *checked, Stopped(instance=INSTANCE))
        for _ in range(2):
            await metrics.outcomes.count()
        figures = samples(metrics)
        assert 0 <= figures.pop("tlog_fsck_seconds_since") < 3600
        assert {name: value for name, value in figures.items() if value} == {
            'tlog_outcomes_total{kind="checked"}': 2.0,
            'tlog_outcomes_total{kind="lost"}': 1.0,
            'tlog_outcomes_total{kind="other"}': 1.0,
            'tlog_outcomes_total{kind="stalled"}': 3.0,
            'tlog_outcomes_total{kind="started"}': 1.0,
            'tlog_outcomes_total{kind="stopped"}': 1.0,
            'tlog_stalled_seconds_total{what="appending"}': 10.5,
            'tlog_stalled_seconds_total{what="sealing"}': 43.0,
            "tlog_fsck_unexplained": 2.0,
            "tlog_fsck_verdict": 1.0,
        }


async def test_counting_goes_on_when_the_database_is_back(opened, monkeypatch):
    monkeypatch.setattr(outcomes, "_SECONDS", 0.01)
    async with opened() as log:
        await say(log.appender, Started(instance=INSTANCE, version="1"))
        metrics, ask, asked = Metrics(log, Figures(log)), log.searcher.ask, []

        async def away_at_first(*arguments, **options):
            asked.append(1)
            if len(asked) < 3:
                message = "the database is away"
                raise OverloadedError(message)
            return await ask(*arguments, **options)

        monkeypatch.setattr(log.searcher, "ask", away_at_first)
        following = asyncio.create_task(metrics.outcomes.follow())
        async with asyncio.timeout(30):
            while not samples(metrics)['tlog_outcomes_total{kind="started"}']:  # noqa: ASYNC110 - who scrapes polls
                await asyncio.sleep(0.01)
        following.cancel()
