"""Static export: the sealed log as files in the layout of c2sp.org/tlog-tiles, for any file server and for verify.py.

    <directory>/checkpoint      <directory>/tile/<L>/<N>[.p/<W>]      <directory>/tile/entries/<N>[.p/<W>]
    <directory>/chain           tree size and chain hash, so that receipts can be checked as well

Only what the checkpoint covers is written, and only after it was recomputed from the entries. Tiles come first and the
checkpoint last, so that a directory with a checkpoint is complete; exporting again into it adds what is new.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tlog.core.bundle import format_bundle
from tlog.core.chain import CHAIN_START, chain_hash
from tlog.core.checkpoint import peek_checkpoint
from tlog.core.integrate import integrate
from tlog.core.merkle import HASH_SIZE, Frontier, leaf_hash
from tlog.core.strict import encode_base64
from tlog.core.tile import ENTRIES, TILE_WIDTH, Tile
from tlog.errors import DamagedLogError, MalformedInputError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tlog.storage.log import ReadStore, SealedCheckpoint

_ROWS = 16 * TILE_WIDTH


class ExportReport(NamedTuple):
    """What an export wrote: entries covered, and files written now."""

    entries: int
    files: int


async def export_static(
    reader: ReadStore,
    directory: Path,
    checkpoint: SealedCheckpoint,
    *,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> ExportReport:
    """Write the log up to `checkpoint` into `directory`.

    Args:
        reader: the database.
        directory: a new directory, or one with an older export of the same log.
        checkpoint: a published checkpoint.
        progress: called with (entries done, entries in all).

    Raises:
        MalformedInputError: the directory holds another log, or a newer checkpoint.
        DamagedLogError: the entries do not lead to the signed root hash; no checkpoint is written.

    """
    _check_directory(directory, checkpoint)
    frontier, chain, files = Frontier(), CHAIN_START, 0
    edge: dict[tuple[int, int], bytes] = {}
    for start in range(0, checkpoint.size, _ROWS):
        entries = await reader.entries(start, min(start + _ROWS, checkpoint.size))
        hashes = [leaf_hash(entry) for entry in entries]
        edge |= integrate(start, edge, hashes)
        frontier.extend(hashes)
        for leaf in hashes:
            chain = chain_hash(chain, leaf)
        for offset in range(0, len(entries), TILE_WIDTH):
            bundle = entries[offset : offset + TILE_WIDTH]
            tile = Tile(ENTRIES, (start + offset) // TILE_WIDTH, len(bundle))
            files += _write(directory, tile, format_bundle(bundle))
        for key in [key for key, data in edge.items() if len(data) == TILE_WIDTH * HASH_SIZE]:
            files += _write(directory, Tile(*key), edge.pop(key))
        progress(frontier.size, checkpoint.size)
    if (frontier.size, frontier.root(), chain) != (checkpoint.size, checkpoint.root, checkpoint.chain_hash):
        message = f"the entries do not lead to the root hash signed at size {checkpoint.size}; run 'tlog fsck'"
        raise DamagedLogError(message)
    for (level, index), data in edge.items():
        files += _write(directory, Tile(level, index, len(data) // HASH_SIZE), data)
    _replace(directory / "chain", b"%d\n%b\n" % (checkpoint.size, encode_base64(chain)))
    _replace(directory / "checkpoint", checkpoint.note)
    return ExportReport(checkpoint.size, files + 2)


def _check_directory(directory: Path, checkpoint: SealedCheckpoint) -> None:
    present = directory / "checkpoint"
    if not present.exists():
        directory.mkdir(parents=True, exist_ok=True)
        return
    there, new = peek_checkpoint(present.read_bytes()), peek_checkpoint(checkpoint.note)
    if there.origin != new.origin:
        message = f"{directory} holds an export of another log ({there.origin}); choose an empty directory"
        raise MalformedInputError(message)
    if there.size > new.size:
        message = f"{directory} holds a newer export ({there.size} entries) than this one ({new.size})"
        raise MalformedInputError(message)


def _write(directory: Path, tile: Tile, data: bytes) -> bool:
    """Write a tile unless it is there; tell whether it was written."""
    path = directory / tile.path()
    if path.exists() and path.read_bytes() == data:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    _replace(path, data)
    return True


def _replace(path: Path, data: bytes) -> None:
    partial = path.with_name(path.name + ".new")
    partial.write_bytes(data)
    partial.rename(path)
