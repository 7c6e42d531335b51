"""Making a log, opening it, and closing it again, in the only safe order.

A log consists of three things that must belong together: its keys, its anchor, and its database. `create_log` makes all
three and may be repeated after a crash; `open_log` makes none of them. If one is missing while another is there, it
refuses and says what to bring back, because a silently made new one would hide a loss. The signing key and the anchor may
belong to a signer of another process (`Location.signer`); then neither may be here, and only that signer is asked.
"""

from __future__ import annotations

import asyncio
import signal
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from tlog.answering.query import Searcher
from tlog.core.chain import CHAIN_START
from tlog.core.entry import IndexKeysEntry, draft_index_keys, parse_entry
from tlog.core.merkle import EMPTY_ROOT
from tlog.errors import (
    AnchorMissingError,
    DamagedLogError,
    EmbeddedPostgresError,
    KeyMismatchError,
    MalformedInputError,
    OperatorError,
    OverloadedError,
    RollbackError,
    TlogError,
)
from tlog.location import DataDirectory, Location, tune_memory, utc_now
from tlog.postgres.server import EmbeddedPostgres
from tlog.postgres.watch import Watch
from tlog.signing.anchor import Anchor, Anchored
from tlog.signing.clock import SteadyClock, check_clock
from tlog.signing.signer import CheckpointSigner
from tlog.signing.socket import RemoteSigner
from tlog.storage.appending import AppendStore
from tlog.storage.database import Database
from tlog.storage.index import IndexStore
from tlog.storage.reading import ReadStore
from tlog.writing.appender import Appender
from tlog.writing.background import Beside, Elsewhere, Here, Parent, report, report_error, report_waiting
from tlog.writing.sealer import check_anchored

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from datetime import datetime

    from tlog.core.note import Verifier
    from tlog.core.pseudonym import BucketKeys
    from tlog.signing.signer import Signing
    from tlog.storage.index import Epoch
    from tlog.storage.rows import SealedCheckpoint
    from tlog.writing.background import Background

DEFAULT_INTERVAL: Final = 1.0
DEFAULT_ORIGIN: Final = "localhost/tlog"
Sealing = Literal["here", "beside", "elsewhere"]
_REINDEX_SECONDS: Final = 24 * 3600.0
_PROGRESS_SECONDS: Final = 0.5
_SEALED_POLL: Final = 0.05
_REOPEN_SECONDS: Final = 1.0


@dataclass
class Log:
    """An open log: everything the server and the command line work with."""

    location: Location
    directory: DataDirectory
    database: Database
    verifier: Verifier
    bucket_keys: BucketKeys
    reader: ReadStore
    searcher: Searcher
    appender: Appender
    background: Background
    clock: Callable[[], datetime]

    async def wait_sealed(self, index: int, timeout: float) -> SealedCheckpoint:  # noqa: ASYNC109 - seconds to the caller
        """Return a published checkpoint that covers entry `index`, asking for one to be made.

        Raises:
            OverloadedError: none was published within `timeout` seconds.

        """
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while True:
                    self.background.request()
                    checkpoint = await self.reader.latest_checkpoint()
                    if checkpoint is not None and checkpoint.size > index:
                        return checkpoint
                    await asyncio.sleep(_SEALED_POLL)
        message = f"entry {index} is durable, but was not sealed within {timeout:.0f} s"
        raise OverloadedError(message)

    async def wait_indexed(self, size: int, timeout: float) -> Epoch:  # noqa: ASYNC109 - seconds to the caller
        """Return an index epoch that covers the events below `size` and is sealed itself, asking for one to be made.

        Raises:
            OverloadedError: there was none within `timeout` seconds.

        """
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while True:
                    self.background.request()
                    epoch = await self.reader.sealed_epoch()
                    if epoch is not None and not await self.reader.has_events(epoch.size, size):
                        return epoch
                    await asyncio.sleep(_SEALED_POLL)
        message = f"the entries below {size} are durable, but were not indexed within {timeout:.0f} s"
        raise OverloadedError(message)


@asynccontextmanager
async def database_of(
    location: Location, *, create: bool = False, replace_lost: bool = False
) -> AsyncIterator[Database]:
    """Start or join the embedded PostgreSQL if the log uses it, and give access to the log's database.

    Args:
        location: where the log is.
        create: make an embedded database where there is none.
        replace_lost: even if the anchor remembers what it held. Only for what brings that back before anything is appended.

    Raises:
        RollbackError: the embedded database is gone while the anchor remembers signed entries.
        EmbeddedPostgresError: it cannot be started.

    """
    if location.database is not None:
        yield Database(location.database, location.admin)
        return
    postgres = EmbeddedPostgres(location.directory.postgres)
    if not await asyncio.to_thread(postgres.exists):
        if is_log(location) and not replace_lost:
            message = (
                f"ROLLBACK: the database in {location.directory.postgres} is gone, but the anchor remembers what it held. "
                "Bring back the newest copy of it ('tlog restore'), and what that lacks with 'tlog recover'; "
                "to begin a new log, use another data directory"
            )
            raise RollbackError(message)
        if not create:
            message = f"there is no log in {location.directory.root}; make one with 'tlog init' or 'tlog serve'"
            raise OperatorError(message)
        await asyncio.to_thread(postgres.create)
    await asyncio.to_thread(postgres.start)
    try:
        yield Database(postgres.conninfo(user="tlog"), postgres.conninfo(user="postgres"), Watch(postgres))
    finally:
        await asyncio.shield(asyncio.to_thread(postgres.stop))


async def create_log(location: Location, origin: str) -> Verifier:
    """Make a log, or complete one whose making was interrupted; return its public key.

    One that has a signer of its own is not made, only its database's schema brought up to this version.

    Raises:
        MalformedInputError: `origin` cannot be the name of a log.
        OperatorError: parts of another log are in the way; nothing of them is changed.

    """
    if location.signer is not None:
        return await _upgrade(location)
    directory = location.directory
    anchor = Anchor(directory.anchor)
    if (anchor.exists() or directory.has_verifier()) and not directory.has_signer():
        message = (
            f"the log in {directory.root} has no signing key there: if a signer of its own has it, say --signer SOCKET; "
            "else bring back keys/log.skey"
        )
        raise KeyMismatchError(message)
    directory.create()
    directory.create_keys(origin)
    verifier = directory.signer().verifier
    async with database_of(location, create=True) as database:
        await database.migrate()
        await AppendStore(database).initialise(verifier.name)
        reader = ReadStore(database, connections=1)
        await reader.open()
        try:
            await _check_origin(reader, verifier)
            if not anchor.exists():
                await _create_anchor(anchor, reader, verifier)
            if (await reader.state()).size == 0:
                _check_nothing_signed(anchor)
                await _append_first_entry(database, directory)
        finally:
            await reader.close()
    return verifier


@asynccontextmanager
async def database_to_recover(location: Location, *, new: bool) -> AsyncIterator[Database]:
    """Give access to a database that is behind the anchor; with `new` to one that is made, because the old one is lost.

    Raises:
        OperatorError: it is not this log's, or its schema or settings are not what the log's promises rest on.

    """
    verifier = location.directory.verifier()
    async with database_of(location, create=new, replace_lost=new) as database:
        if new:
            await database.migrate()
            await AppendStore(database).initialise(verifier.name)
        await database.check()
        reader = ReadStore(database, connections=1)
        await reader.open()
        try:
            await _check_origin(reader, verifier)
        finally:
            await reader.close()
        yield database


async def _upgrade(location: Location) -> Verifier:
    signer = signer_of(location)
    async with database_of(location) as database:
        await database.migrate()
        reader = ReadStore(database, connections=1)
        await reader.open()
        try:
            await _check_origin(reader, signer.verifier)
            await check_log(reader, signer)
        finally:
            await reader.close()
    return signer.verifier


def is_log(location: Location) -> bool:
    """Tell whether a log was made here, completely. If a signer has its anchor, what is left to tell is the public key."""
    directory = location.directory
    return Anchor(directory.anchor).exists() if location.signer is None else directory.has_verifier()


def signer_of(location: Location, clock: Callable[[], datetime] = utc_now) -> Signing:
    """Return what signs for a log: its own signer, or the key and the anchor of its data directory.

    Raises:
        KeyMismatchError: the key is missing, malformed, or open to others; or it is here although a signer has it.

    """
    directory = location.directory
    anchor = Anchor(directory.anchor)
    if location.signer is None:
        return CheckpointSigner(anchor, directory.signer(), clock)
    if directory.has_signer() or anchor.exists():
        message = (
            f"a signer of its own is to sign, but the signing key or the anchor is still in {directory.root}; move both to "
            "the signer's directory, and keep no copy"
        )
        raise KeyMismatchError(message)
    return RemoteSigner(location.signer, directory.verifier())


@asynccontextmanager
async def open_log(
    location: Location,
    *,
    interval: float = DEFAULT_INTERVAL,
    clock: Callable[[], datetime] = utc_now,
    sealing: Sealing = "here",
    index: bool = True,
) -> AsyncIterator[Log]:
    """Open a log for appending, sealing and reading; close it in order at the end.

    Args:
        location: where it is.
        interval: seconds between two seals.
        clock: the log's clock; a signer of its own has its own.
        sealing: where the log is sealed and indexed: in this process, in a child of it, or by others.
        index: whether to index at all, if that is in this process.

    Raises:
        OperatorError: the log must not go on as it is; the message says what to do. Raised inside the `async with`
            body's task group too, if the sealer meets it later.

    """
    directory = location.directory
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(database_of(location))
        signer = signer_of(location, clock)
        await database.check()
        reader = ReadStore(database)
        await reader.open()
        stack.push_async_callback(reader.close)
        await _check_origin(reader, signer.verifier)
        anchored = await check_log(reader, signer)
        last = max(anchored.sealed_at, (await reader.state()).last_logged_at)
        check_clock(clock(), last)
        steady = SteadyClock(clock, last)
        bucket_keys = await asyncio.to_thread(directory.bucket_keys)
        await _check_bucket_keys(reader, bucket_keys)
        appender = Appender(AppendStore(database), steady)

        background: Background
        if sealing == "here":
            signer = signer_of(location, steady)
            background = Here(database, signer, appender=appender, interval=interval, index=index)
        else:
            background = Beside(location, interval) if sealing == "beside" else Elsewhere()
        searcher = Searcher(reader, bucket_keys)
        yield Log(
            location,
            directory,
            database,
            signer.verifier,
            bucket_keys,
            reader,
            searcher,
            appender,
            background,
            clock,
        )


@asynccontextmanager
async def running(log: Log) -> AsyncIterator[asyncio.Task[None]]:
    """Run the appender, what goes on in the background, and the watch over the embedded database, while the body runs.

    Yields the task of the background: it ends only by an error of the sealer, and then the process must end too.
    """
    appending = asyncio.create_task(log.appender.run(), name="appender")
    background = asyncio.create_task(log.background.run(), name="background")
    watching = None if log.database.watch is None else asyncio.create_task(log.database.watch.run(), name="watch")
    try:
        yield background
    finally:
        if watching is not None:
            watching.cancel()
        log.background.stop()
        try:
            await background
        finally:
            log.appender.close()
            await appending


async def run_sealing(location: Location, interval: float, *, supervised: bool) -> None:
    """Seal and index a log until a signal ends it, or, under supervision, until the parent does.

    A parent goes on while its database is away, so its child tries to open the log until that is back.

    Raises:
        OperatorError: the log cannot be opened, or sealing met something only the operator can settle.
        OverloadedError: the database is away, and nobody supervises.

    """
    if not supervised:
        async with open_log(location, interval=interval) as log, running(log) as background:
            await _until_it_ends(background, signals=True)
        return
    parent = await Parent.listen()
    try:
        while not parent.gone:
            try:
                async with open_log(location, interval=interval) as log, running(log) as background:
                    reporting = asyncio.create_task(report(log.background))
                    obeying = asyncio.create_task(parent.obey(log.background))
                    try:
                        await _until_it_ends(background, obeying)
                    finally:
                        reporting.cancel()
                        obeying.cancel()
            except (OverloadedError, EmbeddedPostgresError) as error:
                report_waiting(error)
                await parent.wait(_REOPEN_SECONDS)
    except TlogError as error:
        report_error(error)
        raise


async def _until_it_ends(*tasks: asyncio.Task[None], signals: bool = False) -> None:
    """Return when one of the tasks ends, however it does, or a signal says so."""
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    for task in tasks:
        task.add_done_callback(lambda _: stopped.set())
    tune_memory()
    for number in (signal.SIGINT, signal.SIGTERM) if signals else ():
        loop.add_signal_handler(number, stopped.set)
    await stopped.wait()


async def forget_index(log: Log) -> None:
    """Empty the index of an open log, which nobody runs; who runs it next makes it again from its entries.

    Raises:
        OperatorError: another process indexes the log.
        OverloadedError: the database is away.

    """
    store = await IndexStore.open(log.database)
    try:
        if not await store.lead():
            message = "another process indexes this log; stop 'tlog serve' and 'tlog seal' first"
            raise OperatorError(message)
        await store.clear()
        await store.collect_garbage(())
    finally:
        await store.close()


async def reindex(log: Log, progress: Callable[[int, int], None]) -> int:
    """Make the whole index of an open log, which nobody runs, again from its entries; return the size it covers then.

    In a log without events there is nothing to index, and it covers nothing.

    Raises:
        OperatorError: another process indexes the log, or entries are damaged.
        OverloadedError: the database is away.

    """
    await forget_index(log)
    size = (await log.reader.state()).size
    if not await log.reader.has_events(0, size):
        return 0  # and no epoch will ever be made
    async with running(log):
        waiting = asyncio.create_task(log.wait_indexed(size, _REINDEX_SECONDS))
        try:
            while not waiting.done():
                progress(min(await log.reader.indexed_size(), size), size)
                if log.background.status.index_error:
                    raise DamagedLogError(log.background.status.index_error)
                await asyncio.wait([waiting], timeout=_PROGRESS_SECONDS)
            return (await waiting).size
        finally:
            # Whoever stops waiting closes the log, which has nothing to ask then.
            waiting.cancel()
            await asyncio.wait([waiting])


async def check_log(reader: ReadStore, signer: Signing) -> Anchored:
    """Check that the database is not behind, beside or beyond the anchor; return what is anchored.

    Raises:
        OperatorError: it is; see `tlog.writing.sealer.check_anchored`.
        OverloadedError: the database or the signer is away.

    """
    # In this order: what is published was anchored before, and what is anchored was appended before.
    published = await reader.latest_checkpoint()
    anchored = await asyncio.to_thread(signer.read)
    check_anchored(anchored, signer.verifier, published, (await reader.state()).size)
    return anchored


async def _check_origin(reader: ReadStore, verifier: Verifier) -> None:
    origin = await reader.origin()
    if origin is None:
        message = "the database holds no log yet; run 'tlog init'"
        raise OperatorError(message)
    if origin != verifier.name:
        message = f"the database belongs to the log {origin}, the signing key to {verifier.name}; use the log's own key"
        raise KeyMismatchError(message)


async def _create_anchor(anchor: Anchor, reader: ReadStore, verifier: Verifier) -> None:
    if (await reader.state()).size > 0 or await reader.latest_checkpoint() is not None:
        message = (
            "the database holds entries, but this data directory has no anchor for them; bring back the log's own anchor "
            "and keys, or use an empty database"
        )
        raise AnchorMissingError(message)
    await asyncio.to_thread(anchor.create, Anchored(verifier.name, 0, EMPTY_ROOT, CHAIN_START, b"", 0))


def _check_nothing_signed(anchor: Anchor) -> None:
    """Keep a new first entry from taking the place of a lost one."""
    if (size := anchor.read().size) > 0:
        message = (
            f"ROLLBACK db=0 anchor={size}: the database is empty, but a checkpoint of {size} entries was signed. Bring back "
            "the newest copy of the database, and what that lacks with 'tlog recover'"
        )
        raise RollbackError(message)


async def _append_first_entry(database: Database, directory: DataDirectory) -> None:
    """Log the commitment to the bucket keys as entry 0, before any of them is used."""
    keys = await asyncio.to_thread(directory.bucket_keys)
    appender = Appender(AppendStore(database), utc_now)
    task = asyncio.create_task(appender.run())
    try:
        await appender.append([draft_index_keys(keys.bits, await asyncio.to_thread(keys.root))])
    finally:
        appender.close()
        await task


async def _check_bucket_keys(reader: ReadStore, keys: BucketKeys) -> None:
    leaf = await reader.leaf(0)
    try:
        entry = None if leaf is None else parse_entry(leaf.entry)
    except MalformedInputError:
        entry = None
    if not isinstance(entry, IndexKeysEntry):
        message = "entry 0 does not commit to bucket keys; run 'tlog fsck'"
        raise KeyMismatchError(message)
    if (entry.bits, entry.root_hash()) != (keys.bits, await asyncio.to_thread(keys.root)):
        message = "keys/index.keys is not what entry 0 commits to; bring back this log's own bucket keys"
        raise KeyMismatchError(message)
