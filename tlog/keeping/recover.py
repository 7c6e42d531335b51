"""Recovery: entries that were signed and that the database lost come back from a mirror of the log.

A database that was restored from a backup lacks entries that the anchor says were signed, and nothing may be signed on top
of it. The missing entries are public: whoever mirrors the log has them. The anchor says which tree they have to lead to, so
the mirror needs no trust:

    mirror's checkpoint: signed by this log, of exactly the anchored size and root
    → one pass over the mirror and the database's rows: every tile and row compared; root and chain hash as anchored
    → nothing was written until here
    → missing rows, some thousands in a transaction, each bundle compared again with what was checked
    → with the last of them an outcome that says what is lost
    → rows read back and checked as before a signature, tiles made, anchored checkpoint published

A crash leaves a shorter gap; the next recovery begins there. Nothing is signed here. Memory is bounded except for 32 bytes
for every 256 missing entries. Left out: recovering a part. Nothing could ever be signed on top of an incomplete log.

How far streams are taken (`tlog.intake`) is a copy of what the log says, and is written from the entries that come back. So
whoever takes from a stream goes on after them.

A mirror has no disclosures: the log says so in an outcome `lost`, in the transaction of the last missing row. So whatever lacks
the outcome lacks a row, and is refused as before. Nor has a mirror API keys, older checkpoints or pending entries; these do not
come back.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import TYPE_CHECKING, Final, NamedTuple

from msgspec import UNSET

from tlog.checking.intake import Intakes
from tlog.core.chain import CHAIN_START, chain_hash, chain_hashes
from tlog.core.checkpoint import open_checkpoint
from tlog.core.entry import EventEntry, IntakeEntry, OtherEntry, parse_entry, parse_logged_at, to_microseconds
from tlog.core.making.integrate import integrate
from tlog.core.making.outcome import draft_outcome
from tlog.core.making.run import make_runs
from tlog.core.merkle import EMPTY_ROOT, HASH_SIZE, Frontier, leaf_hash
from tlog.core.outcome import Lost
from tlog.core.run import Disclosed
from tlog.core.tile import TILE_WIDTH, Tile, tile_width
from tlog.errors import (
    DamagedLogError,
    ForkError,
    MalformedInputError,
    NotCheckedError,
    OperatorError,
    UnsafeDatabaseError,
    VerificationError,
)
from tlog.location import utc_now
from tlog.signing.anchor import Anchored
from tlog.storage.appending import AppendStore, DuplicateEventIdError
from tlog.storage.rows import SealedCheckpoint, State, pack_leaves, pack_runs
from tlog.storage.sealing import SealStore
from tlog.writing.packing import pack
from tlog.writing.receipts import chain_drafts
from tlog.writing.sealer import GrowingTree, check_anchored

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from datetime import datetime

    from tlog.checking.mirror import Mirror
    from tlog.core.entry import Entry
    from tlog.core.note import Verifier
    from tlog.storage.appending import Append
    from tlog.storage.database import Database

_BATCH_ROWS: Final = 16 * TILE_WIDTH
_BATCH_BYTES: Final = 16 << 20
_FULL_TILE: Final = TILE_WIDTH * HASH_SIZE
Row = tuple[int, bytes, bytes, bytes]  # index, entry, leaf hash, chain hash


class Recovered(NamedTuple):
    """What a recovery did, or would do.

    The log had `start` entries and has `size` now; `events` of the new ones are events, all of them without disclosures.
    Entry `said_by`, appended after them, says so; None where nothing was lost.
    """

    start: int
    size: int
    events: int
    said_by: int | None = None


class _Missing(NamedTuple):
    """What the check of a mirror found about the entries that the database lacks."""

    size: int  # of the anchored tree
    digests: list[bytes]  # one for each bundle that is needed: of its leaf hashes
    events: int


async def recover(
    database: Database | None,
    mirror: Mirror,
    read_anchor: Callable[[], Anchored],
    log: Verifier,
    *,
    dry_run: bool = False,
    clock: Callable[[], datetime] = utc_now,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> Recovered:
    """Bring back the entries of the anchored tree that the database lacks.

    Args:
        database: with the schema of this version and the log's state; None, in a dry run, for one that is still to be made.
        mirror: where the entries are.
        read_anchor: reads what was signed last.
        log: the log's public key. Nothing is signed here.
        dry_run: check everything, write nothing.
        clock: the time of the outcome.
        progress: called with (steps done, steps in all).

    Raises:
        NotCheckedError: the mirror is too short or incomplete.
        VerificationError: the mirror is another log's, or holds another tree than was signed.
        MalformedInputError: a file of the mirror does not have its form, or an entry is of a newer version.
        DamagedLogError: the database holds something else than was signed; the message names the first entry.
        ForkError: this log's key signed something that the anchor does not know, or the database's tiles or rows lead to
            another tree than was signed.
        OperatorError: another process works on the log; or what `tlog.writing.sealer.check_anchored` raises.
        OverloadedError: the mirror or the database is away; the same call may be repeated.

    """
    if database is None:
        anchored = await _read_anchor(read_anchor, log)
        missing = await _check(mirror, anchored, log, None, State(0, CHAIN_START, 0), _Steps(progress, anchored.size))
        return Recovered(0, anchored.size, missing.events)
    store = await SealStore.open(database)
    try:
        if not await store.lead():
            message = "another process seals this log; stop 'tlog serve', 'tlog seal' and other recoveries first"
            raise OperatorError(message)
        anchored = await _read_anchor(read_anchor, log)
        state, published = await store.state(), await store.latest_checkpoint()
        check_anchored(anchored, log, published, max(state.size, anchored.size))
        sealed = Anchored(anchored.origin, 0, EMPTY_ROOT, CHAIN_START, b"", 0)
        sealed = sealed if published is None else Anchored(anchored.origin, *published[:5])
        lacking = max(0, anchored.size - state.size)
        steps = _Steps(progress, (anchored.size if lacking else 0) + lacking + anchored.size - sealed.size)
        missing = _Missing(anchored.size, [], 0)
        if lacking:
            missing = await _check(mirror, anchored, log, store, state, steps)
        said_by = None
        if lacking and not dry_run:
            now = to_microseconds(clock())
            writing = AppendStore(database)
            said_by = await _write(writing, mirror, missing, state, steps, sealed=sealed.size, now=now)
        if sealed.size < anchored.size and not dry_run:
            await _publish(store, sealed, anchored, steps)
        return Recovered(state.size, state.size + lacking, missing.events, said_by)
    finally:
        await store.close()


async def _read_anchor(read_anchor: Callable[[], Anchored], log: Verifier) -> Anchored:
    anchored = await asyncio.to_thread(read_anchor)
    check_anchored(anchored, log, None, anchored.size)
    return anchored


class _Steps:
    """Progress over several passes."""

    def __init__(self, progress: Callable[[int, int], None], total: int) -> None:
        self._progress = progress
        self._total = total
        self._done = 0

    def advance(self, steps: int) -> None:
        """Tell that so many more steps are done."""
        self._done += steps
        self._progress(self._done, self._total)


# --- Checking ---------------------------------------------------------------------------------------------------------


async def _check(  # noqa: PLR0917 - what is compared, one by one
    mirror: Mirror, anchored: Anchored, log: Verifier, store: SealStore | None, state: State, steps: _Steps
) -> _Missing:
    """Check the whole mirror and the database's rows against the anchor; return what is missing."""
    await asyncio.to_thread(_check_claims, mirror, anchored, log)
    check = _Check(state)
    for index in range(-(-anchored.size // TILE_WIDTH)):
        width = tile_width(0, index, anchored.size)
        entries = await asyncio.to_thread(mirror.entries, index, width)
        start = index * TILE_WIDTH
        # One row more than there should be: a row after the last one would be in the way.
        end = min(start + width, state.size + 1)
        check.bundle(entries, [] if store is None or start >= end else await store.rows(start, end))
        await asyncio.to_thread(_check_tiles, mirror, check.full_tiles())
        steps.advance(width)
    await asyncio.to_thread(_check_tiles, mirror, check.edge)
    check.judge(anchored)
    return _Missing(anchored.size, check.digests, check.events)


def _check_claims(mirror: Mirror, anchored: Anchored, log: Verifier) -> None:
    """Check what the mirror says of itself: its checkpoint and the file "chain"."""
    try:
        checkpoint = open_checkpoint(mirror.checkpoint(), log)
    except (VerificationError, MalformedInputError) as error:
        message = f"the checkpoint of {mirror.name} is not one of this log: {error}"
        raise type(error)(message) from None
    if checkpoint.size < anchored.size:
        message = (
            f"{mirror.name} has {checkpoint.size} entries, but {anchored.size} were signed. A part is not recovered, because "
            "nothing could be signed on top of it; find a mirror of the newest checkpoint"
        )
        raise NotCheckedError(message)
    if checkpoint.size > anchored.size:
        message = (
            f"{mirror.name} has a checkpoint of {checkpoint.size} entries with this log's signature, the anchor stops at "
            f"{anchored.size}: the anchor was restored from an older copy. Bring back the newest anchor"
        )
        raise ForkError(message)
    if checkpoint.root != anchored.root:
        message = (
            f"{mirror.name} and the anchor have different root hashes of {anchored.size} entries, both with this log's "
            "signature: two histories were signed. Keep both, they are evidence"
        )
        raise ForkError(message)
    if (chain := mirror.chain()) not in (None, (anchored.size, anchored.chain_hash)):
        message = (
            f"{mirror.name}: the file 'chain' says {chain and chain[0]} entries or another chain hash than was anchored; the "
            "mirror is damaged, use another one"
        )
        raise VerificationError(message)


def _check_tiles(mirror: Mirror, tiles: dict[tuple[int, int], bytes]) -> None:
    for (level, index), hashes in tiles.items():
        tile = Tile(level, index, len(hashes) // HASH_SIZE)
        if mirror.tile(*tile) != hashes:
            message = (
                f"{mirror.name}: {tile.path()} is not the tile that its entries lead to; the mirror is damaged, use "
                "another one"
            )
            raise VerificationError(message)


class _Check:
    """One pass over a mirror's entries, each compared with the row that the database still has."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._frontier = Frontier()
        self._chain = CHAIN_START
        self._different: int | None = None
        self._unreadable: tuple[int, str] | None = None
        self.edge: dict[tuple[int, int], bytes] = {}
        self.digests: list[bytes] = []
        self.events = 0

    def bundle(self, entries: Sequence[bytes], rows: Sequence[Row]) -> None:
        """Compare the next entries with the rows that the database has of them."""
        start, have = self._frontier.size, self._state.size
        hashes = [leaf_hash(entry) for entry in entries]
        self.edge |= integrate(start, self.edge, hashes)
        self._frontier.extend(hashes)
        stored = {row[0]: row for row in rows}
        for index, (entry, leaf) in enumerate(zip(entries, hashes, strict=True), start):
            self._chain = chain_hash(self._chain, leaf)
            if stored.get(index) != ((index, entry, leaf, self._chain) if index < have else None):
                self._differs(index)
            if index == have - 1 and self._state.chain_hash != self._chain:
                self._differs(index)
            if index >= have:
                self._missing(index, entry)
        if self._frontier.size > have:
            self.digests.append(_digest(hashes))

    def full_tiles(self) -> dict[tuple[int, int], bytes]:
        """Return the tiles that are full now, and forget them."""
        full = [key for key, hashes in self.edge.items() if len(hashes) == _FULL_TILE]
        return {key: self.edge.pop(key) for key in full}

    def judge(self, anchored: Anchored) -> None:
        """Check that mirror and database are what was anchored; say which of them is wrong.

        Raises:
            VerificationError: the mirror is wrong.
            DamagedLogError: the database is wrong.
            MalformedInputError: both are right, but this version cannot read an entry.

        """
        root = self._frontier.root()
        if (self._frontier.size, root, self._chain) != (anchored.size, anchored.root, anchored.chain_hash):
            where = (
                "" if self._different is None else f"; it first differs from the database at entry {self._different}"
            )
            message = (
                f"the mirror's entries do not lead to the root hash that was signed at size {anchored.size}{where}; use another "
                "mirror"
            )
            raise VerificationError(message)
        if self._different is not None:
            message = (
                f"entry {self._different} in the database is not the one that was signed, which the mirror has. Nothing was "
                "changed. Bring back a copy of the database that verifies, or recover into a new database (--new-database)"
            )
            raise DamagedLogError(message)
        if self._unreadable is not None:
            message = (
                f"entry {self._unreadable[0]} was signed, but this version cannot read it: {self._unreadable[1]}; recover with a "
                "newer version"
            )
            raise MalformedInputError(message)

    def _missing(self, index: int, entry: bytes) -> None:
        # Whether the entry was signed is known at the end.
        try:
            parsed = parse_entry(entry)
        except MalformedInputError as error:
            self._unreadable = self._unreadable or (index, str(error))
            return
        self.events += isinstance(parsed, EventEntry)
        if isinstance(parsed, OtherEntry) and parsed.type == "event":
            # The row of an event has its eventId beside it, by which repeats are found.
            self._unreadable = self._unreadable or (index, "an event of a newer version")

    def _differs(self, index: int) -> None:
        if self._different is None:
            self._different = index


def _digest(hashes: Sequence[bytes]) -> bytes:
    return sha256(b"".join(hashes)).digest()


# --- Writing ----------------------------------------------------------------------------------------------------------


async def _write(
    store: AppendStore, mirror: Mirror, missing: _Missing, state: State, steps: _Steps, *, sealed: int, now: int
) -> int | None:
    """Write the missing rows, and with the last of them what was lost, which lies after the `sealed` entries; return where.

    `state` is the one that was checked.
    """
    first = state.size // TILE_WIDTH
    batch: list[tuple[bytes, bytes]] = []
    try:
        for index, digest in enumerate(missing.digests, first):
            entries = await asyncio.to_thread(mirror.entries, index, tile_width(0, index, missing.size))
            hashes = [leaf_hash(entry) for entry in entries]
            if _digest(hashes) != digest:
                message = (
                    f"{mirror.name} changed while it was read; the rows that were written are right. Recover again"
                )
                raise VerificationError(message)
            batch += list(zip(entries, hashes, strict=True))[max(0, state.size - index * TILE_WIDTH) :]
            last = index == first + len(missing.digests) - 1
            if last or len(batch) >= _BATCH_ROWS or sum(len(entry) for entry, _ in batch) >= _BATCH_BYTES:
                async with _appending(store, state, len(batch)) as append:
                    state = await _write_batch(append, state, batch)
                    said_by = await _say_lost(append, state, sealed, now) if last else None
                steps.advance(len(batch))
                batch = []
        return said_by
    finally:
        await store.close()


@asynccontextmanager
async def _appending(store: AppendStore, state: State, count: int) -> AsyncIterator[Append]:
    """Open a transaction for so many rows that continue `state`, and one more.

    Raises:
        OperatorError: the database is not as it was checked.

    """
    try:
        async with store.transaction(count + 1) as append:
            if append.state != state:
                message = "the database changed during the recovery; stop whatever writes into it, and recover again"
                raise OperatorError(message)
            yield append
    except DuplicateEventIdError:
        message = f"the database holds rows after its {state.size} entries, or their eventIds; run 'tlog fsck'"
        raise UnsafeDatabaseError(message) from None


async def _write_batch(append: Append, state: State, batch: Sequence[tuple[bytes, bytes]]) -> State:
    """Write rows that continue `state`; return the state after them."""
    entries, hashes = [entry for entry, _ in batch], [leaf for _, leaf in batch]
    parsed = [parse_entry(entry) for entry in entries]
    intakes = Intakes()
    for each in parsed:
        if isinstance(each, IntakeEntry):
            deque(intakes.take(each.intake), maxlen=0)  # what was signed is brought back, and `tlog fsck` judges it
    event_ids = [each.eventId if isinstance(each, EventEntry) else None for each in parsed]
    logged_at = [to_microseconds(parse_logged_at(each.loggedAt)) for each in parsed]
    chains = chain_hashes(state.chain_hash, hashes)
    end = State(state.size + len(batch), chains[-1], logged_at[-1])
    runs = pack_runs(make_runs(state.size, entries, logged_at, list(map(_nothing_of, parsed))))
    await append.insert([pack_leaves(state.size, event_ids, hashes, chains)], runs, end)
    await append.rewrite_intakes(intakes.taken())
    return end


def _nothing_of(entry: Entry) -> Disclosed:
    """Return what is disclosed of an entry without anything of it: as many groups as it commits to, all empty."""
    commits = entry.commitments if isinstance(entry, EventEntry | OtherEntry) else UNSET
    related = UNSET if commits is UNSET else commits.related
    return Disclosed(related=(b"",) * (0 if related is UNSET else len(related)))


async def _say_lost(append: Append, state: State, start: int, now: int) -> int | None:
    """Append, after `state`, the outcome that says from where in [start, its size) on disclosures were lost; return its index.

    What was recovered is what has no disclosures, also by an earlier recovery that was broken off.
    """
    first, lost = await append.undisclosed(start, state.size)
    if not lost:
        return None
    draft = draft_outcome(Lost(start=first, end=state.size, n=lost))
    rows = chain_drafts(state, [draft], now)
    await append.insert([rows.leaves], pack([rows]), rows.end)
    return state.size


async def _publish(store: SealStore, sealed: Anchored, anchored: Anchored, steps: _Steps) -> None:
    """Read back the rows after those that are `sealed`, make their tiles, and publish what is anchored.

    The steps are those before a signature, none of which would be wrong to repeat.
    """
    tree = GrowingTree(store)
    await tree.take_up(sealed)
    await tree.extend(anchored.size, steps.advance)
    if (await tree.settle(), tree.chain_hash) != (anchored.root, anchored.chain_hash):
        message = (
            f"the first {anchored.size} entries of the database lead to another root hash or chain hash than was signed; "
            "nothing was published. Run 'tlog fsck'"
        )
        raise ForkError(message)
    policy = await store.witness_policy()
    # Where it waits for witnesses, whoever seals next shows it to them first.
    if policy is None or policy.mode != "required":
        await store.publish(SealedCheckpoint(*anchored[1:6]))
