"""Health and metrics: is the process alive, should it get traffic, how is it doing. No personal data, no secrets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.responses import PlainTextResponse, Response

from tlog.errors import TlogError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request

    from tlog.appender import Receipt
    from tlog.lifecycle import Log
    from tlog.server.app import Service


class Metrics:
    """What this process counts."""

    def __init__(self, log: Log) -> None:
        self._registry = CollectorRegistry()
        self._appended = Counter("tlog_events_appended", "Events acknowledged as durable", registry=self._registry)
        self._duplicates = Counter(
            "tlog_events_duplicate", "Events that were in the log already", registry=self._registry
        )
        self._responses = Counter("tlog_http_responses", "HTTP answers by status", ["status"], registry=self._registry)
        waiting = Gauge("tlog_events_waiting", "Events waiting to be appended", registry=self._registry)
        waiting.set_function(lambda: log.appender.waiting_events)
        leading = Gauge("tlog_sealer_leading", "1 if this process seals", registry=self._registry)
        leading.set_function(lambda: float(log.sealing.leading))
        sealed = Gauge("tlog_sealed_size", "Tree size this process sealed last", registry=self._registry)
        sealed.set_function(lambda: 0 if log.sealing.last is None else log.sealing.last.size)
        indexing = Gauge("tlog_indexer_leading", "1 if this process indexes", registry=self._registry)
        indexing.set_function(lambda: float(log.indexing.leading))
        indexed = Gauge("tlog_indexed_size", "Tree size this process indexed last", registry=self._registry)
        indexed.set_function(lambda: 0 if log.indexing.last is None else log.indexing.last.size)

    def appended(self, receipts: Sequence[Receipt]) -> None:
        """Count acknowledged events."""
        duplicates = sum(receipt.duplicate for receipt in receipts)
        self._appended.inc(len(receipts) - duplicates)
        self._duplicates.inc(duplicates)

    def responded(self, status: int) -> None:
        """Count an answer."""
        self._responses.labels(str(status)).inc()

    def text(self) -> bytes:
        """Return everything in the Prometheus text format."""
        return generate_latest(self._registry)


async def livez(_: Request) -> Response:
    """Answer as long as the process does."""
    return PlainTextResponse("ok\n")


async def readyz(request: Request) -> Response:
    """Answer 200 if the database answers and a checkpoint is published, 503 otherwise."""
    service: Service = request.app.state.service
    try:
        latest = await service.log.reader.latest_checkpoint()
    except TlogError as error:
        return _ready(503, {"ready": False, "reason": str(error)})
    if latest is None:
        return _ready(503, {"ready": False, "reason": "no checkpoint is published yet"})
    return _ready(200, {"ready": True, "size": latest.size, "leading": service.log.sealing.leading})


async def metrics(request: Request) -> Response:
    """Return the metrics in the Prometheus text format."""
    service: Service = request.app.state.service
    return Response(service.metrics.text(), media_type=CONTENT_TYPE_LATEST)


def _ready(status: int, document: object) -> Response:
    return Response(msgspec.json.encode(document), status, media_type="application/json")
