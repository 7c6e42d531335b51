"""Event files: what a verifier holds of an event beside its tlog-proof.

Own format (docs/reference/formats.md, "Event file"): canonical JSON and one newline, with the entry's text, and salt
and body of each disclosure that was given. Parsing is strict: parse, format again, compare.
"""

from __future__ import annotations

from typing import NamedTuple

from tlog.core.canonical import canonical, parse_strict
from tlog.core.commitment import GROUPS, SALT_SIZE
from tlog.core.strict import encode_base64url, parse_base64url
from tlog.errors import MalformedInputError


class EventFile(NamedTuple):
    """What a verifier holds of an event: the entry's bytes, and salt || body of the disclosures it was given."""

    entry: bytes
    disclosures: dict[str, bytes]


def parse_event_file(data: bytes) -> EventFile:
    """Return the parts of an event file (docs/reference/formats.md, "Event file").

    Raises:
        MalformedInputError: the file is not exactly what formatting its parts gives.

    """
    value = parse_strict(data)
    if not isinstance(value, dict) or value.keys() != {"disclosures", "entry"}:
        message = "an event file has the members 'disclosures' and 'entry'"
        raise MalformedInputError(message)
    entry, disclosures = value["entry"], value["disclosures"]
    if not isinstance(entry, str) or not isinstance(disclosures, dict) or not disclosures.keys() <= {*GROUPS}:
        message = "an event file has the entry as text and disclosures of 'actor' and 'resource'"
        raise MalformedInputError(message)
    event = EventFile(entry.encode(), {group: _disclosure(group, disclosures[group]) for group in disclosures})
    if format_event_file(event) != data:
        message = "the event file is not in canonical form, ended by one newline"
        raise MalformedInputError(message)
    return event


def format_event_file(event: EventFile) -> bytes:
    """Return the bytes of an event file: RFC 8785 JSON and one newline; all contents are strings, nothing re-encoded.

    Raises:
        MalformedInputError: an entry or body is not UTF-8.

    """
    try:
        disclosures = {
            group: {
                "body": disclosure[SALT_SIZE:].decode(),
                "salt": encode_base64url(disclosure[:SALT_SIZE]).decode(),
            }
            for group, disclosure in event.disclosures.items()
        }
        content = {"disclosures": disclosures, "entry": event.entry.decode()}
    except UnicodeDecodeError:
        message = "an entry or disclosure is not UTF-8"
        raise MalformedInputError(message) from None
    return canonical(content) + b"\n"


def _disclosure(group: str, value: object) -> bytes:
    if not isinstance(value, dict) or value.keys() != {"body", "salt"} or not all(map(_is_text, value.values())):
        message = "a disclosure has the members 'body' and 'salt', both text"
        raise MalformedInputError(message, f"/disclosures/{group}")
    salt = parse_base64url(value["salt"].encode(), f"the salt of the {group} disclosure", SALT_SIZE)
    body: bytes = value["body"].encode()
    return salt + body


def _is_text(value: object) -> bool:
    return isinstance(value, str)
