"""Checkpoints: three lines, one form, one origin, the log's own key."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlog.core.checkpoint import (
    Checkpoint,
    open_checkpoint,
    parse_checkpoint,
    parse_foreign,
    peek_checkpoint,
    sign_checkpoint,
)
from tlog.core.merkle import EMPTY_ROOT
from tlog.core.note import Signer, sign_note
from tlog.errors import MalformedInputError, VerificationError

ORIGIN = "log.example/audit"
LOG = Signer(ORIGIN, bytes(32))
ROOT = bytes(range(32))
ROOT_TEXT = base64.b64encode(ROOT).decode()
CHECKPOINT = Checkpoint(ORIGIN, 20_852_163, ROOT)
TEXT = f"{ORIGIN}\n20852163\n{ROOT_TEXT}\n".encode()
NOTE = sign_checkpoint(CHECKPOINT, LOG)
WITNESS = Signer("witness.example", b"\x01" * 32)


def test_text_and_note():
    assert CHECKPOINT.text() == TEXT
    assert parse_checkpoint(TEXT) == CHECKPOINT
    assert sign_note(TEXT, [LOG]) == NOTE
    assert open_checkpoint(NOTE, LOG.verifier) == CHECKPOINT
    assert peek_checkpoint(NOTE) == CHECKPOINT


def test_the_specifications_example_parses():
    text = b"example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
    checkpoint = parse_checkpoint(text)
    assert (checkpoint.origin, checkpoint.size) == ("example.com/behind-the-sofa", 20_852_163)
    assert checkpoint.text() == text


@given(
    st.text(st.characters(exclude_categories=["Cs", "Zs", "Zl", "Zp", "Cc"], exclude_characters="+"), min_size=1),
    st.integers(1, 2**63 - 1),
    st.binary(min_size=32, max_size=32),
)
def test_checkpoints_round_trip(origin: str, size: int, root: bytes):
    signer = Signer(origin, bytes(32))
    checkpoint = Checkpoint(origin, size, root)
    assert open_checkpoint(sign_checkpoint(checkpoint, signer), signer.verifier) == checkpoint


def test_the_empty_tree_has_one_root():
    empty = Checkpoint(ORIGIN, 0, EMPTY_ROOT)
    assert open_checkpoint(sign_checkpoint(empty, LOG), LOG.verifier) == empty
    with pytest.raises(MalformedInputError, match="another root than the empty tree's"):
        parse_checkpoint(Checkpoint(ORIGIN, 0, ROOT).text())


MALFORMED = {
    "empty": "",
    "one line": f"{ORIGIN}\n",
    "two lines": f"{ORIGIN}\n20852163\n",
    "extension line": f"{ORIGIN}\n20852163\n{ROOT_TEXT}\nextension\n",
    "empty extension line": f"{ORIGIN}\n20852163\n{ROOT_TEXT}\n\n",
    "no newline at the end": f"{ORIGIN}\n20852163\n{ROOT_TEXT}",
    "text behind the last newline": f"{ORIGIN}\n20852163\n{ROOT_TEXT}\nx",
    "no origin": f"\n20852163\n{ROOT_TEXT}\n",
    "origin missing": f"20852163\n{ROOT_TEXT}\n",
    "carriage returns": f"{ORIGIN}\r\n20852163\r\n{ROOT_TEXT}\r\n",
    "line separator between size and root": f"{ORIGIN}\n20852163\u2028{ROOT_TEXT}\n",
    "no root": f"{ORIGIN}\n20852163\n\n",
    "no size": f"{ORIGIN}\n\n{ROOT_TEXT}\n",
    "size with leading zero": f"{ORIGIN}\n020852163\n{ROOT_TEXT}\n",
    "size 00": f"{ORIGIN}\n00\n{ROOT_TEXT}\n",
    "size with plus": f"{ORIGIN}\n+7\n{ROOT_TEXT}\n",
    "negative size": f"{ORIGIN}\n-7\n{ROOT_TEXT}\n",
    "negative zero": f"{ORIGIN}\n-0\n{ROOT_TEXT}\n",
    "size with underscore": f"{ORIGIN}\n1_000\n{ROOT_TEXT}\n",
    "size with space": f"{ORIGIN}\n 7\n{ROOT_TEXT}\n",
    "fullwidth size": f"{ORIGIN}\n\uff17\n{ROOT_TEXT}\n",
    "Arabic size": f"{ORIGIN}\n\u0663\n{ROOT_TEXT}\n",
    "hexadecimal size": f"{ORIGIN}\n0x7\n{ROOT_TEXT}\n",
    "size 2^63": f"{ORIGIN}\n9223372036854775808\n{ROOT_TEXT}\n",
    "size 2^64": f"{ORIGIN}\n18446744073709551616\n{ROOT_TEXT}\n",
    "root of 31 bytes": f"{ORIGIN}\n7\n{base64.b64encode(ROOT[1:]).decode()}\n",
    "root of 33 bytes": f"{ORIGIN}\n7\n{base64.b64encode(ROOT + b'x').decode()}\n",
    "root without padding": f"{ORIGIN}\n7\n{ROOT_TEXT.rstrip('=')}\n",
    "root with padding bits": f"{ORIGIN}\n7\n{ROOT_TEXT[:-2]}9=\n",
    "root with space": f"{ORIGIN}\n7\n{ROOT_TEXT} \n",
    "root in hexadecimal": f"{ORIGIN}\n7\n{ROOT.hex()}\n",
    "root as base64url": f"{ORIGIN}\n7\n{base64.urlsafe_b64encode(b'?' * 32).decode()}\n",
}


@pytest.mark.parametrize("name", MALFORMED)
def test_texts_of_another_form_are_refused(name: str):
    with pytest.raises(MalformedInputError):
        parse_checkpoint(MALFORMED[name].encode())


@pytest.mark.parametrize("origin", [b"\xff", b"log\x80", b"\xed\xa0\x80", b"\xc0\xaf"])
def test_an_origin_that_is_not_utf_8_is_refused(origin: bytes):
    with pytest.raises(MalformedInputError, match="valid UTF-8"):
        parse_checkpoint(origin + TEXT.removeprefix(ORIGIN.encode()))


@given(st.binary(max_size=60))
def test_what_parses_is_what_formats(data: bytes):
    for text in (data, data + TEXT, TEXT + data, f"{ORIGIN}\n".encode() + data + f"\n{ROOT_TEXT}\n".encode()):
        try:
            checkpoint = parse_checkpoint(text)
        except MalformedInputError:
            continue
        assert checkpoint.text() == text


def test_a_signed_text_that_is_no_checkpoint_is_refused():
    for text in (f"{ORIGIN}\n", f"{ORIGIN}\n20852163\n{ROOT_TEXT}\nextension\n", "\n"):
        note = sign_note(text.encode(), [LOG])
        with pytest.raises(MalformedInputError):
            open_checkpoint(note, LOG.verifier)
        with pytest.raises(MalformedInputError):
            peek_checkpoint(note)


@pytest.mark.parametrize("flip", [1, 2, 4, 8, 16, 32, 64, 128, 0x0A, 0x80 ^ 0x20, 255])
def test_no_flipped_byte_is_accepted(flip: int):
    accepted = 0
    for at in range(len(NOTE)):
        changed = bytearray(NOTE)
        changed[at] ^= flip
        try:
            open_checkpoint(bytes(changed), LOG.verifier)
        except (MalformedInputError, VerificationError):
            continue
        accepted += 1
    assert accepted == 0


@pytest.mark.parametrize("length", range(len(NOTE)))
def test_no_shortened_note_is_accepted(length: int):
    with pytest.raises((MalformedInputError, VerificationError)):
        open_checkpoint(NOTE[:length], LOG.verifier)


# --- Whose checkpoint -------------------------------------------------------------------------------------------------


def test_another_logs_origin_is_refused():
    # Signed by the pinned key, but for another log: one key must not speak for two origins (CVE-2022-39199).
    note = sign_note(Checkpoint("other.example", 7, ROOT).text(), [LOG])
    with pytest.raises(VerificationError, match="origin is not the name of the log's key"):
        open_checkpoint(note, LOG.verifier)


def test_another_key_of_the_same_name_is_refused():
    other = Signer(ORIGIN, b"\x02" * 32)
    with pytest.raises(VerificationError, match="no signature of a known key"):
        open_checkpoint(sign_checkpoint(CHECKPOINT, other), LOG.verifier)


def test_a_log_signs_only_its_own_origin():
    with pytest.raises(VerificationError, match="origin is not the name"):
        sign_checkpoint(CHECKPOINT, WITNESS)


def test_known_others_sign_beside_the_log():
    note = sign_note(TEXT, [LOG, WITNESS])
    assert open_checkpoint(note, LOG.verifier) == CHECKPOINT
    assert open_checkpoint(note, LOG.verifier, [WITNESS.verifier]) == CHECKPOINT
    assert open_checkpoint(NOTE, LOG.verifier, [WITNESS.verifier]) == CHECKPOINT


def test_known_others_do_not_replace_the_log():
    with pytest.raises(VerificationError, match="not signed by the log"):
        open_checkpoint(sign_note(TEXT, [WITNESS]), LOG.verifier, [WITNESS.verifier])


def test_not_even_under_the_name_of_the_log():
    namesake = Signer(ORIGIN, b"\x02" * 32)
    with pytest.raises(VerificationError, match="not signed by the log"):
        open_checkpoint(sign_note(TEXT, [namesake]), LOG.verifier, [namesake.verifier])


def test_a_wrong_signature_of_a_known_other_rejects_the_checkpoint():
    wrong = sign_note(b"something else\n", [WITNESS]).partition(b"\n\n")[2]
    assert open_checkpoint(NOTE + wrong, LOG.verifier) == CHECKPOINT
    with pytest.raises(VerificationError, match="does not verify"):
        open_checkpoint(NOTE + wrong, LOG.verifier, [WITNESS.verifier])


def test_peeking_verifies_nothing():
    other = Signer("other.example", b"\x02" * 32)
    assert peek_checkpoint(sign_note(TEXT, [other])) == CHECKPOINT


def test_a_checkpoint_of_any_log_may_have_more_lines():
    """What a witness cosigns is other people's: extension lines are theirs, and an empty tree's root is judged elsewhere."""
    assert parse_foreign(TEXT) == parse_foreign(TEXT + b"an extension\nand more\n") == CHECKPOINT
    assert parse_foreign(Checkpoint(ORIGIN, 0, ROOT).text()).size == 0
    for text in (
        TEXT[:-1],
        TEXT + b"\n",
        TEXT + b"\nx\n",
        b"\n" + TEXT,
        f"{ORIGIN}\n7\n".encode(),
        TEXT.replace(b"2085", b"02085"),
    ):
        with pytest.raises(MalformedInputError):
            parse_foreign(text)
