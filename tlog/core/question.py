"""Questions: what an auditor asks of the events, in one canonical form.

The same question is asked over HTTP, journaled, stated in evidence and put to the offline verifier, so it has one form: a
JSON object with the members that are asked for, times in UTC (docs/reference/formats.md, "Question"). What decides which
entries answer it is in the entries' clear members and index keys; personal data is compared through its index key only.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec
from msgspec import UNSET, Struct, UnsetType, field

from tlog.core.entry import format_logged_at, parse_logged_at
from tlog.core.event import Action, Outcome, ResourceId, ResourceType, Timestamp, UserId, explain, to_utc
from tlog.core.pseudonym import actor_ident, public_key, resource_ident
from tlog.core.strict import encode_base64url
from tlog.errors import InvalidEventError, MalformedInputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PERMITTED_SKEW: Final = timedelta(hours=24)
_TIMES: Final = {"from", "loggedFrom", "loggedTo", "to"}
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


class Question(Struct, forbid_unknown_fields=True, omit_defaults=True, frozen=True, kw_only=True):
    """Which events are asked for: those to which everything given applies. Members in RFC 8785 order.

    `from` and `to` are about the producer's timestamp, `loggedFrom` and `loggedTo` about the log's clock; what is before a
    "to" answers, what is at it does not. With `from` alone, entries logged more than the permitted skew before it are not
    looked at: only a producer whose clock was ahead by more can have logged an event there.
    """

    action: Action | UnsetType = UNSET
    start: Timestamp | UnsetType = field(default=UNSET, name="from")
    loggedFrom: Timestamp | UnsetType = UNSET  # noqa: N815 - the parameter's name
    loggedTo: Timestamp | UnsetType = UNSET  # noqa: N815 - the parameter's name
    outcome: Outcome | UnsetType = UNSET
    resourceId: ResourceId | UnsetType = UNSET  # noqa: N815 - the parameter's name
    resourceType: ResourceType | UnsetType = UNSET  # noqa: N815 - the parameter's name
    end: Timestamp | UnsetType = field(default=UNSET, name="to")
    userId: UserId | UnsetType = UNSET  # noqa: N815 - the parameter's name

    def document(self) -> dict[str, Any]:
        """Return it as a JSON value."""
        document: dict[str, Any] = msgspec.to_builtins(self)
        return document

    def keys(self, personal: Callable[[bytes], bytes]) -> list[bytes]:
        """Return the 16-byte index keys of what is asked, the one to look under first: resource, actor, action.

        Args:
            personal: returns the index key of a personal ident (`tlog.core.pseudonym`).

        """
        keys = [personal(ident) for ident in self.idents().values()]
        return keys if self.action is UNSET else [*keys, public_key("action", self.action)]

    def idents(self) -> dict[str, bytes]:
        """Return the personal idents of what is asked, by the group that discloses them: the resource, then the actor."""
        idents = {}
        if self.resourceId is not UNSET and self.resourceType is not UNSET:
            idents["resource"] = resource_ident(self.resourceType, self.resourceId)
        if self.userId is not UNSET:
            idents["actor"] = actor_ident(self.userId)
        return idents

    def places(self) -> list[int]:
        """Return where each of `keys` stands among an event's keys, which are of the actor, the resource and the action."""
        asked = (self.resourceId, 1), (self.userId, 0), (self.action, 2)
        return [place for value, place in asked if value is not UNSET]

    def logged_from(self) -> bytes | None:
        """Return the `loggedAt` of the first entries to look at, None for all."""
        if self.loggedFrom is not UNSET:
            return comparable(self.loggedFrom).encode()
        return None if self.start is UNSET else _before(self.start)

    def logged_to(self) -> bytes | None:
        """Return the `loggedAt` before which the entries to look at were logged, None for all."""
        return None if self.loggedTo is UNSET else comparable(self.loggedTo).encode()

    def not_looked_at(self) -> list[str]:
        """Return in words what lies outside of what is looked at."""
        start, end = self.logged_from(), self.logged_to()
        left_out = [] if start is None else [f"entries logged before {start.decode()}"]
        return left_out if end is None else [*left_out, f"entries logged at {end.decode()} or later"]

    def countable(self) -> bool:
        """Tell whether index keys alone decide it, so that an exact count needs no entries: one key, the log's clock."""
        asked = self.document().keys() - {"loggedFrom", "loggedTo"}
        return asked in ({"resourceId", "resourceType"}, {"userId"}, {"action"})


class Answerable(Protocol):
    """What a question is compared with: an event's entry, or as much of it as this needs."""

    @property
    def keys(self) -> list[str]:
        """Its index keys."""

    @property
    def outcome(self) -> str:
        """How it ended."""

    @property
    def resourceType(self) -> str:  # noqa: N802 - the format's name
        """The type of what was acted on."""

    @property
    def timestamp(self) -> str:
        """The producer's clock, in UTC."""


class Matcher:
    """Tells whether an entry answers a question."""

    def __init__(self, question: Question, keys: list[bytes]) -> None:
        """Prepare; `keys` are what `Question.keys` returned."""
        self._question = question
        texts = (encode_base64url(key).decode() for key in keys)
        self._keys = dict(zip(question.places(), texts, strict=True))
        self._start = "" if question.start is UNSET else comparable(question.start)
        self._end = "~" if question.end is UNSET else comparable(question.end)

    def matches(self, entry: Answerable) -> bool:
        """Tell whether everything asked applies to an entry."""
        question = self._question
        return (
            self._keys.items() <= dict(enumerate(entry.keys)).items()
            and question.outcome in (UNSET, entry.outcome)
            and question.resourceType in (UNSET, entry.resourceType)
            and self._start <= comparable(entry.timestamp) < self._end
        )


def parse_question(members: Mapping[str, object]) -> Question:
    """Return the question that JSON members or query parameters state.

    Times may have any zone, or be a date alone, which means its midnight in UTC.

    Raises:
        MalformedInputError: naming the member.

    """
    given = {name: _midnight(value) if name in _TIMES else value for name, value in members.items()}
    for text in (*given, *given.values()):
        if isinstance(text, str) and not _is_unicode(text):
            message = "a question is text in valid Unicode"
            raise MalformedInputError(message)
    try:
        question = msgspec.convert(given, Question)
    except msgspec.ValidationError as error:
        rule, pointer = explain(error)
        message = f"'{pointer.removeprefix('/')}': {rule.replace('an event', 'a question')}"
        raise MalformedInputError(message, pointer) from None
    for name in _TIMES & given.keys():
        try:
            given[name] = to_utc(str(given[name]))
        except InvalidEventError as error:
            message = f"'{name}': {error}"
            raise MalformedInputError(message, f"/{name}") from None
    question = msgspec.convert(given, Question)
    if question.resourceId is not UNSET and question.resourceType is UNSET:
        message = "'resourceId' needs 'resourceType' beside it: both together name a resource"
        raise MalformedInputError(message, "/resourceType")
    for start, end in (("from", "to"), ("loggedFrom", "loggedTo")):
        if {start, end} <= given.keys() and comparable(str(given[start])) > comparable(str(given[end])):
            message = f"'{start}' is after '{end}'"
            raise MalformedInputError(message, f"/{start}")
    first, last = question.logged_from(), question.logged_to()
    if first is not None and last is not None and first > last:
        message = "'from' is more than 24 hours after 'loggedTo': state 'loggedFrom' as well to look at what was logged before"
        raise MalformedInputError(message, "/from")
    return question


def _is_unicode(text: str) -> bool:
    """Tell whether text is without lone surrogates, which stand for bytes of a command line that are not UTF-8."""
    try:
        return bool(text.encode()) or not text
    except UnicodeEncodeError:
        return False


def _midnight(value: object) -> object:
    return f"{value}T00:00:00Z" if isinstance(value, str) and _DATE.fullmatch(value) else value


def comparable(timestamp: str) -> str:
    """Return a UTC timestamp of an event in a form that sorts like time: six fraction digits."""
    return f"{timestamp[:19]}.{timestamp[20:-1]:0<6}Z"


def _before(timestamp: str) -> bytes:
    try:
        return format_logged_at(parse_logged_at(comparable(timestamp)) - PERMITTED_SKEW)
    except OverflowError:  # in the first day of the year 1
        return format_logged_at(datetime.min.replace(tzinfo=UTC))
