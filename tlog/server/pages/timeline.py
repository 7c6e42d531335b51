"""`/ui/resource/TYPE/ID`: what became of one resource, with old and new values side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tlog.server.endpoints.asking import send_page
from tlog.server.pages.answers import TABLE, Layout, asked_by, table_of
from tlog.server.pages.assets import HEADERS, HTML, render
from tlog.server.pages.rows import TIMELINE as COLUMNS
from tlog.server.pages.rows import timeline_cells

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from tlog.server.pages.site import Site

TIMELINE: Final = TABLE | {"from", "to"}
_LAYOUT: Final = Layout("timeline", COLUMNS, timeline_cells)


async def timeline(request: Request) -> Response:
    """Show the events of a resource, and those that name it."""
    resource = {"resourceType": request.path_params["type"], "resourceId": request.path_params["id"]}
    asked = asked_by(request, **resource)
    assert asked.question is not None  # noqa: S101 - the path asks; for the type checker
    site: Site = request.app.state.site
    values = {
        **site.said(asked.zone),
        "title": "Timeline",
        "resource": resource,
        "form": {"from": "", "to": ""} | asked.given,
        "answer": await table_of(request, asked, asked.question, _LAYOUT),
        "links": [
            ("Ask about it", asked.link("/ui", **resource)),
            ("Access report", asked.link("/ui/report/access", **resource)),
        ],
    }
    return send_page(request, render("timeline.html", **values).encode(), HEADERS, HTML)
