"""Events from JSON texts: a batch is taken whole or refused, with the rule and the member of each event that is not valid.

Parsing takes one of two ways to the same verdict. The quick way decodes a whole batch at once: msgspec checks types and lengths,
then each member is looked at just closely enough to be certain that it keeps its rule. msgspec keeps the last value of a member
name that stands twice, and says nothing. Two arguments show that nothing was lost. Either the texts are as long as what was
kept, written without white space: nothing is ever written longer than it was sent, floating point numbers excepted. Or the texts
have as many colons as what was kept: whoever loses a member loses the colon after its name. Where anything is in doubt, the slow
way decides and names the members: `tlog.core.canonical.parse_with_faults`, then the rules one by one (`faults`).
docs/explanation/quick-parsing.md says why the two ways agree.

Left out: how a request or a file is cut into texts. Whoever reads it does that, and comes here with one text for each event.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import replace

from tlog.core.canonical import canonical, check_value, parse_with_faults, sent_float
from tlog.core.commitment import SALT_SIZE
from tlog.core.event import (
    MAX_EVENT_SIZE,
    MAX_RESOURCE_ID_BYTES,
    PATTERNS,
    RESERVED_TYPES,
    Actor,
    Details,
    Event,
    Resource,
    check_resource_id,
    check_user_id,
    is_ip,
    to_utc,
)
from tlog.core.making.faults import find_faults, identity
from tlog.core.run import MAX_DISCLOSED
from tlog.errors import InvalidBatchError, InvalidEventError, MalformedInputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

MAX_REPORTED: Final = 20


class ResourceGroup(Struct, frozen=True, gc=False):
    """Content of the `resource` disclosure: the resource, and what happened to it. Members in RFC 8785 order."""

    details: Details | UnsetType
    metadata: dict[str, Any] | UnsetType
    resource: Resource


class ParsedEvent(Struct, frozen=True, gc=False):
    """A valid event, and its disclosure bodies in canonical form; `care` if a number may have grown in that.

    The actor's body has no `appendedBy`: whoever drafts the entry puts that in. `event` never has the actor type "user".
    """

    event: Event
    event_id: str
    timestamp: str
    actor_body: bytes
    resource_body: bytes
    care: bool
    related_bodies: tuple[bytes, ...] = ()


_decode: Final = msgspec.json.Decoder(Event, float_hook=sent_float).decode
_encode: Final = msgspec.json.Encoder().encode
_encode_sorted: Final = msgspec.json.Encoder(order="sorted").encode
_DOUBT: Final = "the quick way is in doubt"
_UUID_LENGTH: Final = 36
_UUID_BYTES: Final = 16
_MICROSECONDS_LENGTH: Final = len("2026-11-24T05:11:59.123456Z")
# The members that every event has, and the resource body's without its braces.
_BARE_LENGTH: Final = len('{"action":"","actor":,"eventId":"","timestamp":"",}') + _UUID_LENGTH - len("{}")
_OUTCOME_LENGTH: Final = len(',"outcome":""')
_SOURCE_LENGTH: Final = len(',"source":{"id":"","seq":}')
_OPERATION_LENGTH: Final = len(',"operation":""')
_RELATED_LENGTH: Final = len(',"relatedResources":[]') - len(",")  # each element with the comma after it
_USER_LENGTH: Final = len('"type":"user",')
_PUBLIC_LENGTH: Final = 129  # of what is matched and remembered: one more than any of it may have
_APPENDED_BY_SIZE: Final = (
    len('"appendedBy":"",') + 128
)  # what the log puts into the actor's body has at most this size
_SMALL_GROUPS: Final = MAX_EVENT_SIZE - SALT_SIZE - _APPENDED_BY_SIZE  # what has no more together fits for certain
_SHORT_ID: Final = MAX_RESOURCE_ID_BYTES // 4  # no character has more bytes
_IPV4_OCTETS: Final = 4
_OCTETS: Final = frozenset(map(str, range(256)))
_LENGTH_SIZE: Final = 2
_find_timestamp: Final = re.compile(PATTERNS["/timestamp"]).search
_find_email: Final = re.compile(PATTERNS["/actor/email"]).search
_find_resource_type: Final = re.compile(PATTERNS["/resource/type"]).search
_find_source_id: Final = re.compile(PATTERNS["/source/id"]).search


def parse_batch(texts: Sequence[bytes], *, reserved: bool = False) -> list[ParsedEvent]:
    """Return the events of `texts`, each one JSON text, if every one of them is valid.

    Args:
        texts: one for each event.
        reserved: the log itself says this, so the resource types that no producer may use are fine.

    Raises:
        InvalidBatchError: at least one is not valid; the error names the first twenty, each with all its faults.

    """
    certain = parse_certain(texts, reserved=reserved)
    return _parse_one_by_one(texts, reserved=reserved) if certain is None else certain


def _parse_one_by_one(texts: Sequence[bytes], *, reserved: bool) -> list[ParsedEvent]:
    parsed = []
    positions: list[int] = []
    found: list[InvalidEventError] = []
    for position, text in enumerate(texts):
        try:
            parsed.append(parse_event(text, reserved=reserved))
        except InvalidEventError as error:
            positions.append(position)
            found.append(error)
            if len(found) == MAX_REPORTED:
                break
    if found:
        raise InvalidBatchError(positions, found)
    return parsed


def parse_event(text: bytes, *, reserved: bool = False) -> ParsedEvent:
    """Return the event of one JSON text.

    Raises:
        InvalidEventError: rules of the format are broken; `faults` names them all, up to twenty.

    """
    certain = parse_certain([text], reserved=reserved)
    return parse_event_slowly(text, reserved=reserved) if certain is None else certain[0]


def parse_certain(texts: Sequence[bytes], *, reserved: bool = False) -> list[ParsedEvent] | None:
    """Return the events of `texts`, each one JSON text, or None if the quick way is in doubt about any of them."""
    whole = b"".join(texts)
    # JSON has control characters only as escapes, but for DEL; an escape can also stand for a colon.
    escapes = b"\\" in whole or b"\x7f" in whole
    if (escapes and b"\\u003" in whole) or (len(whole) > MAX_EVENT_SIZE and max(map(len, texts)) > MAX_EVENT_SIZE):
        return None
    plain = not escapes and whole.isascii()
    try:
        events, length, users = _decode_certain(texts, _is_resource_type if reserved else _is_producers_type)
        certain = _are_uuids([each.event_id for each in events]) and (plain or _have_certain_ids(events))
    except (msgspec.MsgspecError, ValueError, IndexError, RecursionError, InvalidEventError):
        return None
    # The type "user" is not kept: one colon of each.
    if certain and (length == len(whole) or _count_colons(events) == whole.count(b":") - users):
        return events
    return None


def _decode_certain(texts: Sequence[bytes], is_type: Callable[[str], bool]) -> tuple[list[ParsedEvent], int, int]:
    """Return the events of texts, how long they are without white space, and how many have the actor type "user".

    The length is -1 where numbers or names may be written longer than they were sent.

    Raises:
        ValueError: one is in doubt; so do other errors say.

    """
    events = []
    care = False
    length = _BARE_LENGTH * len(texts)
    users = 0
    for event in map(_decode, texts):
        actor, source, outcome = event.actor, event.source, event.outcome
        if not _is_certain(event, actor, is_type):
            raise ValueError(_DOUBT)
        if actor.type is UNSET and event.operation is UNSET and event.relatedResources is UNSET:
            parsed = _finish(event)
        else:
            _check_rest(event, is_type)
            users += actor.type == "user"
            parsed = _finish_rest(event)
            length += _length_of_rest(parsed)
        length += len(event.action) + len(event.timestamp) + len(parsed.actor_body) + len(parsed.resource_body)
        if outcome is not UNSET:
            length += _OUTCOME_LENGTH + len(outcome)
        if source is not UNSET:
            length += _SOURCE_LENGTH + len(source.id) + len(str(source.seq))
        care |= parsed.care
        events.append(parsed)
    return events, -1 if care else length + users * _USER_LENGTH, users


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
        if event.operation is not UNSET:
            colons += 1 + event.operation.count(":")
        if parsed.related_bodies:
            colons += 1 + sum(body.count(b":") for body in parsed.related_bodies)
    return colons


def _length_of_rest(parsed: ParsedEvent) -> int:
    """Return how many bytes a text has for members that most events lack, and that stand in no body of most events."""
    operation, bodies = parsed.event.operation, parsed.related_bodies
    length = 0 if operation is UNSET else _OPERATION_LENGTH + len(operation)
    return length + (_RELATED_LENGTH + len(bodies) + sum(map(len, bodies)) if bodies else 0)


def parse_event_slowly(text: bytes, *, reserved: bool = False) -> ParsedEvent:
    """Return the event of one JSON text, read by the slow way alone, which names the members that break a rule.

    Raises:
        InvalidEventError: rules of the format are broken; `faults` names them all, up to twenty.

    """
    if len(text) > MAX_EVENT_SIZE:
        message = f"an event has at most {MAX_EVENT_SIZE} bytes, this one has {len(text)}"
        raise InvalidEventError(message)
    try:
        value, broken = parse_with_faults(text)
    except MalformedInputError as error:
        raise InvalidEventError(str(error), error.pointer) from None
    known = frozenset(pointer for _, pointer in broken)
    faults = tuple(islice(chain(broken, find_faults(value, known, reserved=reserved)), MAX_REPORTED))
    if faults:
        raise InvalidEventError(*faults[0], faults) from None
    return _finish_rest(msgspec.convert(value, Event))


def _are_uuids(event_ids: Sequence[str]) -> bool:
    """Tell whether each text is a UUID; may raise ValueError instead of answering no."""
    joined = "".join(event_ids)
    dashes = "-" * len(event_ids)
    return (
        {_UUID_LENGTH}.issuperset(map(len, event_ids))
        and joined[8::_UUID_LENGTH] == joined[13::_UUID_LENGTH] == dashes
        and joined[18::_UUID_LENGTH] == joined[23::_UUID_LENGTH] == dashes
        # fromhex passes over white space, but then there are fewer bytes, as there are with another dash.
        and len(bytes.fromhex(joined.replace("-", ""))) == _UUID_BYTES * len(event_ids)
    )


def _is_certain(event: Event, actor: Actor, is_type: Callable[[str], bool]) -> bool:
    """Tell whether an event keeps all rules for certain that most events could break, but for those of ids.

    May raise ValueError or IndexError instead of answering no.
    """
    source, timestamp = event.source, event.timestamp
    return (
        # With its marks in place and six digits, `to_utc` takes nothing but digits between them; some Pythons take an hour 24.
        (
            (
                timestamp[-1] == "Z"
                and timestamp[4:17:3] == "--T::"
                and timestamp[19] in ".Z"
                and timestamp[-2] != "."
                and timestamp[11:13] != "24"
                and len(timestamp) <= _MICROSECONDS_LENGTH
            )
            or _find_timestamp(timestamp) is not None
        )
        and is_type(event.resource.type[:_PUBLIC_LENGTH])
        and (source is UNSET or _is_source_id(source.id[:_PUBLIC_LENGTH]))
        and (actor.ipAddress is UNSET or _is_ip(actor.ipAddress))
        and (actor.email is UNSET or _find_email(actor.email) is not None)
        and (actor.userId is not UNSET or actor.type == "unknown")
    )


def _check_rest(event: Event, is_type: Callable[[str], bool]) -> None:
    """Check the rules that only members break which most events lack.

    Raises:
        ValueError: in doubt.

    """
    actor, operation, related = event.actor, event.operation, event.relatedResources
    certain = (actor.type != "unknown" or actor.userId is UNSET) and (
        operation is UNSET or _is_source_id(operation[:_PUBLIC_LENGTH])
    )
    if certain and related is not UNSET:
        resources = {
            identity(event.resource.type, event.resource.id),
            *(identity(each.type, each.id) for each in related),
        }
        certain = len(resources) == 1 + len(related) and all(is_type(each.type[:_PUBLIC_LENGTH]) for each in related)
    if not certain:
        raise ValueError(_DOUBT)


def _have_certain_ids(parsed: Sequence[ParsedEvent]) -> bool:
    """Tell whether the userIds and the ids of resources of events keep their rules."""
    events = [each.event for each in parsed]
    users = [user for event in events if (user := event.actor.userId) is not UNSET]
    names = [event.resource.id for event in events]
    names += [each.id for event in events if event.relatedResources is not UNSET for each in event.relatedResources]
    joined = "".join((*names, *users))
    # Each part of a text in NFC is in NFC, so no form of it is longer.
    if max(map(len, names)) <= _SHORT_ID and joined.isprintable() and unicodedata.is_normalized("NFC", joined):
        return True
    return not any(map(check_user_id, users)) and not any(map(check_resource_id, names))


def _finish_rest(event: Event) -> ParsedEvent:
    """Return `_finish` of an event that may have all members: without the actor type that says no more than none does."""
    if event.actor.type == "user":
        event = replace(event, actor=replace(event.actor, type=UNSET))
    related = event.relatedResources
    return _finish(event, () if related is UNSET else tuple(map(_encode, related)))


def _finish(event: Event, related_bodies: tuple[bytes, ...] = ()) -> ParsedEvent:
    """Check what decoding and patterns cannot, and encode the disclosure bodies but for those of related resources.

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
    size = len(actor_body) + len(resource_body)
    if related_bodies:
        size += sum(map(len, related_bodies))
    if size > _SMALL_GROUPS:
        check_sizes(actor_body, resource_body, related_bodies)
    event_id, timestamp = event.eventId.lower(), to_utc(event.timestamp)
    return ParsedEvent(event, event_id, timestamp, actor_body, resource_body, care, related_bodies)


def check_sizes(actor_body: bytes, resource_body: bytes, related_bodies: Sequence[bytes]) -> None:
    """Check that each group fits into a disclosure, with its salt and what the log adds, and all of them into a row.

    Raises:
        InvalidEventError: one is too large, or all are together; `pointer` names the group.

    """
    groups = [
        ("/actor", "the actor has", len(actor_body) + _APPENDED_BY_SIZE),
        ("/resource", "resource, details and metadata have", len(resource_body)),
        *((f"/relatedResources/{at}", "this one has", len(body)) for at, body in enumerate(related_bodies)),
    ]
    total = 0
    for pointer, subject, size in groups:
        total += _LENGTH_SIZE + SALT_SIZE + size
        if SALT_SIZE + size > MAX_EVENT_SIZE:
            message = f"{subject} {SALT_SIZE + size} bytes as the log keeps them, and at most {MAX_EVENT_SIZE} fit"
            raise InvalidEventError(message, pointer)
        if total > MAX_DISCLOSED:
            message = f"the event has more than {MAX_DISCLOSED} bytes as the log keeps them up to here"
            raise InvalidEventError(message, pointer)


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


_is_ipv6: Final = lru_cache(maxsize=65_536)(is_ip)


@lru_cache(maxsize=4_096)
def _is_resource_type(text: str) -> bool:
    return _find_resource_type(text) is not None


@lru_cache(maxsize=4_096)
def _is_producers_type(text: str) -> bool:
    return _find_resource_type(text) is not None and text not in RESERVED_TYPES


@lru_cache(maxsize=4_096)
def _is_source_id(text: str) -> bool:
    return _find_source_id(text) is not None
