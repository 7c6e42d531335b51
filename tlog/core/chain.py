"""The hash chain over leaf hashes: fixes the order of pending entries and pins receipts.

Own format (docs/reference/formats.md, "Chain hash"): chain[-1] = 32 zero bytes, chain[i] = SHA-256(0x02 || chain[i-1]
|| leaf[i]). The prefix 0x02 keeps it apart from RFC 6962 leaves (0x00) and nodes (0x01). A verifier never accepts the
chain instead of the tree: a chain alone can be recomputed to its end by whoever can write the rows (CVE-2022-36111).
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

CHAIN_START: Final = bytes(32)


def chain_hash(previous: bytes, leaf: bytes) -> bytes:
    """Return the 32-byte chain hash that follows `previous` (32 bytes) with leaf hash `leaf` (32 bytes)."""
    return sha256(b"\x02" + previous + leaf).digest()


def chain_hashes(previous: bytes, leaves: Iterable[bytes]) -> list[bytes]:
    """Return the chain hash at each of the leaf hashes that follow `previous`, without a call for each."""
    chain = previous
    return [chain := sha256(b"\x02" + chain + leaf).digest() for leaf in leaves]
