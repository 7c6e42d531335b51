"""Times as people write and read them: in a zone, to the second. Bundles, the journal and the API have UTC.

A date is its midnight there. Of a local time that there are two of, or none, a "from" takes the earlier moment and a "to" the
later one, so that nothing is left out. `static/zones.js` does the same, so that a browser can ask for itself.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from tlog.errors import MalformedInputError

if TYPE_CHECKING:
    from collections.abc import Mapping

# Which end of a window a member of a question is.
_FIRST: Final = {"from": min, "loggedFrom": min, "to": max, "loggedTo": max}
_LOCAL: Final = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})(?:[T ]([0-9]{2}:[0-9]{2})(?::([0-9]{2}))?)?")


def zone_of(name: str) -> ZoneInfo:
    """Return the time zone of a name.

    Raises:
        MalformedInputError: there is none of this name.

    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        message = "there is no such time zone; take UTC, or an IANA name such as Europe/Budapest"
        raise MalformedInputError(message, "/tz") from None


def in_utc(members: Mapping[str, str], zone: ZoneInfo) -> dict[str, str]:
    """Return the members of a question with local times in UTC; what is no local time is left as it is."""
    return {name: _moment(name, text, zone) if name in _FIRST else text for name, text in members.items()}


def _moment(name: str, text: str, zone: ZoneInfo) -> str:
    match = _LOCAL.fullmatch(text)
    if match is None:
        return text
    day, minute, second = match.groups()
    try:
        local = datetime.fromisoformat(f"{day}T{minute or '00:00'}:{second or '00'}")
        moments = [local.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)]
    except (ValueError, OverflowError):
        return text  # the question says what is wrong with it
    return f"{_FIRST[name](moments).replace(tzinfo=None).isoformat(timespec='seconds')}Z"


def shown(timestamp: str, zone: ZoneInfo) -> str:
    """Return a UTC timestamp of the log as it is read in a zone: `2026-03-30 20:21:01`."""
    try:
        local = datetime.fromisoformat(f"{timestamp[:19]}Z").astimezone(zone)
    except OverflowError:
        return timestamp  # in the first or last hours that there are
    return local.replace(tzinfo=None).isoformat(" ", timespec="seconds")
