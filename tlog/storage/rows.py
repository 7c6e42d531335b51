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
from tlog.storage.frames import make_frames

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tlog.core.making.run import Run

# Field count, then each field after its length (PostgreSQL documentation, COPY, "Binary Format"): before the index, how many
# fields there are and how long the index is.
_LEAF_WITH_ID: Final = struct.Struct(">6sq4s16s").pack
_LEAF_WITHOUT_ID: Final = struct.Struct(">6sqi").pack
_BEFORE_LEAF: Final = struct.pack(">hi", 4, 8)
_ENTRY_RUN: Final = struct.Struct(">hiqiqihihi").pack
_DISCLOSURE_RUN: Final = struct.Struct(">hiqihihi").pack
_UUID_SIZE: Final = 16
_LENGTH: Final = struct.Struct(">i").pack
_HASH_LENGTH: Final = _LENGTH(HASH_SIZE)
_UUID_LENGTH: Final = _LENGTH(_UUID_SIZE)
# Of a frame in one row: with the row's other fields it fits into a page of 8,160 bytes.
PART_SIZE: Final = 7_900


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
    """One row of the log, without its entry."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which means nothing here
    event_id: str | None
    leaf_hash: bytes
    chain_hash: bytes


class FoundEvent(NamedTuple):
    """A row with its entry and disclosures, None where they are absent.

    `lost_by` is the index of the outcome that explains what is absent, None if nothing is, or nothing explains it.
    """

    leaf: Leaf
    entry: bytes
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


class PackedRuns(NamedTuple):
    """Runs of entries and of their disclosures, as the bytes that are copied into the database.

    `counts` are how many entries each run holds, `parts` how many rows all runs take in both tables.
    """

    entries: bytes
    disclosures: bytes
    counts: Sequence[int]
    parts: int


NO_RUNS: Final = PackedRuns(b"", b"", (), 0)


def pack_leaves(
    start: int, event_ids: Sequence[str | None], leaf_hashes: Sequence[bytes], chain_hashes: Sequence[bytes]
) -> bytes:
    """Return the rows of the log from index `start` on as they are copied in: of each its eventId and its two 32-byte hashes."""
    parts: list[bytes] = []
    columns = zip(count(start), _event_id_bytes(event_ids), leaf_hashes, chain_hashes, strict=False)
    for index, event_id, leaf_hash, chain_hash in columns:
        if event_id is None:
            head = _LEAF_WITHOUT_ID(_BEFORE_LEAF, index, -1)
        else:
            head = _LEAF_WITH_ID(_BEFORE_LEAF, index, _UUID_LENGTH, event_id)
        parts += (head, _HASH_LENGTH, leaf_hash, _HASH_LENGTH, chain_hash)
    return b"".join(parts)


def pack_runs(runs: Sequence[Run]) -> PackedRuns:
    """Return runs as they are copied in: each compressed to a frame, and cut into parts where that is too long for a row."""
    frames = make_frames([run.entries for run in runs] + [run.disclosures for run in runs])
    entries: list[bytes] = []
    disclosures: list[bytes] = []
    for run, entry_frame, disclosure_frame in zip(runs, frames[: len(runs)], frames[len(runs) :], strict=True):
        for part, data in enumerate(cut_frame(entry_frame)):
            head = _ENTRY_RUN(5, 8, run.first, 8, run.logged_at, 2, part, 2, run.count, len(data))
            entries += (head, data)
        for part, data in enumerate(cut_frame(disclosure_frame)):
            disclosures += (_DISCLOSURE_RUN(4, 8, run.first, 2, part, 2, run.count, len(data)), data)
    counts = [run.count for run in runs]
    return PackedRuns(b"".join(entries), b"".join(disclosures), counts, (len(entries) + len(disclosures)) // 2)


def cut_frame(frame: bytes) -> list[bytes]:
    """Return the parts of a frame that fit into rows, mostly one."""
    if len(frame) <= PART_SIZE:
        return [frame]
    return [frame[start : start + PART_SIZE] for start in range(0, len(frame), PART_SIZE)]


def _event_id_bytes(event_ids: Sequence[str | None]) -> list[bytes | None]:
    """Return the 16 bytes of each eventId; if every entry has one, all are read in one go."""
    with suppress(TypeError):
        whole = bytes.fromhex("".join(event_ids).replace("-", ""))  # type: ignore[arg-type]
        return [whole[start : start + _UUID_SIZE] for start in range(0, len(whole), _UUID_SIZE)]
    return [None if each is None else bytes.fromhex(each.replace("-", "")) for each in event_ids]
