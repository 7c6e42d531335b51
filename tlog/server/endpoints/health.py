"""Health and metrics: is the process alive, should it get traffic, how is it doing. No personal data, no secrets.

Everybody may ask, so the answer has codes only; what went wrong, and where, is in the service's log.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.responses import PlainTextResponse, Response

if TYPE_CHECKING:
    from starlette.requests import Request

    from tlog.server.service import Service


async def livez(_: Request) -> Response:
    """Answer as long as the process does."""
    return PlainTextResponse("ok\n")


async def readyz(request: Request) -> Response:
    """Answer 200 if the database answers, a checkpoint is published and appends go on; else, and once the service stops, 503."""
    service: Service = request.app.state.service
    document = {"ready": False, "reason": "stopping"} if service.stopping else service.ready.document()
    return Response(msgspec.json.encode(document), 200 if document["ready"] else 503, media_type="application/json")


async def metrics(request: Request) -> Response:
    """Return the metrics in the Prometheus text format."""
    service: Service = request.app.state.service
    return Response(service.metrics.text(), media_type=CONTENT_TYPE_LATEST)
