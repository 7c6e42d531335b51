"""Health and metrics: is the process alive, should it get traffic, how is it doing. No personal data, no secrets.

Everybody may ask, so the answer has codes only; what went wrong, and where, is in the service's log.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.responses import PlainTextResponse, Response

from tlog.errors import TlogError

if TYPE_CHECKING:
    from starlette.requests import Request

    from tlog.server.service import Service


async def livez(_: Request) -> Response:
    """Answer as long as the process does."""
    return PlainTextResponse("ok\n")


async def readyz(request: Request) -> Response:
    """Answer 200 if the database answers and a checkpoint is published, 503 otherwise, and once the service stops."""
    service: Service = request.app.state.service
    if service.stopping:
        return _ready(503, {"ready": False, "reason": "stopping"})
    try:
        latest = await service.log.reader.latest_checkpoint()
    except TlogError:
        return _ready(503, {"ready": False, "reason": "database"})
    if latest is None:
        return _ready(503, {"ready": False, "reason": "no-checkpoint"})
    status = service.log.background.status
    document: dict[str, object] = {"ready": True, "size": latest.size, "leading": status.sealing}
    if status.seal_error:
        document["sealing"] = "waiting"
    if status.index_error:
        document["indexing"] = "stopped"
    watch = service.log.database.watch
    if watch is not None and watch.trouble:
        document["appending"] = "no-space"
    return _ready(200, document)


async def metrics(request: Request) -> Response:
    """Return the metrics in the Prometheus text format."""
    service: Service = request.app.state.service
    return Response(service.metrics.text(), media_type=CONTENT_TYPE_LATEST)


def _ready(status: int, document: object) -> Response:
    return Response(msgspec.json.encode(document), status, media_type="application/json")
