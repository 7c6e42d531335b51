"""Commitments: bound to every byte of salt and body."""

from __future__ import annotations

from hashlib import sha256

import pytest

from tlog.core.commitment import (
    COMMITMENT_SIZE,
    MAX_RELATED,
    SALT_SIZE,
    check_disclosure,
    commit,
    commit_all,
    group_names,
    group_order,
)
from tlog.core.merkle import leaf_hash, node_hash
from tlog.errors import MalformedInputError, VerificationError

SALT = bytes(range(SALT_SIZE))
DISCLOSURE = SALT + b'{"userId":"u-1"}'


def test_the_commitment_is_a_hash_with_its_own_prefix():
    assert commit(DISCLOSURE) == sha256(b"\x10" + DISCLOSURE).digest()
    assert commit_all([DISCLOSURE, SALT]) == [commit(DISCLOSURE), commit(SALT)]
    assert len(commit(DISCLOSURE)) == COMMITMENT_SIZE
    assert commit(DISCLOSURE) not in (leaf_hash(DISCLOSURE), node_hash(DISCLOSURE[:16], DISCLOSURE[16:]))


def test_the_disclosure_itself_is_accepted():
    check_disclosure(commit(DISCLOSURE), DISCLOSURE, "actor")
    check_disclosure(commit(SALT), SALT, "actor")


@pytest.mark.parametrize("at", range(len(DISCLOSURE)))
def test_every_flipped_byte_is_refused(at: int):
    for value in range(1, 256):
        changed = bytearray(DISCLOSURE)
        changed[at] ^= value
        with pytest.raises(VerificationError):
            check_disclosure(commit(DISCLOSURE), bytes(changed), "actor")


@pytest.mark.parametrize(
    "disclosure", [b"", DISCLOSURE[:-1], DISCLOSURE[1:], DISCLOSURE + b" ", DISCLOSURE + DISCLOSURE]
)
def test_another_length_is_refused(disclosure: bytes):
    with pytest.raises(VerificationError, match="the resource disclosure does not match"):
        check_disclosure(commit(DISCLOSURE), disclosure, "resource")


def test_a_short_salt_is_refused_even_under_its_own_commitment():
    with pytest.raises(VerificationError):
        check_disclosure(commit(SALT[:-1]), SALT[:-1], "actor")


def test_groups_have_one_order():
    names = group_names(MAX_RELATED)
    assert names[:4] == ["actor", "resource", "related/0", "related/1"]
    assert len(names) == 34
    assert [group_order(name) for name in names] == list(range(34))
    assert group_names(0) == names[:2]


@pytest.mark.parametrize(
    "group", ["", "Actor", "related", "related/", "related/32", "related/01", "related/-1", "source"]
)
def test_other_groups_there_are_not(group: str):
    with pytest.raises(MalformedInputError, match="a group of disclosures is"):
        group_order(group)
