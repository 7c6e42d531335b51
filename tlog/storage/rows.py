"""The rows of the log as values, and as the bytes that PostgreSQL copies in.

Format of the bytes: PostgreSQL's binary COPY, a field count and each field after its length.
"""

from __future__ import annotations

import struct
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING, Final, NamedTuple

from tlog.core.commitment import group_names
from tlog.core.merkle import HASH_SIZE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tlog.core.making.drafts import DraftEntry

# Field count, then each field after its length (PostgreSQL documentation, COPY, "Binary Format"): before the index, how many
# fields there are and how long the index is.
_LEAF_WITH_ID: Final = struct.Struct(">6sq4s16si").pack
_LEAF_WITHOUT_ID: Final = struct.Struct(">6sqii").pack
_BEFORE_LEAF: Final = struct.pack(">hi", 5, 8)
_BEFORE_DISCLOSURE: Final = struct.pack(">hi", 4, 8)
# Most events have no related resources: their empty array stands in one piece with the index and the length of the actor.
_WITHOUT_RELATED: Final = struct.Struct(">6sq16si").pack
_WITH_RELATED: Final = struct.Struct(">6sq").pack
# An array is the number of its dimensions, whether it has nulls, and the type of its elements; of each dimension the length and
# the lower bound; then each element after its length (PostgreSQL, `array_recv`).
_BYTEA: Final = 17
_NO_RELATED: Final = struct.pack(">iiii", 12, 0, 0, _BYTEA)
_ARRAY: Final = struct.Struct(">iiiiii")
_UUID_SIZE: Final = 16
_LENGTH: Final = struct.Struct(">i").pack
_HASH_LENGTH: Final = _LENGTH(HASH_SIZE)
_UUID_LENGTH: Final = _LENGTH(_UUID_SIZE)


class State(NamedTuple):
    """The state that every append continues; `last_logged_at` is microseconds since 1970, UTC."""

    size: int
    chain_hash: bytes
    last_logged_at: int


class Primary(NamedTuple):
    """The PostgreSQL that the log is on: its system identifier, in decimal, its timeline, and 1 if commits wait for standbys."""

    system: str
    timeline: int
    synchronous: int


class Leaf(NamedTuple):
    """One row of the log."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which means nothing here
    event_id: str | None
    entry: bytes
    leaf_hash: bytes
    chain_hash: bytes


class FoundEvent(NamedTuple):
    """A row with its disclosures, None where they are absent; `related` is empty where nothing of the entry is disclosed.

    `lost_by` is the index of the outcome that explains what is absent, None if nothing is, or nothing explains it.
    """

    leaf: Leaf
    actor: bytes | None = None
    resource: bytes | None = None
    related: Sequence[bytes | None] = ()
    lost_by: int | None = None

    def lacks_something(self) -> bool:
        """Tell whether something of an event is not disclosed."""
        return self.leaf.event_id is not None and None in (self.actor, self.resource, *self.related)

    def disclosures(self) -> dict[str, bytes]:
        """Return the disclosures that are there by group (`tlog.core.commitment`), in the order of the groups."""
        groups = zip(group_names(len(self.related)), (self.actor, self.resource, *self.related), strict=True)
        return {group: disclosure for group, disclosure in groups if disclosure is not None}


class Epoch(NamedTuple):
    """An index epoch: its size, the index of its entry, its table, and the ID of each of the table's segments."""

    size: int
    entry_index: int
    table: bytes
    segment_ids: list[int]


class Position(NamedTuple):
    """How far a log is: its size, its newest checkpoint, its newest index epoch."""

    size: int
    checkpoint: SealedCheckpoint | None
    epoch: Epoch | None


class Progress(NamedTuple):
    """How far a log is, for who watches it; times are microseconds since 1970, UTC.

    `sealed_at` is None before the first checkpoint, `waiting_since` where a checkpoint covers everything; `server_version` is
    libpq's number of PostgreSQL's version, such as 180001.
    """

    size: int
    sealed: int
    sealed_at: int | None
    indexed: int
    waiting_since: int | None
    server_version: int


class Standing(NamedTuple):
    """What an API key may do, and whether it was revoked."""

    scopes: list[str]
    revoked: bool


class SealedCheckpoint(NamedTuple):
    """A published checkpoint; `sealed_at` is microseconds since 1970, UTC, `cosignatures` are lines of witnesses."""

    size: int
    root: bytes
    chain_hash: bytes
    note: bytes
    sealed_at: int
    cosignatures: bytes = b""

    @property
    def served(self) -> bytes:
        """The note for everybody who verifies: the log's own, and the lines of witnesses."""
        return self.note + self.cosignatures


class PackedRows(NamedTuple):
    """Rows of the log and their disclosures, as the bytes that are copied into the database."""

    leaves: bytes
    disclosures: bytes


def pack_rows(
    start: int,
    drafts: Sequence[DraftEntry],
    entries: Sequence[bytes],
    leaf_hashes: Sequence[bytes],
    chain_hashes: Sequence[bytes],
) -> PackedRows:
    """Return rows from index `start` on: of each its draft, the entry it became, and its two 32-byte hashes."""
    leaves: list[bytes] = []
    disclosures: list[bytes] = []
    event_ids = _event_id_bytes([draft.event_id for draft in drafts])
    columns = zip(count(start), drafts, event_ids, entries, leaf_hashes, chain_hashes, strict=False)
    for index, draft, event_id, entry, leaf_hash, chain_hash in columns:
        if event_id is None:
            head = _LEAF_WITHOUT_ID(_BEFORE_LEAF, index, -1, len(entry))
        else:
            actor, resource, related = draft.actor, draft.resource, draft.related
            head = _LEAF_WITH_ID(_BEFORE_LEAF, index, _UUID_LENGTH, event_id, len(entry))
            if related:
                beginning = _WITH_RELATED(_BEFORE_DISCLOSURE, index) + _pack_array(related) + _LENGTH(len(actor))
            else:
                beginning = _WITHOUT_RELATED(_BEFORE_DISCLOSURE, index, _NO_RELATED, len(actor))
            disclosures += (beginning, actor, _LENGTH(len(resource)), resource)
        leaves += (head, entry, _HASH_LENGTH, leaf_hash, _HASH_LENGTH, chain_hash)
    return PackedRows(b"".join(leaves), b"".join(disclosures))


def _pack_array(values: Sequence[bytes]) -> bytes:
    """Return an array of one dimension, after its length."""
    elements = b"".join([part for value in values for part in (_LENGTH(len(value)), value)])
    length = _ARRAY.size - 4 + len(elements)  # which is not counted itself
    return _ARRAY.pack(length, 1, 0, _BYTEA, len(values), 1) + elements


def _event_id_bytes(event_ids: Sequence[str | None]) -> list[bytes | None]:
    """Return the 16 bytes of each eventId; if every entry has one, all are read in one go."""
    with suppress(TypeError):
        whole = bytes.fromhex("".join(event_ids).replace("-", ""))  # type: ignore[arg-type]
        return [whole[start : start + _UUID_SIZE] for start in range(0, len(whole), _UUID_SIZE)]
    return [None if each is None else bytes.fromhex(each.replace("-", "")) for each in event_ids]


def pack_leaves(
    start: int, event_ids: Sequence[str | None], leaves: Sequence[tuple[bytes, bytes]], chain_hashes: Sequence[bytes]
) -> PackedRows:
    """Return rows without disclosures from index `start` on: of each its eventId, its entry and leaf hash, its chain hash."""
    parts: list[bytes] = []
    columns = zip(count(start), _event_id_bytes(event_ids), leaves, chain_hashes, strict=False)
    for index, event_id, (entry, leaf_hash), chain_hash in columns:
        if event_id is None:
            head = _LEAF_WITHOUT_ID(_BEFORE_LEAF, index, -1, len(entry))
        else:
            head = _LEAF_WITH_ID(_BEFORE_LEAF, index, _UUID_LENGTH, event_id, len(entry))
        parts += (head, entry, _HASH_LENGTH, leaf_hash, _HASH_LENGTH, chain_hash)
    return PackedRows(b"".join(parts), b"")
