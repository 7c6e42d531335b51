"""Tiles: the coordinates and paths of C2SP tlog-tiles, and where a tree's nodes lie in them.

Implements c2sp.org/tlog-tiles "Merkle Tree" and "Partial Tiles". A tile is `width` consecutive hashes of one level;
level L holds the roots of subtrees of 256**L leaves. Level ENTRIES (-1) stands for entry bundles, whose paths have the
same form. Left out: pruning. Published tiles have height 8; where a tree is only kept and never published, the same
functions take another height.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from tlog.core.merkle import HASH_SIZE, fold_perfect, fold_right
from tlog.core.proof import Node, Subtree
from tlog.errors import MalformedInputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

TILE_HEIGHT: Final = 8
TILE_WIDTH: Final = 256
ENTRIES: Final = -1
MAX_LEVEL: Final = 63
MAX_INDEX: Final = (1 << 55) - 1
_REMEMBERED: Final = 8_192  # folds of 1 KB on average, which is what a log of 17 million entries has
_WIDE: Final = 16  # hashes

# c2sp.org/tlog-tiles "Merkle Tree"; the widest index, 2**55 - 1, has six elements:
#   path  = "tile/" level "/" index [".p/" width]
#   level = "entries" / "0" / number up to 99
#   index = *5("x" 3DIGIT "/") 3DIGIT
#   width = number up to 999    ; numbers begin with no 0, `parse_tile_path` knows their bounds
_TILE_PATH: Final = re.compile(
    r"tile/(?P<level>entries|0|[1-9][0-9]?)/(?P<index>(?:x[0-9]{3}/){0,5}[0-9]{3})(?:\.p/(?P<width>[1-9][0-9]{0,2}))?"
)


class Tile(NamedTuple):
    """One tile: `width` hashes (or entries) from position index * 256 of its level."""

    level: int
    index: int  # type: ignore[assignment]  # hides tuple.index, which means nothing here
    width: int = TILE_WIDTH

    def path(self) -> str:
        """Return the path below the log's prefix, for example "tile/0/x001/234.p/7" (c2sp.org/tlog-tiles)."""
        digits = f"{self.index:03d}"
        digits = digits.zfill(-(-len(digits) // 3) * 3)
        elements = [digits[start : start + 3] for start in range(0, len(digits), 3)]
        name = "/".join([*(f"x{element}" for element in elements[:-1]), elements[-1]])
        level = "entries" if self.level == ENTRIES else str(self.level)
        partial = "" if self.width == TILE_WIDTH else f".p/{self.width}"
        return f"tile/{level}/{name}{partial}"


def parse_tile_path(path: str) -> Tile:
    """Return the tile that `path` (without leading slash) names.

    Raises:
        MalformedInputError: the path is not exactly the one `Tile.path` gives.

    """
    match = _TILE_PATH.fullmatch(path)
    if match is not None:
        level = ENTRIES if match["level"] == "entries" else int(match["level"])
        index = int(match["index"].replace("x", "").replace("/", ""))
        tile = Tile(level, index, int(match["width"] or TILE_WIDTH))
        # Formatting again refuses leading "x000" elements and the width 256 written as partial.
        if level <= MAX_LEVEL and index <= MAX_INDEX and tile.width <= TILE_WIDTH and tile.path() == path:
            return tile
    message = "this is not a tile path: tile/<level 0..63 or entries>/<index in x001/234 form>[.p/<width 1..255>]"
    raise MalformedInputError(message)


def tile_width(level: int, index: int, size: int, height: int = TILE_HEIGHT) -> int:
    """Return how many hashes tile `index` of `level` has in a tree of `size` leaves, 0 if it does not exist.

    c2sp.org/tlog-tiles: "The partial tile at level l for a tree of size s has floor(s / 256**l) mod 256 entries".
    """
    count = size >> (height * max(level, 0))
    return max(0, min(1 << height, count - (index << height)))


def tiles_of(size: int, height: int = TILE_HEIGHT) -> list[Tile]:
    """Return the right-most tile of every level in a tree of `size` leaves, from level 0 upwards, no empty ones."""
    edge = []
    level = 0
    while (count := size >> (height * level)) > 0:
        index = (count - 1) >> height
        edge.append(Tile(level, index, tile_width(level, index, size, height)))
        level += 1
    return edge


def tile_of(node: Node, height: int = TILE_HEIGHT) -> tuple[Tile, int, int]:
    """Return the narrowest tile that holds `node`, and the range [start, end) of its hashes whose root the node is."""
    level, above = divmod(node.level, height)
    index, start = divmod(node.index << above, 1 << height)
    end = start + (1 << above)
    return Tile(level, index, end), start, end


def tiles_for(plan: Iterable[Subtree], size: int, height: int = TILE_HEIGHT) -> list[Tile]:
    """Return the tiles, in the widths they have in a tree of `size` leaves, from which the nodes of `plan` follow."""
    wanted = {tile_of(node, height)[0][:2] for subtree in plan for node in subtree.nodes()}
    return [Tile(level, index, tile_width(level, index, size, height)) for level, index in sorted(wanted)]


def nodes_from_tiles(
    plan: Iterable[Subtree], tiles: Mapping[tuple[int, int], bytes], height: int = TILE_HEIGHT
) -> dict[Node, bytes]:
    """Return the hashes of all nodes of `plan`.

    Args:
        plan: subtrees as `tlog.core.proof` plans them.
        tiles: (level, index) to the tile's hashes (32 bytes each, concatenated), wide enough.
        height: of the tiles.

    Raises:
        MalformedInputError: a tile is missing or too short.

    """
    hashes = {}
    for subtree in plan:
        for node in subtree.nodes():
            tile, start, end = tile_of(node, height)
            data = tiles.get((tile.level, tile.index), b"")
            if len(data) < end * HASH_SIZE:
                message = f"{tile.path()} is missing or too short"
                raise MalformedInputError(message)
            # Wide folds above the lowest level are few, and on the way of every proof. Others are many, or take no time.
            fold = _remembered_fold if tile.level and end - start >= _WIDE else _fold
            hashes[node] = fold(data[start * HASH_SIZE : end * HASH_SIZE])
    return hashes


def _fold(data: bytes) -> bytes:
    return fold_perfect(split_hashes(data))


# By content, so that nothing ever has to be forgotten because it changed.
_remembered_fold: Final = lru_cache(maxsize=_REMEMBERED)(_fold)


def root_from_tiles(size: int, tiles: Mapping[tuple[int, int], bytes], height: int = TILE_HEIGHT) -> bytes:
    """Return the root hash of the tree of `size` leaves from its right-most tiles.

    Raises:
        MalformedInputError: a tile is missing or too short.

    """
    whole = [Subtree(0, size)]
    hashes = nodes_from_tiles(whole, tiles, height)
    return fold_right([hashes[node] for node in whole[0].nodes()])


def split_hashes(data: bytes) -> Sequence[bytes]:
    """Return the 32-byte hashes that `data` is made of.

    Raises:
        MalformedInputError: the length is not a multiple of 32.

    """
    if len(data) % HASH_SIZE:
        message = f"a tile of {len(data)} bytes is not made of {HASH_SIZE}-byte hashes"
        raise MalformedInputError(message)
    return [data[start : start + HASH_SIZE] for start in range(0, len(data), HASH_SIZE)]
