"""Runs: up to 8 neighbouring entries, and their disclosures, as the bytes that one row of the database holds compressed.

Own format (docs/reference/formats.md, "Run"), integers big-endian:

    entry run        for each entry  u16 length || entry, as in an entry bundle (c2sp.org/tlog-tiles "Log entries")
    disclosure run   for each entry  u16 length || actor || u16 length || resource || u8 related,
                                     and for each of so many related groups  u16 length || group

A group is salt || body (`tlog.core.commitment`), and empty where it was erased; a control entry that discloses nothing is
`00 00 00 00 00`. `related` is how many the entry commits to, whatever of them was erased. Every byte string is at most one run:
no length can be written in two ways, and nothing follows the last group. Left out: the frame around it (`tlog.storage.frames`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from tlog.core.bundle import MAX_ENTRY_SIZE, parse_bundle
from tlog.core.commitment import MAX_RELATED
from tlog.errors import MalformedInputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

RUN_ENTRIES: Final = 8
# Indexes of one partition of the tables that hold runs: a run is in one partition whole.
PARTITION_ENTRIES: Final = 1 << 22
# Bytes of what an event discloses, with the lengths; larger ones are refused (`tlog.core.making.parsing`).
MAX_DISCLOSED: Final = 131_072
MAX_ENTRY_RUN: Final = RUN_ENTRIES * (2 + MAX_ENTRY_SIZE)
MAX_DISCLOSURE_RUN: Final = RUN_ENTRIES * MAX_DISCLOSED
MAX_GROUP_SIZE: Final = 65_535
_NUMBERS: Final = [bytes([number]) for number in range(MAX_RELATED + 1)]
_SHORT: Final = "the run ends before the entries that are asked for"
_TOO_LARGE: Final = f"a disclosure has groups of at most {MAX_GROUP_SIZE} bytes, and at most {MAX_RELATED} related ones"


class Disclosed(NamedTuple):
    """What is stored of the disclosures of an entry: each group as salt || body, empty where it was erased."""

    actor: bytes = b""
    resource: bytes = b""
    related: tuple[bytes, ...] = ()


class Discloses(Protocol):
    """What has disclosures, such as `Disclosed` or a draft."""

    @property
    def actor(self) -> bytes:
        """The actor's group."""

    @property
    def resource(self) -> bytes:
        """The resource's group."""

    @property
    def related(self) -> Sequence[bytes]:
        """The group of each related resource."""


def parse_entry_run(data: bytes, count: int) -> list[bytes]:
    """Return the `count` entries of a run.

    Raises:
        MalformedInputError: it has not exactly so many, or a run has none or more than 8.

    """
    _check_count(count)
    return parse_bundle(data, count)


def pick_entries(data: bytes, positions: Sequence[int]) -> list[bytes]:
    """Return the entries of a run at some positions, which rise; what follows the last of them is not looked at.

    Raises:
        MalformedInputError: the run ends before.

    """
    found: list[bytes] = []
    at = number = 0
    try:
        for position in positions:
            for _ in range(number, position):
                at += 2 + (data[at] << 8 | data[at + 1])
            start = at + 2
            at = start + (data[at] << 8 | data[at + 1])
            number = position + 1
            found.append(data[start:at])
    except IndexError:
        at = len(data) + 1
    if at > len(data):
        raise MalformedInputError(_SHORT)
    return found


def format_disclosure_run(disclosed: Iterable[Discloses]) -> bytes:
    """Return the run of disclosures.

    Raises:
        MalformedInputError: a group has more than 65,535 bytes, or there are more than 32 related ones.

    """
    parts: list[bytes] = []
    for actor, resource, related in [(each.actor, each.resource, each.related) for each in disclosed]:
        if len(actor) > MAX_GROUP_SIZE or len(resource) > MAX_GROUP_SIZE or len(related) > MAX_RELATED:
            raise MalformedInputError(_TOO_LARGE)
        parts += (len(actor).to_bytes(2), actor, len(resource).to_bytes(2), resource, _NUMBERS[len(related)])
        for group in related:
            if len(group) > MAX_GROUP_SIZE:
                raise MalformedInputError(_TOO_LARGE)
            parts += (len(group).to_bytes(2), group)
    return b"".join(parts)


def parse_disclosure_run(data: bytes, count: int) -> list[Disclosed]:
    """Return the `count` disclosures of a run.

    Raises:
        MalformedInputError: it has not exactly so many, one has more than 32 related groups, or a run has none or more than 8.

    """
    _check_count(count)
    found: list[Disclosed] = []
    position = 0
    try:
        for _ in range(count):
            start = position + 2
            middle = start + (data[position] << 8 | data[position + 1])
            end = middle + 2 + (data[middle] << 8 | data[middle + 1])
            number, position = data[end], end + 1
            related = []
            for _ in range(number):
                first = position + 2
                position = first + (data[position] << 8 | data[position + 1])
                related.append(data[first:position])
            if number > MAX_RELATED:
                raise MalformedInputError(_TOO_LARGE)
            found.append(Disclosed(data[start:middle], data[middle + 2 : end], tuple(related)))
    except IndexError:
        position = -1
    if position != len(data):
        message = f"these are not the disclosures of {count} entries and nothing else"
        raise MalformedInputError(message)
    return found


def pick_disclosures(data: bytes, positions: Sequence[int]) -> list[Disclosed]:
    """Return the disclosures of a run at some positions, which rise; what follows the last of them is not looked at.

    Raises:
        MalformedInputError: the run ends before.

    """
    found: list[Disclosed] = []
    at = number = 0
    try:
        for position in positions:
            for _ in range(number, position):
                at += 2 + (data[at] << 8 | data[at + 1])
                at += 2 + (data[at] << 8 | data[at + 1])
                related, at = data[at], at + 1
                for _ in range(related):
                    at += 2 + (data[at] << 8 | data[at + 1])
            start = at + 2
            middle = start + (data[at] << 8 | data[at + 1])
            end = middle + 2 + (data[middle] << 8 | data[middle + 1])
            related, at = data[end], end + 1
            groups = []
            for _ in range(related):
                first = at + 2
                at = first + (data[at] << 8 | data[at + 1])
                groups.append(data[first:at])
            number = position + 1
            found.append(Disclosed(data[start:middle], data[middle + 2 : end], tuple(groups)))
    except IndexError:
        at = len(data) + 1
    if at > len(data):
        raise MalformedInputError(_SHORT)
    return found


def _check_count(count: int) -> None:
    if not 1 <= count <= RUN_ENTRIES:
        message = f"a run has 1 to {RUN_ENTRIES} entries, not {count}"
        raise MalformedInputError(message)
