"""`/ui/health`: how the log is doing, and what it says itself of starts, stops, standstills and checks, proved as any answer."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import msgspec

from tlog.core.question import parse_question
from tlog.server.endpoints.asking import send_page
from tlog.server.pages.answers import TABLE, Asked, Layout, asked_by, table_of
from tlog.server.pages.assets import HEADERS, HTML, render
from tlog.server.pages.zones import shown

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from starlette.requests import Request
    from starlette.responses import Response

    from tlog.server.observe.figures import Figures
    from tlog.server.pages.rows import Event
    from tlog.server.pages.site import Site

HEALTH: Final = TABLE
COLUMNS: Final = ("Logged", "What", "Report")
NOT_COMPUTED: Final = "not computed yet"
_QUESTION: Final = parse_question({"control": "outcome"})


async def health(request: Request) -> Response:
    """Show figures of this service, and the outcomes in the log."""
    zone = asked_by(request).zone
    site: Site = request.app.state.site
    answer = await table_of(
        request, Asked({}, zone, _QUESTION, {}), _QUESTION, Layout("health", COLUMNS, outcome_cells)
    )
    checked = next((row.cells for row in answer["rows"] if row.cells[1] == "checked"), None)
    values = {
        **site.said(zone),
        "title": "Health",
        "answer": answer,
        "links": [],
        "figures": _figures(site.service.figures),
        "checked": checked and (checked[0], msgspec.json.decode(checked[2])),
    }
    return send_page(request, render("health.html", **values).encode(), HEADERS, HTML)


def outcome_cells(outcome: Event, zone: ZoneInfo) -> tuple[str, str, str]:
    """Return the cells of an outcome, as `GET /v1/audit/events` has it."""
    entry: dict[str, Any] = outcome["entry"]
    return shown(entry["loggedAt"], zone), entry["kind"], msgspec.json.encode(entry["report"]).decode()


def _figures(figures: Figures) -> list[tuple[str, str]]:
    """Return what this service has seen of the log, in words."""
    seal = figures.seconds_since_seal()
    seen = bool(figures.postgres)
    return [
        ("Age of the newest checkpoint", NOT_COMPUTED if math.isnan(seal) else f"{seal:,.0f} s"),
        ("Entries that no checkpoint covers", f"{figures.pending:,}" if seen else NOT_COMPUTED),
        (
            "The oldest of them has been waiting for",
            f"{figures.oldest_pending_seconds():,.0f} s" if seen else NOT_COMPUTED,
        ),
        ("Entries that are not indexed", f"{figures.index_lag:,}" if seen else NOT_COMPUTED),
    ]
