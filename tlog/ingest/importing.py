"""Importing: a stream of events into a log, in batches, with the same receipts as everywhere.

Events are checked before anything is appended, so a bad one in the middle of a file leaves nothing half-imported. An
import that is repeated adds nothing: every event keeps its eventId.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from tlog.core.making.parsing import parse_batch
from tlog.errors import InvalidBatchError, InvalidEventError
from tlog.writing.drafting import LOCAL, draft_events

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence

    from tlog.lifecycle.opening import Log

BATCH: Final = 1_000


class Item(NamedTuple):
    """One event to import: where it is, for error messages, and its JSON text. Every reader of a format yields these."""

    place: str
    raw: bytes


class Imported(NamedTuple):
    """Result of an import: how many events were read, how many of them the log had already, and the last one's index."""

    events: int
    duplicates: int
    last_index: int


def check_items(items: Iterable[Item]) -> Iterator[Item]:
    """Yield each item after its event was found valid.

    Raises:
        InvalidEventError: an event is not valid; the message begins with its place.

    """
    for item in items:
        try:
            parse_batch([item.raw])
        except InvalidBatchError as error:
            message = f"{item.place}: {error}"
            raise InvalidEventError(message, error.found[0].pointer) from None
        yield item


async def import_items(
    items: Iterable[Item],
    append: Callable[[Sequence[bytes]], Awaitable[Sequence[tuple[int, bool]]]],
) -> AsyncIterator[Imported]:
    """Append the items in batches; yield the running totals after each.

    Args:
        items: valid events.
        append: appends one batch, all or none, and returns (index, duplicate) of each event.

    """
    total = Imported(0, 0, -1)
    batch: list[bytes] = []
    for item in items:
        batch.append(item.raw)
        if len(batch) == BATCH:
            total = _add(total, await append(batch))
            batch = []
            yield total
    if batch:
        total = _add(total, await append(batch))
    yield total


async def append_locally(log: Log, raws: Sequence[bytes]) -> list[tuple[int, bool]]:
    """Append valid events to an open log in this process."""
    drafts = draft_events(parse_batch(raws), log.bucket_keys, LOCAL)
    return [(receipt.index, receipt.duplicate) for receipt in await log.appender.append(drafts)]


def _add(total: Imported, receipts: Sequence[tuple[int, bool]]) -> Imported:
    duplicates = sum(duplicate for _, duplicate in receipts)
    last = max(index for index, _ in receipts)
    return Imported(total.events + len(receipts), total.duplicates + duplicates, max(total.last_index, last))
