"""What this process counts and sees, in the Prometheus text format. No personal data, no secrets.

A request is labelled with the template of its path, never with the path. docs/how-to/monitor.md says what each metric is for.
"""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, Final, Literal

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from tlog.location import version
from tlog.server.observe.distributions import Distribution
from tlog.server.observe.outcomes import Outcomes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tlog.lifecycle.opening import Log
    from tlog.server.observe.distributions import Series
    from tlog.server.observe.figures import Figures
    from tlog.storage.rows import PackedRuns
    from tlog.writing.receipts import Receipts

_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_MILLISECONDS: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1)
_RUN_SIZES: Final = (1, 2, 4, 8, 15, 16)
_BYTES: Final = tuple(float(1 << power) for power in range(10, 26, 2))  # 1 KiB to 16 MiB
_NO_ROUTE: Final = "none"


class Metrics:
    """What this process counts, and what `figures` has seen."""

    def __init__(self, log: Log, figures: Figures) -> None:
        self._figures = figures
        # When each series began: as many series again, and nobody asks.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
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
        self._views = Counter("tlog_pages_views", "Views of pages, by page", ["page"], registry=self._registry)
        self._sign_ins = Counter(
            "tlog_pages_sign_ins",
            "Sign-ins on the pages, by way and result",
            ["way", "result"],
            registry=self._registry,
        )
        self._sessions = Gauge(
            "tlog_pages_sessions", "Sessions that this service has seen within 15 minutes", registry=self._registry
        )
        self._responses = Counter("tlog_http_responses", "HTTP answers by status", ["status"], registry=self._registry)
        self._by_status: dict[int, Counter] = {}
        self._requests = self._distribution(
            "tlog_http_request_seconds",
            "Time from a request's head to the end of its answer, by the template of its path",
            _SECONDS,
            "route",
        )
        self._by_route: dict[str | None, Series] = {}
        self.received = (
            self._distribution("tlog_http_request_bytes", "Sizes of the bodies of appends", _BYTES).series().observe
        )
        """Count the size of the body of an append."""
        commits = self._distribution(
            "tlog_append_commit_seconds", "Time from when a group of appends is taken to when it is committed", _SECONDS
        )
        log.appender.committed = commits.series().observe
        packing = self._distribution("tlog_pack_seconds", "Time to pack a group of appends into runs", _MILLISECONDS)
        self._packing = packing.series()
        sizes = self._distribution("tlog_run_entries", "How many entries each run of the database holds", _RUN_SIZES)
        self._sizes = sizes.series()
        self._parts = Counter(
            "tlog_run_parts", "Rows that runs of entries and of disclosures took", registry=self._registry
        )
        log.appender.packed = self._packed
        self._build = Gauge("tlog_build_info", "Always 1", ["version", "python", "postgres"], registry=self._registry)
        self._postgres: str | None = None
        connections = Gauge(
            "tlog_database_connections",
            "Connections to the database for reading: busy, idle; and requests that wait for one",
            ["state"],
            registry=self._registry,
        )
        self._connections = {state: connections.labels(state) for state in log.reader.connections()}
        self._read_connections = log.reader.connections
        self._witnesses = Gauge(
            "tlog_witness_up", "1 if a witness's last answer was a cosignature", ["witness"], registry=self._registry
        )
        self._background = log.background
        self.outcomes = Outcomes(log)
        self._registry.register(self.outcomes)
        for name, (what, read) in _gauges(log, figures).items():
            Gauge(name, what, registry=self._registry).set_function(read)

    def _distribution(self, name: str, what: str, bounds: Sequence[float], label: str | None = None) -> Distribution:
        made = Distribution(name, what, bounds, label)
        self._registry.register(made)
        return made

    def _packed(self, seconds: float, runs: PackedRuns) -> None:
        self._packing.observe(seconds)
        for count in runs.counts:
            self._sizes.observe(count)
        self._parts.inc(runs.parts)

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

    def viewed(self, page: str) -> None:
        """Count a view of a page."""
        self._views.labels(page).inc()

    def signed_in(self, way: str, result: Literal["success", "failure"]) -> None:
        """Count somebody who signed in, or was refused."""
        self._sign_ins.labels(way, result).inc()

    def count_sessions(self, read: Callable[[], float]) -> None:
        """Read the number of sessions from there; without pages there are none."""
        self._sessions.set_function(read)

    def responded(self, status: int) -> None:
        """Count an answer."""
        counter = self._by_status.get(status)
        if counter is None:
            counter = self._by_status[status] = self._responses.labels(str(status))
        counter.inc()

    def answered(self, route: str | None, seconds: float) -> None:
        """Count how long an answer took; the route is the template of a path, None if there is no such path."""
        series = self._by_route.get(route)
        if series is None:
            series = self._by_route[route] = self._requests.series(route or _NO_ROUTE)
        series.observe(seconds)

    def text(self) -> bytes:
        """Return everything in the Prometheus text format."""
        if self._postgres != self._figures.postgres:
            self._postgres = self._figures.postgres
            self._build.clear()
            self._build.labels(version(), platform.python_version(), self._postgres).set(1)
        for witness, up in self._background.status.witnesses.items():
            self._witnesses.labels(witness).set(up)
        for state, number in self._read_connections().items():
            self._connections[state].set(number)
        return generate_latest(self._registry)


def _age(log: Log, since: float) -> float:
    return max(0.0, log.clock().timestamp() - since) if since else 0.0


def _gauges(log: Log, figures: Figures) -> dict[str, tuple[str, Callable[[], float]]]:
    """Return of each gauge what it is and how it is read."""
    watch = log.database.watch
    return {
        "tlog_events_waiting": ("Events waiting to be appended", lambda: log.appender.waiting_events),
        "tlog_disk_low": ("1 while too little disk is left to append", lambda: bool(watch and watch.trouble)),
        "tlog_sealer_leading": ("1 if this service seals", lambda: log.background.status.sealing),
        "tlog_sealer_waiting": (
            "1 if sealing waits for the database or the signer",
            lambda: float(bool(log.background.status.seal_error)),
        ),
        "tlog_sealed_size": ("Tree size this service sealed last", lambda: log.background.status.sealed),
        "tlog_indexer_leading": ("1 if this service indexes", lambda: log.background.status.indexing),
        "tlog_indexed_size": ("Tree size this service indexed last", lambda: log.background.status.indexed),
        "tlog_witnessed_size": (
            "Tree size whose quorum of witnesses this service gathered last",
            lambda: log.background.status.witnessed,
        ),
        "tlog_unwitnessed_seconds": (
            "For how long a checkpoint has been waiting for its quorum of witnesses; 0 if none waits",
            lambda: _age(log, log.background.status.unwitnessed_since),
        ),
        "tlog_seconds_since_seal": (
            "Age of the newest checkpoint; NaN before the first one",
            figures.seconds_since_seal,
        ),
        "tlog_oldest_pending_seconds": (
            "For how long the oldest entry has been waiting for a checkpoint; 0 if none waits",
            figures.oldest_pending_seconds,
        ),
        "tlog_pending_entries": ("Entries that no checkpoint covers", lambda: figures.pending),
        "tlog_index_lag_entries": ("Entries that no index epoch covers", lambda: figures.index_lag),
        "tlog_disk_free_bytes": ("Bytes that are free on the log's disk", lambda: figures.space.free),
        "tlog_disk_used_bytes": (
            "Bytes that are used on the log's disk",
            lambda: figures.space.total - figures.space.free,
        ),
        "tlog_disk_reserve_bytes": ("Free bytes below which nothing is appended", lambda: figures.space.reserve),
    }
