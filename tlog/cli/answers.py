"""An answer for people, who read a table that never cuts anything; or for programs after a pipe, which read one event a line."""

from __future__ import annotations

import shutil
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from tlog.cli.escaping import visible
from tlog.server.pages.zones import zone_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import tzinfo

COLUMNS: Final = ("timestamp", "who", "role", "action", "resource", "outcome", "eventId")
ONE_LINE: Final = 120  # columns of a terminal from which on an event has one line
_TIME: Final = 40  # more for a second time
_ESCAPES: Final = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})
_INDENT: Final = "    "


def read_zone(name: str | None) -> tzinfo:
    """Return the time zone of an IANA name such as Europe/Budapest, UTC for none.

    Raises:
        MalformedInputError: there is no such zone here.

    """
    return UTC if name in {None, "UTC"} else zone_of(str(name))


def print_events(events: Sequence[dict[str, Any]], zone: tzinfo, *, logged: bool) -> None:
    """Print events as lines of a table on a terminal, as tab-separated values with a header anywhere else.

    Args:
        events: as `GET /v1/audit/events` answers them.
        zone: in which a terminal shows times; tab-separated times are always in UTC.
        logged: a terminal shows the log's own time as well.

    """
    if not sys.stdout.isatty():
        print("\t".join(COLUMNS))
        for each in events:
            print("\t".join(cell.translate(_ESCAPES) for cell in _cells(each)))
        return
    _print_table(events, zone, shutil.get_terminal_size().columns, logged=logged)


def _print_table(events: Sequence[dict[str, Any]], zone: tzinfo, width: int, *, logged: bool) -> None:
    """Print one line an event where the terminal is wide enough, else two; what is too long goes on in the next line."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(width=width, highlight=False, markup=False, emoji=False)
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    whole = [*[True] * (1 + logged), False, False, False, True, True]  # times, outcome and eventId are never folded
    for column in whole:
        table.add_column(overflow="fold", no_wrap=column)
    one_line = width >= ONE_LINE + _TIME * logged
    for each in events:
        happened, who, role, action, resource, outcome, event_id = map(visible, _cells(each))
        times = [_local(happened, zone), *([_local(each["log"]["loggedAt"], zone)] if logged else [])]
        who += f" ({role})" if role else ""
        matched = str(each["log"].get("matched", ""))
        resource += f" (asked for as {matched})" if matched.startswith("related") else ""
        if one_line:
            table.add_row(*(Text(cell) for cell in (*times, who, action, resource, outcome, event_id)))
            continue
        console.print(Text("  ".join((*times, who, action, outcome)), overflow="fold"))
        if resource or event_id:
            console.print(Text(f"{_INDENT}{resource}  {event_id}", overflow="fold"))
    if one_line:
        console.print(table)


def _local(timestamp: str, zone: tzinfo) -> str:
    """Return a UTC time in a zone, with the fraction digits that it came with."""
    if zone is UTC:
        return timestamp
    local = datetime.fromisoformat(f"{timestamp[:19]}Z").astimezone(zone).isoformat()
    return local[:19] + timestamp[19:-1] + local[19:]


def _cells(event: dict[str, Any]) -> list[str]:
    """Return what `COLUMNS` name of an event; of a control entry when it was logged and what type it is of."""
    if "entry" in event:
        return [event["log"]["loggedAt"], "(the log)", "", event["type"], "", "", ""]
    actor, where = event.get("actor"), event["resource"]
    who, role = ("(absent)", "") if actor is None else (actor.get("userId", "(unknown)"), actor.get("role", ""))
    action = event["action"] if "operation" not in event else f"{event['action']} ({event['operation']})"
    resource = f"{where['type']}:{where.get('id', '(absent)')}"
    return [event["timestamp"], who, role, action, resource, event["outcome"], event["eventId"]]
