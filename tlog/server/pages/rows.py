"""Events as rows of tables. `static/cells.js` makes the same cells of what a browser verified, to write them over these."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from tlog.lifecycle.journal import RESOURCE_TYPE
from tlog.server.pages.zones import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from zoneinfo import ZoneInfo

    Event = Mapping[str, Any]
    Cell = str | list[tuple[str, str, str]]  # text; or of each field that changed its name, its old and its new value

EVENTS: Final = ("Happened", "Logged", "Who", "Action", "What", "Purpose", "Outcome")
TIMELINE: Final = ("Happened", "Who", "Action", "What", "Purpose", "Outcome", "What changed")
ACCESS: Final = ("Date", "Who", "Did what", "With which data", "Why")
ACCOUNTING: Final = ("Date", "Recipient", "Address", "What was disclosed", "Purpose")
# Of HL7's purposes of use (v3 PurposeOfUse) those for which 45 CFR 164.528 (a)(1)(i) asks for no accounting.
NOT_ACCOUNTED_FOR: Final = frozenset({"TREAT", "HPAYMT", "HOPERAT"})
_LOST: Final = "(lost, says entry {})"
_WITHHELD: Final = "(withheld)"  # it is somebody else's, and this is one person's answer


class Row(NamedTuple):
    """A row: its entry's index, its eventId ("" of what is no event), whether it is about the log itself, and its cells."""

    entry: int
    event_id: str
    about_log: bool
    cells: Sequence[Cell]


class Accounting(NamedTuple):
    """Disclosures, oldest first, and how many exports are no row: for their purpose, without a recipient, with lost data."""

    rows: list[tuple[str, ...]]
    left_out: int
    without_recipient: int
    unknown: int


def rows_of(events: Iterable[Event], zone: ZoneInfo, cells: Callable[[Event, ZoneInfo], Sequence[Cell]]) -> list[Row]:
    """Return events, as `GET /v1/audit/events` has them, as rows with times of a zone."""
    return [
        Row(each["log"]["index"], each.get("eventId", ""), is_about_log(each), cells(each, zone)) for each in events
    ]


def is_about_log(event: Event) -> bool:
    """Tell whether an event is about the log itself: a question, or somebody who signed in."""
    return "resource" in event and bool(event["resource"]["type"] == RESOURCE_TYPE)


def event_cells(event: Event, zone: ZoneInfo) -> tuple[str, ...]:
    """Return the cells of `EVENTS`."""
    logged = shown(event["log"]["loggedAt"], zone)
    return (
        shown(event["timestamp"], zone),
        logged,
        _who(event),
        _action(event),
        _what(event),
        _purpose(event),
        event["outcome"],
    )


def timeline_cells(event: Event, zone: ZoneInfo) -> tuple[Cell, ...]:
    """Return the cells of `TIMELINE`."""
    details = event.get("details", {})
    old, new = details.get("oldValues", {}), details.get("newValues", {})
    changes = [(name, _value(old, name), _value(new, name)) for name in sorted(old.keys() | new.keys())]
    happened = shown(event["timestamp"], zone)
    return happened, _who(event), _action(event), _what(event), _purpose(event), event["outcome"], changes


def access_cells(event: Event, zone: ZoneInfo, *, names: bool) -> tuple[str, ...]:
    """Return the cells of `ACCESS`; with `names` false somebody's role stands for them."""
    done = _action(event) + ("" if event["outcome"] == "success" else f", {event['outcome']}")
    return shown(event["timestamp"], zone), _who(event, names=names), done, _data(event), _purpose(event)


def accounting(events: Iterable[Event], zone: ZoneInfo) -> Accounting:
    """Return the disclosures among events, given oldest first; those to one recipient for one purpose are one row."""
    groups: dict[tuple[str, str, str], list[Event]] = defaultdict(list)
    left_out = without = unknown = 0
    for event in events:
        if event["action"] != "export" or is_about_log(event):
            continue
        details = event.get("details", {})
        recipient = details.get("recipient")
        if "resource" in _absent(event):
            unknown += 1
        elif recipient is None:
            without += 1
        elif details.get("purpose") in NOT_ACCOUNTED_FOR:
            left_out += 1
        else:
            groups[recipient["name"], recipient.get("address", ""), details.get("purpose", "")].append(event)
    rows: list[tuple[str, ...]] = []
    for (name, address, purpose), disclosed in groups.items():
        dates = [shown(each["timestamp"], zone) for each in disclosed]
        date = dates[0] if len(dates) == 1 else f"{dates[0]}, {len(dates)} times, last {dates[-1]}"
        what = "; ".join(dict.fromkeys(map(_data, disclosed)))
        rows.append((date, name, address, what, purpose))
    return Accounting(rows, left_out, without, unknown)


def _who(event: Event, *, names: bool = True) -> str:
    if (said := _absent(event).get("actor")) is not None:
        return said
    actor, role = event["actor"], event["actor"].get("role", "")
    name = actor.get("userId", "(unknown)")
    if not names:
        return role or "(no role)"
    return f"{name} ({role})" if role else name


def _action(event: Event) -> str:
    return f"{event['action']} ({event['operation']})" if "operation" in event else str(event["action"])


def _what(event: Event) -> str:
    resource = event["resource"]
    named = " (named beside)" if event["log"].get("matched") == "related" else ""
    return f"{resource['type']} {resource.get('id') or _absent(event)['resource']}{named}"


def _data(event: Event) -> str:
    fields = ", ".join(event.get("details", {}).get("fieldsAccessed", ()))
    return _what(event) + (f": {fields}" if fields else "")


def _purpose(event: Event) -> str:
    details = event.get("details", {})
    return str(details.get("purpose") or details.get("reason", ""))


def _value(values: Mapping[str, object], name: str) -> str:
    value = values.get(name, "")
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _absent(event: Event) -> dict[str, str]:
    """Return of each group that is absent what is said instead of it."""
    log = event["log"]
    said = {each["group"]: _LOST.format(each["by"]) for each in log["lost"]}
    return said | dict.fromkeys(log["missing"], "(missing)") | dict.fromkeys(log.get("withheld", ()), _WITHHELD)
