"""The audit event as producers send it: its members, their rules, and in words which rule a text breaks.

The format is own (docs/reference/event.md); timestamps are RFC 3339, e-mail addresses are those that HTML accepts and their
international forms of RFC 6531, UUIDs are RFC 9562, IP addresses are RFC 4291 or dotted quads. Left out: reading an event. No
verifier does that, because a log commits to an event's disclosures and not to the text that was sent
(`tlog.core.making.parsing`).
"""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, datetime
from hashlib import sha256
from ipaddress import IPv6Address
from typing import Annotated, Any, Final, Literal, get_args

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from tlog.core.canonical import MAX_INTEGER, escape_pointer
from tlog.core.commitment import MAX_RELATED
from tlog.errors import InvalidEventError

MAX_EVENT_SIZE: Final = 65_535
MAX_USER_ID: Final = 256
MAX_RESOURCE_ID: Final = 1024
MAX_RESOURCE_ID_BYTES: Final = 2048
RESERVED_TYPES: Final = frozenset({"log", "index_bucket"})

Action = Literal[
    "read", "create", "update", "delete", "export", "login", "logout", "permission_change", "config_change"
]
ActorType = Literal["user", "service", "system", "unknown"]
Outcome = Literal["success", "failure", "unknown"]

_UUID = r"^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\Z"
# RFC 3339 section 5.6, with at most nine fraction digits and no leap second; "T" and "Z" may be small there:
#   date-time = full-date "T" hour ":" minute ":" second ["." 1*9DIGIT] ("Z" / ("+" / "-") hour ":" minute)
#   full-date = 4DIGIT "-" 2DIGIT "-" 2DIGIT    ; `to_utc` knows which days there are
#   hour = "00" to "23", minute and second = "00" to "59"
_TIMESTAMP = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt](?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,9})?"
    r"(?:[Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])\Z"
)
_LEAP_SECOND: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:60(?![0-9])")
# HTML, "valid email address" (https://html.spec.whatwg.org/multipage/input.html), and at most 64 characters before the "@";
# RFC 6531 section 3.3 adds UTF8-non-ascii to atext, and RFC 5890 the U-labels, of which only what could never stand in a
# label is left out here: white space, control characters, bidirectional overrides, and what is taken for a dot:
#   email  = 1*64(atext / ".") "@" label *("." label)    ; atext: RFC 5322 section 3.2.3
#   label  = let-dig [*61(let-dig / "-") let-dig]        ; RFC 1034 section 3.5, a digit may come first
_NOT_BEYOND_ASCII = r"\x7f-\xa0\u1680\u2000-\u200a\u2028-\u202f\u205f\u2066-\u2069\u3000\ufeff"
_LET_DIG = rf"[^\x00-/:-@\[-`{{-~{_NOT_BEYOND_ASCII}\u3002\uff0e\uff61]"
_LET_DIG_HYPHEN = rf"[^\x00-,./:-@\[-`{{-~{_NOT_BEYOND_ASCII}\u3002\uff0e\uff61]"
_LABEL = rf"{_LET_DIG}(?:{_LET_DIG_HYPHEN}{{0,61}}{_LET_DIG})?"
_EMAIL = rf"""^[^\x00- "(),:;<>@\[\\\]{_NOT_BEYOND_ASCII}]{{1,64}}@{_LABEL}(?:\.{_LABEL})*\Z"""
_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV6 = r"[0-9a-fA-F:.]*:[0-9a-fA-F:.]*"
_IP = rf"^(?:{_OCTET}(?:\.{_OCTET}){{3}}|{_IPV6})\Z"
_RESOURCE_TYPE = r"^[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}\Z"
_SOURCE_ID = r"^[A-Za-z0-9][A-Za-z0-9_.:/-]{0,127}\Z"
# What `check_id` says besides is that each character is assigned; a pattern cannot say that.
NO_CONTROL = r"^[^\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]+\Z"

ResourceType = Annotated[str, Meta(pattern=_RESOURCE_TYPE)]
Uuid = Annotated[str, Meta(pattern=_UUID)]
Timestamp = Annotated[str, Meta(pattern=_TIMESTAMP)]

# In words what a pattern asks for, for the person whose value did not match it.
PATTERN_RULES: Final = {
    _UUID: "a UUID such as 0190f3c2-5f6e-7d3a-9b1c-2f4e6a8c0d1e",
    _TIMESTAMP: "an RFC 3339 date and time with zone and at most 9 fraction digits, such as 2026-11-24T05:11:59.998Z "
    "or 2026-11-24T06:11:59+01:00",
    _EMAIL: "an e-mail address",
    _IP: "an IPv4 or IPv6 address",
    _RESOURCE_TYPE: "1 to 64 letters, digits and _ . : - beginning with a letter or digit (it is public)",
    _SOURCE_ID: "1 to 128 letters, digits and _ . : / - beginning with a letter or digit (it is public)",
    NO_CONTROL: "text without control characters, line separators and bidirectional overrides",
}


class _Object(Struct, forbid_unknown_fields=True, omit_defaults=True, frozen=True, gc=False):
    """Members are declared in RFC 8785 order, so that encoding in declaration order is canonical."""


class Actor(_Object, kw_only=True, frozen=True):
    """Who acted. A disclosure also has `appendedBy`, which the log sets; the `type` "user" is the same as none."""

    address: Annotated[str, Meta(max_length=256)] | UnsetType = UNSET
    email: Annotated[str, Meta(max_length=320)] | UnsetType = UNSET
    ipAddress: Annotated[str, Meta(max_length=45)] | UnsetType = UNSET  # noqa: N815 - the format's name
    role: str | UnsetType = UNSET
    type: ActorType | UnsetType = UNSET
    userAgent: str | UnsetType = UNSET  # noqa: N815 - the format's name
    userId: Annotated[str, Meta(min_length=1, max_length=MAX_USER_ID)] | UnsetType = UNSET  # noqa: N815 - the format's name


class Resource(_Object, kw_only=True, frozen=True):
    """What was acted on. `type` is public in the entry; `id` and `name` are not."""

    id: Annotated[str, Meta(min_length=1, max_length=MAX_RESOURCE_ID)]
    name: str | UnsetType = UNSET
    type: str


class RelatedResource(_Object, kw_only=True, frozen=True):
    """What the event concerned besides its resource. Nothing of it is public."""

    id: Annotated[str, Meta(min_length=1, max_length=MAX_RESOURCE_ID)]
    name: str | UnsetType = UNSET
    role: Annotated[str, Meta(max_length=64)] | UnsetType = UNSET
    type: str


class Recipient(_Object, kw_only=True, frozen=True):
    """To whom something was disclosed."""

    address: Annotated[str, Meta(min_length=1, max_length=256)] | UnsetType = UNSET
    name: Annotated[str, Meta(min_length=1, max_length=256)]


class Details(_Object, kw_only=True, frozen=True):
    """What exactly happened."""

    fieldsAccessed: list[str] | UnsetType = UNSET  # noqa: N815 - the format's name
    newValues: dict[str, Any] | UnsetType = UNSET  # noqa: N815 - the format's name
    oldValues: dict[str, Any] | UnsetType = UNSET  # noqa: N815 - the format's name
    purpose: Annotated[str, Meta(max_length=64)] | UnsetType = UNSET
    query: str | UnsetType = UNSET
    reason: str | UnsetType = UNSET
    recipient: Recipient | UnsetType = UNSET


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
    relatedResources: (  # noqa: N815 - the format's name
        Annotated[list[RelatedResource], Meta(min_length=1, max_length=MAX_RELATED)] | UnsetType
    ) = UNSET
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
    "/operation": _SOURCE_ID,
    "/resource/id": NO_CONTROL,
    "/resource/type": _RESOURCE_TYPE,
    "/source/id": _SOURCE_ID,
}


REQUIRED: Final = "this member is required"
_REFUSED_CATEGORIES: Final = {
    "Cc": "control characters cannot stand in an id",
    "Cs": "a lone surrogate is not a character",
    "Cn": f"a character that Unicode {unicodedata.unidata_version} has not assigned cannot stand in an id",
    "Zl": "line separators (U+2028, U+2029) cannot stand in an id",
    "Zp": "line separators (U+2028, U+2029) cannot stand in an id",
}
_OVERRIDES: Final = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_PLACE: Final = r" - at `\$(?P<path>(?:\.[A-Za-z]+|\[[0-9]+\])+)`"
# The place stands last; anything before it that looks like one is quoted from the sender.
_LOCATED: Final = re.compile(rf"(?P<what>.*){_PLACE}", re.DOTALL)
_NAMED_FIELD: Final = re.compile(
    rf"Object (?P<rule>missing required|contains unknown) field `(?P<name>.*?)`(?:{_PLACE})?", re.DOTALL
)
_FAILED_PATTERN: Final = re.compile(r"""Expected `str` matching regex ['"](.*)['"]""", re.DOTALL)


# What the names that msgspec has for types are in JSON, where they are expected and where they are found.
_EXPECTED: Final = {
    "str": "text", "int": "an integer", "object": "an object", "array": "a list", "bool": "true or false", "null": "null"
}  # fmt: skip
_FOUND: Final = {
    **_EXPECTED, "int": "a number", "float": "a number with a fraction or exponent", "bool": "true or false"
}  # fmt: skip
_WRONG_TYPE: Final = re.compile(r"Expected `(\w+)`(?:(?: \| \w+)*), got `(\w+)`")
_WRONG_SIZE: Final = re.compile(r"Expected `(\w+)` (?:of length )?(>=|<=) (\d+)")
_RESERVED_MEMBERS: Final = {
    "/actor/appendedBy": "the log itself sets this member: it says which API key appended the event; leave it out",
    "/source/signature": "this member is reserved for signatures of producers, which no log takes yet; leave it out",
}


def to_utc(timestamp: str) -> str:
    """Return an RFC 3339 timestamp in UTC, `YYYY-MM-DDTHH:MM:SS[.f]Z` with the fraction digits it came with.

    Raises:
        InvalidEventError: the day does not exist, or the time in UTC is outside the years 1 to 9999.

    """
    try:
        if timestamp[-1] == "Z" and timestamp[10] == "T":
            datetime.fromisoformat(timestamp)
            return timestamp
        moment = datetime.fromisoformat(timestamp.replace("t", "T").replace("z", "Z")).astimezone(UTC)
    except (ValueError, OverflowError):
        message = "this date and time does not exist"
        raise InvalidEventError(message, "/timestamp") from None
    _, point, rest = timestamp.partition(".")
    fraction = point + re.split(r"[Zz+-]", rest)[0]
    return moment.strftime("%Y-%m-%dT%H:%M:%S").zfill(19) + fraction + "Z"


def check_timestamp(text: str) -> str | None:
    """Return in words which rule a timestamp breaks, None if `to_utc` takes it."""
    if re.search(_TIMESTAMP, text) is None:
        if _LEAP_SECOND.match(text) is not None:
            return "a leap second is not taken: send second 59, or second 00 of the next minute"
        return f"expected {PATTERN_RULES[_TIMESTAMP]}"
    try:
        to_utc(text)
    except InvalidEventError as error:
        return str(error)
    return None


def check_id(text: str) -> str | None:
    """Return in words which rule the characters of an id break, None if they are fine; an id is a userId or a resource's id.

    Which characters are assigned is as this Python's Unicode tables have it.
    """
    # Python prints all characters but controls, separators, format characters and those without a use.
    if text.isprintable():
        return None
    for character in text:
        category = unicodedata.category(character)
        if category in _REFUSED_CATEGORIES:
            return _REFUSED_CATEGORIES[category]
        if character in _OVERRIDES:
            return "bidirectional overrides (U+202A to U+202E, U+2066 to U+2069) cannot stand in an id"
    return None


def check_user_id(text: str) -> str | None:
    """Return in words which rule a userId breaks, None if an event can have it; the NFC form keeps the rule as well."""
    return _check_length(_longer(text), MAX_USER_ID) or check_id(text)


def check_resource_id(text: str) -> str | None:
    """Return in words which rule the id of a resource breaks, main or related, None if an event can have it.

    The NFC form keeps the rule as well: an event is asked for by that.
    """
    rule = _check_length(_longer(text), MAX_RESOURCE_ID) or check_id(text)
    if rule is None and not text.isascii():
        size = max(len(form.encode()) for form in (text, unicodedata.normalize("NFC", text)))
        if size > MAX_RESOURCE_ID_BYTES:
            return f"expected at most {MAX_RESOURCE_ID_BYTES} bytes of UTF-8, got {size}"
    return rule


def hashed_id(text: str) -> str:
    """Return what stands for an id that the rule for ids refuses: `sha256:` and the hex SHA-256 of its UTF-8 bytes."""
    return f"sha256:{sha256(text.encode()).hexdigest()}"


def _longer(text: str) -> str:
    """Return a text or its NFC form, whichever has more characters: some characters are three of them there."""
    if text.isascii() or unicodedata.is_normalized("NFC", text):
        return text
    return max(text, unicodedata.normalize("NFC", text), key=len)


def is_ip(text: str) -> bool:
    """Tell whether a text is an IPv4 or IPv6 address, without a zone or a port."""
    try:
        return re.search(_IP, text) is not None and (":" not in text or bool(str(IPv6Address(text))))
    except ValueError:
        return False


def explain(error: msgspec.ValidationError, base: str = "") -> tuple[str, str]:
    """Return a validation error as a rule in words and the JSON pointer of the member; values are never repeated.

    Args:
        error: of what stands at `base`.
        base: a JSON pointer, "" for the whole event.

    """
    text = str(error)
    named = _NAMED_FIELD.fullmatch(text)
    if named is not None:
        pointer = f"{base}{_pointer(named['path'])}/{escape_pointer(named['name'])}"
        return unknown_member(pointer) if named["rule"] == "contains unknown" else REQUIRED, pointer
    located = _LOCATED.fullmatch(text)
    what, pointer = (text, base) if located is None else (located["what"], base + _pointer(located["path"]))
    pattern = _FAILED_PATTERN.fullmatch(what)
    if pattern is not None:
        what = "expected " + PATTERN_RULES[pattern[1].replace("\\\\", "\\")]
    elif what.startswith("Invalid enum value"):
        what = f"not one of the values this member can have: {', '.join(_choices(pointer))}"
    elif (kinds := _WRONG_TYPE.fullmatch(what)) is not None:
        what = f"expected {_EXPECTED.get(kinds[1], kinds[1])}, got {_FOUND.get(kinds[2], kinds[2])}"
    elif (size := _WRONG_SIZE.fullmatch(what)) is not None:
        what = _wrong_size(size[1], size[2], int(size[3]))
    return what[:1].lower() + what[1:], pointer


def unknown_member(pointer: str) -> str:
    """Return the rule that a member breaks which an event cannot have."""
    return _RESERVED_MEMBERS.get(pointer, "no such member in an event")


def _choices(pointer: str) -> tuple[str, ...]:
    literals = {"/action": Action, "/actor/type": ActorType}
    return get_args(literals.get(pointer, Outcome))


def _wrong_size(kind: str, sign: str, bound: int) -> str:
    least_most = "at least" if sign == ">=" else "at most"
    if kind == "int":
        return f"expected an integer of {least_most} {bound}"
    unit = "character" if kind == "str" else "element"
    return f"expected {least_most} {bound} {unit}{'' if bound == 1 else 's'}"


def _check_length(text: str, most: int) -> str | None:
    if not text:
        return _wrong_size("str", ">=", 1)
    return _wrong_size("str", "<=", most) if len(text) > most else None


def _pointer(path: str | None) -> str:
    """Return msgspec's path, such as ".details.fieldsAccessed[1]", as a JSON pointer."""
    return (path or "").replace(".", "/").replace("[", "/").replace("]", "")
