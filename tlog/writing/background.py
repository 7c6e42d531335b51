"""What goes on beside the appends of a log: sealing and indexing, in this process, in a child of it, or in another one.

`InProcess` seals in the running event loop. `ChildProcess` seals in a child (`tlog seal`), so that appending and answering
never wait for it. `External` leaves sealing to other processes of the log. Whoever seals stands by while another process
leads. A child ends when its parent does: the child's standard input is then at its end. A child reports by lines of JSON on
standard output.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import sys
from typing import TYPE_CHECKING, Final, Protocol, TypedDict

import msgspec
import structlog

from tlog.core.making.tiling import TILING
from tlog.errors import Cause, OperatorError, OverloadedError, TlogError
from tlog.storage.index import IndexStore
from tlog.storage.sealing import SealStore
from tlog.writing.indexer import FreshKeys, Indexer
from tlog.writing.leader import LeaderLoop
from tlog.writing.sealer import Sealer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from tlog.core.making.tiling import Tiling
    from tlog.location import Location
    from tlog.signing.signer import Signing
    from tlog.signing.witnesses import Witnesses
    from tlog.storage.database import Database
    from tlog.storage.rows import Epoch, SealedCheckpoint
    from tlog.writing.appender import Appender

_MAX_INDEX_GAP: Final = 1.0
_TAKE_IN_SECONDS: Final = 0.2
_REPORT_SECONDS: Final = 0.2
_CLOCK_LAGS: Final = "the clock lags what was signed and logged; nothing is signed until it has caught up"
_log: Final = structlog.get_logger()


class Status(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How far sealing and indexing are in a process, and whether it leads.

    `seal_error` says what sealing waits for, `seal_cause` in one word; `index_error` why indexing stopped, while sealing goes
    on; `error` and `exit_code` why everything did. `witnessing` says how that goes, empty without witnesses; `unwitnessed_since`
    since when a quorum is waited for, in seconds since 1970, 0 if none is; `witnesses` whose last answer was a cosignature.
    """

    sealed: int = 0
    indexed: int = 0
    sealing: bool = False
    indexing: bool = False
    seal_error: str = ""
    seal_cause: Cause = "database"
    index_error: str = ""
    witnessing: str = ""
    witnessed: int = 0
    unwitnessed_since: float = 0.0
    witnesses: dict[str, bool] = {}
    error: str = ""
    exit_code: int = 0


class _Witnessing(TypedDict, total=False):
    """The members of a `Status` about witnesses."""

    witnessing: str
    witnessed: int
    unwitnessed_since: float
    witnesses: dict[str, bool]


class _Pace:
    """When to seal: each interval, or earlier if somebody asks, but not before witnesses may be asked again."""

    def __init__(self, interval: float, pause: float) -> None:
        self._interval = interval
        self._pause = pause
        self._last = -math.inf
        self._asked = False

    def is_due(self, now: float, *, requested: bool) -> bool:
        """Tell whether to seal now; then the next time is counted from now."""
        self._asked = self._asked or requested
        if now < self._last + (self._pause if self._asked else max(self._interval, self._pause)):
            return False
        self._last, self._asked = now, False
        return True


class Background(Protocol):
    """What seals and indexes a log."""

    changed: asyncio.Event
    """Set when this process or its child has sealed or indexed something, and replaced then by an event for the next time."""

    @property
    def status(self) -> Status:
        """How far it is."""

    def request(self) -> None:
        """Ask for a checkpoint and an index epoch now instead of at the next interval."""

    def stop(self) -> None:
        """Let `run` end after what it is doing."""

    async def run(self) -> None:
        """Seal and index until stopped.

        Raises:
            OperatorError: sealing met something only the operator can settle; the process must end.

        """


class InProcess:
    """Sealing and, unless told otherwise, indexing in this process."""

    def __init__(
        self,
        database: Database,
        signer: Signing,
        *,
        appender: Appender,
        interval: float,
        index: bool = True,
        tiling: Tiling = TILING,
        witnesses: Witnesses | None = None,
        may_change_policy: bool = False,
    ) -> None:
        """Prepare.

        Args:
            database: the log's.
            signer: signs, and knows what was signed last.
            appender: appends the entries of index epochs.
            interval: seconds between two seals.
            index: whether to index as well.
            tiling: how long the index's segments are.
            witnesses: who has to cosign what is published, None if nobody has to; closed with this.
            may_change_policy: whether the policy may differ from the one under which checkpoints were published.

        """
        fresh = FreshKeys()
        self._witnesses = witnesses
        self.changed = asyncio.Event()
        self._sealer: Sealer | None = None

        async def begin_sealing(store: SealStore) -> Callable[[bool], Awaitable[SealedCheckpoint | None]]:
            self._sealer = sealer = Sealer(
                store, signer, taken_in=fresh.take_in, witnesses=witnesses, may_change_policy=may_change_policy
            )
            await sealer.recover()
            pace = _Pace(interval, 0.0 if witnesses is None else witnesses.witnessing.every)

            async def step(requested: bool) -> SealedCheckpoint | None:  # noqa: FBT001 - what a LeaderLoop calls
                if sealer.holds or pace.is_due(asyncio.get_running_loop().time(), requested=requested):
                    return await sealer.seal()
                await sealer.take_in()
                await sealer.tend()
                return None

            return step

        async def begin_indexing(store: IndexStore) -> Callable[[bool], Awaitable[Epoch | None]]:
            gap = min(interval, _MAX_INDEX_GAP)
            indexer = Indexer(store, fresh, appender.append, self._sealing.request, self._indexing.request, gap, tiling)
            await indexer.recover()
            return lambda _: indexer.index()

        self._sealing = LeaderLoop(
            "sealing",
            lambda: SealStore.open(database),
            begin_sealing,
            # Entries are taken in while their pages are still in PostgreSQL's memory, whenever it is that they are signed.
            min(interval, _TAKE_IN_SECONDS),
            done=lambda _: self._tell_of_seal(),
        )
        self._indexing = LeaderLoop(
            "indexing",
            lambda: IndexStore.open(database),
            begin_indexing,
            interval,
            done=lambda _: _tell(self),
        )
        self._index = index
        self._index_error = ""

    @property
    def status(self) -> Status:
        """How far it is."""
        sealed, indexed = self._sealing.last, self._indexing.last
        waits_for, cause = self._sealing.waits_for, self._sealing.cause
        if not waits_for and self._sealer is not None and self._sealer.clock_lags:
            waits_for, cause = _CLOCK_LAGS, "clock"
        return Status(
            sealed=0 if sealed is None else sealed.size,
            indexed=0 if indexed is None else indexed.size,
            sealing=self._sealing.leading,
            indexing=self._indexing.leading,
            seal_error=waits_for,
            seal_cause=cause,
            index_error=self._index_error,
            **self._witnessing(),
        )

    def _witnessing(self) -> _Witnessing:
        """Return how witnessing goes."""
        if self._witnesses is None or not self._sealing.leading:
            return {}
        since = self._witnesses.unwitnessed_since
        return {
            "witnessing": self._witnesses.state,
            "witnessed": self._witnesses.met_size,
            "unwitnessed_since": since or 0.0,
            "witnesses": self._witnesses.up,
        }

    def request(self) -> None:
        """Ask for a checkpoint and an index epoch now instead of at the next interval."""
        self._sealing.request()
        self._indexing.request()

    def stop(self) -> None:
        """Let `run` end after what it is doing."""
        self._indexing.stop()
        self._sealing.stop()

    async def run(self) -> None:
        """Seal and index until stopped.

        Without an index the log goes on and stays searchable, so an error of the indexer is only reported.

        Raises:
            OperatorError: sealing met something only the operator can settle; the process must end.

        """
        indexing = asyncio.create_task(self._keep_indexing(), name="indexer") if self._index else None
        try:
            await self._sealing.run()
        finally:
            self._indexing.stop()
            if indexing is not None:
                await indexing
            if self._witnesses is not None:
                await self._witnesses.close()

    def _tell_of_seal(self) -> None:
        self._indexing.request()
        _tell(self)

    async def _keep_indexing(self) -> None:
        try:
            await self._indexing.run()
        except TlogError as error:
            self._index_error = str(error)
            _log.error("indexing_stopped", reason=str(error))


class ChildProcess:
    """Sealing and indexing in a child process."""

    def __init__(self, location: Location, interval: float, options: Sequence[str] = ()) -> None:
        """Prepare; `options` are more of `tlog seal`."""
        self._location = location
        self._interval = interval
        self._options = options
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = False
        self.status = Status()
        self.changed = asyncio.Event()

    def request(self) -> None:
        """Ask for a checkpoint and an index epoch now instead of at the next interval."""
        if self._process is not None and self._process.stdin is not None and not self._process.stdin.is_closing():
            self._process.stdin.write(b"\n")

    def stop(self) -> None:
        """Let `run` end after what it is doing."""
        self._stopping = True
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()

    async def run(self) -> None:
        """Seal and index until stopped.

        Raises:
            OperatorError: the child ended by itself; with its message and exit code.

        """
        self._process = process = await asyncio.create_subprocess_exec(
            *self._command(),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=self._location.environment(),
            start_new_session=True,  # Ctrl-C in the terminal is for the parent, which ends its child in order
        )
        if self._stopping:
            self.stop()
        assert process.stdout is not None  # noqa: S101 - PIPE; for the type checker
        try:
            async for line in process.stdout:
                self.status = msgspec.json.decode(line, type=Status)
                _tell(self)
            await process.wait()
        except asyncio.CancelledError:
            process.kill()
            await process.wait()
            raise
        if not self._stopping:
            raise _ended(self.status, process.returncode)

    def _command(self) -> list[str]:
        data, interval = str(self._location.directory.root.absolute()), str(self._interval)
        return [
            sys.executable,
            "-m",
            "tlog",
            "seal",
            "--data",
            data,
            "--interval",
            interval,
            "--supervised",
            *self._options,
        ]


class External:
    """Sealing and indexing that is left to other processes of the log."""

    def __init__(self) -> None:
        self._stopped = asyncio.Event()
        self.status = Status()
        self.changed = asyncio.Event()

    def request(self) -> None:
        """Ask nobody: the others have their intervals."""

    def stop(self) -> None:
        """Let `run` end."""
        self._stopped.set()

    async def run(self) -> None:
        """Do nothing until stopped."""
        await self._stopped.wait()


def _tell(background: Background) -> None:
    """Wake whoever waits for `changed`."""
    changed, background.changed = background.changed, asyncio.Event()
    changed.set()


def _ended(status: Status, code: int | None) -> OperatorError:
    error = OperatorError(status.error or f"the process that seals the log ended with exit code {code}")
    error.exit_code = status.exit_code or OperatorError.exit_code
    return error


async def report(background: Background) -> None:
    """Write a line of JSON to standard output whenever the status changes, a seal at once; run it as a task."""
    last: Status | None = None
    while True:
        changed = background.changed
        if background.status != last:
            last = background.status
            _write(last)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(changed.wait(), _REPORT_SECONDS)


def report_waiting(error: TlogError) -> None:
    """Write a line that says what sealing waits for, for a child that could not begin yet."""
    cause = error.cause if isinstance(error, OverloadedError) else "database"
    _write(Status(seal_error=str(error), seal_cause=cause))


def report_error(error: TlogError) -> None:
    """Write the last line of a child that ends by an error."""
    _write(Status(error=str(error), exit_code=error.exit_code))


def _write(status: Status) -> None:
    with contextlib.suppress(BrokenPipeError):
        os.write(sys.stdout.fileno(), msgspec.json.encode(status) + b"\n")


class Parent:
    """What the parent of a supervised child says over standard input: a byte is a request, the end is the parent's end."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self.gone = False

    @classmethod
    async def listen(cls) -> Parent:
        """Begin to listen."""
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
        return cls(reader)

    async def obey(self, background: Background) -> None:
        """Pass requests on; return when the parent is gone."""
        while await self._hear():
            background.request()

    async def wait(self, seconds: float) -> None:
        """Let so much time pass, or less if the parent is gone; requests are for nobody."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while await self._hear():
                    pass

    async def _hear(self) -> bytes:
        heard = await self._reader.read(1024)
        self.gone = not heard
        return heard
