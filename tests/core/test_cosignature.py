"""Cosignatures: public vectors, every byte changed, every form of a key that is not one."""

from __future__ import annotations

import base64
import json
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import ROOT

from tlog.core.checkpoint import Checkpoint, sign_checkpoint
from tlog.core.cosignature import (
    ED25519,
    MAX_TIME,
    ML_DSA_44,
    Cosigner,
    CosigningKey,
    cosigned_message,
    parse_cosigner,
    parse_cosigning_key,
    read_cosignatures,
)
from tlog.core.note import Signer, format_key, key_id_of, open_note, signature_line, split_note
from tlog.errors import MalformedInputError, VerificationError

VECTORS = ROOT / "tests" / "vectors" / "sunlight"
ORIGIN = "log.example/audit"
TEXT = Checkpoint(ORIGIN, 7, bytes(range(32))).text()
LOG = Signer(ORIGIN, bytes(32))
KINDS = (ED25519, ML_DSA_44)
KEYS = {kind: CosigningKey("witness.example/w1", bytes([kind]) * 32, kind) for kind in KINDS}
TIME = 1_679_315_147


@pytest.mark.parametrize("name", ["witness", "mirror"])
def test_public_vectors_verify(name):
    (vkey,) = json.loads((VECTORS / f"{name}.v0.json").read_text())["verifier_keys"]
    cosigner = parse_cosigner(vkey)
    assert cosigner.vkey() == vkey
    note = (VECTORS / f"{name}.checkpoint").read_bytes()
    assert open_note(note, [cosigner]).verified == (cosigner,)
    text = split_note(note)[0]
    (found,) = read_cosignatures(text, note.removeprefix(text + b"\n"), [cosigner])
    assert found.time == 1_767_139_200
    assert found.line() in note
    with pytest.raises(VerificationError, match=r"the cosignature of \w+\.example\.org does not verify"):
        open_note(note.replace(b"\n300\n", b"\n301\n"), [cosigner])


def test_the_message_of_the_specification():
    text = b"example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
    assert cosigned_message(text, TIME, "w", ED25519) == b"cosignature/v1\ntime 1679315147\n" + text


def test_the_structure_of_the_specification():
    """The members of c2sp.org/tlog-cosignature `cosigned_message`, laid out by hand."""
    name = b"witness.example/w1"
    expected = b"subtree/v1\n\0" + bytes([len(name)]) + name + struct.pack(">Q", TIME)
    expected += bytes([len(ORIGIN)]) + ORIGIN.encode() + struct.pack(">QQ", 0, 7) + bytes(range(32))
    assert cosigned_message(TEXT, TIME, name.decode(), ML_DSA_44) == expected


@pytest.mark.parametrize("kind", KINDS)
def test_a_cosignature_is_a_line_that_verifies(kind):
    key = KEYS[kind]
    cosignature = key.cosign(TEXT, TIME)
    note = sign_checkpoint(Checkpoint(ORIGIN, 7, bytes(range(32))), LOG) + cosignature.line()
    assert open_note(note, [LOG.verifier, key.cosigner]).verified == (LOG.verifier, key.cosigner)
    size = {ED25519: 72, ML_DSA_44: 2428}[kind]
    (_, (name, key_id, signature)) = split_note(note)[1]
    assert (name, key_id, len(signature)) == ("witness.example/w1", key.cosigner.key_id, size)
    assert key.cosigner.verify(TEXT, signature) == TIME
    # Extension lines are signed by type 0x04, and no part of what type 0x06 says.
    extended = TEXT + b"more\n"
    if kind == ED25519:
        with pytest.raises(VerificationError):
            key.cosigner.verify(extended, signature)
    else:
        assert key.cosigner.verify(extended, signature) == TIME


@pytest.mark.parametrize("kind", KINDS)
def test_every_changed_byte_of_a_note_is_noticed(kind):
    """Whatever byte of a cosigned note changes, the cosignature does not count for the text as it was."""
    key = KEYS[kind]
    note = TEXT + b"\n" + key.cosign(TEXT, TIME).line()
    step = 1 if kind == ED25519 else 41
    for place in range(0, len(note), step):
        for bit in (1, 0x80):
            changed = bytearray(note)
            changed[place] ^= bit
            with pytest.raises((VerificationError, MalformedInputError)):
                open_note(bytes(changed), [key.cosigner])


@given(st.integers(1, MAX_TIME), st.binary(min_size=32, max_size=32), st.integers(1, 2**63 - 1))
@settings(max_examples=50)
def test_cosignatures_round_trip(time, root, size):
    text = Checkpoint(ORIGIN, size, root).text()
    for key in KEYS.values():
        cosignature = key.cosign(text, time)
        assert read_cosignatures(text, cosignature.line(), [key.cosigner]) == [cosignature]


@pytest.mark.parametrize("time", [0, -1, MAX_TIME + 1])
def test_a_time_that_is_none_is_not_signed(time):
    with pytest.raises(MalformedInputError, match="the time of a cosignature"):
        KEYS[ED25519].cosign(TEXT, time)


@pytest.mark.parametrize("time", [0, MAX_TIME + 1])
def test_a_time_that_is_none_does_not_verify(time):
    signature = struct.pack(">Q", time) + bytes(64)
    with pytest.raises(VerificationError):
        KEYS[ED25519].cosigner.verify(TEXT, signature)


@pytest.mark.parametrize("kind", KINDS)
def test_a_cosignature_of_another_length_does_not_verify(kind):
    cosigner, whole = KEYS[kind].cosigner, struct.pack(">Q", TIME) + KEYS[kind].cosign(TEXT, TIME).signature
    assert cosigner.verify(TEXT, whole) == TIME
    for other in (b"", whole[:7], whole[:-1], whole + b"\0"):
        with pytest.raises(VerificationError, match="does not verify"):
            cosigner.verify(TEXT, other)


def test_only_checkpoints_are_cosigned():
    with pytest.raises(MalformedInputError):
        KEYS[ED25519].cosign(b"a text\n", TIME)


def test_an_origin_that_does_not_fit_is_not_cosigned_by_ml_dsa():
    text = Checkpoint("a" * 256, 7, bytes(32)).text()
    assert KEYS[ED25519].cosign(text, TIME).time == TIME
    with pytest.raises(MalformedInputError, match="more than 255 bytes"):
        KEYS[ML_DSA_44].cosign(text, TIME)


def test_lines_of_others_and_lines_that_fail_are_left_out():
    """Threat A38: whoever may add lines to a note cannot make them count."""
    key, other = KEYS[ED25519], CosigningKey("witness.example/w2", bytes(32))
    good = key.cosign(TEXT, TIME)
    forged = signature_line(key.cosigner.name, key.cosigner.key_id, struct.pack(">Q", TIME) + bytes(64))
    lines = forged + other.cosign(TEXT, TIME).line() + good.line()
    assert read_cosignatures(TEXT, lines, [key.cosigner]) == [good]
    with pytest.raises(MalformedInputError):
        read_cosignatures(TEXT, b"no signature line\n", [key.cosigner])


@pytest.mark.parametrize("kind", KINDS)
def test_keys_round_trip(kind):
    key = KEYS[kind]
    again = parse_cosigning_key(key.skey())
    assert again.cosigner == key.cosigner == parse_cosigner(key.cosigner.vkey())
    assert again.skey() == key.skey()
    secret = base64.b64encode(bytes([kind]) * 33).decode()
    assert secret in key.skey()
    assert secret not in repr(key)
    assert repr(key) == f"CosigningKey({key.cosigner.vkey()})"


def made(name, kind, key):
    return format_key(name, key_id_of(name, kind, key), kind, key)


GOOD = KEYS[ED25519].cosigner


@pytest.mark.parametrize(
    "vkey, message",
    [
        ("witness", "has the form <name>"),
        (LOG.verifier.vkey(), "signature type 0x01"),
        (made("w", 5, bytes(32)), "signature type 0x05"),
        (made("w", ED25519, GOOD.public_key[:31]), "has 32 bytes of key, not 31"),
        (made("w", ML_DSA_44, GOOD.public_key), "has 1312 bytes of key, not 32"),
        (made("w", ED25519, b"\1" + bytes(31)), "small order"),
        (made("w w", ED25519, GOOD.public_key), "a key name"),
        (f"w+{GOOD.key_id.hex()}+", "is empty"),
        (GOOD.vkey().replace("w1", "w2"), "the key ID does not belong"),
        (GOOD.vkey() + "=", "base64"),
    ],
)
def test_what_is_no_key_of_a_cosigner(vkey, message):
    with pytest.raises(MalformedInputError, match=message):
        parse_cosigner(vkey)


@pytest.mark.parametrize(
    "skey, message",
    [
        ("PRIVATE+KEY+w", "an skey has the form"),
        (GOOD.vkey(), "an skey has the form"),
        (LOG.skey(), "signature type 0x01"),
        ("PRIVATE+KEY+" + made("w", ED25519, bytes(31)), "has 32 bytes, not 31"),
        (KEYS[ED25519].skey().replace("w1", "w2"), "the key ID does not belong"),
    ],
)
def test_what_is_no_private_key_of_a_cosigner(skey, message):
    with pytest.raises(MalformedInputError, match=message):
        parse_cosigning_key(skey)


def test_a_name_is_a_key_name():
    with pytest.raises(MalformedInputError, match="a key name"):
        CosigningKey("a b", bytes(32))


def test_types_have_ids_of_their_own():
    assert Cosigner("a", GOOD.public_key).key_id != key_id_of("a", 1, GOOD.public_key)
