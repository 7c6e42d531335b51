"""What a log says of its own life, in entries: that a service started, stood still or stopped, that it was restored or checked.

Own format (docs/reference/formats.md, "Outcome"; docs/adr/0026-who-says-started.md). Nobody has to believe a message that an
administrator can delete: an outcome is an entry as any other, signed and found under the public key `control` of `outcome`.

    before the first event that a service acknowledges    `restored`, if a backup was, and `started`: the appender's gate
    while it runs                                         `stalled`, once work goes on that stood still for 10 s or more
    at an orderly end, after the last event               `stopped`; who started and never says this was killed
    after a check by `tlog fsck`                          `checked`, where anchor or signer agree with the database
"""

from __future__ import annotations

import asyncio
import secrets
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, NoReturn, cast

import msgspec
import structlog

from tlog.core.logged_at import format_logged_at
from tlog.core.making.outcome import draft_outcome
from tlog.core.outcome import INSTANCE_SIZE, Checked, Restored, Stalled, Started, Stopped
from tlog.core.strict import encode_base64url
from tlog.errors import OverloadedError, TlogError
from tlog.keeping.backup import read_mark, write_mark
from tlog.lifecycle.opening import check_log
from tlog.location import utc_now, version
from tlog.signing.clock import SteadyClock, check_clock, elapsed_seconds
from tlog.storage.appending import AppendStore
from tlog.storage.reading import ReadStore
from tlog.writing.appender import Appender

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from datetime import datetime

    from tlog.checking.report import Report as CheckReport
    from tlog.core.note import Verifier
    from tlog.core.outcome import Report
    from tlog.errors import Cause
    from tlog.keeping.backup import Mark
    from tlog.lifecycle.opening import Log
    from tlog.signing.anchor import Anchored
    from tlog.signing.signer import Signing
    from tlog.storage.database import Database

STALL_SECONDS: Final = 10.0
_LOOK_SECONDS: Final = 1.0
_PROBE_SECONDS: Final = 2.0
_END_SECONDS: Final = 5.0
_SEAL_SECONDS: Final = 3.0
_VERDICTS: Final[dict[int, Literal["verified", "failed", "incomplete"]]] = {0: "verified", 1: "failed", 3: "incomplete"}
_log: Final = structlog.get_logger()


async def say(appender: Appender, *reports: Report) -> int:
    """Append outcomes that say this, together; return the index of the first once they are durable.

    Raises:
        OverloadedError: they cannot be appended now.

    """
    return (await appender.append([draft_outcome(each) for each in reports]))[0].index


# --- Before the first event -------------------------------------------------------------------------------------------


class Gate:
    """What a process says before the first event that it acknowledges; the events wait for that.

    One attempt at a time is made for all events that wait; if it fails, they are refused, and the next event tries again.
    """

    def __init__(self, log: Log, instance: str = "") -> None:
        """Prepare.

        Args:
            log: the log.
            instance: what the process calls itself, if it says that it started.

        """
        self._log = log
        self._instance = instance
        self._saying: asyncio.Task[None] | None = None
        self.said = False

    async def __call__(self) -> None:
        """Return when it is said.

        Raises:
            OverloadedError: it cannot be said now.
            OperatorError: what it has to say of a backup cannot be read.

        """
        if self._saying is None or self._saying.done():
            self._saying = asyncio.create_task(self._say(), name="gate")
            self._saying.add_done_callback(_retrieve)
        await asyncio.shield(self._saying)  # whoever goes away takes nothing from the others

    async def settle(self) -> None:
        """Wait a moment for an attempt that is under way."""
        if self._saying is not None:
            await asyncio.wait([self._saying], timeout=_END_SECONDS)

    async def _say(self) -> None:
        mark = await _unsaid_mark(self._log)
        reports: list[Report] = []
        if mark is not None:
            reports.append(Restored(backup=mark.backup, size=mark.size, takenAt=mark.takenAt))
        if self._instance:
            reports.append(Started(instance=self._instance, version=version()))
        if reports:
            index = await say(self._log.appender, *reports)
            if mark is not None:
                await self._note(msgspec.structs.replace(mark, saidBy=index))
        self.said = True
        self._log.appender.gate = None

    async def _note(self, mark: Mark) -> None:
        """Note beside the database that the log says what it had to say; without the note the next process says so again."""
        try:
            await asyncio.to_thread(write_mark, self._log.directory, mark)
        except OSError as error:
            _log.warning("restored_not_noted", reason=error.strerror)


def _retrieve(task: asyncio.Task[None]) -> None:
    """Take the error of a task that nobody waits for any more."""
    _ = task.cancelled() or task.exception()


async def gate_of(log: Log) -> Gate | None:
    """Return the gate of an open log that has to say that it was restored, None if it has not.

    Raises:
        OperatorError: what it has to say cannot be read.

    """
    return None if await _unsaid_mark(log) is None else Gate(log)


async def _unsaid_mark(log: Log) -> Mark | None:
    mark = None if log.location.database is not None else await asyncio.to_thread(read_mark, log.directory)
    return mark if mark is not None and mark.saidBy is None else None


async def forget_mark(log: Log) -> None:
    """Delete what a log still had to say of a backup, once the entry that says so is sealed.

    Raises:
        OperatorError: the file is no such mark.
        OverloadedError: the database is away.

    """
    mark = await asyncio.to_thread(read_mark, log.directory)
    if mark is not None and mark.saidBy is not None:
        checkpoint = await log.reader.latest_checkpoint()
        if checkpoint is not None and checkpoint.size > mark.saidBy:
            await asyncio.to_thread(log.directory.restored.unlink, missing_ok=True)


# --- While it runs ----------------------------------------------------------------------------------------------------


class Standstills:
    """When appending and sealing stand still: looked at again and again, it returns what is to be said once work goes on."""

    def __init__(
        self,
        clock: Callable[[], datetime],
        elapsed: Callable[[], float] = elapsed_seconds,
        least: float = STALL_SECONDS,
    ) -> None:
        """Prepare.

        Args:
            clock: the log's clock, which tells when work goes on.
            elapsed: returns seconds that pass as they do, whatever the clock is set to.
            least: seconds of a standstill that is worth an entry.

        """
        self._clock = clock
        self._elapsed = elapsed
        self._least = least
        self._since: dict[str, tuple[float, Cause]] = {}

    def look(self, what: Literal["appending", "sealing"], why: Cause | None) -> Stalled | None:
        """Take in what `what` waits for now, None if it goes on; return the standstill that is over, if it was long enough."""
        began = self._since.pop(what, None)
        if why is not None:
            self._since[what] = self._elapsed() if began is None else began[0], why
            return None
        if began is None or (seconds := self._elapsed() - began[0]) < self._least:
            return None
        end = self._clock()
        start = end - timedelta(seconds=seconds)
        return Stalled(
            start=format_logged_at(start).decode(), end=format_logged_at(end).decode(), what=what, why=began[1]
        )


class Life:
    """Looks once a second whether appending and sealing go on, and says when they stood still."""

    def __init__(self, log: Log, standstills: Standstills | None = None) -> None:
        self._log = log
        self._standstills = Standstills(log.clock) if standstills is None else standstills
        self._probe = AppendStore(log.database)
        self._groups = 0
        self._unsaid: list[Stalled] = []
        self._saying: asyncio.Task[None] | None = None

    async def run(self) -> NoReturn:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            try:
                await self.look()
            except Exception as error:  # noqa: BLE001 - the next look may succeed; one that ended would help nobody
                _log.warning("life_not_seen", error=type(error).__name__)

    async def look(self) -> None:
        """Look once, and do what is to be done."""
        self._note(self._standstills.look("appending", await self._appending_waits_for()))
        self._note(self._standstills.look("sealing", self._sealing_waits_for()))
        if self._unsaid and (self._saying is None or self._saying.done()):
            # Beside the looking: while appending stands still, nothing returns that appends.
            self._saying = asyncio.create_task(self._say(), name="stalled")
        await forget_mark(self._log)

    async def close(self) -> None:
        """Say what is still to be said, if that takes no longer than a moment."""
        if self._saying is not None:
            await asyncio.wait([self._saying], timeout=_END_SECONDS)
        if self._unsaid:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._say(), _END_SECONDS)

    def _note(self, stalled: Stalled | None) -> None:
        if stalled is not None:
            self._unsaid.append(stalled)

    async def _say(self) -> None:
        said = tuple(self._unsaid)
        with suppress(TlogError):  # the next look tries again
            await say(self._log.appender, *said)
            del self._unsaid[: len(said)]

    async def _appending_waits_for(self) -> Cause | None:
        appender, watch = self._log.appender, self._log.database.watch
        before, self._groups = self._groups, appender.groups
        try:
            if watch is not None:
                watch.check()
            appender.check_clock()
        except OverloadedError as error:
            return error.cause
        if appender.waits_for:
            return appender.waits_for
        if appender.trouble is None:
            return "database" if appender.under_way and appender.groups == before else None
        # Perhaps nobody has tried since it failed. That a transaction without rows succeeds says nothing of space on the disk.
        if appender.trouble != "disk" and await self._commits():
            appender.trouble = None
        return appender.trouble

    async def _commits(self) -> bool:
        """Tell whether a transaction that appends nothing can be committed."""
        try:
            async with asyncio.timeout(_PROBE_SECONDS), self._probe.transaction():
                pass
        except (TlogError, TimeoutError):
            return False
        else:
            return True
        finally:
            await self._probe.close()

    def _sealing_waits_for(self) -> Cause | None:
        status = self._log.background.status
        return status.seal_cause if status.seal_error else None


@asynccontextmanager
async def watching(log: Log) -> AsyncIterator[None]:
    """Look after an open log that is run, and say when appending or sealing stood still, while the body runs."""
    life = Life(log)
    looking = asyncio.create_task(life.run(), name="life")
    try:
        yield
    finally:
        looking.cancel()
        await asyncio.wait([looking])
        await life.close()


@asynccontextmanager
async def living(log: Log, running: asyncio.Task[None]) -> AsyncIterator[None]:
    """Say of a service that appends for others when it started, stood still and stopped; the body is its life.

    Args:
        log: an open log that is run.
        running: a task that ends only by an error (`tlog.lifecycle.running.running`): after it there is no orderly end.

    """
    instance = encode_base64url(secrets.token_bytes(INSTANCE_SIZE)).decode()
    log.appender.gate = gate = Gate(log, instance)
    async with watching(log):
        yield
    await gate.settle()
    if gate.said and not running.done():
        try:
            async with asyncio.timeout(_END_SECONDS):
                index = await say(log.appender, Stopped(instance=instance))
            await log.wait_sealed(index, _SEAL_SECONDS)
        except (TlogError, TimeoutError) as error:
            _log.warning("stop_not_said", reason=str(error) or "it takes too long")


# --- After a check ----------------------------------------------------------------------------------------------------


class _Anchor(NamedTuple):
    """What comparing the database with what was signed last needs of a signer: whoever checks has no signing key."""

    verifier: Verifier
    read: Callable[[], Anchored]


async def say_checked(
    database: Database, log: Verifier, read_anchor: Callable[[], Anchored], report: CheckReport
) -> int:
    """Append the outcome of a check of the live log; return its index.

    Args:
        database: what was checked.
        log: the log's public key.
        read_anchor: reads what was signed last, of the anchor or through the signer.
        report: what was found.

    Raises:
        TlogError: nothing was appended, because anchor or signer do not agree with the database, or the database is none
            to which anything may be appended. The message says why.

    """
    await database.check()
    reader = ReadStore(database, connections=1)
    await reader.open()
    try:
        anchored, _ = await check_log(reader, cast("Signing", _Anchor(log, read_anchor)))
        state = await reader.state()
    finally:
        await reader.close()
    last = max(anchored.sealed_at, state.last_logged_at)
    check_clock(utc_now(), last)
    reached = anchored.size, anchored.chain_hash
    appender = Appender(AppendStore(database), SteadyClock(utc_now, last), reached=reached)
    checked = Checked(
        since=report.start,
        size=max(report.size, report.start),
        unexplained=report.checked["missing"],
        verdict=_VERDICTS[report.exit_code],
    )
    appending = asyncio.create_task(appender.run(), name="appender")
    try:
        return await say(appender, checked)
    finally:
        appender.close()
        await appending
