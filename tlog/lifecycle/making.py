"""Making a log, or completing one whose making was interrupted: keys, anchor and database, in the only safe order.

If one of the three is missing while another is there, nothing is made: a silently made new one would hide a loss.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tlog.core.chain import CHAIN_START
from tlog.core.making.drafts import draft_index_keys
from tlog.core.merkle import EMPTY_ROOT
from tlog.errors import (
    AnchorMissingError,
    KeyMismatchError,
    RollbackError,
)
from tlog.lifecycle.opening import _check_origin, check_log, database_of, signer_of
from tlog.location import DataDirectory, Location, utc_now
from tlog.signing.anchor import Anchor, Anchored
from tlog.storage.appending import AppendStore
from tlog.storage.reading import ReadStore
from tlog.writing.appender import Appender

if TYPE_CHECKING:
    from tlog.core.note import Verifier
    from tlog.storage.database import Database


async def create_log(location: Location, origin: str) -> Verifier:
    """Make a log, or complete one whose making was interrupted; return its public key.

    Of a log that has a signer of its own nothing is made; its database's schema is brought up to this version.

    Raises:
        MalformedInputError: `origin` cannot be the name of a log.
        OperatorError: parts of another log are in the way; nothing of them is changed.

    """
    if location.signer_socket is not None:
        return await _upgrade(location)
    directory = location.directory
    anchor = Anchor(directory.anchor)
    if (anchor.exists() or directory.has_verifier()) and not directory.has_signing_key():
        message = (
            f"the log in {directory.root} has no signing key there: if a signer of its own has it, say --signer SOCKET; "
            "else bring back keys/log.skey"
        )
        raise KeyMismatchError(message)
    directory.create()
    directory.create_keys(origin)
    verifier = directory.signing_key().verifier
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
        await appender.append(
            [draft_index_keys(keys.bits, await asyncio.to_thread(keys.root), directory.verifier().name)]
        )
    finally:
        appender.close()
        await task
