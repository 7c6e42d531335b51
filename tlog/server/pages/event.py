"""`/ui/event/ID`: one event, whole, with its proof and what a verifier finds step by step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import msgspec

from tlog.answering.prove import checkpoint_of, event_file, prove_inclusion
from tlog.answering.query import event_document
from tlog.core.checkpoint import peek_checkpoint
from tlog.errors import NotFoundError
from tlog.server.endpoints.asking import find_event, send_page
from tlog.server.pages.assets import HEADERS, HTML, render
from tlog.server.pages.rows import EVENTS, event_cells

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
    html = render(
        "event.html",
        **site.said(site.zone),
        title="Event",
        row=dict(zip(EVENTS, event_cells(document, site.zone), strict=True)),
        event=document,
        members=[(name, _text(value)) for name, value in document.items() if name != "log"],
        proof=await _proof(site, found),
        file=event_file(found, disclose=True).decode(),
        about=_about(document["resource"]),
    )
    return send_page(request, html.encode(), HEADERS, HTML)


async def _proof(site: Site, found: FoundEvent) -> dict[str, Any] | None:
    """Return the event's proof in the newest checkpoint, None if that does not cover it yet."""
    try:
        checkpoint = await checkpoint_of(site.log.reader, None)
        proof = await prove_inclusion(site.log.reader, found.leaf, checkpoint)
    except NotFoundError:
        return None
    size = peek_checkpoint(checkpoint.note).size
    return {"text": proof.text().decode(), "size": size, "hashes": len(proof.hashes), "note": checkpoint.note.decode()}


def _about(resource: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return links to more about the resource of an event, none if its ID is lost."""
    if "id" not in resource:
        return []
    asked = urlencode({"resourceType": resource["type"], "resourceId": resource["id"], "journal": "show"})
    path = f"/ui/resource/{quote(resource['type'], safe='')}/{quote(resource['id'], safe='')}"
    return [("Timeline of this resource", path), ("Who did or asked something about this resource", f"/ui?{asked}")]


def _text(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
