"""Facts of many entries at once, for those who check millions: one regular expression takes the entries that are certain."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple, get_args

from tlog.core.event import Action, Outcome
from tlog.core.pseudonym import public_text

if TYPE_CHECKING:
    from collections.abc import Sequence


# The whole of an event entry (docs/reference/formats.md, "Entry"), members in RFC 8785 order, no white space:
#   entry       = "{" action "," commitments "," event-id "," keys "," logged-at "," [operation ","] outcome ","
#                 resource-type "," [source ","] timestamp "," DQUOTE "type" DQUOTE ":" DQUOTE "event" DQUOTE ","
#                 DQUOTE "v" DQUOTE ":1}"
#   commitments = two hashes, and between them those of related resources: base64url of 32 bytes is 43 characters, the last
#                 of which carries 4 bits
#   keys        = three keys or more: base64url of 16 bytes is 22 characters, the last of which carries 2 bits
#   logged-at   = day "." 6DIGIT "Z"
#   timestamp   = day ["." 1*9DIGIT] "Z"
#   day         = RFC 3339 full-date "T" hour ":" minute ":" second, of the years 1 to 9999, without any 29 February:
#                 whether a year has one is more than an expression can tell, so such an entry is not certain
#   source      = an id of 1 to 128 characters, and a number below 10**15: certainly below the limit of 2**53
def _quick_event() -> re.Pattern[bytes]:
    day = (
        r"(?!0000)[0-9]{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
        r"|02-(?:0[1-9]|1[0-9]|2[0-8]))T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
    )
    hash32, key16 = "[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]", "[A-Za-z0-9_-]{21}[AQgw]"
    public = "[A-Za-z0-9][A-Za-z0-9_.:/-]{0,127}"
    actions, outcomes = "|".join(get_args(Action)), "|".join(get_args(Outcome))
    text = (
        rf'{{"action":"({actions})","commitments":{{"actor":"({hash32})",(?:"related":\["({hash32}(?:","{hash32}){{0,31}})"\],)?'
        rf'"resource":"({hash32})"}},'
        rf'"eventId":"([0-9a-f]{{8}}-[0-9a-f]{{4}}-[0-9a-f]{{4}}-[0-9a-f]{{4}}-[0-9a-f]{{12}})",'
        rf'"keys":\["({key16}","{key16}","({key16})((?:","{key16}){{0,37}}))"\],"loggedAt":"({day}\.[0-9]{{6}}Z)",'
        rf'(?:"operation":"({public})",)?"outcome":"(?:{outcomes})",'
        rf'"resourceType":"([A-Za-z0-9][A-Za-z0-9_.:-]{{0,63}})",(?:"source":\{{"id":"({public})",'
        r'"seq":(?:0|[1-9][0-9]{0,14})\},)?'
        rf'"timestamp":"{day}(?:\.[0-9]{{1,9}})?Z","type":"event","v":1}}'
    )
    return re.compile(text.encode())


_match_event: Final = _quick_event().fullmatch
_ACTION_TEXTS: Final = {(action.encode(), public_text("action", action).encode()) for action in get_args(Action)}
BETWEEN: Final = b'","'
# Of a key and of a commitment, with what is between it and the one before.
_KEY_SIZE: Final = len(BETWEEN) + 22
_HASH_SIZE: Final = len(BETWEEN) + 43


class EventFacts(NamedTuple):
    """The parts of an event entry that a check of many entries looks at, as they stand in the entry.

    `keys` is the text of the keys between their outer quotes, and `more_keys` the part of it after the third key; `actor`,
    `related` (None without related resources) and `resource` are the commitments.
    """

    action: bytes
    actor: bytes
    related: bytes | None
    resource: bytes
    event_id: bytes
    keys: bytes
    action_key: bytes
    more_keys: bytes
    logged_at: bytes
    operation: bytes | None
    resource_type: bytes
    source: bytes | None


_at = EventFacts._fields.index
_ACTION: Final = _at("action")
_ACTION_KEY: Final = _at("action_key")
_RELATED: Final = _at("related")
_MORE_KEYS: Final = _at("more_keys")
_OPERATION: Final = _at("operation")
_SOURCE: Final = _at("source")


def match_events(entries: Sequence[bytes]) -> list[EventFacts | None]:
    """Return the facts of each leaf data that is an event entry for certain, None where only `parse_entry` can tell.

    That the keys begin differently is not looked at.
    """
    matches = [_match_event(entry) for entry in entries]
    said: list[Any] = [None if match is None else match.groups() for match in matches]
    pairs = {(each[_ACTION], each[_ACTION_KEY]) for each in said if each is not None}
    if not pairs <= _ACTION_TEXTS:
        said = [
            None if each is None or (each[_ACTION], each[_ACTION_KEY]) not in _ACTION_TEXTS else each for each in said
        ]
    return [None if each is None or not _has_the_keys(each) else each for each in said]


def split_texts(joined: bytes | None) -> list[bytes]:
    """Return the keys or commitments of a fact that holds several, such as `related`."""
    return [] if not joined else joined.removeprefix(BETWEEN).split(BETWEEN)


def _has_the_keys(facts: Sequence[Any]) -> bool:
    """Tell whether the keys after the third one are as many as they have to be, and the public ones those of their members."""
    operation, source, related, keys = facts[_OPERATION], facts[_SOURCE], facts[_RELATED], facts[_MORE_KEYS]
    public: bytes = b"" if operation is None else _public("operation", operation)
    if source is not None:
        public += _public("source", source)
    wanted = len(public) if related is None else len(public) + _KEY_SIZE * ((len(related) + 3) // _HASH_SIZE)
    return len(keys) == wanted and bool(keys.startswith(public))


@lru_cache(maxsize=4_096)
def _public(kind: str, value: bytes) -> bytes:
    """Return the key of a public member as it stands in the entry, after what is between it and the key before."""
    return BETWEEN + public_text(kind, value.decode()).encode()
