"""fsck: check everything the database holds, name what broke, and keep going after the first problem.

Everything is read in one snapshot by sequential scans of the real tables, and recomputed from the entries' bytes: leaf
hashes, chain, tiles of all levels, the root hash at every published checkpoint, commitments, index keys. Where two of
three witnesses of an entry agree (its bytes, its column, its tile) the third one is named.

It uses bounded memory except for one thing: 16 bytes for every eventId, to notice one that stands twice.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from secrets import SystemRandom
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import msgspec

from tlog.core.chain import CHAIN_START, chain_hash
from tlog.core.checkpoint import open_checkpoint
from tlog.core.commitment import SALT_SIZE, check_disclosure
from tlog.core.entry import Entry, EventEntry, IndexKeysEntry, parse_entry, parse_logged_at, to_microseconds
from tlog.core.event import Actor, ResourceGroup
from tlog.core.merkle import HASH_SIZE, Frontier, fold_perfect, leaf_hash
from tlog.core.proof import verify_inclusion
from tlog.core.tile import MAX_LEVEL, TILE_WIDTH, Tile, split_hashes
from tlog.errors import AnchorMissingError, NotCheckedError, TlogError, UnsafeDatabaseError, VerificationError
from tlog.storage.database import check_relations

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from tlog.anchor import Anchored
    from tlog.core.note import Verifier
    from tlog.core.pseudonym import BucketKeys
    from tlog.storage.log import Disclosure, Leaf, ReadStore, Scan, SealedCheckpoint

Damage = Literal[
    "anchor wrong",
    "chain broken",
    "checkpoint wrong",
    "column changed",
    "disclosure mismatch",
    "duplicate id",
    "entry changed",
    "entry malformed",
    "index keys wrong",
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


@dataclass
class Report:
    """What was checked and what is wrong."""

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
        return 3 if self.unchecked or not self.checked["entries"] else 0

    def add(self, damage: Damage, place: str, what: str) -> None:
        """Note a problem; beyond a thousand they are only counted."""
        if len(self.problems) < _REMEMBERED:
            self.problems.append(Problem(damage, place, what))
        else:
            self.more_problems += 1

    def text(self) -> str:
        """Return the report in words."""
        checked = self.checked
        lines = [
            f"checked {checked['entries']:,} of {self.size:,} entries ({self.sealed:,} sealed), {checked['tiles']:,} tiles, "
            f"{checked['checkpoints']:,} checkpoints, {checked['disclosures']:,} disclosures, "
            f"{checked['index keys']:,} index keys"
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
    progress: Callable[[int, int], None] = lambda *_: None,
) -> Report:
    """Check a log's database, running or not; return what was checked and what is wrong.

    Args:
        reader: the database.
        verifier: the log's public key.
        bucket_keys: to check index keys against disclosures; without them that is reported as not checked.
        read_anchor: reads what was signed last; without it that is reported as not checked.
        second_opinion: recompute the root hash and a sample of inclusion proofs with pymerkle as well.
        progress: called with (entries done, entries in all).

    Raises:
        NotCheckedError: a second opinion is asked for, but pymerkle is not installed.
        OverloadedError: the database is away.

    """
    report = Report()
    opinion = SecondOpinion() if second_opinion else None
    before = _read_anchor(report, read_anchor)
    async with reader.scan() as scan:
        try:
            await check_relations(scan.connection)
            # The log may be sealing meanwhile: the snapshot lies between what the anchor held before and holds now.
            anchors = [each for each in (before, before and _read_anchor(report, read_anchor)) if each is not None]
            await _Check(report, verifier, bucket_keys, opinion).run(scan, anchors, progress)
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
        self, report: Report, verifier: Verifier, bucket_keys: BucketKeys | None, opinion: SecondOpinion | None
    ) -> None:
        self._report = report
        self._verifier = verifier
        self._bucket_keys = bucket_keys
        self._opinion = opinion
        self._frontier = Frontier()
        self._chain = CHAIN_START
        self._logged_at = ""
        self._event_ids: set[bytes] = set()
        self._stored: dict[tuple[int, int], bytes] = {}
        self._loaded = (-1, 0)
        self._tiled: Frontier | None = None
        self._suspects: list[int] = []
        self._right_edge: list[list[tuple[bytes, bytes]]] = []
        self._counts: list[int] = []
        self._upper: list[tuple[int, int, list[tuple[bytes, bytes]]]] = []
        self._roots: dict[int, tuple[bytes, bytes]] = {}
        self._chains: dict[int, bytes] = {}

    async def run(self, scan: Scan, anchors: Sequence[Anchored], progress: Callable[[int, int], None]) -> None:
        """Check a snapshot; `anchors` are what the anchor held before it was taken and after, if there is one."""
        report = self._report
        state = await scan.state()
        report.size = state.size
        checkpoints = [each async for page in scan.checkpoints() for each in page]
        report.sealed = checkpoints[-1].size if checkpoints else 0
        watched = {each.size for each in checkpoints} | {each.size for each in anchors}
        tiles, disclosures = scan.tiles(), _Disclosures(scan.disclosures())
        async for rows in scan.leaves():
            await self._load_tiles(tiles, rows[-1].index // TILE_WIDTH)
            for row in rows:
                self._row(row, watched, await disclosures.of(row.index))
            progress(self._frontier.size, state.size)
        await self._load_tiles(tiles, None)
        self._finish_rows(state.size)
        if (state.chain_hash, state.last_logged_at) != (self._chain, self._last_logged_at()):
            report.add("state wrong", "log_state", "chain hash or last loggedAt is not that of the last entry")
        self._finish_tiles()
        self._judge_suspects(checkpoints)
        for each in checkpoints:
            self._checkpoint(each)
        if anchors:
            self._anchor(anchors[0], anchors[-1], checkpoints[-1] if checkpoints else None, state.size)
        if self._opinion is not None and checkpoints:
            self._compare_opinion(checkpoints[-1].root)
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
            return
        if entry.loggedAt < self._logged_at:
            report.add("order", place, "it is logged earlier than the entry before it")
        self._logged_at = entry.loggedAt
        event_id = entry.eventId if isinstance(entry, EventEntry) else None
        if row.event_id != event_id:
            report.add("column changed", place, "its event_id is not the eventId of its bytes")
        if event_id is not None:
            identifier = bytes.fromhex(event_id.replace("-", ""))
            if identifier in self._event_ids:
                report.add("duplicate id", place, "its eventId is logged twice")
            self._event_ids.add(identifier)
        if row.index == 0:
            self._first_entry(entry)
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
            expected = [self._bucket_keys.actor(actor.userId), self._bucket_keys.resource(resource.type, resource.id)]
            if entry.index_keys()[:2] != expected or entry.resourceType != resource.type:
                report.add("index keys wrong", place, "its index keys are not those of its actor and resource")
            report.checked["index keys"] += 2

    def _gap(self, index: int, watched: set[int]) -> None:
        missing = range(self._frontier.size, index)
        if not missing:
            self._report.add("order", f"entry {index}", "an index stands twice")
            return
        many = f"entries {missing.start} to {missing.stop - 1}" if len(missing) > 1 else f"entry {missing.start}"
        self._report.add("row missing", many, "no row has this index")
        for lost in missing:
            tiled = self._tiled_hash(lost)
            self._take(tiled or bytes(HASH_SIZE), tiled, self._chain, watched)

    def _finish_rows(self, size: int) -> None:
        have = self._frontier.size
        if have < size:
            many = f"entries {have} to {size - 1}" if size - have > 1 else f"entry {have}"
            self._report.add("row missing", many, f"the log's state says there are {size}")
        elif have > size:
            self._report.add("state wrong", "log_state", f"it says {size} entries, there are {have}")

    def _last_logged_at(self) -> int:
        return to_microseconds(parse_logged_at(self._logged_at)) if self._logged_at else 0

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
        elif size and root not in self._roots[size]:
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
