"""Inclusion and consistency proofs: plan, prove, verify.

Also proofs of several leaves at once (own format, docs/reference/formats.md "Joint proof"): the hashes of the largest
subtrees that hold none of the proved leaves, from left to right. Neighbouring leaves share nearly all of them.

Implements RFC 6962 section 2.1.1 (inclusion) and 2.1.2 (consistency) with the verification algorithms of RFC 9162
sections 2.1.3.2 and 2.1.4.2, whose proofs are the same hashes. Proving is split so that storage stays outside: a *plan*
names the subtrees whose hashes make the proof, a caller fetches them once, and the proof is computed purely.

The verifier's facts (sizes, roots, index, leaf hash) are arguments; a proof is only a list of hashes.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

from tlog.core.merkle import EMPTY_ROOT, HASH_SIZE, MAX_TREE_SIZE, fold_right, node_hash
from tlog.errors import VerificationError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MAX_PROOF_HASHES: Final = 63


class Node(NamedTuple):
    """A perfect subtree: the leaves [index << level, (index + 1) << level)."""

    level: int
    index: int  # type: ignore[assignment]  # hides tuple.index, which means nothing here


class Subtree(NamedTuple):
    """The leaves [start, end) whose RFC 6962 hash is one hash of a proof; perfect unless it is the right edge."""

    start: int
    end: int

    def nodes(self) -> list[Node]:
        """Return the perfect subtrees that make up this one, from left to right."""
        nodes = []
        start = self.start
        while start < self.end:
            level = (self.end - start).bit_length() - 1
            nodes.append(Node(level, start >> level))
            start += 1 << level
        return nodes


def split(size: int) -> int:
    """Return k, the largest power of two smaller than `size` >= 2 (RFC 6962 section 2.1)."""
    return 1 << ((size - 1).bit_length() - 1)


def plan_inclusion(index: int, size: int) -> list[Subtree]:
    """Return the subtrees whose hashes prove leaf `index` in a tree of `size` leaves (RFC 6962 section 2.1.1).

    Raises:
        ValueError: not 0 <= index < size.

    """
    if not 0 <= index < size:
        message = f"leaf {index} is not in a tree of {size}"
        raise ValueError(message)
    plan = []
    start, end = 0, size
    while end - start > 1:
        middle = start + split(end - start)
        if index < middle:
            plan.append(Subtree(middle, end))
            end = middle
        else:
            plan.append(Subtree(start, middle))
            start = middle
    return plan[::-1]


def plan_consistency(old_size: int, new_size: int) -> list[Subtree]:
    """Return the subtrees whose hashes prove `old_size` a prefix of `new_size` (RFC 6962 section 2.1.2).

    Raises:
        ValueError: not 0 <= old_size <= new_size.

    """
    if not 0 <= old_size <= new_size:
        message = f"a tree of {old_size} leaves is no prefix of one of {new_size}"
        raise ValueError(message)
    if old_size in (0, new_size):
        return []
    plan = []
    start, end = 0, new_size
    # "SUBPROOF(m, D[n], b)": b stays true while everything left of the cut lies in the old tree from its beginning.
    while end != old_size:
        middle = start + split(end - start)
        if old_size <= middle:
            plan.append(Subtree(middle, end))
            end = middle
        else:
            plan.append(Subtree(start, middle))
            start = middle
    if start:
        plan.append(Subtree(start, end))
    return plan[::-1]


def plan_joint(indexes: Sequence[int], size: int) -> list[Subtree]:
    """Return the subtrees whose hashes prove the leaves `indexes` together, from left to right.

    Args:
        indexes: of the proved leaves, rising, each once.
        size: the tree size.

    Raises:
        ValueError: not 0 <= index < size, or not rising.

    """
    if any(not 0 <= index < size for index in indexes) or any(a >= b for a, b in pairwise(indexes)):
        message = f"the leaves are not rising indexes below the tree size {size}"
        raise ValueError(message)
    plan: list[Subtree] = []
    open_parts = [(Subtree(0, size), 0, len(indexes))] if size else []
    while open_parts:
        part, first, last = open_parts.pop()
        if first == last:
            plan.append(part)
        elif part.end - part.start > 1:
            middle = part.start + split(part.end - part.start)
            cut = bisect_left(indexes, middle, first, last)
            open_parts.append((Subtree(middle, part.end), cut, last))
            open_parts.append((Subtree(part.start, middle), first, cut))
    return plan


def prove(plan: Sequence[Subtree], hashes: Mapping[Node, bytes]) -> list[bytes]:
    """Return the proof that `plan` describes, from the 32-byte hashes of the perfect subtrees it is made of.

    Raises:
        KeyError: a node of the plan is missing in `hashes`.

    """
    return [fold_right([hashes[node] for node in subtree.nodes()]) for subtree in plan]


def verify_inclusion(index: int, size: int, leaf_hash: bytes, proof: Sequence[bytes], root: bytes) -> None:
    """Check that the leaf with hash `leaf_hash` is entry `index` of the tree of `size` leaves with root hash `root`.

    Args:
        index: 0 <= index < size.
        size: tree size the root belongs to.
        leaf_hash: 32 bytes, computed by the caller from the entry it holds.
        proof: 32-byte hashes from the leaf's sibling upwards (RFC 6962 section 2.1.1).
        root: 32 bytes, from a checkpoint the caller has verified.

    Raises:
        VerificationError: the proof does not prove that.

    Algorithm: RFC 9162 section 2.1.3.2.

    """
    _check_hashes("the root or leaf hash", (root, leaf_hash))
    if not 0 <= index < size <= MAX_TREE_SIZE:
        message = f"index {index} is not below the tree size {size}"
        raise VerificationError(message)
    _check_proof_length(proof, len(plan_inclusion(index, size)))
    position, last = index, size - 1
    running = leaf_hash
    for sibling in proof:
        # RFC 9162: "If LSB(fn) is set, or if fn is equal to sn", the sibling is on the left. It then skips the levels at which
        # the right edge has none; here that would change nothing: equal numbers stay equal, and how many there are was checked.
        on_left = position & 1 or position == last
        running = node_hash(sibling, running) if on_left else node_hash(running, sibling)
        position >>= 1
        last >>= 1
    if running != root:
        message = f"the inclusion proof of entry {index} leads to another root than the one of tree size {size}"
        raise VerificationError(message)


def verify_joint(size: int, leaves: Mapping[int, bytes], proof: Sequence[bytes], root: bytes) -> None:
    """Check that `leaves` are all in the tree of `size` leaves with root hash `root`, each at its index.

    Args:
        size: tree size the root belongs to.
        leaves: index to 32-byte leaf hash, computed by the caller from the entries it holds.
        proof: 32-byte hashes in the order of `plan_joint`.
        root: 32 bytes, from a checkpoint the caller has verified.

    Raises:
        VerificationError: the proof does not prove that.

    """
    _check_hashes("the root or a leaf hash", (root, *leaves.values()))
    indexes = sorted(leaves)
    if not leaves or not 0 <= indexes[0] <= indexes[-1] < size <= MAX_TREE_SIZE:
        message = f"there are no leaves, or one is not below the tree size {size}"
        raise VerificationError(message)
    _check_proof_length(proof, len(plan_joint(indexes, size)))
    hashes = iter(proof)

    def climb(start: int, end: int, first: int, last: int) -> bytes:
        if first == last:
            return next(hashes)
        if end - start == 1:
            return leaves[start]
        middle = start + split(end - start)
        cut = bisect_left(indexes, middle, first, last)
        left = climb(start, middle, first, cut)
        return node_hash(left, climb(middle, end, cut, last))

    if climb(0, size, 0, len(indexes)) != root:
        message = f"the proof of {len(leaves)} entries leads to another root than the one of tree size {size}"
        raise VerificationError(message)


def verify_consistency(old_size: int, new_size: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Check that the tree of `old_size` leaves is a prefix of the tree of `new_size` leaves.

    Args:
        old_size: size of the older tree, 0 <= old_size <= new_size.
        new_size: size of the newer tree.
        old_root: 32 bytes, from a checkpoint the caller has verified.
        new_root: 32 bytes, likewise.
        proof: 32-byte hashes (RFC 6962 section 2.1.2), empty if old_size is 0 or new_size.

    Raises:
        VerificationError: the proof does not prove that.

    Algorithm: RFC 9162 section 2.1.4.2, with the cases it leaves out: an empty old tree is a prefix of every tree, and
    trees of equal size must have equal roots.

    """
    _check_hashes("a root hash", (old_root, new_root))
    if not 0 <= old_size <= new_size <= MAX_TREE_SIZE:
        message = f"the old size {old_size} is above the new size {new_size}"
        raise VerificationError(message)
    for size, root in ((old_size, old_root), (new_size, new_root)):
        if size == 0 and root != EMPTY_ROOT:
            message = "a tree of size 0 has another root than the empty tree's"
            raise VerificationError(message)
    _check_proof_length(proof, len(plan_consistency(old_size, new_size)))
    if old_size == new_size and old_root != new_root:
        message = f"two different roots for one tree size {old_size}"
        raise VerificationError(message)
    if old_size in (0, new_size):
        return
    computed_old, computed_new = _consistency_roots(old_size, new_size, old_root, proof)
    if computed_old != old_root:
        message = f"the consistency proof does not lead to the old root of size {old_size}"
        raise VerificationError(message)
    if computed_new != new_root:
        message = f"the consistency proof from size {old_size} does not lead to the new root of size {new_size}"
        raise VerificationError(message)


def _consistency_roots(old_size: int, new_size: int, old_root: bytes, proof: Sequence[bytes]) -> tuple[bytes, bytes]:
    """Return the two roots that a proof of the right length leads to, for 0 < old_size < new_size."""
    # "If first is an exact power of 2, then prepend first_hash to the consistency_path array."
    path = [old_root, *proof] if old_size & (old_size - 1) == 0 else list(proof)
    position, last = old_size - 1, new_size - 1
    while position & 1:
        position >>= 1
        last >>= 1
    old = new = path[0]
    for sibling in path[1:]:
        # As in `verify_inclusion`, no level has to be skipped.
        if position & 1 or position == last:
            old = node_hash(sibling, old)
            new = node_hash(sibling, new)
        else:
            new = node_hash(new, sibling)
        position >>= 1
        last >>= 1
    return old, new


def _check_hashes(what: str, hashes: Sequence[bytes]) -> None:
    if any(len(item) != HASH_SIZE for item in hashes):
        message = f"{what} does not have {HASH_SIZE} bytes"
        raise VerificationError(message)


def _check_proof_length(proof: Sequence[bytes], expected: int) -> None:
    if len(proof) != expected:
        message = f"the proof has {len(proof)} hashes where {expected} are needed"
        raise VerificationError(message)
    _check_hashes("a hash of the proof", proof)
