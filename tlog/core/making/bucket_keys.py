"""The bucket keys of a log: making index keys from them, and proving one of them under the root that entry 0 states.

Own format (docs/reference/formats.md, "Index key"); what a verifier needs of it is `tlog.core.pseudonym`.
"""

from __future__ import annotations

from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Final

from tlog.core.making.integrate import integrate
from tlog.core.merkle import HASH_SIZE, fold_perfect, leaf_hash
from tlog.core.proof import Subtree, plan_joint, prove
from tlog.core.pseudonym import MAX_BITS, actor_ident, bucket_of, index_key, related_ident, resource_ident
from tlog.core.strict import encode_base64url
from tlog.core.tile import TILE_WIDTH, nodes_from_tiles, root_from_tiles, tiles_for
from tlog.errors import MalformedInputError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tlog.core.tile import Tile

DEFAULT_BITS: Final = 16
_CACHED_KEYS: Final = 65_536
_CACHED_TILES: Final = 256


class BucketKeys:
    """The 2**bits bucket keys of a log. Their representation shows none of them."""

    def __init__(self, keys: bytes) -> None:
        """Take the bucket keys, 32 bytes each, concatenated.

        Raises:
            MalformedInputError: their number is not a power of two up to 2**24.

        """
        count, rest = divmod(len(keys), HASH_SIZE)
        self.bits = count.bit_length() - 1
        if rest or count != 1 << max(self.bits, 0) or self.bits > MAX_BITS:
            message = (
                f"index keys are 2^bits keys of {HASH_SIZE} bytes (bits at most {MAX_BITS}), not {len(keys)} bytes"
            )
            raise MalformedInputError(message)
        self._keys = keys
        # As they stand in entries, base64url of 16 bytes. Popular ones come again and again; the cache is bounded.
        self.actor_text = lru_cache(maxsize=_CACHED_KEYS)(self._actor_text)
        self.resource_text = lru_cache(maxsize=_CACHED_KEYS)(self._resource_text)
        self.related_text = lru_cache(maxsize=_CACHED_KEYS)(self._related_text)
        # A question about a resource needs two of them, 256 hashes each.
        self._lowest_tile = lru_cache(maxsize=_CACHED_TILES)(self._make_lowest_tile)

    def __repr__(self) -> str:
        """Return the number of keys only."""
        return f"BucketKeys(bits={self.bits})"

    def to_bytes(self) -> bytes:
        """Return the keys, to hand them to another process of the same user."""
        return self._keys

    def root(self) -> bytes:
        """Return the 32-byte RFC 6962 root over the bucket keys, what the `index-keys` entry commits to."""
        count = 1 << self.bits
        return root_from_tiles(count, self._tiles(tiles_for([Subtree(0, count)], count)))

    def prove(self, ident: bytes) -> tuple[bytes, list[bytes]]:
        """Return the bucket key of a personal `ident`, and the joint proof of it under the root."""
        count, bucket = 1 << self.bits, bucket_of(ident, self.bits)
        plan = plan_joint([bucket], count)
        return self.bucket_key(bucket), prove(plan, nodes_from_tiles(plan, self._tiles(tiles_for(plan, count))))

    @cached_property
    def _upper_tiles(self) -> dict[tuple[int, int], bytes]:
        """The tiles above level 0, made once: those of level 0 are quickly made again where one is needed."""
        full = (1 << self.bits) // TILE_WIDTH
        hashes = [fold_perfect(self._leaf_hashes(tile)) for tile in range(full)]
        return {(level + 1, index): tile for (level, index), tile in integrate(0, {}, hashes).items()}

    def _tiles(self, tiles: Iterable[Tile]) -> dict[tuple[int, int], bytes]:
        return {
            (tile.level, tile.index): self._upper_tiles[tile.level, tile.index]
            if tile.level
            else self._lowest_tile(tile.index)
            for tile in tiles
        }

    def _make_lowest_tile(self, tile: int) -> bytes:
        return b"".join(self._leaf_hashes(tile))

    def _leaf_hashes(self, tile: int) -> list[bytes]:
        buckets = range(tile * TILE_WIDTH, min((tile + 1) * TILE_WIDTH, 1 << self.bits))
        return [leaf_hash(self.bucket_key(bucket)) for bucket in buckets]

    def bucket_key(self, bucket: int) -> bytes:
        """Return the 32-byte key of one bucket."""
        return self._keys[bucket * HASH_SIZE : (bucket + 1) * HASH_SIZE]

    def key(self, ident: bytes) -> bytes:
        """Return the 16-byte index key of a personal `ident`."""
        return index_key(self.bucket_key(bucket_of(ident, self.bits)), ident)

    def _actor_text(self, user_id: str) -> str:
        return encode_base64url(self.key(actor_ident(user_id))).decode()

    def _resource_text(self, resource_type: str, resource_id: str) -> str:
        return encode_base64url(self.key(resource_ident(resource_type, resource_id))).decode()

    def _related_text(self, resource_type: str, resource_id: str) -> str:
        return encode_base64url(self.key(related_ident(resource_type, resource_id))).decode()
