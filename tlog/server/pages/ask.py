"""`/ui`: a question, its answer as rows, and what has been proved about it. The form's URL is the question."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, get_args

from tlog.core.event import Action, Outcome
from tlog.server.endpoints.asking import send_page
from tlog.server.guard.about import members_of
from tlog.server.guard.admission import key_of
from tlog.server.pages.answers import QUESTION, TABLE, Layout, asked_by, table_of
from tlog.server.pages.assets import HEADERS, HTML, render
from tlog.server.pages.rows import EVENTS, event_cells

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from tlog.server.pages.site import Site

ASK: Final = QUESTION | TABLE
_LAYOUT: Final = Layout("ask", EVENTS, event_cells)
_CHOICES: Final = {"actions": get_args(Action), "outcomes": get_args(Outcome)}
_SELDOM: Final = ("loggedFrom", "loggedTo", "sourceId", "actorType")


async def ask(request: Request) -> Response:
    """Show the form, and below it the answer to the question in the URL, if there is one."""
    asked = asked_by(request)
    site: Site = request.app.state.site
    about = key_of(request).about
    values: dict[str, Any] = {
        **site.said(asked.zone),
        "title": "Ask",
        "form": dict.fromkeys(QUESTION, "") | (asked.given or ({} if about is None else members_of(about))),
        "more": any(name in asked.given for name in _SELDOM),
        "answer": None,
        **_CHOICES,
    }
    if asked.question is not None:
        values["answer"] = await table_of(request, asked, asked.question, _LAYOUT)
        evidence = [("Evidence", asked.link("/ui/evidence", disclose="true"))]
        exports = [
            ("NDJSON (no evidence)", asked.link("/ui/export", format="ndjson")),
            ("CSV (no evidence)", asked.link("/ui/export", format="csv")),
        ]
        values["links"] = (evidence if values["answer"]["provable"] else []) + (exports if about is None else [])
    return send_page(request, render("ask.html", **values).encode(), HEADERS, HTML)
