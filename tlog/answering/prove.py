"""Proofs from the stored tiles: plan the reads, fetch once, compute, and verify before handing out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tlog.answering.query import decode_entry, groups_of
from tlog.core.checkpoint import peek_checkpoint
from tlog.core.eventfile import EventFile, format_event_file
from tlog.core.proof import plan_consistency, plan_inclusion, prove, verify_consistency, verify_inclusion
from tlog.core.tile import nodes_from_tiles, root_from_tiles, tile_width, tiles_for, tiles_of
from tlog.core.tlogproof import ConsistencyProof, InclusionProof
from tlog.errors import DamagedLogError, NotFoundError, TlogError

if TYPE_CHECKING:
    from tlog.storage.reading import ReadStore
    from tlog.storage.rows import FoundEvent, Leaf, SealedCheckpoint


async def checkpoint_of(store: ReadStore, size: int | None) -> SealedCheckpoint:
    """Return the published checkpoint of `size`, the latest for None.

    Raises:
        NotFoundError: there is none.

    """
    return _published(await (store.latest_checkpoint() if size is None else store.checkpoint(size)), size)


async def sealed_leaf(store: ReadStore, index: int, size: int | None) -> tuple[Leaf, SealedCheckpoint]:
    """Return entry `index` and the published checkpoint of `size`, the latest for None, which covers it.

    Raises:
        NotFoundError: there is no such checkpoint, or it does not cover the entry.

    """
    checkpoint, leaf = await store.sealed_leaf(size, index)
    checkpoint = _published(checkpoint, size)
    if leaf is None:
        message = f"the checkpoint of size {checkpoint.size} has no entry {index}"
        raise NotFoundError(message)
    return leaf, checkpoint


def _published(found: SealedCheckpoint | None, size: int | None) -> SealedCheckpoint:
    if found is None:
        what = "no checkpoint is published yet" if size is None else f"no checkpoint of size {size} was published"
        message = f"{what}; /v1/checkpoints lists those there are"
        raise NotFoundError(message)
    return found


async def prove_inclusion(store: ReadStore, leaf: Leaf, checkpoint: SealedCheckpoint) -> InclusionProof:
    """Return the tlog-proof of a row of the log in `checkpoint`.

    Raises:
        NotFoundError: the entry is still pending in that checkpoint.
        DamagedLogError: the stored tiles do not prove the stored entry; nothing wrong is handed out.

    """
    if leaf.index >= checkpoint.size:
        message = f"entry {leaf.index} is pending: the checkpoint of size {checkpoint.size} does not cover it yet"
        raise NotFoundError(message)
    plan = plan_inclusion(leaf.index, checkpoint.size)
    try:
        tiles = await store.tiles(tiles_for(plan, checkpoint.size))
        hashes = prove(plan, nodes_from_tiles(plan, tiles))
        verify_inclusion(leaf.index, checkpoint.size, leaf.leaf_hash, hashes, checkpoint.root)
    except TlogError as error:
        raise DamagedLogError(_damage(checkpoint, error)) from error
    return InclusionProof(leaf.index, tuple(hashes), checkpoint.served)


async def prove_consistency(store: ReadStore, old_size: int, checkpoint: SealedCheckpoint) -> ConsistencyProof:
    """Return the proof that the tree of `old_size` entries is a prefix of that of `checkpoint`.

    Raises:
        NotFoundError: `old_size` is above the checkpoint's size.
        DamagedLogError: the stored tiles do not prove it; nothing wrong is handed out.

    """
    if old_size > checkpoint.size:
        message = f"the old size {old_size} is above the size {checkpoint.size} of the checkpoint"
        raise NotFoundError(message)
    plan = plan_consistency(old_size, checkpoint.size)
    try:
        # Both trees' right-most tiles, in the newer tree's widths: a tile only grows.
        edge = [tile._replace(width=tile_width(tile.level, tile.index, checkpoint.size)) for tile in tiles_of(old_size)]
        tiles = await store.tiles({*tiles_for(plan, checkpoint.size), *edge})
        hashes = prove(plan, nodes_from_tiles(plan, tiles))
        old_root = root_from_tiles(old_size, tiles)
        verify_consistency(old_size, checkpoint.size, old_root, checkpoint.root, hashes)
    except TlogError as error:
        raise DamagedLogError(_damage(checkpoint, error)) from error
    return ConsistencyProof(old_size, tuple(hashes), checkpoint.served)


def event_file(event: FoundEvent, *, disclose: bool) -> bytes:
    """Return the event file that a verifier reads beside a tlog-proof (docs/reference/formats.md, "Event file").

    Args:
        event: the row and its disclosures.
        disclose: whether to include the personal data. The file claims all of it then; for what is absent it names the outcome
            that explains it, and if none does, verifiers say MISSING.

    """
    if not disclose:
        return format_event_file(EventFile(event.entry, {}))
    disclosures = event.disclosures()
    entry = decode_entry(event.leaf.index, event.entry)
    absent = [group for group in groups_of(entry) if group not in disclosures]
    if event.lost_by is None:
        return format_event_file(EventFile(event.entry, disclosures, missing=tuple(absent)))
    lost = tuple((group, event.lost_by) for group in absent)
    return format_event_file(EventFile(event.entry, disclosures, absent=lost))


def _damage(checkpoint: SealedCheckpoint, error: TlogError) -> str:
    origin = peek_checkpoint(checkpoint.note).origin
    return f"the stored tree of {origin} does not prove this ({error}); run 'tlog fsck'"
