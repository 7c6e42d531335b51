"""What the endpoints work with: one open log, and what guards and observes it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from tlog.server.guard.bulk import BulkAnswers, LargePages
from tlog.server.guard.opened import OpenedBuckets
from tlog.server.guard.turns import Turns

if TYPE_CHECKING:
    from tlog.answering.bulk import MakesBulk
    from tlog.lifecycle.opening import Log
    from tlog.server.guard.admission import Admission
    from tlog.server.guard.cors import Cors
    from tlog.server.guard.public import Public
    from tlog.server.observe.accesslog import AccessLog
    from tlog.server.observe.checks import Checks
    from tlog.server.observe.figures import Figures
    from tlog.server.observe.metrics import Metrics
    from tlog.server.observe.ready import Ready

# Each set of evidence holds one of the few connections, and a snapshot, for as long as it is sent.
_SETS: Final = 2


@dataclass
class Service:
    """What the endpoints work with."""

    log: Log
    admission: Admission
    figures: Figures
    metrics: Metrics
    checks: Checks
    ready: Ready
    cors: Cors
    public: Public
    maker: MakesBulk
    access_log: AccessLog | None = None
    stopping: bool = False
    turns: Turns = field(default_factory=Turns)
    opened: OpenedBuckets = field(init=False)
    bulk: BulkAnswers = field(default_factory=BulkAnswers)
    pages: LargePages = field(default_factory=LargePages)
    sets: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_SETS))

    def __post_init__(self) -> None:
        """Count by the log's clock."""
        self.opened = OpenedBuckets(self.log.clock)

    def answered(
        self, method: str, route: str | None, status: int, *, key_id: str | None, sent: int, seconds: float
    ) -> None:
        """Count and log a request that was answered, or is not going to be: see `tlog.server.observe.accesslog`."""
        self.metrics.answered(route, seconds)
        if self.access_log is not None:
            self.access_log.write(method, route, status, key_id=key_id, sent=sent, seconds=seconds)
