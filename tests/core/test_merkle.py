"""Roots: RFC 6962's definition, known answers, and the frontier that grows a tree."""

from __future__ import annotations

import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st

from tlog.core.merkle import EMPTY_ROOT, Frontier, fold_perfect, fold_right, leaf_hash, leaf_hashes, node_hash

# The eight leaves that Certificate Transparency implementations test with, and the roots of the trees of the first
# 0 to 8 of them.
KNOWN_LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
KNOWN_ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def test_many_leaf_hashes_are_those_of_each():
    assert leaf_hashes(KNOWN_LEAVES) == [leaf_hash(leaf) for leaf in KNOWN_LEAVES]
    assert leaf_hashes([b""]) == [bytes.fromhex(KNOWN_ROOTS[1])]


def test_known_roots():
    frontier = Frontier()
    roots = [frontier.root().hex()]
    for leaf in KNOWN_LEAVES:
        frontier.extend([leaf_hash(leaf)])
        roots.append(frontier.root().hex())
    assert roots == KNOWN_ROOTS


def test_reference_agrees_with_known_roots():
    assert [reference.tree_hash(KNOWN_LEAVES[:size]).hex() for size in range(9)] == KNOWN_ROOTS


def test_empty_root_is_the_hash_of_nothing():
    assert Frontier().root() == EMPTY_ROOT == bytes.fromhex(KNOWN_ROOTS[0])


def test_leaf_and_node_hashes_are_kept_apart():
    left, right = leaf_hash(b"left"), leaf_hash(b"right")
    assert leaf_hash(left + right) != node_hash(left, right)


def test_every_root_to_300():
    entries = reference.entries(300)
    frontier = Frontier()
    for size, entry in enumerate(entries):
        assert frontier.size == size
        assert frontier.root() == reference.tree_hash(entries[:size])
        frontier.extend([leaf_hash(entry)])


@given(st.integers(0, 700), st.integers(0, 300))
def test_a_frontier_goes_on_where_another_stopped(size: int, more: int):
    leaves = [leaf_hash(entry) for entry in reference.entries(size + more)]
    first = Frontier()
    first.extend(leaves[:size])
    second = Frontier(first.size, first.subtrees)
    second.extend(leaves[size:])
    whole = Frontier()
    whole.extend(leaves)
    assert (second.size, second.subtrees) == (whole.size, whole.subtrees)
    # What was handed over is not touched.
    assert len(first.subtrees) == first.size.bit_count()


@pytest.mark.parametrize(("size", "count"), [(0, 1), (1, 0), (3, 1), (4, 2), (7, 4)])
def test_a_frontier_needs_one_subtree_for_each_bit(size: int, count: int):
    with pytest.raises(ValueError, match="perfect subtrees"):
        Frontier(size, [bytes(32)] * count)


@pytest.mark.parametrize("size", [1, 2, 4, 8, 256])
def test_a_perfect_subtree_folds_to_its_root(size: int):
    entries = reference.entries(size)
    assert fold_perfect([leaf_hash(entry) for entry in entries]) == reference.tree_hash(entries)


@pytest.mark.parametrize("size", [3, 5, 6, 7, 255])
def test_folding_refuses_what_is_not_perfect(size: int):
    with pytest.raises(ValueError, match="zip"):
        fold_perfect([bytes(32)] * size)


def test_nothing_folds_to_the_empty_root():
    assert fold_right([]) == EMPTY_ROOT
