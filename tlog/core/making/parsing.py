"""Events from JSON texts: a batch is taken whole or refused, with the rule and the member of each event that is not valid.

Parsing takes one of two ways to the same verdict. The quick way decodes a whole batch at once: msgspec checks types and lengths,
then each member is looked at just closely enough to be certain that it keeps its rule. msgspec keeps the last value of a member
name that stands twice, and says nothing. Two arguments show that nothing was lost. Either the texts are as long as what was
kept, written without white space: nothing is ever written longer than it was sent, floating point numbers excepted. Or the texts
have as many colons as what was kept: whoever loses a member loses the colon after its name. Where anything is in doubt, the slow
way decides and names the member: `tlog.core.canonical.parse_strict`, then the rules one by one. docs/explanation/quick-parsing.md
says why the two ways agree.

Left out: how a request or a file is cut into texts. Whoever reads it does that, and comes here with one text for each event.
"""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import IPv6Address
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import UNSET, Struct, UnsetType

from tlog.core.canonical import canonical, check_value, parse_strict
from tlog.core.event import (
    MAX_EVENT_SIZE,
    NO_CONTROL,
    PATTERN_RULES,
    PATTERNS,
    Details,
    Event,
    Resource,
    explain,
    to_utc,
)
from tlog.errors import InvalidBatchError, InvalidEventError, MalformedInputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MAX_REPORTED: Final = 20


class ResourceGroup(Struct, frozen=True, gc=False):
    """Content of the `resource` disclosure: the resource, and what happened to it. Members in RFC 8785 order."""

    details: Details | UnsetType
    metadata: dict[str, Any] | UnsetType
    resource: Resource


class ParsedEvent(Struct, frozen=True, gc=False):
    """A valid event, and its two disclosure bodies in canonical form; `care` if a number may have grown in that."""

    event: Event
    event_id: str
    timestamp: str
    actor_body: bytes
    resource_body: bytes
    care: bool
    related_bodies: tuple[bytes, ...] = ()


_decode: Final = msgspec.json.Decoder(Event).decode
_encode: Final = msgspec.json.Encoder().encode
_encode_sorted: Final = msgspec.json.Encoder(order="sorted").encode
_UUID_LENGTH: Final = 36
_UUID_BYTES: Final = 16
_MICROSECONDS_LENGTH: Final = len("2026-11-24T05:11:59.123456Z")
# The members that every event has, and the resource body's without its braces.
_BARE_LENGTH: Final = len('{"action":"","actor":,"eventId":"","timestamp":"",}') + _UUID_LENGTH - len("{}")
_OUTCOME_LENGTH: Final = len(',"outcome":""')
_SOURCE_LENGTH: Final = len(',"source":{"id":"","seq":}')
_IPV4_OCTETS: Final = 4
_OCTETS: Final = frozenset(map(str, range(256)))
_PUBLIC_LENGTH: Final = 129  # of what is matched and remembered: one more than any of it may have
_TIMESTAMP: Final = PATTERNS["/timestamp"]
_EMAIL: Final = PATTERNS["/actor/email"]
_IP: Final = PATTERNS["/actor/ipAddress"]
_RESOURCE_TYPE: Final = PATTERNS["/resource/type"]
_SOURCE_ID: Final = PATTERNS["/source/id"]


def parse_batch(texts: Sequence[bytes]) -> list[ParsedEvent]:
    """Return the events of `texts`, each one JSON text, if every one of them is valid.

    Raises:
        InvalidBatchError: at least one is not valid; the error names the first twenty.

    """
    certain = parse_certain(texts)
    return _parse_one_by_one(texts) if certain is None else certain


def _parse_one_by_one(texts: Sequence[bytes]) -> list[ParsedEvent]:
    parsed = []
    positions: list[int] = []
    found: list[InvalidEventError] = []
    for position, text in enumerate(texts):
        try:
            parsed.append(parse_event(text))
        except InvalidEventError as error:
            positions.append(position)
            found.append(error)
            if len(found) == MAX_REPORTED:
                break
    if found:
        raise InvalidBatchError(positions, found)
    return parsed


def parse_event(text: bytes) -> ParsedEvent:
    """Return the event of one JSON text.

    Raises:
        InvalidEventError: a rule of the format is broken; `pointer` names the member.

    """
    certain = parse_certain([text])
    return parse_event_slowly(text) if certain is None else certain[0]


def parse_certain(texts: Sequence[bytes]) -> list[ParsedEvent] | None:
    """Return the events of `texts`, each one JSON text, or None if the quick way is in doubt about any of them."""
    whole = b"".join(texts)
    # JSON has control characters only as escapes, but for DEL; an escape can also stand for a colon.
    escapes = b"\\" in whole or b"\x7f" in whole
    if (escapes and b"\\u003" in whole) or (len(whole) > MAX_EVENT_SIZE and max(map(len, texts)) > MAX_EVENT_SIZE):
        return None
    try:
        events = []
        care = False
        length = _BARE_LENGTH * len(texts)
        for event in map(_decode, texts):
            if not _is_certain(event) or (
                escapes and not (_has_no_control(event.actor.userId) and _has_no_control(event.resource.id))
            ):
                return None
            parsed = _finish(event)
            length += len(event.action) + len(event.timestamp) + len(parsed.actor_body) + len(parsed.resource_body)
            if event.outcome is not UNSET:
                length += _OUTCOME_LENGTH + len(event.outcome)
            if event.source is not UNSET:
                length += _SOURCE_LENGTH + len(event.source.id) + len(str(event.source.seq))
            care |= parsed.care
            events.append(parsed)
    except (msgspec.MsgspecError, ValueError, IndexError, RecursionError, InvalidEventError):
        return None
    if (length == len(whole) and not care) or _count_colons(events) == whole.count(b":"):
        return events
    return None


def _count_colons(events: Iterable[ParsedEvent]) -> int:
    """Return how many colons JSON texts of these events have if nothing of them was lost and no escape hides one."""
    colons = 0
    for parsed in events:
        event = parsed.event
        # eventId, timestamp, action and actor; the resource body has its own members' colons, `resource` included.
        colons += 4 + event.timestamp.count(":") + parsed.actor_body.count(b":") + parsed.resource_body.count(b":")
        if event.outcome is not UNSET:
            colons += 1
        if event.source is not UNSET:
            colons += 3 + event.source.id.count(":")
    return colons


def parse_event_slowly(text: bytes) -> ParsedEvent:
    """Return the event of one JSON text, read by the slow way alone, which names the member that breaks a rule.

    Raises:
        InvalidEventError: a rule of the format is broken; `pointer` names the member.

    """
    if len(text) > MAX_EVENT_SIZE:
        message = f"an event has at most {MAX_EVENT_SIZE} bytes, this one has {len(text)}"
        raise InvalidEventError(message)
    try:
        value = parse_strict(text)
    except MalformedInputError as error:
        raise InvalidEventError(str(error), error.pointer) from None
    try:
        event = msgspec.convert(value, Event)
    except msgspec.ValidationError as error:
        raise InvalidEventError(*explain(error)) from None
    for pointer, pattern in PATTERNS.items():
        member: Any = event
        for name in pointer.split("/")[1:]:
            member = UNSET if member is UNSET else getattr(member, name)
        if member is not UNSET and not (_is_ip(member) if pattern == _IP else re.search(pattern, member)):
            message = f"expected {PATTERN_RULES[pattern]}"
            raise InvalidEventError(message, pointer) from None
    return _finish(event)


def _is_certain(event: Event) -> bool:
    """Tell whether an event keeps all of `PATTERNS` for certain, but for control characters.

    May raise ValueError or IndexError instead of answering no.
    """
    actor, resource, source = event.actor, event.resource, event.source
    event_id, timestamp = event.eventId, event.timestamp
    return (
        # fromhex passes over white space, but then there are fewer bytes.
        len(event_id) == _UUID_LENGTH
        and event_id[8:24:5] == "----"
        and len(bytes.fromhex(event_id.replace("-", ""))) == _UUID_BYTES
        # With its marks in place, `to_utc` takes nothing but digits between them; some Pythons take an hour 24.
        and (
            (
                timestamp[-1] == "Z"
                and timestamp[4:17:3] == "--T::"
                and timestamp[19] in ".Z"
                and timestamp[-2] != "."
                and timestamp[11:13] != "24"
                and len(timestamp) <= _MICROSECONDS_LENGTH
            )
            or re.search(_TIMESTAMP, timestamp) is not None
        )
        and _is_resource_type(resource.type[:_PUBLIC_LENGTH])
        and (source is UNSET or _is_source_id(source.id[:_PUBLIC_LENGTH]))
        and (actor.ipAddress is UNSET or _is_ip(actor.ipAddress))
        and (actor.email is UNSET or re.search(_EMAIL, actor.email) is not None)
    )


def _finish(event: Event) -> ParsedEvent:
    """Check what decoding and patterns cannot, and encode the disclosure bodies.

    Raises:
        InvalidEventError: a rule of the format is broken; `pointer` names the member.

    """
    details, metadata = event.details, event.metadata
    care = metadata is not UNSET and _check_object(metadata, "/metadata")
    if details is not UNSET:
        if details.oldValues is not UNSET:
            care |= _check_object(details.oldValues, "/details/oldValues")
        if details.newValues is not UNSET:
            care |= _check_object(details.newValues, "/details/newValues")
    group = ResourceGroup(details, metadata, event.resource)
    actor_body = _encode(event.actor)
    resource_body = canonical(msgspec.to_builtins(group)) if care else _encode_sorted(group)
    # The clear members and two disclosures are bounded together, so that each fits the 65,535 bytes of an entry.
    size = len(actor_body) + len(resource_body)
    if size > MAX_EVENT_SIZE:
        message = f"actor, resource, details and metadata have {size} bytes together, at most {MAX_EVENT_SIZE} fit"
        raise InvalidEventError(message)
    related = () if event.relatedResources is UNSET else tuple(map(_encode, event.relatedResources))
    return ParsedEvent(event, event.eventId.lower(), to_utc(event.timestamp), actor_body, resource_body, care, related)


def _check_object(value: dict[str, Any], pointer: str) -> bool:
    """Check a free-form object; return whether writing it canonically needs care."""
    for name, child in value.items():
        if type(child) is not str or not name.isascii():
            break
    else:
        return False
    try:
        return check_value(value, pointer)
    except MalformedInputError as error:
        raise InvalidEventError(str(error), error.pointer) from None


def _is_ip(text: str) -> bool:
    octets = text.split(".")
    return (len(octets) == _IPV4_OCTETS and _OCTETS.issuperset(octets)) or _is_ipv6(text)


@lru_cache(maxsize=65_536)
def _is_ipv6(text: str) -> bool:
    try:
        return re.search(_IP, text) is not None and bool(str(IPv6Address(text)))
    except ValueError:
        return False


@lru_cache(maxsize=4_096)
def _is_resource_type(text: str) -> bool:
    return re.search(_RESOURCE_TYPE, text) is not None


@lru_cache(maxsize=4_096)
def _is_source_id(text: str) -> bool:
    return re.search(_SOURCE_ID, text) is not None


_has_no_control: Final = re.compile(NO_CONTROL).search
