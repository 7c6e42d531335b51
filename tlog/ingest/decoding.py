"""From messages of a stream to events: which text a message is, and of each one that is no event the rule that it breaks.

A format is a function from a message to the JSON text of its event. What a text has to be is the same as for a request over HTTP
(`tlog.core.making.parsing`). Nothing here fails on a message: what is no event is a `Refusal`, which names the rule and the
member and never a value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import structlog

from tlog.core.making.parsing import parse_certain, parse_event
from tlog.errors import MalformedInputError
from tlog.ingest.cloudevents import CloudEvents

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tlog.core.making.parsing import ParsedEvent

_log: Final = structlog.get_logger()


class Message(NamedTuple):
    """A message of a stream: where it is, and what it holds; header names may stand twice."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[bytes, bytes | None]] = ()


class Refusal(NamedTuple):
    """Why a message is no event: the rule, and a JSON pointer to the member, "" for the whole message."""

    reason: str
    pointer: str = ""


if TYPE_CHECKING:
    TextOf = Callable[[Message], bytes]


def own_text(message: Message) -> bytes:
    """Return the text of a message whose value is an event of tlog's own format.

    Raises:
        MalformedInputError: the message has no value.

    """
    if message.value is None:
        rule = "the message has no value"
        raise MalformedInputError(rule)
    return message.value


def decoder_of(name: str, actions: Mapping[str, str] | None = None) -> TextOf:
    """Return the decoder of a format, `tlog` or `cloudevents`.

    `actions` says of CloudEvents' types which actions they are, besides those that are usual.
    """
    if name == "tlog":
        return own_text
    events = CloudEvents(actions)
    return lambda message: events.text_of(message.headers, message.value)


def decode(messages: Sequence[Message], text_of: TextOf) -> list[ParsedEvent | Refusal]:
    """Return of each message the event that it is, or why it is none."""
    found: list[ParsedEvent | Refusal | None] = [None] * len(messages)
    texts: list[tuple[int, bytes]] = []
    for number, message in enumerate(messages):
        try:
            texts.append((number, text_of(message)))
        except MalformedInputError as error:
            found[number] = Refusal(str(error), error.pointer)
        except Exception as error:  # noqa: BLE001 - a message must not stop the others; its content stays out of the log
            found[number] = _failed(error)
    todo = [texts]
    while todo:
        part = todo.pop()
        parsed = _certain([text for _, text in part])
        if parsed is not None:
            for (number, _), event in zip(part, parsed, strict=True):
                found[number] = event
        elif len(part) == 1:
            found[part[0][0]] = _one(part[0][1])
        else:
            todo += [part[: len(part) // 2], part[len(part) // 2 :]]
    return [each for each in found if each is not None]


def _certain(texts: Sequence[bytes]) -> list[ParsedEvent] | None:
    """Return the events of texts if all are certainly valid; a fault of the program is nothing certain."""
    try:
        return parse_certain(texts)
    except Exception:  # noqa: BLE001 - the message that it comes from is found when it is looked at alone
        return None


def _one(text: bytes) -> ParsedEvent | Refusal:
    try:
        return parse_event(text)
    except MalformedInputError as error:
        return Refusal(str(error), error.pointer)
    except Exception as error:  # noqa: BLE001 - as above
        return _failed(error)


def _failed(error: Exception) -> Refusal:
    """Return what a fault of the decoder makes of a message: the fault's class, because its text could quote the message."""
    _log.error("decoder_failed", error=type(error).__name__)
    return Refusal(f"decoder failed: {type(error).__name__}")
