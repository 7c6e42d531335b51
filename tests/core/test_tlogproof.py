"""Proof files: their exact text, the checkpoint carried verbatim, and the whole way to a verified entry."""

from __future__ import annotations

import base64

import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st

import tlog
from tlog.core.checkpoint import Checkpoint, sign_checkpoint
from tlog.core.note import Signer
from tlog.core.tlogproof import (
    MAX_PROOF_SIZE,
    ConsistencyProof,
    InclusionProof,
    parse_consistency_proof,
    parse_inclusion_proof,
)
from tlog.errors import MalformedInputError, VerificationError

LOG = Signer("log.example/audit", bytes(32))
ENTRIES = reference.entries(9)
NOTE = sign_checkpoint(Checkpoint("log.example/audit", 9, reference.tree_hash(ENTRIES)), LOG)
INCLUSION = InclusionProof(5, tuple(reference.path(5, ENTRIES)), NOTE)
CONSISTENCY = ConsistencyProof(6, tuple(reference.proof(6, ENTRIES)), NOTE)
HASH_LINES = [base64.b64encode(item).decode() for item in INCLUSION.hashes]
HASHES = "".join(f"{item}\n" for item in HASH_LINES)
HEADER = "c2sp.org/tlog-proof@v1\n"

some_hashes = st.lists(st.binary(min_size=32, max_size=32), max_size=63).map(tuple)
some_notes = st.one_of(st.just(NOTE), st.binary(min_size=1, max_size=50))


def test_the_text_of_an_inclusion_proof():
    assert INCLUSION.text() == f"{HEADER}index 5\n{HASHES}\n".encode() + NOTE
    with_extra = INCLUSION._replace(extra=b"opaque\x00")
    assert with_extra.text() == f"{HEADER}extra b3BhcXVlAA==\nindex 5\n{HASHES}\n".encode() + NOTE


def test_the_text_of_a_consistency_proof():
    hashes = "".join(f"{base64.b64encode(item).decode()}\n" for item in CONSISTENCY.hashes)
    assert CONSISTENCY.text() == f"old 6\n{hashes}\n".encode() + NOTE


def test_proofs_without_hashes():
    assert InclusionProof(0, (), NOTE).text() == f"{HEADER}index 0\n\n".encode() + NOTE
    assert ConsistencyProof(0, (), NOTE).text() == b"old 0\n\n" + NOTE


@given(st.integers(0, 2**63 - 1), some_hashes, some_notes, st.none() | st.binary(max_size=20))
def test_inclusion_proofs_round_trip(index: int, hashes: tuple[bytes, ...], note: bytes, extra: bytes | None):
    proof = InclusionProof(index, hashes, note, extra)
    assert parse_inclusion_proof(proof.text()) == proof


@given(st.integers(0, 2**63 - 1), some_hashes, some_notes)
def test_consistency_proofs_round_trip(old_size: int, hashes: tuple[bytes, ...], note: bytes):
    proof = ConsistencyProof(old_size, hashes, note)
    assert parse_consistency_proof(proof.text()) == proof


def test_the_checkpoint_is_carried_verbatim():
    note = b"anything\n\nat all \xff\r\n\n\n"
    assert parse_inclusion_proof(INCLUSION._replace(checkpoint=note).text()).checkpoint == note


def test_an_empty_line_may_begin_the_checkpoint():
    # The first empty line ends the hashes; one more belongs to what follows, which is then no note.
    assert parse_consistency_proof(b"old 0\n\n\n" + NOTE).checkpoint == b"\n" + NOTE


TOO_MANY = HASH_LINES[0] + "\n"

MALFORMED_INCLUSION = {
    "empty": "",
    "empty lines": "\n\n\n\n",
    "header only": HEADER,
    "no checkpoint": f"{HEADER}index 5\n{HASHES}\n",
    "no empty line": f"{HEADER}index 5\n{HASHES}NOTE",
    "no header": f"index 5\n{HASHES}\nNOTE",
    "other version": f"c2sp.org/tlog-proof@v2\nindex 5\n{HASHES}\nNOTE",
    "space behind the header": f"c2sp.org/tlog-proof@v1 \nindex 5\n{HASHES}\nNOTE",
    "line before the header": f"\n{HEADER}index 5\n{HASHES}\nNOTE",
    "header and nothing else": f"{HEADER}\nNOTE",
    "carriage returns": f"{HEADER}index 5\n{HASHES}\nNOTE".replace("\n", "\r\n"),
    "no index": f"{HEADER}{HASHES}\nNOTE",
    "extra and no index": f"{HEADER}extra QUJD\n\nNOTE",
    "index twice": f"{HEADER}index 5\nindex 5\n{HASHES}\nNOTE",
    "index behind the hashes": f"{HEADER}{HASHES}index 5\n\nNOTE",
    "extra behind the index": f"{HEADER}index 5\nextra QUJD\n{HASHES}\nNOTE",
    "extra twice": f"{HEADER}extra QUJD\nextra QUJD\nindex 5\n{HASHES}\nNOTE",
    "extra that is no base64": f"{HEADER}extra QUJ\nindex 5\n{HASHES}\nNOTE",
    "extra with padding bits": f"{HEADER}extra QUI\nindex 5\n{HASHES}\nNOTE",
    "extra without a space": f"{HEADER}extra\nindex 5\n{HASHES}\nNOTE",
    "capital Index": f"{HEADER}Index 5\n{HASHES}\nNOTE",
    "index without a space": f"{HEADER}index5\n{HASHES}\nNOTE",
    "index without a number": f"{HEADER}index \n{HASHES}\nNOTE",
    "two spaces": f"{HEADER}index  5\n{HASHES}\nNOTE",
    "tab": f"{HEADER}index\t5\n{HASHES}\nNOTE",
    "leading zero": f"{HEADER}index 05\n{HASHES}\nNOTE",
    "plus": f"{HEADER}index +5\n{HASHES}\nNOTE",
    "negative": f"{HEADER}index -5\n{HASHES}\nNOTE",
    "underscore": f"{HEADER}index 1_0\n{HASHES}\nNOTE",
    "Arabic digit": f"{HEADER}index \u0665\n{HASHES}\nNOTE",
    "index 2^63": f"{HEADER}index 9223372036854775808\n{HASHES}\nNOTE",
    "hash of 31 bytes": f"{HEADER}index 5\n{base64.b64encode(bytes(31)).decode()}\n\nNOTE",
    "hash of 33 bytes": f"{HEADER}index 5\n{base64.b64encode(bytes(33)).decode()}\n\nNOTE",
    "hash without padding": f"{HEADER}index 5\n{HASH_LINES[0].rstrip('=')}\n\nNOTE",
    "hash in hexadecimal": f"{HEADER}index 5\n{INCLUSION.hashes[0].hex()}\n\nNOTE",
    "space behind a hash": f"{HEADER}index 5\n{HASH_LINES[0]} \n\nNOTE",
    "two hashes on a line": f"{HEADER}index 5\n{HASH_LINES[0]} {HASH_LINES[1]}\n\nNOTE",
    "64 hashes": f"{HEADER}index 5\n{TOO_MANY * 64}\nNOTE",
    "more than 1 MiB": f"{HEADER}index 5\n{HASHES}\n" + "N" * MAX_PROOF_SIZE,
}


@pytest.mark.parametrize("name", MALFORMED_INCLUSION)
def test_inclusion_proofs_of_another_form_are_refused(name: str):
    with pytest.raises(MalformedInputError):
        parse_inclusion_proof(MALFORMED_INCLUSION[name].encode())


MALFORMED_CONSISTENCY = {
    "empty": "",
    "no checkpoint": f"old 6\n{HASHES}\n",
    "no empty line": f"old 6\n{HASHES}NOTE",
    "no old size": f"{HASHES}\nNOTE",
    "nothing before the checkpoint": "\n\nNOTE",
    "old size twice": f"old 6\nold 6\n{HASHES}\nNOTE",
    "leading zero": f"old 06\n{HASHES}\nNOTE",
    "plus": f"old +6\n{HASHES}\nNOTE",
    "negative": f"old -6\n{HASHES}\nNOTE",
    "another word": f"new 6\n{HASHES}\nNOTE",
    "old size 2^63": f"old 9223372036854775808\n{HASHES}\nNOTE",
    "hash of 31 bytes": f"old 6\n{base64.b64encode(bytes(31)).decode()}\n\nNOTE",
    "64 hashes": f"old 6\n{TOO_MANY * 64}\nNOTE",
    "an inclusion proof": f"{HEADER}index 5\n{HASHES}\nNOTE",
    "more than 1 MiB": f"old 6\n{HASHES}\n" + "N" * MAX_PROOF_SIZE,
}


@pytest.mark.parametrize("name", MALFORMED_CONSISTENCY)
def test_consistency_proofs_of_another_form_are_refused(name: str):
    with pytest.raises(MalformedInputError):
        parse_consistency_proof(MALFORMED_CONSISTENCY[name].encode())


def test_63_hashes_are_the_most():
    parse_inclusion_proof(f"{HEADER}index 5\n{TOO_MANY * 63}\nNOTE".encode())
    parse_consistency_proof(f"old 6\n{TOO_MANY * 63}\nNOTE".encode())


def test_refusing_hashes_names_what_is_wrong():
    with pytest.raises(MalformedInputError, match="at most 63 hashes, not 64"):
        parse_inclusion_proof(f"{HEADER}index 5\n{TOO_MANY * 64}\nNOTE".encode())
    with pytest.raises(MalformedInputError, match="its 'index <number>' line"):
        parse_inclusion_proof(f"{HEADER}\nNOTE".encode())


# --- The whole way ----------------------------------------------------------------------------------------------------


def verify_entry(data: bytes, entry: bytes, vkey: str) -> int:
    """Do what a holder of a tlog-proof does, with tlog's public names; return the index."""
    proof = tlog.parse_inclusion_proof(data)
    checkpoint = tlog.open_checkpoint(proof.checkpoint, tlog.parse_vkey(vkey))
    tlog.verify_inclusion(proof.index, checkpoint.size, tlog.leaf_hash(entry), proof.hashes, checkpoint.root)
    return proof.index


def test_an_entry_verifies():
    assert verify_entry(INCLUSION.text(), ENTRIES[5], LOG.verifier.vkey()) == 5


def test_an_older_tree_verifies():
    proof = tlog.parse_consistency_proof(CONSISTENCY.text())
    checkpoint = tlog.open_checkpoint(proof.checkpoint, LOG.verifier)
    old_root = reference.tree_hash(ENTRIES[:6])
    tlog.verify_consistency(proof.old_size, checkpoint.size, old_root, checkpoint.root, proof.hashes)


@pytest.mark.parametrize("entry", [ENTRIES[4], b"", ENTRIES[5] + b" ", ENTRIES[5][:-1]])
def test_another_entry_does_not(entry: bytes):
    with pytest.raises(VerificationError):
        verify_entry(INCLUSION.text(), entry, LOG.verifier.vkey())


def test_no_changed_byte_is_accepted():
    data = INCLUSION.text()
    for at in range(len(data)):
        for flip in (1, 2, 16, 32, 128):
            changed = bytearray(data)
            changed[at] ^= flip
            with pytest.raises((MalformedInputError, VerificationError)):
                verify_entry(bytes(changed), ENTRIES[5], LOG.verifier.vkey())
