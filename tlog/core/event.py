"""The audit event as producers send it: members, rules, and strict parsing.

Parsing takes one of two ways to the same verdict. The fast one lets msgspec check types and lengths while it decodes, and
then looks at each member just closely enough to be certain that it keeps its rule. It cannot see a member name that stands
twice (the last value wins). Nothing was lost if the text is as long as what was kept, written without white space: what is
kept is never written longer than it was sent, unless it has floating point numbers. Or if the text has as many colons as
what was kept: a lost member loses at least the colon behind its name. Whenever anything is in doubt, the slow way decides
and names the member (`tlog.core.canonical.parse_strict`, then the rules one by one).

The format is own (docs/reference/event.md); timestamps are RFC 3339, e-mail addresses are what HTML accepts, UUIDs are
RFC 9562, IP addresses RFC 4291 and dotted quads.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache
from ipaddress import IPv6Address
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, NoReturn, get_args

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from tlog.core.canonical import MAX_INTEGER, canonical, check_value, escape_pointer, parse_strict
from tlog.errors import InvalidEventError, MalformedInputError

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_EVENT_SIZE: Final = 65_535
MAX_USER_ID: Final = 256
MAX_RESOURCE_ID: Final = 1024

Action = Literal[
    "read", "create", "update", "delete", "export", "login", "logout", "permission_change", "config_change"
]
Outcome = Literal["success", "failure", "unknown"]

_UUID = r"^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\Z"
_TIMESTAMP = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,6})?"
    r"(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])\Z"
)
_EMAIL = (
    r"^[a-zA-Z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
    r"(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*\Z"
)
_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV6 = r"[0-9a-fA-F:.]*:[0-9a-fA-F:.]*"
_IP = rf"^(?:{_OCTET}(?:\.{_OCTET}){{3}}|{_IPV6})\Z"
_RESOURCE_TYPE = r"^[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}\Z"
_SOURCE_ID = r"^[A-Za-z0-9][A-Za-z0-9_.:/-]{0,127}\Z"
NO_CONTROL = r"^[^\x00-\x1f\x7f]+\Z"

UserId = Annotated[str, Meta(min_length=1, max_length=MAX_USER_ID, pattern=NO_CONTROL)]
ResourceId = Annotated[str, Meta(min_length=1, max_length=MAX_RESOURCE_ID, pattern=NO_CONTROL)]
ResourceType = Annotated[str, Meta(pattern=_RESOURCE_TYPE)]
Uuid = Annotated[str, Meta(pattern=_UUID)]
Timestamp = Annotated[str, Meta(pattern=_TIMESTAMP)]

# What a pattern means, for the person whose value did not match it.
_PATTERN_RULES: Final = {
    _UUID: "a UUID such as 0190f3c2-5f6e-7d3a-9b1c-2f4e6a8c0d1e",
    _TIMESTAMP: "an RFC 3339 date and time with zone and at most 6 fraction digits, such as 2026-11-24T05:11:59.998Z",
    _EMAIL: "an e-mail address",
    _IP: "an IPv4 or IPv6 address",
    _RESOURCE_TYPE: "1 to 64 letters, digits and _ . : - beginning with a letter or digit (it is public)",
    _SOURCE_ID: "1 to 128 letters, digits and _ . : / - beginning with a letter or digit (it is public)",
    NO_CONTROL: "text without control characters",
}


class _Object(Struct, forbid_unknown_fields=True, omit_defaults=True, frozen=True, gc=False):
    """Members are declared in RFC 8785 order, so that encoding in declaration order is canonical."""


class Actor(_Object, kw_only=True, frozen=True):
    """Who acted."""

    email: Annotated[str, Meta(max_length=320)] | UnsetType = UNSET
    ipAddress: Annotated[str, Meta(max_length=45)] | UnsetType = UNSET  # noqa: N815 - the format's name
    role: str | UnsetType = UNSET
    userAgent: str | UnsetType = UNSET  # noqa: N815 - the format's name
    userId: Annotated[str, Meta(min_length=1, max_length=MAX_USER_ID)]  # noqa: N815 - the format's name


class Resource(_Object, kw_only=True, frozen=True):
    """What was acted on. `type` is public in the entry; `id` and `name` are not."""

    id: Annotated[str, Meta(min_length=1, max_length=MAX_RESOURCE_ID)]
    name: str | UnsetType = UNSET
    type: str


class Details(_Object, kw_only=True, frozen=True):
    """What exactly happened."""

    fieldsAccessed: list[str] | UnsetType = UNSET  # noqa: N815 - the format's name
    newValues: dict[str, Any] | UnsetType = UNSET  # noqa: N815 - the format's name
    oldValues: dict[str, Any] | UnsetType = UNSET  # noqa: N815 - the format's name
    query: str | UnsetType = UNSET
    reason: str | UnsetType = UNSET


class Source(_Object, kw_only=True, frozen=True):
    """Which producer sent it, and its position in that producer's own sequence. Public in the entry."""

    id: str
    seq: Annotated[int, Meta(ge=0, le=MAX_INTEGER)]


class Event(_Object, kw_only=True, frozen=True):
    """One audit event (docs/reference/event.md)."""

    action: Action
    actor: Actor
    details: Details | UnsetType = UNSET
    eventId: str  # noqa: N815 - the format's name
    metadata: dict[str, Any] | UnsetType = UNSET
    outcome: Outcome | UnsetType = UNSET
    resource: Resource
    source: Source | UnsetType = UNSET
    timestamp: str


# The patterns are not in the types above, because decoding would search each as a regular expression, at 0.4 µs a member.
PATTERNS: Final = {
    "/eventId": _UUID,
    "/timestamp": _TIMESTAMP,
    "/actor/email": _EMAIL,
    "/actor/ipAddress": _IP,
    "/actor/userId": NO_CONTROL,
    "/resource/id": NO_CONTROL,
    "/resource/type": _RESOURCE_TYPE,
    "/source/id": _SOURCE_ID,
}


class ResourceGroup(_Object, kw_only=True, frozen=True):
    """What the `resource` disclosure holds: the resource, and what happened to it."""

    details: Details | UnsetType = UNSET
    metadata: dict[str, Any] | UnsetType = UNSET
    resource: Resource


class ParsedEvent(Struct, frozen=True, gc=False):
    """A valid event, and its two disclosure bodies in canonical form; `care` if a number may have grown in that."""

    event: Event
    event_id: str
    timestamp: str
    actor_body: bytes
    resource_body: bytes
    care: bool


_decode_lines: Final = msgspec.json.Decoder(Event).decode_lines
_encode: Final = msgspec.json.Encoder().encode
_encode_sorted: Final = msgspec.json.Encoder(order="sorted").encode
_UUID_LENGTH: Final = 36
_UUID_BYTES: Final = 16
_MICROSECONDS_LENGTH: Final = len("2026-11-24T05:11:59.123456Z")
_BARE_LENGTH: Final = len('{"action":"","actor":,"eventId":"","timestamp":"",}') + _UUID_LENGTH - len("{}")
_OUTCOME_LENGTH: Final = len(',"outcome":""')
_SOURCE_LENGTH: Final = len(',"source":{"id":"","seq":}')
_IPV4_OCTETS: Final = 4
_OCTETS: Final = frozenset(map(str, range(256)))
_PUBLIC_LENGTH: Final = 129  # of what is matched and remembered: one more than any of it may have
_PLACE: Final = r" - at `\$(?P<path>(?:\.[A-Za-z]+|\[[0-9]+\])+)`"
# The place is what stands last; anything that looks like one before it is quoted from the sender.
_LOCATED: Final = re.compile(rf"(?P<what>.*){_PLACE}", re.DOTALL)
_NAMED_FIELD: Final = re.compile(
    rf"Object (?P<rule>missing required|contains unknown) field `(?P<name>.*?)`(?:{_PLACE})?", re.DOTALL
)
_FAILED_PATTERN: Final = re.compile(r"""Expected `str` matching regex ['"](.*)['"]""", re.DOTALL)


def parse_event(raw: bytes) -> ParsedEvent:
    """Return the event that `raw`, one JSON text, holds.

    Raises:
        InvalidEventError: a rule of the format is broken; `pointer` names the member.

    """
    certain = parse_certain(raw) if len(raw) <= MAX_EVENT_SIZE else None
    return parse_event_slowly(raw) if certain is None or len(certain) != 1 else certain[0]


def parse_certain(lines: bytes) -> list[ParsedEvent] | None:
    """Return the events of lines, each one JSON text, None if the quick way is in doubt about any of them.

    The caller checks that there are as many as expected, and that no line is longer than an event may be.
    """
    # JSON has control characters only as escapes, but for DEL; an escape can also stand for a colon.
    escapes = b"\\" in lines or b"\x7f" in lines
    if escapes and b"\\u003" in lines:
        return None
    try:
        decoded = _decode_lines(lines)
        if len(decoded) != 1 and _count_lines(lines) != len(decoded):
            return None
        events = []
        care = False
        length = len(decoded) - 1
        for event in decoded:
            if not _is_certain(event) or (
                escapes and not (_has_no_control(event.actor.userId) and _has_no_control(event.resource.id))
            ):
                return None
            parsed = _finish(event)
            # The members that every event has, and the two bodies; the resource's without its braces.
            length += _BARE_LENGTH + len(event.action) + len(event.timestamp)
            length += len(parsed.actor_body) + len(parsed.resource_body)
            if event.outcome is not UNSET:
                length += _OUTCOME_LENGTH + len(event.outcome)
            if event.source is not UNSET:
                length += _SOURCE_LENGTH + len(event.source.id) + len(str(event.source.seq))
            care |= parsed.care
            events.append(parsed)
    except (msgspec.MsgspecError, ValueError, IndexError, RecursionError, InvalidEventError):
        return None
    whole = (length == len(lines) and not care) or _count_colons(events) == lines.count(b":")
    return events if whole else None


def _count_lines(lines: bytes) -> int:
    """Return how many lines there are if each begins with "{" and ends with "}", 0 otherwise.

    Inside of one JSON text no "}" is followed by "{" without a comma: so that is where one ends and the next one begins.
    """
    count, at = 1, lines.find(b"\n")
    while at >= 0:
        if lines[at - 1 : at + 2] != b"}\n{":
            return 0
        count += 1
        at = lines.find(b"\n", at + 1)
    return count


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


def parse_event_slowly(raw: bytes) -> ParsedEvent:
    """Do what `parse_event` does, naming the member that breaks a rule.

    Raises:
        InvalidEventError: a rule of the format is broken; `pointer` names the member.

    """
    if len(raw) > MAX_EVENT_SIZE:
        message = f"an event has at most {MAX_EVENT_SIZE} bytes, this one has {len(raw)}"
        raise InvalidEventError(message)
    try:
        value = parse_strict(raw)
    except MalformedInputError as error:
        raise InvalidEventError(str(error), error.pointer) from None
    try:
        event = msgspec.convert(value, Event)
    except msgspec.ValidationError as error:
        _raise_for(error)
    for pointer, pattern in PATTERNS.items():
        member: Any = event
        for name in pointer.split("/")[1:]:
            member = UNSET if member is UNSET else getattr(member, name)
        if member is not UNSET and not (_is_ip(member) if pattern == _IP else re.search(pattern, member)):
            message = f"expected {_PATTERN_RULES[pattern]}"
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
        and event_id[8] == event_id[13] == event_id[18] == event_id[23] == "-"
        and len(bytes.fromhex(event_id.replace("-", ""))) == _UUID_BYTES
        # With its marks in place, `to_utc` takes nothing but digits between them; some Pythons take an hour 24.
        and (
            (
                timestamp[-1] == "Z"
                and timestamp[4:11:3] == "--T"
                and timestamp[13:17:3] == "::"
                and timestamp[19] in ".Z"
                and timestamp[-2] != "."
                and timestamp[11:13] != "24"
                and len(timestamp) <= _MICROSECONDS_LENGTH
            )
            or re.search(_TIMESTAMP, timestamp) is not None
        )
        and _matches(_RESOURCE_TYPE, resource.type[:_PUBLIC_LENGTH])
        and (source is UNSET or _matches(_SOURCE_ID, source.id[:_PUBLIC_LENGTH]))
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
    group = ResourceGroup(details=details, metadata=metadata, resource=event.resource)
    actor_body = _encode(event.actor)
    resource_body = canonical(msgspec.to_builtins(group)) if care else _encode_sorted(group)
    # The clear members and two disclosures are bounded together, so that each fits the 65,535 bytes of an entry.
    size = len(actor_body) + len(resource_body)
    if size > MAX_EVENT_SIZE:
        message = f"actor, resource, details and metadata have {size} bytes together, at most {MAX_EVENT_SIZE} fit"
        raise InvalidEventError(message)
    return ParsedEvent(event, event.eventId.lower(), to_utc(event.timestamp), actor_body, resource_body, care)


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
        return re.fullmatch(_IPV6, text) is not None and bool(str(IPv6Address(text)))
    except ValueError:
        return False


@lru_cache(maxsize=4_096)
def _matches(pattern: str, text: str) -> bool:
    return re.search(pattern, text) is not None


_has_no_control: Final = re.compile(NO_CONTROL).search


def to_utc(timestamp: str) -> str:
    """Return an RFC 3339 timestamp in UTC, `YYYY-MM-DDTHH:MM:SS[.f]Z` with the fraction digits it came with.

    Raises:
        InvalidEventError: the day does not exist, or the time in UTC is outside the years 1 to 9999.

    """
    try:
        moment = datetime.fromisoformat(timestamp)
        if timestamp[-1] == "Z":
            return timestamp
        moment = moment.astimezone(UTC)
    except (ValueError, OverflowError):
        message = "this date and time does not exist"
        raise InvalidEventError(message, "/timestamp") from None
    _, point, rest = timestamp.partition(".")
    fraction = point + re.split(r"[+-]", rest)[0]
    return moment.strftime("%Y-%m-%dT%H:%M:%S").zfill(19) + fraction + "Z"


def _raise_for(error: msgspec.ValidationError) -> NoReturn:
    raise InvalidEventError(*explain(error)) from None


def explain(error: msgspec.ValidationError) -> tuple[str, str]:
    """Return a validation error as a rule in words and the JSON pointer of the member; values are never repeated."""
    text = str(error)
    named = _NAMED_FIELD.fullmatch(text)
    if named is not None:
        rule = "this member is required" if named["rule"] == "missing required" else "no such member in an event"
        return rule, f"{_pointer(named['path'])}/{escape_pointer(named['name'])}"
    located = _LOCATED.fullmatch(text)
    what, pointer = (text, "") if located is None else (located["what"], _pointer(located["path"]))
    pattern = _FAILED_PATTERN.fullmatch(what)
    if pattern is not None:
        what = "expected " + _PATTERN_RULES[pattern[1].replace("\\\\", "\\")]
    elif what.startswith("Invalid enum value"):
        literal = Action if pointer == "/action" else Outcome
        what = f"not one of the values this member can have: {', '.join(get_args(literal))}"
    return what[:1].lower() + what[1:], pointer


def _pointer(path: str | None) -> str:
    """Return msgspec's path, such as ".details.fieldsAccessed[1]", as a JSON pointer."""
    return (path or "").replace(".", "/").replace("[", "/").replace("]", "")
