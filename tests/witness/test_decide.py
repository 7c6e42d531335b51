"""What a witness answers, from the head that it has: each check of c2sp.org/tlog-witness, and their order."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from witnessing import LeafLog

from tlog.core.checkpoint import Checkpoint
from tlog.core.merkle import EMPTY_ROOT
from tlog.core.note import Signer, sign_note, signature_line
from tlog.errors import MalformedInputError
from tlog.witness.decide import MAX_BODY_SIZE, NEVER, Head, decide, parse_request

LOG = LeafLog()
KEY = LOG.signer.verifier
STRANGER = Signer(KEY.name, b"\x21" * 32)
FORK = LeafLog(other=b"other")


def head(size):
    return Head(size, LOG.root(size))


def verdict(body, known=NEVER, keys=(KEY,)):
    return decide(parse_request(body), list(keys), known)


def note_of(size, root, *signers):
    return sign_note(Checkpoint(KEY.name, size, root).text(), signers or [LOG.signer])


FORGED = signature_line(KEY.name, KEY.key_id, bytes(64))
EMPTY = note_of(0, EMPTY_ROOT)

# Name, body, head, status, and what the reason says.
CASES = {
    "first": (LOG.request(0, 5), NEVER, 200, ""),
    "refresh": (LOG.request(5, 5), head(5), 200, ""),
    "growth": (LOG.request(5, 9), head(5), 200, ""),
    "first of an empty log": (LOG.request(0, 0, note=EMPTY), NEVER, 200, ""),
    "unknown extra signatures": (LOG.request(5, 9, note=note_of(9, LOG.root(9), STRANGER, LOG.signer)), head(5), 200, ""),
    "unknown origin": (LeafLog("log.example/unknown").request(0, 5), None, 404, "does not know the log"),
    "unsigned by a known key": (LOG.request(0, 5, note=note_of(5, LOG.root(5), STRANGER)), NEVER, 403, "no key that this witness"),
    "forged": (LOG.request(0, 5, note=LOG.note(5) + FORGED), NEVER, 403, "does not verify"),
    "forged first": (LOG.request(0, 5, note=note_of(5, LOG.root(5), STRANGER) + FORGED), NEVER, 403, "does not verify"),
    "empty tree with another root": (LOG.request(0, 0, note=note_of(0, bytes(32))), NEVER, 422, "empty tree has another root"),
    "old size above the size": (LOG.request(9, 5, proof=[]), head(9), 400, "the old size is larger"),
    "old size is not the head's": (LOG.request(4, 9), head(5), 409, "5"),
    "never cosigned, and old is not zero": (LOG.request(4, 9), NEVER, 409, "0"),
    "proof from the empty tree": (LOG.request(0, 9, proof=[bytes(32)]), NEVER, 422, "hashes"),
    "no proof": (LOG.request(5, 9, proof=[]), head(5), 422, "hashes"),
    "another history": (FORK.request(5, 9), head(5), 422, "does not lead to the old root"),
    "same size, another root": (FORK.request(5, 5), head(5), 422, "two different roots"),
    "same size with a proof": (LOG.request(5, 5, proof=[bytes(32)]), head(5), 422, "hashes"),
    # The order: what comes first is answered first.
    "unknown origin, unsigned": (LOG.request(9, 5, proof=[], note=note_of(5, bytes(32), STRANGER)), None, 404, "does not know"),
    "unsigned, old size above the size": (LOG.request(9, 5, proof=[], note=note_of(5, bytes(32), STRANGER)), head(3), 403, "no key"),
    "old size above the size and not the head's": (LOG.request(9, 5, proof=[]), head(3), 400, "the old size is larger"),
    "empty tree with another root, old above it": (LOG.request(9, 0, proof=[], note=note_of(0, bytes(32))), head(9), 422, "empty tree"),
    "not the head's, and no proof": (LOG.request(4, 9, proof=[]), head(5), 409, "5"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_each_case_has_its_answer(name):
    body, known, status, reason = CASES[name]
    found = verdict(body, known or NEVER, () if known is None else (KEY,))
    assert (found.status, reason in found.reason) == (status, True), found
    assert bool(found.lines) == (status == 200)


def test_a_verdict_brings_the_lines_that_were_verified_each_once():
    note = LOG.note(5)
    own = note.partition(b"\n\n")[2]
    again = note_of(5, LOG.root(5), STRANGER, LOG.signer) + own + own
    assert verdict(LOG.request(0, 5, note=again)).lines == own
    other = Signer(KEY.name, b"\x33" * 32)
    both = note_of(5, LOG.root(5), LOG.signer, other)
    assert verdict(LOG.request(0, 5, note=both), keys=(KEY, other.verifier)).lines == both.partition(b"\n\n")[2]


def test_extension_lines_are_the_logs_own_business():
    text = Checkpoint(KEY.name, 5, LOG.root(5)).text() + b"an extension\n"
    assert verdict(LOG.request(0, 5, note=sign_note(text, [LOG.signer]))).status == 200


REST = LOG.request(0, 5).removeprefix(b"old 0\n")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"old 0\n",
        LOG.note(5),
        b"old 09\n" + REST,
        b"old -1\n" + REST,
        b"old 9223372036854775808\n" + REST,
        b"old  0\n" + REST,
        b"Old 0\n" + REST,
        b"old 0\r\n" + REST,
        b"old 0 \n" + REST,
        b"old 0\nnot base64\n" + REST,
        b"old 0\nAAAA\n" + REST,
        LOG.request(1, 5, proof=[bytes(32)] * 64),
        LOG.request(0, 5, note=LOG.note(5)[:-1]),
        LOG.request(0, 5, note=sign_note(b"no checkpoint\n", [LOG.signer])),
        LOG.request(0, 5, note=LOG.note(5).replace(b"\n5\n", b"\n05\n")),
        LOG.request(0, 5) + b"\x00" * MAX_BODY_SIZE,
    ],
    ids=repr,
)  # fmt: skip
def test_what_is_no_request(body):
    with pytest.raises(MalformedInputError):
        parse_request(body)


def test_a_request_may_have_63_proof_lines():
    assert verdict(LOG.request(1, 5, proof=[bytes(32)] * 63), head(1)).status == 422


def test_a_request_may_have_64_kib():
    body = LOG.request(0, 5)
    room = MAX_BODY_SIZE - len(body) - len(signature_line("", b"abcd", b""))
    lengths = [room // 4 * 3 - less for less in (0, 12)]
    names = ["y" * (1 + MAX_BODY_SIZE - len(body + signature_line("y", b"abcd", bytes(length)))) for length in lengths]
    filled = [
        body + signature_line(name, b"abcd", bytes(length)) for name, length in zip(names, lengths, strict=True) if name
    ]
    assert MAX_BODY_SIZE in {len(each) for each in filled}
    for each in filled:
        assert verdict(each).status == 200
        with pytest.raises(MalformedInputError, match="at most 65536 bytes"):
            parse_request(b"old 0\n" + each)


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 40), st.booleans())
@settings(max_examples=200)
def test_only_what_continues_the_head_is_cosigned(known, old, size, forked):
    log = FORK if forked else LOG
    body = log.request(old, size) if old <= size else log.request(old, size, proof=[])
    accepted = verdict(body, head(known)).status == 200
    assert accepted == (old == known <= size and (not forked or known == 0))
