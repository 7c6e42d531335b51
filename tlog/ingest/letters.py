"""Dead letters: messages that are no events, shown, and appended again where they have become events since.

A message may become one when a decoder was mended, or an action was added to the map. That it was refused stays in the log: the
intake that says so is not changed.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from tlog.errors import EventConflictError, NotFoundError
from tlog.ingest.batches import appended_by
from tlog.ingest.decoding import Message, Refusal, decode
from tlog.writing.drafting import draft_events

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tlog.ingest.decoding import TextOf
    from tlog.lifecycle.opening import Log
    from tlog.storage.intake import DeadLetter

_LENGTH: Final = struct.Struct(">I")
_SHORT_LENGTH: Final = struct.Struct(">H")
_ABSENT: Final = 2**32 - 1


class Retried(NamedTuple):
    """What became of dead letters: how many were logged, how many the log had already, and why each other is still no event."""

    logged: int
    repeated: int
    refused: list[tuple[DeadLetter, Refusal]]


def message_of(letter: DeadLetter) -> Message:
    """Return the message of a dead letter.

    Raises:
        NotFoundError: it is not kept any more, or was too large to be kept.

    """
    if letter.raw is None:
        message = f"the message of partition {letter.partition}, offset {letter.offset} is not kept; the topic may still have it"
        raise NotFoundError(message)
    raw = letter.raw
    key, at = _sized(raw, 0)
    value, at = _sized(raw, at)
    (count,) = _SHORT_LENGTH.unpack_from(raw, at)
    at += _SHORT_LENGTH.size
    headers = []
    for _ in range(count):
        (length,) = _SHORT_LENGTH.unpack_from(raw, at)
        at += _SHORT_LENGTH.size
        name, at = raw[at : at + length], at + length
        content, at = _sized(raw, at)
        headers.append((name, content))
    return Message(letter.partition, letter.offset, key, value, headers)


def _sized(raw: bytes, at: int) -> tuple[bytes | None, int]:
    (length,) = _LENGTH.unpack_from(raw, at)
    at += _LENGTH.size
    return (None, at) if length == _ABSENT else (raw[at : at + length], at + length)


async def retry(log: Log, letters: Sequence[DeadLetter], text_of: TextOf) -> Retried:
    """Append the events that dead letters are, one by one, and return what became of them.

    Raises:
        OverloadedError: the log cannot take this now; what was appended before stays.

    """
    logged = repeated = 0
    refused: list[tuple[DeadLetter, Refusal]] = []
    for letter in letters:
        try:
            (found,) = decode([message_of(letter)], text_of)
        except NotFoundError as error:
            found = Refusal(str(error))
        if isinstance(found, Refusal):
            refused.append((letter, found))
            continue
        try:
            (receipt,) = await log.appender.append(draft_events([found], log.bucket_keys, appended_by(letter.stream)))
        except EventConflictError as error:
            refused.append((letter, Refusal(str(error), "/eventId")))
        else:
            repeated += receipt.duplicate
            logged += not receipt.duplicate
    return Retried(logged, repeated, refused)
