"""A log goes on on another PostgreSQL because its operator says so.

A standby that was promoted, a copy that was restored to a moment, and a server that was upgraded or dumped and read back are
other servers than the one on which the log was signed, and may lack what was acknowledged. So nothing opens the log there
before an outcome `failover` says for ever that it goes on, and from where: receipts of the server before from that index on are
void. Here the operator says it. A database that holds less than was signed needs a recovery first (`tlog.keeping.recover`).
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, NamedTuple

from tlog.core.entry import to_microseconds
from tlog.core.making.outcome import draft_outcome
from tlog.errors import OperatorError, OverloadedError
from tlog.location import utc_now
from tlog.storage.appending import AppendStore
from tlog.storage.sealing import SealStore
from tlog.writing.failover import is_named, is_same, report_of
from tlog.writing.packing import pack
from tlog.writing.receipts import chain_drafts
from tlog.writing.sealer import Sealer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from datetime import datetime

    from tlog.signing.anchor import Anchored
    from tlog.signing.signer import Signing
    from tlog.storage.appending import Append
    from tlog.storage.database import Database
    from tlog.storage.rows import Primary

_AGAIN_SECONDS: Final = 0.1
_SEALED_SECONDS: Final = 60.0


class Sides(NamedTuple):
    """What was signed last and on which server, and the server that is there now, with how many entries it has."""

    anchored: Anchored
    primary: Primary
    size: int

    @property
    def differ(self) -> bool:
        """Whether it is another server."""
        return not is_same(self.anchored, self.primary)


@asynccontextmanager
async def _sealing(database: Database, signer: Signing) -> AsyncIterator[tuple[SealStore, Sealer]]:
    """Take the place of the sealer, which has to be free.

    Raises:
        OperatorError: another process seals the log; or database and anchor do not fit together.

    """
    store = await SealStore.open(database)
    try:
        if not await store.lead():
            message = "another process seals this log; stop 'tlog serve' and 'tlog seal' first"
            raise OperatorError(message)
        sealer = Sealer(store, signer)
        await sealer.recover()
        yield store, sealer
    finally:
        await store.close()


async def compare(database: Database, signer: Signing) -> Sides:
    """Return both sides.

    Raises:
        OperatorError: another process seals the log, or the database holds less than was signed, or something else.
        OverloadedError: the database or the signer is away.

    """
    async with _sealing(database, signer) as (store, _):
        return await _read(store, signer)


async def accept(
    database: Database, signer: Signing, seen: Sides, *, clock: Callable[[], datetime] = utc_now
) -> int | None:
    """Append that the log goes on on the server that is there, and seal that; return how many entries are sealed then.

    None if the server is the one on which the log was signed, or is named already and that is sealed.

    Args:
        database: the log's.
        signer: signs.
        seen: the two sides that the operator saw; the servers must still be those.
        clock: the time of the outcome.

    Raises:
        OperatorError: as with `compare`; or it is another server than the operator saw.
        OverloadedError: the database or the signer is away, or nothing was signed within a minute; the same call may be repeated.

    """
    async with _sealing(database, signer) as (store, sealer):
        sides = await _read(store, signer)
        if not sides.differ:
            return None
        writing = AppendStore(database)
        try:
            async with writing.transaction(1) as append:
                if not append.primary == sides.primary == seen.primary:
                    message = "another PostgreSQL answers now than was shown; look again with 'tlog failover'"
                    raise OperatorError(message)
                await _say(append, sides, to_microseconds(clock()))
        finally:
            await writing.close()
        return await _seal(sealer)


async def _read(store: SealStore, signer: Signing) -> Sides:
    return Sides(await asyncio.to_thread(signer.read), await store.primary(), (await store.state()).size)


async def _say(append: Append, sides: Sides, now: int) -> None:
    """Append the outcome, unless an attempt that was broken off did."""
    if is_named(sides.primary, await append.failovers(sides.anchored.size)):
        return
    report = report_of(sides.anchored, sides.primary, append.state.size, synchronous=False)
    rows = chain_drafts(append.state, [draft_outcome(report)], now)
    await append.insert([rows.leaves], pack([rows]), rows.end)


async def _seal(sealer: Sealer) -> int:
    """Seal; the clock may lag what was signed for a while."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _SEALED_SECONDS
    while (sealed := await sealer.seal()) is None:
        if loop.time() > deadline:
            message = (
                "the outcome is appended and not signed yet, because the clock lags; run 'tlog failover --accept' again"
            )
            raise OverloadedError(message)
        await asyncio.sleep(_AGAIN_SECONDS)
    return sealed.size
