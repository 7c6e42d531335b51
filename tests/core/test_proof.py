"""Proofs: all small sizes against the definition, every way of being wrong, and sizes up to the limit."""

from __future__ import annotations

import itertools

import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st

from tlog.core.merkle import EMPTY_ROOT, MAX_TREE_SIZE, leaf_hash
from tlog.core.proof import (
    MAX_PROOF_HASHES,
    Node,
    Subtree,
    plan_consistency,
    plan_inclusion,
    plan_joint,
    prove,
    verify_consistency,
    verify_inclusion,
    verify_joint,
)
from tlog.errors import VerificationError

LIMIT = 70
ENTRIES = reference.entries(LIMIT)
LEAVES = [leaf_hash(entry) for entry in ENTRIES]
ROOTS = [reference.tree_hash(ENTRIES[:size]) for size in range(LIMIT + 1)]
SIZES = range(1, LIMIT + 1)
OTHER = b"\xa5" * 32


def subtree_hashes(size: int) -> dict[Node, bytes]:
    """Return the hash of every perfect subtree of the first `size` entries."""
    return {
        Node(level, index): reference.tree_hash(ENTRIES[index << level : (index + 1) << level])
        for level in range(size.bit_length())
        for index in range(size >> level)
    }


NODES = subtree_hashes(LIMIT)


def inclusion(index: int, size: int) -> list[bytes]:
    return prove(plan_inclusion(index, size), NODES)


def consistency(old: int, new: int) -> list[bytes]:
    return prove(plan_consistency(old, new), NODES)


def accepts_inclusion(index: int, size: int, leaf: bytes, proof: list[bytes], root: bytes) -> bool:
    try:
        verify_inclusion(index, size, leaf, proof, root)
    except VerificationError:
        return False
    return True


def accepts_consistency(old: int, new: int, old_root: bytes, new_root: bytes, proof: list[bytes]) -> bool:
    try:
        verify_consistency(old, new, old_root, new_root, proof)
    except VerificationError:
        return False
    return True


def wrong_lengths(proof: list[bytes]) -> list[list[bytes]]:
    """Return the proof with each hash left out, and with one more at each place."""
    shorter = [proof[:at] + proof[at + 1 :] for at in range(len(proof))]
    longer = [[*proof[:at], extra, *proof[at:]] for at in range(len(proof) + 1) for extra in (OTHER, bytes(32))]
    return shorter + longer


def one_bit_flips(proof: list[bytes], *, every: bool) -> list[list[bytes]]:
    """Return the proof with one bit changed: every bit of it, or two of each hash."""
    flips = []
    for at, item in enumerate(proof):
        for bit in range(256) if every else (at * 37 % 256, 255 - at):
            changed = bytearray(item)
            changed[bit // 8] ^= 1 << bit % 8
            flips.append([*proof[:at], bytes(changed), *proof[at + 1 :]])
    return flips


# --- Inclusion --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
def test_inclusion_proofs_are_the_definition_and_verify(size: int):
    for index in range(size):
        proof = inclusion(index, size)
        assert proof == reference.path(index, ENTRIES[:size])
        verify_inclusion(index, size, LEAVES[index], proof, ROOTS[size])


@pytest.mark.parametrize("size", SIZES)
def test_inclusion_refuses_every_other_index_and_leaf(size: int):
    for index in range(size):
        proof = inclusion(index, size)
        for wrong in (*range(-2, index), *range(index + 1, size + 3)):
            assert not accepts_inclusion(wrong, size, LEAVES[index], proof, ROOTS[size])
            if 0 <= wrong < size:
                assert not accepts_inclusion(index, size, LEAVES[wrong], proof, ROOTS[size])


@pytest.mark.parametrize("size", SIZES)
def test_inclusion_refuses_every_other_size_that_its_hashes_can_tell(size: int):
    for index in range(size):
        proof = inclusion(index, size)
        shape = reference.inclusion_shape(index, size)
        for wrong in range(-1, LIMIT + 3):
            # A tree of another size may put the same hashes in the same places; the size is the checkpoint's to say.
            same = wrong > index and reference.inclusion_shape(index, wrong) == shape
            assert accepts_inclusion(index, wrong, LEAVES[index], proof, ROOTS[size]) == same
        for wrong in {*range(0, LIMIT + 1, 9), *range(size - 2, min(size + 3, LIMIT + 1))} - {size}:
            assert not accepts_inclusion(index, size, LEAVES[index], proof, ROOTS[wrong])
            assert not accepts_inclusion(index, wrong, LEAVES[index], proof, ROOTS[wrong])


@pytest.mark.parametrize("size", SIZES)
def test_inclusion_refuses_every_other_length_and_flipped_bits(size: int):
    for index in range(size):
        proof = inclusion(index, size)
        for wrong in wrong_lengths(proof) + one_bit_flips(proof, every=size < 10):
            assert not accepts_inclusion(index, size, LEAVES[index], wrong, ROOTS[size])


def test_inclusion_refuses_hashes_in_another_order():
    proof = inclusion(37, 70)
    for first in range(len(proof)):
        for second in range(first):
            swapped = proof.copy()
            swapped[first], swapped[second] = swapped[second], swapped[first]
            assert not accepts_inclusion(37, 70, LEAVES[37], swapped, ROOTS[70])


@pytest.mark.parametrize("length", [0, 1, 31, 33, 64])
def test_inclusion_refuses_hashes_of_another_length(length: int):
    proof = inclusion(3, 7)
    wrong = bytes(length)
    for arguments in (
        (3, 7, wrong, proof, ROOTS[7]),
        (3, 7, LEAVES[3], proof, wrong),
        (3, 7, LEAVES[3], [wrong, *proof[1:]], ROOTS[7]),
        (3, 7, LEAVES[3], [*proof[:-1], wrong], ROOTS[7]),
    ):
        with pytest.raises(VerificationError, match="32 bytes"):
            verify_inclusion(*arguments)


@pytest.mark.parametrize(
    ("index", "size"),
    [(0, 0), (1, 1), (-1, 1), (0, -1), (2**64 - 1, 1), (0, MAX_TREE_SIZE + 1), (2**63, 2**64)],
)
def test_inclusion_refuses_indexes_outside_the_tree(index: int, size: int):
    with pytest.raises(VerificationError, match="is not below"):
        verify_inclusion(index, size, LEAVES[0], [], LEAVES[0])


def test_inclusion_refuses_too_many_hashes_before_hashing_any():
    with pytest.raises(VerificationError, match="1000000 hashes where 2 are needed"):
        verify_inclusion(0, 3, LEAVES[0], [b"not even a hash"] * 1_000_000, ROOTS[3])


@given(st.data())
def test_inclusion_up_to_the_largest_tree(data: st.DataObject):
    size = data.draw(st.integers(1, 2 ** data.draw(st.integers(1, 63)) - 1))
    index = data.draw(st.integers(0, size - 1))
    count = len(plan_inclusion(index, size))
    assert count <= MAX_PROOF_HASHES
    proof = [bytes([at]) * 32 for at in range(count)]
    root = reference.climb_inclusion(index, size, OTHER, proof)
    verify_inclusion(index, size, OTHER, proof, root)
    for wrong in wrong_lengths(proof) + one_bit_flips(proof, every=False):
        assert not accepts_inclusion(index, size, OTHER, wrong, root)


# --- Consistency ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("new", range(LIMIT + 1))
def test_consistency_proofs_are_the_definition_and_verify(new: int):
    for old in range(new + 1):
        proof = consistency(old, new)
        assert proof == reference.proof(old, ENTRIES[:new])
        verify_consistency(old, new, ROOTS[old], ROOTS[new], proof)


@pytest.mark.parametrize("new", SIZES)
def test_consistency_refuses_every_other_root(new: int):
    for old in range(new + 1):
        proof = consistency(old, new)
        for wrong in (*ROOTS[::7], *ROOTS[max(old - 1, 0) : old + 2], *ROOTS[new - 1 : new + 2], OTHER):
            if wrong != ROOTS[old]:
                assert not accepts_consistency(old, new, wrong, ROOTS[new], proof)
            # Any tree grows out of the empty one, so there is nothing in its proof that could not lead there.
            if wrong != ROOTS[new] and old > 0:
                assert not accepts_consistency(old, new, ROOTS[old], wrong, proof)


@pytest.mark.parametrize("new", SIZES)
def test_consistency_refuses_every_other_size_that_its_hashes_can_tell(new: int):
    for old in range(1, new):
        proof = consistency(old, new)
        shape = reference.consistency_shape(old, new)
        for wrong in range(-1, LIMIT + 3):
            same_old = 0 < wrong < new and reference.consistency_shape(wrong, new) == shape
            assert accepts_consistency(wrong, new, ROOTS[old], ROOTS[new], proof) == same_old
            same_new = wrong > old and reference.consistency_shape(old, wrong) == shape
            assert accepts_consistency(old, wrong, ROOTS[old], ROOTS[new], proof) == same_new


@pytest.mark.parametrize("new", range(LIMIT + 1))
def test_consistency_refuses_every_other_length_and_flipped_bits(new: int):
    for old in range(new + 1):
        proof = consistency(old, new)
        for wrong in wrong_lengths(proof) + one_bit_flips(proof, every=new < 10):
            assert not accepts_consistency(old, new, ROOTS[old], ROOTS[new], wrong)


@pytest.mark.parametrize("length", [0, 31, 33])
def test_consistency_refuses_hashes_of_another_length(length: int):
    proof = consistency(3, 7)
    wrong = bytes(length)
    for arguments in (
        (3, 7, wrong, ROOTS[7], proof),
        (3, 7, ROOTS[3], wrong, proof),
        (3, 7, ROOTS[3], ROOTS[7], [*proof[:-1], wrong]),
    ):
        with pytest.raises(VerificationError, match="32 bytes"):
            verify_consistency(*arguments)


@pytest.mark.parametrize(("old", "new"), [(2, 1), (1, 0), (-1, 1), (-2, -1), (1, MAX_TREE_SIZE + 1)])
def test_consistency_refuses_sizes_that_are_no_prefix(old: int, new: int):
    with pytest.raises(VerificationError, match="is above the new size"):
        verify_consistency(old, new, EMPTY_ROOT, EMPTY_ROOT, [])


@pytest.mark.parametrize(("old", "new"), [(0, 0), (0, 5)])
def test_size_zero_has_the_empty_root_only(old: int, new: int):
    verify_consistency(old, new, EMPTY_ROOT, ROOTS[new], [])
    with pytest.raises(VerificationError, match="another root than the empty tree's"):
        verify_consistency(old, new, OTHER, ROOTS[new] if new else OTHER, [])


def test_one_size_has_one_root():
    with pytest.raises(VerificationError, match="two different roots for one tree size 5"):
        verify_consistency(5, 5, ROOTS[5], OTHER, [])


def test_consistency_says_which_root_is_not_reached():
    proof = consistency(6, 9)
    with pytest.raises(VerificationError, match="old root of size 6"):
        verify_consistency(6, 9, OTHER, ROOTS[9], proof)
    with pytest.raises(VerificationError, match="new root of size 9"):
        verify_consistency(6, 9, ROOTS[6], OTHER, proof)


@given(st.data())
def test_consistency_up_to_the_largest_tree(data: st.DataObject):
    new = data.draw(st.integers(2, 2 ** data.draw(st.integers(2, 63)) - 1))
    old = data.draw(st.one_of(st.integers(1, new - 1), st.sampled_from(powers_below(new))))
    proof = [bytes([at]) * 32 for at in range(len(plan_consistency(old, new)))]
    old_root, new_root = reference.climb_consistency(old, new, OTHER, proof)
    verify_consistency(old, new, old_root, new_root, proof)
    for wrong in wrong_lengths(proof) + one_bit_flips(proof, every=False):
        assert not accepts_consistency(old, new, old_root, new_root, wrong)


def powers_below(size: int) -> list[int]:
    return [1 << bit for bit in range(size.bit_length()) if 1 << bit < size]


# --- Plans ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("index", "size"), [(0, 0), (5, 5), (-1, 5)])
def test_no_plan_for_an_index_outside_the_tree(index: int, size: int):
    with pytest.raises(ValueError, match="is not in a tree"):
        plan_inclusion(index, size)


@pytest.mark.parametrize(("old", "new"), [(6, 5), (-1, 5)])
def test_no_plan_for_sizes_that_are_no_prefix(old: int, new: int):
    with pytest.raises(ValueError, match="is no prefix"):
        plan_consistency(old, new)


def test_a_missing_node_is_an_error():
    nodes = NODES.copy()
    del nodes[Node(0, 2)]
    with pytest.raises(KeyError):
        prove(plan_inclusion(3, 7), nodes)


@pytest.mark.parametrize("size", SIZES)
def test_a_subtree_is_made_of_perfect_ones(size: int):
    nodes = Subtree(0, size).nodes()
    assert len(nodes) == size.bit_count()
    assert [(node.index << node.level, (node.index + 1) << node.level) for node in nodes] == [
        (size >> bit + 1 << bit + 1, size >> bit << bit) for bit in reversed(range(7)) if size >> bit & 1
    ]


# --- Joint proofs -----------------------------------------------------------------------------------------------------


def subsets(size: int) -> list[tuple[int, ...]]:
    return [each for count in range(1, size + 1) for each in itertools.combinations(range(size), count)]


@pytest.mark.parametrize("size", range(1, 9))
def test_every_set_of_leaves_is_proved_together(size: int):
    for indexes in subsets(size):
        leaves = {index: LEAVES[index] for index in indexes}
        proof = prove(plan_joint(indexes, size), NODES)
        verify_joint(size, leaves, proof, ROOTS[size])
        for wrong in [*wrong_lengths(proof), *one_bit_flips(proof, every=False)]:
            with pytest.raises(VerificationError):
                verify_joint(size, leaves, wrong, ROOTS[size])
        for index in indexes:
            with pytest.raises(VerificationError):
                verify_joint(size, leaves | {index: OTHER}, proof, ROOTS[size])
        with pytest.raises(VerificationError):
            verify_joint(size, leaves, proof, OTHER)


@given(st.integers(1, LIMIT), st.data())
def test_a_joint_proof_of_one_leaf_has_the_hashes_of_its_inclusion_proof(size: int, data: st.DataObject):
    index = data.draw(st.integers(0, size - 1))
    assert sorted(prove(plan_joint([index], size), NODES)) == sorted(inclusion(index, size))


@given(st.integers(1, MAX_TREE_SIZE), st.data())
def test_joint_plans_leave_out_exactly_the_proved_leaves(size: int, data: st.DataObject):
    indexes = sorted(data.draw(st.sets(st.integers(0, size - 1), min_size=1, max_size=5)))
    covered = [*plan_joint(indexes, size), *(Subtree(index, index + 1) for index in indexes)]
    ends = sorted(covered)
    assert ends[0].start == 0
    assert ends[-1].end == size
    assert all(left.end == right.start for left, right in itertools.pairwise(ends))


@pytest.mark.parametrize("indexes, size", [([1, 0], 3), ([1, 1], 3), ([3], 3), ([-1], 3)])
def test_no_joint_plan_for_leaves_that_are_not_there(indexes: list[int], size: int):
    with pytest.raises(ValueError, match="rising"):
        plan_joint(indexes, size)


def test_an_empty_tree_has_an_empty_joint_plan():
    assert plan_joint([], 0) == []
    assert plan_joint([], 3) == [Subtree(0, 3)]


@pytest.mark.parametrize("leaves", [{}, {5: OTHER}, {-1: OTHER}])
def test_joint_proofs_are_of_leaves_in_the_tree(leaves: dict[int, bytes]):
    with pytest.raises(VerificationError, match="there are no leaves"):
        verify_joint(5, leaves, [], ROOTS[5])


def test_joint_proofs_have_hashes_of_32_bytes():
    with pytest.raises(VerificationError, match="32 bytes"):
        verify_joint(1, {0: OTHER[1:]}, [], ROOTS[1])
