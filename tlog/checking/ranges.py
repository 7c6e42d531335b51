"""Checking a range of consecutive entries by itself: what of a full check can be done anywhere, in any order.

Whole ranges are compared at once; only where a comparison fails is looked at entry by entry, to name what is wrong. What a
range cannot know (the tree before it, the index, other ranges' eventIds) it returns as small facts to who joins the ranges.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Generic, NamedTuple, TypeVar

import msgspec
import numpy as np

from tlog.checking.report import Place, Problem
from tlog.core.chain import CHAIN_START, chain_hash, chain_hashes
from tlog.core.commitment import SALT_SIZE, check_disclosure, commit_all
from tlog.core.entry import EventEntry, IndexEntry, IndexKeysEntry, parse_entry
from tlog.core.making.matching import EventFacts, match_events
from tlog.core.making.posting import NO_KEYS, READ_AT_ONCE, decode_keys
from tlog.core.merkle import HASH_SIZE, Frontier, fold_perfect, leaf_hashes
from tlog.core.strict import encode_hashes_base64url, parse_base64url
from tlog.core.tile import TILE_WIDTH, Tile, split_hashes
from tlog.errors import TlogError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from tlog.checking.report import Damage
    from tlog.core.entry import Entry
    from tlog.core.making.bucket_keys import BucketKeys
    from tlog.storage.scan import DisclosureRow, LeafRow

BLOCK: Final = READ_AT_ONCE
_REMEMBERED: Final = 1_000
_UUID_SIZE: Final = 16


class _Who(msgspec.Struct, gc=False):
    userId: str  # noqa: N815 - the format's name


class _What(msgspec.Struct, gc=False):
    type: str
    id: str


class _Touched(msgspec.Struct, gc=False):
    resource: _What


# Where the facts of an event are. `match_events` gives them as the bare groups of a regex: to make tuples with names of them,
# as their type says they are, costs an eighth of the time that a range takes.
_at = EventFacts._fields.index
_ACTION: Final = _at("action")
_ACTOR: Final = _at("actor")
_RESOURCE: Final = _at("resource")
_EVENT_ID: Final = _at("event_id")
_KEYS: Final = _at("keys")
_PERSONAL_KEYS: Final = _at("personal_keys")
_LOGGED_AT: Final = _at("logged_at")
_RESOURCE_TYPE: Final = _at("resource_type")

_Event = tuple[int, EventFacts]
_WHO: Final = msgspec.json.Decoder(_Who).decode
_TOUCHED: Final = msgspec.json.Decoder(_Touched).decode


_T = TypeVar("_T")


class Pair(NamedTuple, Generic[_T]):
    """The same thing twice: as it is computed from the entries, and as the stored tiles of level 0 have it."""

    computed: _T
    stored: _T


class Watched(NamedTuple):
    """The tree at a size: the perfect subtrees of its block's part, and the chain."""

    subtrees: Pair[list[bytes]]
    chain: bytes


class Before(NamedTuple):
    """What is known of the entries before a range.

    `tile` are the hashes of the partial tile that the range continues, `subtrees` the perfect subtrees of the part of its
    block that is before it.
    """

    chain: bytes | None
    tile: tuple[bytes, ...] = ()
    subtrees: tuple[bytes, ...] = ()


@dataclass
class RangeFacts:
    """What a range of entries is found to be.

    `full_tiles` has for each tile of level 0 that is full at the end of the range the hash it folds to, `open_tile` the hashes
    of the tile that is not full. `subtrees` are the perfect subtrees of the block up to the end.
    """

    start: int
    end: int
    checked: Counter[str] = field(default_factory=Counter)
    problems: list[Problem] = field(default_factory=list)
    more_problems: int = 0
    suspects: list[int] = field(default_factory=list)
    missing: list[int] = field(default_factory=list)
    damaged: bool = False
    full_tiles: list[Pair[bytes]] = field(default_factory=list)
    open_tile: list[Pair[bytes]] = field(default_factory=list)
    subtrees: Pair[list[bytes]] = field(default_factory=lambda: Pair[list[bytes]]([], []))
    watched: dict[int, Watched] = field(default_factory=dict)
    chain: bytes | None = None
    first_logged_at: bytes = b""
    logged_at: bytes = b""
    first_entry: IndexKeysEntry | None = None
    epochs: list[tuple[int, IndexEntry]] = field(default_factory=list)
    keys: NDArray[np.uint64] = field(default_factory=lambda: np.empty(0, np.uint64))
    positions: NDArray[np.uint32] = field(default_factory=lambda: np.empty(0, np.uint32))
    event_ids: bytes = b""
    event_indexes: NDArray[np.uint64] = field(default_factory=lambda: np.empty(0, np.uint64))
    read_leaves: int = 0
    read_disclosures: int = 0
    read_tiles: int = 0

    def add(self, damage: Damage, place: Place, what: str) -> None:
        """Note a problem; beyond a thousand they are only counted."""
        if len(self.problems) < _REMEMBERED:
            self.problems.append(Problem(damage, place, what))
        else:
            self.more_problems += 1


class RangeCheck:
    """The check of one range inside of one block; give it rows in order, then `finish`."""

    def __init__(
        self,
        start: int,
        before: Before,
        watched: Sequence[int],
        tiles: Mapping[int, bytes],
        *,
        sealed: int,
        bucket_keys: BucketKeys | None,
        columns: bool = True,
    ) -> None:
        """Prepare.

        Args:
            start: index of the first entry.
            before: what is known of the entries before.
            watched: tree sizes in (start, end] to return the tree of, rising.
            tiles: the stored hashes of the tiles of level 0 in which the range is.
            sealed: how many entries a checkpoint covers, which have to be in tiles.
            bucket_keys: to check index keys against disclosures.
            columns: whether rows have more than index and entry.

        """
        self.facts = RangeFacts(start, start, chain=before.chain)
        self._watched = list(watched)
        self._tiles = tiles
        self._sealed = sealed
        self._bucket_keys = bucket_keys
        self._columns = columns
        self._frontier = Frontier(start % BLOCK - len(before.tile), before.subtrees)
        self._stored: Frontier | None = None
        self._tile = list(before.tile)
        self._seeded = len(before.tile)
        self._stored_tile: list[bytes] | None = None
        self._chains: dict[int, bytes] = {}
        self._texts: list[bytes] = []
        self._ids: list[bytes] = []
        self._indexes: list[int] = []

    # --- Rows --------------------------------------------------------------------------------------------------------

    def take(self, rows: Sequence[LeafRow], disclosures: Sequence[DisclosureRow]) -> None:
        """Check the next rows, by index, and the disclosures that belong to them."""
        facts = self.facts
        facts.read_leaves += len(rows)
        facts.read_disclosures += len(disclosures)
        for run in _consecutive(rows):
            if run[0][0] < facts.end:
                facts.add("order", Place("entry", run[0][0]), "two rows have the same index")
                continue
            self.skip(run[0][0])
            self._run(run, disclosures)
            facts.end += len(run)

    def skip(self, index: int) -> None:
        """Note that the rows up to `index` are missing; their tiles stand in for them in the tree."""
        facts = self.facts
        if index == facts.end:
            return
        facts.damaged = True
        for lost in range(facts.end, index):
            facts.missing.append(lost)
            hashes = self._stored_hashes(lost, 1)
            self._texts.append(NO_KEYS)
            self._chains[lost + 1] = facts.chain or bytes(HASH_SIZE)
            self._grow(lost, [hashes or bytes(HASH_SIZE)], same=True)
        facts.end = index

    def finish(self) -> RangeFacts:
        """Return what was found."""
        facts = self.facts
        if self._tile:
            self._close_tile(facts.end // TILE_WIDTH)
            stored = self._stored_tile or self._tile
            facts.open_tile = [Pair(*both) for both in zip(self._tile, stored, strict=True)]
        facts.subtrees = self._subtrees(len(self._tile))
        facts.keys, facts.positions = decode_keys(b"".join(self._texts))
        self._distinct()
        facts.event_ids = b"".join(self._ids)
        facts.event_indexes = np.array(self._indexes, np.uint64)
        return facts

    def _distinct(self) -> None:
        """Check that the keys of an entry differ in their first 8 bytes (`parse_entry` does; the quick way does not)."""
        keys = self.facts.keys.reshape(-1, 3)
        alike = (keys[:, 0] == keys[:, 1]) | (keys[:, 0] == keys[:, 2]) | (keys[:, 1] == keys[:, 2])
        for position in self.facts.positions[::3][alike]:
            what = "two index keys of the entry have the same first 8 bytes"
            self.facts.add("entry malformed", Place("entry", self.facts.start + int(position)), what)

    def _run(self, rows: Sequence[LeafRow], disclosures: Sequence[DisclosureRow]) -> None:
        """Check rows without a gap."""
        first = rows[0][0]
        _, event_ids, entries, leaves, chain = zip(*rows, strict=True)
        computed = leaf_hashes(entries)
        same = self._leaf_hashes(first, computed, leaves)
        if self._columns:
            self._chain(first, computed, chain)
        else:
            self.facts.chain = chain_hashes(self.facts.chain or CHAIN_START, computed)[-1]
        self._entries(first, entries, event_ids, disclosures)
        self._grow(first, computed, same=same)
        self.facts.checked["entries"] += len(rows)

    def _leaf_hashes(self, first: int, computed: list[bytes], columns: Sequence[bytes]) -> bool:
        """Compare what entries hash to with column and tile; where two of the three agree, the third one is named."""
        facts = self.facts
        stored = self._stored_hashes(first, len(computed))
        # Tiles may lag while entries are pending; but after a tile that is missing others may be wrong.
        ends = (first + len(stored) // HASH_SIZE) // TILE_WIDTH
        whole = len(stored) == len(computed) * HASH_SIZE or max(self._tiles, default=0) <= ends
        if whole and b"".join(computed).startswith(stored) and (not self._columns or computed == list(columns)):
            return True
        same = True
        for position, mine in enumerate(computed):
            index, place = first + position, Place("entry", first + position)
            tiled = self._stored_hashes(index, 1)
            agree = tiled in (b"", mine)
            if self._columns and mine != columns[position]:
                if mine == tiled:
                    facts.add("column changed", place, "the leaf_hash column is not the hash of the entry's bytes")
                else:
                    facts.add("entry changed", place, "the entry's bytes do not hash to what was logged")
            elif not agree:
                facts.suspects.append(index)
            facts.damaged |= not agree
            same &= agree
        return same

    def _chain(self, first: int, computed: list[bytes], stored: Sequence[bytes]) -> None:
        self._links(first, computed, stored)
        for size in self._watched:
            if first < size <= first + len(stored):
                self._chains[size] = stored[size - first - 1]
        self.facts.chain = stored[-1]

    def _links(self, first: int, computed: list[bytes], stored: Sequence[bytes]) -> None:
        """Check each link from what is stored before it: one broken link is one problem, not one for every later entry."""
        facts, before = self.facts, self.facts.chain
        previous = ((stored[0] if before is None else before), *stored[:-1])
        links = list(map(chain_hash, previous, computed))
        if links != list(stored):
            for position, link in enumerate(links):
                if link != stored[position] and (position or before is not None):
                    what = "the chain_hash column does not continue the chain of the entries before"
                    facts.add("chain broken", Place("entry", first + position), what)

    # --- What entries say --------------------------------------------------------------------------------------------

    def _entries(
        self,
        first: int,
        entries: Sequence[bytes],
        event_ids: Sequence[bytes | None],
        disclosures: Sequence[DisclosureRow],
    ) -> None:
        facts = self.facts
        said = match_events(entries)
        if None in said:
            said = [each or self._slowly(first + n, entries[n], event_ids[n]) for n, each in enumerate(said)]
        self._order(first, said)
        events = [(first + n, each) for n, each in enumerate(said) if each is not None and each[_ACTION]]
        if events:
            self._event_ids(events, [event_ids[index - first] for index, _ in events])
        self._disclosures(first, said, events, disclosures)
        self._texts += [each[_KEYS] if each is not None and each[_ACTION] else NO_KEYS for each in said]
        facts.checked["events"] += len(events)

    def _slowly(self, index: int, data: bytes, event_id: bytes | None) -> EventFacts | None:
        """Return what `match_event` would, with an empty action for a control entry; None of what is malformed."""
        facts, place = self.facts, Place("entry", index)
        try:
            entry: Entry = parse_entry(data)
        except TlogError as error:
            facts.add("entry malformed", place, str(error))
            facts.damaged = True
            return None
        logged_at = entry.loggedAt.encode()
        if isinstance(entry, EventEntry):
            values = (
                entry.action, entry.commitments.actor, entry.commitments.resource, entry.eventId,
                '","'.join(entry.keys), '","'.join(entry.keys[:2]), entry.keys[2], entry.loggedAt, entry.resourceType,
            )  # fmt: skip
            return EventFacts(*(value.encode() for value in values))
        if event_id is not None:
            facts.add("column changed", place, "a control entry has an event_id")
        if isinstance(entry, IndexEntry):
            facts.epochs.append((index, entry))
        elif index == 0:
            facts.first_entry = entry
        return EventFacts(b"", b"", b"", b"", b"", b"", b"", logged_at, b"")

    def _order(self, first: int, said: Sequence[EventFacts | None]) -> None:
        """Check that the log's clock never goes back."""
        facts = self.facts
        times = [b"" if each is None else each[_LOGGED_AT] for each in said]
        if b"" in times or times != sorted(times) or times[0] < facts.logged_at:
            last = facts.logged_at
            for position, time in enumerate(times):
                if time and time < last:
                    facts.add(
                        "order", Place("entry", first + position), "loggedAt is earlier than that of the entry before"
                    )
                last = time or last
            times = [time for time in times if time]
        if times:
            facts.first_logged_at = facts.first_logged_at or times[0]
            facts.logged_at = times[-1]

    def _event_ids(self, events: Sequence[_Event], columns: Sequence[bytes | None]) -> None:
        joined = bytes.fromhex(b"".join([said[_EVENT_ID] for _, said in events]).replace(b"-", b"").decode())
        if self._columns and joined != b"".join([each or b"" for each in columns]):
            for position, column in enumerate(columns):
                if column != joined[position * _UUID_SIZE : (position + 1) * _UUID_SIZE]:
                    what = "the event_id column is not the eventId in the entry's bytes"
                    self.facts.add("column changed", Place("entry", events[position][0]), what)
        self._ids.append(joined)
        self._indexes += [index for index, _ in events]

    # --- Disclosures -------------------------------------------------------------------------------------------------

    def _disclosures(
        self,
        first: int,
        said: Sequence[EventFacts | None],
        events: Sequence[_Event],
        disclosures: Sequence[DisclosureRow],
    ) -> None:
        """Check the disclosures that are there; those that are not were erased, which is no damage."""
        facts = self.facts
        if not self._columns:
            return
        if [index for index, _ in events] != [row[0] for row in disclosures]:
            rows: dict[int, DisclosureRow] = {}
            for row in disclosures:
                if rows.setdefault(row[0], row) is not row:
                    facts.add("disclosure mismatch", Place("entry", row[0]), "the event has two disclosures")
            for n, each in enumerate(said):
                if each is not None and not each[_ACTION] and first + n in rows:
                    what = "a control entry has a disclosure"
                    facts.add("disclosure mismatch", Place("entry", first + n), what)
            facts.checked["undisclosed"] += sum(index not in rows for index, _ in events)
            events = [event for event in events if event[0] in rows]
            disclosures = [rows[index] for index, _ in events]
        commitments = encode_hashes_base64url(
            commit_all([row[1] for row in disclosures] + [row[2] for row in disclosures])
        )
        logged = [event[_ACTOR] for _, event in events] + [event[_RESOURCE] for _, event in events]
        if "".join(commitments).encode() != b"".join(logged) or any(
            len(row[1]) < SALT_SIZE or len(row[2]) < SALT_SIZE for row in disclosures
        ):
            right = [_is_disclosed(facts, *pair) for pair in zip(events, disclosures, strict=True)]
            events = [event for event, good in zip(events, right, strict=True) if good]
            disclosures = [row for row, good in zip(disclosures, right, strict=True) if good]
        facts.checked["disclosures"] += 2 * len(events)
        if self._bucket_keys is not None:
            self._index_keys(self._bucket_keys, events, disclosures)

    def _index_keys(self, keys: BucketKeys, events: Sequence[_Event], disclosures: Sequence[DisclosureRow]) -> None:
        """Compare the personal index keys of events with those of the actor and the resource they disclose."""
        actor_text, resource_text = keys.actor_text, keys.resource_text
        try:
            resources = [_TOUCHED(row[2][SALT_SIZE:]).resource for row in disclosures]
            # Two keys of 22 characters with '","' between them.
            expected = [
                (
                    f'{actor_text(_WHO(row[1][SALT_SIZE:]).userId)}","{resource_text(what.type, what.id)}'.encode(),
                    what.type.encode(),
                )
                for row, what in zip(disclosures, resources, strict=True)
            ]
        except (msgspec.MsgspecError, UnicodeDecodeError):
            if len(events) > 1:
                for event, row in zip(events, disclosures, strict=True):
                    self._index_keys(keys, [event], [row])
                return
            what = "the disclosure is not that of an actor and a resource"
            self.facts.add("disclosure mismatch", Place("entry", events[0][0]), what)
            return
        if expected != [(said[_PERSONAL_KEYS], said[_RESOURCE_TYPE]) for _, said in events]:
            for (index, said), each in zip(events, expected, strict=True):
                if each != (said[_PERSONAL_KEYS], said[_RESOURCE_TYPE]):
                    what = "the index keys are not those of the event's actor and resource"
                    self.facts.add("index keys wrong", Place("entry", index), what)
        self.facts.checked["index keys"] += 2 * len(events)

    # --- The tree ----------------------------------------------------------------------------------------------------

    def _stored_hashes(self, first: int, count: int) -> bytes:
        """Return the hashes of level 0 tiles for entries from `first` on, as far as they are stored without a gap."""
        parts = []
        while count:
            tile, offset = divmod(first, TILE_WIDTH)
            width = min(TILE_WIDTH - offset, count)
            part = self._tiles.get(tile, b"")[offset * HASH_SIZE : (offset + width) * HASH_SIZE]
            parts.append(part)
            if len(part) < width * HASH_SIZE:
                break
            first, count = first + width, count - width
        return b"".join(parts)

    def _grow(self, first: int, computed: list[bytes], *, same: bool) -> None:
        """Extend the tree that the entries make, and, from where they differ, the one that the level 0 tiles make."""
        at = 0
        while at < len(computed):
            index, offset = divmod(first + at, TILE_WIDTH)
            part = computed[at : at + TILE_WIDTH - offset]
            if not same and self._stored_tile is None:
                self._stored_tile = list(self._tile)
            if self._stored_tile is not None:
                stored = [self._stored_hashes(first + at + n, 1) or mine for n, mine in enumerate(part)]
                self._stored_tile += stored
            self._tile += part
            at += len(part)
            if len(self._tile) == TILE_WIDTH:
                self._fold_tile(index)

    def _fold_tile(self, index: int) -> None:
        self._close_tile(index)
        mine = fold_perfect(self._tile)
        differs = self._stored_tile is not None and self._stored_tile != self._tile
        stored = fold_perfect(self._stored_tile) if self._stored_tile is not None and differs else mine
        if differs and self._stored is None:
            self._stored = Frontier(self._frontier.size, self._frontier.subtrees)
        self._frontier.append_subtree(mine, TILE_WIDTH)
        if self._stored is not None:
            self._stored.append_subtree(stored, TILE_WIDTH)
        self.facts.full_tiles.append(Pair(mine, stored))
        self._tile = []
        self._stored_tile = None
        self._seeded = 0

    def _close_tile(self, index: int) -> None:
        """Compare a tile's width with the stored one's, which may lag while entries are pending; note watched sizes."""
        facts = self.facts
        data = self._tiles.get(index, b"")
        stored = split_hashes(data[: len(data) // HASH_SIZE * HASH_SIZE])
        width, first = len(self._tile), index * TILE_WIDTH
        covered = max(0, min(width, self._sealed - first))
        place = Place.of_tile(Tile(0, index, width))
        if len(data) % HASH_SIZE:
            facts.add("tile changed", place, f"the tile has {len(data)} bytes, which is no multiple of {HASH_SIZE}")
        elif len(stored) < covered:
            what = f"the tile has {len(stored)} hashes, the sealed entries from {first} on need {covered}"
            facts.add("tile missing", place, what)
        elif len(stored) > width:
            facts.add("tile changed", place, f"the tile has {len(stored)} hashes, the entries make only {width}")
        elif list(stored[: self._seeded]) != self._tile[: self._seeded]:
            facts.add("tile changed", place, "the tile's first hashes are not those of the earlier check")
        facts.checked["tiles"] += bool(stored)
        while self._watched and self._watched[0] <= first + width:
            size = self._watched.pop(0)
            if size >= first:
                facts.watched[size] = Watched(self._subtrees(size - first), self._chains.get(size, b""))

    def _subtrees(self, width: int) -> Pair[list[bytes]]:
        """Return the perfect subtrees of the block up to `width` hashes of the tile that is open."""
        frontier = Frontier(self._frontier.size, self._frontier.subtrees)
        frontier.extend(self._tile[:width])
        if self._stored is None and self._stored_tile is None:
            return Pair(frontier.subtrees, frontier.subtrees)
        base = self._stored or self._frontier
        stored = Frontier(base.size, base.subtrees)
        stored.extend((self._stored_tile or self._tile)[:width])
        return Pair(frontier.subtrees, stored.subtrees)


def _is_disclosed(facts: RangeFacts, event: _Event, disclosure: DisclosureRow) -> bool:
    index, said = event
    for group, logged, data in zip(("actor", "resource"), (said[_ACTOR], said[_RESOURCE]), disclosure[1:], strict=True):
        try:
            check_disclosure(parse_base64url(logged, "a commitment", HASH_SIZE), data, group)
        except TlogError as error:
            facts.add("disclosure mismatch", Place("entry", index), str(error))
            return False
    return True


def _consecutive(rows: Sequence[LeafRow]) -> Iterator[Sequence[LeafRow]]:
    """Yield rows in runs of consecutive indexes."""
    if rows and [row[0] for row in rows] == list(range(rows[0][0], rows[0][0] + len(rows))):
        yield rows
        return
    start = 0
    for end in range(1, len(rows) + 1):
        if end == len(rows) or rows[end][0] != rows[end - 1][0] + 1:
            yield rows[start:end]
            start = end
