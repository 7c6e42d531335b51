"""What is taken of a stream, without a broker: the requests that a taker would send."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

from tlog.core.intake import Part, logged_mark, raw_message, refused_digest, refused_mark
from tlog.core.making.intake import draft_intake
from tlog.core.making.parsing import parse_batch
from tlog.storage.appending import AppendStore
from tlog.storage.intake import Advance, DeadLetter, Taken
from tlog.storage.scan import scan
from tlog.writing.appender import Appender
from tlog.writing.drafting import draft_events

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from tlog.core.making.drafts import DraftEntry
    from tlog.lifecycle.opening import Log
    from tlog.storage.database import Database
    from tlog.writing.receipts import Receipts

STREAM = "kafka:MkU3OEVBNTcwNTJENDM2Qk/audit-events/kMmA52xpQdqgxkoNCCjoTw"


class Taking(NamedTuple):
    """One request of a taker."""

    drafts: list[DraftEntry]
    advances: list[Advance]

    async def send(self, appender: Appender) -> Receipts:
        """Append it."""
        return await appender.append(self.drafts, advances=self.advances)


def opening(*partitions: int, start: int = 0, stream: str = STREAM) -> Taking:
    """Return the request that begins to take partitions."""
    parts = [Part(start=start, logged=0, partition=number, refused=0, end=start) for number in partitions]
    steps = [Advance(stream, number, start, start, opens=True) for number in partitions]
    return Taking([draft_intake(stream, "tlog", parts, [])], steps)


def release(partition: int, start: int, stream: str = STREAM) -> Taking:
    """Return the request that takes no more of a partition."""
    part = Part(start=start, logged=0, partition=partition, refused=0, released=True, end=start)
    return Taking([draft_intake(stream, "tlog", [part], [])], [Advance(stream, partition, start, start, releases=True)])


def taking(  # noqa: PLR0917 - what is taken, one by one
    log: Log,
    start: int,
    events: Sequence[bytes],
    partition: int = 0,
    refused: Sequence[bytes] = (),
    stream: str = STREAM,
) -> Taking:
    """Return the request that takes events from an offset on, and after them messages that are none."""
    drafts = draft_events(parse_batch(events), log.bucket_keys, "stream")
    ids = [bytes.fromhex(str(draft.event_id).replace("-", "")) for draft in drafts]
    marks = [logged_mark(partition, start + number, each) for number, each in enumerate(ids)]
    letters = []
    for offset, value in enumerate(refused, start + len(events)):
        raw, salt = raw_message(None, value, []), bytes(16)
        digest = refused_digest(salt, raw)
        marks.append(refused_mark(partition, offset, digest))
        letters.append(DeadLetter(stream, partition, offset, 0, "not JSON", "", digest, salt, raw))
    end = start + len(marks)
    part = Part(start=start, logged=len(events), partition=partition, refused=len(letters), end=end)
    return Taking(
        [*drafts, draft_intake(stream, "tlog", [part], marks)], [Advance(stream, partition, start, end, letters)]
    )


async def taken(database: Database) -> list[Taken]:
    """Return how far the table says that streams are taken."""
    async with scan(database) as snapshot:
        return await snapshot.intakes()


@asynccontextmanager
async def rivals(log: Log, number: int = 2) -> AsyncIterator[list[Appender]]:
    """Yield appenders as several processes have them, each with its own connections."""
    appenders = [Appender(AppendStore(log.database), log.clock) for _ in range(number)]
    running = [asyncio.create_task(appender.run()) for appender in appenders]
    try:
        yield appenders
    finally:
        for appender in appenders:
            appender.close()
        await asyncio.gather(*running)
