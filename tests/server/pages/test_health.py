"""The health page: figures of the service, and what the log says of itself."""

from __future__ import annotations

import re

import pytest
from support import fill
from visitor import make_key, rows_of, visiting

from tlog.core.making.outcome import draft_outcome
from tlog.core.outcome import Checked, Started

pytestmark = pytest.mark.anyio


def facts_of(page):
    return dict(re.findall(r'<tr><th scope="row">([^<]*)</th><td>([^<]*)</td></tr>', page))


async def test_how_the_log_is_doing(opened):
    async with opened() as log, visiting(log) as visitor:
        await fill(log, 3)
        await visitor.sign_in((await make_key(log))[0])
        page = await visitor.get("/ui/health")
        assert page.status_code == 200
        before = facts_of(page.text)
        assert set(before.values()) == {"not computed yet"}, "nobody has looked, and nobody has checked"
        await log.appender.append([draft_outcome(Started(instance="A" * 11, version="0.1.0"))])
        await log.appender.append([draft_outcome(Checked(since=0, size=4, unexplained=2, verdict="failed"))])
        await visitor.app.state.service.figures.look()
        page = await visitor.get("/ui/health")
        told = facts_of(page.text)
        assert told["Last check of everything (tlog fsck)"].startswith("failed, 4 entries, ")
        assert told["Personal data that was missing then, unexplained"] == "2"
        assert told["Entries that no checkpoint covers"] != "not computed yet"
        assert [row[1] for row in rows_of(page.text)] == ["checked", "started"]
        asked = {"ask": "page", "control": "outcome", "page": "health"}
        assert await visitor.journal("read") == [("auditor", "read", asked)] * 2
