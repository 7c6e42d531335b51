"""The auditor's half: questions about events, personal data included. Every one is journaled before its answer leaves."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, get_args

import msgspec
from starlette.responses import Response

from tlog.answering import MAX_LIMIT
from tlog.answering.bulk import EvidenceTask, ExportTask, PageTask
from tlog.answering.evidence import Mode, check_provable
from tlog.answering.evidence import asked as asked_of
from tlog.answering.export import EventFormat
from tlog.answering.prove import checkpoint_of, event_file, prove_inclusion
from tlog.answering.query import DEFAULT_LIMIT, LargePageError, answer_document, event_document, parse_cursor
from tlog.core.question import Question, parse_question
from tlog.core.strict import parse_decimal
from tlog.errors import MalformedInputError, NotFoundError
from tlog.lifecycle.journal import buckets_opened, journal
from tlog.server.endpoints.sending import (
    LARGE,
    PRIVATE,
    Begun,
    BulkResponse,
    LargeResponse,
    Ordered,
    begin_answer,
    headers_of,
    unless_gone,
)
from tlog.server.guard.admission import key_of
from tlog.server.guard.fields import NDJSON, accepts
from tlog.server.guard.parameters import query_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Mapping

    from starlette.requests import Request

    from tlog.answering.evidence import Asked
    from tlog.answering.query import Cursor
    from tlog.server.service import Service
    from tlog.storage.rows import FoundEvent

Result = TypeVar("Result")
MOST_HERE: Final = 512 << 10  # bytes that are read for a page in the process that appends: some milliseconds' work
# What each endpoint takes.
QUESTION: Final = frozenset(Question.__struct_encode_fields__)
ACCESS_LOG: Final = QUESTION | {"cursor", "limit"}
EVENTS: Final = ACCESS_LOG | {"disclose", "mode", "proof"}
EXPORT: Final = QUESTION | {"disclose", "format", "mode"}
EVENT_PROOF: Final = frozenset({"disclose"})


async def events(request: Request) -> Response:
    """Return a page of the events that answer a question; `?proof=true` adds the evidence bundle."""
    parameters = _parameters(request)
    proof, mode, disclose = _proof_parameters(parameters)
    question = parse_question(parameters.question)
    service: Service = request.app.state.service
    asked = {"ask": "events", **_how(parameters.other)}
    if proof:
        check_provable(question, mode)
        _open_buckets(request, question)

    async def page_before_evidence() -> Ordered:
        wanted = _page_task(request, parameters, question)
        page = await _made_here(request, wanted)
        if page is None:
            made = service.maker.answer(wanted, _looking(request))
            page = b"".join([piece async for piece in made if isinstance(piece, bytes)])
        task = EvidenceTask(_evidence(request, question, mode, disclose=disclose), in_json=True)
        return Ordered(task, page[:-1] + b',"evidence":', b"}")

    async def page_of_search() -> Ordered:
        return Ordered(_page_task(request, parameters, question))

    if proof or not question.looked_under():
        order = page_before_evidence if proof else page_of_search
        return await _answer_in_bulk(request, "read", asked, question, order, evidence=proof)
    return await _page(request, parameters, question, asked)


async def access_log(request: Request) -> Response:
    """Return a page of who accessed a resource."""
    parameters = _parameters(request)
    resource = {"resourceType": request.path_params["type"], "resourceId": request.path_params["id"]}
    for name in sorted(resource.keys() & parameters.question.keys()):
        message = f"'{name}' is in the path already"
        raise MalformedInputError(message, f"/{name}")
    question = parse_question({**parameters.question, **resource})
    return await _page(request, parameters, question, {"ask": "access-log", **_how(parameters.other)}, resource)


async def export(request: Request) -> Response:
    """Return everything that answers a question: as a stream of NDJSON or CSV, or as evidence."""
    parameters = _parameters(request)
    form = parameters.other.get("format", "ndjson")
    _, mode, disclose = _proof_parameters(parameters)
    if form not in (*get_args(EventFormat), "evidence"):
        message = f"'format' is one of {', '.join(get_args(EventFormat))}, evidence"
        raise MalformedInputError(message, "/format")
    question = parse_question(parameters.question)
    asked = {"ask": "export", **_how(parameters.other)}
    if form == "evidence":
        check_provable(question, mode)
        _open_buckets(request, question)

    async def order() -> Ordered:
        if form != "evidence":
            return Ordered(ExportTask(question, _keys(request, question), form))
        parts = accepts(request.headers, NDJSON)
        return Ordered(EvidenceTask(_evidence(request, question, mode, disclose=disclose), accepts_parts=parts))

    return await _answer_in_bulk(request, "export", asked, question, order, evidence=form == "evidence", form=form)


async def event(request: Request) -> Response:
    """Return an event as it was sent, and where it is in the log."""
    return _json(msgspec.json.encode(event_document(await find_events(request, {"ask": "event"}))))


async def event_proof(request: Request) -> Response:
    """Return the tlog-proof of an event and its event file; `?disclose=true` includes its personal data."""
    disclose = _flag(query_of(request), "disclose")
    found = await find_events(request, {"ask": "proof", "disclose": disclose})
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


def _keys(request: Request, question: Question) -> dict[str, bytes]:
    service: Service = request.app.state.service
    return question.keys(service.log.bucket_keys.key)


def _evidence(request: Request, question: Question, mode: Mode, *, disclose: bool) -> Asked:
    service: Service = request.app.state.service
    return asked_of(service.log.bucket_keys, question, mode, disclose=disclose)


def _charging(request: Request) -> Callable[[int], Awaitable[None]]:
    """Return what is told how many entries are in a bundle: the key is charged."""
    service: Service = request.app.state.service
    key = key_of(request)

    async def looked(entries: int) -> None:
        service.admission.charge_looked(key, entries)

    return looked


def _looking(request: Request) -> Callable[[int], Awaitable[None]]:
    """Return what is told at how many more entries was looked: the key is charged, and appends get their turn."""
    service: Service = request.app.state.service
    key, begun = key_of(request), time.perf_counter()

    async def looked(entries: int) -> None:
        nonlocal begun
        service.admission.charge_looked(key, entries)
        await service.turns.after_looking(key.key_id, time.perf_counter() - begun)
        begun = time.perf_counter()

    return looked


def _open_buckets(request: Request, question: Question) -> None:
    """Let a key open the buckets whose keys the evidence for a question holds.

    Raises:
        RateLimitedError: it has opened as many today as it may.

    """
    service: Service = request.app.state.service
    buckets = buckets_opened(question, service.log.bucket_keys.bits)
    service.metrics.opened(service.opened.open(key_of(request), buckets))


async def _journaled(
    request: Request,
    action: Literal["read", "export"],
    asked: Mapping[str, object],
    answering: Callable[[], Coroutine[Any, Any, Result]],
    question: Question | None = None,
    *,
    evidence: bool = False,
) -> Result:
    """Journal the question while it is being answered, and return the answer once it is journaled.

    What is not answered in the end, for instance because nothing was found, was asked all the same.
    """
    service: Service = request.app.state.service
    key = key_of(request)
    with service.turns.answer():
        answer = asyncio.create_task(answering())
        try:
            role = f"api-key:{key.key_id}"
            await journal(service.log, key.principal, role, action, asked, question=question, evidence=evidence)
            return await answer
        finally:
            answer.cancel()
            await asyncio.wait([answer])
            if not answer.cancelled():
                answer.exception()  # which is raised above, unless it was not even journaled


async def _made_here(request: Request, task: PageTask) -> bytes | None:
    """Return a page that takes little to make; None if it is to be made in bulk."""
    service: Service = request.app.state.service
    try:
        answer = await service.log.searcher.ask(
            task.question,
            keys=task.keys,
            limit=task.limit,
            cursor=task.cursor,
            looked=_looking(request),
            most=MOST_HERE,
        )
    except LargePageError:
        return None
    return msgspec.json.encode(answer_document(answer, task.question, task.resource))


def _page_task(
    request: Request, parameters: _Parameters, question: Question, resource: dict[str, str] | None = None
) -> PageTask:
    return PageTask(question, _keys(request, question), *_limits(parameters, question), resource)


def _limits(parameters: _Parameters, question: Question) -> tuple[int, Cursor | None]:
    """Return how many events a page has at most, and where it begins."""
    text = parameters.other.get("limit", str(DEFAULT_LIMIT))
    limit = parse_decimal(text.encode(errors="replace"), "'limit'")
    if not 1 <= limit <= MAX_LIMIT:
        message = f"'limit' is between 1 and {MAX_LIMIT}"
        raise MalformedInputError(message, "/limit")
    cursor = parameters.other.get("cursor")
    return limit, None if cursor is None else parse_cursor(cursor, question)


async def _page(
    request: Request,
    parameters: _Parameters,
    question: Question,
    asked: Mapping[str, object],
    resource: dict[str, str] | None = None,
) -> Response:
    """Journal a question under an index key, and return a page: made here if it is small, which most are, else in bulk."""
    service: Service = request.app.state.service
    task = _page_task(request, parameters, question, resource)
    async with AsyncExitStack() as held:

        async def answer() -> bytes | Begun:
            if (page := await _made_here(request, task)) is not None:
                return page
            await service.bulk.wait(key_of(request).key_id)
            held.enter_context(service.bulk.answer(key_of(request).key_id))
            return await unless_gone(request, partial(_begin, request, Ordered(task), held))

        made = await _journaled(request, "read", asked, answer, question)
        if isinstance(made, Begun):
            return BulkResponse(made, held.pop_all(), service.sets, headers_of(made, ""))
        if len(made) < LARGE:
            return _json(made)
        held.enter_context(service.pages.hold(key_of(request).key_id, len(made)))
        return LargeResponse(made, held.pop_all())


async def _begin(request: Request, ordered: Ordered, held: AsyncExitStack) -> Begun:
    """Let a bulk answer begin, to be given up when `held` is closed."""
    service: Service = request.app.state.service
    of_evidence = isinstance(ordered.task, EvidenceTask)
    pieces = service.maker.answer(ordered.task, _charging(request) if of_evidence else _looking(request))
    held.push_async_callback(pieces.aclose)
    return await begin_answer(ordered, pieces)


async def _answer_in_bulk(
    request: Request,
    action: Literal["read", "export"],
    asked: Mapping[str, object],
    question: Question,
    order: Callable[[], Awaitable[Ordered]],
    *,
    evidence: bool,
    form: str = "",
) -> Response:
    """Journal the question while its answer is begun, and return what sends the answer as it is made; `form` of a file."""
    service: Service = request.app.state.service
    async with AsyncExitStack() as held:
        held.enter_context(service.bulk.answer(key_of(request).key_id))

        async def begin() -> Begun:
            return await _begin(request, await order(), held)

        begun = await _journaled(
            request, action, asked, partial(unless_gone, request, begin), question, evidence=evidence
        )
        return BulkResponse(begun, held.pop_all(), service.sets, headers_of(begun, form))


async def find_events(request: Request, question: dict[str, object]) -> FoundEvent:
    """Journal the question about one event, and find it."""
    service: Service = request.app.state.service
    event_id = str(request.path_params["event_id"])
    asked = {**question, "eventId": event_id}
    found = await _journaled(request, "read", asked, partial(service.log.reader.find, [event_id]))
    if not found:
        message = "no event of this eventId is in the log"
        raise NotFoundError(message)
    return found[0]


def _flag(parameters: dict[str, str], name: str) -> bool:
    value = parameters.get(name, "false")
    if value not in ("true", "false"):
        message = f"the query parameter '{name}' is 'true' or 'false'"
        raise MalformedInputError(message, f"/{name}")
    return value == "true"


def _json(document: bytes) -> Response:
    return Response(document, headers=PRIVATE, media_type="application/json")
