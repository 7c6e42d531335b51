"""Another PostgreSQL in the place of the one before: whether the log goes on there, and who may say so.

A promoted standby, a restored copy and an upgraded server continue a log as if nothing had been there, and may lack what was
acknowledged. PostgreSQL says which server it is, by system identifier and timeline; the anchor remembers on which one was
signed last. Where they differ, an outcome `failover` has to name the new server before anything is signed on it:

    on the server that was signed on, or one that a failover names           → nothing to decide
    commits waited for standbys, this process acknowledged on the server
    before, and what it saw committed last is there (`tlog.writing.watermark`) → this process says so, and goes on
    a process that acknowledges nothing, such as one that only seals          → waits for one that does
    everything else                                                           → `FailoverError`; the operator decides

The second rests on only such standbys being promoted that commits waited for (docs/how-to/two-machines.md).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from tlog.core.entry import OutcomeEntry, parse_entry
from tlog.core.outcome import Failover, Server
from tlog.errors import FailoverError, MalformedInputError, OverloadedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tlog.signing.anchor import Anchored
    from tlog.storage.appending import Append
    from tlog.storage.rows import Primary

_log: Final = structlog.get_logger()


def is_same(before: Anchored | Primary, now: Primary) -> bool:
    """Tell whether a server is the one before, on its timeline; before the first signature there is none before."""
    return not before.system or (before.system, before.timeline) == (now.system, now.timeline)


def is_named(now: Primary, entries: Iterable[bytes]) -> bool:
    """Tell whether one of some entries says that the log goes on on this server."""
    return any(_says(entry, Server(system=now.system, timeline=now.timeline)) for entry in entries)


def _says(entry: bytes, server: Server) -> bool:
    try:
        parsed = parse_entry(entry)
    except MalformedInputError:
        return False  # whoever reads it as an entry says so
    report = parsed.report if isinstance(parsed, OutcomeEntry) else None
    return isinstance(report, Failover) and report.after == server


def report_of(before: Anchored | Primary, now: Primary, size: int, *, synchronous: bool) -> Failover:
    """Return what an outcome has to say so that the log goes on on a server from entry `size` on."""
    return Failover(
        accepted="synchronous" if synchronous else "operator",
        before=Server(system=before.system, timeline=before.timeline),
        size=size,
        after=Server(system=now.system, timeline=now.timeline),
    )


def describe(before: Anchored | Primary, now: Primary) -> str:
    """Return in words what differs."""
    if before.system != now.system:
        return f"system {before.system}→{now.system}"
    return f"timeline {before.timeline}→{now.timeline}"


def refusal(before: Anchored | Primary, now: Primary) -> FailoverError:
    """Return the error with which a log ends that must not go on on this server."""
    return FailoverError(
        f"FAILOVER {describe(before, now)}: acknowledged entries may be missing, because another PostgreSQL has taken the place "
        "of the one on which this log was signed. If that one still has the newest database, bring it back; else find out what "
        "is lost, and run 'tlog failover --accept'"
    )


class Succession:
    """Decides, where an appender connects anew, whether the log goes on on the server there."""

    def __init__(self, primary: Primary, read_anchor: Callable[[], Anchored], *, acknowledges: bool) -> None:
        """Take what the log was opened on.

        Args:
            primary: the server that was checked when the log was opened.
            read_anchor: reads what was signed last.
            acknowledges: whether this process acknowledges events, so that what it saw committed says something.

        """
        self._primary = primary
        self._read_anchor = read_anchor
        self._acknowledges = acknowledges

    async def check(self, append: Append, *, risen: bool) -> Failover | None:
        """Check the server of an open transaction, in which nothing was written; return what has to be said first, if anything.

        Args:
            append: the transaction; its state continues what this process saw committed.
            risen: whether this process saw anything committed since the log was opened.

        Raises:
            FailoverError: the operator has to say that the log goes on there.
            OverloadedError: a process that acknowledges events has to.

        """
        now = append.primary
        if not append.new_connection or is_same(self._primary, now):
            return None
        anchored = await asyncio.to_thread(self._read_anchor)
        if is_same(anchored, now) or is_named(now, await append.failovers(anchored.size)):
            self._primary = now
            return None
        if not self._acknowledges:
            message = "another PostgreSQL has taken over, and no process that acknowledges events has gone on there yet"
            raise OverloadedError(message)
        if not (anchored.synchronous and risen):
            raise refusal(self._primary, now)
        _log.warning("failover", what=describe(self._primary, now), size=append.state.size)
        return report_of(self._primary, now, append.state.size, synchronous=True)
