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
from tlog.errors import MalformedInputError, VerificationError

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_RELATED: Final = 32
SALT_SIZE: Final = 16
COMMITMENT_SIZE: Final = HASH_SIZE


def group_names(related: int) -> list[str]:
    """Return the groups of an entry with so many related resources, in the order in which they are listed everywhere."""
    return ["actor", "resource", *(f"related/{number}" for number in range(related))]


def group_order(group: str) -> int:
    """Return where a group stands among all that an entry can have: its number in `group_names`.

    Raises:
        MalformedInputError: there is no such group.

    """
    order = _ORDER.get(group)
    if order is None:
        message = "a group of disclosures is 'actor', 'resource' or 'related/<k>' with k from 0 to 31"
        raise MalformedInputError(message)
    return order


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


_ORDER: Final = {group: number for number, group in enumerate(group_names(MAX_RELATED))}
