"""The log's clock in entries: `loggedAt`, UTC with microseconds, and the same time as a number.

Own format (docs/reference/formats.md, "Entry").
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

from msgspec import Meta

from tlog.errors import MalformedInputError

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FORM: Final = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]\.[0-9]{6}Z\Z"
_LOGGED_AT: Final = re.compile(_FORM)
LoggedAt = Annotated[str, Meta(pattern=_FORM)]


def format_logged_at(moment: datetime) -> bytes:
    """Return an aware time as the 27 characters of `loggedAt`, microseconds in UTC."""
    # The first 26 characters of 2026-11-24T05:12:00.123456+00:00; strftime takes longer and leaves out zeros of the year.
    in_utc = moment if moment.tzinfo is UTC else moment.astimezone(UTC)
    return in_utc.isoformat(timespec="microseconds")[:26].encode() + b"Z"


def parse_logged_at(text: str) -> datetime:
    """Return the aware time that a `loggedAt` of exactly 27 characters says.

    Raises:
        MalformedInputError: another form, or a time that does not exist.

    """
    try:
        if _LOGGED_AT.fullmatch(text) is not None:
            return datetime.fromisoformat(text)
    except ValueError:
        pass
    message = "loggedAt is a UTC time with six fraction digits"
    raise MalformedInputError(message)


def to_microseconds(moment: datetime) -> int:
    """Return microseconds since 1970-01-01T00:00:00Z, the form in which the database keeps times exactly."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def from_microseconds(microseconds: int) -> datetime:
    """Return the aware time of `to_microseconds`."""
    return _EPOCH + timedelta(microseconds=microseconds)
