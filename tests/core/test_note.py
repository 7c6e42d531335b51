"""Signed notes, vkeys and skeys: known answers of other implementations, and every form that is not one."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlog.core.note import (
    MAX_NOTE_SIZE,
    MAX_SIGNATURES,
    Note,
    Signer,
    Verifier,
    check_key_name,
    check_public_key,
    open_note,
    parse_skey,
    parse_vkey,
    sign_note,
    split_note,
)
from tlog.core.strict import encode_base64, parse_base64
from tlog.errors import MalformedInputError, VerificationError

# Known answers of the Go note package (golang.org/x/mod/sumdb/note).
PETER_SKEY = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
PETER_VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
ENOCH_VKEY = "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop"
TEXT = b"If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
PETER_BASE64 = b"x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM="
PETER_LINE = "— PeterNeumann ".encode() + PETER_BASE64 + b"\n"
ENOCH_BASE64 = b"rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWLox33WWd1RvMc+QQ="
ENOCH_LINE = "— EnochRoot ".encode() + ENOCH_BASE64 + b"\n"
PETER = parse_vkey(PETER_VKEY)
ENOCH = parse_vkey(ENOCH_VKEY)

# The example of c2sp.org/signed-note.
C2SP_VKEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
C2SP_NOTE = """This is an example message.

— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=
""".encode()


def line(name: str, data: bytes) -> bytes:
    return f"— {name} ".encode() + encode_base64(data) + b"\n"


def corrupt(signature_line: bytes) -> bytes:
    """Return the line with the same name and key ID, and one bit of its signature changed."""
    prefix, encoded = signature_line.rsplit(b" ", 1)
    data = bytearray(parse_base64(encoded.strip(), "a signature"))
    data[20] ^= 1
    return prefix + b" " + encode_base64(bytes(data)) + b"\n"


# --- Opening ----------------------------------------------------------------------------------------------------------


def test_the_specifications_example():
    verifier = parse_vkey(C2SP_VKEY)
    assert verifier.name == "example.com/foo"
    assert verifier.vkey() == C2SP_VKEY
    assert open_note(C2SP_NOTE, [verifier]) == Note(b"This is an example message.\n", (verifier,))


@pytest.mark.parametrize(
    ("lines", "verifiers", "verified"),
    [
        ([PETER_LINE], [PETER], (PETER,)),
        ([PETER_LINE, ENOCH_LINE], [PETER], (PETER,)),
        ([PETER_LINE, ENOCH_LINE], [ENOCH], (ENOCH,)),
        ([PETER_LINE, ENOCH_LINE], [ENOCH, PETER], (PETER, ENOCH)),
        ([ENOCH_LINE, PETER_LINE], [ENOCH, PETER], (ENOCH, PETER)),
        ([PETER_LINE, PETER_LINE], [PETER], (PETER,)),
        # Unknown signatures are ignored, be they wrong or repeated.
        ([PETER_LINE, PETER_LINE, ENOCH_LINE, ENOCH_LINE, corrupt(ENOCH_LINE)], [PETER], (PETER,)),
        # Name or ID of a known key, but not both: unknown.
        ([PETER_LINE, line("PeterNeumann", b"\xc7\x4f\x20\xa4" + bytes(64))], [PETER], (PETER,)),
        ([PETER_LINE, line("PeterNeuman", b"\xc7\x4f\x20\xa3" + bytes(64))], [PETER], (PETER,)),
        # Signatures of other types have other lengths.
        ([line("pq.example", b"\x01\x02\x03\x04" + bytes(5000)), PETER_LINE], [PETER], (PETER,)),
        ([line("x", b"\x01\x02\x03\x04\x05"), PETER_LINE], [PETER], (PETER,)),
        ([PETER_LINE] * MAX_SIGNATURES, [PETER], (PETER,)),
        ([*[ENOCH_LINE] * (MAX_SIGNATURES - 1), PETER_LINE], [PETER], (PETER,)),
    ],
)
def test_signatures_of_known_keys_are_checked_and_others_ignored(lines, verifiers, verified):
    assert open_note(TEXT + b"\n" + b"".join(lines), verifiers) == Note(TEXT, verified)


@pytest.mark.parametrize(
    ("lines", "verifiers"),
    [
        ([PETER_LINE, ENOCH_LINE], []),
        ([PETER_LINE], [ENOCH]),
        ([line("PeterNeuman", parse_base64(PETER_BASE64, ""))], [PETER]),
        ([line("CarmenSandiego", parse_base64(PETER_BASE64, ""))], [PETER]),
        ([line("PeterNeumann", b"\xc7\x4f\x20\xa4" + parse_base64(PETER_BASE64, "")[4:])], [PETER]),
    ],
)
def test_a_note_without_any_known_signature_is_refused(lines, verifiers):
    with pytest.raises(VerificationError, match="no signature of a known key"):
        open_note(TEXT + b"\n" + b"".join(lines), verifiers)


@pytest.mark.parametrize(
    "lines",
    [
        [corrupt(PETER_LINE)],
        [PETER_LINE, corrupt(PETER_LINE)],
        [corrupt(PETER_LINE), PETER_LINE],
        [ENOCH_LINE, corrupt(PETER_LINE)],
        [PETER_LINE, corrupt(ENOCH_LINE)],
        [line("PeterNeumann", b"\xc7\x4f\x20\xa3" + parse_base64(ENOCH_BASE64, "")[4:])],
        # Key ID and name are right; the signature is shorter or longer than any Ed25519 signature.
        [ENOCH_LINE, line("PeterNeumann", parse_base64(PETER_BASE64, "")[:-1])],
        [ENOCH_LINE, line("PeterNeumann", parse_base64(PETER_BASE64, "") + b"\x00")],
        [ENOCH_LINE, line("PeterNeumann", b"\xc7\x4f\x20\xa3\x00")],
        [ENOCH_LINE, line("PeterNeumann", b"\xc7\x4f\x20\xa3" + bytes(64))],
    ],
)
def test_one_wrong_signature_of_a_known_key_rejects_the_note(lines):
    with pytest.raises(VerificationError, match="does not verify"):
        open_note(TEXT + b"\n" + b"".join(lines), [PETER, ENOCH])


def test_a_signature_with_its_scalar_plus_the_group_order_is_refused():
    order = 2**252 + 27742317777372353535851937790883648493
    data = parse_base64(PETER_BASE64, "")
    scalar = int.from_bytes(data[36:], "little") + order
    assert scalar < 2**256
    with pytest.raises(VerificationError, match="does not verify"):
        open_note(TEXT + b"\n" + line("PeterNeumann", data[:36] + scalar.to_bytes(32, "little")), [PETER])


def test_another_text_is_refused():
    for at in range(len(TEXT) - 1):
        changed = bytearray(TEXT)
        changed[at] ^= 1
        with pytest.raises((VerificationError, MalformedInputError)):
            open_note(bytes(changed) + b"\n" + PETER_LINE, [PETER])


@pytest.mark.parametrize("verifiers", [[PETER, PETER], [ENOCH, PETER, ENOCH]])
def test_ambiguous_verifiers_are_refused(verifiers):
    with pytest.raises(MalformedInputError, match="two verifiers share"):
        open_note(TEXT + b"\n" + PETER_LINE, verifiers)


def test_two_keys_of_one_name_are_not_ambiguous():
    old, new = Signer("log.example", bytes(32)), Signer("log.example", b"\x01" * 32)
    note = sign_note(TEXT, [old, new])
    assert open_note(note, [new.verifier]).verified == (new.verifier,)
    assert open_note(note, [new.verifier, old.verifier]).verified == (old.verifier, new.verifier)


MALFORMED = {
    "empty": b"",
    "text only": TEXT,
    "no signature": TEXT + b"\n",
    "no newline at the end": TEXT + b"\n" + PETER_LINE[:-1],
    "no empty line": TEXT + PETER_LINE,
    "text without newline": TEXT[:-1] + b"\n" + PETER_LINE,
    "nothing before the signatures": b"\n" + PETER_LINE,
    "empty line at the end": TEXT + b"\n" + PETER_LINE + b"\n",
    "text behind the signatures": TEXT + b"\n" + PETER_LINE + b"Unexpected line.\n",
    "text before the signatures": TEXT + b"\nUnexpected line.\n" + PETER_LINE,
    "control character in the text": b"\x01" + TEXT + b"\n" + PETER_LINE,
    "NUL in the text": b"\x00" + TEXT + b"\n" + PETER_LINE,
    "tab in the text": b"\t" + TEXT + b"\n" + PETER_LINE,
    "carriage returns": (TEXT + b"\n" + PETER_LINE).replace(b"\n", b"\r\n"),
    "carriage return in the signature line": TEXT + b"\n" + PETER_LINE[:-1] + b"\r\n",
    "not UTF-8 in the text": b"\xff" + TEXT + b"\n" + PETER_LINE,
    "overlong UTF-8": b"\xc0\x80" + TEXT + b"\n" + PETER_LINE,
    "a surrogate in UTF-8": b"\xed\xa0\x80" + TEXT + b"\n" + PETER_LINE,
    "not UTF-8 in a key name": TEXT + b"\n" + "— \udcff".encode("utf-8", "surrogateescape") + b" QUJDREU=\n",
    "UTF-16": (TEXT + b"\n" + PETER_LINE).decode().encode("utf-16"),
    "hyphen for the dash": TEXT + b"\n" + PETER_LINE.replace("—".encode(), b"-"),
    "en dash for the dash": TEXT + b"\n" + PETER_LINE.replace("—".encode(), "\u2013".encode()),
    "space before the dash": TEXT + b"\n " + PETER_LINE,
    "no space behind the dash": TEXT + b"\n" + PETER_LINE.replace("— ".encode(), "—".encode()),
    "two spaces behind the dash": TEXT + b"\n" + PETER_LINE.replace("— ".encode(), "—  ".encode()),
    "no-break space behind the dash": TEXT + b"\n" + PETER_LINE.replace("— ".encode(), "—\xa0".encode()),
    "name only": TEXT + b"\n" + "— PeterNeumann\n".encode(),
    "name and space only": TEXT + b"\n" + "— PeterNeumann \n".encode(),
    "no name": TEXT + b"\n" + "—  ".encode() + PETER_BASE64 + b"\n",
    "space in the name": TEXT + b"\n" + "— Bad Name ".encode() + PETER_BASE64 + b"\n",
    "no-break space in the name": TEXT + b"\n" + "— Bad\xa0Name ".encode() + PETER_BASE64 + b"\n",
    "ideographic space in the name": TEXT + b"\n" + "— Bad\u3000Name ".encode() + PETER_BASE64 + b"\n",
    "line separator in the name": TEXT + b"\n" + "— Bad\u2028Name ".encode() + PETER_BASE64 + b"\n",
    "next line in the name": TEXT + b"\n" + "— Bad\x85Name ".encode() + PETER_BASE64 + b"\n",
    "plus in the name": TEXT + b"\n" + "— Bad+Name ".encode() + PETER_BASE64 + b"\n",
    "two spaces before the signature": TEXT + b"\n" + PETER_LINE.replace(b" x08", b"  x08"),
    "space behind the signature": TEXT + b"\n" + PETER_LINE[:-1] + b" \n",
    "no padding": TEXT + b"\n" + PETER_LINE.replace(b"=", b""),
    "base64url": TEXT + b"\n" + PETER_LINE.replace(b"/", b"_"),
    "padding bits": TEXT + b"\n" + PETER_LINE.replace(b"nAM=", b"nAN="),
    "key ID without signature": TEXT + b"\n" + line("PeterNeumann", b"\xc7\x4f\x20\xa3"),
    "three bytes": TEXT + b"\n" + line("PeterNeumann", b"\xc7\x4f\x20"),
    "an unknown line of no form": TEXT + b"\n" + PETER_LINE + "— x !\n".encode(),
    "more than 100 signatures": TEXT + b"\n" + PETER_LINE * (MAX_SIGNATURES + 1),
    "more than 100 unknown signatures": TEXT + b"\n" + ENOCH_LINE * MAX_SIGNATURES + PETER_LINE,
    "more than 1 MiB": TEXT + b"x" * MAX_NOTE_SIZE + b"\n\n" + PETER_LINE,
}


@pytest.mark.parametrize("name", MALFORMED)
def test_notes_of_another_form_are_refused(name: str):
    for verifiers in ([PETER], []):
        with pytest.raises(MalformedInputError):
            open_note(MALFORMED[name], verifiers)


def test_the_last_empty_line_separates():
    signer = Signer("log.example", bytes(32))
    for text in (b"\n", b"\n\n", b"a\n\n", b"\n\na\n", b"a\n\nb\n\n\nc\n", b"a\n\n" + PETER_LINE):
        note = sign_note(text, [signer])
        assert open_note(note, [signer.verifier]).text == text


def test_other_line_separators_are_text():
    text = "one\u2028line\u0085with\u2029many\n".encode()
    signer = Signer("log.example", bytes(32))
    assert open_note(sign_note(text, [signer]), [signer.verifier]).text == text


def test_splitting_verifies_nothing():
    assert split_note(TEXT + b"\n" + corrupt(PETER_LINE))[0] == TEXT
    _, [(name, key_id, signature)] = split_note(TEXT + b"\n" + PETER_LINE)
    assert (name, key_id, len(signature)) == ("PeterNeumann", PETER.key_id, 64)


@given(st.binary(max_size=200))
def test_any_bytes_open_or_raise_one_of_two_errors(data: bytes):
    for note in (data, TEXT + b"\n" + data, TEXT + b"\n" + "— ".encode() + data + b"\n"):
        with pytest.raises((MalformedInputError, VerificationError)):
            open_note(note, [PETER])


# --- Signing ----------------------------------------------------------------------------------------------------------


def test_signing_gives_the_known_note():
    assert sign_note(TEXT, [parse_skey(PETER_SKEY)]) == TEXT + b"\n" + PETER_LINE


@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20), max_size=6),
    st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=3, unique=True),
)
def test_signed_notes_open(lines: list[str], seeds: list[bytes]):
    text = "".join(f"{item}\n" for item in lines).encode() or b"\n"
    signers = [Signer(f"key-{number}.example", seed) for number, seed in enumerate(seeds)]
    verifiers = [signer.verifier for signer in signers]
    assert open_note(sign_note(text, signers), verifiers) == Note(text, tuple(verifiers))


@pytest.mark.parametrize("text", [b"", b"abc", b"a\nb", b"a\x00\n", b"a\r\n", b"\t\n", b"\xff\n", b"\xed\xa0\x80\n"])
def test_a_text_that_could_not_be_opened_is_not_signed(text: bytes):
    with pytest.raises(MalformedInputError):
        sign_note(text, [parse_skey(PETER_SKEY)])


# --- Keys -------------------------------------------------------------------------------------------------------------


def mangled(key: str) -> list[str]:
    """Return every proper substring, and the key with each character replaced by the next one."""
    length = len(key)
    cuts = [
        key[start:end] for start in range(length + 1) for end in range(start, length + 1) if (start, end) != (0, length)
    ]
    return cuts + [key[:at] + chr(ord(key[at]) + 1) + key[at + 1 :] for at in range(length)]


def with_key_id(name: str, key: bytes) -> str:
    """Return a vkey with the key ID that belongs to name and key, whatever the key is."""
    key_id = sha256(name.encode(errors="replace") + b"\n" + key).digest()[:4]
    return f"{name}+{key_id.hex()}+{encode_base64(key).decode()}"


def test_known_keys_round_trip():
    signer = parse_skey(PETER_SKEY)
    assert signer.skey() == PETER_SKEY
    assert signer.verifier == PETER
    assert signer.verifier.vkey() == PETER_VKEY
    assert PETER.key_id.hex() == "c74f20a3"


@given(st.binary(min_size=32, max_size=32), st.sampled_from(["a", "example.com/log", "ü-\u200b", "PRIVATE"]))
def test_keys_round_trip(seed: bytes, name: str):
    signer = Signer(name, seed)
    again = parse_skey(signer.skey())
    assert again.verifier == parse_vkey(signer.verifier.vkey()) == signer.verifier
    assert again.sign(b"text\n") == signer.sign(b"text\n")
    signer.verifier.verify(b"text\n", signer.sign(b"text\n"))


@pytest.mark.parametrize("key", [PETER_VKEY, ENOCH_VKEY, C2SP_VKEY])
def test_every_mangled_vkey_is_refused(key: str):
    parse_vkey(key)
    for wrong in mangled(key):
        with pytest.raises(MalformedInputError):
            parse_vkey(wrong)


def test_every_mangled_skey_is_refused_without_repeating_it():
    secret = PETER_SKEY.split("+", 4)[4]
    parts = {secret[at : at + 6] for at in range(len(secret) - 5)}
    for wrong in mangled(PETER_SKEY):
        with pytest.raises(MalformedInputError) as refused:
            parse_skey(wrong)
        assert not any(part in str(refused.value) for part in parts)


@pytest.mark.parametrize(
    ("vkey", "message"),
    [
        # The Go package's cases: a key of the wrong length and an unknown type, with key IDs that belong.
        ("PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY==", "the vkey"),
        ("PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", "signature type 0x65"),
        (with_key_id("a", b"\x01" + PETER.public_key + b"\x00"), "34 bytes, not 33"),
        (with_key_id("a", b"\x01" + PETER.public_key[:-1]), "32 bytes, not 33"),
        (with_key_id("a", b""), "the key of the vkey is empty"),
        (with_key_id("a", b"\x02" + PETER.public_key), "signature type 0x02"),
        (with_key_id("a", b"\x04" + PETER.public_key), "signature type 0x04"),
        (with_key_id("a", b"\x06" + PETER.public_key), "signature type 0x06"),
        (with_key_id("a", b"\xff" + PETER.public_key), "signature type 0xff"),
        (with_key_id("a b", b"\x01" + PETER.public_key), "a key name must be"),
        (with_key_id("a\u3000b", b"\x01" + PETER.public_key), "a key name must be"),
        (with_key_id("a\x07b", b"\x01" + PETER.public_key), "a key name must be"),
        (with_key_id("", b"\x01" + PETER.public_key), "a key name must be"),
        (with_key_id("a\ud800", b"\x01" + PETER.public_key), "valid Unicode"),
        (PETER_VKEY.replace("c74f20a3", "C74F20A3"), "key ID does not belong"),
        (PETER_VKEY.replace("c74f20a3", "0c74f20a3"), "key ID does not belong"),
        (PETER_VKEY.replace("c74f20a3", "c74f20a4"), "key ID does not belong"),
        (PETER_VKEY.replace("c74f20a3", ""), "key ID does not belong"),
        (PETER_VKEY.replace("PeterNeumann", "PeterNeuman"), "key ID does not belong"),
        (PETER_VKEY + "\n", "canonical base64"),
        (PETER_VKEY + "\ud800", "canonical base64"),
        (" " + PETER_VKEY, "a key name must be"),
        (PETER_VKEY.replace("/", "_"), "canonical base64"),
        ("PeterNeumann", "a vkey has the form"),
        ("PeterNeumann+c74f20a3", "a vkey has the form"),
        ("", "a vkey has the form"),
        (PETER_SKEY, "the vkey"),
    ],
)
def test_vkeys_of_another_form_are_refused(vkey: str, message: str):
    with pytest.raises(MalformedInputError, match=message):
        parse_vkey(vkey)


@pytest.mark.parametrize(
    ("skey", "message"),
    [
        (PETER_VKEY, "an skey has the form"),
        (PETER_SKEY.lower(), "an skey has the form"),
        (PETER_SKEY.replace("PRIVATE+KEY+", "PRIVATE+KEX+"), "an skey has the form"),
        (PETER_SKEY.replace("c74f20a3", "c74f20a4"), "key ID does not belong"),
        (PETER_SKEY.replace("+AY", "+BY"), "signature type 0x05"),
        (PETER_SKEY.replace("PeterNeumann", "Peter Neumann"), "a key name must be"),
        (PETER_SKEY[:-4], "the skey has 30 bytes, not 33"),
        (PETER_SKEY + "\n", "canonical base64"),
    ],
)
def test_skeys_of_another_form_are_refused(skey: str, message: str):
    with pytest.raises(MalformedInputError, match=message):
        parse_skey(skey)


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_a_seed_of_another_length_is_refused(length: int):
    with pytest.raises(MalformedInputError, match=f"32 bytes, not {length}"):
        Signer("a", bytes(length))


def test_a_signer_shows_no_secret():
    signer = parse_skey(PETER_SKEY)
    secret = PETER_SKEY.split("+", 4)[4]
    seed = parse_base64(secret.encode(), "")[1:]
    for text in (repr(signer), str(signer), f"{signer}", repr([signer])):
        assert PETER_VKEY in text
        assert secret not in text
        assert seed.hex() not in text


@pytest.mark.parametrize(
    "name", ["", " ", "a b", "a\tb", "a\nb", "a+b", "+", "a\u00a0b", "a\u2003b", "\x1f", "\x00", "x" * 256, "é" * 128]
)
def test_bad_key_names_are_refused(name: str):
    with pytest.raises(MalformedInputError, match="a key name must be"):
        check_key_name(name)
    with pytest.raises(MalformedInputError):
        Signer(name, bytes(32))


@pytest.mark.parametrize("name", ["a", "example.com/log42", "ü", "a\u200bb", "日本", "x" * 255, "é" * 127])
def test_other_key_names_are_good(name: str):
    check_key_name(name)


# The encodings of the eight points of small order: canonical ones, with the sign of x = 0 set, and not reduced.
SMALL_ORDER = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000080",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
]


@pytest.mark.parametrize("encoding", SMALL_ORDER)
def test_keys_of_small_order_are_refused(encoding: str):
    key = bytes.fromhex(encoding)
    with pytest.raises(MalformedInputError, match="of small order"):
        check_public_key(key)
    with pytest.raises(MalformedInputError, match="of small order"):
        parse_vkey(with_key_id("a", b"\x01" + key))


def test_without_that_refusal_one_signature_would_do_for_every_text():
    identity = bytes.fromhex(SMALL_ORDER[0])
    for text in (b"one\n", b"another\n"):
        Verifier("a", identity).verify(text, identity + bytes(32))


@pytest.mark.parametrize("sign", [0, 1])
def test_keys_that_are_not_reduced_are_refused(sign: int):
    for y in range(2**255 - 19, 2**255):
        with pytest.raises(MalformedInputError, match="not canonical"):
            check_public_key((y | sign << 255).to_bytes(32, "little"))


@pytest.mark.parametrize("length", [0, 31, 33])
def test_public_keys_of_another_length_are_refused(length: int):
    with pytest.raises(MalformedInputError, match=f"32 bytes, not {length}"):
        check_public_key(bytes(length))


@given(st.binary(min_size=32, max_size=32))
def test_keys_of_large_order_are_good(seed: bytes):
    check_public_key(Signer("a", seed).verifier.public_key)
