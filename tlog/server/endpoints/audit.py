"""The auditor's half: questions about events, personal data included. Every one is journaled before its answer leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, get_args

import msgspec
from starlette.responses import Response

from tlog.answering import MAX_LIMIT
from tlog.answering.bulk import EvidenceTask, ExportTask
from tlog.answering.evidence import Mode, check_provable
from tlog.answering.export import EventFormat
from tlog.answering.prove import checkpoint_of, event_file, prove_inclusion
from tlog.answering.query import DEFAULT_LIMIT, event_document, parse_cursor
from tlog.core.question import Question, parse_question
from tlog.core.strict import parse_decimal
from tlog.errors import MalformedInputError, NotYoursError
from tlog.server.endpoints.asking import (
    answer_in_bulk,
    answer_page,
    evidence_for,
    find_event,
    keys_for,
    made_here,
    made_in_bulk,
    open_buckets,
    page_of,
)
from tlog.server.endpoints.sending import JSON, PRIVATE, Ordered
from tlog.server.guard.admission import key_of
from tlog.server.guard.fields import NDJSON, accepts
from tlog.server.guard.parameters import query_of

if TYPE_CHECKING:
    from starlette.requests import Request

    from tlog.answering.bulk import PageTask
    from tlog.answering.query import Cursor
    from tlog.server.service import Service

# What each endpoint takes.
QUESTION: Final = frozenset(Question.__struct_encode_fields__)
ACCESS_LOG: Final = QUESTION | {"cursor", "journal", "limit"}
EVENTS: Final = ACCESS_LOG | {"disclose", "mode", "proof"}
EXPORT: Final = QUESTION | {"disclose", "format", "mode"}
EVENT_PROOF: Final = frozenset({"disclose"})


async def events(request: Request) -> Response:
    """Return a page of the events that answer a question; `?proof=true` adds the evidence bundle."""
    parameters = _parameters(request)
    proof, mode, disclose = _proof_parameters(parameters)
    question = parse_question(parameters.question)
    asked = {"ask": "events", **_how(parameters.other)}
    if proof:
        check_provable(question, mode)
        open_buckets(request, question)

    wanted = _page_task(request, parameters, question)

    async def page_before_evidence() -> Ordered:
        page = await made_here(request, wanted) or await made_in_bulk(request, wanted)
        task = EvidenceTask(evidence_for(request, question, mode, disclose=disclose), in_json=True)
        return Ordered(task, page[:-1] + b',"evidence":', b"}")

    async def page_of_search() -> Ordered:
        return Ordered(wanted)

    if proof or not question.looked_under():
        order = page_before_evidence if proof else page_of_search
        return await answer_in_bulk(request, "read", asked, question, order, evidence=proof)
    return await answer_page(request, asked, wanted)


async def access_log(request: Request) -> Response:
    """Return a page of who accessed a resource."""
    parameters = _parameters(request)
    resource = {"resourceType": request.path_params["type"], "resourceId": request.path_params["id"]}
    for name in sorted(resource.keys() & parameters.question.keys()):
        message = f"'{name}' is in the path already"
        raise MalformedInputError(message, f"/{name}")
    question = parse_question({**parameters.question, **resource})

    asked = {"ask": "access-log", **_how(parameters.other)}
    return await answer_page(request, asked, _page_task(request, parameters, question, resource))


async def export(request: Request) -> Response:
    """Return everything that answers a question: as a stream of NDJSON or CSV, or as evidence."""
    parameters = _parameters(request)
    form = parameters.other.get("format", "ndjson")
    if form != "evidence" and key_of(request).about is not None:
        raise NotYoursError
    _, mode, disclose = _proof_parameters(parameters)
    if form not in (*get_args(EventFormat), "evidence"):
        message = f"'format' is one of {', '.join(get_args(EventFormat))}, evidence"
        raise MalformedInputError(message, "/format")
    question = parse_question(parameters.question)
    asked = {"ask": "export", **_how(parameters.other)}
    if form == "evidence":
        check_provable(question, mode)
        open_buckets(request, question)

    async def order() -> Ordered:
        if form != "evidence":
            return Ordered(ExportTask(question, keys_for(request, question), form))
        parts = accepts(request.headers, NDJSON)
        return Ordered(EvidenceTask(evidence_for(request, question, mode, disclose=disclose), accepts_parts=parts))

    return await answer_in_bulk(request, "export", asked, question, order, evidence=form == "evidence", form=form)


async def event(request: Request) -> Response:
    """Return an event as it was sent, and where it is in the log."""
    return _json(msgspec.json.encode(event_document(await find_event(request, {"ask": "event"}))))


async def event_proof(request: Request) -> Response:
    """Return the tlog-proof of an event and its event file; `?disclose=true` includes its personal data."""
    disclose = _flag(query_of(request), "disclose")
    found = await find_event(request, {"ask": "proof", "disclose": disclose})
    service: Service = request.app.state.service
    latest = await checkpoint_of(service.log.reader, None)
    proof = await prove_inclusion(service.log.reader, found.leaf, latest)
    document = {
        "eventId": found.leaf.event_id,
        "index": proof.index,
        "proof": proof.text().decode(),
        "eventFile": event_file(found, disclose=disclose).decode(),
    }
    return _json(msgspec.json.encode(document))


class _Parameters(msgspec.Struct):
    """The query parameters: those that are the question, and those about the answer's form."""

    question: dict[str, str]
    other: dict[str, str]


def _parameters(request: Request) -> _Parameters:
    given = query_of(request)
    other = {name: value for name, value in given.items() if name not in QUESTION}
    return _Parameters({name: value for name, value in given.items() if name in QUESTION}, other)


def _proof_parameters(parameters: _Parameters) -> tuple[bool, Mode, bool]:
    modes: dict[str, Mode] = {"answer": "answer", "count": "count"}
    mode = modes.get(parameters.other.get("mode", "answer"))
    if mode is None:
        message = "'mode' is 'answer' or 'count'"
        raise MalformedInputError(message, "/mode")
    return _flag(parameters.other, "proof"), mode, _flag(parameters.other, "disclose")


def _how(other: dict[str, str]) -> dict[str, str]:
    """Return what the journal says of how a question was asked.

    A cursor is left out: it holds a hash of the question, by which a guess of whom that was about could be confirmed.
    """
    return {name: value for name, value in other.items() if name != "cursor"}


def _page_task(
    request: Request, parameters: _Parameters, question: Question, resource: dict[str, str] | None = None
) -> PageTask:
    """Return the page that is asked for; of a resource's access log, if there is one."""
    journal = parameters.other.get("journal", "show")
    if journal not in {"leave-out", "show"}:
        message = "'journal' is 'leave-out' or 'show'"
        raise MalformedInputError(message, "/journal")
    return page_of(request, question, *_limits(parameters, question), resource, journal=journal == "show")


def _limits(parameters: _Parameters, question: Question) -> tuple[int, Cursor | None]:
    """Return how many events a page has at most, and where it begins."""
    text = parameters.other.get("limit", str(DEFAULT_LIMIT))
    limit = parse_decimal(text.encode(errors="replace"), "'limit'")
    if not 1 <= limit <= MAX_LIMIT:
        message = f"'limit' is between 1 and {MAX_LIMIT}"
        raise MalformedInputError(message, "/limit")
    cursor = parameters.other.get("cursor")
    return limit, None if cursor is None else parse_cursor(cursor, question)


def _flag(parameters: dict[str, str], name: str) -> bool:
    value = parameters.get(name, "false")
    if value not in ("true", "false"):
        message = f"the query parameter '{name}' is 'true' or 'false'"
        raise MalformedInputError(message, f"/{name}")
    return value == "true"


def _json(document: bytes) -> Response:
    return Response(document, headers=PRIVATE, media_type=JSON)
