"""Everything that is wrong in one event, found member by member, for the person who has to mend it.

The rules are those of `tlog.core.event`; a value without a fault is one that `msgspec.convert` makes an `Event` of. Left out:
what the JSON text itself broke (`tlog.core.canonical.parse_with_faults`), and the sizes of what is stored, which are known only
when it is written (`tlog.core.making.parsing`).
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any, Final
from unicodedata import normalize

import msgspec
from msgspec import Struct
from msgspec.structs import fields

from tlog.core.canonical import escape_pointer
from tlog.core.commitment import MAX_RELATED
from tlog.core.event import (
    PATTERN_RULES,
    PATTERNS,
    REQUIRED,
    RESERVED_TYPES,
    Actor,
    Details,
    Event,
    Recipient,
    RelatedResource,
    Resource,
    Source,
    check_resource_id,
    check_timestamp,
    check_user_id,
    explain,
    is_ip,
    unknown_member,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Fault = tuple[str, str]

# Places are pointers in which "*" stands for every element of a list.
_OBJECTS: Final[dict[str, type[Struct]]] = {
    "": Event,
    "/actor": Actor,
    "/details": Details,
    "/details/recipient": Recipient,
    "/relatedResources/*": RelatedResource,
    "/resource": Resource,
    "/source": Source,
}
_LISTS: Final[dict[str, Any]] = {"/details/fieldsAccessed": str, "/relatedResources": RelatedResource}
_FREE: Final = frozenset({"/details/newValues", "/details/oldValues", "/metadata"})
_NEEDED: Final = frozenset({"action", "actor", "eventId", "resource", "timestamp"})
_ENVELOPE: Final = "an event has no such member: send the list of events itself, or one event a line (NDJSON)"
_NO_USER: Final = f"{REQUIRED}: only an actor of the type unknown has no userId"
_KNOWN_USER: Final = "an actor of the type unknown has no userId: leave out one of the two"
_LOGS_OWN: Final = "the resource types log and index_bucket are the log's own: choose another name"
_REPEATED: Final = "this related resource stands in the list before: each one is named once"
_REPEATED_MAIN: Final = "this is the event's main resource: related resources are the others"


def find_faults(value: object, known: frozenset[str], *, reserved: bool) -> Iterator[Fault]:
    """Yield every rule that a parsed JSON value breaks as an event, and the pointer of the member, in the order of the format.

    Args:
        value: what `parse_with_faults` returned.
        known: the pointers that it named; nothing more is said of them.
        reserved: the resource types that only the log uses are fine.

    """
    return _Finder(known, reserved=reserved).member(value, Event, "", "")


def identity(kind: str, name: str) -> tuple[str, str]:
    """Return what a resource is compared by with another one: its type, and its id in NFC."""
    return kind, normalize("NFC", name)


class _Finder:
    """Walks through one value."""

    def __init__(self, known: frozenset[str], *, reserved: bool) -> None:
        self._known = known
        self._reserved = reserved

    def member(self, value: Any, kind: Any, pointer: str, place: str) -> Iterator[Fault]:  # noqa: ANN401 - any JSON value
        """Yield the faults of one member, which has to be of a type."""
        if pointer in self._known:
            return
        container = dict if place in _OBJECTS or place in _FREE else list if place in _LISTS else None
        if wrong := _mismatch(value, kind if container is None else container, pointer):
            yield wrong
        elif place in _OBJECTS:
            yield from self._object(value, pointer, place)
        elif place in _LISTS:
            yield from self._list(value, pointer, place)
        elif place in _RULES and (rule := _RULES[place](value)) is not None:
            yield rule, pointer
        elif place.endswith("/type") and value in RESERVED_TYPES and not self._reserved:
            yield _LOGS_OWN, pointer

    def _object(self, value: dict[str, Any], pointer: str, place: str) -> Iterator[Fault]:
        if place == "" and "events" in value and not _NEEDED & value.keys():
            yield _ENVELOPE, "/events"
            return
        kinds = _members(_OBJECTS[place])
        for name, (kind, required) in kinds.items():
            if name in value:
                yield from self.member(value[name], kind, f"{pointer}/{name}", f"{place}/{name}")
            elif required:
                yield REQUIRED, f"{pointer}/{name}"
        if place == "/actor":
            yield from _user_faults(value, pointer)
        elif place == "":
            yield from _repeats(value)
        unknown = (f"{pointer}/{escape_pointer(name)}" for name in value if name not in kinds)
        yield from ((unknown_member(at), at) for at in unknown if at not in self._known)

    def _list(self, value: list[Any], pointer: str, place: str) -> Iterator[Fault]:
        if place == "/relatedResources" and not 1 <= len(value) <= MAX_RELATED:
            yield f"expected 1 to {MAX_RELATED} related resources, got {len(value)}", pointer
        for position, each in enumerate(value):
            yield from self.member(each, _LISTS[place], f"{pointer}/{position}", f"{place}/*")


@cache
def _members(kind: type[Struct]) -> dict[str, tuple[Any, bool]]:
    """Return the members of an object with their types, and whether each one is required."""
    return {each.name: (each.type, each.required) for each in fields(kind)}


def _mismatch(value: object, kind: Any, pointer: str) -> Fault | None:  # noqa: ANN401 - any type that msgspec knows
    """Return what is wrong with the type, the length or the choice of a value."""
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        return explain(error, pointer)
    return None


def _user_faults(actor: dict[str, Any], pointer: str) -> Iterator[Fault]:
    """Yield how `type` and `userId` contradict each other: an unknown actor has no userId, and no other one lacks it."""
    if ("userId" in actor) == (actor.get("type") == "unknown"):
        yield _KNOWN_USER if "userId" in actor else _NO_USER, f"{pointer}/userId"


def _repeats(event: dict[str, Any]) -> Iterator[Fault]:
    """Yield the related resources that are the main one, or one before; those that are none are passed over."""
    main, related = event.get("resource"), event.get("relatedResources")
    first = _identity(main)
    seen = {first}
    for position, each in enumerate(related if isinstance(related, list) else ()):
        own = _identity(each)
        if own is not None and own in seen:
            yield _REPEATED_MAIN if own == first else _REPEATED, f"/relatedResources/{position}"
        seen.add(own)


def _identity(value: Any) -> tuple[str, str] | None:  # noqa: ANN401 - any JSON value
    named = isinstance(value, dict) and isinstance(value.get("type"), str) and isinstance(value.get("id"), str)
    return identity(value["type"], value["id"]) if named else None


def _pattern(pointer: str) -> Callable[[str], str | None]:
    """Return a function that says in words what a text breaks that does not match the pattern of a member."""
    pattern = PATTERNS[pointer]
    search, rule = re.compile(pattern).search, f"expected {PATTERN_RULES[pattern]}"
    return lambda text: None if search(text) else rule


def _ip_rule(text: str) -> str | None:
    return None if is_ip(text) else f"expected {PATTERN_RULES[PATTERNS['/actor/ipAddress']]}"


_RULES: Final[dict[str, Callable[[str], str | None]]] = {
    "/eventId": _pattern("/eventId"),
    "/timestamp": check_timestamp,
    "/operation": _pattern("/operation"),
    "/actor/email": _pattern("/actor/email"),
    "/actor/ipAddress": _ip_rule,
    "/actor/userId": check_user_id,
    "/resource/id": check_resource_id,
    "/resource/type": _pattern("/resource/type"),
    "/relatedResources/*/id": check_resource_id,
    "/relatedResources/*/type": _pattern("/resource/type"),
    "/source/id": _pattern("/source/id"),
}
