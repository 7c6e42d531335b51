"""Index keys: pseudonyms under which entries can be found, made with bucket keys that are committed beforehand.

Own format (docs/reference/formats.md, "Index key"): ident = kind || 0x00 || value. For the personal kinds `actor`, `resource`
and `related` the bucket b is the first `bits` bits of SHA-256(ident) and the key is HMAC-SHA256(K[b], ident)[:16], where K holds
2**bits random 32-byte bucket keys whose RFC 6962 root the log states in its first entry. So nobody can choose a key for one
question, showing one bucket key with its path reveals nothing about other buckets, and destroying one shreds the pseudonyms
under it. The other kinds (`action`, `operation`, `source`, `control`, `order`, `stream`) are public and need no key.

Who is named by a userId or by a resource's id is named by its NFC form (UAX #15): two spellings of one name are one name.
"""

from __future__ import annotations

import hmac
from functools import lru_cache
from hashlib import sha256
from typing import Final
from unicodedata import category, normalize

from tlog.core.merkle import HASH_SIZE
from tlog.core.strict import encode_base64url
from tlog.errors import NotCheckedError

KEY_SIZE: Final = 16
DISTINCT_SIZE: Final = 8
MAX_BITS: Final = 24
_CACHED: Final = 4_096


def actor_ident(user_id: str) -> bytes:
    """Return the ident of an actor, asked for by userId; the empty userId stands for an actor who is unknown."""
    return b"actor\x00" + _nfc(user_id)


def resource_ident(resource_type: str, resource_id: str) -> bytes:
    """Return the ident of what an event is about, asked for by type and id together."""
    return b"resource\x00" + resource_type.encode() + b"\x00" + _nfc(resource_id)


def related_ident(resource_type: str, resource_id: str) -> bytes:
    """Return the ident of what an entry names beside that; a person's type is "user"."""
    return b"related\x00" + resource_type.encode() + b"\x00" + _nfc(resource_id)


def check_assigned(text: str, what: str) -> None:
    """Check that this program's Unicode tables know each character of an id: of those alone the NFC form never changes.

    Raises:
        NotCheckedError: they do not; `what` names the id in the message.

    """
    if not text.isascii() and any(category(character) == "Cn" for character in text):
        message = f"{what} has characters that the Unicode tables of this program do not know; use a newer Python"
        raise NotCheckedError(message)


def _nfc(text: str) -> bytes:
    return text.encode() if text.isascii() else normalize("NFC", text).encode()


@lru_cache(maxsize=_CACHED)
def public_key(kind: str, value: str) -> bytes:
    """Return the 16-byte index key of a public kind, computable by anyone."""
    return sha256(b"public\x00" + kind.encode() + b"\x00" + value.encode()).digest()[:KEY_SIZE]


@lru_cache(maxsize=_CACHED)
def public_text(kind: str, value: str) -> str:
    """Return the index key of a public kind as it stands in entries, base64url of 16 bytes."""
    return encode_base64url(public_key(kind, value)).decode()


def bucket_of(ident: bytes, bits: int) -> int:
    """Return the bucket of `ident`: the first `bits` bits of SHA-256(ident)."""
    return int.from_bytes(sha256(ident).digest()) >> (8 * HASH_SIZE - bits)


def index_key(bucket_key: bytes, ident: bytes) -> bytes:
    """Return HMAC-SHA256(bucket_key, ident)[:16]."""
    return hmac.digest(bucket_key, ident, "sha256")[:KEY_SIZE]
