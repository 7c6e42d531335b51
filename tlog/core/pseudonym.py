"""Index keys: pseudonyms under which entries can be found, made with bucket keys that are committed beforehand.

Own format (docs/reference/formats.md, "Index key"): ident = kind || 0x00 || value. For the personal kinds the bucket b is
the first `bits` bits of SHA-256(ident) and the key is HMAC-SHA256(K[b], ident)[:16], where K holds 2**bits random
32-byte bucket keys whose RFC 6962 root the log states in its first entry. So nobody can choose a key for one question,
showing one bucket key with its path reveals nothing about other buckets, and destroying one shreds the pseudonyms
under it. The kind `action` is public and needs no key.
"""

from __future__ import annotations

import hmac
from functools import lru_cache
from hashlib import sha256
from typing import Final

from tlog.core.merkle import HASH_SIZE
from tlog.core.strict import encode_base64url

KEY_SIZE: Final = 16
DISTINCT_SIZE: Final = 8
MAX_BITS: Final = 24


def actor_ident(user_id: str) -> bytes:
    """Return the ident of an actor, asked for by userId."""
    return b"actor\x00" + user_id.encode()


def resource_ident(resource_type: str, resource_id: str) -> bytes:
    """Return the ident of a resource, asked for by type and id together."""
    return b"resource\x00" + resource_type.encode() + b"\x00" + resource_id.encode()


@lru_cache(maxsize=64)
def action_key(action: str) -> bytes:
    """Return the 16-byte index key of an action, computable by anyone."""
    return sha256(b"public\x00" + b"action\x00" + action.encode()).digest()[:KEY_SIZE]


@lru_cache(maxsize=64)
def action_text(action: str) -> str:
    """Return the index key of an action as it stands in entries, base64url of 16 bytes."""
    return encode_base64url(action_key(action)).decode()


def bucket_of(ident: bytes, bits: int) -> int:
    """Return the bucket of `ident`: the first `bits` bits of SHA-256(ident)."""
    return int.from_bytes(sha256(ident).digest()) >> (8 * HASH_SIZE - bits)


def index_key(bucket_key: bytes, ident: bytes) -> bytes:
    """Return HMAC-SHA256(bucket_key, ident)[:16]."""
    return hmac.digest(bucket_key, ident, "sha256")[:KEY_SIZE]
