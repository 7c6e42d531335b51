"""What the endpoints work with: one open log, and what guards and observes it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tlog.server.guard.turns import Turns

if TYPE_CHECKING:
    from tlog.lifecycle.opening import Log
    from tlog.server.guard.admission import Admission
    from tlog.server.guard.cors import Cors
    from tlog.server.observe.checks import Checks
    from tlog.server.observe.metrics import Metrics


@dataclass
class Service:
    """What the endpoints work with."""

    log: Log
    admission: Admission
    metrics: Metrics
    checks: Checks
    cors: Cors
    stopping: bool = False
    turns: Turns = field(default_factory=Turns)
