"""Answers for pages: asked by whoever is signed in, journaled, and laid out as a table that says what about it can be proved."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlencode

import msgspec

from tlog.answering import MAX_LIMIT
from tlog.answering.bulk import EvidenceTask
from tlog.answering.evidence import check_provable
from tlog.answering.query import parse_cursor
from tlog.core.question import Question, hashed_members, parse_question
from tlog.errors import MalformedInputError, OverloadedError
from tlog.lifecycle.journal import RESOURCE_TYPE
from tlog.server.endpoints.asking import evidence_for, journaled, made_here, made_in_bulk, open_buckets, page_of
from tlog.server.endpoints.sending import unless_gone
from tlog.server.guard.admission import key_of
from tlog.server.guard.parameters import query_of
from tlog.server.pages.opening import path_of
from tlog.server.pages.rows import rows_of
from tlog.server.pages.zones import in_utc, zone_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from zoneinfo import ZoneInfo

    from starlette.requests import Request

    from tlog.answering.query import Cursor
    from tlog.server.pages.rows import Cell, Event
    from tlog.server.pages.site import Site
    from tlog.server.service import Service

QUESTION: Final = frozenset(Question.__struct_encode_fields__) - {"control"}
_MEMBERS: Final = QUESTION | {"control"}
TABLE: Final = frozenset({"cursor", "journal", "tz"})  # how an answer is shown
_ROWS: Final = 500  # of a page
_INDEXED_SECONDS: Final = 2.5


class Asked(NamedTuple):
    """A question as a page is asked it: typed, in the zone of its times, and as the log is asked it; None if nothing is.

    `of_path` is what the path of the page asks beside its query.
    """

    given: dict[str, str]
    zone: ZoneInfo
    question: Question | None
    of_path: dict[str, str]

    def link(self, path: str, **more: str) -> str:
        """Return the URL of another page about the same question."""
        return f"{path}?{urlencode({**self.given, 'tz': self.zone.key, **more})}"


def asked_by(request: Request, **of_path: str) -> Asked:
    """Return what a request asks, by its query and by what its path says; fields of a form that were left empty ask nothing.

    Raises:
        MalformedInputError: naming the member.

    """
    site: Site = request.app.state.site
    parameters = {name: value.strip() for name, value in query_of(request).items()}
    zone = zone_of(parameters["tz"]) if parameters.get("tz") else site.zone
    given = {name: value for name, value in parameters.items() if value and name in _MEMBERS}
    members = in_utc(given, zone) | of_path
    return Asked(given, zone, parse_question(members) if members else None, of_path)


class Layout(NamedTuple):
    """How an answer is laid out: under which name `static/page.js` knows it, what its columns are, and what makes its cells."""

    name: str
    columns: Sequence[str]
    cells: Callable[[Event, ZoneInfo], Sequence[Cell]]


async def table_of(request: Request, asked: Asked, question: Question, layout: Layout) -> dict[str, Any]:
    """Journal a question, and return its answer as templates have it; questions about the log are one line unless asked for.

    Raises:
        MalformedInputError: `journal` or `cursor` is wrong.
        OverloadedError: it cannot be journaled now.

    """
    journal, cursor = (query_of(request).get(name, "") for name in ("journal", "cursor"))
    if journal not in {"", "show"}:
        message = "'journal' is 'show', or left out"
        raise MalformedInputError(message, "/journal")
    begin = parse_cursor(cursor, question) if cursor else None
    asking = partial(unless_gone, request, partial(_document, request, question, _ROWS, begin))
    document = await journaled(request, "read", {"ask": "page", "page": layout.name}, asking, question)
    rows = rows_of(document["events"], asked.zone, layout.cells)
    folded = 0 if journal or question.resourceType == RESOURCE_TYPE else sum(row.about_log for row in rows)
    path, following, typed = path_of(request), document["next"], asked.given | asked.of_path
    return {
        "layout": layout.name,
        "columns": layout.columns,
        "rows": [row for row in rows if not (folded and row.about_log)],
        "count": len(rows),
        "folded": folded,
        "unfold": asked.link(path, journal="show"),
        "size": document["asOf"]["size"],
        "question": [(name, typed.get(name, ""), value) for name, value in question.document().items()],
        "hashed": hashed_members(typed, question),
        "provable": bool(question.looked_under()),
        "following": asked.link(path, cursor=following, **({"journal": journal} if journal else {}))
        if following
        else "",
        "not_looked_at": document["notLookedAt"],
    }


async def _document(request: Request, question: Question, limit: int, cursor: Cursor | None) -> dict[str, Any]:
    """Return a page of the answer in the shape of `GET /v1/audit/events`."""
    service: Service = request.app.state.service
    task = page_of(request, question, limit, cursor)
    content = await made_here(request, task) if question.looked_under() else None
    if content is None:
        await service.bulk.wait(key_of(request).key_id)
        with service.bulk.answer(key_of(request).key_id):
            content = await made_in_bulk(request, task)
    document: dict[str, Any] = msgspec.json.decode(content)
    return document


async def bundle_of(request: Request, question: Question, page: str) -> bytes:
    """Journal a question for a report, and return the evidence bundle that the report renders, personal data included.

    Raises:
        MalformedInputError: evidence cannot be about this.
        TooLargeError: one bundle is too small for it.
        RateLimitedError: the key has opened as many buckets today as it may.
        OverloadedError: it cannot be journaled, or not be made, now.

    """
    service: Service = request.app.state.service
    check_provable(question, "answer")
    open_buckets(request, question)
    await until_indexed(request)
    task = EvidenceTask(evidence_for(request, question, "answer", disclose=True))
    with service.bulk.answer(key_of(request).key_id):
        asked = {"ask": "report", "page": page}
        make = partial(unless_gone, request, partial(made_in_bulk, request, task))
        return await journaled(request, "read", asked, make, question, evidence=True)


async def events_before(request: Request, question: Question, end: int) -> list[dict[str, Any]]:
    """Return all events of an answer whose entries are below index `end`, oldest first; the question is journaled already."""
    found: list[dict[str, Any]] = []
    cursor: Cursor | None = None
    while True:
        document = await _document(request, question, MAX_LIMIT, cursor)
        found += document["events"]
        if document["next"] is None:
            return [each for each in reversed(found) if each["log"]["index"] < end]
        cursor = parse_cursor(document["next"], question)


async def until_indexed(request: Request) -> None:
    """Wait a moment until what is logged now is indexed and sealed, so that evidence is as of now."""
    site: Site = request.app.state.site
    with suppress(OverloadedError):  # then the evidence is as of a moment ago, and says so
        await site.log.wait_indexed((await site.log.reader.state()).size, _INDEXED_SECONDS)
