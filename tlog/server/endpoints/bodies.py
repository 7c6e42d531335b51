"""The body of a request that appends: read within limits, cut into one JSON text for each event, and what it probably is instead.

Whether a text is an event is decided elsewhere (`tlog.core.making.parsing`). What is decided here is where each begins and
ends, so the mistakes known here are those of the whole body: lines sent as one JSON text, one JSON text sent as lines.
"""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Final

import msgspec
from starlette.requests import ClientDisconnect

from tlog.core.event import MAX_EVENT_SIZE
from tlog.errors import InvalidBatchError, InvalidEventError, MalformedInputError, TooLargeError
from tlog.server.guard.fields import NDJSON
from tlog.server.guard.protocol import MAX_BODY_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from starlette.requests import Request

    from tlog.server.guard.account import Share

_PORTION_EVENTS: Final = 50  # of an array
_PORTION_SIZE: Final = 32 << 10  # of NDJSON, exceeded by a part of one line
_ARRAY: Final = msgspec.json.Decoder(list[msgspec.Raw])
_VALUE: Final = msgspec.json.Decoder(msgspec.Raw)
_PLACE: Final = re.compile(r"JSON is malformed: (?P<what>.*) \(byte (?P<byte>[0-9]+)\)")
_ENVELOPE: Final = re.compile(rb'\s*\{\s*"events"\s*:\s*\[')
_SPACE: Final = b" \t\r\n"
_LINES: Final = "several JSON values in one text; is it NDJSON? Then its content type is application/x-ndjson"
_WRAPPED: Final = "an object around the events; send the list of events itself"
_QUOTES: Final = "JSON has double quotes around names and texts, not single ones"
_MARK: Final = "the text begins with a byte order mark; send UTF-8 without one"
_WIDE: Final = "this is UTF-16 or UTF-32; send UTF-8"
_ONE_TEXT: Final = "these lines are no events, but one JSON text together; send it as application/json"


async def read_body(request: Request, share: Share) -> bytes:
    """Return a request's body, reading no more than 16 MiB of it; `share` holds it.

    Raises:
        TooLargeError: it is longer.
        OverloadedError: there is no memory for it, or others need that first.
        ClientDisconnect: nobody waits for an answer any more.

    """
    chunk, more = await _next_part(request, share)
    if not more:
        return chunk
    chunks = [chunk]
    async with share.receiving():
        while more:
            chunk, more = await _next_part(request, share)
            chunks.append(chunk)
    return b"".join(chunks)


async def _next_part(request: Request, share: Share) -> tuple[bytes, bool]:
    """Return the next part of a body, and whether it is not the last one."""
    part = await request.receive()
    if part["type"] == "http.disconnect":
        raise ClientDisconnect
    chunk: bytes = part.get("body", b"")
    if share.size + len(chunk) > MAX_BODY_SIZE:
        message = f"a request body has at most {MAX_BODY_SIZE} bytes"
        raise TooLargeError(message)
    share.grow(len(chunk))
    return chunk, part.get("more_body", False)


def split_body(body: bytes, kind: str) -> tuple[Iterable[list[bytes]], bool]:
    """Return the JSON texts of a request's events in portions of about a millisecond's work, and whether it is a batch.

    An array's elements are texts as they stand in the body. Each line of NDJSON that is not blank is one text.

    Args:
        body: of the request.
        kind: its media type, `tlog.server.guard.fields.JSON` or `NDJSON`.

    Raises:
        MalformedInputError: the body begins like an array and is none, or is no event for a reason that has a name.

    """
    if kind == NDJSON:
        return _split_lines(body), True
    start = body.lstrip(_SPACE)[:1]
    if start == b"[":
        return _split_array(body), True
    # It would be refused for its size; what is smaller is explained by whoever parses it.
    if len(body) > MAX_EVENT_SIZE and (hint := _hint(body)) is not None:
        message = f"the request is neither an event nor an array of events: {hint}"
        raise MalformedInputError(message)
    return [[body]] if start else [], False


def explained(error: InvalidBatchError, body: bytes) -> InvalidBatchError:
    """Return why lines are no events; where they are one JSON text together, that is why."""
    lines = body.strip(_SPACE)
    if error.positions[0] > 0 or (b"\n" not in lines and lines[:1] != b"[") or _trouble(lines) is not None:
        return error
    return InvalidBatchError([0], [InvalidEventError(_ONE_TEXT)])


def _split_lines(body: bytes) -> Iterator[list[bytes]]:
    stream = io.BytesIO(body)
    while lines := stream.readlines(_PORTION_SIZE):
        yield [text for line in lines if (text := line.rstrip(_SPACE))]


def _split_array(body: bytes) -> Iterator[list[bytes]]:
    try:
        raws = [bytes(raw) for raw in _ARRAY.decode(body)]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        message = f"the request is not a JSON array of events: {_hint(body) or 'it ends or breaks off early'}"
        raise MalformedInputError(message) from None
    return (raws[start : start + _PORTION_EVENTS] for start in range(0, len(raws), _PORTION_EVENTS))


def _hint(body: bytes) -> str | None:
    """Return what a body probably is that is no JSON text, None if nobody knows."""
    if body.startswith(b"\xef\xbb\xbf"):
        return _MARK
    if body.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in body[:4]:
        return _WIDE
    trouble = _trouble(body)
    if trouble is None:
        return _WRAPPED if _ENVELOPE.match(body) else None
    what, place = trouble
    if what == "trailing characters":
        place -= 1  # msgspec has read the first of them already
        return _LINES if body[place : place + 1] in (b"{", b"[") else f"{what} at byte {place}"
    if body[place : place + 1] == b"'":
        return _QUOTES
    return f"{what} at byte {place}" if what else None


def _trouble(body: bytes) -> tuple[str, int] | None:
    """Return what keeps a text from being JSON, and at which byte: ("", -1) if nobody knows; None if it is JSON."""
    try:
        _VALUE.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        found = _PLACE.fullmatch(str(error))
        return ("", -1) if found is None else (found["what"], int(found["byte"]))
    return None
