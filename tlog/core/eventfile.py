"""Event files: what a verifier holds of an event beside its tlog-proof.

Own format (docs/reference/formats.md, "Event file"): canonical JSON and one newline, with the entry's text, and salt
and body of each disclosure that was given. Parsing is strict: parse, format again, compare.
"""

from __future__ import annotations

from typing import Annotated, Final, NamedTuple

from msgspec import Meta, Struct

from tlog.core.canonical import MAX_INTEGER
from tlog.core.commitment import SALT_SIZE, group_order
from tlog.core.strict import CanonicalFile, encode_base64url, parse_base64url
from tlog.errors import MalformedInputError


class EventFile(NamedTuple):
    """What a verifier holds of an event: the entry's bytes, and salt || body of the disclosures it was given, by group.

    `absent` are the groups that would be given and are not there, each with the index of the outcome that explains it;
    `missing` those that nothing explains.
    """

    entry: bytes
    disclosures: dict[str, bytes]
    absent: tuple[tuple[str, int], ...] = ()
    missing: tuple[str, ...] = ()


class DisclosureText(Struct, forbid_unknown_fields=True, frozen=True, gc=False, kw_only=True):
    """One disclosure as text."""

    body: str
    salt: str

    def data(self, group: str) -> bytes:
        """Return salt || body.

        Raises:
            MalformedInputError: the salt is not base64url of 16 bytes; `group` is named.

        """
        return (
            parse_base64url(self.salt.encode(), f"the salt of the {group} disclosure", SALT_SIZE) + self.body.encode()
        )


def disclosure_text(data: bytes) -> DisclosureText:
    """Return a disclosure as text, given as salt || body.

    Raises:
        MalformedInputError: the body is not UTF-8.

    """
    try:
        return DisclosureText(body=data[SALT_SIZE:].decode(), salt=encode_base64url(data[:SALT_SIZE]).decode())
    except UnicodeDecodeError:
        message = "a disclosure is not UTF-8"
        raise MalformedInputError(message) from None


class _Content(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The members of the file. `disclosed` says what it claims to disclose, `absent` which entry explains what is absent."""

    absent: list[tuple[str, Annotated[int, Meta(ge=0, le=MAX_INTEGER)]]]  # in bundles entries and answers bound them
    disclosed: list[str]
    disclosures: dict[str, DisclosureText]
    entry: str


_FILE: Final = CanonicalFile(_Content, "an event file")


def parse_event_file(data: bytes) -> EventFile:
    """Return the parts of an event file (docs/reference/formats.md, "Event file").

    Raises:
        MalformedInputError: the file is not exactly what formatting its parts gives.

    """
    content = _FILE.parse(data)
    given = sorted(content.disclosures, key=group_order)
    absent = [group for group, _ in content.absent]
    claimed = sorted(set(content.disclosed), key=group_order)
    if content.disclosed != claimed or not {*given, *absent} <= {*claimed}:
        message = "the groups of an event file are not those that it claims to disclose, in the order of the groups"
        raise MalformedInputError(message, "/disclosed")
    if absent != sorted({*absent} - {*given}, key=group_order):
        message = "an event file explains something as absent that is there, or not in the order of the groups"
        raise MalformedInputError(message, "/absent")
    missing = tuple(group for group in content.disclosed if group not in {*given, *absent})
    disclosures = {group: content.disclosures[group].data(group) for group in given}
    return EventFile(content.entry.encode(), disclosures, tuple(content.absent), missing)


def format_event_file(event: EventFile) -> bytes:
    """Return the bytes of an event file: RFC 8785 JSON and one newline; all contents are strings, nothing re-encoded.

    Raises:
        MalformedInputError: an entry or body is not UTF-8, or there is no such group.

    """
    absent = sorted(event.absent, key=lambda each: group_order(each[0]))
    claimed = {*event.disclosures, *event.missing, *(group for group, _ in absent)}
    groups = sorted(claimed, key=group_order)
    try:
        entry = event.entry.decode()
    except UnicodeDecodeError:
        message = "an entry is not UTF-8"
        raise MalformedInputError(message) from None
    disclosures = {group: disclosure_text(event.disclosures[group]) for group in event.disclosures}
    return _FILE.format(_Content(absent=absent, disclosed=groups, disclosures=disclosures, entry=entry))
