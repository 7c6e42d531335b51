"""Forks: every pair of trees that is one is convicted, and nothing else."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from witnessing import FORK_SEED, LeafLog

from tlog.core.checkpoint import Checkpoint
from tlog.core.fork import Fork, find_fork, format_fork, make_fork, parse_fork
from tlog.core.merkle import EMPTY_ROOT
from tlog.core.note import Signer, sign_note
from tlog.errors import MalformedInputError, VerificationError

LOG, OTHER = LeafLog(), LeafLog(other=FORK_SEED)
KEY = LOG.signer.verifier
SIZES = st.integers(1, 60).flatmap(lambda size: st.tuples(st.integers(1, size), st.just(size)))


def fork_of(first, second, small=OTHER, large=LOG, *, root=None, proof=None):
    """Return the file about `small` at size `first` and `large` at size `second`, honestly made unless told otherwise."""
    root = large.root(first) if root is None else root
    proof = large.proof(first, second) if proof is None else proof
    return make_fork(small.note(first), large.note(second), root, proof)


@given(SIZES)
@settings(max_examples=400)
def test_every_fork_is_convicted(sizes):
    first, second = sizes
    file = format_fork(fork_of(first, second))
    forked = find_fork(KEY, parse_fork(file))
    assert (forked.first.size, forked.second.size, forked.root) == (first, second, LOG.root(first))
    assert forked.first.root == OTHER.root(first) != forked.root


@given(SIZES, st.integers(0, 3), st.data())
@settings(max_examples=800)
def test_no_honest_log_is_convicted(sizes, kind, data):
    """Of one log: with its own root hash, with another one, with a proof that was tampered with, and with that of another tree."""
    first, second = sizes
    root, proof = LOG.root(first), LOG.proof(first, second)
    if kind == 1:
        root = OTHER.root(first)
    elif kind == 2 and proof:
        place = data.draw(st.integers(0, len(proof) - 1))
        root, proof[place] = OTHER.root(first), OTHER.root(second)
    elif kind == 3:
        root, proof = OTHER.root(first), OTHER.proof(first, second)
    with pytest.raises(VerificationError, match=r"no fork:|consistency proof|two different roots"):
        find_fork(KEY, fork_of(first, second, small=LOG, root=root, proof=proof))


@pytest.mark.parametrize(
    "fork, message",
    [
        (fork_of(5, 9, small=LOG), "the tree of 9 entries continues the one of 5"),
        (fork_of(5, 5, small=LOG), "the tree of 5 entries continues the one of 5"),
        (
            make_fork(OTHER.note(9), LOG.note(5), LOG.root(5), []),
            "no fork: the first tree has 9 entries, the second 5",
        ),
        (
            make_fork(sign_note(Checkpoint(KEY.name, 0, EMPTY_ROOT).text(), [LOG.signer]), LOG.note(5), EMPTY_ROOT, []),
            "no fork: the first tree has 0 entries",
        ),
        (fork_of(5, 9, proof=[]), "has 0 hashes"),
        (fork_of(5, 9, root=OTHER.root(5)), "does not lead to"),
    ],
)
def test_what_is_no_fork(fork, message):
    with pytest.raises(VerificationError, match=message):
        find_fork(KEY, fork)


def test_only_what_the_key_signed_accuses_it():
    stranger = Signer(KEY.name, b"\x55" * 32)
    note = sign_note(Checkpoint(KEY.name, 5, OTHER.root(5)).text(), [stranger])
    with pytest.raises(VerificationError, match="no signature of a known key"):
        find_fork(KEY, make_fork(note, LOG.note(9), LOG.root(5), LOG.proof(5, 9)))
    with pytest.raises(VerificationError, match="no signature of a known key"):
        find_fork(stranger.verifier, fork_of(5, 9))


GOOD = json.loads(format_fork(fork_of(5, 9)))


@pytest.mark.parametrize(
    "change",
    [
        {"type": "tlog-forks"}, {"v": 2}, {"more": 1}, {"proof": None}, {"proof": "x"}, {"first": 7}, {"root": None},
    ],
    ids=repr,
)  # fmt: skip
def test_what_is_no_fork_file(change):
    with pytest.raises(MalformedInputError, match="a fork file"):
        parse_fork(json.dumps(GOOD | change, sort_keys=True, separators=(",", ":")).encode() + b"\n")


def test_a_fork_file_is_canonical():
    good = format_fork(Fork(**{**GOOD, "proof": tuple(GOOD["proof"])}))
    assert parse_fork(good) == fork_of(5, 9)
    for bad in (good[:-1], good + b"\n", b" " + good, good.replace(b'":', b'": ', 1)):
        with pytest.raises(MalformedInputError):
            parse_fork(bad)


@pytest.mark.parametrize("change", [{"root": "AAAA"}, {"root": "x"}, {"proof": ["AAAA"]}, {"first": "no note"}, {"second": "\ud800"}], ids=repr)  # fmt: skip
def test_members_of_another_form(change):
    fork = Fork(**{**GOOD, "proof": tuple(GOOD["proof"]), **change})
    with pytest.raises(MalformedInputError):
        find_fork(KEY, fork)


def test_a_note_is_utf8():
    with pytest.raises(MalformedInputError):
        find_fork(KEY, make_fork(b"\xff", LOG.note(5), LOG.root(5), []))
