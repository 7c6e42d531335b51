"""The hash chain."""

from __future__ import annotations

from hashlib import sha256

from tlog.core.chain import CHAIN_START, chain_hash, chain_hashes
from tlog.core.merkle import leaf_hash, node_hash


def test_the_chain_starts_with_zeroes_and_hashes_with_its_own_prefix():
    first, second = leaf_hash(b"first"), leaf_hash(b"second")
    start = chain_hash(CHAIN_START, first)
    assert start == sha256(b"\x02" + bytes(32) + first).digest()
    assert chain_hash(start, second) == sha256(b"\x02" + start + second).digest()


def test_a_chain_hash_is_no_node_of_the_tree():
    left, right = leaf_hash(b"left"), leaf_hash(b"right")
    assert chain_hash(left, right) not in (node_hash(left, right), leaf_hash(left + right))


def test_many_chain_hashes_are_those_of_one_after_the_other():
    leaves = [leaf_hash(b"%d" % number) for number in range(3)]
    first = chain_hash(CHAIN_START, leaves[0])
    second = chain_hash(first, leaves[1])
    assert chain_hashes(CHAIN_START, leaves) == [first, second, chain_hash(second, leaves[2])]
    assert chain_hashes(CHAIN_START, []) == []
