"""fsck: check everything the database holds, name what broke, and keep going after the first problem.

Everything is read in one snapshot by sequential scans of the real tables, and recomputed from the entries' bytes: leaf
hashes, chain, tiles of all levels, the root hash at every published checkpoint, commitments, index keys. Where two of
three witnesses of an entry agree (its bytes, its column, its tile) the third one is named.

It uses bounded memory except for one thing: 24 bytes for every event, to notice an eventId that stands twice.

A check can start where an earlier one ended (`Verified`): then it looks at what came since, in seconds on a large log, and
says that it looked at nothing else.
"""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass, field
from hashlib import sha256
from secrets import SystemRandom
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import msgspec
import numpy as np

from tlog.core.chain import CHAIN_START, chain_hash
from tlog.core.checkpoint import open_checkpoint
from tlog.core.commitment import SALT_SIZE, check_disclosure
from tlog.core.entry import Entry, EventEntry, IndexEntry, IndexKeysEntry, parse_entry, parse_logged_at, to_microseconds
from tlog.core.event import Actor, ResourceGroup
from tlog.core.merkle import EMPTY_ROOT, HASH_SIZE, Frontier, fold_perfect, leaf_hash
from tlog.core.posting import SegmentBuilder, from_bytes
from tlog.core.proof import Subtree, verify_inclusion
from tlog.core.segment import POSTING_SIZE, Segment, format_table, parse_table, table_hash
from tlog.core.tile import MAX_LEVEL, TILE_WIDTH, Tile, nodes_from_tiles, split_hashes
from tlog.errors import (
    AnchorMissingError,
    MalformedInputError,
    NotCheckedError,
    TlogError,
    UnsafeDatabaseError,
    VerificationError,
)
from tlog.replay import Replay
from tlog.storage.selfcheck import check_relations

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from tlog.anchor import Anchored
    from tlog.core.note import Verifier
    from tlog.core.pseudonym import BucketKeys
    from tlog.storage.log import Disclosure, Leaf, ReadStore, Scan, SealedCheckpoint, State

Damage = Literal[
    "anchor wrong",
    "chain broken",
    "checkpoint wrong",
    "column changed",
    "disclosure mismatch",
    "duplicate id",
    "entry changed",
    "entry malformed",
    "index drift",
    "index keys wrong",
    "index wrong",
    "order",
    "ROLLBACK",
    "root wrong",
    "row missing",
    "schema",
    "second opinion",
    "state wrong",
    "tile changed",
    "tile missing",
]
_REMEMBERED: Final = 1_000
_SHOWN: Final = 20
_SAMPLE: Final = 100
_ACTOR: Final = msgspec.json.Decoder(Actor)
_RESOURCE: Final = msgspec.json.Decoder(ResourceGroup)


class Problem(NamedTuple):
    """One thing that is wrong: its class, where, and what."""

    damage: Damage
    place: str
    what: str


class Verified(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a check ended that found nothing wrong: what the next one continues.

    `edge` has for each level of tiles the hashes of the right-most one, 32 bytes each.
    """

    origin: str
    size: int
    events: int
    chain_hash: bytes
    logged_at: str
    edge: list[bytes]

    def subtrees(self) -> list[bytes]:
        """Return the perfect subtrees of the tree, largest first."""
        tiles = {(level, (self.size >> 8 * level) // TILE_WIDTH): hashes for level, hashes in enumerate(self.edge)}
        whole = [Subtree(0, self.size)]
        hashes = nodes_from_tiles(whole, tiles)
        return [hashes[node] for node in whole[0].nodes()]


def parse_verified(data: bytes) -> Verified:
    """Return the end of an earlier check from a file of it.

    Raises:
        MalformedInputError: it is not one.

    """
    try:
        return msgspec.json.decode(data, type=Verified)
    except msgspec.MsgspecError:
        message = "this is not the file of an earlier check ('tlog fsck --save FILE')"
        raise MalformedInputError(message) from None


@dataclass
class Report:
    """What was checked and what is wrong; `verified` is there if nothing is."""

    start: int = 0
    verified: Verified | None = None
    size: int = 0
    sealed: int = 0
    checked: Counter[str] = field(default_factory=Counter)
    problems: list[Problem] = field(default_factory=list)
    more_problems: int = 0
    unchecked: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0 verified, 1 something is wrong, 3 something asked for was not checked, or there was nothing to check."""
        if self.problems:
            return 1
        return 3 if self.unchecked or not (self.checked["entries"] or self.start) else 0

    def add(self, damage: Damage, place: str, what: str) -> None:
        """Note a problem; beyond a thousand they are only counted."""
        if len(self.problems) < _REMEMBERED:
            self.problems.append(Problem(damage, place, what))
        else:
            self.more_problems += 1

    def text(self) -> str:
        """Return the report in words."""
        checked = self.checked
        lines = [f"checked what came behind the first {self.start:,} entries"] if self.start else []
        lines += [
            f"checked {checked['entries']:,} of {self.size:,} entries ({self.sealed:,} sealed), {checked['tiles']:,} tiles, "
            f"{checked['checkpoints']:,} checkpoints, {checked['disclosures']:,} disclosures, "
            f"{checked['index keys']:,} index keys, {checked['epochs']:,} index epochs, {checked['segments']:,} stored segments"
        ]
        if checked["second opinions"]:
            lines.append(f"pymerkle agrees on the root hash and {checked['second opinions']:,} inclusion proofs")
        lines += [f"not checked: {what}" for what in self.unchecked]
        lines += [f"{problem.damage}: {problem.place}: {problem.what}" for problem in self.problems[:_SHOWN]]
        hidden = len(self.problems) + self.more_problems - _SHOWN
        if hidden > 0:
            lines.append(f"… and {hidden:,} more problems (--json lists the first {_REMEMBERED:,})")
        verdicts = {0: "verified: everything agrees", 1: "FAILED: the log was damaged", 3: "INCOMPLETE"}
        return "\n".join([*lines, verdicts[self.exit_code]])

    def to_json(self) -> dict[str, Any]:
        """Return the report as a JSON value."""
        return {
            "verdict": {0: "verified", 1: "failed", 3: "incomplete"}[self.exit_code],
            "exitCode": self.exit_code,
            "start": self.start,
            "size": self.size,
            "sealed": self.sealed,
            "checked": dict(self.checked),
            "unchecked": self.unchecked,
            "problems": [problem._asdict() for problem in self.problems],
            "moreProblems": self.more_problems,
        }


async def fsck(
    reader: ReadStore,
    verifier: Verifier,
    bucket_keys: BucketKeys | None,
    read_anchor: Callable[[], Anchored] | None,
    *,
    second_opinion: bool = False,
    since: Verified | None = None,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> Report:
    """Check a log's database, running or not; return what was checked and what is wrong.

    Args:
        reader: the database.
        verifier: the log's public key.
        bucket_keys: to check index keys against disclosures; without them that is reported as not checked.
        read_anchor: reads what was signed last; without it that is reported as not checked.
        second_opinion: recompute the root hash and a sample of inclusion proofs with pymerkle as well.
        since: where an earlier check of this log ended; only what came since is checked, the index not at all.
        progress: called with (entries done, entries in all).

    Raises:
        NotCheckedError: a second opinion is asked for, but pymerkle is not installed.
        MalformedInputError: `since` is of another log, or a second opinion is asked for of a part.
        OverloadedError: the database is away.

    """
    report = Report(start=0 if since is None else since.size)
    if since is not None and (since.origin != verifier.name or second_opinion):
        message = "a check that continues an earlier one is of the same log, and without a second opinion"
        raise MalformedInputError(message)
    opinion = SecondOpinion() if second_opinion else None
    before = _read_anchor(report, read_anchor)
    async with reader.scan(report.start) as scan:
        try:
            await check_relations(scan.connection)
            # The log may be sealing meanwhile: the snapshot lies between what the anchor held before and holds now.
            anchors = [each for each in (before, before and _read_anchor(report, read_anchor)) if each is not None]
            with Replay() as replay:
                check = _Check(
                    report, verifier=verifier, bucket_keys=bucket_keys, opinion=opinion, replay=replay, since=since
                )
                await check.run(scan, anchors, progress)
        except UnsafeDatabaseError as error:
            report.add("schema", "database", str(error))
            report.unchecked.append("what the database refuses to show, or shows from elsewhere")
    return report


def _read_anchor(report: Report, read_anchor: Callable[[], Anchored] | None) -> Anchored | None:
    if read_anchor is None:
        report.unchecked.append("the anchor (none was given)")
        return None
    try:
        return read_anchor()
    except AnchorMissingError as error:
        report.add("anchor wrong", "anchor", str(error))
        return None


class _Check:
    """One pass over a snapshot."""

    def __init__(
        self,
        report: Report,
        *,
        verifier: Verifier,
        bucket_keys: BucketKeys | None,
        opinion: SecondOpinion | None,
        replay: Replay,
        since: Verified | None,
    ) -> None:
        self._report = report
        self._partial = since is not None
        self._replay = replay
        self._damaged = False
        self._epochs: dict[int, bytes] = {}
        self._verifier = verifier
        self._bucket_keys = bucket_keys
        self._opinion = opinion
        self._frontier = Frontier()
        self._chain = CHAIN_START
        self._logged_at = ""
        self._event_ids = _EventIds()
        self._stored: dict[tuple[int, int], bytes] = {}
        self._loaded = (-1, 0)
        self._tiled: Frontier | None = None
        self._suspects: list[int] = []
        self._right_edge: list[list[tuple[bytes, bytes]]] = []
        self._counts: list[int] = []
        self._upper: list[tuple[int, int, list[tuple[bytes, bytes]]]] = []
        self._roots: dict[int, tuple[bytes, bytes]] = {}
        self._chains: dict[int, bytes] = {}
        if since is not None:
            self._continue(since)

    def _continue(self, since: Verified) -> None:
        self._frontier = Frontier(since.size, since.subtrees())
        self._chain, self._logged_at = since.chain_hash, since.logged_at
        self._right_edge = [[(each, each) for each in split_hashes(hashes)] for hashes in since.edge]
        self._counts = [since.size >> 8 * level for level in range(len(since.edge))]
        root = self._frontier.root()
        self._roots[since.size] = root, root
        self._report.checked["events"] = since.events

    async def run(self, scan: Scan, anchors: Sequence[Anchored], progress: Callable[[int, int], None]) -> None:
        """Check a snapshot; `anchors` are what the anchor held before it was taken and after, if there is one."""
        report = self._report
        state = await scan.state()
        report.size = state.size
        checkpoints = [each async for page in scan.checkpoints() for each in page]
        report.sealed = checkpoints[-1].size if checkpoints else report.start
        watched = {each.size for each in checkpoints} | {each.size for each in anchors}
        tiles, disclosures = scan.tiles(), _Disclosures(scan.disclosures())
        async for rows in scan.leaves():
            await self._load_tiles(tiles, rows[-1].index // TILE_WIDTH)
            for row in rows:
                self._row(row, watched, await disclosures.of(row.index))
            progress(self._frontier.size, state.size)
        await self._load_tiles(tiles, None)
        self._finish_rows(state)
        self._finish_tiles()
        if not self._partial:
            await self._stored_index(scan)
        self._judge_suspects(checkpoints)
        for each in checkpoints:
            self._checkpoint(each)
        if anchors:
            self._anchor(anchors[0], anchors[-1], checkpoints[-1] if checkpoints else None, state.size)
        if self._opinion is not None and checkpoints:
            self._compare_opinion(checkpoints[-1].root)
        if not report.problems:
            report.verified = self._verified()
        if self._bucket_keys is None:
            report.unchecked.append("index keys against disclosures (no bucket keys were given)")

    # --- Entries -----------------------------------------------------------------------------------------------------

    def _row(self, row: Leaf, watched: set[int], disclosure: Disclosure | None) -> None:
        report, place = self._report, f"entry {row.index}"
        if row.index != self._frontier.size:
            self._gap(row.index, watched)
            if row.index < self._frontier.size:
                return
        computed = leaf_hash(row.entry)
        tiled = self._tiled_hash(row.index)
        if computed != row.leaf_hash:
            if computed == tiled:
                report.add("column changed", place, "its leaf_hash is not the hash of its bytes")
            else:
                report.add("entry changed", place, "its bytes do not hash to what was logged")
        elif tiled not in (None, computed):
            self._suspects.append(row.index)
        self._damaged |= tiled not in (None, computed)
        chain = chain_hash(self._chain, computed)
        if chain != row.chain_hash:
            report.add("chain broken", place, "its chain_hash does not continue the entries before it")
        # Go on from what is stored: one broken link is one problem, not one for every entry behind it.
        self._chain = row.chain_hash
        self._entry(row, place, disclosure)
        self._take(computed, tiled, row.chain_hash, watched)
        if self._opinion is not None:
            self._opinion.append(row.entry)
        report.checked["entries"] += 1

    def _entry(self, row: Leaf, place: str, disclosure: Disclosure | None) -> None:
        report = self._report
        try:
            entry = parse_entry(row.entry)
        except TlogError as error:
            report.add("entry malformed", place, str(error))
            self._damaged = True
            self._replay.take(None)
            return
        if entry.loggedAt < self._logged_at:
            report.add("order", place, "it is logged earlier than the entry before it")
        self._logged_at = entry.loggedAt
        event_id = entry.eventId if isinstance(entry, EventEntry) else None
        if row.event_id != event_id:
            report.add("column changed", place, "its event_id is not the eventId of its bytes")
        if event_id is not None:
            self._event_ids.add(row.index, event_id)
            report.checked["events"] += 1
        if row.index == 0:
            self._first_entry(entry)
        if not self._partial:
            if isinstance(entry, IndexEntry):
                self._epoch(row.index, entry)
            self._replay.take(entry.keys if isinstance(entry, EventEntry) else None)
        if disclosure is not None:
            self._disclosure(entry, disclosure, place)

    def _first_entry(self, entry: Entry) -> None:
        if not isinstance(entry, IndexKeysEntry):
            self._report.add("index keys wrong", "entry 0", "it does not commit to bucket keys")
        elif self._bucket_keys is not None and (
            (entry.bits, entry.root_hash()) != (self._bucket_keys.bits, self._bucket_keys.root())
        ):
            self._report.add("index keys wrong", "entry 0", "the bucket keys given are not the ones it commits to")

    def _disclosure(self, entry: Entry, disclosure: Disclosure, place: str) -> None:
        report = self._report
        if not isinstance(entry, EventEntry):
            report.add("disclosure mismatch", place, "a control entry has a disclosure")
            return
        for group, data in (("actor", disclosure.actor), ("resource", disclosure.resource)):
            try:
                check_disclosure(entry.commitment(group), data, group)
            except TlogError as error:
                report.add("disclosure mismatch", place, str(error))
                return
            report.checked["disclosures"] += 1
        if self._bucket_keys is not None:
            try:
                actor = _ACTOR.decode(disclosure.actor[SALT_SIZE:])
                resource = _RESOURCE.decode(disclosure.resource[SALT_SIZE:]).resource
            except msgspec.MsgspecError:
                report.add("disclosure mismatch", place, "what it discloses is no actor and resource of an event")
                return
            expected = [
                self._bucket_keys.actor_text(actor.userId).decode(),
                self._bucket_keys.resource_text(resource.type, resource.id).decode(),
            ]
            if entry.keys[:2] != expected or entry.resourceType != resource.type:
                report.add("index keys wrong", place, "its index keys are not those of its actor and resource")
            report.checked["index keys"] += 2

    def _gap(self, index: int, watched: set[int]) -> None:
        missing = range(self._frontier.size, index)
        if not missing:
            self._report.add("order", f"entry {index}", "an index stands twice")
            return
        many = f"entries {missing.start} to {missing.stop - 1}" if len(missing) > 1 else f"entry {missing.start}"
        self._report.add("row missing", many, "no row has this index")
        self._damaged = True
        for lost in missing:
            self._replay.take(None)
            tiled = self._tiled_hash(lost)
            self._take(tiled or bytes(HASH_SIZE), tiled, self._chain, watched)

    def _finish_rows(self, state: State) -> None:
        have, size = self._frontier.size, state.size
        if have < size:
            many = f"entries {have} to {size - 1}" if size - have > 1 else f"entry {have}"
            self._report.add("row missing", many, f"the log's state says there are {size}")
        elif have > size:
            self._report.add("state wrong", "log_state", f"it says {size} entries, there are {have}")
        if (state.chain_hash, state.last_logged_at) != (self._chain, self._last_logged_at()):
            what = "chain hash or last loggedAt is not that of the last entry"
            self._report.add("state wrong", "log_state", what)
        for index in self._event_ids.twice():
            self._report.add("duplicate id", f"entry {index}", "its eventId is logged twice")

    def _verified(self) -> Verified:
        return Verified(
            origin=self._verifier.name,
            size=self._frontier.size,
            events=self._report.checked["events"],
            chain_hash=self._chain,
            logged_at=self._logged_at,
            edge=[b"".join(computed for computed, _ in hashes) for hashes in self._right_edge],
        )

    def _last_logged_at(self) -> int:
        return to_microseconds(parse_logged_at(self._logged_at)) if self._logged_at else 0

    # --- Index -------------------------------------------------------------------------------------------------------

    def _epoch(self, index: int, entry: IndexEntry) -> None:
        """Derive the segments of a logged epoch again; a cheating index is one that commits to others."""
        self._epochs[index] = entry.table_hash()
        self._report.checked["epochs"] += 1
        if entry.size > index:
            self._report.add("index wrong", f"entry {index}", "its epoch covers entries that were not logged yet")
        elif table_hash(format_table(self._replay.table(entry.ends))) != entry.table_hash():
            if self._damaged:
                unchecked = "index epochs behind damaged entries"
                self._report.unchecked += [unchecked] if unchecked not in self._report.unchecked else []
            else:
                what = f"the epoch of size {entry.size} commits to segments that the entries do not lead to"
                self._report.add("index wrong", f"entry {index}", what)

    async def _stored_index(self, scan: Scan) -> None:
        """Compare what is stored of the index with what was logged of it: it answers questions, and can be made again."""
        wanted: dict[int, Segment] = {}
        for epoch in await scan.epochs():
            place = f"epoch {epoch.size}"
            try:
                segments = parse_table(epoch.table)
            except TlogError as error:
                self._drift(place, str(error))
                continue
            logged = self._epochs.get(epoch.entry_index)
            if logged != table_hash(epoch.table) or len(segments) != len(epoch.segment_ids):
                self._drift(place, "its stored table is not the one that was logged")
            wanted |= dict(zip(epoch.segment_ids, segments, strict=False))
        stored = {segment_id: segment async for segment_id, segment in scan.segments() if segment_id in wanted}
        built, digests = await self._stored_pages(scan, wanted)
        async for segment_id, level, index, hashes in scan.index_tiles():
            if segment_id in wanted and digests.pop((segment_id, level, index), None) != sha256(hashes).digest():
                self._drift(f"segment {segment_id}", f"its tile {level}/{index} is not that of its pages")
        for segment_id, level, index in digests:
            self._drift(f"segment {segment_id}", f"its tile {level}/{index} is missing")
        for segment_id, segment in wanted.items():
            self._report.checked["segments"] += 1
            if stored.get(segment_id) != segment:
                self._drift(f"segment {segment_id}", "its row is missing or not what the table says")
            if built.get(segment_id, Segment(segment.start, segment.end, 0, EMPTY_ROOT)) != segment:
                self._drift(f"segment {segment_id}", "its pages do not lead to the root hash in the table")

    async def _stored_pages(
        self, scan: Scan, wanted: Mapping[int, Segment]
    ) -> tuple[dict[int, Segment], dict[tuple[int, int, int], bytes]]:
        """Return what the stored pages of each wanted segment make, and the digests of the tiles over them."""
        builders: dict[int, SegmentBuilder] = {}
        built: dict[int, Segment] = {}
        digests: dict[tuple[int, int, int], bytes] = {}
        async for segment_id, run, first_posting, pages in scan.runs():
            if segment_id not in wanted:
                continue
            if segment_id not in builders:
                builders[segment_id] = SegmentBuilder(*wanted[segment_id][:2])
                following = 0
            if run != following or first_posting != pages[:POSTING_SIZE] or len(pages) % POSTING_SIZE:
                self._drift(f"segment {segment_id}", f"run {run} is not where it belongs")
            following = run + 1
            builder = builders[segment_id]
            for _ in builder.add(from_bytes(pages[: len(pages) // POSTING_SIZE * POSTING_SIZE])):
                pass
            tiles = builder.full_tiles()
            digests |= {(segment_id, *key): sha256(tile).digest() for key, tile in tiles.items()}
        for segment_id, builder in builders.items():
            builder.finish()
            built[segment_id], tiles = builder.tree()
            digests |= {(segment_id, *key): sha256(tile).digest() for key, tile in tiles.items()}
        return built, digests

    def _drift(self, place: str, what: str) -> None:
        self._report.add("index drift", place, f"{what}; 'tlog reindex' makes it again from the entries")

    # --- Tiles -------------------------------------------------------------------------------------------------------

    async def _load_tiles(self, tiles: AsyncIterator[list[tuple[int, int, bytes]]], until: int | None) -> None:
        """Read stored tiles, level 0 first, until tile `until` of level 0 is there; all of them for None."""
        while until is None or (0, until) > self._loaded:
            try:
                page = await anext(tiles)
            except StopAsyncIteration:
                self._loaded = (MAX_LEVEL + 1, 0)
                return
            for level, index, hashes in page:
                self._stored[level, index] = hashes
                self._loaded = level, index

    def _tiled_hash(self, index: int) -> bytes | None:
        tile, offset = divmod(index, TILE_WIDTH)
        hashes = self._stored.get((0, tile), b"")
        return hashes[offset * HASH_SIZE : (offset + 1) * HASH_SIZE] or None

    def _take(self, computed: bytes, tiled: bytes | None, chain: bytes, watched: set[int]) -> None:
        """Extend the tree that the entries make, and, from where they differ, the one that the level 0 tiles make."""
        if self._tiled is None and tiled not in (None, computed):
            self._tiled = Frontier(self._frontier.size, self._frontier.subtrees)
        self._frontier.append(computed)
        if self._tiled is not None:
            self._tiled.append(tiled or computed)
        self._add(0, (computed, tiled or computed))
        size = self._frontier.size
        if size in watched:
            root = self._frontier.root()
            self._roots[size] = root, (root if self._tiled is None else self._tiled.root())
            self._chains[size] = chain

    def _add(self, level: int, item: tuple[bytes, bytes]) -> None:
        """Add to the right-most tile of a level: the hash computed from below, and the one stored tiles lead to."""
        if level == len(self._counts):
            self._right_edge.append([])
            self._counts.append(0)
        hashes = self._right_edge[level]
        hashes.append(item)
        self._counts[level] += 1
        if len(hashes) == TILE_WIDTH:
            self._finish_tile(level, self._counts[level] // TILE_WIDTH - 1, hashes)
            self._right_edge[level] = []
            computed = fold_perfect([each for each, _ in hashes])
            same = all(each == stored for each, stored in hashes)
            self._add(level + 1, (computed, computed if same else fold_perfect([stored for _, stored in hashes])))

    def _finish_tile(self, level: int, index: int, hashes: list[tuple[bytes, bytes]]) -> None:
        if level == 0:
            self._compare(level, index, hashes)
        else:
            self._upper.append((level, index, hashes))  # one hash for 256 entries; stored ones are read last

    def _compare(self, level: int, index: int, hashes: list[tuple[bytes, bytes]]) -> None:
        """Compare a computed tile with the stored one, which may lag behind it while entries are pending."""
        stored = split_hashes(self._stored.pop((level, index), b""))
        place = Tile(level, index, len(hashes)).path()
        report = self._report
        first = index * TILE_WIDTH << 8 * level
        covered = max(0, min(len(hashes), (report.sealed >> 8 * level) - index * TILE_WIDTH))
        if len(stored) < covered:
            what = f"the sealed entries from {first} need {covered} hashes, {len(stored)} are stored"
            report.add("tile missing", place, what)
        elif len(stored) > len(hashes):
            report.add("tile changed", place, f"it has {len(stored)} hashes, there are entries for {len(hashes)}")
        else:
            # At level 0 both are the same or the entry is judged; above, a hash may follow from either side.
            wrong = [i for i, item in enumerate(stored) if item not in hashes[i]]
            for i in wrong[:1]:
                report.add("tile changed", place, f"its hash {i} is not that of the tiles below it")
        report.checked["tiles"] += bool(stored)

    def _judge_suspects(self, checkpoints: list[SealedCheckpoint]) -> None:
        """Entries whose bytes and column agree against the tile: what the log signed decides which side is genuine."""
        signed = {each.size: each.root for each in checkpoints}
        for index in self._suspects:
            size = min((size for size in signed if size > index and size in self._roots), default=None)
            if size is not None and signed[size] == self._roots[size][0]:
                tile = Tile(0, index // TILE_WIDTH)
                what = f"its hash {index % TILE_WIDTH} is not that of entry {index}, which leads to the signed root"
                self._report.add("tile changed", tile.path(), what)
            else:
                what = "its bytes and leaf_hash were both changed: they do not lead to the signed root"
                self._report.add("entry changed", f"entry {index}", what)

    def _finish_tiles(self) -> None:
        for level, hashes in enumerate(self._right_edge):
            if hashes:
                self._finish_tile(level, self._counts[level] // TILE_WIDTH, hashes)
        for level, index, hashes in self._upper:
            self._compare(level, index, hashes)
        for level, index in self._stored:  # those that were compared are gone
            self._report.add("tile changed", Tile(level, index).path(), "there are no entries for it")

    # --- Checkpoints and anchor --------------------------------------------------------------------------------------

    def _checkpoint(self, sealed: SealedCheckpoint) -> None:
        report, place = self._report, f"checkpoint {sealed.size}"
        report.checked["checkpoints"] += 1
        try:
            opened = open_checkpoint(sealed.note, self._verifier)
        except TlogError as error:
            report.add("checkpoint wrong", place, str(error))
            return
        if (opened.size, opened.root) != (sealed.size, sealed.root):
            report.add("checkpoint wrong", place, "its columns are not what its note says")
        self._signed_root(opened.size, opened.root, place)
        if self._chains.get(sealed.size, sealed.chain_hash) != sealed.chain_hash:
            report.add("chain broken", place, "the chain over its entries ends in another hash than when it was signed")

    def _signed_root(self, size: int, root: bytes, place: str) -> None:
        if size > self._frontier.size:
            self._report.add("ROLLBACK", place, f"{size} entries were signed, the database holds {self._frontier.size}")
        elif size and root not in self._roots.get(size, (root,)):  # below where a partial check began there is none
            self._report.add("root wrong", place, f"the first {size} entries lead to another root hash than was signed")

    def _anchor(self, before: Anchored, after: Anchored, newest: SealedCheckpoint | None, size: int) -> None:
        report = self._report
        if before.size > size:
            what = f"ROLLBACK db={size} anchor={before.size}: signed entries are gone"
            report.add("ROLLBACK", "anchor", what)
        if newest is not None and newest.size > after.size:
            report.add(
                "anchor wrong", "anchor", f"it stops at {after.size}, a checkpoint of {newest.size} is published"
            )
        for anchored in {before, after}:
            if newest is not None and newest.size == anchored.size and newest.note != anchored.note:
                report.add("anchor wrong", "anchor", f"it holds another checkpoint of {newest.size} than is published")
            elif anchored.note:
                self._anchored_note(anchored.note)

    def _anchored_note(self, note: bytes) -> None:
        try:
            opened = open_checkpoint(note, self._verifier)
        except TlogError as error:
            self._report.add("anchor wrong", "anchor", str(error))
            return
        if opened.size <= self._frontier.size:
            self._signed_root(opened.size, opened.root, "anchor")

    def _compare_opinion(self, signed_root: bytes) -> None:
        assert self._opinion is not None  # noqa: S101 - for the type checker
        try:
            self._report.checked["second opinions"] = self._opinion.compare(self._report.sealed, signed_root)
        except TlogError as error:
            self._report.add("second opinion", f"tree size {self._report.sealed}", str(error))


class _EventIds:
    """The eventIds of a log, to find those that stand twice without trusting the database's unique index."""

    def __init__(self) -> None:
        self._identifiers = bytearray()
        self._indexes = array("Q")

    def add(self, index: int, event_id: str) -> None:
        """Take the eventId of an entry."""
        self._identifiers += bytes.fromhex(event_id.replace("-", ""))
        self._indexes.append(index)

    def twice(self) -> list[int]:
        """Return the entries whose eventId is that of an earlier one, rising."""
        halves = np.frombuffer(self._identifiers, ">u8").reshape(-1, 2).astype(np.uint64)
        order = np.lexsort((halves[:, 1], halves[:, 0]))
        again = np.all(halves[order[1:]] == halves[order[:-1]], axis=1)
        indexes = np.frombuffer(self._indexes, np.uint64)
        return sorted(int(index) for index in indexes[order[1:][again]])


class _Disclosures:
    """Disclosures by index, read alongside the entries."""

    def __init__(self, pages: AsyncIterator[list[Disclosure]]) -> None:
        self._pages = pages
        self._waiting: list[Disclosure] = []

    async def of(self, index: int) -> Disclosure | None:
        """Return the disclosure of entry `index`; asked for in rising order."""
        while True:
            while self._waiting:
                if self._waiting[-1].index > index:
                    return None
                found = self._waiting.pop()
                if found.index == index:
                    return found
            try:
                self._waiting = (await anext(self._pages))[::-1]
            except StopAsyncIteration:
                return None


class SecondOpinion:
    """The tree recomputed by pymerkle 7, code that is not ours (docs/adr/0004-second-opinion.md)."""

    def __init__(self) -> None:
        """Make an empty tree.

        Raises:
            NotCheckedError: pymerkle is not installed.

        """
        try:
            from pymerkle import InmemoryTree  # noqa: PLC0415 - optional, GPL, only loaded when asked for
        except ImportError:
            message = "a second opinion needs pymerkle: pip install 'tlog-audit[second-opinion]'"
            raise NotCheckedError(message) from None
        self._tree = InmemoryTree(algorithm="sha256")

    def append(self, entry: bytes) -> None:
        """Add an entry."""
        self._tree.append_entry(entry)

    def compare(self, size: int, root: bytes) -> int:
        """Compare the root hash and a sample of inclusion proofs; return how many proofs agreed.

        Each proof is checked twice: pymerkle's by its own verifier, and its hashes by ours.

        Raises:
            VerificationError: the opinions differ.

        """
        import pymerkle  # noqa: PLC0415 - see __init__

        if self._tree.get_size() < size or self._tree.get_root(size) != root:
            message = "pymerkle computes another root hash from the entries than the log signed"
            raise VerificationError(message)
        sample = {0, size - 1, *SystemRandom().sample(range(size), min(size, _SAMPLE))}
        for index in sample:
            # pymerkle counts from one, and its path begins with the leaf itself.
            proof, leaf = self._tree.prove_inclusion(index + 1, size), self._tree.get_leaf(index + 1)
            try:
                pymerkle.verify_inclusion(leaf, root, proof)
            except pymerkle.InvalidProof:
                message = f"pymerkle rejects its own inclusion proof of entry {index} against the log's root hash"
                raise VerificationError(message) from None
            verify_inclusion(index, size, leaf, proof.path[1:], root)
        return len(sample)
