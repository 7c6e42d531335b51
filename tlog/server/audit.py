"""The auditor's half: events and their proofs, personal data included. Every question is journaled before its answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from starlette.responses import Response

from tlog.errors import MalformedInputError, NotFoundError
from tlog.prove import checkpoint_of, event_file, prove_inclusion
from tlog.query import event_document
from tlog.server.journal import journal

if TYPE_CHECKING:
    from starlette.requests import Request

    from tlog.server.app import Service
    from tlog.storage.log import FoundEvent

_PRIVATE: Final = {"Cache-Control": "no-store"}


async def event(request: Request) -> Response:
    """Return an event as it was sent, and where it is in the log."""
    found, _ = await _ask(request, {"ask": "event"})
    return _json(event_document(found))


async def event_proof(request: Request) -> Response:
    """Return the tlog-proof of an event and its event file; `?disclose=true` includes its personal data."""
    disclose = _flag(request, "disclose")
    found, service = await _ask(request, {"ask": "proof", "disclose": disclose})
    latest = await checkpoint_of(service.log.reader, None)
    proof = await prove_inclusion(service.log.reader, found.leaf, latest)
    document = {
        "eventId": found.leaf.event_id,
        "index": proof.index,
        "proof": proof.text().decode(),
        "eventFile": event_file(found, disclose=disclose).decode(),
    }
    return _json(document)


async def _ask(request: Request, question: dict[str, object]) -> tuple[FoundEvent, Service]:
    """Check the key, journal the question, and find the event it is about; what is not found was asked all the same."""
    service: Service = request.app.state.service
    key = await service.authenticator.check(request.headers.get("authorization"), "read")
    event_id = str(request.path_params["event_id"])
    await journal(service.log, key, "read", {**question, "eventId": event_id})
    found = await service.log.reader.find([event_id])
    if not found:
        message = "no event of this eventId is in the log"
        raise NotFoundError(message)
    return found[0], service


def _flag(request: Request, name: str) -> bool:
    value = request.query_params.get(name, "false")
    if value not in ("true", "false"):
        message = f"the query parameter '{name}' is 'true' or 'false'"
        raise MalformedInputError(message)
    return value == "true"


def _json(document: object) -> Response:
    return Response(msgspec.json.encode(document), headers=_PRIVATE, media_type="application/json")
