"""Receipts: the unsigned answers to appends, and the rows they are read from.

Drafts become rows when they are chained to the state that they continue; a receipt says where such a row is, and which
hashes pin it there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, overload

from tlog.core.chain import chain_hashes
from tlog.core.entry import format_logged_at, from_microseconds, parse_entry
from tlog.core.merkle import leaf_hashes
from tlog.storage.rows import State, pack_leaves

if TYPE_CHECKING:
    from collections.abc import Callable

    from tlog.core.making.drafts import DraftEntry
    from tlog.storage.rows import FoundEvent


class Receipt(NamedTuple):
    """The acknowledgement of one event: where it is, and the hashes that pin it there until it is sealed."""

    event_id: str | None
    index: int  # type: ignore[assignment]  # hides tuple.index, which means nothing here
    leaf_hash: bytes
    chain_hash: bytes
    logged_at: str
    duplicate: bool = False


class ChainedRows(NamedTuple):
    """The rows that drafts become when they continue `start`, all logged at the same time; `end` is the state after the last.

    `leaves` are the rows as they are copied in, without the entries, which go into runs (`tlog.writing.packing`).
    """

    start: State
    end: State
    logged_at: str
    leaf_hashes: list[bytes]
    chain_hashes: list[bytes]
    leaves: bytes
    entries: list[bytes]
    drafts: Sequence[DraftEntry]


class Receipts(Sequence[Receipt]):
    """The receipts of one request in order, each made when it is asked for: many callers want counts only.

    Attributes:
        duplicates: how many of the events were in the log already.
        last_index: the largest index.

    """

    def __init__(self, length: int, make: Callable[[int], Receipt], *, duplicates: int, last_index: int) -> None:
        self._length = length
        self._make = make
        self.duplicates = duplicates
        self.last_index = last_index

    @classmethod
    def of_rows(cls, drafts: Sequence[DraftEntry], rows: ChainedRows, first: int = 0) -> Receipts:
        """Return the receipts of drafts, all of which were appended: as the rows from number `first` on."""
        index = rows.start.size + first

        def make(at: int) -> Receipt:
            hashes = rows.leaf_hashes[first + at], rows.chain_hashes[first + at]
            return Receipt(drafts[at].event_id, index + at, *hashes, rows.logged_at)

        return cls(len(drafts), make, duplicates=0, last_index=index + len(drafts) - 1)

    @classmethod
    def of(cls, receipts: Sequence[Receipt]) -> Receipts:
        """Return receipts that were made one by one."""
        duplicates = sum(receipt.duplicate for receipt in receipts)
        last_index = max((receipt.index for receipt in receipts), default=-1)
        return cls(len(receipts), receipts.__getitem__, duplicates=duplicates, last_index=last_index)

    def __len__(self) -> int:
        """Return how many receipts there are."""
        return self._length

    @overload
    def __getitem__(self, at: int) -> Receipt: ...
    @overload
    def __getitem__(self, at: slice) -> list[Receipt]: ...
    def __getitem__(self, at: int | slice) -> Receipt | list[Receipt]:
        """Return one receipt, or several."""
        if isinstance(at, slice):
            return [self._make(each) for each in range(self._length)[at]]
        return self._make(range(self._length)[at])


def chain_drafts(start: State, drafts: Sequence[DraftEntry], now: int) -> ChainedRows:
    """Return the rows that `drafts` become when they continue `start` at `now` (microseconds since 1970)."""
    logged_at = max(now, start.last_logged_at) if drafts else start.last_logged_at
    text = format_logged_at(from_microseconds(logged_at))
    entries = [draft.head + text + draft.tail for draft in drafts]
    leaves = leaf_hashes(entries)
    chain = chain_hashes(start.chain_hash, leaves)
    end = State(start.size + len(drafts), chain[-1] if drafts else start.chain_hash, logged_at)
    packed = pack_leaves(start.size, [draft.event_id for draft in drafts], leaves, chain)
    return ChainedRows(start, end, text.decode(), leaves, chain, packed, entries, drafts)


def stored_receipt(event: FoundEvent) -> Receipt:
    """Return the receipt of an event of the log."""
    leaf = event.leaf
    return Receipt(leaf.event_id, leaf.index, leaf.leaf_hash, leaf.chain_hash, parse_entry(event.entry).loggedAt)
