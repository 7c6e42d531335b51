"""Fixtures of the client: a service that answers as a test wants it, and logs of events that send to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from fakelog import FakeLog

from tlog.client import AuditLog, sender

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def fake_log() -> Iterator[FakeLog]:
    fake = FakeLog()
    yield fake
    fake.stop()


@pytest.fixture
def spool_path(tmp_path: Path) -> Path:
    directory = tmp_path / "spool"
    directory.mkdir(mode=0o700)
    return directory / "audit.spool"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every delay of the sender is short; which of them is meant is another test's matter."""
    for name in ("_FIRST_DELAY", "_AWAY_DELAY", "_LONGEST_DELAY", "_POLL_SECONDS", "_FOLLOW_SECONDS"):
        monkeypatch.setattr(sender, name, 0.02)


@pytest.fixture
def audit_log(fake_log: FakeLog, spool_path: Path, quick: None) -> Iterator[Callable[..., AuditLog]]:
    """Makes an AuditLog that sends to the fake service, and closes it at the end."""
    made = []

    def make(url: str = fake_log.url, token: str = "token", **options: Any) -> AuditLog:
        log = AuditLog(url, token, **{"source": "ehr-api", "spool": spool_path, "flush_at_exit": 0.0, **options})
        made.append(log)
        return log

    yield make
    for log in made:
        log.close()
