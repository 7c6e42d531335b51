"""What becomes of an odd value: the one room that every mapping of another system's records goes through.

A mapping never fails on a value. It names candidates, and these functions say what an absent, empty, too long or otherwise
refused one becomes; `finish` makes of the result one event, or several, that the event format takes. The whole table is in
docs/how-to/import-from.md. Pure: no input or output, clock or randomness.

Words: *storable*, a JSON value that a disclosure can hold (RFC 7493, numbers that a double holds, at most 32 levels).
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, Protocol
from uuid import UUID, uuid5
from zoneinfo import ZoneInfo

import msgspec

from tlog.core.canonical import EXPONENT_FROM, MAX_DEPTH, MAX_INTEGER, canonical, sent_float
from tlog.core.commitment import MAX_RELATED
from tlog.core.event import (
    MAX_EVENT_SIZE,
    PATTERNS,
    RESERVED_TYPES,
    check_resource_id,
    check_user_id,
    hashed_id,
    is_ip,
)
from tlog.core.making.faults import identity
from tlog.core.strict import encode_base64url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

NAMESPACE: Final = UUID("3234828c-1128-5439-b9e0-75e162fc676e")
UNITS: Final = {"s": 0, "ms": 3, "us": 6, "ns": 9}  # what a number of them is divided by, as a power of ten
LEFT_OUT: Final = "tlog:leftOut"
ORIGINALS: Final = "tlog:originals"

_MAX_ADDRESS: Final = 256
_MAX_IP: Final = 45
_MAX_EMAIL: Final = 320
_MAX_ACTOR: Final = MAX_EVENT_SIZE - 512  # the log adds salt and appendedBy to its disclosure
_MAX_RELATED_BYTES: Final = 48_000
_RELATED_FRAME: Final = len('{"id":"","name":"","role":"","type":""},')
_SHORTEST_CUT: Final = 64
_SHORTEST_LEFT_OUT: Final = 80  # what is left of a member has about so many bytes
_FREE: Final = frozenset(("fieldsAccessed", "newValues", "oldValues"))
_WITHOUT_FLOATS: Final = MAX_EVENT_SIZE // 2  # canonical numbers are not twice as long as Python's
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_REFUSED_IN_TYPES: Final = re.compile(r"[^A-Za-z0-9_.:-]")
_is_operation: Final = re.compile(PATTERNS["/operation"]).search
_is_email: Final = re.compile(PATTERNS["/actor/email"]).search
_TIME: Final = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[Tt]|\s+)(\d\d:\d\d(?::\d\d)?)(?:[.,](\d+))?\s*(?:([Zz]|UTC|GMT)|([+-]\d\d)(?::?(\d\d))?)?",
    re.ASCII,
)
# What `to_timestamp` would return as it is, if there is such a day.
_READY: Final = re.compile(r"\d{4}-\d\d-\d\dT(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,9})?Z", re.ASCII)
_OFFSET: Final = re.compile(r"([+-])(\d\d):?(\d\d)", re.ASCII)
_NUMBER: Final = re.compile(r"-?\d{1,40}(?:\.\d{1,40})?(?:[eE][+-]?\d{1,2})?", re.ASCII)
_NANOSECOND_DIGITS: Final = 9


_quick: Final = msgspec.json.Encoder().encode
_encode_texts: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class SetAside(Exception):  # noqa: N818 - nothing failed: the record goes to another file
    """The record is no event, by one of the few rules there are for that; the message is the rule.

    Attributes:
        rule: what the record lacks, in words, without its values.
        pointer: RFC 6901 pointer to the member, in the record.

    """

    def __init__(self, rule: str, pointer: str = "") -> None:
        super().__init__(rule)
        self.rule = rule
        self.pointer = pointer


class RecordMapping(Protocol):
    """A pure function from another system's record to events."""

    name: str

    def map(self, record: Any, position: int) -> list[dict[str, Any]]:  # noqa: ANN401 - any JSON value
        """Return the events of a record, which `tlog.core.making.parsing.parse_event` takes.

        Args:
            record: the JSON value.
            position: its place among the records of its file, from 0.

        Raises:
            SetAside: the record is no event.

        """
        ...


class JsonText(str):
    """The JSON text of a value that is not storable: a number that no double holds, something nested too deep."""

    __slots__ = ()


def text_of(value: object) -> str | None:
    """Return a value as text that is not empty, or None. Numbers and booleans count as text: their JSON text."""
    if type(value) is str:
        return value or None
    if isinstance(value, str):
        return str(value) or None
    if isinstance(value, bool | int | float):
        return json_text(value)
    return None


def first_text(*values: object) -> str | None:
    """Return the first value that is a text, by `text_of`."""
    return next((text for text in map(text_of, values) if text is not None), None)


def number(text: str) -> int | float | JsonText:
    """Return the number of a JSON text, or the text itself if no double holds the number."""
    if text.lstrip("-").isdigit():
        return int(text) if len(text) <= len(str(-MAX_INTEGER)) and abs(int(text)) <= MAX_INTEGER else JsonText(text)
    try:
        return sent_float(text)
    except ValueError:
        return JsonText(text)


def json_text(value: object) -> JsonText:
    """Return the JSON text of a value without white space, however deep."""
    out: list[str] = []
    stack: list[object] = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, JsonText):
            out.append(item)
        elif isinstance(item, dict):
            parts: list[object] = [JsonText("{")]
            for name, child in item.items():
                mark = "," if len(parts) > 1 else ""
                parts += (JsonText(f"{mark}{json.dumps(name, ensure_ascii=False)}:"), child)
            stack += reversed((*parts, JsonText("}")))
        elif isinstance(item, list):
            parts = [JsonText("[")]
            for child in item:
                parts += (JsonText("," if len(parts) > 1 else ""), child)
            stack += reversed((*parts, JsonText("]")))
        elif isinstance(item, int) and not isinstance(item, bool):
            out.append(str(Decimal(item)))  # Python writes no int of thousands of digits
        else:
            out.append(json.dumps(item, ensure_ascii=False))
    return JsonText("".join(out))


def storable(value: Any, depth: int = 0) -> Any:  # noqa: ANN401 - any JSON value
    """Return a JSON value that a disclosure can hold: what cannot be kept as it is, as its JSON text or escaped.

    Args:
        value: any JSON value.
        depth: how many containers are around it in the event.

    """
    if value is None or type(value) is bool or (type(value) is str and value.isascii()):
        return value
    if isinstance(value, str):
        return escape_surrogates(value)
    if isinstance(value, int | float):
        return _storable_number(value)
    if depth >= MAX_DEPTH:
        return escape_surrogates(json_text(value))
    return _storable_container(value, depth + 1)


def _storable_container(value: Any, depth: int) -> Any:  # noqa: ANN401 - any JSON container
    return [storable(child, depth) for child in value] if isinstance(value, list) else _storable_members(value, depth)


def _storable_number(value: float) -> float | str:
    if not _is_storable(value):
        return str(json_text(value))
    # As RFC 8785 writes it: then no text of the event is longer than its canonical text.
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) <= MAX_INTEGER else value


def _storable_members(value: Mapping[str, Any], depth: int) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for name, child in value.items():
        kept = name if name.isascii() else escape_surrogates(name)
        while kept in members or (kept != name and kept in value):
            kept += "~"
        # Most are ASCII, and need no call.
        members[kept] = child if type(child) is str and child.isascii() else storable(child, depth)
    return members


def escape_surrogates(text: str) -> str:
    r"""Return a text with each lone surrogate as its six-character escape, such as `\ud800`."""
    if text.isascii() or not _SURROGATE.search(text):
        return str(text)
    return _SURROGATE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def to_timestamp(value: object, *, unit: str | None = None, zone: str | None = None, pointer: str = "") -> str:
    """Return the time that a value means, in UTC: RFC 3339 with `Z`, with the fraction digits it came with, at most nine.

    Args:
        value: a date and time as text, or with `unit` a number since 1970-01-01T00:00:00Z.
        unit: `s`, `ms`, `us` or `ns`: what numbers count.
        zone: what a text without zone means: `UTC`, an offset such as `+02:00`, or a name such as `Europe/Amsterdam`.
        pointer: where the value stands, for the error.

    Raises:
        SetAside: it is no time that can be read.

    """
    text = (text_of(value) or "").strip()
    if _READY.fullmatch(text):
        with suppress(ValueError):
            datetime.fromisoformat(text[:19])
            return text
    if not text:
        rule = "there is no time"
        raise SetAside(rule, pointer)
    try:
        if unit is not None and _NUMBER.fullmatch(text):
            return _from_epoch(Decimal(text), UNITS[unit])
        return _from_text(text, zone)
    except SetAside as error:
        raise SetAside(error.rule, pointer) from None
    except (ValueError, OverflowError):
        rule = "this date and time does not exist"
        raise SetAside(rule, pointer) from None


def _from_epoch(count: Decimal, digits: int) -> str:
    nanoseconds = int(count.scaleb(_NANOSECOND_DIGITS - digits))
    seconds, rest = divmod(nanoseconds, 10**_NANOSECOND_DIGITS)
    fraction = f"{rest:09}"
    shown = digits if not int(fraction[digits:] or 0) else len(fraction.rstrip("0"))
    return _write_time(datetime.fromtimestamp(0, UTC) + timedelta(seconds=seconds), fraction[:shown])


def _from_text(text: str, zone: str | None) -> str:
    match = _TIME.fullmatch(text)
    if match is None:
        rule = "this is no date and time that can be read, such as 2026-11-24T05:11:59.998Z"
        raise SetAside(rule)
    day, clock, fraction, utc, hours, minutes = match.groups()
    if clock.endswith(":60"):
        rule = "a leap second is in no clock that a log can compare with; write second 59 or the next second"
        raise SetAside(rule)
    moment = datetime.fromisoformat(f"{day}T{clock}")
    if utc is not None:
        moment = moment.replace(tzinfo=UTC)
    elif hours is not None:
        moment = moment.replace(tzinfo=_offset(hours[0], hours[1:], minutes or "00"))
    elif zone is not None:
        moment = moment.replace(tzinfo=find_zone(zone))
    else:
        rule = "this time has no zone; name the zone that is meant"
        raise SetAside(rule)
    return _write_time(moment.astimezone(UTC), (fraction or "")[:_NANOSECOND_DIGITS])


def find_zone(name: str) -> tzinfo:
    """Return the time zone of a name that `to_timestamp` takes.

    Raises:
        ValueError: there is no such zone.

    """
    if name.upper() in {"UTC", "Z"}:
        return UTC
    match = _OFFSET.fullmatch(name)
    if match is not None:
        return _offset(*match.groups())
    try:
        return ZoneInfo(name)
    except (OSError, LookupError):
        message = "no such time zone"
        raise ValueError(message) from None


def _offset(sign: str, hours: str, minutes: str) -> timezone:
    delta = timedelta(hours=int(hours), minutes=int(minutes))
    return timezone(-delta if sign == "-" else delta)


def _write_time(moment: datetime, fraction: str) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S").zfill(19) + (f".{fraction}" if fraction else "") + "Z"


def event_id(space: str, *values: object, key: bytes | None = None) -> str:
    """Return the eventId made of a record's own values: UUIDv5 (RFC 9562 section 5.5) in `NAMESPACE`.

    Args:
        space: id space, such as `github`; two spaces never share an id.
        values: JSON values that identify the record.
        key: 32 secret bytes, where the values could be guessed: eventIds are public.

    """
    plain = all(type(value) is str and value.isascii() for value in (space, *values))
    # Of texts in ASCII, RFC 8785 and Python write the same.
    name = _encode_texts([space, *values]).encode() if plain else canonical(storable([space, *values]))
    return str(uuid5(NAMESPACE, name.decode() if key is None else hmac.new(key, name, hashlib.sha256).hexdigest()))


def usable_id(text: str, check: Callable[[str], str | None] = check_resource_id) -> str:
    """Return an id as it is, or `sha256:` and the hex SHA-256 of its UTF-8 bytes if the rule for ids refuses it.

    Args:
        text: the id, not empty.
        check: the rule: `check_user_id` or `check_resource_id` of `tlog.core.event`.

    """
    text = escape_surrogates(text)
    return text if check(text) is None else hashed_id(text)


def usable_type(text: str) -> str:
    """Return a resource type of a text: refused characters become `_`; what only the log itself may write gets `source_`."""
    kind = _REFUSED_IN_TYPES.sub("_", text).lstrip("_.:-")[:64] or "unknown"
    return f"source_{kind}" if kind in RESERVED_TYPES else kind


def finish(event: Mapping[str, Any], metadata: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the events that an event with odd values becomes, in the form that `parse_event` takes.

    There is one event, and one more for each 32 related resources beyond the first 32.

    Args:
        event: an event without metadata. `eventId`, `timestamp`, `action`, `outcome` and `source` keep their rules; all else
            may hold any value. An address of any kind is in `actor.address`.
        metadata: any JSON object, usually the whole record.

    """
    kept: dict[str, Any] = {}  # what a member said that could not stand there, by its pointer
    first = {
        **{name: event[name] for name in ("eventId", "timestamp", "action", "outcome", "source") if name in event},
        "actor": _finish_actor(_members(event.get("actor")), kept),
        "resource": _finish_resource(_members(event.get("resource")), "/resource", kept)
        or {"id": "unknown", "type": "unknown"},
        "details": _finish_details(_members(event.get("details")), kept),
        "operation": _finish_operation(event.get("operation"), kept),
    }
    first = {name: value for name, value in first.items() if value not in (None, {})}
    parts = _split(_finish_related(event.get("relatedResources"), first["resource"], kept))
    metadata = _storable_members(metadata, 2)
    missing = {pointer: text for pointer, text in kept.items() if not _holds(metadata, text)}
    if missing:
        metadata[ORIGINALS] = _storable_members(missing, 3)
    events = []
    for position, related in enumerate(parts, 1):
        more: dict[str, Any] = {"relatedResources": related} if related else {}
        if position > 1:
            more["eventId"] = event_id("part", first["eventId"], position)
            metadata = {"tlog:continues": first["eventId"], "part": position, "parts": len(parts)}
        events.append(_fit({**first, **more}, metadata, whole=position > 1))
    return events


def _members(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object, pointer: str, kept: dict[str, Any], most: int | None = None) -> str | None:
    """Return a member's text, or None; what is no text, or too long, is kept in the metadata."""
    text = text_of(value)
    if text is not None:
        text = escape_surrogates(text)
        if most is None or len(text) <= most:
            return text
    if value not in (None, "", [], {}):
        kept[pointer] = value
    return None


def _id(value: object, pointer: str, kept: dict[str, Any], check: Callable[[str], str | None]) -> str | None:
    text = _text(value, pointer, kept)
    if text is None:
        return None
    used = usable_id(text, check)
    if used != text:
        kept[pointer] = text
    return used


def _finish_actor(actor: Mapping[str, Any], kept: dict[str, Any]) -> dict[str, Any]:
    user_id = _id(actor.get("userId"), "/actor/userId", kept, check_user_id)
    kind = actor.get("type") if actor.get("type") in ("service", "system") else None
    done: dict[str, Any] = {"userId": user_id, "type": kind if user_id is not None else "unknown"}
    for name in ("role", "userAgent"):
        done[name] = _text(actor.get(name), f"/actor/{name}", kept)
    email = _text(actor.get("email"), "/actor/email", kept, _MAX_EMAIL)
    if email is not None and not _is_email(email):
        kept["/actor/email"], email = email, None
    done["email"] = email
    address = _text(first_text(actor.get("ipAddress"), actor.get("address")), "/actor/address", kept, _MAX_ADDRESS)
    plain = address is not None and len(address) <= _MAX_IP and is_ip(address)
    done["ipAddress" if plain else "address"] = address
    return {name: value for name, value in done.items() if value is not None}


def _finish_resource(resource: Mapping[str, Any], pointer: str, kept: dict[str, Any]) -> dict[str, Any] | None:
    kept_id = _id(resource.get("id"), f"{pointer}/id", kept, check_resource_id)
    if kept_id is None:
        return None
    done = {"id": kept_id, "type": usable_type(text_of(resource.get("type")) or "")}
    name = _text(resource.get("name"), f"{pointer}/name", kept)
    return done if name is None else {**done, "name": name}


def _finish_operation(value: object, kept: dict[str, Any]) -> str | None:
    text = _text(value, "/operation", kept)
    if text is None or _is_operation(text):
        return text
    kept["/operation"] = text
    return None


def _finish_details(details: Mapping[str, Any], kept: dict[str, Any]) -> dict[str, Any]:
    done: dict[str, Any] = {}
    for name, most in (("query", None), ("reason", None), ("purpose", 64)):
        done[name] = _text(details.get(name), f"/details/{name}", kept, most)
    for name in ("oldValues", "newValues"):
        value = details.get(name)
        if isinstance(value, dict):
            done[name] = _storable_members(value, 3)
        elif value is not None:
            kept[f"/details/{name}"] = value
    fields = details.get("fieldsAccessed")
    if isinstance(fields, list):
        done["fieldsAccessed"] = [escape_surrogates(text_of(each) or json_text(each)) for each in fields]
    recipient = _members(details.get("recipient"))
    named = _text(recipient.get("name"), "/details/recipient/name", kept, _MAX_ADDRESS)
    address = _text(recipient.get("address"), "/details/recipient/address", kept, _MAX_ADDRESS)
    if named is not None:
        done["recipient"] = {"name": named} if address is None else {"address": address, "name": named}
    return {name: value for name, value in done.items() if value is not None}


def _finish_related(value: object, main: Mapping[str, Any], kept: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the related resources, in order, without repeats of each other or of the main one."""
    found: list[dict[str, Any]] = []
    seen = {identity(main["type"], main["id"])}
    for position, item in enumerate(value if isinstance(value, list) else ()):
        pointer = f"/relatedResources/{position}"
        resource = _finish_resource(_members(item), pointer, kept)
        if resource is None or (name := identity(resource["type"], resource["id"])) in seen:
            continue
        seen.add(name)
        role = _text(item.get("role"), f"{pointer}/role", kept, 64)
        found.append(resource if role is None else {**resource, "role": role})
    return found


def _split(related: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Return the related resources of each event: at most 32, and no more than fit."""
    if len(related) <= MAX_RELATED and sum(map(_longest, related)) <= _MAX_RELATED_BYTES:
        return [related]
    parts: list[list[dict[str, Any]]] = [[]]
    size = 0
    for resource in related:
        length = _size(resource)
        if length > _MAX_RELATED_BYTES // MAX_RELATED and "name" in resource:
            resource["name"] = _cut(resource["name"], _SHORTEST_CUT)
            length = _size(resource)
        if len(parts[-1]) == MAX_RELATED or size + length > _MAX_RELATED_BYTES:
            parts.append([])
            size = 0
        parts[-1].append(resource)
        size += length
    return parts


def _longest(resource: Mapping[str, str]) -> int:
    """Return how many bytes a related resource has at most: no character has more than six, as an escape."""
    return _RELATED_FRAME + 6 * sum(map(len, resource.values()))


def _holds(value: object, wanted: object) -> bool:
    """Tell whether a JSON value stands somewhere in another."""
    stack = [value]
    while stack:
        item = stack.pop()
        if type(item) is type(wanted) and item == wanted:
            return True
        if isinstance(item, dict):
            stack += item.values()
        elif isinstance(item, list):
            stack += item
    return False


def _fits(event: dict[str, Any]) -> bool:
    size = _size(event)
    return size <= _MAX_ACTOR or (size <= MAX_EVENT_SIZE and _size(event["actor"]) <= _MAX_ACTOR)


def _fit(event: dict[str, Any], metadata: dict[str, Any], *, whole: bool) -> dict[str, Any]:
    """Return the event with its metadata, or with less of them if it would be too large; with `whole`, never with less."""
    full = {**event, "metadata": metadata} if metadata else event
    if _fits(full):
        return full
    room = MAX_EVENT_SIZE - _size({**event, "metadata": {}})
    return _cut_texts({**event, "metadata": metadata if whole else _leave_out(metadata, room)})


def _leave_out(metadata: dict[str, Any], room: int) -> dict[str, Any]:
    """Return metadata without the largest members, of which size and hash are left.

    Args:
        metadata: what does not fit.
        room: how many bytes may stand between the braces.

    """
    written = {name: canonical(value) for name, value in metadata.items()}
    heads = {name: len(canonical(name)) + len(":,") for name in metadata}
    size = sum(heads.values()) + sum(map(len, written.values()))
    head = len(f'"{LEFT_OUT}":{{}},')
    left_out: dict[str, Any] = {}
    # A member that has the name of the list of what is left out cannot stay.
    for name in sorted(metadata, key=lambda name: (name != LEFT_OUT, -len(written[name]), name)):
        if size <= room + 1 and name != LEFT_OUT:
            break
        left_out[name] = _note(written[name])
        size -= len(written[name]) - len(canonical(left_out[name])) - (0 if len(left_out) > 1 else head)
        if size > room + 1 and len(written[name]) < _SHORTEST_LEFT_OUT and name != LEFT_OUT:
            return {LEFT_OUT: {"": _note(canonical(metadata))}}
    rest = {name: value for name, value in metadata.items() if name not in left_out}
    return {**rest, LEFT_OUT: left_out} if size <= room + 1 else {LEFT_OUT: {"": _note(canonical(metadata))}}


def _note(content: bytes) -> dict[str, Any]:
    digest = encode_base64url(hashlib.sha256(content).digest()).decode()
    return {"bytes": len(content), "sha256": digest}


def _cut_texts(event: dict[str, Any]) -> dict[str, Any]:
    """Return the event with less in its details, and then with its longest texts cut, until it fits."""
    details = {**event.get("details", {})}
    metadata = {**event["metadata"]}
    event = {**event, "actor": {**event["actor"]}, "resource": {**event["resource"]}, "metadata": metadata}
    if details:
        event["details"] = details
    for name in sorted(_FREE & details.keys(), key=lambda name: (-_size(details[name]), name)):
        if _fits(event):
            break
        metadata[LEFT_OUT] = {**metadata.get(LEFT_OUT, {}), f"/details/{name}": _note(canonical(details.pop(name)))}
        if not details:
            del event["details"]
    while not _fits(event):
        place, name = max(_cuttable(event), key=lambda place: len(place[0][place[1]]))
        place[name] = _cut(place[name], max(_SHORTEST_CUT, len(place[name]) // 2))
    return event


def _cuttable(event: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    for group, names in (("actor", ("role", "userAgent")), ("resource", ("name",)), ("details", ("query", "reason"))):
        yield from ((event[group], name) for name in names if name in event.get(group, {}))


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "\u2026"


def _size(value: Any) -> int:  # noqa: ANN401 - any JSON value
    """Return how many bytes the canonical text has; if another text is short, the length of that."""
    length = len(_quick(value))
    return length if length <= _WITHOUT_FLOATS else len(canonical(value))


def _is_storable(value: float) -> bool:
    if isinstance(value, int):
        return -MAX_INTEGER <= value <= MAX_INTEGER
    # RFC 8785 writes doubles from 10^21 on with an exponent; below, an integer that other readers would not keep.
    return -MAX_INTEGER <= value <= MAX_INTEGER or EXPONENT_FROM <= abs(value) < float("inf")
