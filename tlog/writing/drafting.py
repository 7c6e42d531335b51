"""Drafts from what was sent: JSON texts are parsed, and each valid event becomes an entry that lacks only its loggedAt."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from tlog.core.commitment import SALT_SIZE
from tlog.core.event import MAX_EVENT_SIZE, parse_certain, parse_event
from tlog.core.making.drafts import draft_entries
from tlog.errors import InvalidBatchError, InvalidEventError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tlog.core.event import ParsedEvent
    from tlog.core.making.bucket_keys import BucketKeys
    from tlog.core.making.drafts import DraftEntry

MAX_REPORTED: Final = 20
_SPACE: Final = b" \t\r\n"


def draft_events(raws: Sequence[bytes], keys: BucketKeys) -> list[DraftEntry]:
    """Return the drafts of events, each one JSON text, if every one of them is valid.

    Raises:
        InvalidBatchError: at least one is not; it names the first twenty.

    """
    parsed = None
    if max(map(len, raws), default=0) <= MAX_EVENT_SIZE:
        parsed = parse_certain(b"\n".join(raws))
    if parsed is None or len(parsed) != len(raws):
        parsed = _parse_one_by_one(raws)
    return _draft(parsed, keys)


def draft_lines(lines: bytes, keys: BucketKeys) -> list[DraftEntry]:
    """Return the drafts of events, one in each line that is not blank, if every one of them is valid.

    Raises:
        InvalidBatchError: at least one is not; it names the first twenty.

    """
    parsed = parse_certain(lines.strip(_SPACE)) if len(lines) <= MAX_EVENT_SIZE else None
    if parsed is None:
        parsed = _parse_one_by_one(split_lines(lines))
    return _draft(parsed, keys)


def split_lines(lines: bytes) -> list[bytes]:
    """Return the lines that are not blank."""
    return [line for line in lines.split(b"\n") if line.strip(_SPACE)]


def _draft(parsed: Sequence[ParsedEvent], keys: BucketKeys) -> list[DraftEntry]:
    # One call for the whole batch: asking the kernel costs more than cutting the bytes.
    return draft_entries(parsed, keys, os.urandom(2 * SALT_SIZE * len(parsed)))


def _parse_one_by_one(raws: Sequence[bytes]) -> list[ParsedEvent]:
    parsed = []
    positions: list[int] = []
    found: list[InvalidEventError] = []
    for position, raw in enumerate(raws):
        try:
            parsed.append(parse_event(raw))
        except InvalidEventError as error:
            positions.append(position)
            found.append(error)
            if len(found) == MAX_REPORTED:
                break
    if found:
        raise InvalidBatchError(positions, found)
    return parsed
