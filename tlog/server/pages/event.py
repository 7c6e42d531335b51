"""`/ui/event/ID`: one event, whole, with its proof and what a verifier finds step by step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import msgspec

from tlog.answering.prove import checkpoint_of, event_file, prove_inclusion
from tlog.answering.query import event_document
from tlog.core.checkpoint import peek_checkpoint
from tlog.errors import NotFoundError
from tlog.server.endpoints.asking import find_event
from tlog.server.pages.assets import page
from tlog.server.pages.rows import COLUMNS, row_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request
    from starlette.responses import Response

    from tlog.server.pages.site import Site
    from tlog.storage.rows import FoundEvent


async def event(request: Request) -> Response:
    """Show an event."""
    site: Site = request.app.state.site
    found = await find_event(request, {"ask": "page", "page": "event"})
    document: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(event_document(found)))
    return page(
        "event.html",
        title="Event",
        origin=site.log.verifier.name,
        vkey=site.log.verifier.vkey(),
        zone=site.zone.key,
        row=dict(zip(COLUMNS, row_of(document, site.zone).cells, strict=True)),
        event=document,
        members=[(name, _text(value)) for name, value in document.items() if name != "log"],
        proof=await _proof(site, found),
        file=event_file(found, disclose=True).decode(),
        who_asked=_who_asked(document["resource"]),
    )


async def _proof(site: Site, found: FoundEvent) -> dict[str, Any] | None:
    """Return the event's proof in the newest checkpoint, None if that does not cover it yet."""
    try:
        checkpoint = await checkpoint_of(site.log.reader, None)
        proof = await prove_inclusion(site.log.reader, found.leaf, checkpoint)
    except NotFoundError:
        return None
    size = peek_checkpoint(checkpoint.note).size
    return {"text": proof.text().decode(), "size": size, "hashes": len(proof.hashes), "note": checkpoint.note.decode()}


def _who_asked(resource: Mapping[str, str]) -> str:
    """Return the URL of the question who asked about a resource, "" if its ID is lost."""
    if "id" not in resource:
        return ""
    return "/ui?" + urlencode({"resourceType": resource["type"], "resourceId": resource["id"], "journal": "show"})


def _text(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
