"""RFC 6962 Merkle tree hashing: leaves, nodes, and the root of a growing tree.

Implements RFC 6962 section 2.1 (the hash tree). Proofs are in `tlog.core.proof`, their storage in tiles is in
`tlog.core.tile`. Left out on purpose: any in-memory tree. A tree of n leaves is represented by the hashes of its
perfect subtrees from left to right (at most 63 of them), which is all that growing it or naming its root needs.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

HASH_SIZE: Final = 32
_CHUNK: Final = 256
MAX_TREE_SIZE: Final = 2**63 - 1
# RFC 6962 section 2.1: "The hash of an empty list is the hash of an empty string".
EMPTY_ROOT: Final = sha256(b"").digest()


def leaf_hash(entry: bytes) -> bytes:
    """Return the 32-byte hash of a leaf: SHA-256(0x00 || entry) (RFC 6962 section 2.1)."""
    return sha256(b"\x00" + entry).digest()


def leaf_hashes(entries: Iterable[bytes]) -> list[bytes]:
    """Return the `leaf_hash` of each entry, without a call for each."""
    return [sha256(b"\x00" + entry).digest() for entry in entries]


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the 32-byte hash of an interior node: SHA-256(0x01 || left || right) (RFC 6962 section 2.1)."""
    return sha256(b"\x01" + left + right).digest()


def parents(hashes: Sequence[bytes]) -> list[bytes]:
    """Return the nodes above the nodes of one level, given from left to right.

    Raises:
        ValueError: their number is odd; the last one has no parent of its own level.

    """
    pairs = zip(hashes[::2], hashes[1::2], strict=True)
    return [sha256(b"\x01" + left + right).digest() for left, right in pairs]


def fold_perfect(hashes: Sequence[bytes]) -> bytes:
    """Return the root of a perfect subtree whose 2**k nodes of one level are given from left to right."""
    while len(hashes) > 1:
        # A perfect subtree pairs up without a rest; a caller's wrong count is a bug worth stopping at.
        hashes = parents(hashes)
    return hashes[0]


def fold_right(hashes: Sequence[bytes]) -> bytes:
    """Return the root over perfect subtrees given from left to right, EMPTY_ROOT for none.

    RFC 6962 splits at the largest power of two smaller than n, so the smaller subtrees hang below the right side.
    """
    if not hashes:
        return EMPTY_ROOT
    root = hashes[-1]
    for left in reversed(hashes[:-1]):
        root = node_hash(left, root)
    return root


class Frontier:
    """The hashes of the perfect subtrees of a growing tree, left to right: one for each bit set in its size."""

    def __init__(self, size: int = 0, subtrees: Sequence[bytes] = ()) -> None:
        """Take over a tree of `size` leaves.

        Args:
            size: number of leaves.
            subtrees: the 32-byte roots of its perfect subtrees, largest first.

        Raises:
            ValueError: the number of subtrees is not the number of bits set in `size`.

        """
        if len(subtrees) != size.bit_count():
            message = f"a tree of {size} leaves has {size.bit_count()} perfect subtrees, not {len(subtrees)}"
            raise ValueError(message)
        self.size = size
        self.subtrees = list(subtrees)

    def append_subtree(self, subtree: bytes, width: int) -> None:
        """Add the root of a perfect subtree of `width` leaves, a power of two that divides the size."""
        subtrees = self.subtrees
        carry = self.size // width
        while carry & 1:
            subtree = sha256(b"\x01" + subtrees.pop() + subtree).digest()
            carry >>= 1
        subtrees.append(subtree)
        self.size += width

    def extend(self, leaves: Sequence[bytes]) -> None:
        """Add 32-byte leaf hashes in order."""
        start, end = 0, len(leaves)
        while start < end:
            # The largest perfect subtree that begins at this size, or what is left of the leaves.
            width = min(self.size & -self.size or _CHUNK, _CHUNK)
            if width > end - start:
                width = 1 << (end - start).bit_length() - 1
            self.append_subtree(fold_perfect(leaves[start : start + width]), width)
            start += width

    def root(self) -> bytes:
        """Return the 32-byte root hash of the tree."""
        return fold_right(self.subtrees)
