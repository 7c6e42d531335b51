"""What the pages of one log work with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tlog.server.pages.failures import Failures
from tlog.server.pages.sessions import Sessions

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from tlog.lifecycle.opening import Log
    from tlog.server.guard.auth import Authenticator
    from tlog.server.pages.address import Address
    from tlog.server.service import Service


@dataclass
class Site:
    """What the pages work with: beside the service their address, the zone of their times, and who is signed in."""

    service: Service
    authenticator: Authenticator
    address: Address
    zone: ZoneInfo
    sessions: Sessions = field(init=False)
    failures: Failures = field(init=False)

    def __post_init__(self) -> None:
        """Begin without sessions of this process and without failures."""
        self.sessions = Sessions(self.service.log, self.authenticator)
        self.failures = Failures(self.service.log)
        self.service.metrics.count_sessions(self.sessions.count)

    def said(self, zone: ZoneInfo) -> dict[str, str]:
        """Return what every page with events says: whose log it is, under which key as far as the server says, in which zone."""
        verifier = self.log.verifier
        return {"origin": verifier.name, "vkey": verifier.vkey(), "zone": zone.key}

    @property
    def log(self) -> Log:
        """The log."""
        return self.service.log
