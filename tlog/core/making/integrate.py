"""Integration: from new leaf hashes to the tiles that change.

Given the right-most tiles of the old tree and the leaf hashes that come after it, `integrate` computes every tile of the new
tree that differs, purely (c2sp.org/tlog-tiles "Merkle Tree"). Full tiles are final; the right-most tile of each level
only ever grows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tlog.core.merkle import HASH_SIZE, fold_perfect
from tlog.core.tile import TILE_HEIGHT, Tile, split_hashes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def integrate(
    size: int, edge: Mapping[tuple[int, int], bytes], leaves: Sequence[bytes], height: int = TILE_HEIGHT
) -> dict[tuple[int, int], bytes]:
    """Return the tiles that change when `leaves` are added to a tree of `size` leaves.

    Args:
        size: the old tree size.
        edge: (level, index) to hashes of at least the partial right-most tiles of the old tree, in the old width.
        leaves: the 32-byte leaf hashes of entries size, size + 1, …
        height: of the tiles.

    Returns:
        (level, index) to the tile's whole content in its new width, 32 bytes a hash.

    Raises:
        ValueError: a partial right-most tile is missing in `edge` or has another width.

    """
    changed: dict[tuple[int, int], bytes] = {}
    full = 1 << height
    level, count, added = 0, size, list(leaves)
    while added:
        index, width = divmod(count, full)
        hashes = _partial(edge, Tile(level, index, width)) + added
        promoted = []
        for start in range(0, len(hashes), full):
            chunk = hashes[start : start + full]
            changed[level, index + start // full] = b"".join(chunk)
            # "A partial tile … MUST NOT be hashed into a tile at the level above."
            if len(chunk) == full:
                promoted.append(fold_perfect(chunk))
        level, count, added = level + 1, index, promoted
    return changed


def _partial(edge: Mapping[tuple[int, int], bytes], tile: Tile) -> list[bytes]:
    """Return the hashes of a partial right-most tile; a tile of width 0 is not stored."""
    data = edge.get((tile.level, tile.index), b"") if tile.width else b""
    if len(data) != tile.width * HASH_SIZE:
        message = f"the old tree has {tile.path()}, but {len(data) // HASH_SIZE} hashes were given"
        raise ValueError(message)
    return list(split_hashes(data))
