"""Receipts that a producer kept, held against what the log shows: was the promise of each kept?

A file is the answer to an append, as the log sent it (docs/reference/http.md), or one receipt of it. A receipt is not signed, so
it convinces nobody but its holder, who knows where it came from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, NamedTuple

import msgspec

from tlog.core.merkle import HASH_SIZE
from tlog.core.strict import parse_base64
from tlog.errors import MalformedInputError

if TYPE_CHECKING:
    from pathlib import Path


class Promise(NamedTuple):
    """That an entry is at an index, who says so, and since when: seconds since 1970, by the clock of the file's machine."""

    at: int
    leaf_hash: bytes
    where: str
    since: float


class _Receipt(msgspec.Struct, rename="camel"):
    index: Annotated[int, msgspec.Meta(ge=0)]
    leaf_hash: str


class _Answer(msgspec.Struct):
    receipts: list[_Receipt]


def read_promises(path: Path) -> list[Promise]:
    """Return what the receipts in a file promise.

    Raises:
        MalformedInputError: the file is none.
        OSError: it cannot be read.

    """
    data, since = path.read_bytes(), path.stat().st_mtime
    try:
        answer = msgspec.json.decode(data, type=dict)
        found = (
            msgspec.convert(answer, _Answer).receipts if "receipts" in answer else [msgspec.convert(answer, _Receipt)]
        )
        hashes = [parse_base64(each.leaf_hash.encode(), "the leaf hash", HASH_SIZE) for each in found]
    except (msgspec.MsgspecError, UnicodeError, RecursionError, MalformedInputError):
        message = f"{path.name} is no answer to an append, and no receipt; take the file out of the directory"
        raise MalformedInputError(message) from None
    return [Promise(each.index, leaf, path.name, since) for each, leaf in zip(found, hashes, strict=True)]
