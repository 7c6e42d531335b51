"""The rules of an event, checked where it is made: what the log would refuse fails at whoever wrote it, with the same words.

docs/reference/event.md has the rules. The log checks them in `tlog.core.making`; here they stand once more, over Python values
and by the standard library alone, because an application has no other part of tlog. Tests compare both on many events.
Characters are as this Python's Unicode tables have them, so an id with a character younger than these is refused here.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from datetime import datetime, timedelta, timezone
from ipaddress import IPv6Address
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from .errors_ import InvalidEventError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

Fault = tuple[str, str]
"""A rule in words, and the RFC 6901 pointer of the member that breaks it."""

MAX_EVENT_SIZE: Final = 65_535
MAX_REPORTED: Final = 20
MAX_DEPTH: Final = 32
MAX_INTEGER: Final = 2**53 - 1
MAX_RELATED: Final = 32
MAX_RESOURCE_ID_BYTES: Final = 2048
_EXPONENT_FROM: Final = 1e21
_SMALLEST_POWER: Final = -6  # ECMAScript writes 0.000001 without an exponent
_SALT_SIZE: Final = 16
_APPENDED_BY_SIZE: Final = 144  # what the log adds to the actor has at most this size
RESERVED_TYPES: Final = frozenset({"log", "index_bucket"})

# Each is the pattern of tlog.core.event, where its source stands.
_NOT_BEYOND_ASCII = r"\x7f-\xa0\u1680\u2000-\u200a\u2028-\u202f\u205f\u2066-\u2069\u3000\ufeff"
_LET_DIG = rf"[^\x00-/:-@\[-`{{-~{_NOT_BEYOND_ASCII}\u3002\uff0e\uff61]"
_LET_DIG_HYPHEN = rf"[^\x00-,./:-@\[-`{{-~{_NOT_BEYOND_ASCII}\u3002\uff0e\uff61]"
_LABEL = rf"{_LET_DIG}(?:{_LET_DIG_HYPHEN}{{0,61}}{_LET_DIG})?"
_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_SOURCE_ID = r"^[A-Za-z0-9][A-Za-z0-9_.:/-]{0,127}\Z"
PATTERNS: Final = {
    "/eventId": r"^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\Z",
    "/timestamp": (
        r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt](?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,9})?"
        r"(?:[Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])\Z"
    ),
    "/actor/email": rf"""^[^\x00- "(),:;<>@\[\\\]{_NOT_BEYOND_ASCII}]{{1,64}}@{_LABEL}(?:\.{_LABEL})*\Z""",
    "/actor/ipAddress": rf"^(?:{_OCTET}(?:\.{_OCTET}){{3}}|[0-9a-fA-F:.]*:[0-9a-fA-F:.]*)\Z",
    "/operation": _SOURCE_ID,
    "/resource/type": r"^[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}\Z",
    "/source/id": _SOURCE_ID,
}
_LEAP_SECOND: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:60(?![0-9])")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_PUBLIC: Final = "beginning with a letter or digit (it is public)"
_ASKED: Final = {
    "/eventId": "a UUID such as 0190f3c2-5f6e-7d3a-9b1c-2f4e6a8c0d1e",
    "/timestamp": "an RFC 3339 date and time with zone and at most 9 fraction digits, such as 2026-11-24T05:11:59.998Z "
    "or 2026-11-24T06:11:59+01:00",
    "/actor/email": "an e-mail address",
    "/actor/ipAddress": "an IPv4 or IPv6 address",
    "/operation": f"1 to 128 letters, digits and _ . : / - {_PUBLIC}",
    "/resource/type": f"1 to 64 letters, digits and _ . : - {_PUBLIC}",
    "/source/id": f"1 to 128 letters, digits and _ . : / - {_PUBLIC}",
}

_REQUIRED: Final = "this member is required"
_BIG: Final = "an integer beyond 2^53 - 1 loses digits in other JSON readers; send it as a string"
_NO_NUMBER: Final = {math.inf: "Infinity", -math.inf: "-Infinity"}
_LONE: Final = "a lone surrogate is not a character"
_ENVELOPE: Final = "an event has no such member: send the list of events itself, or one event a line (NDJSON)"
_UNKNOWN_MEMBER: Final = "no such member in an event"
_RESERVED_MEMBERS: Final = {
    "/actor/appendedBy": "the log itself sets this member: it says which API key appended the event; leave it out",
    "/source/signature": "this member is reserved for signatures of producers, which no log takes yet; leave it out",
}
_NO_USER: Final = f"{_REQUIRED}: only an actor of the type unknown has no userId"
_KNOWN_USER: Final = "an actor of the type unknown has no userId: leave out one of the two"
_LOGS_OWN: Final = "the resource types log and index_bucket are the log's own: choose another name"
_REPEATED: Final = "this related resource stands in the list before: each one is named once"
_REPEATED_MAIN: Final = "this is the event's main resource: related resources are the others"
_SEPARATORS: Final = "line separators (U+2028, U+2029) cannot stand in an id"
_REFUSED_CATEGORIES: Final = {
    "Cc": "control characters cannot stand in an id",
    "Cs": _LONE,
    "Cn": f"a character that Unicode {unicodedata.unidata_version} has not assigned cannot stand in an id",
    "Zl": _SEPARATORS,
    "Zp": _SEPARATORS,
}
_OVERRIDES: Final = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")

# Places are pointers in which "*" stands for every element of a list. Members stand in the order in which faults are named.
_OBJECTS: Final[dict[str, dict[str, bool]]] = {  # whether each member is required
    "": {
        "action": True, "actor": True, "details": False, "eventId": True, "metadata": False, "operation": False,
        "outcome": False, "relatedResources": False, "resource": True, "source": False, "timestamp": True,
    },
    "/actor": dict.fromkeys(("address", "email", "ipAddress", "role", "type", "userAgent", "userId"), False),
    "/details": dict.fromkeys(
        ("fieldsAccessed", "newValues", "oldValues", "purpose", "query", "reason", "recipient"), False
    ),
    "/details/recipient": {"address": False, "name": True},
    "/relatedResources/*": {"id": True, "name": False, "role": False, "type": True},
    "/resource": {"id": True, "name": False, "type": True},
    "/source": {"id": True, "seq": True},
}  # fmt: skip
_LISTS: Final = frozenset({"/details/fieldsAccessed", "/relatedResources"})
_FREE: Final = frozenset({"/details/newValues", "/details/oldValues", "/metadata"})
_CHOICES: Final = {
    "/action": (
        "read", "create", "update", "delete", "export", "login", "logout", "permission_change", "config_change"
    ),
    "/actor/type": ("user", "service", "system", "unknown"),
    "/outcome": ("success", "failure", "unknown"),
}  # fmt: skip
_LENGTHS: Final = {  # least and most characters
    "/actor/address": (0, 256),
    "/actor/email": (0, 320),
    "/actor/ipAddress": (0, 45),
    "/actor/userId": (1, 256),
    "/details/purpose": (0, 64),
    "/details/recipient/address": (1, 256),
    "/details/recipient/name": (1, 256),
    "/relatedResources/*/id": (1, 1024),
    "/relatedResources/*/role": (0, 64),
    "/resource/id": (1, 1024),
}


def check_event(event: Mapping[str, Any], spare: int = 0) -> bytes:
    """Return the JSON text of an event that keeps all rules.

    Args:
        event: made of what JSON has: `dict` with texts as names, `list` or `tuple`, `str`, `int`, `float`, `bool`, None.
        spare: how many bytes of an event's 65,535 something else will need.

    Raises:
        InvalidEventError: rules are broken; `faults` names them all, up to twenty.

    """
    broken: list[Fault] = []
    too_deep = _find_defects(event, "", 0, broken)
    text = _to_text(event)
    if text is not None and len(text) > MAX_EVENT_SIZE - spare:
        message = f"an event has at most {MAX_EVENT_SIZE - spare} bytes, this one has {len(text)}"
        raise InvalidEventError(message)
    if too_deep is not None:
        raise InvalidEventError(*too_deep)
    known = frozenset(pointer for _, pointer in broken)
    faults = (*broken, *islice(_Finder(known).member(event, "", ""), MAX_REPORTED))[:MAX_REPORTED]
    if faults:
        raise InvalidEventError(*faults[0], faults)
    if text is None:  # every value was found to be one of JSON's
        message = "expected what JSON can hold"
        raise InvalidEventError(message)
    if len(text) > MAX_EVENT_SIZE // 2:  # what is smaller fits however its numbers are written
        _check_groups(event)
    return text


def _to_text(event: Mapping[str, Any]) -> bytes | None:
    try:
        return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
    except (TypeError, ValueError, RecursionError):
        return None


# --- What JSON cannot hold ------------------------------------------------------------------------------------------


def _find_defects(value: object, pointer: str, depth: int, broken: list[Fault]) -> Fault | None:
    """Append what is wrong with values wherever they stand, in the order of the text; return where it is too deep, if it is."""
    if isinstance(value, (dict, list, tuple)):
        if depth >= MAX_DEPTH:
            return f"nested deeper than {MAX_DEPTH} levels", pointer
        if isinstance(value, dict):
            broken.extend((rule, f"{pointer}/{_token(name)}") for name in value if (rule := _broken_name(name)))
            children = [(_token(name), child) for name, child in value.items()]
        else:
            children = [(str(position), child) for position, child in enumerate(value)]
        found = (_find_defects(child, f"{pointer}/{token}", depth + 1, broken) for token, child in children)
        return next((fault for fault in found if fault is not None), None)
    if (rule := _broken_value(value)) is not None:
        broken.append((rule, pointer))
    return None


def _broken_name(name: object) -> str | None:
    if not isinstance(name, str):
        return f"expected text as the name of a member, got {type(name).__name__}"
    return _LONE if _SURROGATE.search(name) else None


def _broken_value(value: object) -> str | None:
    """Return the rule that a value breaks which holds no others."""
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, str):
        return _LONE if _SURROGATE.search(value) else None
    if isinstance(value, int):
        return None if -MAX_INTEGER <= value <= MAX_INTEGER else _BIG
    if isinstance(value, float):
        if not math.isfinite(value):
            return f"{_NO_NUMBER.get(value, 'NaN')} is not a JSON number"
        return _BIG if MAX_INTEGER < abs(value) < _EXPONENT_FROM else None
    return f"expected what JSON can hold, got {type(value).__name__}"


def _token(member: object) -> str:
    """Return a member name as a JSON pointer token (RFC 6901 section 3): its first 100 characters, made printable."""
    token = str(member)[:100]
    if not token.isprintable():
        token = "".join(c if c.isprintable() else "\ufffd" for c in token)
    return token.replace("~", "~0").replace("/", "~1")


# --- What an event cannot have --------------------------------------------------------------------------------------


class _Finder:
    """Walks through one event; says nothing more of the pointers that are known."""

    def __init__(self, known: frozenset[str]) -> None:
        self._known = known

    def member(self, value: Any, pointer: str, place: str) -> Iterator[Fault]:  # noqa: ANN401 - any JSON value
        """Yield the faults of one member."""
        if pointer in self._known:
            return
        if (wrong := _mismatch(value, place)) is not None:
            yield wrong, pointer
        elif place in _OBJECTS:
            yield from self._object(value, pointer, place)
        elif place in _LISTS:
            yield from self._list(value, pointer, place)
        elif place in _RULES and (rule := _RULES[place](value)) is not None:
            yield rule, pointer
        elif place.endswith("/type") and value in RESERVED_TYPES:
            yield _LOGS_OWN, pointer

    def _object(self, value: dict[str, Any], pointer: str, place: str) -> Iterator[Fault]:
        members = _OBJECTS[place]
        if (
            place == ""
            and "events" in value
            and not any(name in value for name, required in members.items() if required)
        ):
            yield _ENVELOPE, "/events"
            return
        for name, required in members.items():
            if name in value:
                yield from self.member(value[name], f"{pointer}/{name}", f"{place}/{name}")
            elif required:
                yield _REQUIRED, f"{pointer}/{name}"
        if place == "/actor" and ("userId" in value) == (value.get("type") == "unknown"):
            yield _KNOWN_USER if "userId" in value else _NO_USER, f"{pointer}/userId"
        elif place == "":
            yield from _repeats(value)
        unknown = (f"{pointer}/{_token(name)}" for name in value if name not in members)
        yield from ((_RESERVED_MEMBERS.get(at, _UNKNOWN_MEMBER), at) for at in unknown if at not in self._known)

    def _list(self, value: list[Any], pointer: str, place: str) -> Iterator[Fault]:
        if place == "/relatedResources" and not 1 <= len(value) <= MAX_RELATED:
            yield f"expected 1 to {MAX_RELATED} related resources, got {len(value)}", pointer
        for position, each in enumerate(value):
            yield from self.member(each, f"{pointer}/{position}", f"{place}/*")


def _mismatch(value: Any, place: str) -> str | None:  # noqa: ANN401 - any JSON value
    """Return what is wrong with the type, the length or the choice of a member."""
    kind, name = _expected(place)
    if not isinstance(value, kind) or isinstance(value, bool):
        return f"expected {name}, got {_kind(value)}"
    if place in _CHOICES and value not in _CHOICES[place]:
        return f"not one of the values this member can have: {', '.join(_CHOICES[place])}"
    if place == "/source/seq" and value < 0:
        return "expected an integer of at least 0"
    return _wrong_length(value, place) if place in _LENGTHS else None


def _expected(place: str) -> tuple[Any, str]:
    """Return of which type a member is, and what that is in JSON."""
    if place in _OBJECTS or place in _FREE:
        return dict, "an object"
    if place in _LISTS:
        return (list, tuple), "a list"
    return (int, "an integer") if place == "/source/seq" else (str, "text")


def _wrong_length(text: str, place: str) -> str | None:
    least, most = _LENGTHS[place]
    if len(text) < least:
        return f"expected at least {least} character{'' if least == 1 else 's'}"
    return f"expected at most {most} characters" if len(text) > most else None


def _kind(value: object) -> str:
    """Return what a value is in JSON."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else "true or false"
    if isinstance(value, float):
        return "a number with a fraction or exponent"
    kinds = ((str, "text"), (int, "a number"), (dict, "an object"))
    return next((name for kind, name in kinds if isinstance(value, kind)), "a list")


def _repeats(event: dict[str, Any]) -> Iterator[Fault]:
    """Yield the related resources that are the main one, or one before; those that are none are passed over."""
    related = event.get("relatedResources")
    first = _identity(event.get("resource"))
    seen = {first}
    for position, each in enumerate(related if isinstance(related, (list, tuple)) else ()):
        own = _identity(each)
        if own is not None and own in seen:
            yield _REPEATED_MAIN if own == first else _REPEATED, f"/relatedResources/{position}"
        seen.add(own)


def _identity(value: Any) -> tuple[str, str] | None:  # noqa: ANN401 - any JSON value
    named = isinstance(value, dict) and isinstance(value.get("type"), str) and isinstance(value.get("id"), str)
    return (value["type"], unicodedata.normalize("NFC", value["id"])) if named else None


# --- What a text cannot be ------------------------------------------------------------------------------------------


def _pattern(pointer: str) -> Callable[[str], str | None]:
    search, rule = re.compile(PATTERNS[pointer]).search, f"expected {_ASKED[pointer]}"
    return lambda text: None if search(text) else rule


def _check_timestamp(text: str) -> str | None:
    if re.search(PATTERNS["/timestamp"], text) is None:
        if _LEAP_SECOND.match(text) is not None:
            return "a leap second is not taken: send second 59, or second 00 of the next minute"
        return f"expected {_ASKED['/timestamp']}"
    fields = (int(text[start:end]) for start, end in ((0, 4), (5, 7), (8, 10), (11, 13), (14, 16), (17, 19)))
    zone = timedelta(0)
    if text[-1] not in "Zz":
        zone = timedelta(hours=int(text[-5:-3]), minutes=int(text[-2:])) * (-1 if text[-6] == "-" else 1)
    try:
        datetime(*fields, tzinfo=timezone(zone)).astimezone(timezone.utc)  # type: ignore[misc, arg-type]
    except (ValueError, OverflowError):
        return "this date and time does not exist"
    return None


def _check_ip(text: str) -> str | None:
    try:
        if re.search(PATTERNS["/actor/ipAddress"], text) and (":" not in text or IPv6Address(text)):
            return None
    except ValueError:
        pass
    return f"expected {_ASKED['/actor/ipAddress']}"


def _check_characters(text: str) -> str | None:
    if text.isprintable():
        return None
    for character in text:
        category = unicodedata.category(character)
        if category in _REFUSED_CATEGORIES:
            return _REFUSED_CATEGORIES[category]
        if character in _OVERRIDES:
            return "bidirectional overrides (U+202A to U+202E, U+2066 to U+2069) cannot stand in an id"
    return None


def _check_id(text: str, place: str) -> str | None:
    """Return which rule an id breaks that is not too long as it was sent; some characters are three in NFC."""
    return _wrong_length(unicodedata.normalize("NFC", text), place) or _check_characters(text)


def _check_resource_id(text: str) -> str | None:
    rule = _check_id(text, "/resource/id")
    if rule is None and not text.isascii():
        size = max(len(form.encode()) for form in (text, unicodedata.normalize("NFC", text)))
        if size > MAX_RESOURCE_ID_BYTES:
            return f"expected at most {MAX_RESOURCE_ID_BYTES} bytes of UTF-8, got {size}"
    return rule


_RULES: Final[dict[str, Callable[[str], str | None]]] = {
    "/eventId": _pattern("/eventId"),
    "/timestamp": _check_timestamp,
    "/operation": _pattern("/operation"),
    "/actor/email": _pattern("/actor/email"),
    "/actor/ipAddress": _check_ip,
    "/actor/userId": lambda text: _check_id(text, "/actor/userId"),
    "/resource/id": _check_resource_id,
    "/resource/type": _pattern("/resource/type"),
    "/relatedResources/*/id": _check_resource_id,
    "/relatedResources/*/type": _pattern("/resource/type"),
    "/source/id": _pattern("/source/id"),
}


# --- Sizes ----------------------------------------------------------------------------------------------------------


def _check_groups(event: Mapping[str, Any]) -> None:
    """Check that actor and resource fit into what the log keeps them in; what is related is never too large by itself.

    Raises:
        InvalidEventError: one does not; `pointer` names it.

    """
    actor = {name: member for name, member in event["actor"].items() if (name, member) != ("type", "user")}
    group = {name: event[name] for name in ("details", "metadata", "resource") if name in event}
    for pointer, subject, size in (
        ("/actor", "the actor has", _size(actor) + _APPENDED_BY_SIZE + _SALT_SIZE),
        ("/resource", "resource, details and metadata have", _size(group) + _SALT_SIZE),
    ):
        if size > MAX_EVENT_SIZE:
            message = f"{subject} {size} bytes as the log keeps them, and at most {MAX_EVENT_SIZE} fit"
            raise InvalidEventError(message, pointer)


def _size(value: Any) -> int:  # noqa: ANN401 - any JSON value
    """Return how many bytes a value has as the log writes it (RFC 8785), which differs from the text in floats alone."""
    if isinstance(value, dict):
        return 1 + max(1, sum(_size(name) + 2 + _size(child) for name, child in value.items()))
    if isinstance(value, (list, tuple)):
        return 1 + max(1, sum(1 + _size(child) for child in value))
    if isinstance(value, float):
        return _size_of_float(value)
    return len(json.dumps(value, ensure_ascii=False).encode())


def _size_of_float(value: float) -> int:
    """Return the length of a double as ECMAScript writes it (RFC 8785 section 3.2.2.3)."""
    if value == 0:
        return 1
    sign = value < 0
    digits, _, exponent = f"{abs(value)!r}".partition("e")
    whole, _, fraction = digits.partition(".")
    fraction = fraction.rstrip("0")
    if not exponent:
        return sign + len(whole) + (1 + len(fraction) if fraction else 0)
    power, mantissa = int(exponent), len(whole) + (1 + len(fraction) if fraction else 0)
    if _SMALLEST_POWER <= power < 0:  # Python writes 1e-05
        return sign + len("0.") - power - 1 + len(whole) + len(fraction)
    return sign + mantissa + len("e") + len(f"{power:+d}")
