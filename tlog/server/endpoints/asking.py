"""What all questions about events have in common: journaled before the answer leaves, charged, answered in bulk if large."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack, ExitStack, aclosing
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

import msgspec
from starlette.responses import Response

from tlog.answering.bulk import EvidenceTask, PageTask
from tlog.answering.evidence import asked as asked_of
from tlog.answering.query import LargePageError, answer_document
from tlog.answering.withholding import Own
from tlog.core.pseudonym import related_ident
from tlog.core.strict import encode_base64url
from tlog.errors import NotFoundError
from tlog.lifecycle.journal import BUCKET_TYPE, USER_TYPE, buckets_opened, journal
from tlog.server.endpoints.sending import (
    JSON,
    LARGE,
    PRIVATE,
    Begun,
    BulkResponse,
    LargeResponse,
    Ordered,
    archived,
    begin_answer,
    headers_of,
    unless_gone,
)
from tlog.server.guard.about import check_question, members_of
from tlog.server.guard.admission import key_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping

    from starlette.requests import Request

    from tlog.answering.bulk import Head, Task
    from tlog.answering.evidence import Asked, Mode
    from tlog.answering.query import Cursor
    from tlog.core.question import Question
    from tlog.server.service import Service
    from tlog.storage.rows import FoundEvent

Result = TypeVar("Result")
MOST_HERE: Final = 512 << 10  # bytes that are read for a page in the process that appends: some milliseconds' work


def keys_for(request: Request, question: Question) -> dict[str, bytes]:
    """Return the index keys of a question."""
    service: Service = request.app.state.service
    return question.keys(service.log.bucket_keys.key)


def own_of(request: Request, question: Question) -> Own | None:
    """Return what alone whoever asks may be shown of an answer to a question, None for all of it."""
    service: Service = request.app.state.service
    about, bucket_keys = key_of(request).about, service.log.bucket_keys
    if about is None:
        return None
    asked = members_of(about)
    named = [(asked.get("resourceType", USER_TYPE), about[-1])]
    # Which buckets evidence about them opened is theirs to know.
    named += [(BUCKET_TYPE, str(bucket)) for bucket in buckets_opened(question, bucket_keys.bits)]
    keys = [encode_base64url(bucket_keys.key(related_ident(*each))).decode() for each in named]
    return Own(asked.get("resourceType", ""), keys)


def page_of(
    request: Request,
    question: Question,
    limit: int,
    cursor: Cursor | None,
    resource: dict[str, str] | None = None,
    *,
    journal: bool = True,
) -> PageTask:
    """Return the page of an answer that is asked for; of a resource's access log, if there is one."""
    own = own_of(request, question)
    return PageTask(question, keys_for(request, question), limit, cursor, resource, own, journal)


def evidence_for(request: Request, question: Question, mode: Mode, *, disclose: bool) -> Asked:
    """Return what evidence for a question is made of; see `tlog.answering.evidence.asked`."""
    service: Service = request.app.state.service
    own = own_of(request, question)
    return asked_of(service.log.bucket_keys, question, mode, disclose=disclose, own=own)


class _Search:
    """Is told of what is looked at for one answer: the key is charged, and appends get their turn."""

    def __init__(self, request: Request) -> None:
        """Begin."""
        self._service: Service = request.app.state.service
        self._key = key_of(request)
        self._since = time.perf_counter()

    async def charge(self, entries: int) -> None:
        """Charge the key for so many more entries, as those of a bundle."""
        self._service.admission.charge_looked(self._key, entries)

    async def looked(self, entries: int) -> None:
        """Charge the key for so many more entries, and pause for as long as to look at them deserves."""
        await self.charge(entries)
        await self._service.turns.after_looking(self._key.key_id, time.perf_counter() - self._since)
        self._since = time.perf_counter()

    async def sent(self, size: int) -> None:
        """Pause after so many bytes of a bulk answer; the time to send them is none of the time to look."""
        await self._service.turns.after_sending(self._key.key_id, size)
        self._since = time.perf_counter()


def open_buckets(request: Request, question: Question) -> None:
    """Let a key open the buckets whose keys the evidence for a question holds.

    Raises:
        RateLimitedError: it has opened as many today as it may.

    """
    service: Service = request.app.state.service
    buckets = buckets_opened(question, service.log.bucket_keys.bits)
    service.metrics.opened(service.opened.open(key_of(request), buckets))


async def journaled(
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

    Raises:
        NotYoursError: the key is for one person's answers, and this is not about them.
        OverloadedError: it cannot be journaled now.

    """
    service: Service = request.app.state.service
    key = key_of(request)
    check_question(key, question)
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


async def made_here(request: Request, task: PageTask) -> bytes | None:
    """Return a page that takes little to make; None if it is to be made in bulk."""
    service: Service = request.app.state.service
    try:
        answer = await service.log.searcher.ask(
            task.question,
            keys=task.keys,
            limit=task.limit,
            cursor=task.cursor,
            looked=_Search(request).looked,
            most=MOST_HERE,
            journal=task.journal,
        )
    except LargePageError:
        return None
    return msgspec.json.encode(answer_document(answer, task.question, task.resource, task.own))


async def _pieces(request: Request, task: Task) -> AsyncGenerator[Head | bytes]:
    """Yield the head of a bulk answer and its pieces, as they are made; the key is charged for what is looked at."""
    service: Service = request.app.state.service
    search = _Search(request)
    looked = search.charge if isinstance(task, EvidenceTask) else search.looked
    async with aclosing(service.maker.answer(task, looked)) as pieces:
        async for piece in pieces:
            yield piece
            await search.sent(len(piece) if isinstance(piece, bytes) else 0)


async def made_in_bulk(request: Request, task: Task) -> bytes:
    """Return all of an answer that is made in bulk; whoever calls holds its place among these."""
    async with aclosing(_pieces(request, task)) as pieces:
        return b"".join([piece async for piece in pieces if isinstance(piece, bytes)])


async def answer_page(request: Request, asked: Mapping[str, object], task: PageTask) -> Response:
    """Journal a question under an index key, and return a page: made here if it is small, which most are, else in bulk."""
    service: Service = request.app.state.service
    async with AsyncExitStack() as held:

        async def answer() -> bytes | Begun:
            if (page := await made_here(request, task)) is not None:
                return page
            await service.bulk.wait(key_of(request).key_id)
            held.enter_context(service.bulk.answer(key_of(request).key_id))
            return await unless_gone(request, partial(_begin, request, Ordered(task), held))

        made = await journaled(request, "read", asked, answer, task.question)
        if isinstance(made, Begun):
            return BulkResponse(made, held.pop_all(), service.sets, headers_of(made, ""))
        return send_page(request, made)


async def _begin(request: Request, ordered: Ordered, held: AsyncExitStack) -> Begun:
    """Let a bulk answer begin, to be given up when `held` is closed."""
    pieces = _pieces(request, ordered.task)
    held.push_async_callback(pieces.aclose)
    return await begin_answer(ordered, pieces)


async def answer_in_bulk(
    request: Request,
    action: Literal["read", "export"],
    asked: Mapping[str, object],
    question: Question,
    order: Callable[[], Awaitable[Ordered]],
    *,
    evidence: bool,
    form: str = "",
    archive: bool = False,
) -> Response:
    """Journal the question while its answer is begun, and return what sends the answer as it is made.

    Args:
        request: who asks.
        action: what the journal says of it.
        asked: how it was asked, for the journal.
        question: what was asked.
        order: returns what is to be made.
        evidence: whether bucket keys are handed out.
        form: of the file that it is.
        archive: whether a set is sent as a tar archive, and not as NDJSON.

    """
    service: Service = request.app.state.service
    async with AsyncExitStack() as held:
        held.enter_context(service.bulk.answer(key_of(request).key_id))

        async def begin() -> Begun:
            return await _begin(request, await order(), held)

        begun = await journaled(
            request, action, asked, partial(unless_gone, request, begin), question, evidence=evidence
        )
        if archive and begun.head.parts:
            begun = begun._replace(pieces=archived(begun.pieces))
            held.push_async_callback(begun.pieces.aclose)
        headers = headers_of(begun, form, "archive" if archive else "parts")
        return BulkResponse(begun, held.pop_all(), service.sets, headers)


def send_page(
    request: Request, document: bytes, headers: Mapping[str, str] = PRIVATE, media_type: str = JSON
) -> Response:
    """Return a page as a response; a large one counts as memory until it is sent.

    Raises:
        OverloadedError: as many as can be are being sent.

    """
    if len(document) < LARGE:
        return Response(document, headers=headers, media_type=media_type)
    service: Service = request.app.state.service
    with ExitStack() as held:
        held.enter_context(service.pages.hold(key_of(request).key_id, len(document)))
        return LargeResponse(document, held.pop_all(), headers, media_type)


async def find_event(request: Request, asked: Mapping[str, object]) -> FoundEvent:
    """Journal the question about the one event that the path names, and find it.

    Raises:
        NotFoundError: it is not in the log.

    """
    service: Service = request.app.state.service
    event_id = str(request.path_params["event_id"])
    reading = partial(service.log.reader.find, [event_id])
    found = await journaled(request, "read", {**asked, "eventId": event_id}, reading)
    if not found:
        message = "no event of this eventId is in the log"
        raise NotFoundError(message)
    return found[0]
