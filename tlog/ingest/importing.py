"""Importing: files of events into a log, in batches, with the same receipts as everywhere.

All is checked before anything is appended, so a bad record in the middle of a file leaves nothing half-imported; with a file
for what is set aside, all else is taken. An import that is repeated adds nothing: every event keeps its eventId.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING, BinaryIO, Final, NamedTuple

from tlog.core.making.parsing import parse_batch
from tlog.errors import EventConflictError, InvalidBatchError, InvalidEventError, MalformedInputError
from tlog.ingest.aside import NAMED, Problem
from tlog.ingest.reading import Item
from tlog.ingest.shapes import DIGEST, MAX_PIECE, DamagedFileError, Skipped
from tlog.writing.drafting import LOCAL, draft_events

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tlog.ingest.aside import AsideFile
    from tlog.lifecycle.opening import Log

    Append = Callable[[Sequence[bytes]], Awaitable[Sequence[tuple[int, bool]]]]
    Read = Callable[[BinaryIO, str], Iterator[Item | Problem | Skipped]]
    Open = Callable[[Path], AbstractContextManager[BinaryIO]]
    Report = Callable[[int, int], None]

BATCH: Final = 1_000
_BATCH_SIZE: Final = 8 << 20


class Imported(NamedTuple):
    """Result of an import.

    Attributes:
        events: how many records are events of the log now.
        duplicates: how many of them the log had already.
        continuations: how many more events they took, for what they name.
        last_index: the greatest index of all these events; -1 without any.

    """

    events: int = 0
    duplicates: int = 0
    continuations: int = 0
    last_index: int = -1


class ConflictError(Exception):
    """A batch was refused because the log has the eventId of one of its events with other content.

    Attributes:
        position: which event of the batch, from 0.

    """

    def __init__(self, position: int) -> None:
        super().__init__(position)
        self.position = position


class Import:
    """One import: files that are read twice, to check them and to append what is good.

    Attributes:
        records: how many records were found, good ones and others.
        problems: how many records, pieces of files and whole files were not taken.
        named: the first of the problems.
        digests: the names of the files that are digests by their content.

    """

    def __init__(self, files: Sequence[Path], opening: Open, read: Read, aside: AsideFile | None = None) -> None:
        """Take the files, how one is opened and read, and where to put what is not taken."""
        self.records = 0
        self.problems = 0
        self.named: list[Problem] = []
        self.digests: list[str] = []
        self._files = files
        self._opening = opening
        self._read = read
        self._aside = aside
        self._refused: set[Path] = set()
        self._bad: set[int] = set()  # items that are not appended, by their number among all items
        self._items = 0
        self._passed = 0  # bytes of the files that were appended
        self._stream: BinaryIO | None = None

    @property
    def good(self) -> int:
        """Return how many records can be appended."""
        return self._items - len(self._bad)

    def check(self, report: Report) -> None:
        """Read all files and find what cannot be taken.

        Args:
            report: called with the number of records so far, and how many bytes of the files are read.

        Raises:
            MalformedInputError: something cannot even be set aside.
            OSError: a file cannot be read.

        """
        passed = 0
        for path in self._files:
            restore = self._mark()
            with self._opening(path) as stream:
                try:
                    for _ in self._check_file(stream, path):
                        report(self.records, passed + stream.tell())
                except DamagedFileError as error:
                    restore()
                    self._refused.add(path)
                    self._refuse(Problem(str(path), "", "", str(error), partial(self._whole, path), is_json=False))
                passed += stream.tell()
        report(self.records, passed)

    async def append(self, append: Append, report: Report) -> Imported:
        """Append what is good, and return what became of it.

        Args:
            append: appends one batch of events, all or none, and returns (index, duplicate) of each.
            report: called with the number of records so far, and how many bytes of the files are read.

        Raises:
            InvalidEventError: the log has an eventId with other content, and there is no file for what is set aside.
            OverloadedError: the log cannot take more now.

        """
        total = Imported()
        batch: list[Item] = []
        events = size = 0
        for item in self._good_items():
            batch.append(item)
            events += len(item.events)
            size += sum(map(len, item.events))
            if events >= BATCH or size >= _BATCH_SIZE:
                total = await self._append_batch(batch, append, total)
                report(total.events, self._bytes_read())
                batch, events, size = [], 0, 0
        total = await self._append_batch(batch, append, total)
        report(total.events, self._bytes_read())
        return total

    def _mark(self) -> Callable[[], None]:
        """Return what takes back all that was found since."""
        counts = self.records, self.problems, self._items
        lengths = len(self.named), len(self.digests)
        size = 0 if self._aside is None else self._aside.tell()

        def restore() -> None:
            self.records, self.problems, self._items = counts
            del self.named[lengths[0] :], self.digests[lengths[1] :]
            self._bad = {number for number in self._bad if number < self._items}
            if self._aside is not None:
                self._aside.cut(size)

        return restore

    def _check_file(self, stream: BinaryIO, path: Path) -> Iterator[None]:
        """Check the items of a file; yields after each batch."""
        batch: list[Item | Problem] = []
        for each in self._read(stream, str(path)):
            if isinstance(each, Skipped):
                if each.what == DIGEST:
                    self.digests.append(str(path))
                continue
            batch.append(each)
            if len(batch) == BATCH:
                self._check_batch(batch)
                batch = []
                yield
        self._check_batch(batch)

    def _check_batch(self, batch: list[Item | Problem]) -> None:
        self.records += len(batch)
        items = [each for each in batch if isinstance(each, Item)]
        certain = _are_valid([event for item in items for event in item.events])
        for each in batch:
            if isinstance(each, Problem):
                self._refuse(each)
                continue
            try:
                if not certain:
                    parse_batch(each.events)
            except InvalidBatchError as error:
                self._bad.add(self._items)
                self._refuse(each.problem(error.found[0].pointer, str(error.found[0])))
            self._items += 1

    def _refuse(self, problem: Problem) -> None:
        self.problems += 1
        if len(self.named) < NAMED:
            self.named.append(problem)
        if self._aside is not None:
            self._aside.write(problem)

    def _whole(self, path: Path) -> bytes:
        with self._opening(path) as stream:
            stream.seek(0)
            content = stream.read(MAX_PIECE + 1)
        if len(content) > MAX_PIECE:
            message = (
                f"{path} is damaged, and with more than {MAX_PIECE >> 20} MiB too large to be set aside; leave it out"
            )
            raise MalformedInputError(message)
        return content

    def _good_items(self) -> Iterator[Item]:
        """Yield the items that are appended."""
        number = 0
        for path in self._files:
            if path in self._refused:
                continue
            with self._opening(path) as stream:
                self._stream = stream
                for item in self._read(stream, str(path)):
                    if isinstance(item, Item):
                        if number not in self._bad:
                            yield item
                        number += 1
                self._passed += stream.tell()
                self._stream = None

    def _bytes_read(self) -> int:
        return self._passed + (0 if self._stream is None else self._stream.tell())

    async def _append_batch(self, batch: list[Item], append: Append, total: Imported) -> Imported:
        """Append items; those that conflict are set aside, or end the import."""
        waiting, step = deque(batch), len(batch)
        while waiting:
            items = [waiting.popleft() for _ in range(min(step, len(waiting)))]
            try:
                receipts = await append([event for item in items for event in item.events])
            except ConflictError as error:
                position = _item_of(items, error.position)
                self._refuse_conflict(items.pop(position))
                waiting.extendleft(reversed(items))
                # What stands before the conflict has none; after a conflict others are likely.
                step = max(1, position)
            else:
                total = _add(total, items, receipts)
                step *= 2
        return total

    def _refuse_conflict(self, item: Item) -> None:
        problem = item.problem("/eventId", "its eventId is already logged with other content")
        if self._aside is None:
            message = f"{problem.place}: {problem.rule}; a new event needs a new eventId"
            raise InvalidEventError(message, problem.base + problem.pointer)
        self._refuse(problem)


def _are_valid(events: Sequence[bytes]) -> bool:
    try:
        parse_batch(events)
    except InvalidBatchError:
        return False
    return True


def _item_of(items: Sequence[Item], position: int) -> int:
    """Return which item the event at a position of their batch belongs to."""
    for number, item in enumerate(items):
        position -= len(item.events)
        if position < 0:
            return number
    return len(items) - 1


def _add(total: Imported, items: Sequence[Item], receipts: Sequence[tuple[int, bool]]) -> Imported:
    known = iter(receipts)
    duplicates = 0
    for item in items:
        duplicates += next(known)[1]
        for _ in item.events[1:]:
            next(known)
    return Imported(
        total.events + len(items),
        total.duplicates + duplicates,
        total.continuations + len(receipts) - len(items),
        max(total.last_index, *(index for index, _ in receipts)),
    )


async def append_locally(log: Log, raws: Sequence[bytes]) -> list[tuple[int, bool]]:
    """Append valid events to an open log in this process.

    Raises:
        ConflictError: the log has an eventId with other content; nothing was appended.

    """
    drafts = draft_events(parse_batch(raws), log.bucket_keys, LOCAL)
    try:
        receipts = await log.appender.append(drafts)
    except EventConflictError as error:
        raise ConflictError(int(error.pointer.split("/")[1])) from None
    return [(receipt.index, receipt.duplicate) for receipt in receipts]
