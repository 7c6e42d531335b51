"""What the pages hand out beside themselves: evidence, for the browser to check or for somebody to keep, and exports."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, get_args

from tlog.answering.bulk import EvidenceTask, ExportTask
from tlog.answering.evidence import check_provable
from tlog.answering.export import EventFormat
from tlog.errors import MalformedInputError
from tlog.server.endpoints.asking import answer_in_bulk, evidence_for, keys_for, open_buckets
from tlog.server.endpoints.sending import Ordered
from tlog.server.guard.parameters import query_of
from tlog.server.pages.answers import QUESTION, asked_by, until_indexed

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from tlog.core.question import Question

EVIDENCE: Final = QUESTION | {"control", "disclose", "tz"}
EXPORT: Final = QUESTION | {"format", "tz"}
_SCRIPT: Final = "empty"  # what `Sec-Fetch-Dest` says of a request of a script; a page cannot set it


async def evidence(request: Request) -> Response:
    """Return the bundle that proves the answer to the question in the URL.

    To the page's script it is something to check, and to anybody else a file to keep; the journal says which. Where one bundle
    is too small, what is kept is a tar archive of a set.
    """
    question = _question(request)
    check_provable(question, "answer")
    open_buckets(request, question)
    disclose = query_of(request).get("disclose", "false")
    if disclose not in {"true", "false"}:
        message = "'disclose' is 'true' or 'false'"
        raise MalformedInputError(message, "/disclose")
    checks = request.headers.get("sec-fetch-dest") == _SCRIPT
    asked = {"ask": "check" if checks else "page", "page": "evidence", "disclose": disclose}
    if checks:
        await until_indexed(request)

    async def order() -> Ordered:
        wanted = evidence_for(request, question, "answer", disclose=disclose == "true")
        return Ordered(EvidenceTask(wanted, accepts_parts=not checks))

    action: Literal["read", "export"] = "read" if checks else "export"
    return await answer_in_bulk(
        request, action, asked, question, order, evidence=True, form="evidence", archive=not checks
    )


async def export(request: Request) -> Response:
    """Return all events that answer the question in the URL, as NDJSON or CSV: no evidence."""
    question = _question(request)
    form = query_of(request).get("format", "ndjson")
    if form not in get_args(EventFormat):
        message = f"'format' is one of {', '.join(get_args(EventFormat))}"
        raise MalformedInputError(message, "/format")

    async def order() -> Ordered:
        return Ordered(ExportTask(question, keys_for(request, question), form))

    asked = {"ask": "page", "page": "export", "format": form}
    return await answer_in_bulk(request, "export", asked, question, order, evidence=False, form=form)


def _question(request: Request) -> Question:
    question = asked_by(request).question
    if question is None:
        message = "nothing is asked: name a resource, an actor, an operation, an action or a time"
        raise MalformedInputError(message)
    return question
