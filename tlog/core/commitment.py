"""Commitments and disclosures: how personal data is in the log without being in it.

Own format (docs/reference/formats.md, "Disclosure"): a disclosure is salt || body, 16 random bytes and a canonical JSON
text; the entry holds only its commitment SHA-256(0x10 || salt || body). Without the disclosure the commitment says
nothing, so deleting it erases the data while every hash and proof stays valid. The prefix 0x10 keeps commitments apart
from tree and chain hashes. The hash is over the stored bytes; nothing is ever serialised again to check it.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Final

from tlog.core.merkle import HASH_SIZE
from tlog.errors import VerificationError

if TYPE_CHECKING:
    from collections.abc import Iterable

GROUPS: Final = ("actor", "resource")  # an event has one disclosure of each
SALT_SIZE: Final = 16
COMMITMENT_SIZE: Final = HASH_SIZE


def commit(disclosure: bytes) -> bytes:
    """Return the 32-byte commitment to `disclosure` = salt (16 bytes) || body."""
    return sha256(b"\x10" + disclosure).digest()


def commit_all(disclosures: Iterable[bytes]) -> list[bytes]:
    """Return the `commit` of each disclosure, without a call for each."""
    return [sha256(b"\x10" + disclosure).digest() for disclosure in disclosures]


def check_disclosure(commitment: bytes, disclosure: bytes, group: str) -> None:
    """Check that `disclosure` is what `commitment` was made for.

    Raises:
        VerificationError: it is not; `group` names it in the message.

    """
    if len(disclosure) < SALT_SIZE or commit(disclosure) != commitment:
        message = f"the {group} disclosure does not match its commitment"
        raise VerificationError(message)
