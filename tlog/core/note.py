"""Signed notes, verifier keys and signer keys.

Implements c2sp.org/signed-note and signature type 0x01 (Ed25519, RFC 8032), the type of a log's key, with the `PRIVATE+KEY+…`
encoding of signer keys that the Go note package writes. Cosignatures have types of their own (`tlog.core.cosignature`); a note
is opened with keys of any type, and lines of unknown keys are ignored, as the specification asks.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from tlog.core.strict import encode_base64, parse_base64
from tlog.errors import MalformedInputError, VerificationError

if TYPE_CHECKING:
    from collections.abc import Sequence

ED25519: Final = 0x01
MAX_SIGNATURES: Final = 100
MAX_NOTE_SIZE: Final = 1 << 20
PRIVATE: Final = "PRIVATE+KEY+"
_SIGNATURE_START: Final = "— ".encode()
_KEY_SIZE: Final = 32
_KEY_ID_SIZE: Final = 4
MAX_KEY_NAME: Final = 255
_CONTROL: Final = re.compile(r"[\x00-\x09\x0b-\x1f]")

_P: Final = 2**255 - 19
# The y coordinates of the eight points of small order; with either sign, and with y + p, they make the 14 encodings
# under which a signature can be made to verify for any message (RFC 8032 section 5.1, cofactor 8).
_SMALL_ORDER_Y: Final = frozenset(
    (
        0,
        1,
        _P - 1,
        0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7,
        0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826,
    )
)


class Key(Protocol):
    """A public key under a name, of any signature type."""

    @property
    def name(self) -> str:
        """The name in the key's signature lines."""

    @property
    def key_id(self) -> bytes:
        """The 4 bytes that follow it there."""

    def verify(self, text: bytes, signature: bytes) -> object:
        """Check a signature, of the form of this key's type, over the text of a note.

        Raises:
            VerificationError: it is not this key's signature of this text.

        """


class Verifier(NamedTuple):
    """A log's public key, of type 0x01, under its name; `vkey()` is its text form."""

    name: str
    public_key: bytes

    @property
    def key_id(self) -> bytes:
        """The 4 bytes SHA-256(name || 0x0A || 0x01 || public key)[:4] (c2sp.org/signed-note)."""
        return key_id_of(self.name, ED25519, self.public_key)

    def vkey(self) -> str:
        """Return `<name>+<hex key ID>+<base64(0x01 || public key)>`."""
        return format_key(self.name, self.key_id, ED25519, self.public_key)

    def verify(self, text: bytes, signature: bytes) -> None:
        """Check an Ed25519 signature (64 bytes) over `text`.

        Raises:
            VerificationError: it is not this key's signature of this text.

        """
        try:
            Ed25519PublicKey.from_public_bytes(self.public_key).verify(signature, text)
        except InvalidSignature:
            message = f"the signature of {self.name} does not verify"
            raise VerificationError(message) from None


class Signer:
    """A private key under its name. Its representation never shows the key."""

    def __init__(self, name: str, seed: bytes) -> None:
        """Take the 32-byte Ed25519 seed (RFC 8032 section 5.1.5).

        Raises:
            MalformedInputError: the name cannot be a key name, or the seed has another length.

        """
        check_key_name(name)
        if len(seed) != _KEY_SIZE:
            message = f"an Ed25519 seed has {_KEY_SIZE} bytes, not {len(seed)}"
            raise MalformedInputError(message)
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.verifier = Verifier(name, self._key.public_key().public_bytes_raw())

    def __repr__(self) -> str:
        """Return the public half only."""
        return f"Signer({self.verifier.vkey()})"

    def skey(self) -> str:
        """Return `PRIVATE+KEY+<name>+<hex key ID>+<base64(0x01 || seed)>`, a secret."""
        seed = self._key.private_bytes_raw()
        return f"{PRIVATE}{format_key(self.verifier.name, self.verifier.key_id, ED25519, seed)}"

    def sign(self, text: bytes) -> bytes:
        """Return the 64-byte Ed25519 signature over `text`."""
        return self._key.sign(text)


class Note(NamedTuple):
    """A note whose signatures were checked: its text, and the known keys that signed it."""

    text: bytes
    verified: tuple[Key, ...]


def key_id_of(name: str, kind: int, public_key: bytes) -> bytes:
    """Return the 4 bytes SHA-256(name || 0x0A || type || public key)[:4] (c2sp.org/signed-note)."""
    return sha256(name.encode() + b"\n" + bytes([kind]) + public_key).digest()[:_KEY_ID_SIZE]


def format_key(name: str, key_id: bytes, kind: int, key: bytes) -> str:
    """Return `<name>+<hex key ID>+<base64(type || key)>`."""
    return f"{name}+{key_id.hex()}+{encode_base64(bytes([kind]) + key).decode()}"


def check_key_name(name: str) -> None:
    """Check a key name.

    Raises:
        MalformedInputError: it is empty or too long, or has a space, control character or plus.

    c2sp.org/signed-note: "Key names MUST be non-empty and MUST NOT contain any Unicode spaces or plus (U+002B)". Its length
    has to fit into one byte in the message that a cosignature of type 0x06 signs (c2sp.org/tlog-cosignature).
    """
    if not name or "+" in name or any(character.isspace() for character in name) or _CONTROL.search(name):
        message = "a key name must be non-empty, without spaces, control characters or '+'"
        raise MalformedInputError(message)
    if not _is_utf8(name):
        message = "a key name must be valid Unicode"
        raise MalformedInputError(message)
    if len(name.encode()) > MAX_KEY_NAME:
        message = f"a key name must be at most {MAX_KEY_NAME} bytes of UTF-8"
        raise MalformedInputError(message)


def check_public_key(key: bytes) -> None:
    """Check that 32 bytes are a canonical Ed25519 public key that is not of small order.

    Raises:
        MalformedInputError: it has another length, is not reduced modulo p, or is one of the small-order points.

    """
    if len(key) != _KEY_SIZE:
        message = f"an Ed25519 public key has {_KEY_SIZE} bytes, not {len(key)}"
        raise MalformedInputError(message)
    y = int.from_bytes(key, "little") & ~(1 << 255)
    if y >= _P or y in _SMALL_ORDER_Y:
        message = "this Ed25519 public key is not canonical or of small order: signatures under it prove nothing"
        raise MalformedInputError(message)


def parse_vkey(vkey: str) -> Verifier:
    """Return the verifier of a vkey (c2sp.org/signed-note "Verifier keys"), Ed25519 only.

    Raises:
        MalformedInputError: another form, another signature type, a key ID that does not belong, or a weak key.

    """
    name, key_id, key = split_vkey(vkey)
    verifier = Verifier(name, _of_log(key, "vkey"))
    check_public_key(verifier.public_key)
    check_key_id(key_id, verifier)
    return verifier


def parse_skey(skey: str) -> Signer:
    """Return the signer of a `PRIVATE+KEY+…` text; no error message repeats any part of it.

    Raises:
        MalformedInputError: another form, another signature type, or a key ID that does not belong.

    """
    name, key_id, key = split_skey(skey)
    signer = Signer(name, _of_log(key, "skey"))
    check_key_id(key_id, signer.verifier)
    return signer


def split_vkey(vkey: str) -> tuple[str, str, bytes]:
    """Return name, hex key ID, and type || key of a vkey; only its form is checked.

    Raises:
        MalformedInputError: another form, no key name, or a key that is empty or not base64.

    """
    parts = vkey.split("+", 2)
    if len(parts) != 3:  # noqa: PLR2004 - the three parts the specification names
        message = "a vkey has the form <name>+<key ID>+<base64 key>"
        raise MalformedInputError(message)
    return _split_key(parts, "vkey")


def split_skey(skey: str) -> tuple[str, str, bytes]:
    """Return name, hex key ID, and type || secret of a `PRIVATE+KEY+…` text; no error message repeats any part of it.

    Raises:
        MalformedInputError: another form, no key name, or a secret that is empty or not base64.

    """
    parts = skey.removeprefix(PRIVATE).split("+", 2)
    if not skey.startswith(PRIVATE) or len(parts) != 3:  # noqa: PLR2004 - the parts of the Go note package
        message = "an skey has the form PRIVATE+KEY+<name>+<key ID>+<base64 key>"
        raise MalformedInputError(message)
    return _split_key(parts, "skey")


def check_key_id(key_id: str, key: Key) -> None:
    """Check that a hex key ID is that of a key.

    Raises:
        MalformedInputError: it is not.

    """
    if key_id != key.key_id.hex():
        message = "the key ID does not belong to this name and key"
        raise MalformedInputError(message)


def sign_note(text: bytes, signers: Sequence[Signer]) -> bytes:
    """Return the note of `text` signed by each of `signers`.

    Raises:
        MalformedInputError: the text is not UTF-8, has control characters, or does not end in a newline.

    """
    _check_text(text)
    if not text.endswith(b"\n"):
        message = "the text of a note must end in a newline"
        raise MalformedInputError(message)
    lines = [signature_line(signer.verifier.name, signer.verifier.key_id, signer.sign(text)) for signer in signers]
    return text + b"\n" + b"".join(lines)


def open_note(note: bytes, verifiers: Sequence[Key]) -> Note:
    """Check a note's form and its signatures by known keys, ignoring unknown ones.

    Args:
        note: at most 1 MiB, at most 100 signatures.
        verifiers: the keys the caller trusts; no two may share a name and key ID.

    Raises:
        MalformedInputError: the note does not have the form c2sp.org/signed-note asks for.
        VerificationError: a known key's signature fails, or no known key signed.

    """
    text, signatures = split_note(note)
    known = {(verifier.name, verifier.key_id): verifier for verifier in verifiers}
    if len(known) != len(verifiers):
        message = "two verifiers share one name and key ID"
        raise MalformedInputError(message)
    verified: dict[Key, None] = {}
    for name, key_id, signature in signatures:
        verifier = known.get((name, key_id))
        # "Verifiers MUST ignore signatures from unknown keys, even if they share a name or ID (but not both)".
        if verifier is None:
            continue
        # "If a signature from a known key fails to verify, clients SHOULD reject the whole note."
        verifier.verify(text, signature)
        verified[verifier] = None
    if not verified:
        message = "no signature of a known key is on this note"
        raise VerificationError(message)
    return Note(text, tuple(verified))


def split_note(note: bytes) -> tuple[bytes, list[tuple[str, bytes, bytes]]]:
    """Return a note's text and its signatures as (name, key ID, signature), all unverified.

    Raises:
        MalformedInputError: the note does not have the form c2sp.org/signed-note asks for.

    """
    if len(note) > MAX_NOTE_SIZE:
        message = f"a note of {len(note)} bytes is longer than {MAX_NOTE_SIZE}"
        raise MalformedInputError(message)
    _check_text(note)
    # "the text is separated from the signatures by the last empty line in the note."
    text, separator, tail = note.rpartition(b"\n\n")
    lines = tail.split(b"\n")
    if not separator or lines.pop() or not lines:
        message = "a note is a text, an empty line, and at least one signature line, each ended by a newline"
        raise MalformedInputError(message)
    if len(lines) > MAX_SIGNATURES:
        message = f"a note of {len(lines)} signatures has more than {MAX_SIGNATURES}"
        raise MalformedInputError(message)
    return text + b"\n", [_parse_signature_line(line) for line in lines]


def signature_line(name: str, key_id: bytes, signature: bytes) -> bytes:
    """Return `— <name> <base64(key ID || signature)>` and a newline."""
    return _SIGNATURE_START + name.encode() + b" " + encode_base64(key_id + signature) + b"\n"


def _parse_signature_line(line: bytes) -> tuple[str, bytes, bytes]:
    name, _, encoded = line.removeprefix(_SIGNATURE_START).partition(b" ")
    if not line.startswith(_SIGNATURE_START):
        message = "a signature line has the form '— <key name> <base64 signature>'"
        raise MalformedInputError(message)
    check_key_name(name.decode())
    data = parse_base64(encoded, "a note signature")
    if len(data) <= _KEY_ID_SIZE:
        message = "a note signature has its 4-byte key ID and nothing after it"
        raise MalformedInputError(message)
    return name.decode(), data[:_KEY_ID_SIZE], data[_KEY_ID_SIZE:]


def _check_text(text: bytes) -> None:
    try:
        decoded = text.decode()
    except UnicodeDecodeError:
        message = "a note must be valid UTF-8"
        raise MalformedInputError(message) from None
    # Signed notes "MUST NOT contain any ASCII control characters (those below U+0020) other than newline".
    if _CONTROL.search(decoded):
        message = "a note must not contain control characters other than newline"
        raise MalformedInputError(message)


def _split_key(parts: list[str], what: str) -> tuple[str, str, bytes]:
    name, key_id, encoded = parts
    check_key_name(name)
    key = parse_base64(encoded.encode(errors="replace"), f"the key of the {what}")
    if not key:
        message = f"the key of the {what} is empty"
        raise MalformedInputError(message)
    return name, key_id, key


def _of_log(key: bytes, what: str) -> bytes:
    """Return the 32 bytes of a log's key or seed after their type."""
    if key[0] != ED25519:
        message = f"the {what} has signature type 0x{key[0]:02x}; a log's key has Ed25519 (0x01)"
        raise MalformedInputError(message)
    if len(key) != _KEY_SIZE + 1:
        message = f"the key of the {what} has {len(key)} bytes, not {_KEY_SIZE + 1}"
        raise MalformedInputError(message)
    return key[1:]


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
