"""Opening a log and closing it again, in the only safe order.

A log consists of three things that must belong together: its keys, its anchor, and its database. `create_log`
(`tlog.lifecycle.making`) makes all three and may be repeated after a crash; `open_log` makes none of them. If one is missing
while another is there, `open_log` refuses and says what to bring back, because a silently made new one would hide a loss.
The signing key and the anchor may belong to a signer of another process (`Location.signer_socket`); then neither may be in
the data directory, and only that signer is asked.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tlog.answering.query import Searcher
from tlog.core.entry import IndexKeysEntry, parse_entry
from tlog.core.making.tiling import TILING
from tlog.errors import (
    KeyMismatchError,
    MalformedInputError,
    OperatorError,
    OverloadedError,
    RollbackError,
)
from tlog.lifecycle.waiting import Watcher
from tlog.location import DEFAULT_INTERVAL, DataDirectory, Location, utc_now
from tlog.postgres.server import EmbeddedPostgres
from tlog.postgres.watch import Watch
from tlog.signing.anchor import Anchor, Anchored
from tlog.signing.clock import SteadyClock, check_clock
from tlog.signing.outside import Outside
from tlog.signing.signer import CheckpointSigner
from tlog.signing.socket import RemoteSigner
from tlog.signing.witnesses import Witnesses
from tlog.storage.appending import AppendStore
from tlog.storage.database import Database
from tlog.storage.reading import ReadStore
from tlog.writing.appender import Appender
from tlog.writing.background import ChildProcess, External, InProcess
from tlog.writing.failover import Succession, is_named, is_same, refusal
from tlog.writing.sealer import check_anchored

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from datetime import datetime

    from tlog.core.making.bucket_keys import BucketKeys
    from tlog.core.making.tiling import Tiling
    from tlog.core.note import Verifier
    from tlog.core.policy import Mode
    from tlog.location import Sealing
    from tlog.signing.signer import Signing
    from tlog.signing.witnesses import Witnessing
    from tlog.storage.rows import Epoch, Primary, SealedCheckpoint
    from tlog.writing.background import Background


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
    watcher: Watcher
    clock: Callable[[], datetime]
    witnessing: Mode | None

    async def wait_sealed(self, index: int, timeout: float) -> SealedCheckpoint:  # noqa: ASYNC109 - seconds to the caller
        """Return a published checkpoint that covers entry `index`, asking for one to be made.

        Raises:
            OverloadedError: none was published within `timeout` seconds, or the database is away.

        """
        try:
            return await self.watcher.wait(self.watcher.sealed, index, timeout)
        except TimeoutError:
            message = f"entry {index} is durable, but was not sealed within {timeout:.0f} s"
            raise OverloadedError(message) from None

    async def wait_indexed(self, size: int, timeout: float) -> Epoch:  # noqa: ASYNC109 - seconds to the caller
        """Return an index epoch that covers the events below `size` and is sealed itself, asking for one to be made.

        Raises:
            OverloadedError: there was none within `timeout` seconds, or the database is away.

        """
        try:
            return await self.watcher.wait(self.watcher.indexed, size, timeout)
        except TimeoutError:
            message = f"the entries below {size} are durable, but were not indexed within {timeout:.0f} s"
            raise OverloadedError(message) from None


@asynccontextmanager
async def database_of(
    location: Location, *, create: bool = False, replace_lost: bool = False
) -> AsyncIterator[Database]:
    """Start or join the embedded PostgreSQL if the log uses it, and give access to the log's database.

    Args:
        location: where the log is.
        create: make an embedded database where there is none.
        replace_lost: make one even if the anchor remembers entries. Only for a caller that brings those back before any append.

    Raises:
        RollbackError: the embedded database is gone while the anchor remembers signed entries.
        EmbeddedPostgresError: the embedded PostgreSQL cannot be started.

    """
    if location.database is not None:
        yield Database(location.database, location.admin)
        return
    postgres = EmbeddedPostgres(location.directory.postgres, location.directory.postgres_user)
    if not await asyncio.to_thread(postgres.exists):
        if is_log(location) and not replace_lost:
            message = (
                f"ROLLBACK: the database in {location.directory.postgres} is gone, but the anchor remembers what it held. "
                "Bring back the newest copy of it ('tlog restore'), and what that lacks with 'tlog recover'; "
                "to begin a new log, use another data directory"
            )
            raise RollbackError(message)
        if not create:
            raise _no_log(location.directory)
        await asyncio.to_thread(postgres.create)
    await asyncio.to_thread(postgres.start)
    try:
        yield Database(postgres.conninfo(user="tlog"), postgres.conninfo(user="postgres"), Watch(postgres))
    finally:
        await asyncio.shield(asyncio.to_thread(postgres.stop))


@asynccontextmanager
async def database_to_recover(location: Location, *, new: bool) -> AsyncIterator[Database]:
    """Give access to a database that lags the anchor; with `new` to one that is made, because the old one is lost.

    Raises:
        OperatorError: the database is not this log's, or its schema or settings are not what the log's promises rest on.

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


def is_log(location: Location) -> bool:
    """Tell whether a log was made here, completely: by its anchor, or by its public key if a signer has the anchor."""
    directory = location.directory
    return Anchor(directory.anchor).exists() if location.signer_socket is None else directory.has_verifier()


def check_log_here(location: Location, origin: str | None = None) -> None:
    """Check that there is a log, that it is nobody else's to change, and, if a name is given, that it is this log's.

    Raises:
        OperatorError: there is none, it has another name, or another user owns its directories or can write them.

    """
    directory = location.directory
    directory.check()
    if not (is_log(location) or directory.has_verifier() or directory.has_signing_key()):
        raise _no_log(directory)
    if origin is not None and directory.has_verifier():
        check_origin_of(directory, origin)


def check_origin_of(directory: DataDirectory, origin: str) -> None:
    """Check that a log has a name.

    Raises:
        OperatorError: it has another one.

    """
    if (name := directory.verifier().name) != origin:
        message = (
            f"the log in {directory.root} is {name}, not {origin}; a log keeps its name for ever, so leave out --origin or "
            "correct --data"
        )
        raise OperatorError(message)


def _no_log(directory: DataDirectory) -> OperatorError:
    root = directory.root
    if not root.exists():
        state = "which does not exist"
    else:
        state = "which holds other files" if root.is_dir() and any(root.iterdir()) else "which is empty"
    return OperatorError(
        f"there is no log in {root}, {state}. If a volume belongs there, mount it; to make a new log, run 'tlog init' or say "
        "--create to 'tlog serve'"
    )


def no_signing_key(directory: DataDirectory) -> KeyMismatchError:
    """Return what a log without a signing key is refused with."""
    return KeyMismatchError(
        f"the log in {directory.root} has no signing key there: if a signer of its own has it, say --signer SOCKET; "
        "else bring back keys/log.skey"
    )


def signer_of(location: Location, clock: Callable[[], datetime] = utc_now) -> Signing:
    """Return what signs for a log: its own signer, or the key and the anchor of its data directory.

    Raises:
        KeyMismatchError: the key is missing, malformed, or open to others; or it is still here although a signer has it.

    """
    directory = location.directory
    anchor = Anchor(directory.anchor)
    if location.signer_socket is None:
        if not directory.has_signing_key():
            raise no_signing_key(directory)
        return CheckpointSigner(anchor, directory.signing_key(), clock)
    if directory.has_signing_key() or anchor.exists():
        message = (
            f"a signer of its own is to sign, but the signing key or the anchor is still in {directory.root}; move both to "
            "the signer's directory, and keep no copy"
        )
        raise KeyMismatchError(message)
    return RemoteSigner(location.signer_socket, directory.verifier())


@asynccontextmanager
async def open_log(
    location: Location,
    *,
    interval: float = DEFAULT_INTERVAL,
    clock: Callable[[], datetime] = utc_now,
    sealing: Sealing = "here",
    index: bool = True,
    tiling: Tiling = TILING,
    acknowledges: bool = True,
    witnessing: Witnessing | None = None,
) -> AsyncIterator[Log]:
    """Open a log for appending, sealing and reading; close it in order at the end.

    Args:
        location: where the log is.
        interval: seconds between two seals.
        clock: the log's clock; a signer of its own has its own.
        sealing: where the log is sealed and indexed: in this process, in a child of it, or by others.
        index: whether to index at all, if that is in this process.
        tiling: how long the index's segments are, if it is made in this process.
        acknowledges: whether this process acknowledges events, so that it may go on on a standby that was promoted.
        witnessing: how checkpoints are witnessed, or that they are not. A process that was not told, and would seal by the way,
            leaves sealing to others if the log has witnesses.

    Raises:
        OperatorError: the log must not go on as it is; the message says what to do. Raised inside the `async with`
            body's task group too, if the sealer meets it later.

    """
    directory = location.directory
    # Keys, anchor, database, privileges, in this order: a missing anchor is not to look like a missing privilege.
    check_log_here(location)
    signer = signer_of(location, clock)
    if directory.has_verifier() and signer.verifier.name != directory.verifier().name:
        message = (
            f"the signing key in {directory.root} belongs to the log {signer.verifier.name}, the public key beside it to "
            f"{directory.verifier().name}; bring back this log's own key"
        )
        raise KeyMismatchError(message)
    await asyncio.to_thread(signer.read)
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(database_of(location))
        await database.check()
        reader = ReadStore(database)
        await reader.open()
        stack.push_async_callback(reader.close)
        await _check_origin(reader, signer.verifier)
        anchored, primary = await check_log(reader, signer)
        last = max(anchored.sealed_at, (await reader.state()).last_logged_at)
        check_clock(clock(), last)
        steady = SteadyClock(clock, last)
        bucket_keys = await asyncio.to_thread(directory.bucket_keys)
        await _check_bucket_keys(reader, bucket_keys)
        reached = anchored.size, anchored.chain_hash
        succession = Succession(primary, signer.read, acknowledges=acknowledges)
        appender = Appender(AppendStore(database), steady, reached=reached, succession=succession)

        background: Background
        if sealing == "here" and witnessing is None and await _is_witnessed(reader):
            sealing = "elsewhere"
        if sealing == "here":
            signer = signer_of(location, steady)
            witnesses = _witnesses(witnessing, location, signer.verifier, clock)
            background = InProcess(
                database,
                signer,
                appender=appender,
                interval=interval,
                index=index,
                tiling=tiling,
                witnesses=witnesses,
                may_change_policy=witnessing is not None and witnessing.changed,
            )
        else:
            background = (
                ChildProcess(location, interval, () if witnessing is None else witnessing.options)
                if sealing == "beside"
                else External()
            )
        watcher = Watcher(reader, background)
        stack.push_async_callback(watcher.close)
        searcher = Searcher(reader, bucket_keys.key)
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
            watcher,
            clock,
            None if witnessing is None or witnessing.policy is None else witnessing.mode,
        )


def _witnesses(
    witnessing: Witnessing | None, location: Location, log: Verifier, clock: Callable[[], datetime]
) -> Witnesses | None:
    if witnessing is None or witnessing.policy is None:
        return None
    return Witnesses(witnessing, log, Outside(witnessing.timeout), location.directory.evidence, clock)


async def _is_witnessed(reader: ReadStore) -> bool:
    policy = await reader.witness_policy()
    return policy is not None and policy.mode != "none"


async def check_log(reader: ReadStore, signer: Signing) -> tuple[Anchored, Primary]:
    """Check that the database neither lags nor contradicts the anchor, and is on the server that the anchor names.

    Returns what is anchored, and that server, or another one that an entry names.

    Raises:
        OperatorError: it does, or is not; see `tlog.writing.sealer.check_anchored`, `tlog.writing.failover`.
        OverloadedError: the database or the signer is away.

    """
    # In this order: what is published was anchored before, and what is anchored was appended before.
    published = await reader.latest_checkpoint()
    anchored = await asyncio.to_thread(signer.read)
    check_anchored(anchored, signer.verifier, published, (await reader.state()).size)
    primary = await reader.primary()
    if not is_same(anchored, primary) and not is_named(primary, await reader.failovers(anchored.size)):
        raise refusal(anchored, primary)
    return anchored, primary


async def _check_origin(reader: ReadStore, verifier: Verifier) -> None:
    origin = await reader.origin()
    if origin is None:
        message = "the database holds no log yet; run 'tlog init'"
        raise OperatorError(message)
    if origin != verifier.name:
        message = f"the database belongs to the log {origin}, the signing key to {verifier.name}; use the log's own key"
        raise KeyMismatchError(message)


async def _check_bucket_keys(reader: ReadStore, keys: BucketKeys) -> None:
    data = await reader.entry(0)
    try:
        entry = None if data is None else parse_entry(data)
    except MalformedInputError:
        entry = None
    if not isinstance(entry, IndexKeysEntry):
        message = "entry 0 does not commit to bucket keys; run 'tlog fsck'"
        raise KeyMismatchError(message)
    if (entry.bits, entry.root_hash()) != (keys.bits, await asyncio.to_thread(keys.root)):
        message = "keys/index.keys is not what entry 0 commits to; bring back this log's own bucket keys"
        raise KeyMismatchError(message)
