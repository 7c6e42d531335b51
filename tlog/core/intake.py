"""Intakes: control entries in which the log says what of a stream it took, so that an auditor can compare both.

Own format (docs/reference/formats.md, "Intake"). A stream is a topic of a cluster; a topic that is made again is another one. Of
each partition an entry says from where to where it goes, and by a root it commits to one *mark* for each message of that.

A mark of a logged message holds its eventId, which is public anyway: a digest of the message would let others confirm a guess.
Left out: reading the stream, and what becomes an event (`tlog.ingest`).
"""

from __future__ import annotations

import re
import struct
from hashlib import sha256
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType, field

from tlog.core.canonical import MAX_INTEGER
from tlog.core.logged_at import parse_logged_at
from tlog.core.merkle import EMPTY_ROOT, HASH_SIZE, Frontier, leaf_hashes
from tlog.core.pseudonym import public_text
from tlog.core.strict import parse_base64url
from tlog.errors import MalformedInputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

TYPE: Final = "intake"
MAX_PARTITIONS: Final = 500
MAX_PARTITION: Final = 2**31 - 1
SALT_SIZE: Final = 16
_REFUSED: Final = b"\x11"
_ABSENT: Final = b"\xff\xff\xff\xff"
_LOGGED_MARK: Final = struct.Struct(">IQB16s").pack
_REFUSED_MARK: Final = struct.Struct(">IQB32s").pack
_KIND_LOGGED, _KIND_REFUSED = 0, 1
_LENGTH: Final = struct.Struct(">I").pack
_SHORT_LENGTH: Final = struct.Struct(">H").pack
_STREAM: Final = re.compile(r"kafka:[A-Za-z0-9_.-]{1,64}/[A-Za-z0-9_.-]{1,249}/[A-Za-z0-9_-]{22}")
_FORMAT: Final = re.compile("[a-z-]{1,32}")
_Offset = Annotated[int, Meta(ge=0, le=MAX_INTEGER)]


class Part(Struct, forbid_unknown_fields=True, omit_defaults=True, frozen=True, gc=False, kw_only=True):
    """What an intake says of one partition: from offset `start` on and before `end`, `logged` and `refused` messages were taken.

    A stream's offsets have holes by right, so these may be fewer than the offsets. `lost` says that the messages of the range
    were gone before they were taken, `released` that this log takes no more of the partition.
    """

    start: _Offset = field(name="from")
    logged: _Offset
    lost: Literal[True] | UnsetType = UNSET
    partition: Annotated[int, Meta(ge=0, le=MAX_PARTITION)]
    refused: _Offset
    released: Literal[True] | UnsetType = UNSET
    end: _Offset = field(name="to")

    def opens(self) -> bool:
        """Tell whether it can be the first that is said of a partition: nothing was taken yet."""
        return self.start == self.end and self.released is UNSET


class Intake(Struct, forbid_unknown_fields=True, frozen=True, gc=False, kw_only=True):
    """What an intake entry says: which decoder made events, what was taken of which partitions, and the root over the marks."""

    format: str
    keys: list[str]
    loggedAt: str  # noqa: N815 - the format's name
    partitions: list[Part]
    root: str
    stream: str
    type: Literal["intake"]
    v: Literal[1]

    def root_hash(self) -> bytes:
        """Return the 32-byte RFC 6962 root over the marks, by partition and offset; SHA-256 of nothing if there are none."""
        return parse_base64url(self.root.encode(), "the root over the marks", HASH_SIZE)


def intake_keys(stream: str) -> list[str]:
    """Return the index keys of an intake, as they stand in the entry: of its type, and of its stream."""
    return [public_text("control", TYPE), public_text("stream", stream)]


def stream_name(cluster_id: str, topic: str, topic_id: str) -> str:
    """Return the name of a topic as a stream.

    Raises:
        MalformedInputError: a part has characters or a length that it cannot have there.

    """
    stream = f"kafka:{cluster_id}/{topic}/{topic_id}"
    _check(_STREAM.fullmatch(stream) is not None, "a stream is kafka:<cluster id>/<topic>/<topic id>; this one is not")
    return stream


def parse_intake(value: Mapping[str, Any]) -> Intake:
    """Return the intake that the members of an entry of that type are; that they are canonical is checked by `parse_entry`.

    Raises:
        MalformedInputError: a member has not the form it must have, or the members contradict each other.

    """
    try:
        intake = msgspec.convert(value, Intake)
    except msgspec.ValidationError:
        message = "not an intake of this format"
        raise MalformedInputError(message) from None
    _check(_STREAM.fullmatch(intake.stream) is not None, "the stream of an intake has not the form of one")
    _check(_FORMAT.fullmatch(intake.format) is not None, "the format of an intake is 1 to 32 of a-z and -")
    _check(intake.keys == intake_keys(intake.stream), "the keys of an intake are those of its type and its stream")
    parse_logged_at(intake.loggedAt)
    numbers = [part.partition for part in intake.partitions]
    rising = all(before < after for before, after in pairwise(numbers))
    _check(rising and 1 <= len(numbers) <= MAX_PARTITIONS, f"an intake is of 1 to {MAX_PARTITIONS} partitions, rising")
    for part in intake.partitions:
        _check_part(part)
    marks = sum(part.logged + part.refused for part in intake.partitions)
    _check((intake.root_hash() == EMPTY_ROOT) == (marks == 0), "the root of an intake is not one over so many messages")
    return intake


def _check_part(part: Part) -> None:
    _check(part.start <= part.end, "an intake of a partition ends before it begins")
    taken = part.logged + part.refused
    _check(taken <= part.end - part.start, "of a partition more messages were taken than there are offsets")
    if part.released is not UNSET:
        _check(part.lost is UNSET and part.start == part.end, "a release takes nothing of its partition")
    if part.lost is not UNSET:
        _check(part.start < part.end and not taken, "of a lost range nothing was taken")


def _check(condition: bool, message: str) -> None:  # noqa: FBT001 - a condition
    if not condition:
        raise MalformedInputError(message)


# --- Marks -----------------------------------------------------------------------------------------------------------


def logged_mark(partition: int, offset: int, event_id: bytes) -> bytes:
    """Return the mark of a message whose event is in the log: `event_id` are the 16 bytes of its eventId."""
    return _LOGGED_MARK(partition, offset, _KIND_LOGGED, event_id)


def refused_mark(partition: int, offset: int, digest: bytes) -> bytes:
    """Return the mark of a message that is no event: `digest` is what `refused_digest` returns of it."""
    return _REFUSED_MARK(partition, offset, _KIND_REFUSED, digest)


def raw_message(key: bytes | None, value: bytes | None, headers: Sequence[tuple[bytes, bytes | None]]) -> bytes:
    """Return a message as the bytes that a refused one is committed to by."""
    parts = [_sized(key), _sized(value), _SHORT_LENGTH(len(headers))]
    for name, content in headers:
        parts += (_SHORT_LENGTH(len(name)), name, _sized(content))
    return b"".join(parts)


def _sized(data: bytes | None) -> bytes:
    return _ABSENT if data is None else _LENGTH(len(data)) + data


def refused_digest(salt: bytes, raw: bytes) -> bytes:
    """Return the 32-byte digest of a refused message: `salt` are 16 random bytes, `raw` is what `raw_message` returns."""
    return sha256(_REFUSED + salt + raw).digest()


def marks_root(marks: Iterable[bytes]) -> bytes:
    """Return the 32-byte RFC 6962 root over marks, in any order: in the tree they stand by partition and offset."""
    tree = Frontier()
    # Partition and offset are the first bytes of a mark.
    tree.extend(leaf_hashes(sorted(marks)))
    return tree.root()
