"""Events through Apache Kafka, against HTTP in the same run: a topic that is filled before, and one that is filled meanwhile.

Everything is on the same machine: broker, PostgreSQL, taker, sealing and indexing, and the producer where there is one.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Self

import psycopg
from confluent_kafka import Producer
from make_events import make_events
from topics import Topics

from benchmarks.appending import HTTP, append_over_http
from benchmarks.machine import ROOT, Usage, children, median_of, memory_mb, per_event
from benchmarks.service import checked, scratch, tlog
from tlog.demo.broker import Broker
from tlog.ingest.kafka import is_ready
from tlog.postgres.server import EmbeddedPostgres

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_TOPIC: Final = "bench"
_PARTITIONS: Final = 4
_LOOK_SECONDS: Final = 0.1
_LONGEST_SECONDS: Final = 600.0


def kafka(seconds: float, events: int, parent: Path | None) -> dict[str, Any]:
    """Measure HTTP, then a topic filled with so many events, then one that a producer fills for so many seconds."""
    over_http = append_over_http(HTTP, seconds, 1, parent)
    rate = median_of(over_http["events_per_second"])
    with scratch(parent) as directory, Broker(directory / "broker", is_ready) as broker:
        topics = Topics(broker.bootstrap)
        topics.make(_TOPIC, _PARTITIONS)
        _produce(broker.bootstrap, events, threading.Event(), None)
        filled = _drain(directory / "filled", broker, events)
        topics.make("produced", _PARTITIONS)
        produced = _while_producing(directory / "produced", broker, seconds)
    return {
        "what": f"{events:,} events in {_PARTITIONS} partitions; broker, PostgreSQL, taker and sealing on the same machine",
        "http_events_per_second": rate,
        "http_cpu_us_per_event": over_http["cpu_us_per_event"],
        "filled": {**filled, "of_http": round(filled["events_per_second"] / rate, 3)},
        "producing": produced,
    }


class _Taking:
    """A log with a taker that runs; use as a context manager."""

    def __init__(self, data: Path, broker: Broker, topic: str) -> None:
        self.data = data
        tlog("init", "--data", data, "--origin", "bench.example.com/kafka")
        command = [sys.executable, "-m", "tlog", "ingest", "kafka", "--data", str(data), "--topic", topic]
        command += ["--bootstrap", broker.bootstrap, "--from-beginning"]
        self.said = data.with_suffix(".said")
        with self.said.open("wb") as said:
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=said, stderr=said)  # noqa: S603 - fixed
        self._postgres = EmbeddedPostgres(data / "postgres")
        self._postgres.start()
        self._admin = psycopg.connect(self._postgres.conninfo(user="postgres"), autocommit=True)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the taker."""
        self._admin.close()
        self.process.terminate()
        self.process.wait(60)
        self._postgres.stop()

    def heads(self) -> dict[str, int]:
        """Return the processes of the log: the taker, and the one that seals and indexes."""
        below = children().get(self.process.pid, [])
        return {"taker": self.process.pid, **({"sealing": below[0]} if below else {})}

    def position(self) -> tuple[int, int, int]:
        """Return how many events are taken, and up to which index entries are sealed and indexed."""
        if self.process.poll() is not None:
            sys.exit(self.said.read_text())
        row = self._admin.execute(
            "SELECT (SELECT coalesce(sum(next_offset), 0)::bigint FROM tlog.intake), "
            "(SELECT coalesce(max(size), 0) FROM tlog.checkpoint), (SELECT coalesce(max(size), 0) FROM tlog.index_epoch)"
        ).fetchone()
        assert row is not None
        return row[0], row[1], row[2]


def _drain(data: Path, broker: Broker, events: int) -> dict[str, Any]:
    with _Taking(data, broker, _TOPIC) as taking:
        deadline = time.monotonic() + _LONGEST_SECONDS
        while taking.position()[0] < events // 10:
            assert time.monotonic() < deadline, "nothing is taken"
            time.sleep(_LOOK_SECONDS)
        usage = Usage({**taking.heads(), "broker": broker.pid}, data)
        first, begun = taking.position()[0], time.perf_counter()
        while (at := taking.position()[0]) < events:
            assert time.monotonic() < deadline, "the topic is not drained"
            time.sleep(_LOOK_SECONDS)
        ended, used = time.perf_counter(), usage.so_far()
        while taking.position()[2] < events:
            assert time.monotonic() < deadline, "not indexed"
            time.sleep(_LOOK_SECONDS)
        indexed = time.perf_counter()
        figures = {
            "events_per_second": round((at - first) / (ended - begun)),
            "events_per_second_to_indexed": round((at - first) / (indexed - begun)),
            "cpu_us_per_event": per_event(used, at - first),
            "memory_mb": round(memory_mb(taking.process.pid), 1),
        }
    return {**figures, "checked": checked(data)}


def _while_producing(data: Path, broker: Broker, seconds: float) -> dict[str, Any]:
    stopping, lags = threading.Event(), list[int]()
    sent = [0]
    with _Taking(data, broker, "produced") as taking:
        producing = threading.Thread(
            target=_produce, args=(broker.bootstrap, 1 << 40, stopping, sent), kwargs={"topic": "produced"}, daemon=True
        )
        producing.start()
        while taking.position()[0] == 0:
            time.sleep(_LOOK_SECONDS)
        usage = Usage({**taking.heads(), "broker": broker.pid}, data)
        first, before, begun = taking.position()[0], sent[0], time.perf_counter()
        while time.perf_counter() < begun + seconds:
            time.sleep(_LOOK_SECONDS)
            lags.append(sent[0] - taking.position()[0])
        elapsed, used, at = time.perf_counter() - begun, usage.so_far(), taking.position()[0]
        stopping.set()
        producing.join()
    return {
        "events_per_second": round((at - first) / elapsed),
        "produced_per_second": round((sent[0] - before) / elapsed),
        "largest_lag": max(lags),
        "cpu_us_per_event": per_event(used, at - first),
    }


def _produce(
    bootstrap: str, events: int, stopping: threading.Event, sent: list[int] | None, topic: str = _TOPIC
) -> None:
    """Send events to all partitions, keyed by number, until there were so many, or it is to stop."""
    producer: Any = Producer({"bootstrap.servers": bootstrap, "linger.ms": "20", "batch.size": "262144"})
    source = make_events(events, seed=5, random_ids=True)
    number = 0
    for block in _blocks(source):
        if stopping.is_set():
            break
        for value in block:
            while True:
                try:
                    producer.produce(topic, value, b"%d" % number)
                    break
                except BufferError:
                    producer.poll(0.05)
            number += 1
        producer.poll(0)
        if sent is not None:
            sent[0] = number
    with contextlib.suppress(KeyboardInterrupt):
        producer.flush(60)


def _blocks(source: Iterator[bytes]) -> Iterator[list[bytes]]:
    while block := list(islice(source, 1_000)):
        yield block
