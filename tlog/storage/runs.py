"""Reading runs: in the partitions that indexes name, their parts put together, opened, and taken apart into entries.

A statement names its partition: to plan one over all partitions, and to lock them, would take longer the more of them there are.
Whoever wants some entries gets the runs that hold them, and takes no more apart than that.
"""

from __future__ import annotations

from bisect import bisect_left
from functools import lru_cache
from itertools import groupby, islice
from operator import itemgetter
from typing import TYPE_CHECKING, Final, Generic, NamedTuple, TypeVar

from psycopg import sql

from tlog.core.run import (
    MAX_DISCLOSURE_RUN,
    MAX_ENTRY_RUN,
    PARTITION_ENTRIES,
    RUN_ENTRIES,
    Disclosed,
    parse_disclosure_run,
    parse_entry_run,
    pick_disclosures,
    pick_entries,
)
from tlog.errors import DamagedLogError, MalformedInputError
from tlog.storage.connection import Connection, translated
from tlog.storage.frames import open_frame
from tlog.storage.queries import QUERIES

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence

    from psycopg import AsyncCursor
    from psycopg.rows import TupleRow

T = TypeVar("T")
RunRow = tuple[int, int, int, bytes]  # first, part, count, data
_AT_ONCE: Final = 4_096  # entries
_ROWS_AT_ONCE: Final = 512  # of up to 7,900 bytes, and more than a run can have
_STATEMENTS_AT_ONCE: Final = 8
_entry_of: Final = itemgetter(0)


class Kind(NamedTuple, Generic[T]):
    """What runs hold: the table's name, how many bytes a frame holds at most, and how those are taken apart, all or some."""

    table: str
    most: int
    parse: Callable[[bytes, int], list[T]]
    pick: Callable[[bytes, Sequence[int]], list[T]]


ENTRY_RUNS: Final[Kind[bytes]] = Kind("entry_run", MAX_ENTRY_RUN, parse_entry_run, pick_entries)
DISCLOSURE_RUNS: Final[Kind[Disclosed]] = Kind(
    "disclosure_run", MAX_DISCLOSURE_RUN, parse_disclosure_run, pick_disclosures
)


class StoredRun(NamedTuple):
    """A run as it is stored: the entries [first, first + count) in one frame."""

    first: int
    count: int  # type: ignore[assignment]  # hides tuple.count, which means nothing here
    frame: bytes


# --- Taking rows apart --------------------------------------------------------------------------------------------------


def join_parts(rows: Sequence[RunRow]) -> StoredRun:
    """Return the run that the rows of one `first` are the parts of.

    Raises:
        MalformedInputError: they are not parts 0, 1, … of one run.

    """
    first, _, count, _ = rows[0]
    if len(rows) == 1 and rows[0][1] == 0:
        return StoredRun(first, count, rows[0][3])
    parts = sorted(rows)
    if any((row[1], row[2]) != (number, count) for number, row in enumerate(parts)):
        message = "parts of the run are missing, twice there, or not of one run"
        raise MalformedInputError(message)
    return StoredRun(first, count, b"".join([row[3] for row in parts]))


def open_run(kind: Kind[T], run: StoredRun) -> list[T]:
    """Return what a run holds, of each of its entries one.

    Raises:
        MalformedInputError: the frame does not open, or holds something else.

    """
    return kind.parse(open_frame(run.frame, kind.most), run.count)


def open_rows(kind: Kind[T], rows: Iterable[RunRow]) -> Iterator[tuple[int, list[T]]]:
    """Yield first index and content of the runs that rows, by `first`, are the parts of.

    Raises:
        DamagedLogError: one of them does not open; the message names its entries.

    """
    for run in _join_rows(rows):
        try:
            content = open_run(kind, run)
        except MalformedInputError as error:
            raise _damaged(run, error) from error
        yield run.first, content


def pick_rows(kind: Kind[T], rows: Sequence[RunRow], indexes: Sequence[int]) -> Iterator[dict[int, T]]:
    """Yield of each run that rows, falling by `first`, are the parts of what belongs to the indexes, which rise.

    Raises:
        DamagedLogError: one of them does not open as far as it is wanted; the message names its entries.

    """
    end = len(indexes)
    for run in _join_rows(rows):
        first, count, frame = run
        end = bisect_left(indexes, first + count, 0, end)
        start = bisect_left(indexes, first, 0, end)
        wanted, end = indexes[start:end], start
        try:
            content = kind.pick(open_frame(frame, kind.most), [index - first for index in wanted])
        except MalformedInputError as error:
            raise _damaged(run, error) from error
        yield dict(zip(wanted, content, strict=True))


def _join_rows(rows: Iterable[RunRow]) -> Iterator[StoredRun]:
    for first, parts in groupby(rows, _entry_of):
        own = list(parts)
        try:
            run = join_parts(own)
        except MalformedInputError as error:
            raise _damaged(StoredRun(first, own[0][2], b""), error) from error
        yield run


def _damaged(run: StoredRun, error: MalformedInputError) -> DamagedLogError:
    return DamagedLogError(
        f"the run of the entries {run.first} to {run.first + run.count - 1} is damaged: {error}; run 'tlog fsck'"
    )


# --- Statements ---------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1_024)
def statement(query: str, table: str, number: int) -> bytes:
    """Return a statement over the partition of a number."""
    return sql.SQL(QUERIES[query]).format(runs=sql.Identifier("tlog", f"{table}_{number}")).as_bytes()


def partitions(start: int, end: int) -> range:
    """Return the numbers of the partitions that hold entries of [start, end)."""
    return range(start // PARTITION_ENTRIES, -(-end // PARTITION_ENTRIES)) if start < end else range(0)


def pieces(indexes: Iterable[int]) -> list[tuple[int, list[int]]]:
    """Return indexes, each once, some at a time and rising, with the number of their partition: the highest ones first."""
    found: list[tuple[int, list[int]]] = []
    for number, own in groupby(sorted(set(indexes), reverse=True), lambda index: index // PARTITION_ENTRIES):
        while piece := [*islice(own, _ROWS_AT_ONCE)]:
            found.append((number, piece[::-1]))
    return found


def array_text(numbers: Iterable[int]) -> str:
    """Return numbers as the text of an array; to adapt hundreds one by one would take longer than to read their rows."""
    return f"{{{','.join(map(str, numbers))}}}"


# --- Some entries -------------------------------------------------------------------------------------------------------


class Asked(Generic[T]):
    """What runs hold of some entries: asked for already, to be fetched; in a pipeline several of these travel together."""

    def __init__(self, connection: Connection, kind: Kind[T], indexes: Iterable[int]) -> None:
        self._connection = connection
        self._kind = kind
        self._left = pieces(indexes)
        self._asked: list[tuple[int, list[int], AsyncCursor[TupleRow]]] = []

    async def send(self) -> None:
        """Ask for what is still to be read, as much of it as is held at once."""
        now, self._left = self._left[:_STATEMENTS_AT_ONCE], self._left[_STATEMENTS_AT_ONCE:]
        with translated():
            for number, indexes in now:
                values = {"indexes": array_text(indexes), "rows": _ROWS_AT_ONCE, "longest": RUN_ENTRIES}
                query = statement("find_runs", self._kind.table, number)
                self._asked.append((number, indexes, await self._connection.execute(query, values, binary=True)))

    async def runs(self) -> AsyncGenerator[dict[int, T]]:
        """Yield what is there by index, newest run first, one run at a time.

        Raises:
            DamagedLogError: a run does not open.

        """
        while self._asked:
            asked, self._asked = self._asked, []
            for at, (number, indexes, cursor) in enumerate(asked):
                with translated():
                    rows = await cursor.fetchall()
                cut = len(rows) == _ROWS_AT_ONCE
                if cut:  # in the last run perhaps, which is asked for again with those below
                    rows = [row for row in rows if row[0] != rows[-1][0]] or rows
                for run in pick_rows(self._kind, rows, indexes):
                    yield run
                older = indexes[: bisect_left(indexes, rows[-1][0])] if cut else []
                if older:  # they come before what is in the pieces after this one
                    self._left = [(number, older), *((each[:2]) for each in asked[at + 1 :]), *self._left]
                    break
            await self.send()

    async def found(self) -> dict[int, T]:
        """Return all that is there by index.

        Raises:
            DamagedLogError: a run does not open.

        """
        values: dict[int, T] = {}
        async for run in self.runs():
            values |= run
        return values


async def ask(connection: Connection, kind: Kind[T], indexes: Iterable[int]) -> Asked[T]:
    """Ask for what runs hold of some entries, in any order."""
    asked = Asked(connection, kind, indexes)
    await asked.send()
    return asked


# --- Entries that follow each other ---------------------------------------------------------------------------------------


async def read_runs_between(connection: Connection, kind: Kind[T], start: int, end: int) -> list[tuple[int, T]]:
    """Return (index, what is stored of it) of the entries [start, end) in order, as many as there are.

    Raises:
        DamagedLogError: a run does not open, or two runs hold the same entry.

    """
    values: list[tuple[int, T]] = []
    cursors = []
    with translated():
        async with connection.pipeline():
            for number in partitions(start, end):
                query = statement("range_runs", kind.table, number)
                bounds = {"start": start - RUN_ENTRIES, "end": end}
                cursors.append(await connection.execute(query, bounds, binary=True))
            reached = start - RUN_ENTRIES
            for cursor in cursors:
                for first, content in open_rows(kind, await cursor.fetchall()):
                    if first < reached:
                        message = f"two runs hold entry {first}; run 'tlog fsck'"
                        raise DamagedLogError(message)
                    reached = first + len(content)
                    values += enumerate(content, first)
    return values[_first(values, start) : _first(values, end)]


def _first(values: Sequence[tuple[int, object]], index: int) -> int:
    return bisect_left(values, index, key=_entry_of)


async def read_entries(connection: Connection, start: int, end: int) -> list[bytes]:
    """Return the entries [start, end) in order, as many as there are.

    Raises:
        DamagedLogError: a run does not open.

    """
    return [entry for _, entry in await read_runs_between(connection, ENTRY_RUNS, start, end)]


async def read_entry(connection: Connection, index: int) -> bytes | None:
    """Return one entry, None if it is not there.

    Raises:
        DamagedLogError: its run does not open.

    """
    return (await (await ask(connection, ENTRY_RUNS, [index])).found()).get(index)


def portions(start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield [start, end) in pieces of which the entries, or their disclosures, are read at once."""
    for first in range(start, end, _AT_ONCE):
        yield first, min(first + _AT_ONCE, end)


async def last_disclosed(connection: Connection, start: int, end: int) -> int | None:
    """Return the last of the entries [start, end) of which something is disclosed, None if nothing is of any of them.

    Raises:
        DamagedLogError: a run does not open, or two runs hold the same entry.

    """
    for first, last in reversed(list(portions(start, end))):
        for index, disclosed in reversed(await read_runs_between(connection, DISCLOSURE_RUNS, first, last)):
            if disclosed.actor or disclosed.resource or any(disclosed.related):
                return index
    return None
