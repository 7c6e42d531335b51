"""Checking a range of consecutive entries by itself: what of a full check can be done anywhere, in any order.

Whole ranges are compared at once; only where a comparison fails is looked at entry by entry, to name what is wrong. What a
range cannot know (the tree before it, the index, other ranges' eventIds) it returns as small facts to who joins the ranges.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Final

import numpy as np
from msgspec import UNSET

from tlog.checking.absent import Statement
from tlog.checking.disclosed import DisclosureCheck
from tlog.checking.facts import ACTION, EVENT_ID, KEYS, LOGGED_AT, Pair, RangeFacts, Watched
from tlog.checking.report import Place
from tlog.core.chain import CHAIN_START, chain_hash, chain_hashes
from tlog.core.entry import EventEntry, IndexEntry, IntakeEntry, OtherEntry, OutcomeEntry, is_unknown, parse_entry
from tlog.core.making.matching import BETWEEN, EventFacts, match_events
from tlog.core.making.posting import KEYS_END, NO_KEYS, READ_AT_ONCE, decode_keys
from tlog.core.merkle import HASH_SIZE, Frontier, fold_perfect, leaf_hashes
from tlog.core.outcome import Lost
from tlog.core.tile import TILE_WIDTH, Tile, split_hashes
from tlog.errors import TlogError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tlog.checking.facts import Before, Said
    from tlog.checking.runs import EntryRow, Opened
    from tlog.core.entry import Entry
    from tlog.core.making.bucket_keys import BucketKeys

BLOCK: Final = READ_AT_ONCE
_UUID_SIZE: Final = 16
_NO_FACTS: Final = EventFacts(b"", b"", None, b"", b"", b"", b"", b"", b"", None, b"", None)


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
        self._disclosures = DisclosureCheck(self.facts, bucket_keys)
        self._columns = columns
        self._frontier = Frontier(start % BLOCK - len(before.tile), before.subtrees)
        self._stored: Frontier | None = None
        self._tile = list(before.tile)
        self._seeded = len(before.tile)
        self._stored_tile: list[bytes] | None = None
        self._chains: dict[int, bytes] = {}
        self._unread: dict[int, bytes] = {}  # chain hashes of rows whose entries cannot be read
        self._texts: list[bytes] = []
        self._ids: list[bytes] = []
        self._indexes: list[int] = []

    # --- Rows --------------------------------------------------------------------------------------------------------

    def take(self, opened: Opened) -> None:
        """Check the next rows, by index, and what is disclosed of them."""
        facts = self.facts
        facts.read_leaves += len(opened.rows) + len(opened.chains)
        self._unread |= opened.chains
        for run in _consecutive(opened.rows):
            if run[0][0] < facts.end:
                facts.add("order", Place("entry", run[0][0]), "two rows have the same index")
                continue
            self.skip(run[0][0])
            self._run(run, opened)
            facts.end += len(run)

    def skip(self, index: int) -> None:
        """Note that the rows up to `index` are missing, or their entries are; tiles stand in for them in the tree."""
        facts = self.facts
        if index == facts.end:
            return
        facts.damaged = True
        for lost in range(facts.end, index):
            if lost in self._unread:
                facts.chain = self._unread.pop(lost)  # which is named where runs are opened
            else:
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
        self._disclosures.finish()
        facts.subtrees = self._subtrees(len(self._tile))
        facts.keys, facts.positions = decode_keys(b"".join(self._texts))
        self._distinct()
        facts.event_ids = b"".join(self._ids)
        facts.event_indexes = np.array(self._indexes, np.uint64)
        return facts

    def _distinct(self) -> None:
        """Check that the keys of an entry differ in their first 8 bytes (`parse_entry` does; the quick way does not)."""
        keys, positions = self.facts.keys, self.facts.positions
        alike: set[int] = set()
        # Each key with the next one, then with the one after that, as long as any entry has so many.
        for distance in range(1, len(keys)):
            together = positions[distance:] == positions[:-distance]
            if not together.any():
                break
            together &= keys[distance:] == keys[:-distance]
            alike.update(positions[distance:][together].tolist())
        for position in sorted(alike):
            what = "two index keys of the entry have the same first 8 bytes"
            self.facts.add("entry malformed", Place("entry", self.facts.start + position), what)

    def _run(self, rows: Sequence[EntryRow], opened: Opened) -> None:
        """Check rows without a gap."""
        first = rows[0][0]
        _, event_ids, entries, leaves, chain = zip(*rows, strict=True)
        computed = leaf_hashes(entries)
        same = self._leaf_hashes(first, computed, leaves)
        if self._columns:
            self._chain(first, computed, chain)
        else:
            self.facts.chain = chain_hashes(self.facts.chain or CHAIN_START, computed)[-1]
        self._entries(first, entries, event_ids, opened)
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
        opened: Opened,
    ) -> None:
        facts = self.facts
        said = match_events(entries)
        if None in said:
            said = [each or self._slowly(first + n, entries[n], event_ids[n]) for n, each in enumerate(said)]
        self._order(first, said)
        events = [(first + n, each) for n, each in enumerate(said) if each is not None and each[ACTION]]
        if events:
            self._event_ids(events, [event_ids[index - first] for index, _ in events])
        if self._columns:
            self._disclosures.take(first, said, opened)
            self._note_events(first)
        self._texts += [each[KEYS] + KEYS_END if each is not None and each[KEYS] else NO_KEYS for each in said]
        facts.checked["events"] += len(events)

    def _note_events(self, first: int) -> None:
        """Note for the outcomes from entry `first` on which event is the last one before each."""
        for number, said in enumerate(self.facts.lost):
            if said.own >= first:
                before = self._indexes[: bisect_left(self._indexes, said.own)]
                self.facts.lost[number] = said._replace(last_event=max((-1, *before[-1:])))

    def _slowly(self, index: int, data: bytes, event_id: bytes | None) -> EventFacts | None:
        """Return what `match_event` would, with an empty action for a control entry; None of what is malformed."""
        facts, place = self.facts, Place("entry", index)
        try:
            entry: Entry = parse_entry(data)
        except TlogError as error:
            facts.add("entry malformed", place, str(error))
            facts.damaged = True
            return None
        if isinstance(entry, EventEntry):
            return _facts(entry)
        if event_id is not None and (not isinstance(entry, OtherEntry) or entry.type != "event"):
            facts.add("column changed", place, "a control entry has an event_id")
        if isinstance(entry, OtherEntry):
            facts.unknown_entries += is_unknown(entry)
            if isinstance(entry, OutcomeEntry) and isinstance(entry.report, Lost):
                facts.lost.append(Statement(index, entry.loggedAt, entry.report, -1, -1))
            if isinstance(entry, IntakeEntry):
                facts.intakes.append((index, entry.intake))
        elif isinstance(entry, IndexEntry):
            facts.epochs.append((index, entry))
        elif index == 0:
            facts.first_entry = entry
        return _facts(entry)

    def _order(self, first: int, said: Sequence[EventFacts | None]) -> None:
        """Check that the log's clock never goes back."""
        facts = self.facts
        times = [b"" if each is None else each[LOGGED_AT] for each in said]
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

    def _event_ids(self, events: Sequence[Said], columns: Sequence[bytes | None]) -> None:
        joined = bytes.fromhex(b"".join([said[EVENT_ID] for _, said in events]).replace(b"-", b"").decode())
        if self._columns and joined != b"".join([each or b"" for each in columns]):
            for position, column in enumerate(columns):
                if column != joined[position * _UUID_SIZE : (position + 1) * _UUID_SIZE]:
                    what = "the event_id column is not the eventId in the entry's bytes"
                    self.facts.add("column changed", Place("entry", events[position][0]), what)
        self._ids.append(joined)
        self._indexes += [index for index, _ in events]

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
        elif list(stored[: self._seeded]) != self._tile[: min(self._seeded, len(stored))]:
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


def _facts(entry: Entry) -> EventFacts:
    """Return the facts of an entry that was parsed, as far as they are looked at here; a control entry has no action."""
    facts = _NO_FACTS._replace(logged_at=entry.loggedAt.encode())
    if isinstance(entry, EventEntry | OtherEntry):
        keys = [key.encode() for key in entry.keys]
        more = b"".join([BETWEEN + key for key in keys[3:]])
        facts = facts._replace(keys=BETWEEN.join(keys), more_keys=more)
        if entry.commitments is not UNSET:
            groups = entry.commitments
            facts = facts._replace(
                actor=b"" if groups.actor is UNSET else groups.actor.encode(),
                related=None if groups.related is UNSET else BETWEEN.join([each.encode() for each in groups.related]),
                resource=b"" if groups.resource is UNSET else groups.resource.encode(),
            )
    if isinstance(entry, EventEntry):
        facts = facts._replace(
            action=entry.action.encode(),
            event_id=entry.eventId.encode(),
            resource_type=entry.resourceType.encode(),
        )
    return facts


def _consecutive(rows: Sequence[EntryRow]) -> Iterator[Sequence[EntryRow]]:
    """Yield rows in runs of consecutive indexes."""
    if rows and [row[0] for row in rows] == list(range(rows[0][0], rows[0][0] + len(rows))):
        yield rows
        return
    start = 0
    for end in range(1, len(rows) + 1):
        if end == len(rows) or rows[end][0] != rows[end - 1][0] + 1:
            yield rows[start:end]
            start = end
