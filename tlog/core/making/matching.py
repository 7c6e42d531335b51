"""Facts of many entries at once, for those who check millions: one regular expression takes the entries that are certain."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple, get_args

from tlog.core.event import Action, Outcome
from tlog.core.pseudonym import action_text

if TYPE_CHECKING:
    from collections.abc import Sequence


# The whole of an event entry (docs/reference/formats.md, "Entry"), members in RFC 8785 order, no white space:
#   entry       = "{" action "," commitments "," event-id "," keys "," logged-at "," outcome "," resource-type ","
#                 [source ","] timestamp "," DQUOTE "type" DQUOTE ":" DQUOTE "event" DQUOTE "," DQUOTE "v" DQUOTE ":1}"
#   commitments = two hashes: base64url of 32 bytes is 43 characters, the last of which carries 4 bits
#   keys        = three keys: base64url of 16 bytes is 22 characters, the last of which carries 2 bits
#   logged-at   = day "." 6DIGIT "Z"
#   timestamp   = day ["." 1*6DIGIT] "Z"
#   day         = RFC 3339 full-date "T" hour ":" minute ":" second, of the years 1 to 9999, without any 29 February:
#                 whether a year has one is more than an expression can tell, so such an entry is not certain
#   source      = an id of 1 to 128 characters, and a number below 10**15: certainly below the limit of 2**53
def _quick_event() -> re.Pattern[bytes]:
    day = (
        r"(?!0000)[0-9]{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
        r"|02-(?:0[1-9]|1[0-9]|2[0-8]))T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
    )
    hash32, key16 = "[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]", "[A-Za-z0-9_-]{21}[AQgw]"
    actions, outcomes = "|".join(get_args(Action)), "|".join(get_args(Outcome))
    text = (
        rf'{{"action":"({actions})","commitments":{{"actor":"({hash32})","resource":"({hash32})"}},'
        rf'"eventId":"([0-9a-f]{{8}}-[0-9a-f]{{4}}-[0-9a-f]{{4}}-[0-9a-f]{{4}}-[0-9a-f]{{12}})",'
        rf'"keys":\["(({key16}","{key16})","({key16}))"\],"loggedAt":"({day}\.[0-9]{{6}}Z)","outcome":"(?:{outcomes})",'
        r'"resourceType":"([A-Za-z0-9][A-Za-z0-9_.:-]{0,63})",(?:"source":\{"id":"[A-Za-z0-9][A-Za-z0-9_.:/-]{0,127}",'
        r'"seq":(?:0|[1-9][0-9]{0,14})\},)?'
        rf'"timestamp":"{day}(?:\.[0-9]{{1,6}})?Z","type":"event","v":1}}'
    )
    return re.compile(text.encode())


_match_event: Final = _quick_event().fullmatch
_ACTION_TEXTS: Final = {(action.encode(), action_text(action).encode()) for action in get_args(Action)}


class EventFacts(NamedTuple):
    """The parts of an event entry that a check of many entries looks at, as they stand in the entry."""

    action: bytes
    actor: bytes
    resource: bytes
    event_id: bytes
    keys: bytes
    personal_keys: bytes
    action_key: bytes
    logged_at: bytes
    resource_type: bytes


def match_events(entries: Sequence[bytes]) -> list[EventFacts | None]:
    """Return the facts of each leaf data that is an event entry for certain, None where only `parse_entry` can tell.

    `keys` is the text of the three keys between their outer quotes, `personal_keys` the part of the first two, and
    `actor` and `resource` are the commitments. That three keys begin differently is not looked at.
    """
    matches = [_match_event(entry) for entry in entries]
    said: list[Any] = [None if match is None else match.groups() for match in matches]
    pairs = {(each[0], each[6]) for each in said if each is not None}
    if not pairs <= _ACTION_TEXTS:
        return [None if each is None or (each[0], each[6]) not in _ACTION_TEXTS else each for each in said]
    return said
