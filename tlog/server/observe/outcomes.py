"""What the log says of itself, counted for `/metrics`: all outcomes in the log, whichever process appended them.

A restart counts them again from the first, so that what a recovery, a restore or a check says while no service runs is counted
too.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NoReturn

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from tlog.core.entry import OutcomeEntry, parse_entry
from tlog.core.logged_at import parse_logged_at
from tlog.core.outcome import KINDS, Checked, Stalled
from tlog.core.question import parse_question
from tlog.errors import TlogError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client import Metric

    from tlog.lifecycle.opening import Log

_SECONDS: Final = 5.0
_AT_ONCE: Final = 500
_VERDICTS: Final = {"verified": 0, "failed": 1, "incomplete": 3}
_QUESTION: Final = parse_question({"control": "outcome"})
_OTHER: Final = "other"


class Outcomes(Collector):
    """Counts the outcomes of an open log; `follow` keeps the counts."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._end = 0  # index after the last one that is counted
        self._kinds: Counter[str] = Counter(dict.fromkeys((*KINDS, _OTHER), 0))
        self._stalled = {"appending": 0.0, "sealing": 0.0}
        self._checked: OutcomeEntry | None = None

    async def follow(self) -> NoReturn:
        """Count what is new, every few seconds, until cancelled."""
        while True:
            with suppress(TlogError):  # the counts stay as they are while the database is away
                await self.count()
            await asyncio.sleep(_SECONDS)

    async def count(self) -> None:
        """Count what is new.

        Raises:
            OverloadedError: the database is away; nothing is counted.

        """
        new: list[tuple[int, OutcomeEntry]] = []
        cursor = None
        while True:
            answer = await self._log.searcher.ask(_QUESTION, limit=_AT_ONCE, cursor=cursor)
            for found in answer.events:
                entry = parse_entry(found.entry)
                if found.leaf.index >= self._end and isinstance(entry, OutcomeEntry):
                    new.append((found.leaf.index, entry))
            cursor = answer.next
            if cursor is None or cursor.before <= self._end:
                break
        for index, entry in reversed(new):
            self._take(entry)
            self._end = index + 1

    def _take(self, entry: OutcomeEntry) -> None:
        self._kinds[entry.kind if entry.kind in KINDS else _OTHER] += 1
        match entry.report:
            case Stalled() as stalled:
                seconds = (parse_logged_at(stalled.end) - parse_logged_at(stalled.start)).total_seconds()
                self._stalled[stalled.what] += seconds
            case Checked():
                self._checked = entry

    def collect(self) -> Iterator[Metric]:
        """Return the metrics."""
        kinds = CounterMetricFamily("tlog_outcomes", "Outcomes in the log, by kind", labels=["kind"])
        for kind, number in self._kinds.items():
            kinds.add_metric([kind], number)
        stalled = CounterMetricFamily(
            "tlog_stalled_seconds", "Seconds of the standstills that the log tells of", labels=["what"]
        )
        for what, seconds in self._stalled.items():
            stalled.add_metric([what], seconds)
        yield kinds
        yield stalled
        yield from self._of_check()

    def _of_check(self) -> Iterator[Metric]:
        """Return what the last check of the log found; of a log that was never checked only that this is so."""
        since = float("inf")
        verdict = GaugeMetricFamily(
            "tlog_fsck_verdict", "Verdict of the last 'tlog fsck': 0 verified, 1 failed, 3 incomplete"
        )
        unexplained = GaugeMetricFamily("tlog_fsck_unexplained", "Disclosures that the last 'tlog fsck' found MISSING")
        if self._checked is not None and isinstance(self._checked.report, Checked):
            report = self._checked.report
            since = (self._log.clock() - parse_logged_at(self._checked.loggedAt)).total_seconds()
            verdict.add_metric([], _VERDICTS[report.verdict])
            unexplained.add_metric([], report.unexplained)
        yield verdict
        yield unexplained
        yield GaugeMetricFamily(
            "tlog_fsck_seconds_since", "Seconds since the last 'tlog fsck' ended, +Inf if none did", value=since
        )
