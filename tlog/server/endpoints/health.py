"""Health and metrics: is the process alive, should it get traffic, how is it doing. No personal data, no secrets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.responses import PlainTextResponse, Response

from tlog.errors import TlogError

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request

    from tlog.lifecycle.opening import Log
    from tlog.server.app import Service
    from tlog.writing.receipts import Receipts


class Metrics:
    """What this process counts."""

    def __init__(self, log: Log) -> None:
        self._registry = CollectorRegistry()
        self._appended = Counter("tlog_events_appended", "Events acknowledged as durable", registry=self._registry)
        self._duplicates = Counter(
            "tlog_events_duplicate", "Events that were in the log already", registry=self._registry
        )
        self._responses = Counter("tlog_http_responses", "HTTP answers by status", ["status"], registry=self._registry)
        self._by_status: dict[int, Counter] = {}
        waiting = Gauge("tlog_events_waiting", "Events waiting to be appended", registry=self._registry)
        waiting.set_function(lambda: log.appender.waiting_events)
        watch = log.database.watch
        gauges: dict[str, tuple[str, Callable[[], float]]] = {
            "tlog_disk_low": ("1 while too little disk is left to append", lambda: bool(watch and watch.trouble)),
            "tlog_sealer_leading": ("1 if this service seals", lambda: log.background.status.sealing),
            "tlog_sealer_waiting": (
                "1 if sealing waits for the database or the signer",
                lambda: float(bool(log.background.status.seal_error)),
            ),
            "tlog_sealed_size": ("Tree size this service sealed last", lambda: log.background.status.sealed),
            "tlog_indexer_leading": ("1 if this service indexes", lambda: log.background.status.indexing),
            "tlog_indexed_size": ("Tree size this service indexed last", lambda: log.background.status.indexed),
        }
        for name, (what, read) in gauges.items():
            Gauge(name, what, registry=self._registry).set_function(read)

    def appended(self, receipts: Receipts) -> None:
        """Count acknowledged events."""
        self._appended.inc(len(receipts) - receipts.duplicates)
        if receipts.duplicates:
            self._duplicates.inc(receipts.duplicates)

    def responded(self, status: int) -> None:
        """Count an answer."""
        counter = self._by_status.get(status)
        if counter is None:
            counter = self._by_status[status] = self._responses.labels(str(status))
        counter.inc()

    def text(self) -> bytes:
        """Return everything in the Prometheus text format."""
        return generate_latest(self._registry)


async def livez(_: Request) -> Response:
    """Answer as long as the process does."""
    return PlainTextResponse("ok\n")


async def readyz(request: Request) -> Response:
    """Answer 200 if the database answers and a checkpoint is published, 503 otherwise, and once the service stops."""
    service: Service = request.app.state.service
    if service.stopping:
        return _ready(503, {"ready": False, "reason": "the service is stopping"})
    try:
        latest = await service.log.reader.latest_checkpoint()
    except TlogError as error:
        return _ready(503, {"ready": False, "reason": str(error)})
    if latest is None:
        return _ready(503, {"ready": False, "reason": "no checkpoint is published yet"})
    status = service.log.background.status
    document: dict[str, object] = {"ready": True, "size": latest.size, "leading": status.sealing}
    if status.seal_error:
        document["sealing"] = status.seal_error
    if status.index_error:
        document["indexing"] = status.index_error
    watch = service.log.database.watch
    if watch is not None and watch.trouble:
        document["appending"] = watch.trouble
    return _ready(200, document)


async def metrics(request: Request) -> Response:
    """Return the metrics in the Prometheus text format."""
    service: Service = request.app.state.service
    return Response(service.metrics.text(), media_type=CONTENT_TYPE_LATEST)


def _ready(status: int, document: object) -> Response:
    return Response(msgspec.json.encode(document), status, media_type="application/json")
