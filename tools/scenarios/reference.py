"""The Merkle tree as RFC 6962 section 2.1 defines it, written down as recursion and nothing else.

No sharing with tlog.core: everything here takes the list of entries D[n] itself and slices it. Slow, and easy to
compare with the RFC's text. Shapes and climbs at the end do the same for trees too large to hold.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def entries(count: int) -> list[bytes]:
    """Return `count` different entries."""
    return [b"entry %d" % number for number in range(count)]


def largest_power_below(n: int) -> int:
    """Return k, the largest power of two smaller than n > 1: k < n <= 2k."""
    k = 1
    while 2 * k < n:
        k *= 2
    return k


def tree_hash(d: Sequence[bytes]) -> bytes:
    """Return MTH(D[n])."""
    n = len(d)
    if n == 0:
        return sha256(b"").digest()
    if n == 1:
        return sha256(b"\x00" + d[0]).digest()
    k = largest_power_below(n)
    return sha256(b"\x01" + tree_hash(d[:k]) + tree_hash(d[k:])).digest()


def path(m: int, d: Sequence[bytes]) -> list[bytes]:
    """Return PATH(m, D[n]), section 2.1.1."""
    n = len(d)
    if n == 1:
        return []
    k = largest_power_below(n)
    if m < k:
        return [*path(m, d[:k]), tree_hash(d[k:])]
    return [*path(m - k, d[k:]), tree_hash(d[:k])]


def proof(m: int, d: Sequence[bytes]) -> list[bytes]:
    """Return PROOF(m, D[n]), section 2.1.2; empty for m = 0, which the RFC leaves out."""
    return subproof(m, d, known=True) if m else []


def subproof(m: int, d: Sequence[bytes], *, known: bool) -> list[bytes]:
    """Return SUBPROOF(m, D[n], b), where b is `known`."""
    n = len(d)
    if m == n:
        return [] if known else [tree_hash(d)]
    k = largest_power_below(n)
    if m <= k:
        return [*subproof(m, d[:k], known=known), tree_hash(d[k:])]
    return [*subproof(m - k, d[k:], known=False), tree_hash(d[:k])]


def tile(level: int, index: int, d: Sequence[bytes]) -> bytes:
    """Return tile `index` of `level` of the tree over D, as c2sp.org/tlog-tiles defines it in terms of MTH."""
    span = 256**level
    starts = range(index * 256 * span, (index + 1) * 256 * span, span)
    return b"".join(tree_hash(d[start : start + span]) for start in starts if start + span <= len(d))


def inclusion_shape(m: int, n: int) -> str:
    """Return on which side each hash of PATH(m, D[n]) stands, from the leaf upwards.

    A proof says nothing else about index and size, which is why both come from a checkpoint and never from the proof.
    """
    if n == 1:
        return ""
    k = largest_power_below(n)
    return inclusion_shape(m, k) + "r" if m < k else inclusion_shape(m - k, n - k) + "l"


def consistency_shape(m: int, n: int, *, known: bool = True) -> str:
    """Return the same for PROOF(m, D[n]): the sides, and whether the lowest hash is the old root itself."""
    if m == n:
        return "=" if known else "."
    k = largest_power_below(n)
    if m <= k:
        return consistency_shape(m, k, known=known) + "r"
    return consistency_shape(m - k, n - k, known=False) + "l"


def climb_inclusion(m: int, n: int, leaf: bytes, hashes: Sequence[bytes]) -> bytes:
    """Return the root that `hashes`, as PATH(m, D[n]), leads to; reads the definition from the top down."""
    if n == 1:
        return leaf
    k = largest_power_below(n)
    if m < k:
        return sha256(b"\x01" + climb_inclusion(m, k, leaf, hashes[:-1]) + hashes[-1]).digest()
    return sha256(b"\x01" + hashes[-1] + climb_inclusion(m - k, n - k, leaf, hashes[:-1])).digest()


def climb_consistency(
    m: int, n: int, old_root: bytes, hashes: Sequence[bytes], *, known: bool = True
) -> tuple[bytes, bytes]:
    """Return the old and new root that `hashes`, as SUBPROOF(m, D[n], known), leads to."""
    if m == n:
        only = old_root if known else hashes[0]
        return only, only
    k = largest_power_below(n)
    if m <= k:
        old, new = climb_consistency(m, k, old_root, hashes[:-1], known=known)
        return old, sha256(b"\x01" + new + hashes[-1]).digest()
    old, new = climb_consistency(m - k, n - k, old_root, hashes[:-1], known=False)
    return sha256(b"\x01" + hashes[-1] + old).digest(), sha256(b"\x01" + hashes[-1] + new).digest()
