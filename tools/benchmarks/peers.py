"""Other ways to keep the same events, measured in the same run: what proving costs, and what it is compared to.

    tlog       the appender as a library, from raw events, requests of 1,000, sealing and indexing beside it
    chained    one INSERT for each event after reading the last row; SHA-256 chain and HMAC; checked by reading it all again
    pymerkle   pymerkle 7 with its SQLite backend: append, root, inclusion proof
    copy       PostgreSQL's COPY of the same rows without any proof: in batches of 5,000, with a unique eventId

All PostgreSQL is the same embedded server with fsync and synchronous_commit on.
"""

from __future__ import annotations

import hashlib
import hmac
import itertools
import json
import sys
import time
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

import psycopg

from benchmarks.generator import feed
from benchmarks.library import inprocess_once
from benchmarks.machine import cpu_seconds, over_runs, tree_of
from benchmarks.service import scratch
from tlog.postgres.server import EmbeddedPostgres

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_COPIED_TOGETHER: Final = 5_000
_KEY: Final = bytes(32)


def peers(seconds: float, runs: int, parent: Path | None) -> dict[str, Any]:
    """Measure every way for about `seconds` each, several times in turns."""
    blocks = list(feed(int(seconds * 90_000)))
    ways = {"tlog": _tlog, "chained": _chained, "copy": _copy}
    if find_spec("pymerkle") is not None:
        ways["pymerkle"] = _pymerkle
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in ways}
    for _ in range(runs):
        for name, way in ways.items():
            print(f"{name} ", end="", file=sys.stderr, flush=True)
            with scratch(parent) as directory:
                found[name].append(way(directory, blocks, seconds))
    print(file=sys.stderr)
    figures: dict[str, Any] = {name: over_runs(each) for name, each in found.items()}
    rates = {name: sorted(each["events_per_second"] for each in runs)[len(runs) // 2] for name, runs in found.items()}
    costs = {name: sorted(each["cpu_us_per_event"] for each in runs)[len(runs) // 2] for name, runs in found.items()}
    figures["times_as_fast"] = {name: round(rates["tlog"] / rate, 2) for name, rate in rates.items()}
    figures["price_of_proving"] = {
        "rate": round(rates["copy"] / rates["tlog"], 2),
        "cpu": round(costs["tlog"] / costs["copy"], 2),
    }
    return {**figures, "pymerkle_missing": "pymerkle" not in ways, "runs": runs}


def _tlog(directory: Path, blocks: Sequence[bytes], seconds: float) -> dict[str, Any]:
    figures = inprocess_once(directory / "log", blocks, seconds, drafted=False)
    return {**figures, "cpu_us_per_event": figures["cpu_us_per_event"]["total"]}


class _Postgres:
    """An embedded server of its own with one connection, and the CPU time it and this process take."""

    def __init__(self, directory: Path) -> None:
        self.server = EmbeddedPostgres(directory / "postgres")
        self.server.create()
        self._directory = directory

    def __enter__(self) -> psycopg.Connection[Any]:
        self.server.start()
        self.connection = psycopg.connect(self.server.conninfo(user="postgres"))
        pid = (self._directory / "postgres" / "cluster" / "postmaster.pid").read_text(encoding="utf-8")
        self._postmaster = int(pid.split("\n")[0])
        return self.connection

    def __exit__(self, *_: object) -> None:
        self.connection.close()
        self.server.stop()

    def cpu(self) -> float:
        """Return seconds so far."""
        sessions = sum(map(cpu_seconds, tree_of(self._postmaster)[1:]))
        return time.process_time() + cpu_seconds(self._postmaster, ended_children=True) + sessions


def _chained(directory: Path, blocks: Sequence[bytes], seconds: float) -> dict[str, Any]:
    server = _Postgres(directory)
    with server as connection:
        connection.execute(
            "CREATE TABLE audit (id bigserial PRIMARY KEY, event_id uuid UNIQUE, event text, previous bytea, hash bytea, "
            "signature bytea)"
        )
        connection.commit()
        used, begun, count = server.cpu(), time.perf_counter(), 0
        for event in itertools.chain.from_iterable(block.split(b"\n") for block in blocks):
            row = connection.execute("SELECT hash FROM audit ORDER BY id DESC LIMIT 1").fetchone()
            previous = row[0] if row else bytes(32)
            digest = hashlib.sha256(previous + event).digest()
            values = (
                json.loads(event)["eventId"],
                event.decode(),
                previous,
                digest,
                hmac.digest(_KEY, digest, "sha256"),
            )
            connection.execute(
                "INSERT INTO audit (event_id, event, previous, hash, signature) VALUES (%s, %s, %s, %s, %s)", values
            )
            connection.commit()
            count += 1
            if time.perf_counter() - begun > seconds:
                break
        figures = _figures(count, time.perf_counter() - begun, server.cpu() - used)
        begun, previous = time.perf_counter(), bytes(32)
        for event, stored, signature in connection.execute("SELECT event, hash, signature FROM audit ORDER BY id"):
            previous = hashlib.sha256(previous + event.encode()).digest()
            assert previous == stored
            assert hmac.compare_digest(hmac.digest(_KEY, stored, "sha256"), signature)
        return {**figures, "verified_per_second": round(count / (time.perf_counter() - begun))}


def _copy(directory: Path, blocks: Sequence[bytes], seconds: float) -> dict[str, Any]:
    """COPY rows with the eventId, the time and the event's text; the eventIds are cut out beforehand."""
    lines = list(itertools.chain.from_iterable(block.split(b"\n") for block in blocks))
    rows = [b"%b\t%b\t%b\n" % (line[12:48], line[63:87], line.replace(b"\\", b"\\\\")) for line in lines]
    batches = [b"".join(rows[start : start + _COPIED_TOGETHER]) for start in range(0, len(rows), _COPIED_TOGETHER)]
    server = _Postgres(directory)
    with server as connection:
        connection.execute(
            "CREATE TABLE audit (id bigserial PRIMARY KEY, event_id uuid UNIQUE, logged_at timestamptz, event text)"
        )
        connection.commit()
        used, begun, count = server.cpu(), time.perf_counter(), 0
        while time.perf_counter() - begun < seconds and count < len(batches):
            with connection.cursor().copy("COPY audit (event_id, logged_at, event) FROM STDIN") as copy:
                copy.write(batches[count])
            connection.commit()
            count += 1
        events = min(count * _COPIED_TOGETHER, len(rows))
        figures = _figures(events, time.perf_counter() - begun, server.cpu() - used)
        row = connection.execute("SELECT pg_total_relation_size('audit'), pg_relation_size('audit')").fetchone()
        assert row is not None
        return {
            **figures,
            "bytes_per_event": round(row[0] / events),
            "bytes_per_event_without_indexes": round(row[1] / events),
        }


def _pymerkle(directory: Path, blocks: Sequence[bytes], seconds: float) -> dict[str, Any]:
    from pymerkle import SqliteTree, verify_inclusion  # noqa: PLC0415 - optional: docs/adr/0004-second-opinion.md

    events = itertools.chain.from_iterable(block.split(b"\n") for block in blocks)
    with SqliteTree(str(directory / "tree.sqlite3")) as tree:
        used, begun, count = time.process_time(), time.perf_counter(), 0
        for event in events:
            tree.append_entry(event)
            count += 1
            if time.perf_counter() - begun > seconds:
                break
        figures = _figures(count, time.perf_counter() - begun, time.process_time() - used)
        together = list(itertools.islice(events, 20_000))
        begun = time.perf_counter()
        tree.append_entries(together)
        figures["together_per_second"] = round(len(together) / max(time.perf_counter() - begun, 1e-9))
        tree.cache_clear()
        begun = time.perf_counter()
        root = tree.get_state()
        figures["root_ms"] = round((time.perf_counter() - begun) * 1e3, 1)
        begun = time.perf_counter()
        proof = tree.prove_inclusion(count // 2, tree.get_size())
        figures["inclusion_ms"] = round((time.perf_counter() - begun) * 1e3, 1)
        verify_inclusion(tree.get_leaf(count // 2), root, proof)
        return {**figures, "entries": tree.get_size()}


def _figures(events: int, seconds: float, used: float) -> dict[str, Any]:
    rate, cost = round(events / seconds), round(used / events * 1e6, 1)
    return {"events": events, "events_per_second": rate, "cpu_us_per_event": cost}
