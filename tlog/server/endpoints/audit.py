"""The auditor's half: questions about events, personal data included. Every one is journaled before its answer leaves."""

from __future__ import annotations

import asyncio
import time
from contextlib import ExitStack, aclosing, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, get_args

import msgspec
from starlette.responses import Response, StreamingResponse

from tlog.answering import MAX_LIMIT
from tlog.answering.evidence import Mode, check_provable, make_evidence
from tlog.answering.export import EventFormat, export_events
from tlog.answering.prove import checkpoint_of, event_file, prove_inclusion
from tlog.answering.query import DEFAULT_LIMIT, answer_document, event_document, parse_cursor
from tlog.answering.sets import make_set
from tlog.core.evidence import format_evidence
from tlog.core.question import Question, parse_question
from tlog.core.strict import parse_decimal
from tlog.errors import MalformedInputError, NotFoundError, OverloadedError, TooLargeError
from tlog.lifecycle.journal import buckets_opened, journal
from tlog.server.guard.admission import key_of
from tlog.server.guard.fields import NDJSON, accepts
from tlog.server.guard.parameters import query_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
    from contextlib import AbstractContextManager

    from starlette.requests import Request
    from starlette.types import Message, Receive, Scope, Send

    from tlog.answering.query import Answer
    from tlog.server.service import Service
    from tlog.storage.rows import FoundEvent

Result = TypeVar("Result")
# What each endpoint takes.
QUESTION: Final = frozenset(Question.__struct_encode_fields__)
ACCESS_LOG: Final = QUESTION | {"cursor", "limit"}
EVENTS: Final = ACCESS_LOG | {"disclose", "mode", "proof"}
EXPORT: Final = QUESTION | {"disclose", "format", "mode"}
EVENT_PROOF: Final = frozenset({"disclose"})
_PRIVATE: Final = {"Cache-Control": "no-store"}
_MEDIA_TYPES: Final = {"ndjson": NDJSON, "csv": "text/csv; charset=utf-8"}
_SET_SECONDS: Final = 60.0  # to take one bundle of a set
_SETS_AGAIN: Final = 10


async def events(request: Request) -> Response:
    """Return a page of the events that answer a question; `?proof=true` adds the evidence bundle."""
    parameters = _parameters(request)
    proof, mode, disclose = _proof_parameters(parameters)
    question = parse_question(parameters.question)
    if proof:
        check_provable(question, mode)
        _open_buckets(request, question)

    async def work() -> bytes:
        document = answer_document(await _ask(request, parameters, question), question)
        if proof:
            document["evidence"] = (await _evidence(request, question, mode, disclose=disclose)).decode()
        return msgspec.json.encode(document)

    asked = {"ask": "events", **_how(parameters.other)}
    with _bulk(request) if proof or not question.looked_under() else nullcontext():
        return _json(await _journaled(request, "read", asked, work, question, evidence=proof))


async def access_log(request: Request) -> Response:
    """Return a page of who accessed a resource."""
    parameters = _parameters(request)
    resource = {"resourceType": request.path_params["type"], "resourceId": request.path_params["id"]}
    for name in sorted(resource.keys() & parameters.question.keys()):
        message = f"'{name}' is in the path already"
        raise MalformedInputError(message, f"/{name}")
    question = parse_question({**parameters.question, **resource})

    async def work() -> bytes:
        document = answer_document(await _ask(request, parameters, question), question)
        return msgspec.json.encode({**resource, "accessLog": document.pop("events"), **document})

    asked = {"ask": "access-log", **_how(parameters.other)}
    return _json(await _journaled(request, "read", asked, work, question))


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
        work = partial(_export_evidence, request, question, mode, disclose=disclose)
        with ExitStack() as bulk:
            bulk.enter_context(_bulk(request))
            answer = await _journaled(request, "export", asked, work, question, evidence=True)
            return _BulkResponse(answer, bulk.pop_all())
    service: Service = request.app.state.service
    # The first page is found while the question is journaled; the others follow as they are sent.
    stream = export_events(service.log.searcher, question, form, _looking(request))
    with ExitStack() as bulk:
        bulk.enter_context(_bulk(request))
        first = await _journaled(request, "export", asked, stream.__anext__, question)
        held = bulk.pop_all()

    async def pages() -> AsyncIterator[bytes]:
        yield first
        async for page in stream:
            yield page

    # Formulas are neutralised in CSV, so it is not even what was sent: the name says so.
    name = "events.not-evidence.csv" if form == "csv" else "events.ndjson"
    return _BulkResponse(StreamingResponse(pages(), headers=_attachment(name), media_type=_MEDIA_TYPES[form]), held)


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


def _bulk(request: Request) -> AbstractContextManager[None]:
    service: Service = request.app.state.service
    return service.bulk.answer(key_of(request).key_id)


def _looking(request: Request) -> Callable[[int], Awaitable[None]]:
    """Return what is told at how many more entries was looked: the key is charged, and appends get their turn."""
    service: Service = request.app.state.service
    key, begun = key_of(request), time.perf_counter()

    async def looked(entries: int) -> None:
        nonlocal begun
        service.admission.charge_looked(key, entries)
        await service.turns.after_looking(time.perf_counter() - begun)
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
            if not answer.cancel() and not answer.cancelled():
                answer.exception()  # which is raised above, unless it was not even journaled


async def _ask(request: Request, parameters: _Parameters, question: Question) -> Answer:
    service: Service = request.app.state.service
    text = parameters.other.get("limit", str(DEFAULT_LIMIT))
    limit = parse_decimal(text.encode(errors="replace"), "'limit'")
    if not 1 <= limit <= MAX_LIMIT:
        message = f"'limit' is between 1 and {MAX_LIMIT}"
        raise MalformedInputError(message, "/limit")
    cursor = parameters.other.get("cursor")
    return await service.log.searcher.ask(
        question,
        limit=limit,
        cursor=None if cursor is None else parse_cursor(cursor, question),
        looked=_looking(request),
    )


async def _evidence(request: Request, question: Question, mode: Mode, *, disclose: bool) -> bytes:
    service: Service = request.app.state.service
    log = service.log
    async with service.turns.proof():
        bundle = await make_evidence(log.reader, log.verifier, log.bucket_keys, question, mode=mode, disclose=disclose)
        service.admission.charge_looked(key_of(request), len(bundle.entries))
        return format_evidence(bundle)


async def _export_evidence(request: Request, question: Question, mode: Mode, *, disclose: bool) -> Response:
    """Return evidence as one bundle; where that is too small, and the client accepts it, as a set with a bundle in each line."""
    try:
        data = await _evidence(request, question, mode, disclose=disclose)
        return Response(data, headers=_attachment("evidence.json"), media_type="application/json")
    except TooLargeError:
        if not accepts(request.headers, NDJSON):
            raise
    return _SetResponse(request, question, disclose=disclose)


class _BulkResponse(Response):
    """Sends a bulk answer, which is under way until it is sent."""

    def __init__(self, answer: Response, held: ExitStack) -> None:
        super().__init__()
        self._answer = answer
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._held:
            await self._answer(scope, receive, send)


class _SetResponse(StreamingResponse):
    """Makes a set of bundles and sends each as a line; whoever does not take one in time gets no more: a snapshot is held."""

    def __init__(self, request: Request, question: Question, *, disclose: bool) -> None:
        service: Service = request.app.state.service
        log = service.log
        self._looked = _looking(request)
        self._parts = make_set(log.reader, log.verifier, log.bucket_keys, question, disclose=disclose)
        self._sets = service.sets
        super().__init__(self._lines(), headers=_attachment("evidence.ndjson"), media_type=NDJSON)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_in_time(message: Message) -> None:
            async with asyncio.timeout(_SET_SECONDS):
                await send(message)

        if self._sets.locked():
            message = "as many sets of evidence as can be are being sent already; ask again later"
            raise OverloadedError(message, _SETS_AGAIN)
        async with self._sets, aclosing(self._parts):
            # Whatever is wrong is said by an answer of its own: none has begun before the first part is there.
            self._first = await anext(self._parts)
            await super().__call__(scope, receive, send_in_time)

    async def _lines(self) -> AsyncIterator[bytes]:
        yield format_evidence(self._first)
        async for part in self._parts:
            await self._looked(len(part.entries))
            yield format_evidence(part)


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


def _attachment(name: str) -> dict[str, str]:
    return {**_PRIVATE, "Content-Disposition": f'attachment; filename="{name}"'}


def _json(document: bytes) -> Response:
    return Response(document, headers=_PRIVATE, media_type="application/json")
