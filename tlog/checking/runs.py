"""Opening the runs of a range: whether each frame opens, and each entry is in exactly one run, with what is disclosed of it.

A run may begin before a range and reach into it. Its damage is named by the range in which it begins; the other one only does
without it. Entries that no run holds, or a damaged one, are named as such and are no missing rows.
"""

from __future__ import annotations

from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from tlog.checking.report import Place
from tlog.core.making.drafts import logged_at_of
from tlog.core.run import RUN_ENTRIES
from tlog.errors import MalformedInputError
from tlog.storage.runs import DISCLOSURE_RUNS, ENTRY_RUNS, join_parts, open_run

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tlog.checking.facts import RangeFacts
    from tlog.core.run import Disclosed
    from tlog.storage.runs import Kind, RunRow
    from tlog.storage.scan import DatedRunRow, LeafRow

T = TypeVar("T")
EntryRow = tuple[int, bytes | None, bytes, bytes, bytes]  # index, eventId, entry, leaf hash, chain hash
# Index, actor, resource, and the related resources or None for none; an erased group is None. Only where something may be there.
DisclosureRow = tuple[int, bytes | None, bytes | None, list[bytes | None] | None]
REACH: Final = RUN_ENTRIES - 1  # so many entries before a range a run may begin that reaches into it
_first_of: Final = itemgetter(0)


class Opened(NamedTuple):
    """The rows of a range with their entries, and what is disclosed of them.

    `chains` has the chain hash of each row whose entry cannot be read, `undisclosed` the entries whose disclosures cannot be.
    """

    rows: list[EntryRow]
    disclosures: list[DisclosureRow]
    chains: dict[int, bytes]
    undisclosed: set[int]


def open_runs(
    facts: RangeFacts,
    bounds: range,
    leaves: Sequence[LeafRow],
    entries: Sequence[DatedRunRow],
    disclosed: Sequence[RunRow],
) -> Opened:
    """Return what is stored of the entries in `bounds`, and note in `facts` what is wrong with their runs.

    Args:
        facts: of the range that is checked.
        bounds: a part of that range.
        leaves: the rows in `bounds`, by index.
        entries: the rows of the runs of entries that begin in `bounds`, or up to `REACH` entries before, by their first index.
        disclosed: those of disclosures.

    """
    mine = _Opening(facts, bounds, ENTRY_RUNS, [row[:4] for row in entries])
    theirs = _Opening(facts, bounds, DISCLOSURE_RUNS, disclosed)
    facts.read_entry_runs += sum(row[0] >= bounds.start for row in entries)
    facts.read_disclosure_runs += sum(row[0] >= bounds.start for row in disclosed)
    for first in sorted(mine.counts.keys() & theirs.counts.keys()):
        if mine.counts[first] != theirs.counts[first]:
            what = f"the run of entries holds {mine.counts[first]}, that of their disclosures {theirs.counts[first]}"
            facts.add("run damaged", Place.of_entries(first, first + mine.counts[first]), what)
    _check_logged_at(facts, mine, entries)
    start = bounds.start
    there = [leaf[0] for leaf in leaves]
    mine.name_gaps(there)
    theirs.name_gaps(there)
    rows = [
        (index, event_id, entry, leaf_hash, chain_hash)
        for index, event_id, leaf_hash, chain_hash in leaves
        if (entry := mine.found[index - start]) is not None
    ]
    chains = (
        {} if len(rows) == len(leaves) else {leaf[0]: leaf[3] for leaf in leaves if mine.found[leaf[0] - start] is None}
    )
    disclosures = list(_disclosure_rows(bounds, theirs.found))
    undisclosed = (
        set() if None not in theirs.found else {index for index in bounds if theirs.found[index - start] is None}
    )
    return Opened(rows, disclosures, chains, undisclosed)


class _Opening:
    """What the runs of one kind hold of a part of a range: of each entry something, or None."""

    def __init__(self, facts: RangeFacts, bounds: range, kind: Kind[Any], rows: Iterable[RunRow]) -> None:
        self._facts = facts
        self._bounds = bounds
        self._what = "entries" if kind is ENTRY_RUNS else "disclosures of entries"
        self.found: list[Any] = [None] * len(bounds)
        self.counts: dict[int, int] = {}  # by the first index of each run that begins here and opens
        self._damaged: set[int] = set()
        reached = bounds.start - RUN_ENTRIES
        for first, parts in groupby(rows, _first_of):
            own = list(parts)
            try:
                content = _open(kind, own, reached)
            except MalformedInputError as error:
                end = first + max(1, min(own[0][2], RUN_ENTRIES))
                self._damaged.update(range(first, end))
                if first in bounds:
                    facts.add("run damaged", Place.of_entries(first, end), f"the run of {self._what}: {error}")
                continue
            reached = first + len(content)
            if first in bounds:
                self.counts[first] = len(content)
            self._put(first, content)

    def _put(self, first: int, content: Sequence[object]) -> None:
        low, high = max(first, self._bounds.start), min(first + len(content), self._bounds.stop)
        if low < high:
            own = slice(low - self._bounds.start, high - self._bounds.start)
            self.found[own] = content[low - first : high - first]

    def first_entry(self, first: int) -> bytes | None:
        """Return the first entry of a run that begins here, None of one that does not, or does not open."""
        entry: bytes | None = self.found[first - self._bounds.start] if first in self.counts else None
        return entry

    def name_gaps(self, there: Sequence[int]) -> None:
        """Name the rows that no run holds."""
        if None not in self.found:
            return
        start = self._bounds.start
        lacking = [index for index in there if self.found[index - start] is None and index not in self._damaged]
        self._facts.runless += lacking
        for first, end in _gaps(lacking):
            self._facts.add("run damaged", Place.of_entries(first, end), f"no run holds these {self._what}")


def _open(kind: Kind[T], rows: Sequence[RunRow], reached: int) -> list[T]:
    """Return what the run holds that some rows are the parts of, given where the run before ends.

    Raises:
        MalformedInputError: it does not open, or holds what the one before holds.

    """
    if rows[0][0] < reached:
        message = "the run before holds some of them too"
        raise MalformedInputError(message)
    return open_run(kind, join_parts(rows))


def _gaps(indexes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield rising indexes as ranges [first, end)."""
    for _, group in groupby(enumerate(indexes), lambda each: each[1] - each[0]):
        own = [index for _, index in group]
        yield own[0], own[-1] + 1


def _check_logged_at(facts: RangeFacts, opening: _Opening, rows: Sequence[DatedRunRow]) -> None:
    """Compare the column that a question with a time is answered by with what the first entry of each run says."""
    for first, _, _, _, stored in rows:
        entry = opening.first_entry(first)
        if entry is None:
            continue
        try:
            logged_at = logged_at_of(entry)
        except MalformedInputError:
            continue  # which is found where entries are read
        if logged_at != stored:
            facts.add(
                "column changed",
                Place("entry", first),
                "the logged_at of the run is not the loggedAt of its first entry",
            )


def _disclosure_rows(bounds: range, found: Sequence[Disclosed | None]) -> Iterator[DisclosureRow]:
    """Yield what is disclosed, without the entries of which nothing is and nothing related was."""
    for index, each in zip(bounds, found, strict=True):
        if each is None:
            continue
        actor, resource, related = each
        if actor or resource or related:
            yield index, actor or None, resource or None, [group or None for group in related] if related else None
