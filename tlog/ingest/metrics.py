"""What a taker counts, for Prometheus, and whether it takes: a small HTTP server of its own, because a taker has no other.

docs/how-to/monitor.md says what each metric is for. Nothing in them is of a message.
"""

from __future__ import annotations

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from tlog.errors import OperatorError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from prometheus_client.core import Metric

    from tlog.ingest.kafka import Kafka
    from tlog.ingest.taking import Taker

_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_READ_SECONDS: Final = 5.0
_BUCKETS: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


class Metrics(Collector):
    """The metrics of one taker."""

    def __init__(self, kafka: Kafka) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._kafka = kafka
        self._taker: Taker | None = None
        self._registry = CollectorRegistry()
        self._registry.register(self)
        self._seconds = Histogram(
            "tlog_intake_batch_seconds",
            "Seconds from a request to its durable end.",
            registry=self._registry,
            buckets=_BUCKETS,
        )

    def watch(self, taker: Taker) -> None:
        """Show the figures of a taker from now on."""
        taker.tally.took = self._seconds.observe
        self._taker = taker

    def is_ready(self) -> bool:
        """Tell whether messages are taken: a broker answers, and no request has failed that is not mended."""
        return self._taker is not None and self._kafka.connected and self._taker.tally.failing_since is None

    def page(self) -> bytes:
        """Return all metrics in the Prometheus text format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterable[Metric]:
        """Return what the taker and the client library count."""
        connected = GaugeMetricFamily("tlog_intake_connected", "Whether a broker answers.")
        connected.add_metric([], float(self._kafka.connected))
        yield connected
        if self._taker is not None:
            yield from self._figures(self._taker)

    def _figures(self, taker: Taker) -> Iterator[Metric]:
        tally = taker.tally
        messages = CounterMetricFamily("tlog_intake_messages", "Messages that were taken, by fate.", labels=["fate"])
        for fate, number in tally.fates.items():
            messages.add_metric([fate], number)
        fenced = CounterMetricFamily("tlog_intake_fenced", "Requests that began where the stream was not.")
        fenced.add_metric([], tally.fenced)
        letters = GaugeMetricFamily("tlog_intake_dead_letters", "Messages that this process could not log.")
        letters.add_metric([], tally.fates["refused"])
        failing = GaugeMetricFamily("tlog_intake_failing_seconds", "Seconds since requests fail, 0 while they do not.")
        since = tally.failing_since
        failing.add_metric([], 0.0 if since is None else time.monotonic() - since)
        yield from (messages, fenced, letters, failing)
        labelled: dict[str, tuple[str, dict[int, float]]] = {
            "tlog_intake_next_offset": ("The first offset that is not taken durably.", {**tally.next_offset}),
            "tlog_intake_lag": (
                "Offsets that are not fetched yet, transaction markers included.",
                {**self._kafka.lag()},
            ),
            "tlog_intake_stalled_seconds": (
                "Seconds that an open producer transaction holds up.",
                self._kafka.stalled(),
            ),
        }
        for name, (what, values) in labelled.items():
            family = GaugeMetricFamily(name, what, labels=["partition"])
            for partition, value in sorted(values.items()):
                family.add_metric([str(partition)], value)
            yield family


def serve_metrics(metrics: Metrics, host: str, port: int) -> ThreadingHTTPServer:
    """Answer GET /metrics and /readyz in threads of this process; return the server, which has to be shut down.

    Raises:
        OperatorError: the address is taken.

    """

    class Handler(BaseHTTPRequestHandler):
        timeout = _READ_SECONDS

        def do_GET(self) -> None:
            if self.path == "/metrics":
                self._answer(200, metrics.page())
            elif self.path == "/readyz":
                ready = metrics.is_ready()
                self._answer(200 if ready else 503, b"ready\n" if ready else b"not ready\n")
            else:
                self._answer(404, b"not found\n")

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", _TYPE)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def version_string(self) -> str:
            return "tlog"

        def log_message(self, *_: object) -> None:
            """Say nothing of requests."""

    try:
        server = ThreadingHTTPServer((host, port), Handler)
    except OSError as error:
        message = f"cannot listen on {host}, port {port}: {error.strerror}; choose another --metrics"
        raise OperatorError(message) from error
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return server
