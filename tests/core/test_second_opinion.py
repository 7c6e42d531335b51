"""Roots and inclusion proofs compared with pymerkle 7, which shares no code with tlog (extra `second-opinion`).

pymerkle counts leaves from one and puts the leaf itself first in its path. Its consistency proofs are not those of
RFC 6962 and are not compared.
"""

from __future__ import annotations

import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st

from tlog.core.merkle import Frontier, leaf_hash
from tlog.core.proof import Node, plan_inclusion, prove, verify_inclusion

pymerkle = pytest.importorskip("pymerkle", minversion="7")

LIMIT = 150
ENTRIES = reference.entries(LIMIT)


@pytest.fixture(scope="module")
def oracle():
    tree = pymerkle.InmemoryTree(algorithm="sha256")
    for entry in ENTRIES:
        tree.append_entry(entry)
    return tree


@pytest.fixture(scope="module")
def nodes() -> dict[Node, bytes]:
    hashes = {Node(0, index): leaf_hash(entry) for index, entry in enumerate(ENTRIES)}
    for level in range(1, LIMIT.bit_length()):
        for index in range(LIMIT >> level):
            frontier = Frontier()
            frontier.extend([hashes[Node(0, leaf)] for leaf in range(index << level, (index + 1) << level)])
            hashes[Node(level, index)] = frontier.root()
    return hashes


def test_leaves_and_roots_agree(oracle):
    frontier = Frontier()
    for size, entry in enumerate(ENTRIES, start=1):
        frontier.extend([leaf_hash(entry)])
        assert oracle.get_leaf(size) == leaf_hash(entry)
        assert oracle.get_root(size) == frontier.root()


def test_inclusion_proofs_agree(oracle, nodes):
    for size in range(1, 80):
        for index in range(size):
            proof = prove(plan_inclusion(index, size), nodes)
            assert oracle.prove_inclusion(index + 1, size).path == [leaf_hash(ENTRIES[index]), *proof]


@settings(max_examples=200)
@given(size=st.integers(1, LIMIT), data=st.data())
def test_pymerkle_proofs_verify_here(oracle, size: int, data: st.DataObject):
    index = data.draw(st.integers(0, size - 1))
    theirs = oracle.prove_inclusion(index + 1, size).path[1:]
    verify_inclusion(index, size, leaf_hash(ENTRIES[index]), theirs, oracle.get_root(size))
