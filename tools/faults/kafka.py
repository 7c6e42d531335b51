"""The gate `kafka`: takers, the broker and PostgreSQL killed again and again while two takers are rivals for one topic.

What counts is how often a message is logged: an eventId stands in a log once anyway, so rows would hide a message that was taken
twice. Each intake says which range of messages it took, and that is compared with the messages that the topic has.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import random
import subprocess
import sys
import threading
import time
import uuid
from bisect import bisect_left
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import psycopg
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from stored import read_entries
from topics import Topics

from faults.gate import NotHereError
from faults.service import ROOT, Source, kill_postgres, make_log, run_tlog
from tlog.core.entry import IntakeEntry, parse_entry
from tlog.demo.broker import Broker
from tlog.errors import EmbeddedPostgresError, NotCheckedError
from tlog.ingest.kafka import is_ready
from tlog.postgres.server import EmbeddedPostgres

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from faults.gate import Figures, Run

_TOPIC: Final = "audit-events"
_PARTITIONS: Final = 2
_SECONDS: Final = 240.0
# Both takers believe to lead: then only the fence keeps them apart.
_RIVAL: Final = """
import asyncio
from tlog.storage.intake import IntakeStore
async def lead(self):
    return True
IntakeStore.lead = lead
"""
_UNFENCED: Final = """
from tlog.storage.queries import QUERIES
QUERIES["advance_intakes"] = QUERIES["advance_intakes"].replace("AND intake.next_offset = moved.from_offset", "")
"""
# The offset in a transaction of its own, and a process that is killed between the two now and then.
_APART: Final = """
import os
import random
from tlog.ingest import serving
from tlog.storage import appending, intake
serving.check_table = lambda *_: None  # which would refuse to go on after the first kill
async def apart(self, steps):
    if steps:
        connection = await self.apart_database.connect("tlog_appender")
        async with connection:
            await intake.advance(connection, steps)
        if random.random() < 0.1:
            os._exit(9)
appending.Append.advance = apart
connected = appending.AppendStore._connected
async def with_database(self):
    appending.Append.apart_database = self._database
    return await connected(self)
appending.AppendStore._connected = with_database
"""
_MAIN: Final = """
from tlog.cli import app
app.main()
"""


def measure(run: Run) -> Figures:
    """Kill takers, broker and PostgreSQL under rivals and aborted transactions; then count each message."""
    kills = Counter(taker=run.count(8, 50), broker=run.count(1, 10), postgres=run.count(1, 10))
    return _Trial(run, _RIVAL).run(kills)


def measure_unfenced(run: Run) -> Figures:
    """Do the same without the condition that fences."""
    return _Trial(run, _RIVAL + _UNFENCED).run(Counter(taker=4))


def measure_apart(run: Run) -> Figures:
    """Do the same with the offset in a transaction of its own, one taker at a time."""
    return _Trial(run, _APART, rivals=1).run(Counter(taker=4))


class _Trial:
    """One topic, one log, and what is done to both."""

    def __init__(self, run: Run, program: str, rivals: int = 2) -> None:
        self._run = run
        self._program = program + _MAIN
        self._rivals = rivals
        self._data = run.directory / "data"
        self._postgres = EmbeddedPostgres(self._data / "postgres")
        self._rng = random.Random(1)  # noqa: S311 - repeatable chance, no secrets
        self._ended: list[int] = []
        self._takers: dict[subprocess.Popen[bytes], Path] = {}  # and what each says
        self._numbers = itertools.count()

    def run(self, kills: Counter[str]) -> Figures:
        """Return what happened."""
        with contextlib.ExitStack() as stack:
            try:
                broker = stack.enter_context(Broker(self._run.directory / "broker", is_ready))
            except NotCheckedError as error:
                raise NotHereError(str(error)) from None
            stack.enter_context(_log_of_ones_own(self._data))
            self._postgres.start()
            topics = Topics(broker.bootstrap)
            topics.make(_TOPIC, _PARTITIONS)
            producing = _Producing(broker.bootstrap)
            self._begin(broker.bootstrap, "--from-beginning")
            self._wait_opened()
            victims = [victim for victim, number in kills.items() for _ in range(number)]
            self._rng.shuffle(victims)
            for number, victim in enumerate(victims):
                self._keep_two(broker.bootstrap)
                self._wait_at_work(broker.bootstrap)
                time.sleep(self._rng.uniform(0, 0.5))
                self._kill(victim, broker)
                self._run.progress(number + 1, len(victims) + 1)
            producing.end()
            self._keep_two(broker.bootstrap)
            committed = _read_topic(broker.bootstrap)
            caught_up = self._wait(broker.bootstrap, committed)
            for taker in self._takers:
                taker.terminate()
                taker.wait(60)
            return {"kills": len(victims), "caught_up": caught_up, **self._figures(committed, producing)}

    def _begin(self, bootstrap: str, *options: str) -> None:
        command = [sys.executable, "-c", self._program, "ingest", "kafka", "--data", str(self._data)]
        command += ["--bootstrap", bootstrap, "--topic", _TOPIC, "--sealing", "elsewhere", "--linger", "0.05"]
        command += ["--batch", str(self._rng.choice([17, 50, 113])), *options]
        path = self._run.directory / f"taker-{next(self._numbers)}.said"
        with path.open("wb") as said:
            self._takers[subprocess.Popen(command, cwd=ROOT, stdout=said, stderr=said)] = path

    def _keep_two(self, bootstrap: str) -> None:
        """Start a taker for each that has ended, as a supervisor does."""
        self._ended += [code for taker in self._takers if (code := taker.poll()) is not None]
        self._takers = {taker: said for taker, said in self._takers.items() if taker.poll() is None}
        while len(self._takers) < self._rivals:
            self._begin(bootstrap)

    def _kill(self, victim: str, broker: Broker) -> None:
        if victim == "taker":
            taker = self._rng.choice([*self._takers])
            taker.kill()
            taker.wait()
        elif victim == "postgres":
            kill_postgres(self._data)
            time.sleep(0.3)
            self._start_postgres()
        else:
            broker.kill()
            time.sleep(0.3)
            broker.start()

    def _start_postgres(self) -> None:
        """Start PostgreSQL, which the takers that live try as well: one start may meet another one's."""
        deadline = time.monotonic() + _SECONDS
        while True:
            try:
                self._postgres.start_again()
            except (EmbeddedPostgresError, OSError):
                assert time.monotonic() < deadline, "PostgreSQL does not start"
                time.sleep(0.5)
            else:
                return

    def _wait_at_work(self, bootstrap: str) -> None:
        """Wait until each taker has begun, or ended, and the log gets more: what is killed at its start shows nothing."""
        deadline, before = time.monotonic() + _SECONDS, sum(self._next_offsets().values())
        while not (
            all(taker.poll() is not None or b'"positions"' in said.read_bytes() for taker, said in self._takers.items())
            and sum(self._next_offsets().values()) > before
        ):
            assert time.monotonic() < deadline, "the takers take nothing"
            if all(taker.poll() is not None for taker in self._takers):
                self._keep_two(bootstrap)
            time.sleep(0.1)

    def _wait_opened(self) -> None:
        deadline = time.monotonic() + _SECONDS
        while len(self._next_offsets()) < _PARTITIONS:
            assert time.monotonic() < deadline, "no partition was opened"
            time.sleep(0.1)

    def _wait(self, bootstrap: str, committed: dict[tuple[int, int], str]) -> int:
        """Wait until all that was committed is taken; return whether it is."""
        ends: dict[int, int] = {}
        for partition, offset in committed:
            ends[partition] = max(offset + 1, ends.get(partition, 0))
        deadline = time.monotonic() + _SECONDS
        while time.monotonic() < deadline:
            at = self._next_offsets()
            if all(at.get(partition, 0) >= end for partition, end in ends.items()):
                return 1
            self._keep_two(bootstrap)
            time.sleep(0.3)
        return 0

    def _next_offsets(self) -> dict[int, int]:
        deadline = time.monotonic() + _SECONDS
        while True:
            try:
                with psycopg.connect(self._postgres.conninfo(user="postgres")) as admin:
                    return dict(admin.execute("SELECT partition, next_offset FROM tlog.intake").fetchall())
            except psycopg.OperationalError:
                assert time.monotonic() < deadline, "PostgreSQL does not answer"
                time.sleep(0.2)

    def _figures(self, committed: dict[tuple[int, int], str], producing: _Producing) -> Figures:
        with psycopg.connect(self._postgres.conninfo(user="postgres")) as admin:
            event_ids = admin.execute("SELECT event_id::text FROM tlog.leaf ORDER BY index").fetchall()
            rows = [(event_id, entry) for (event_id,), entry in zip(event_ids, read_entries(admin), strict=True)]
        logged = {event_id for event_id, _ in rows if event_id is not None}
        offsets = {
            number: sorted(at for partition, at in committed if partition == number) for number in range(_PARTITIONS)
        }
        receipts = Counter[tuple[int, int]]()
        for event_id, data in rows:
            entry = parse_entry(data) if event_id is None else None
            if isinstance(entry, IntakeEntry):
                for part in entry.intake.partitions:
                    own = offsets[part.partition]
                    within = own[bisect_left(own, part.start) : bisect_left(own, part.end)]
                    receipts.update((part.partition, offset) for offset in within)
        checked = run_tlog("fsck", "--data", self._data)
        return {
            "committed": len(committed),
            "aborted": len(producing.aborted),
            "duplicate_receipts": sum(number - 1 for number in receipts.values()),
            "missing": len(set(committed.values()) - logged),
            "without_receipt": len(committed) - len(receipts),
            "aborted_logged": len(logged & producing.aborted),
            "fenced": self._ended.count(75),
            "other_ends": sum(code not in {75, -9} for code in self._ended),
            "fsck": checked.returncode,
        }


@contextlib.contextmanager
def _log_of_ones_own(data: Path) -> Iterator[None]:
    """Make a log; end its server after the body."""
    make_log(data)
    try:
        yield
    finally:
        kill_postgres(data)


class _Producing:
    """Producers that go on until they are told to end: one of plain messages, one of transactions, half of them aborted."""

    def __init__(self, bootstrap: str) -> None:
        self.aborted: set[str] = set()
        self._bootstrap = bootstrap
        self._source = Source(seed=7)
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=each, daemon=True) for each in (self._plainly, self._transactions)]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """End, once the broker has all that was sent."""
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _plainly(self) -> None:
        producer: Any = Producer({"bootstrap.servers": self._bootstrap, "enable.idempotence": "true", "log_level": 0})
        while not self._ended.wait(0.02):
            for value in self._source.take(20):
                while True:
                    try:
                        producer.produce(_TOPIC, value, uuid.uuid4().bytes)
                        break
                    except BufferError:
                        producer.poll(0.1)
            producer.poll(0)
        while producer.flush(5):
            pass

    def _transactions(self) -> None:
        while not self._ended.is_set():
            # A broker that was killed may leave a producer that can only be made anew.
            try:
                self._some_transactions()
            except KafkaException:
                self._ended.wait(0.5)

    def _some_transactions(self) -> None:
        settings = {"bootstrap.servers": self._bootstrap, "transactional.id": "gate", "log_level": 0}
        producer: Any = Producer({**settings, "transaction.timeout.ms": "10000"})
        producer.init_transactions(30)
        commits = True
        while not self._ended.wait(0.05):
            values = self._source.take(10)
            ids = {json.loads(value)["eventId"] for value in values}
            if not commits:
                self.aborted |= ids
            producer.begin_transaction()
            for value in values:
                producer.produce(_TOPIC, value, uuid.uuid4().bytes)
            (producer.commit_transaction if commits else producer.abort_transaction)(30)
            commits = not commits


def _read_topic(bootstrap: str) -> dict[tuple[int, int], str]:
    """Return the eventId of each committed message by its place, read by a consumer of its own."""
    settings = {"group.id": "gate-reader", "enable.auto.commit": "false", "enable.partition.eof": "true"}
    consumer: Any = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",
            **settings,
        }
    )
    consumer.assign([TopicPartition(_TOPIC, number, 0) for number in range(_PARTITIONS)])
    found: dict[tuple[int, int], str] = {}
    for message in _messages(consumer):
        found[message.partition(), message.offset()] = json.loads(message.value())["eventId"]
    consumer.close()
    return found


def _messages(consumer: Any) -> Iterator[Any]:  # noqa: ANN401 - of an untyped library
    """Yield messages until each partition has been at its end for some seconds, so that no transaction is open any more."""
    silent = time.monotonic()
    while time.monotonic() < silent + 15:
        for message in consumer.consume(1_000, 1.0):
            if message.error() is None:
                silent = time.monotonic()
                yield message
