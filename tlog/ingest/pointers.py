"""Pointers into a record: JSON pointers (RFC 6901), and two segments that stand for several elements of a list.

`*` is every element of a list, `[member=text]` every element that is an object with that text in that member. A value that is
no list counts as a list of itself alone, because many systems write a list of one that way. What is `null` is not there.
Left out: regular expressions, slices and functions; a pointer only says where a value stands.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tlog.core.canonical import escape_pointer
from tlog.errors import MalformedInputError
from tlog.ingest.total import text_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_BAD_ESCAPE: Final = re.compile(r"~(?![01])")
_WHERE: Final = re.compile(r"\[([^=\]]+)=(.*)\]", re.DOTALL)
_INDEX: Final = re.compile(r"0|[1-9][0-9]{0,8}")  # RFC 6901 section 4: no leading zeros


class Every(NamedTuple):
    """The segment `*`."""


class Where(NamedTuple):
    """The segment `[member=text]`."""

    member: str
    text: str


Segment = str | Every | Where
Steps = tuple[str | int, ...]  # a name for each object on the way, a position for each list


def parse_pointer(text: str) -> tuple[Segment, ...]:
    """Return the segments of a pointer, "" for the whole value.

    Raises:
        MalformedInputError: the text is no pointer.

    """
    if text and not text.startswith("/"):
        message = "a pointer begins with '/' or './', or is '#'"
        raise MalformedInputError(message)
    if _BAD_ESCAPE.search(text):
        message = "in a pointer '~' is written '~0', and '/' within a name '~1'"
        raise MalformedInputError(message)
    return tuple(map(_segment, text.split("/")[1:]))


def _segment(token: str) -> Segment:
    name = token.replace("~1", "/").replace("~0", "~")
    if name == "*":
        return Every()
    where = _WHERE.fullmatch(name)
    return name if where is None else Where(where[1], where[2])


def is_plain(segments: Sequence[Segment]) -> bool:
    """Tell whether a pointer leads to one value at most."""
    return all(type(segment) is str for segment in segments)


def step(value: object, name: str) -> Any:  # noqa: ANN401 - any JSON value
    """Return the member or element of that name, None where there is none."""
    if isinstance(value, dict):
        return value.get(name)
    if isinstance(value, list) and _INDEX.fullmatch(name) and int(name) < len(value):
        return value[int(name)]
    return None


def find(value: object, segments: Sequence[Segment]) -> list[Any]:
    """Return what a pointer leads to, in the order of the record."""
    found = [] if value is None else [value]
    for segment in segments:
        if isinstance(segment, str):
            found = [child for each in found if (child := step(each, segment)) is not None]
        else:
            found = [child for each in found for _, child in _children(each, segment) if child is not None]
        if not found:
            break
    return found


def find_places(value: object, segments: Sequence[Segment]) -> Iterator[tuple[Steps, Any]]:
    """Yield (place, value) of all a pointer leads to; a place has a name for each object and a position for each list."""
    if value is None:
        return
    if not segments:
        yield (), value
        return
    segment, *rest = segments
    for key, child in _children(value, segment):
        for place, each in find_places(child, rest):
            yield key + place, each


def _children(value: object, segment: Segment) -> Iterator[tuple[Steps, Any]]:
    if isinstance(segment, str):
        yield (
            (int(segment) if isinstance(value, list) and _INDEX.fullmatch(segment) else segment,),
            step(value, segment),
        )
        return
    elements: Iterator[tuple[Steps, Any]] = (
        (((position,), element) for position, element in enumerate(value))
        if isinstance(value, list)
        else iter([((), value)])
    )
    for place, element in elements:
        if isinstance(segment, Every) or text_of(step(element, segment.member)) == segment.text:
            yield place, element


def keep_only(value: Any, place: Sequence[str | int]) -> Any:  # noqa: ANN401 - any JSON value
    """Return the value with only the element at `place` in each list on the way; what is not on the way stays."""
    if not place:
        return value
    key, *rest = place
    child = keep_only(value[key], rest)
    return [child] if isinstance(value, list) else {**value, key: child}


def write_pointer(steps: Steps) -> str:
    """Return a place as a JSON pointer, for messages."""
    return "".join(f"/{escape_pointer(str(step))}" for step in steps)
