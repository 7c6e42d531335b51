"""Files of events in tlog's own format: one in each line, lines ended by a newline and nothing else.

A file that plainly is something else, an array or an event over several lines, is read as JSON texts (`tlog.ingest.shapes`).
`Filled` makes events of lines that lack only an eventId or a timestamp.
"""

from __future__ import annotations

import json
import re
from io import BytesIO
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NamedTuple

from tlog.core.event import MAX_EVENT_SIZE, Event
from tlog.ingest.aside import Problem, set_aside_content
from tlog.ingest.reading import Item, events_of, is_json, read_events
from tlog.ingest.shapes import MAX_PIECE, open_plain, read_pieces
from tlog.ingest.total import SetAside, event_id, to_timestamp

if TYPE_CHECKING:
    from collections.abc import Iterator

SPACE: Final = "ndjson"
TOO_LONG: Final = f"longer than the {MAX_EVENT_SIZE} bytes of an event"
_BOM: Final = b"\xef\xbb\xbf"
_SET_ASIDE: Final = re.compile(rb'\s*\{\s*"(?:place|pointer|rule|record|text|base64)"\s*:')
_EVENT_MEMBERS: Final = frozenset(Event.__struct_fields__)
_ABSENT: Final = object()


def read_ndjson(stream: BinaryIO, name: str) -> Iterator[Item | Problem]:
    r"""Yield the text of every line that is not blank; its place is the name and the line's number, from 1.

    Lines end at "\n" only, one "\r" before it is dropped; gzip is decompressed while reading.

    Raises:
        DamagedFileError: the file as a whole cannot be read.

    """
    lines = open_plain(stream)
    line, number = lines.readline(MAX_PIECE).removeprefix(_BOM), 1
    while line and not line.strip():
        line = lines.readline(MAX_PIECE)
        number += 1
    if _begins_something_else(line):
        stream.seek(0)
        yield from read_events(stream, name)
        return
    while line:
        content = line.removesuffix(b"\n").removesuffix(b"\r")
        if _SET_ASIDE.match(content) and (inner := list(_set_aside(content, f"{name}, line {number}"))):
            yield from inner
        elif len(content) > MAX_EVENT_SIZE:
            yield _too_long(content, f"{name}, line {number}")
        elif content.strip():
            yield Item(f"{name}, line {number}", (content,))
        line = lines.readline(MAX_PIECE)
        number += 1


def _begins_something_else(line: bytes) -> bool:
    """Tell whether a file's first line begins an array, or an object over several lines, or holds several objects."""
    text = line.decode(errors="replace").strip()
    if text[:1] == "[":
        return True
    try:
        _, end = json.JSONDecoder().raw_decode(text)
    except json.JSONDecodeError as error:
        return text[:1] == "{" and error.pos >= len(text) - 1 and line.endswith(b"\n")
    except RecursionError:
        return False
    return text[end:].lstrip()[:1] == "{"


def _set_aside(content: bytes, place: str) -> Iterator[Item | Problem]:
    """Yield what is in a line of what was set aside before; nothing if the line is none."""
    pieces = list(read_pieces(BytesIO(content)))
    if len(pieces) == 1 and set_aside_content(pieces[0].value) is not None:
        yield from (each._replace(place=place) for each in events_of(pieces[0], "", 0))


def _too_long(content: bytes, place: str) -> Problem:
    return Problem(place, "", "", TOO_LONG, lambda: content, is_json=is_json(content))


class Time(NamedTuple):
    """Where the time of a line is, and how it is written (`tlog.ingest.total.to_timestamp`)."""

    pointer: str
    unit: str | None = None
    zone: str | None = None


class Filled:
    """Lines that are events but for eventId or timestamp, which are made of their other members (a `RecordMapping`).

    A member at the top that events do not have is moved to `metadata` if the eventId or timestamp is made of it.
    """

    name = SPACE

    def __init__(
        self, ids: tuple[str, ...] = (), time: Time | None = None, *, space: str = SPACE, key: bytes | None = None
    ) -> None:
        """Take JSON pointers (RFC 6901) of what the eventId is made of, and where the time is.

        Raises:
            ValueError: a pointer is none.

        """
        self._ids = [(pointer, _steps(pointer)) for pointer in ids]
        self._time = None if time is None else (time, _steps(time.pointer))
        self._space = space
        self._key = key

    def map(self, record: Any, position: int) -> list[dict[str, Any]]:  # noqa: ANN401, ARG002 - any mapping's
        """Return the event of a line.

        Raises:
            SetAside: the line is no object, or has none of the members.

        """
        if not isinstance(record, dict):
            rule = "this is no JSON object"
            raise SetAside(rule)
        event = dict(record)
        if self._ids:
            values = [_find(record, steps) for _, steps in self._ids]
            if all(value in (_ABSENT, None, "") for value in values):
                rule = "there is nothing to make the eventId of"
                raise SetAside(rule, self._ids[0][0])
            known = (None if value is _ABSENT else value for value in values)
            event["eventId"] = event_id(self._space, *known, key=self._key)
        if self._time is not None:
            time, steps = self._time
            value = _find(record, steps)
            event["timestamp"] = to_timestamp(
                None if value is _ABSENT else value, unit=time.unit, zone=time.zone, pointer=time.pointer
            )
        used = [steps for _, steps in self._ids] + ([] if self._time is None else [self._time[1]])
        return [_move(event, {steps[0] for steps in used if steps})]


def _steps(pointer: str) -> list[str]:
    if pointer and not pointer.startswith("/"):
        message = f"a JSON pointer begins with '/', {pointer!r} does not"
        raise ValueError(message)
    return [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]


def _find(value: Any, steps: list[str]) -> Any:  # noqa: ANN401 - any JSON value
    for step in steps:
        if isinstance(value, dict) and step in value:
            value = value[step]
        elif isinstance(value, list) and step.isdecimal() and int(step) < len(value):
            value = value[int(step)]
        else:
            return _ABSENT
    return value


def _move(event: dict[str, Any], used: set[str]) -> dict[str, Any]:
    """Return the event with the members that it may not have in its metadata, unless one is there already."""
    metadata = event.get("metadata", {})
    foreign = [name for name in event if name in used - _EVENT_MEMBERS]
    if not foreign or not isinstance(metadata, dict) or any(name in metadata for name in foreign):
        return event
    moved = {**metadata, **{name: event[name] for name in foreign}}
    return {**{name: value for name, value in event.items() if name not in foreign}, "metadata": moved}
