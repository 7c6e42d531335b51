"""Cosignatures: a witness says at which time a checkpoint was the largest consistent one that it had seen of a log.

Implements c2sp.org/tlog-cosignature: type 0x04 (Ed25519, `cosignature/v1`) and type 0x06 (ML-DSA-44, `subtree/v1`) for whole
checkpoints. A cosignature is a line of the note; its signature begins with the time, in seconds since 1970. Cosignatures of
subtrees, and those without a time, are left out: no witness may answer with them.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey, MLDSA44PublicKey

from tlog.core.checkpoint import parse_foreign
from tlog.core.note import (
    MAX_KEY_NAME,
    PRIVATE,
    check_key_id,
    check_key_name,
    check_public_key,
    format_key,
    key_id_of,
    signature_line,
    split_note,
    split_skey,
    split_vkey,
)
from tlog.errors import MalformedInputError, VerificationError

if TYPE_CHECKING:
    from collections.abc import Collection

ED25519: Final = 0x04
ML_DSA_44: Final = 0x06
SEED_SIZE: Final = 32  # of both types: RFC 8032 section 5.1.5, FIPS 204 section 5.1
MAX_TIME: Final = (1 << 63) - 1
_KEY_SIZES: Final = {ED25519: 32, ML_DSA_44: 1312}
_SIGNATURE_SIZES: Final = {ED25519: 64, ML_DSA_44: 2420}
_TIME: Final = struct.Struct(">Q")
_LABEL: Final = b"subtree/v1\n\0"


class Cosigner(NamedTuple):
    """A witness's public key under its name, of type 0x04 (32 bytes) or 0x06 (1,312 bytes)."""

    name: str
    public_key: bytes
    kind: int = ED25519

    @property
    def key_id(self) -> bytes:
        """The 4 bytes SHA-256(name || 0x0A || type || public key)[:4] (c2sp.org/tlog-cosignature)."""
        return key_id_of(self.name, self.kind, self.public_key)

    def vkey(self) -> str:
        """Return `<name>+<hex key ID>+<base64(type || public key)>`."""
        return format_key(self.name, self.key_id, self.kind, self.public_key)

    def verify(self, text: bytes, signature: bytes) -> int:
        """Check a cosignature (time, then signature) of a checkpoint's text; return its time in seconds since 1970.

        Raises:
            VerificationError: it is not this key's cosignature of this text.

        """
        message = f"the cosignature of {self.name} does not verify"
        if len(signature) != _TIME.size + _SIGNATURE_SIZES[self.kind]:
            raise VerificationError(message)
        (time,) = _TIME.unpack_from(signature)
        try:
            signed = cosigned_message(text, time, self.name, self.kind)
            _public_key(self.public_key, self.kind).verify(signature[_TIME.size :], signed)
        except (InvalidSignature, MalformedInputError):
            raise VerificationError(message) from None
        return int(time)


class Cosignature(NamedTuple):
    """A cosignature that was verified: whose it is, its time in seconds since 1970, and the bare signature."""

    name: str
    key_id: bytes
    time: int
    signature: bytes

    def line(self) -> bytes:
        """Return its line of a note."""
        return signature_line(self.name, self.key_id, _TIME.pack(self.time) + self.signature)


class CosigningKey:
    """A witness's private key under its name. Its representation never shows the key."""

    def __init__(self, name: str, seed: bytes, kind: int = ED25519) -> None:
        """Take the 32-byte seed of a key of type 0x04 or 0x06.

        Raises:
            MalformedInputError: the name cannot be a key name, or the seed has another length.

        """
        check_key_name(name)
        if len(seed) != SEED_SIZE:
            message = f"the seed of a cosigner's key has {SEED_SIZE} bytes, not {len(seed)}"
            raise MalformedInputError(message)
        make = Ed25519PrivateKey.from_private_bytes if kind == ED25519 else MLDSA44PrivateKey.from_seed_bytes
        self._key: Ed25519PrivateKey | MLDSA44PrivateKey = make(seed)
        self._seed = seed
        self.cosigner = Cosigner(name, self._key.public_key().public_bytes_raw(), kind)

    def __repr__(self) -> str:
        """Return the public half only."""
        return f"CosigningKey({self.cosigner.vkey()})"

    def skey(self) -> str:
        """Return `PRIVATE+KEY+<name>+<hex key ID>+<base64(type || seed)>`, a secret."""
        return f"{PRIVATE}{format_key(self.cosigner.name, self.cosigner.key_id, self.cosigner.kind, self._seed)}"

    def cosign(self, text: bytes, time: int) -> Cosignature:
        """Cosign a checkpoint's text at a time in seconds since 1970.

        Raises:
            MalformedInputError: the text is no checkpoint's, or the time is not between 1 and 2^63 - 1.

        """
        name, kind = self.cosigner.name, self.cosigner.kind
        return Cosignature(name, self.cosigner.key_id, time, self._key.sign(cosigned_message(text, time, name, kind)))


def cosigned_message(text: bytes, time: int, name: str, kind: int) -> bytes:
    """Return the bytes that a cosigner of `kind` under `name` signs for a checkpoint's text.

    Raises:
        MalformedInputError: the text is no checkpoint's, its origin is too long for type 0x06, or the time is not between 1 and
            2^63 - 1.

    """
    # c2sp.org/tlog-cosignature: the time "MUST NOT exceed 2^63 - 1"; tlog-witness: it "MUST NOT be zero".
    if not 1 <= time <= MAX_TIME:
        message = "the time of a cosignature is between 1 and 2^63 - 1 seconds since 1970"
        raise MalformedInputError(message)
    checkpoint = parse_foreign(text)
    if kind == ED25519:
        return b"cosignature/v1\ntime %d\n%b" % (time, text)
    signer, origin = name.encode(), checkpoint.origin.encode()
    if len(origin) > MAX_KEY_NAME:
        message = f"an origin of more than {MAX_KEY_NAME} bytes cannot be cosigned with ML-DSA-44"
        raise MalformedInputError(message)
    named = [bytes([len(signer)]), signer, _TIME.pack(time), bytes([len(origin)]), origin]
    return b"".join((_LABEL, *named, _TIME.pack(0), _TIME.pack(checkpoint.size), checkpoint.root))


def parse_cosigner(vkey: str) -> Cosigner:
    """Return the cosigner of a vkey of type 0x04 or 0x06.

    Raises:
        MalformedInputError: another form, another signature type, a key ID that does not belong, or a weak key.

    """
    name, key_id, key = split_vkey(vkey)
    cosigner = Cosigner(name, key[1:], _kind(key, "vkey"))
    if len(cosigner.public_key) != _KEY_SIZES[cosigner.kind]:
        message = (
            f"a vkey of type 0x{cosigner.kind:02x} has {_KEY_SIZES[cosigner.kind]} bytes of key, not {len(key) - 1}"
        )
        raise MalformedInputError(message)
    if cosigner.kind == ED25519:
        check_public_key(cosigner.public_key)
    check_key_id(key_id, cosigner)
    return cosigner


def parse_cosigning_key(skey: str) -> CosigningKey:
    """Return the private key of a `PRIVATE+KEY+…` text; no error message repeats any part of it.

    Raises:
        MalformedInputError: another form, another signature type, or a key ID that does not belong.

    """
    name, key_id, key = split_skey(skey)
    signer = CosigningKey(name, key[1:], _kind(key, "skey"))
    check_key_id(key_id, signer.cosigner)
    return signer


def read_cosignatures(text: bytes, lines: bytes, cosigners: Collection[Cosigner]) -> list[Cosignature]:
    """Return the lines of `cosigners` among signature lines that verify over a checkpoint's text; others are left out.

    Raises:
        MalformedInputError: these are no signature lines.

    """
    known = {(cosigner.name, cosigner.key_id): cosigner for cosigner in cosigners}
    found = []
    for name, key_id, signature in split_note(text + b"\n" + lines)[1]:
        cosigner = known.get((name, key_id))
        try:
            time = None if cosigner is None else cosigner.verify(text, signature)
        except VerificationError:
            continue
        if time is not None:
            found.append(Cosignature(name, key_id, time, signature[_TIME.size :]))
    return found


def _kind(key: bytes, what: str) -> int:
    if key[0] not in _KEY_SIZES:
        message = (
            f"the {what} has signature type 0x{key[0]:02x}; a cosigner's key has 0x04 (Ed25519) or 0x06 (ML-DSA-44)"
        )
        raise MalformedInputError(message)
    return key[0]


def _public_key(key: bytes, kind: int) -> Ed25519PublicKey | MLDSA44PublicKey:
    return (Ed25519PublicKey if kind == ED25519 else MLDSA44PublicKey).from_public_bytes(key)
