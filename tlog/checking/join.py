"""Joining checked ranges, in order, to what only the whole log can show: the tree, signed roots, the index, eventIds.

The tree is followed twice where it has to be: as the entries make it, and as the stored tiles of level 0 do. What the log signed
decides which of the two is genuine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tlog.checking.facts import Before, Pair
from tlog.checking.intake import Intakes
from tlog.checking.ranges import BLOCK
from tlog.checking.report import CheckEnd, Place, Problem, counted
from tlog.core.chain import CHAIN_START
from tlog.core.checkpoint import open_checkpoint
from tlog.core.entry import parse_logged_at, to_microseconds
from tlog.core.merkle import HASH_SIZE, Frontier, fold_perfect, fold_right
from tlog.core.segment import format_table, table_hash
from tlog.core.tile import TILE_WIDTH, Tile, split_hashes
from tlog.errors import TlogError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tlog.checking.absent import Absences, Statement
    from tlog.checking.event_ids import EventIds
    from tlog.checking.facts import RangeFacts
    from tlog.checking.replay import Replay
    from tlog.checking.report import Report
    from tlog.core.entry import IndexEntry
    from tlog.core.making.bucket_keys import BucketKeys
    from tlog.core.note import Verifier
    from tlog.signing.anchor import Anchored
    from tlog.storage.rows import SealedCheckpoint, State

_SHOWN_GAPS: Final = 1_000


class Join:
    """The whole of the ranges given so far.

    Args:
        report: where problems go.
        verifier: the log's public key.
        bucket_keys: what entry 0 has to commit to, if known.
        replay: derives the index again.
        event_ids: finds those that were logged twice.
        absences: judges what is not disclosed; None where nothing is ever disclosed.
        since: where an earlier check ended, whose end the first range continues.

    """

    def __init__(
        self,
        report: Report,
        *,
        verifier: Verifier,
        bucket_keys: BucketKeys | None,
        replay: Replay,
        event_ids: EventIds,
        absences: Absences | None = None,
        since: CheckEnd | None = None,
    ) -> None:
        self._report = report
        self._verifier = verifier
        self._bucket_keys = bucket_keys
        self._replay = replay
        self._event_ids = event_ids
        self._absences = absences
        self._last_event = self._last_present = -1
        self.lost: list[Statement] = []
        self._partial = since is not None
        self._chain: bytes = CHAIN_START
        self._logged_at = b""
        self._damaged = False
        self._suspects: list[int] = []
        self._unknown_entries = self._unknown_ids = 0
        self._gap: range = range(0)
        self._frontier = Frontier()  # of whole blocks
        self._stored: Frontier | None = None
        self._open_block = Pair[list[bytes]]([], [])  # its perfect subtrees
        self._open_tiles: list[list[Pair[bytes]]] = [[]]  # of each level, the hashes of the tile that is not full
        self._counts = [0]  # of each level, how many hashes it has
        self._upper_tiles: dict[tuple[int, int], list[Pair[bytes]]] = {}
        self._root_of: dict[int, Pair[bytes]] = {}  # by tree size
        self._chains: dict[int, bytes] = {}
        self.epochs: dict[int, bytes] = {}
        self.intakes = Intakes(() if since is None else since.taken)
        self.size = 0
        self.stored_leaves = self.stored_entry_runs = self.stored_disclosure_runs = self.stored_tiles = 0
        self.missing: list[int] = []
        if since is not None:
            self._continue(since)

    def _continue(self, since: CheckEnd) -> None:
        subtrees = since.subtrees()
        whole = (since.size // BLOCK).bit_count()
        self._frontier = Frontier(since.size // BLOCK * BLOCK, subtrees[:whole])
        self._open_block = Pair(subtrees[whole:], subtrees[whole:])
        self._chain, self._logged_at = since.chain_hash, since.logged_at.encode()
        self._open_tiles = [[Pair(each, each) for each in split_hashes(hashes)] for hashes in since.edge] or [[]]
        self._counts = [since.size >> 8 * level for level in range(len(self._open_tiles))]
        root = fold_right(subtrees)
        self._root_of[since.size] = Pair(root, root)
        self._report.checked["events"] = since.events
        self.size = since.size

    def before(self) -> Before:
        """Return what the range that begins here has to know."""
        tile = tuple(pair.computed for pair in self._open_tiles[0])
        full = (self.size % BLOCK // TILE_WIDTH).bit_count()
        return Before(self._chain, tile, tuple(self._open_block.computed[:full]))

    def take(self, facts: RangeFacts) -> None:
        """Join the next range."""
        report = self._report
        report.checked.update(facts.checked)
        if self._logged_at and facts.first_logged_at and facts.first_logged_at < self._logged_at:
            report.add("order", Place("entry", facts.start), "loggedAt is earlier than that of the entry before")
        for problem in facts.problems:
            report.add(*problem)
        report.more_problems += facts.more_problems
        self._unknown_entries += facts.unknown_entries
        self._unknown_ids += facts.unknown_ids
        self._suspects += facts.suspects
        self._damaged |= facts.damaged
        self._note_gaps(facts)
        self.stored_leaves += facts.read_leaves
        self.stored_entry_runs += facts.read_entry_runs
        self.stored_disclosure_runs += facts.read_disclosure_runs
        self.stored_tiles += facts.read_tiles
        self._grow(facts)
        self._chain = facts.chain or self._chain
        self._logged_at = facts.logged_at or self._logged_at
        self.size = facts.end
        self._event_ids.add(facts.event_ids, facts.event_indexes)
        self._absent(facts)
        self._taken(facts)
        if facts.start == 0 and facts.end:
            self._first_entry(facts)
        if not self._partial:
            self._replay.take(facts.keys, facts.positions, facts.end - facts.start)
            for index, entry in facts.epochs:
                self._epoch(index, entry)

    def _absent(self, facts: RangeFacts) -> None:
        """Take over what is not disclosed, and the outcomes that may explain it; what is before the range is known here."""
        if self._absences is not None:
            self._absences.add(facts.absent)
        for said in facts.lost:
            last_event = max(said.last_event, self._last_event)
            last_present = max(said.last_present, self._last_present)
            self.lost.append(said._replace(last_event=last_event, last_present=last_present))
        self._last_event = max((self._last_event, *facts.event_indexes[-1:].tolist()))
        self._last_present = max(self._last_present, facts.last_present)

    def _taken(self, facts: RangeFacts) -> None:
        """Check that what is taken of streams has no gap and no overlap."""
        for index, intake in facts.intakes:
            self._report.checked["intakes"] += 1
            for what in self.intakes.take(intake):
                if self._damaged:
                    self._report.leave("intakes after damaged entries")
                else:
                    self._report.add("intake wrong", Place("entry", index), what)

    def _note_gaps(self, facts: RangeFacts) -> None:
        """Report missing rows, a gap that goes on as one."""
        for index in facts.missing:
            if index != self._gap.stop:
                self._report_gap()
                self._gap = range(index, index)
            self._gap = range(self._gap.start, index + 1)
        self.missing += facts.missing[: _SHOWN_GAPS - len(self.missing)]

    def _report_gap(self) -> None:
        if self._gap:
            several = len(self._gap) > 1
            what = "the table has no rows with these indexes" if several else "the table has no row with this index"
            self._report.add("row missing", Place.of_entries(self._gap.start, self._gap.stop), what)

    def _first_entry(self, facts: RangeFacts) -> None:
        if facts.first_entry is None:
            if 0 not in facts.missing:
                self._report.add("index keys wrong", Place("entry", 0), "the entry does not commit to bucket keys")
            return
        if facts.first_entry.origin != self._verifier.name:
            what = "the entry names another log than the public key does. Check that the key is the one of this log"
            self._report.add("index keys wrong", Place("entry", 0), what)
        if self._bucket_keys is not None and (
            (facts.first_entry.bits, facts.first_entry.root_hash())
            != (self._bucket_keys.bits, self._bucket_keys.root())
        ):
            self._report.add(
                "index keys wrong",
                Place("entry", 0),
                "the entry commits to other bucket keys than those given. Check that they are the ones of this log",
            )

    def _epoch(self, index: int, entry: IndexEntry) -> None:
        """Derive the segments of a logged epoch again; a cheating index is one that commits to others."""
        self.epochs[index] = entry.table_hash()
        self._report.checked["epochs"] += 1
        if entry.size > index:
            self._report.add(
                "index wrong", Place("entry", index), "the epoch covers entries that were not logged before it"
            )
        elif table_hash(format_table(self._replay.table(entry.ends))) != entry.table_hash():
            if self._damaged:
                self._report.leave("index epochs after damaged entries")
            else:
                what = f"the epoch of size {entry.size} commits to other segments than the entries make. Trust no answer from it"
                self._report.add("index wrong", Place("entry", index), what)

    # --- The tree ----------------------------------------------------------------------------------------------------

    def _grow(self, facts: RangeFacts) -> None:
        for size, tree in facts.watched.items():
            computed = fold_right(self._frontier.subtrees + tree.subtrees.computed)
            stored = fold_right((self._stored or self._frontier).subtrees + tree.subtrees.stored)
            self._root_of[size], self._chains[size] = Pair(computed, stored), tree.chain
        for pair in facts.full_tiles:
            self._add(1, pair)
        self._open_tiles[0] = facts.open_tile
        self._open_block = facts.subtrees
        if facts.end % BLOCK == 0 and facts.end > facts.start:
            block = facts.subtrees
            if self._stored is None and block.computed != block.stored:
                self._stored = Frontier(self._frontier.size, self._frontier.subtrees)
            self._frontier.append_subtree(block.computed[0], BLOCK)
            if self._stored is not None:
                self._stored.append_subtree(block.stored[0], BLOCK)
            self._open_block = Pair([], [])

    def _add(self, level: int, hashed: Pair[bytes]) -> None:
        """Add to the right-most tile of a level: the hash computed from below, and the one stored tiles lead to."""
        if level == len(self._counts):
            self._open_tiles.append([])
            self._counts.append(0)
        hashes = self._open_tiles[level]
        hashes.append(hashed)
        self._counts[level] += 1
        if len(hashes) == TILE_WIDTH:
            self._upper_tiles[level, self._counts[level] // TILE_WIDTH - 1] = hashes
            self._open_tiles[level] = []
            computed = fold_perfect([pair.computed for pair in hashes])
            same = all(pair.computed == pair.stored for pair in hashes)
            stored = computed if same else fold_perfect([pair.stored for pair in hashes])
            self._add(level + 1, Pair(computed, stored))

    def compare_tiles(self, stored: dict[tuple[int, int], bytes]) -> None:
        """Compare the computed tiles above level 0 with stored ones, which may lag while entries are pending."""
        report = self._report
        for level, hashes in enumerate(self._open_tiles):
            if level and hashes:
                self._upper_tiles[level, self._counts[level] // TILE_WIDTH] = hashes
        for (level, index), hashes in sorted(self._upper_tiles.items()):
            place = Place.of_tile(Tile(level, index, len(hashes)))
            data = stored.pop((level, index), b"")
            if len(data) % HASH_SIZE:
                report.add(
                    "tile changed", place, f"the tile has {len(data)} bytes, which is no multiple of {HASH_SIZE}"
                )
                continue
            found = split_hashes(data)
            covered = max(0, min(len(hashes), (report.sealed >> 8 * level) - index * TILE_WIDTH))
            if len(found) < covered:
                first = index * TILE_WIDTH << 8 * level
                what = f"the tile has {len(found)} hashes, the sealed entries from {first} on need {covered}"
                report.add("tile missing", place, what)
            elif len(found) > len(hashes):
                what = f"the tile has {len(found)} hashes, the entries make only {len(hashes)}"
                report.add("tile changed", place, what)
            else:
                # A hash may follow from either side; which one is genuine the signed roots decide.
                wrong = [i for i, item in enumerate(found) if item not in hashes[i]]
                for i in wrong[:1]:
                    report.add(
                        "tile changed", place, f"hash {i} of the tile is not the one that the tiles below it make"
                    )
            report.checked["tiles"] += bool(found)
        for level, index in stored:  # those that were compared are gone
            report.add("tile changed", Place.of_tile(Tile(level, index)), "the log has no entries for this tile")

    # --- What was signed ---------------------------------------------------------------------------------------------

    def finish(self, state: State | None) -> None:
        """Judge what only the end shows: the state of the log, gaps, eventIds that were logged twice."""
        self._report_gap()
        if state is not None:
            size, have = state.size, self.size
            if have > size:
                self._report.add(
                    "state wrong",
                    Place("log_state"),
                    f"the row says that the log has {size} entries, the table has {have}",
                )
            logged_at = to_microseconds(parse_logged_at(self._logged_at.decode())) if self._logged_at else 0
            if (state.chain_hash, state.last_logged_at) != (self._chain, logged_at):
                what = "the chain hash or the last loggedAt of the row is not that of the last entry"
                self._report.add("state wrong", Place("log_state"), what)
        if self._unknown_entries:
            entries = counted(self._unknown_entries, "entry", "entries")
            self._report.leave(f"{entries} of a type this version does not know")
        if self._unknown_ids:
            what = "with characters that the Unicode tables of this Python lack; a newer Python has them"
            self._report.leave(f"the index keys of {counted(self._unknown_ids, 'id')} {what}")
        if self._absences is not None:
            self._absences.judge(self._report, self.lost)
        for problem in self.twice():
            self._report.add(*problem)

    def twice(self) -> list[Problem]:
        """Return the events that were logged before; all eventIds so far are sorted for that."""
        what = "an earlier entry has the same eventId"
        return [Problem("duplicate id", Place("entry", index), what) for index in self._event_ids.twice()]

    def root_of(self, size: int) -> bytes | None:
        """Return the root hash that the first entries lead to, None for a size that was not watched."""
        return self._root_of[size].computed if size in self._root_of else None

    @property
    def damaged(self) -> bool:
        """Whether entries are missing or not what was logged."""
        return self._damaged

    @property
    def has_suspects(self) -> bool:
        """Whether there are entries that only a signed root can judge."""
        return bool(self._suspects)

    def agrees(self, checkpoints: list[SealedCheckpoint], end: int) -> bool:
        """Tell whether the tree was signed as it is up to `end`; takes the checkpoints up to there off the list."""
        while checkpoints and checkpoints[0].size <= end:
            first = checkpoints.pop(0)
            if first.size not in self._root_of or self._root_of[first.size].computed != first.root:
                return False
        return True

    def stray_tiles(self, indexes: Sequence[int]) -> None:
        """Report tiles of level 0 after the last entry."""
        for index in indexes:
            self._report.add("tile changed", Place.of_tile(Tile(0, index)), "the log has no entries for this tile")

    @property
    def chain(self) -> bytes:
        """The chain hash of the last entry."""
        return self._chain

    def judge_suspects(self, signed: Mapping[int, bytes]) -> None:
        """Entries whose bytes and column agree against the tile: what the log signed decides which side is genuine.

        Args:
            signed: root hashes by the tree size they were signed at.

        """
        for index in self._suspects:
            size = min((size for size in signed if size > index and size in self._root_of), default=None)
            if size is not None and signed[size] == self._root_of[size].computed:
                tile = Tile(0, index // TILE_WIDTH)
                what = f"hash {index % TILE_WIDTH} of the tile is not that of entry {index}, which leads to the signed root hash"
                self._report.add("tile changed", Place.of_tile(tile), what)
            else:
                what = "the entry's bytes and its leaf_hash were changed: they do not lead to the signed root hash"
                self._report.add("entry changed", Place("entry", index), what)

    def checkpoint(self, sealed: SealedCheckpoint) -> None:
        """Check a published checkpoint: its signature, its columns, and the tree it signs."""
        report, place = self._report, Place("checkpoint", sealed.size)
        report.checked["checkpoints"] += 1
        try:
            opened = open_checkpoint(sealed.note, self._verifier)
        except TlogError as error:
            report.add("checkpoint wrong", place, str(error))
            return
        if (opened.size, opened.root) != (sealed.size, sealed.root):
            report.add(
                "checkpoint wrong",
                place,
                "the size or the root hash in the row is not the one that the signed note has",
            )
        self._signed_root(opened.size, opened.root, place)
        if self._chains.get(sealed.size, sealed.chain_hash) != sealed.chain_hash:
            what = f"the chain over the first {sealed.size} entries ends in another hash than when the checkpoint was signed"
            report.add("chain broken", place, what)

    def note(self, note: bytes, place: Place) -> int | None:
        """Check a signed note that is not in the database; return the size it signs, None if it does not open."""
        try:
            opened = open_checkpoint(note, self._verifier)
        except TlogError as error:
            self._report.add("anchor wrong" if place.kind == "anchor" else "checkpoint wrong", place, str(error))
            return None
        if opened.size <= self.size:
            self._signed_root(opened.size, opened.root, place)
        return opened.size

    def _signed_root(self, size: int, root: bytes, place: Place) -> None:
        if size > self.size:
            self._report.add("ROLLBACK", place, f"{size} entries were signed, the database holds only {self.size}")
        elif size and root not in self._root_of.get(size, (root,)):  # below where a partial check began there is none
            self._report.add("root wrong", place, f"the first {size} entries lead to another root hash than was signed")

    def anchor(self, before: Anchored, after: Anchored, newest: SealedCheckpoint | None, size: int) -> None:
        """Check what the anchor held before the snapshot was taken, and after."""
        report = self._report
        if before.size > size:
            what = (
                f"ROLLBACK db={size} anchor={before.size}: the database lost signed entries. Bring back the newest copy of the "
                "database, and what that one lacks with 'tlog recover'"
            )
            report.add("ROLLBACK", Place("anchor"), what)
        if newest is not None and newest.size > after.size:
            report.add(
                "anchor wrong",
                Place("anchor"),
                f"the anchor stops at {after.size} entries, but a checkpoint of {newest.size} is published",
            )
        for anchored in {before, after}:
            if newest is not None and newest.size == anchored.size and newest.note != anchored.note:
                report.add(
                    "anchor wrong",
                    Place("anchor"),
                    f"the anchor holds another checkpoint of {newest.size} entries than the published one",
                )
            elif anchored.note:
                self.note(anchored.note, Place("anchor"))

    def end(self) -> CheckEnd:
        """Return where the check has got to, for a later one to continue."""
        return CheckEnd(
            origin=self._verifier.name,
            size=self.size,
            events=self._report.checked["events"],
            chain_hash=self._chain,
            logged_at=self._logged_at.decode(),
            edge=[b"".join(pair.computed for pair in hashes) for hashes in self._open_tiles],
            taken=self.intakes.taken(),
        )
