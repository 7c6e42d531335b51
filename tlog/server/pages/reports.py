"""`/ui/report/…`: who accessed a person's data, and to whom it was disclosed, as pages that a browser prints.

A report renders one evidence bundle, which is in the page: what is printed, and what anybody can check, is the same. Its events
are those that answer in the bundle, none more and none fewer.
"""

from __future__ import annotations

from functools import partial
from hashlib import sha256
from shlex import quote
from typing import TYPE_CHECKING, Any, Final

from starlette.responses import RedirectResponse

from tlog.core.checkpoint import peek_checkpoint
from tlog.core.evidence import parse_evidence
from tlog.errors import MalformedInputError
from tlog.server.endpoints.asking import send_page
from tlog.server.guard.parameters import query_of
from tlog.server.pages.answers import asked_by, bundle_of, events_before
from tlog.server.pages.assets import HEADERS, HTML, render
from tlog.server.pages.rows import ACCESS as ACCESS_COLUMNS
from tlog.server.pages.rows import ACCOUNTING as ACCOUNTING_COLUMNS
from tlog.server.pages.rows import access_cells, accounting, rows_of

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from tlog.server.pages.answers import Asked
    from tlog.server.pages.site import Site

ACCOUNTING: Final = frozenset({"resourceType", "resourceId", "from", "to", "tz", "controller"})
ACCESS: Final = ACCOUNTING | {"names"}
_YEARS: Final = 6  # 45 CFR 164.528 (a)(1): before the date of the request


async def access_report(request: Request) -> Response:
    """Show who accessed a person's data: a form, and with a resource the report."""
    asked = asked_by(request)
    names = query_of(request).get("names") or "names"
    if names not in {"names", "roles"}:
        message = "'names' is 'names' or 'roles'"
        raise MalformedInputError(message, "/names")
    values: dict[str, Any] = {"title": "Access report", "names": names, "columns": ACCESS_COLUMNS, "kind": "access"}
    if (found := await _report(request, asked, "access-report")) is not None:
        report, events = found
        rows = rows_of(events, asked.zone, partial(access_cells, names=names == "names"))
        report |= {
            "rows": [each for each in rows if not each.about_log],
            "asks": [each for each in rows if each.about_log],
        }
        values["report"] = report
    return _page(request, asked, values)


async def accounting_of_disclosures(request: Request) -> Response:
    """Show to whom a person's data was disclosed (45 CFR 164.528): a form, and with a resource the report."""
    asked = asked_by(request)
    if asked.question is not None and "from" not in asked.given:
        today = request.app.state.site.log.clock().astimezone(asked.zone).date()
        years_ago = today.replace(year=today.year - _YEARS, day=min(today.day, 28) if today.month == 2 else today.day)  # noqa: PLR2004 - February
        given = {"controller": query_of(request).get("controller", ""), "from": years_ago.isoformat()}
        return RedirectResponse(asked.link(request.url.path, **given), 303, HEADERS)
    values: dict[str, Any] = {"title": "Accounting of disclosures", "columns": ACCOUNTING_COLUMNS, "kind": "accounting"}
    if (found := await _report(request, asked, "accounting")) is not None:
        report, events = found
        values["report"] = report | accounting(events, asked.zone)._asdict()
    return _page(request, asked, values)


async def _report(request: Request, asked: Asked, page: str) -> tuple[dict[str, Any], list[dict[str, Any]]] | None:
    """Return what all reports say of their bundle, and the events in it, oldest first; None if nobody is named."""
    if asked.question is None:
        return None
    if "resourceId" not in asked.given:
        message = "a report is about one person's data: give the type and the ID of the resource"
        raise MalformedInputError(message, "/resourceId")
    content = await bundle_of(request, asked.question, page)
    bundle = parse_evidence(content)
    checkpoint = peek_checkpoint(bundle.checkpoint.encode())
    events = await events_before(request, asked.question, bundle.end)
    report = {
        "bundle": content.decode(),
        "sha256": sha256(content).hexdigest(),
        "size": checkpoint.size,
        "root": checkpoint.root.hex(),
        "question": [quote(f"{name}={value}") for name, value in asked.question.document().items()],
        "not_looked_at": asked.question.not_looked_at(),
        "count": len(events),
        "unnamed": bundle.disclosure == "none",
    }
    return report, events


def _page(request: Request, asked: Asked, values: dict[str, Any]) -> Response:
    site: Site = request.app.state.site
    common = {
        **site.said(asked.zone),
        "form": dict.fromkeys(ACCOUNTING, "") | asked.given,
        "controller": query_of(request).get("controller", "").strip(),
        "report": None,
    }
    return send_page(request, render("report.html", **{**common, **values}).encode(), HEADERS, HTML)
