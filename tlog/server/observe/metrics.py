"""What this process counts, in the Prometheus text format. No personal data, no secrets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tlog.lifecycle.opening import Log
    from tlog.writing.receipts import Receipts


class Metrics:
    """What this process counts."""

    def __init__(self, log: Log) -> None:
        self._registry = CollectorRegistry()
        self._appended = Counter("tlog_events_appended", "Events acknowledged as durable", registry=self._registry)
        self._duplicates = Counter(
            "tlog_events_duplicate", "Events that were in the log already", registry=self._registry
        )
        self._repeats = Counter("tlog_repeats", "Events sent again, by API key", ["key"], registry=self._registry)
        self._conflicts = Counter(
            "tlog_conflicts",
            "Events refused because the log has their eventId, with other content or by another key, by API key",
            ["key"],
            registry=self._registry,
        )
        self._opened = Counter(
            "tlog_buckets_disclosed", "Index buckets whose keys evidence handed out", registry=self._registry
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

    def appended(self, receipts: Receipts, key_id: str) -> None:
        """Count acknowledged events."""
        self._appended.inc(len(receipts) - receipts.duplicates)
        if receipts.duplicates:
            self._duplicates.inc(receipts.duplicates)
            self._repeats.labels(key_id).inc(receipts.duplicates)

    def conflicted(self, events: int, key_id: str) -> None:
        """Count events that were refused because their eventIds are known."""
        self._conflicts.labels(key_id).inc(events)

    def opened(self, buckets: int) -> None:
        """Count buckets that a key had not opened yet today."""
        self._opened.inc(buckets)

    def responded(self, status: int) -> None:
        """Count an answer."""
        counter = self._by_status.get(status)
        if counter is None:
            counter = self._by_status[status] = self._responses.labels(str(status))
        counter.inc()

    def text(self) -> bytes:
        """Return everything in the Prometheus text format."""
        return generate_latest(self._registry)
