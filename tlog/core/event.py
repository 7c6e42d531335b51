"""The audit event as producers send it: its members, their rules, and in words which rule a text breaks.

The format is own (docs/reference/event.md); timestamps are RFC 3339, e-mail addresses are those that HTML accepts, UUIDs are
RFC 9562, IP addresses are RFC 4291 or dotted quads. Left out: reading an event. No verifier does that, because a log commits to
an event's disclosures and not to the text that was sent (`tlog.core.making.parsing`).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal, get_args

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from tlog.core.canonical import MAX_INTEGER, escape_pointer
from tlog.errors import InvalidEventError

MAX_EVENT_SIZE: Final = 65_535
MAX_USER_ID: Final = 256
MAX_RESOURCE_ID: Final = 1024

Action = Literal[
    "read", "create", "update", "delete", "export", "login", "logout", "permission_change", "config_change"
]
Outcome = Literal["success", "failure", "unknown"]

_UUID = r"^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\Z"
# RFC 3339 section 5.6, with letters in upper case, at most six fraction digits and no leap second:
#   date-time = full-date "T" hour ":" minute ":" second ["." 1*6DIGIT] ("Z" / ("+" / "-") hour ":" minute)
#   full-date = 4DIGIT "-" 2DIGIT "-" 2DIGIT    ; `to_utc` knows which days there are
#   hour = "00" to "23", minute and second = "00" to "59"
_TIMESTAMP = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,6})?"
    r"(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])\Z"
)
# HTML, "valid email address" (https://html.spec.whatwg.org/multipage/input.html), and at most 64 characters before the "@":
#   email  = 1*64(atext / ".") "@" label *("." label)    ; atext: RFC 5322 section 3.2.3
#   label  = let-dig [*61(let-dig / "-") let-dig]        ; RFC 1034 section 3.5, a digit may come first
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

# In words what a pattern asks for, for the person whose value did not match it.
PATTERN_RULES: Final = {
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

    address: Annotated[str, Meta(max_length=256)] | UnsetType = UNSET
    email: Annotated[str, Meta(max_length=320)] | UnsetType = UNSET
    ipAddress: Annotated[str, Meta(max_length=45)] | UnsetType = UNSET  # noqa: N815 - the format's name
    role: str | UnsetType = UNSET
    type: Literal["service", "system", "unknown", "user"] | UnsetType = UNSET
    userAgent: str | UnsetType = UNSET  # noqa: N815 - the format's name
    userId: Annotated[str, Meta(min_length=1, max_length=MAX_USER_ID)] | UnsetType = UNSET  # noqa: N815 - the format's name


class Resource(_Object, kw_only=True, frozen=True):
    """What was acted on. `type` is public in the entry; `id` and `name` are not."""

    id: Annotated[str, Meta(min_length=1, max_length=MAX_RESOURCE_ID)]
    name: str | UnsetType = UNSET
    type: str


class RelatedResource(_Object, kw_only=True, frozen=True):
    """What else an event concerned."""

    id: Annotated[str, Meta(min_length=1, max_length=MAX_RESOURCE_ID)]
    name: str | UnsetType = UNSET
    role: Annotated[str, Meta(max_length=64)] | UnsetType = UNSET
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
    operation: str | UnsetType = UNSET
    outcome: Outcome | UnsetType = UNSET
    relatedResources: Annotated[list[RelatedResource], Meta(min_length=1, max_length=32)] | UnsetType = UNSET  # noqa: N815
    resource: Resource
    source: Source | UnsetType = UNSET
    timestamp: str


# The patterns are not in the types above, because decoding would search each as a regular expression, at 0.4 µs a member.
PATTERNS: Final = {
    "/eventId": _UUID,
    "/timestamp": _TIMESTAMP,
    "/operation": _SOURCE_ID,
    "/actor/email": _EMAIL,
    "/actor/ipAddress": _IP,
    "/actor/userId": NO_CONTROL,
    "/resource/id": NO_CONTROL,
    "/resource/type": _RESOURCE_TYPE,
    "/source/id": _SOURCE_ID,
}


_PLACE: Final = r" - at `\$(?P<path>(?:\.[A-Za-z]+|\[[0-9]+\])+)`"
# The place stands last; anything before it that looks like one is quoted from the sender.
_LOCATED: Final = re.compile(rf"(?P<what>.*){_PLACE}", re.DOTALL)
_NAMED_FIELD: Final = re.compile(
    rf"Object (?P<rule>missing required|contains unknown) field `(?P<name>.*?)`(?:{_PLACE})?", re.DOTALL
)
_FAILED_PATTERN: Final = re.compile(r"""Expected `str` matching regex ['"](.*)['"]""", re.DOTALL)


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
        what = "expected " + PATTERN_RULES[pattern[1].replace("\\\\", "\\")]
    elif what.startswith("Invalid enum value"):
        literal = Action if pointer == "/action" else Outcome
        what = f"not one of the values this member can have: {', '.join(get_args(literal))}"
    return what[:1].lower() + what[1:], pointer


def _pointer(path: str | None) -> str:
    """Return msgspec's path, such as ".details.fieldsAccessed[1]", as a JSON pointer."""
    return (path or "").replace(".", "/").replace("[", "/").replace("]", "")
