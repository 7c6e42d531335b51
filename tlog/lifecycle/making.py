"""Making a log, or completing one whose making was interrupted: keys, anchor and database, in the only safe order.

If one of the three is missing while another is there, nothing is made: a silently made new one would hide a loss.
"""

from __future__ import annotations

import asyncio
import shutil
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from tlog.core.chain import CHAIN_START
from tlog.core.making.drafts import draft_index_keys
from tlog.core.merkle import EMPTY_ROOT
from tlog.core.note import Signer
from tlog.errors import (
    AnchorMissingError,
    MalformedInputError,
    RollbackError,
)
from tlog.lifecycle.opening import _check_origin, check_log, check_origin_of, database_of, no_signing_key, signer_of
from tlog.location import SEED_SIZE, DataDirectory, Location, utc_now
from tlog.signing.anchor import Anchor, Anchored
from tlog.storage.appending import AppendStore
from tlog.storage.reading import ReadStore
from tlog.writing.appender import Appender

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tlog.core.note import Verifier
    from tlog.storage.database import Database


async def create_log(location: Location, origin: str | None = None) -> Verifier:
    """Make a log, or complete one whose making was interrupted; return its public key.

    What could be in the way is looked at first, so that a failure leaves nothing. Of a log that has a signer of its own
    nothing is made; its database's schema is brought up to this version.

    Args:
        location: where the log is.
        origin: its name, for ever; may be left out for a log that is there.

    Raises:
        MalformedInputError: `origin` cannot be the name of a log, or is needed and not there.
        OperatorError: parts of another log are in the way, the log has another name, or the database is none on which a log's
            promises can rest; nothing is changed.

    """
    directory = location.directory
    directory.check()
    if directory.has_verifier() and origin is not None:
        check_origin_of(directory, origin)
    if location.signer_socket is not None:
        return await _upgrade(location)
    anchor = Anchor(directory.anchor)
    if (anchor.exists() or directory.has_verifier()) and not directory.has_signing_key():
        raise no_signing_key(directory)
    if not directory.has_signing_key():
        _check_name(origin)
    async with _database_for(location) as database:
        directory.create()
        directory.create_keys(origin or directory.signing_key().verifier.name)
        verifier = directory.signing_key().verifier
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


def _check_name(origin: str | None) -> None:
    if origin is None:
        message = "a new log needs a name, which is final: say --origin, such as audit.example.com/ehr"
        raise MalformedInputError(message)
    Signer(origin, bytes(SEED_SIZE))  # which refuses what cannot be a name


@asynccontextmanager
async def _database_for(location: Location) -> AsyncIterator[Database]:
    """Start or make the database, and check the server, before anything else of a log is made; leave nothing if that fails."""
    root, postgres = location.directory.root, location.directory.postgres
    made = next((path for path in (*reversed(root.parents), root, postgres) if not path.exists()), None)
    ready = False
    try:
        async with database_of(location, create=True) as database:
            await database.check_server()
            ready = True
            yield database
    except BaseException:
        if not ready and made is not None:
            await asyncio.to_thread(shutil.rmtree, made, ignore_errors=True)
        raise


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


async def _create_anchor(anchor: Anchor, reader: ReadStore, verifier: Verifier) -> None:
    if (await reader.state()).size > 0 or await reader.latest_checkpoint() is not None:
        message = (
            "the database holds entries, but this data directory has no anchor for them; bring back the log's own anchor "
            "and keys, or use an empty database"
        )
        raise AnchorMissingError(message)
    first = Anchored(verifier.name, 0, EMPTY_ROOT, CHAIN_START, b"", 0, *await reader.primary())
    await asyncio.to_thread(anchor.create, first)


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
        await appender.append(
            [draft_index_keys(keys.bits, await asyncio.to_thread(keys.root), directory.verifier().name)]
        )
    finally:
        appender.close()
        await task
