"""`/ui`: a question, its answer as rows, and what has been proved about it. The form's URL is the question."""

from __future__ import annotations

from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, get_args
from urllib.parse import urlencode

import msgspec

from tlog.answering.bulk import PageTask
from tlog.answering.query import answer_document, parse_cursor
from tlog.core.event import Action, Outcome
from tlog.core.question import Question, hashed_members, parse_question
from tlog.errors import MalformedInputError
from tlog.lifecycle.journal import RESOURCE_TYPE
from tlog.server.endpoints.asking import journaled, keys_for, looking, send_page
from tlog.server.endpoints.sending import unless_gone
from tlog.server.guard.admission import key_of
from tlog.server.guard.parameters import query_of
from tlog.server.pages.assets import HEADERS, HTML, render
from tlog.server.pages.rows import COLUMNS, row_of
from tlog.server.pages.zones import in_utc, zone_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from zoneinfo import ZoneInfo

    from starlette.requests import Request
    from starlette.responses import Response

    from tlog.answering.query import Cursor
    from tlog.server.pages.site import Site
    from tlog.server.service import Service

QUESTION: Final = frozenset(Question.__struct_encode_fields__) - {"control"}
ASK: Final = QUESTION | {"cursor", "journal", "tz"}
_ROWS: Final = 500
# What the form offers; the other members are asked for by whoever knows their names.
_CHOICES: Final = {"actions": get_args(Action), "outcomes": get_args(Outcome)}


class Asked(NamedTuple):
    """A question as a page is asked it: as typed, the zone of its times, and as the log is asked it; None if nothing is."""

    given: dict[str, str]
    zone: ZoneInfo
    question: Question | None

    def link(self, path: str, **more: str) -> str:
        """Return the URL of another page about the same question."""
        return f"{path}?{urlencode({**self.given, 'tz': self.zone.key, **more})}"


def asked_by(request: Request) -> Asked:
    """Return what a request asks; fields of the form that were left empty ask nothing.

    Raises:
        MalformedInputError: naming the member.

    """
    site: Site = request.app.state.site
    parameters = {name: value.strip() for name, value in query_of(request).items()}
    zone = zone_of(parameters["tz"]) if parameters.get("tz") else site.zone
    given = {name: value for name, value in parameters.items() if value and name in QUESTION}
    return Asked(given, zone, parse_question(in_utc(given, zone)) if given else None)


async def ask(request: Request) -> Response:
    """Show the form, and below it the answer to the question in the URL, if there is one."""
    asked = asked_by(request)
    journal, cursor = (query_of(request).get(name, "") for name in ("journal", "cursor"))
    if journal not in {"", "show"}:
        message = "'journal' is 'show', or left out"
        raise MalformedInputError(message, "/journal")
    site: Site = request.app.state.site
    values: dict[str, Any] = {
        "title": "Ask",
        "origin": site.log.verifier.name,
        "vkey": site.log.verifier.vkey(),
        "zone": asked.zone.key,
        "form": dict.fromkeys(QUESTION, "") | asked.given,
        "more": any(name in asked.given for name in ("loggedFrom", "loggedTo", "sourceId", "actorType")),
        "answer": None,
        **_CHOICES,
    }
    if asked.question is not None:
        begin = parse_cursor(cursor, asked.question) if cursor else None
        asking = partial(unless_gone, request, partial(_answer, request, asked.question, begin))
        document = await journaled(request, "read", {"ask": "page", "page": "ask"}, asking, asked.question)
        values["answer"] = _shown(asked, asked.question, document, unfolded=bool(journal))
    return send_page(request, render("ask.html", **values).encode(), HEADERS, HTML)


async def _answer(request: Request, question: Question, cursor: Cursor | None) -> dict[str, Any]:
    """Return a page of the answer in the shape of `GET /v1/audit/events`."""
    service: Service = request.app.state.service
    if question.looked_under():
        answer = await service.log.searcher.ask(question, limit=_ROWS, cursor=cursor, looked=looking(request))
        content = msgspec.json.encode(answer_document(answer, question))
    else:
        task = PageTask(question, keys_for(request, question), _ROWS, cursor)
        with service.bulk.answer(key_of(request).key_id):
            async with aclosing(service.maker.answer(task, looking(request))) as pieces:
                content = b"".join([piece async for piece in pieces if isinstance(piece, bytes)])
    document: dict[str, Any] = msgspec.json.decode(content)
    return document


def _shown(asked: Asked, question: Question, document: Mapping[str, Any], *, unfolded: bool) -> dict[str, Any]:
    """Return what the template says of an answer. Questions about the log itself are one line, unless they are asked for."""
    rows = [row_of(event, asked.zone) for event in document["events"]]
    folded = 0 if unfolded or question.resourceType == RESOURCE_TYPE else sum(row.about_log for row in rows)
    following = document["next"]
    return {
        "columns": COLUMNS,
        "rows": [row for row in rows if not (folded and row.about_log)],
        "count": len(rows),
        "folded": folded,
        "unfold": asked.link("/ui", journal="show"),
        "size": document["asOf"]["size"],
        "question": [(name, asked.given.get(name, ""), value) for name, value in question.document().items()],
        "hashed": hashed_members(asked.given, question),
        "provable": bool(question.looked_under()),
        "following": asked.link("/ui", cursor=following, **({"journal": "show"} if unfolded else {}))
        if following
        else "",
        "not_looked_at": document["notLookedAt"],
        "evidence": asked.link("/ui/evidence", disclose="true"),
        "ndjson": asked.link("/ui/export", format="ndjson"),
        "csv": asked.link("/ui/export", format="csv"),
    }
