"""Events as rows of a table. `static/page.js` makes the same cells of what it verified, and writes them over these."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from tlog.lifecycle.journal import RESOURCE_TYPE
from tlog.server.pages.zones import shown

if TYPE_CHECKING:
    from collections.abc import Mapping
    from zoneinfo import ZoneInfo

COLUMNS = ("Happened", "Logged", "Who", "Action", "What", "Purpose", "Outcome")


class Row(NamedTuple):
    """A row: its entry's index, its eventId, whether it is about the log itself, and the text of each of `COLUMNS`."""

    entry: int
    event_id: str
    about_log: bool
    cells: tuple[str, ...]


def row_of(event: Mapping[str, Any], zone: ZoneInfo) -> Row:
    """Return an event, as `GET /v1/audit/events` has it, as a row with times of a zone."""
    log, absent = event["log"], _absent(event["log"])
    resource, details = event["resource"], event.get("details", {})
    action = event["action"] + (f" ({event['operation']})" if "operation" in event else "")
    named = " (named beside)" if log.get("matched") == "related" else ""
    cells = (
        shown(event["timestamp"], zone),
        shown(log["loggedAt"], zone),
        absent.get("actor") or who(event["actor"]),
        action,
        f"{resource['type']} {resource.get('id') or absent['resource']}{named}",
        details.get("purpose", ""),
        event["outcome"],
    )
    return Row(log["index"], event["eventId"], resource["type"] == RESOURCE_TYPE, cells)


def who(actor: Mapping[str, Any]) -> str:
    """Return an actor in words."""
    role = f" ({actor['role']})" if actor.get("role") else ""
    return f"{actor.get('userId', '(unknown)')}{role}"


def _absent(log: Mapping[str, Any]) -> dict[str, str]:
    """Return of each group that is absent what is said instead of it."""
    lost = {each["group"]: f"(lost, says entry {each['by']})" for each in log["lost"]}
    return lost | dict.fromkeys(log["missing"], "(missing)")
