"""Questions: what an auditor asks of the log, in one canonical form.

The same question is asked over HTTP, journaled, stated in evidence and put to the offline verifier, so it has one form: a
JSON object with the members that are asked for, times in UTC (docs/reference/formats.md, "Question"). What decides which
entries answer it is in the entries' clear members and index keys; personal data is compared through its index key only.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Protocol
from unicodedata import normalize

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType, field

from tlog.core.entry import OtherEntry, format_logged_at
from tlog.core.event import (
    PATTERNS,
    Action,
    Outcome,
    ResourceType,
    Timestamp,
    check_resource_id,
    check_user_id,
    explain,
    hashed_id,
    to_utc,
)
from tlog.core.pseudonym import actor_ident, check_assigned, public_key, related_ident, resource_ident
from tlog.core.strict import encode_base64url
from tlog.errors import InvalidEventError, MalformedInputError, OtherQuestionError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tlog.core.event import Source

PERMITTED_SKEW: Final = timedelta(hours=24)
_TIMES: Final = {"from", "loggedFrom", "loggedTo", "to"}
_CLOCK: Final = {"loggedFrom", "loggedTo"}
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_EARLIEST: Final = "0001-01-01T00:00:00Z"
_AFTER_ALL: Final = b"9999-12-31T24:00:00.000000Z"
_ID_RULES: Final = {"resourceId": check_resource_id, "userId": check_user_id}
# What an expression of `msgspec` would not explain.
_WORDS: Final = {
    "actorType": (re.compile("unknown"), "only 'unknown' can be asked for"),
    "control": (
        re.compile("(?!(?:event|index|index-keys)$)[a-z-]{1,32}"),
        "expected the type of a control entry that has index keys, 1 to 32 of a-z and -",
    ),
}

_Id = Annotated[str, Meta(min_length=1)]
_Public = Annotated[str, Meta(pattern=PATTERNS["/operation"])]


class Question(Struct, forbid_unknown_fields=True, omit_defaults=True, frozen=True, kw_only=True):
    """Which entries are asked for: those to which everything given applies. Members in RFC 8785 order.

    `from` and `to` are about the producer's timestamp, `loggedFrom` and `loggedTo` about the log's clock; what is before a
    "to" answers, what is at it does not. With `from` alone, entries logged more than the permitted skew before it are not
    looked at: only a producer whose clock was ahead by more can have logged an event there. Ids are in their NFC form.
    """

    action: Action | UnsetType = UNSET
    actorType: Literal["unknown"] | UnsetType = UNSET  # noqa: N815 - the parameter's name
    control: str | UnsetType = UNSET
    start: Timestamp | UnsetType = field(default=UNSET, name="from")
    loggedFrom: Timestamp | UnsetType = UNSET  # noqa: N815 - the parameter's name
    loggedTo: Timestamp | UnsetType = UNSET  # noqa: N815 - the parameter's name
    operation: _Public | UnsetType = UNSET
    outcome: Outcome | UnsetType = UNSET
    resourceId: _Id | UnsetType = UNSET  # noqa: N815 - the parameter's name
    resourceType: ResourceType | UnsetType = UNSET  # noqa: N815 - the parameter's name
    sourceId: _Public | UnsetType = UNSET  # noqa: N815 - the parameter's name
    end: Timestamp | UnsetType = field(default=UNSET, name="to")
    userId: _Id | UnsetType = UNSET  # noqa: N815 - the parameter's name

    def document(self) -> dict[str, Any]:
        """Return it as a JSON value."""
        document: dict[str, Any] = msgspec.to_builtins(self)
        return document

    def idents(self) -> dict[str, bytes]:
        """Return the personal idents of what is asked, by kind of key: `resource`, `related`, `actor`, in this order."""
        idents = {}
        if self.resourceId is not UNSET and self.resourceType is not UNSET:
            if self.control is UNSET:  # what a control entry is about, it only names
                idents["resource"] = resource_ident(self.resourceType, self.resourceId)
            idents["related"] = related_ident(self.resourceType, self.resourceId)
        if self.userId is not UNSET or self.actorType is not UNSET:
            idents["actor"] = actor_ident("" if self.userId is UNSET else self.userId)
        return idents

    def keys(self, personal: Callable[[bytes], bytes]) -> dict[str, bytes]:
        """Return the 16-byte index keys of what is asked, by kind, the ones to look under first at the beginning.

        Args:
            personal: returns the index key of a personal ident (`tlog.core.pseudonym`).

        """
        keys = {kind: personal(ident) for kind, ident in self.idents().items()}
        public = {"source": self.sourceId, "operation": self.operation, "control": self.control, "action": self.action}
        return keys | {kind: public_key(kind, value) for kind, value in public.items() if value is not UNSET}

    def looked_under(self) -> list[str]:
        """Return the kinds of the keys under which entries are looked up: one of them, or `resource` and `related`."""
        kinds = list(self.keys(lambda _: b""))
        return kinds[: 2 if kinds[:1] == ["resource"] else 1]

    def looks_from(self) -> str | None:
        """Return the UTC time from which on entries were logged that are looked at, None for all."""
        if self.loggedFrom is not UNSET:
            return self.loggedFrom
        return None if self.start is UNSET else _day_before(self.start)

    def looks_to(self) -> str | None:
        """Return the UTC time before which entries were logged that are looked at, None for all."""
        return None if self.loggedTo is UNSET else self.loggedTo

    def logged_from(self) -> bytes | None:
        """Return the smallest `loggedAt` of entries to look at, None for all."""
        return _first_logged(self.looks_from())

    def logged_to(self) -> bytes | None:
        """Return the smallest `loggedAt` of entries that are too late to be looked at, None for none."""
        return _first_logged(self.looks_to())

    def not_looked_at(self) -> list[str]:
        """Return in words what lies outside of what is looked at."""
        start, end = self.looks_from(), self.looks_to()
        left_out = [] if start is None else [f"entries logged before {start}"]
        return left_out if end is None else [*left_out, f"entries logged at {end} or later"]

    def countable(self) -> bool:
        """Tell whether index keys alone decide it, so that an exact count needs no entries: one kind of key, the log's clock.

        A source is not, whose key its own statements carry as well.
        """
        asked = self.document().keys() - _CLOCK
        return asked == {"resourceId", "resourceType"} or (
            len(asked) == 1 and asked <= {"userId", "actorType", "action", "operation", "control"}
        )


class Answerable(Protocol):
    """What a question is compared with: an event's entry, or as much of it as this needs."""

    @property
    def action(self) -> str:
        """What was done."""

    @property
    def keys(self) -> list[str]:
        """Its index keys."""

    @property
    def operation(self) -> str | UnsetType:
        """What was done, in the word of the source."""

    @property
    def outcome(self) -> str:
        """How it ended."""

    @property
    def resourceType(self) -> str:  # noqa: N802 - the format's name
        """The type of what was acted on."""

    @property
    def source(self) -> Source | UnsetType:
        """Which producer sent it."""

    @property
    def timestamp(self) -> str:
        """The producer's clock, in UTC."""


class Matcher:
    """Tells whether an entry answers a question."""

    def __init__(self, question: Question, keys: Mapping[str, bytes]) -> None:
        """Prepare; `keys` are what `Question.keys` returned."""
        self._question = question
        self._keys = {kind: encode_base64url(key).decode() for kind, key in keys.items()}
        self._start = "" if question.start is UNSET else comparable(question.start)
        self._end = "~" if question.end is UNSET else comparable(question.end)

    def matches(self, entry: Answerable | OtherEntry) -> bool:
        """Tell whether everything asked applies to an entry."""
        question = self._question
        if isinstance(entry, OtherEntry):
            return entry.type == question.control and self._is_about(entry)
        return (
            question.control is UNSET
            and question.action in (UNSET, entry.action)
            and question.outcome in (UNSET, entry.outcome)
            and question.operation in (UNSET, entry.operation)
            and (question.sourceId is UNSET or (entry.source is not UNSET and question.sourceId == entry.source.id))
            and self._keys.get("actor", entry.keys[0]) == entry.keys[0]
            and self._is_about(entry)
            and self._start <= comparable(entry.timestamp) < self._end
        )

    def matched(self, entry: Answerable | OtherEntry) -> str | None:
        """Return which group of an entry is the resource asked for: `resource` or `related/<k>`; None if none is asked for.

        A control entry that names it has it in no group; there it is `related`.
        """
        resource, related = self._keys.get("resource"), self._keys.get("related")
        if isinstance(entry, OtherEntry):
            return "related" if related in entry.keys[1:] else None
        if resource is not None and entry.keys[1] == resource:
            return "resource"
        named = entry.keys[3 + (entry.operation is not UNSET) + (entry.source is not UNSET) :]
        return f"related/{named.index(related)}" if related in named else None

    def _is_about(self, entry: Answerable | OtherEntry) -> bool:
        if "related" in self._keys:
            return self.matched(entry) is not None
        # Without an id the type is the clear member; control entries are not asked for by that.
        return isinstance(entry, OtherEntry) or self._question.resourceType in (UNSET, entry.resourceType)


def parse_question(members: Mapping[str, object]) -> Question:
    """Return the question that JSON members or query parameters state.

    Times may have any zone, or be a date alone, which means its midnight in UTC. An id that no event can have is asked for in
    the form in which importers keep it (`hashed_members`).

    Raises:
        MalformedInputError: naming the member.
        NotCheckedError: an id has characters that this program's Unicode tables do not know.

    """
    given = {name: _midnight(value) if name in _TIMES else value for name, value in members.items()}
    for text in (*given, *given.values()):
        if isinstance(text, str) and not _is_unicode(text):
            message = "a question is text in valid Unicode"
            raise MalformedInputError(message)
    for name, (form, rule) in _WORDS.items():
        if isinstance(word := given.get(name), str) and form.fullmatch(word) is None:
            message = f"'{name}': {rule}"
            raise MalformedInputError(message, f"/{name}")
    try:
        msgspec.convert(given, Question)
    except msgspec.ValidationError as error:
        rule, pointer = explain(error)
        message = f"'{pointer.removeprefix('/')}': {rule.replace('an event', 'a question')}"
        raise MalformedInputError(message, pointer) from None
    for name in sorted(_TIMES & given.keys()):
        try:
            given[name] = to_utc(str(given[name]))
        except InvalidEventError as error:
            message = f"'{name}': {error}"
            raise MalformedInputError(message, f"/{name}") from None
    for name in _ID_RULES.keys() & given.keys():
        given[name] = _form_of_id(name, str(given[name]))
    question = msgspec.convert(given, Question)
    _check_together(question, given)
    return question


def check_asked(asked: Question, answered: Question) -> None:
    """Check that what was verified as the answer to a question answers the one that is asked.

    Raises:
        OtherQuestionError: they differ.

    """
    if asked != answered:
        message = "the log signed this, but it answers another question; nothing is proved about yours"
        raise OtherQuestionError(message)


def hashed_members(members: Mapping[str, object], question: Question) -> list[str]:
    """Return which ids of a question stand in it as `sha256:` and the hash of what was asked for, as importers keep such ids."""
    document = question.document()
    return [
        name for name in sorted(_ID_RULES.keys() & document.keys()) if document[name] == hashed_id(str(members[name]))
    ]


def comparable(timestamp: str) -> str:
    """Return a UTC timestamp of an event in a form that sorts like time: nine fraction digits."""
    return f"{timestamp[:19]}.{timestamp[20:-1]:0<9}Z"


def _check_together(question: Question, given: Mapping[str, object]) -> None:
    """Check what members ask of each other."""
    if question.resourceId is not UNSET and question.resourceType is UNSET:
        message = "'resourceId' needs 'resourceType' beside it: both together name a resource"
        raise MalformedInputError(message, "/resourceType")
    if {"actorType", "userId"} <= given.keys():
        message = "'actorType' stands for a userId that is not known, so not beside 'userId'"
        raise MalformedInputError(message, "/actorType")
    about = {"resourceId", "resourceType"} if question.resourceId is not UNSET else set()
    if question.control is not UNSET and not given.keys() <= {"control", *about, *_CLOCK}:
        message = "beside 'control' stand only 'resourceType' with 'resourceId', 'loggedFrom' and 'loggedTo'"
        raise MalformedInputError(message, "/control")
    for start, end in (("from", "to"), ("loggedFrom", "loggedTo")):
        if {start, end} <= given.keys() and comparable(str(given[start])) > comparable(str(given[end])):
            message = f"'{start}' is after '{end}'"
            raise MalformedInputError(message, f"/{start}")
    first, last = question.looks_from(), question.looks_to()
    if first is not None and last is not None and comparable(first) > comparable(last):
        message = "'from' is more than 24 hours after 'loggedTo': state 'loggedFrom' as well to look at what was logged before"
        raise MalformedInputError(message, "/from")


def _is_unicode(text: str) -> bool:
    """Tell whether text is without lone surrogates, which stand for bytes of a command line that are not UTF-8."""
    try:
        return bool(text.encode()) or not text
    except UnicodeEncodeError:
        return False


def _midnight(value: object) -> object:
    return f"{value}T00:00:00Z" if isinstance(value, str) and _DATE.fullmatch(value) else value


def _form_of_id(name: str, text: str) -> str:
    """Return an id as it stands in a question: the NFC form, or the hash by which importers keep one that no event can have."""
    check_assigned(text, f"'{name}'")
    return normalize("NFC", text) if _ID_RULES[name](text) is None else hashed_id(text)


def _day_before(timestamp: str) -> str:
    """Return the time PERMITTED_SKEW before a UTC timestamp, with all its digits, and not before the year 1."""
    try:
        second = datetime.fromisoformat(f"{timestamp[:19]}Z") - PERMITTED_SKEW
    except OverflowError:
        return _EARLIEST
    return format_logged_at(second)[:19].decode() + timestamp[19:]


def _first_logged(timestamp: str | None) -> bytes | None:
    """Return the smallest `loggedAt`, which has microseconds, that is not before a UTC timestamp."""
    if timestamp is None:
        return None
    digits = comparable(timestamp)
    moment = datetime.fromisoformat(f"{digits[:26]}Z")
    try:
        return format_logged_at(moment + timedelta(microseconds=digits[26:29] != "000"))
    except OverflowError:
        return _AFTER_ALL
