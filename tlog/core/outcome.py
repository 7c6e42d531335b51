"""Outcomes: control entries in which the log says what it did, and what of them explains an absent disclosure.

Own format (docs/reference/formats.md, "Outcome"). They are public, and name no host, path, user or message. An outcome of a
kind that this version does not know is part of the log as any other; whoever meets one reports it.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, NamedTuple

import msgspec
from msgspec import Meta, Struct, field

from tlog.core.logged_at import LoggedAt, parse_logged_at
from tlog.core.merkle import HASH_SIZE, MAX_TREE_SIZE
from tlog.core.strict import parse_base64url
from tlog.errors import MalformedInputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

INSTANCE_SIZE: Final = 8
_Size = Annotated[int, Meta(ge=0, le=MAX_TREE_SIZE)]
_Some = Annotated[int, Meta(ge=1, le=MAX_TREE_SIZE)]
_Version = Annotated[str, Meta(pattern=r"^[0-9A-Za-z.+-]{1,64}\Z")]
_System = Annotated[str, Meta(pattern=r"^(?:0|[1-9][0-9]{0,19})\Z")]
_Timeline = Annotated[int, Meta(ge=1, le=2**32 - 1)]


class _Report(Struct, forbid_unknown_fields=True, frozen=True, gc=False, kw_only=True):
    """All members of a report are required."""


class Started(_Report, kw_only=True, frozen=True):
    """A process began to append: `instance` is base64url of 8 random bytes, its own."""

    instance: str
    version: _Version


class Stopped(_Report, kw_only=True, frozen=True):
    """A process ended in order. One that started and never says this was killed."""

    instance: str


class Stalled(_Report, kw_only=True, frozen=True):
    """Work goes on that stood still between two times."""

    start: LoggedAt = field(name="from")
    end: LoggedAt = field(name="to")
    what: Literal["appending", "sealing"]
    why: Literal["database", "disk", "standby", "signer", "clock"]


class Checked(_Report, kw_only=True, frozen=True):
    """The log was checked from entry `since` on (0: all of it) up to `size`; `unexplained` disclosures are absent."""

    since: _Size
    size: _Size
    unexplained: _Size
    verdict: Literal["verified", "failed", "incomplete"]


class Lost(_Report, kw_only=True, frozen=True):
    """The `n` entries of [start, end) that name commitments came back from a mirror, and without their disclosures."""

    end: _Some
    n: _Some
    start: _Size

    def covers(self, index: int, own: int) -> bool:
        """Tell whether this outcome, entry `own`, is about entry `index`: what was lost lies before it."""
        return self.start <= index < self.end <= own

    def contradicted(self, own: int, seen: Seen) -> str:
        """Return in what way something seen shows that this outcome, entry `own`, is not true, or "".

        Recovery ends at the tail of the log and brings back no disclosure. Otherwise one statement, years later, would explain
        any single deletion.
        """
        committing = _between(seen.committing, self.start, self.end)
        unseen = self.end - self.start - _between(seen.all, self.start, self.end)
        if _between(seen.events, self.end, own):
            return f"entry {own} says 'lost' after events that came later"
        if _between(seen.present, self.start, self.end):
            return f"entry {own} says 'lost' of entries of which something is there"
        if not committing <= self.n <= committing + unseen:
            return f"entry {own} says that {self.n} entries were 'lost', where another number names commitments"
        return ""


class Seen(NamedTuple):
    """What whoever judges an explanation sees of the log; all are rising indexes.

    Attributes:
        all: of the entries that it sees.
        committing: of those of them that name commitments.
        events: of those of them that are events.
        present: of those of them of which a disclosure is there.

    """

    all: Sequence[int]
    committing: Sequence[int]
    events: Sequence[int]
    present: Sequence[int]


class Restored(_Report, kw_only=True, frozen=True):
    """The log goes on from a backup: base64url of the SHA-256 of its `tlog-backup.json`, its size, and when it was taken."""

    backup: str
    size: _Size
    takenAt: LoggedAt  # noqa: N815 - the format's name


class Server(_Report, kw_only=True, frozen=True):
    """A PostgreSQL: its system identifier, in decimal, and timeline."""

    system: _System
    timeline: _Timeline


class Failover(_Report, kw_only=True, frozen=True):
    """Another server goes on from entry `size`; receipts of the old timeline from there on are void."""

    accepted: Literal["synchronous", "operator"]
    before: Server = field(name="from")
    size: _Size
    after: Server = field(name="to")


Report = Started | Stopped | Stalled | Checked | Lost | Restored | Failover

KINDS: Final[Mapping[str, type[Report]]] = {
    "checked": Checked,
    "failover": Failover,
    "lost": Lost,
    "restored": Restored,
    "stalled": Stalled,
    "started": Started,
    "stopped": Stopped,
}


def parse_report(kind: str, report: Mapping[str, Any]) -> Report | None:
    """Return what an outcome of a kind reports, None if this version does not know the kind.

    Raises:
        MalformedInputError: the report has not exactly the members of its kind, or one has not the form it must have.

    """
    if (form := KINDS.get(kind)) is None:
        return None
    try:
        parsed = msgspec.convert(report, form)
    except msgspec.ValidationError:
        message = f"the report of an outcome is not what one of the kind '{kind}' has"
        raise MalformedInputError(message) from None
    match parsed:
        case Started() | Stopped():
            parse_base64url(parsed.instance.encode(), "an instance", INSTANCE_SIZE)
        case Restored():
            parse_base64url(parsed.backup.encode(), "the hash of a backup", HASH_SIZE)
            parse_logged_at(parsed.takenAt)
        case Stalled():
            _check(parse_logged_at(parsed.start) <= parse_logged_at(parsed.end), "a standstill ends after it began")
        case Checked():
            _check(parsed.since <= parsed.size, "what is checked begins below its size")
        case Lost():
            _check(
                parsed.n <= parsed.end - parsed.start, "of [start, end) at least one and at most all entries are lost"
            )
    return parsed


def _between(rising: Sequence[int], start: int, end: int) -> int:
    """Return how many of rising numbers lie in [start, end)."""
    return bisect_left(rising, end) - bisect_left(rising, start)


def _check(condition: bool, message: str) -> None:  # noqa: FBT001 - a condition
    if not condition:
        raise MalformedInputError(message)
