"""The sealer: the one dangerous order of operations.

    rows committed → read back → leaf, chain and order checked → tiles written, read back → root by two code paths
    → the signer (`tlog.signing.signer`): consistency proof checked, clock later than last, signed, anchored on disk
    → opened with the verifier's code → witnessed, if the log has witnesses (`tlog.signing.witnesses`) → published

A crash between any two steps loses nothing and signs nothing twice: tiles beyond the last checkpoint are the same tiles
when they are computed again, and a checkpoint that was anchored but not published is published at the next start by
`recover`, before anything is signed. Any doubt raises an `OperatorError`, which ends the process: a log that stops can be
mended, a log that forked cannot. `GrowingTree` is the part before the signature, which a recovery from a mirror needs too.

What is visible need not be on a standby yet: whoever ends the backend of an append that waits for one makes it visible
(`pg_terminate_backend`). Nothing of that is signed, because tiles are written after the entries were read: that commit waits
for a standby, and a standby that has it has the entries before it. On another server than was signed on, nothing is signed
before an entry says that the log goes on there (`tlog.writing.failover`).

With witnesses, what is signed is *held* until their quorum has cosigned it, and nothing new is signed while something is held. So
at most one checkpoint is ever held, and checkpoints are published in the order in which they were signed. After a start the last
signed checkpoint is held again, though it be published: what the database remembers of witnesses may be as old as the rest of it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from tlog.core.chain import CHAIN_START, chain_hash, chain_hashes
from tlog.core.entry import parse_logged_at, to_microseconds
from tlog.core.making.drafts import logged_at_text
from tlog.core.making.integrate import integrate
from tlog.core.merkle import HASH_SIZE, Frontier, leaf_hash, leaf_hashes
from tlog.core.proof import Subtree, plan_consistency, prove
from tlog.core.tile import TILE_WIDTH, nodes_from_tiles, root_from_tiles, tiles_for, tiles_of
from tlog.errors import (
    DamagedLogError,
    ForkError,
    MalformedInputError,
    OperatorError,
    RollbackError,
    TlogError,
)
from tlog.signing.signer import MAX_GROWTH, Proposal, check_note
from tlog.signing.witnesses import SignedHead
from tlog.storage.cosignatures import StoredCosignature, WitnessPolicy
from tlog.storage.rows import Primary, SealedCheckpoint
from tlog.writing.failover import is_named, is_same, refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tlog.core.note import Verifier
    from tlog.signing.anchor import Anchored
    from tlog.signing.signer import Signing
    from tlog.signing.witnesses import Witnesses
    from tlog.storage.sealing import SealStore

_ROWS: Final = 8_192
_FULL_TILE: Final = TILE_WIDTH * HASH_SIZE
_MAY_SAY: Final = b'"kind":"failover"'
_PATIENCE: Final = 10.0
_NO_POLICY: Final = WitnessPolicy("none", "")
_log: Final = structlog.get_logger()


class GrowingTree:
    """The tree over all entries that were read back and checked, and how it grows: what comes before a signature.

    Rows are committed before they are read; full tiles are written as they come up, partial ones by `settle` only.
    """

    def __init__(self, store: SealStore, *, taken_in: Callable[[int, Sequence[bytes]], None] = lambda *_: None) -> None:
        """Prepare; `take_up` comes first.

        Args:
            store: where rows are read back, and tiles are written and read back.
            taken_in: told of entries that were read back and checked: index of the first, and their bytes.

        """
        self._store = store
        self._taken_in = taken_in
        self._frontier = Frontier()
        self._edge: dict[tuple[int, int], bytes] = {}  # the partial right-most tiles
        self._logged_at = b""
        self.chain_hash = CHAIN_START

    @property
    def size(self) -> int:
        """How many entries it covers."""
        return self._frontier.size

    async def take_up(self, signed: Anchored) -> None:
        """Begin with the tree that was signed last.

        Raises:
            ForkError: the database holds another tree of that size.

        """
        edge = await self.check_signed(signed)
        last = await self._store.leaf(signed.size - 1) if signed.size else None
        entry = await self._store.entry(signed.size - 1) if signed.size else b""
        if signed.size and (last is None or entry is None or last.chain_hash != signed.chain_hash):
            message = f"entry {signed.size - 1} is missing or has another chain hash than was signed; run 'tlog fsck'"
            raise ForkError(message)
        whole = [Subtree(0, signed.size)]
        hashes = nodes_from_tiles(whole, edge)
        self._frontier = Frontier(signed.size, [hashes[node] for node in whole[0].nodes()])
        self._edge = edge
        self._logged_at = logged_at_text(entry) if entry else b""
        self.chain_hash = signed.chain_hash

    async def extend(self, end: int, progress: Callable[[int], None] = lambda _: None) -> None:
        """Read back the rows up to `end`, check them, and extend the tree; tiles that are full now are written.

        Args:
            end: index after the last row.
            progress: called with the number of rows of each step.

        Raises:
            DamagedLogError: a row is not what it must be; the message names its index.

        """
        while self.size < end:
            start, stop = self.size, min(end, self.size + _ROWS)
            rows = await self._store.rows(start, stop)
            hashes, chain, logged_at = check_rows(rows, start, stop, self.chain_hash, self._logged_at)
            changed = integrate(start, self._edge, hashes)
            await self._store.write_tiles({key: tile for key, tile in changed.items() if len(tile) == _FULL_TILE})
            self._edge = {key: tile for key, tile in (self._edge | changed).items() if len(tile) < _FULL_TILE}
            self._frontier.extend(hashes)
            self.chain_hash, self._logged_at = chain, logged_at
            self._taken_in(start, [row[1] for row in rows])
            progress(stop - start)

    async def settle(self) -> bytes:
        """Write the partial tiles; return the root hash, to which both the entries and the tiles in the database lead.

        Raises:
            ForkError: the tiles lead to another one.

        """
        root = self._frontier.root()
        await self._store.write_tiles(self._edge)
        await self._check_tiles(self.size, root, "the entries")
        return root

    async def check_signed(self, signed: Anchored) -> dict[tuple[int, int], bytes]:
        """Return the tiles in the database from which the root hash of the signed tree follows.

        Raises:
            ForkError: another root hash follows from them, or they are not all there.

        """
        return await self._check_tiles(signed.size, signed.root, "was signed")

    def last_logged(self) -> int:
        """Return when the last entry was logged, in microseconds since 1970.

        Raises:
            DamagedLogError: the entry does not say.

        """
        try:
            return to_microseconds(parse_logged_at(self._logged_at.decode()))
        except (MalformedInputError, UnicodeDecodeError) as error:
            raise DamagedLogError(_damage(self.size - 1, "has no loggedAt")) from error

    async def _check_tiles(self, size: int, root: bytes, source: str) -> dict[tuple[int, int], bytes]:
        edge = await self._store.tiles(tiles_of(size))
        try:
            stored = root_from_tiles(size, edge)
        except MalformedInputError as error:
            message = f"the tiles of size {size} are incomplete: {error}; run 'tlog fsck'"
            raise ForkError(message) from error
        if stored != root:
            message = f"the tiles of size {size} lead to another root hash than {source}; run 'tlog fsck'"
            raise ForkError(message)
        return edge


class Sealer:
    """Seals one log. One instance leads; `recover` comes first, then `seal` again and again."""

    def __init__(
        self,
        store: SealStore,
        signer: Signing,
        *,
        taken_in: Callable[[int, Sequence[bytes]], None] = lambda *_: None,
        patience: float = _PATIENCE,
        witnesses: Witnesses | None = None,
        may_change_policy: bool = False,
    ) -> None:
        """Prepare.

        Args:
            store: where entries are read back, and tiles and checkpoints go.
            signer: signs, and knows what was signed last.
            taken_in: told of entries that were read back and checked: index of the first, and their bytes.
            patience: seconds to wait, on another server than was signed on, for an entry that says that the log goes on there.
            witnesses: who has to cosign what is published; None if nobody has to.
            may_change_policy: whether the policy may differ from the one under which checkpoints were published.

        """
        self._witnesses = witnesses
        self._may_change_policy = may_change_policy
        self._held: Anchored | None = None
        self._confirmed = False  # whether a quorum has cosigned anything since the start
        self._store = store
        self._signer = signer
        self._taken_in = taken_in
        self._patience = patience
        self._tree = GrowingTree(store, taken_in=self._take)
        self._last: Anchored | None = None
        self._primary = Primary("", 0, 0)
        self._succeeded = False  # whether an entry to be sealed says that the log goes on on this server
        self._late_at: float | None = None
        self.clock_lags = False  # so that nothing was signed the last time

    async def recover(self) -> None:
        """Take up where the anchor says signing stopped, and publish its checkpoint if that was not done.

        Raises:
            AnchorMissingError: there is no readable anchor.
            RollbackError: the database holds less than was signed.
            ForkError: database, anchor and tree contradict each other at the signed size.
            OperatorError: checkpoints are published under another policy than this sealer was given.

        """
        # In this order: what is published was anchored before, and what is anchored was appended before.
        published = await self._store.latest_checkpoint()
        anchored = await asyncio.to_thread(self._signer.read)
        check_anchored(anchored, self._signer.verifier, published, (await self._store.state()).size)
        await self._agree_on_policy(anchored.size)
        await self._tree.take_up(anchored)
        self._last = anchored
        if self._witnesses is not None:
            self._held = anchored if anchored.note else None
        elif anchored.note and (published is None or published.size < anchored.size):
            await self._publish(anchored)
            _log.info("anchored_published", size=anchored.size)

    async def _agree_on_policy(self, size: int) -> None:
        """Check that checkpoints are published under this sealer's policy; begin with it if there was none.

        Raises:
            OperatorError: they are published under another one, and nobody has said that it may change.

        """
        witnessing = None if self._witnesses is None else self._witnesses.witnessing
        own = _NO_POLICY if witnessing is None else WitnessPolicy(witnessing.mode, witnessing.text)
        there = await self._store.witness_policy() or _NO_POLICY
        if own == there:
            return
        if there != _NO_POLICY and not self._may_change_policy:
            message = (
                "this log's checkpoints are published under another policy than this process was given; give it that policy with "
                "--policy, or say --policy-changed if the policy is to change"
            )
            raise OperatorError(message)
        await self._store.change_witness_policy(size, own)
        _log.info("policy_changed", mode=own.mode, size=size)

    async def seal(self) -> SealedCheckpoint | None:
        """Seal everything that is committed, or the first ten million of it; return the new checkpoint, None if nothing was new.

        While a signed checkpoint lacks its quorum, that one is tried again, and nothing new is signed.

        Raises:
            OverloadedError: the database is away, and nothing was signed; or the signer is, and `recover` will tell.
            OperatorError: something is wrong that only the operator can settle; nothing may be signed any more.

        """
        await self.take_in()
        assert self._last is not None  # noqa: S101 - `recover` comes first
        if self._held is not None:
            return await self._release(self._held)
        if self._tree.size > self._last.size and self._may_sign(self._last):
            return await self._sign(self._last)
        await self.tend()
        return None

    @property
    def holds(self) -> bool:
        """Whether a signed checkpoint waits for its quorum."""
        return self._held is not None

    async def tend(self) -> None:
        """Show what is published to witnesses who have not cosigned it yet, and store what they said meanwhile; do not wait.

        Raises:
            OverloadedError: the database is away.
            RollbackError: a witness has a checkpoint of this log that contradicts what was signed; see `gather`.
            ForkError: likewise.

        """
        if self._witnesses is not None and self._held is None and self._last is not None and self._last.note:
            self._witnesses.tend(self._head(self._last))
            await self._store.add_cosignatures(self._taken())

    def _may_sign(self, last: Anchored) -> bool:
        """Tell whether what was read back may be signed on this server already.

        Raises:
            FailoverError: it may not, and nobody has said so in time.

        """
        if self._is_known() or self._succeeded:
            return True
        now = asyncio.get_running_loop().time()
        self._late_at = self._late_at or now + self._patience
        if now < self._late_at:
            return False
        raise refusal(last, self._primary)

    def _is_known(self) -> bool:
        return self._last is None or is_same(self._last, self._primary)

    def _take(self, start: int, entries: Sequence[bytes]) -> None:
        if not self._is_known():
            self._succeeded = self._succeeded or is_named(
                self._primary, (entry for entry in entries if _MAY_SAY in entry)
            )
        self._taken_in(start, entries)

    async def take_in(self) -> None:
        """Read back and check what is to be sealed next, and extend the tree: the first step of `seal`.

        That is everything that is committed, but no more than a signer signs at once.

        Raises:
            OverloadedError: the database is away.
            OperatorError: something is wrong that only the operator can settle; nothing may be signed any more.

        """
        self._primary = await self._store.primary()
        state = await self._store.state()
        if state.size < self._tree.size:
            message = f"ROLLBACK: the database went back to {state.size} entries, {self._tree.size} were sealed"
            raise RollbackError(message)
        signed = 0 if self._last is None else self._last.size
        await self._tree.extend(min(state.size, signed + MAX_GROWTH))
        if self._tree.size == state.size and self._tree.chain_hash != state.chain_hash:
            message = f"the chain over the entries below {state.size} does not lead to the log's state; run 'tlog fsck'"
            raise DamagedLogError(message)

    async def _sign(self, last: Anchored) -> SealedCheckpoint | None:
        await self._tree.check_signed(last)
        size, root, chain = self._tree.size, await self._tree.settle(), self._tree.chain_hash
        proof = await self._prove_consistency(last.size, size)
        proposal = Proposal(last.origin, last.size, size, root, chain, self._tree.last_logged(), proof, *self._primary)
        anchored = await asyncio.to_thread(self._signer.sign, proposal)
        self.clock_lags = anchored is None
        if anchored is None:
            return None
        check_note(anchored, self._signer.verifier)
        if anchored[:4] != (last.origin, size, root, chain) or not anchored.note:
            message = (
                "the signer returned a checkpoint of another tree than proposed; nothing was published. Run 'tlog fsck' and "
                "check who else can reach the signer"
            )
            raise ForkError(message)
        self._last, self._succeeded, self._late_at = anchored, False, None
        if self._witnesses is None:
            return await self._publish(anchored)
        self._held = anchored
        return await self._release(anchored)

    async def _release(self, held: Anchored) -> SealedCheckpoint | None:
        """Publish what is held if enough witnesses have cosigned it; None if they have not yet.

        Raises:
            RollbackError: a witness has a checkpoint of this log that contradicts what was signed; see `Witnesses.gather`.
            ForkError: likewise.

        """
        assert self._witnesses is not None  # noqa: S101 - nothing is held without them
        waits = self._witnesses.witnessing.mode == "required" or not self._confirmed
        if waits and not await self._witnesses.gather(self._head(held), confirming=not self._confirmed):
            return None
        sealed = await self._publish(held, self._taken())
        self._held, self._confirmed = None, True
        await self.tend()
        return sealed

    def _head(self, anchored: Anchored) -> SignedHead:
        async def prove_from(old: int) -> list[bytes]:
            return await self._prove_consistency(old, anchored.size)

        async def root_at(size: int) -> bytes:
            return root_from_tiles(size, await self._store.tiles(tiles_of(size)))

        async def moved() -> bool:
            return (await asyncio.to_thread(self._signer.read)).note != anchored.note

        return SignedHead(anchored.note, anchored.size, anchored.root, prove_from, root_at, moved)

    def _taken(self) -> list[StoredCosignature]:
        """Return what witnesses said and is not stored yet."""
        assert self._witnesses is not None  # noqa: S101 - who calls has looked
        now = to_microseconds(self._witnesses.clock())
        return [StoredCosignature(size, *cosignature, now) for size, cosignature in self._witnesses.take()]

    async def _prove_consistency(self, last_size: int, size: int) -> list[bytes]:
        plan = plan_consistency(last_size, size)
        tiles = await self._store.tiles(tiles_for(plan, size))
        try:
            return prove(plan, nodes_from_tiles(plan, tiles))
        except TlogError as error:
            message = (
                f"the tiles of size {size} do not prove that it continues size {last_size}: {error}; run 'tlog fsck'"
            )
            raise ForkError(message) from error

    async def _publish(self, anchored: Anchored, cosignatures: Sequence[StoredCosignature] = ()) -> SealedCheckpoint:
        sealed = SealedCheckpoint(anchored.size, anchored.root, anchored.chain_hash, anchored.note, anchored.sealed_at)
        await self._store.publish(sealed, cosignatures)
        return sealed


def check_anchored(anchored: Anchored, log: Verifier, published: SealedCheckpoint | None, size: int) -> None:
    """Check that the database holds all that was signed, and no other checkpoint than the anchor knows.

    Args:
        anchored: what the anchor holds.
        log: the log's public key.
        published: the largest checkpoint in the database.
        size: the number of entries in the database.

    Raises:
        RollbackError: the database holds fewer entries than were signed.
        ForkError: database and anchor contradict each other, or the database has a checkpoint that the anchor lacks.

    """
    check_note(anchored, log)
    if size < anchored.size:
        message = (
            f"ROLLBACK db={size} anchor={anchored.size}: the database holds {size} entries, but a checkpoint of "
            f"{anchored.size} was signed. The database was restored from an older copy, or lost. Bring back the newest copy of "
            "the database, or what this one lacks from a mirror of the log with 'tlog recover'; never continue from the older "
            "one: verifiers would see two histories"
        )
        raise RollbackError(message)
    if published is None:
        return
    if published.size > anchored.size:
        message = (
            f"the database has a checkpoint of {published.size} entries, the anchor stops at {anchored.size}: the anchor "
            "was restored from an older copy. Bring back the newest anchor"
        )
        raise ForkError(message)
    there = published.note, published.chain_hash, published.sealed_at
    if published.size == anchored.size and there != (anchored.note, anchored.chain_hash, anchored.sealed_at):
        message = f"database and anchor hold different checkpoints of size {anchored.size}; run 'tlog fsck'"
        raise ForkError(message)


def check_rows(
    rows: Sequence[tuple[int, bytes, bytes, bytes]], start: int, end: int, chain: bytes, logged_at: bytes
) -> tuple[list[bytes], bytes, bytes]:
    """Check rows that were read back: complete, in order, hashed right, chained right, their times never falling.

    Args:
        rows: (index, entry, leaf hash, chain hash) of [start, end).
        start: index of the first.
        end: index after the last.
        chain: 32-byte chain hash before `start`.
        logged_at: loggedAt of entry start - 1, empty for none.

    Returns:
        The leaf hashes, and chain hash and loggedAt of the last row.

    Raises:
        DamagedLogError: naming the first index that is wrong.

    """
    indexes, entries, leaves, chain_of = zip(*rows, strict=True) if rows else ((), (), (), ())
    hashes, times = leaf_hashes(entries), list(map(logged_at_text, entries))
    if (
        indexes == tuple(range(start, end))
        and hashes == list(leaves)
        and chain_hashes(chain, hashes) == list(chain_of)
        and times == sorted((logged_at, *times))[1:]
    ):
        return hashes, chain_of[-1] if rows else chain, times[-1] if rows else logged_at
    return _check_slowly(rows, start, end, chain, logged_at)


def _check_slowly(
    rows: Sequence[tuple[int, bytes, bytes, bytes]], start: int, end: int, chain: bytes, logged_at: bytes
) -> tuple[list[bytes], bytes, bytes]:
    """Do what `check_rows` does, row by row, and name the first row that is wrong."""
    hashes = []
    for expected, (index, entry, stored_hash, stored_chain) in enumerate(rows, start):
        if index != expected:
            raise DamagedLogError(_damage(expected, "is missing"))
        leaf = leaf_hash(entry)
        if leaf != stored_hash:
            raise DamagedLogError(_damage(index, "does not hash to its leaf hash"))
        chain = chain_hash(chain, leaf)
        if chain != stored_chain:
            raise DamagedLogError(_damage(index, "does not continue the chain"))
        now = logged_at_text(entry)
        if now < logged_at:
            raise DamagedLogError(_damage(index, "is logged earlier than the entry before"))
        logged_at = now
        hashes.append(leaf)
    if len(rows) != end - start:
        raise DamagedLogError(_damage(start + len(rows), "is missing"))
    return hashes, chain, logged_at


def _damage(index: int, what: str) -> str:
    return f"entry {index} {what}; nothing is signed on top of it. Run 'tlog fsck' to see what else is damaged"
