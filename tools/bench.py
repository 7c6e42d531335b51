"""Honest benchmarks: a real server on a real PostgreSQL with its defaults, fsync on, everything sealed and indexed.

    python tools/bench.py load --data DIR --events 10000000     append events with the appender as a library
    python tools/bench.py query --data DIR                      questions and evidence over HTTP while appends go on

Every figure is printed with what it was measured on; --json prints one JSON document. Loopback only; every run ends by itself.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import http.client
import itertools
import json
import multiprocessing
import os
import platform
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

sys.path.insert(0, str(Path(__file__).parent))

from make_events import RESOURCES, TYPES, make_events

from tlog.appender import MAX_GROUP_EVENTS, draft_lines
from tlog.config import DataDirectory, Location
from tlog.lifecycle import create_log, is_log, open_log, running

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
BATCH = 1_000


def machine() -> dict[str, Any]:
    """Return what the figures were measured on."""
    return {"cpus": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()}


def spread(seconds: list[float]) -> dict[str, float]:
    """Return milliseconds: median, 99th percentile, worst."""
    ordered = sorted(seconds)
    return {
        "count": len(ordered),
        "p50_ms": round(statistics.median(ordered) * 1e3, 2),
        "p99_ms": round(ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))] * 1e3, 2),
        "max_ms": round(ordered[-1] * 1e3, 2),
    }


# --- Load: the appender as a library ---------------------------------------------------------------------------------


def draft_all(batch: list[bytes], keys: Any) -> list[Any]:  # noqa: ANN401 - tlog.core's types
    """Draft a batch in portions that stay in the processor's cache."""
    return [
        draft
        for start in range(0, len(batch), 50)
        for draft in draft_lines(b"\n".join(batch[start : start + 50]), keys)
    ]


async def load(data: Path, events: int, *, seed: int = 1) -> dict[str, Any]:
    """Append events in this process until all are sealed and indexed."""
    location = Location(DataDirectory(data))
    if not is_log(location):
        await create_log(location, "localhost/bench")
    async with open_log(location, sealing="beside") as log, running(log):
        source, started, cpu = make_events(events, seed=seed), time.perf_counter(), time.process_time()
        lags: list[float] = []
        watching = asyncio.create_task(watch_index(log, lags))
        done, waiting = 0, set()
        while batch := list(itertools.islice(source, BATCH)):
            waiting.add(asyncio.create_task(log.appender.append(draft_all(batch, log.bucket_keys))))
            if len(waiting) >= 2 * MAX_GROUP_EVENTS // BATCH:
                _, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.sleep(0)
            done += len(batch)
            if done % 100_000 == 0:
                rate = done / (time.perf_counter() - started)
                print(f"\r{done:,} events, {rate:,.0f}/s", end="", file=sys.stderr, flush=True)
        await asyncio.gather(*waiting)
        appended = time.perf_counter() - started
        size = (await log.reader.state()).size
        await log.wait_indexed(size, 600)
        watching.cancel()
        return {
            "events": events,
            "appended_per_second": round(events / appended),
            "seconds_until_indexed": round(time.perf_counter() - started - appended, 1),
            "cpu_us_per_event": round((time.process_time() - cpu) / events * 1e6, 1),
            "index_lag": spread(lags) if lags else None,
        }


async def watch_index(log: Any, lags: list[float]) -> None:  # noqa: ANN401 - tlog.lifecycle.Log
    """Sample how long ago the log had the size that is indexed now."""
    sizes: list[tuple[int, float]] = []
    while True:
        now = time.perf_counter()
        sizes.append(((await log.reader.state()).size, now))
        indexed = log.background.status.indexed
        while len(sizes) > 1 and sizes[1][0] <= indexed:
            sizes.pop(0)
        if indexed:
            lags.append(now - sizes[0][1])
        await asyncio.sleep(0.05)


# --- Query: a real server while appends go on ------------------------------------------------------------------------


class Service:
    """A running `tlog serve`, and a connection that asks it."""

    def __init__(self, data: Path) -> None:
        self._said = tempfile.NamedTemporaryFile("w+", suffix=".stderr")  # noqa: SIM115 - closed with the process
        command = [sys.executable, "-m", "tlog", "serve", "--data", str(data), "--port", "0"]
        self.process = subprocess.Popen(command, stderr=self._said, cwd=ROOT)  # noqa: S603 - fixed
        while (match := re.search(r" at (http://\S+)", Path(self._said.name).read_text())) is None:
            if self.process.poll() is not None:
                sys.exit(Path(self._said.name).read_text())
            time.sleep(0.05)
        create = [sys.executable, "-m", "tlog", "token", "create", "--data", str(data), "--principal", "bench"]
        done = subprocess.run(  # noqa: S603 - fixed
            [*create, "--scope", "admin", "--json"], capture_output=True, text=True, check=True, cwd=ROOT
        )
        self.token = json.loads(done.stdout)["token"]
        self.address = urlsplit(match[1])

    def connect(self) -> http.client.HTTPConnection:
        """Return a new connection."""
        return http.client.HTTPConnection(str(self.address.hostname), self.address.port, timeout=60)

    def stop(self) -> None:
        """End the server."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait(60)

    def rss(self) -> int:
        """Return the server's resident memory in MB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) // 1024  # type: ignore[index]


def ask(connection: http.client.HTTPConnection, token: str, path: str) -> tuple[float, bytes]:
    """Ask once; return seconds and the answer."""
    started = time.perf_counter()
    connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
    response = connection.getresponse()
    body = response.read()
    seconds = time.perf_counter() - started
    if response.status != http.HTTPStatus.OK:
        sys.exit(f"{path}: {response.status} {body[:300]!r}")
    return seconds, body


@contextlib.contextmanager
def appending(service: Service, rate: int) -> Iterator[None]:
    """Append `rate` events a second from a process of its own while the body runs."""
    if not rate:
        yield
        return
    process = multiprocessing.get_context("spawn").Process(
        target=append_steadily, args=(service.address.hostname, service.address.port, service.token, rate), daemon=True
    )
    process.start()
    yield
    alive = process.is_alive()
    process.terminate()
    process.join(10)
    if not alive:
        sys.exit("appending failed")


def append_steadily(host: str, port: int, token: str, rate: int) -> None:
    """Append until terminated: ten batches a second, prepared beforehand as far as possible."""
    connection, source = http.client.HTTPConnection(host, port, timeout=60), make_events(10**9, seed=int(time.time()))
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/x-ndjson", "Prefer": "return=minimal"}
    following = time.monotonic()
    while True:
        connection.request("POST", "/v1/audit/events", b"\n".join(itertools.islice(source, rate // 10)), headers)
        response = connection.getresponse()
        response.read()
        if response.status != http.HTTPStatus.CREATED:
            sys.exit(f"append: {response.status}")
        following += 0.1
        time.sleep(max(0.0, following - time.monotonic()))


def query(data: Path, *, rate: int = 5_000, questions: int = 1_000) -> dict[str, Any]:
    """Measure access logs, evidence and absence, over HTTP, while appends run; verify each kind with verify.py."""
    rng = random.Random(1)  # noqa: S311 - repeatable questions, no secrets
    service = Service(data)
    figures: dict[str, Any] = {"machine": machine(), "append_rate": rate}
    try:
        connection = service.connect()
        figures["entries"] = json.loads(ask(connection, service.token, "/v1/log")[1])["size"]
        wait_indexed(connection, service.token)
        with appending(service, rate):
            time.sleep(2)
            for name, among in (("popular", 50), ("any", RESOURCES)):
                times, found = [], 0
                for turn in range(-questions // 4, questions):  # what comes before 0 warms up
                    number = rng.randrange(among)
                    path = f"/v1/audit/resource/{TYPES[number % 4]}/{quote(f'R-{number:07d}')}/access-log?limit=500"
                    seconds, body = ask(connection, service.token, path)
                    if turn >= 0:
                        times.append(seconds)
                        found += json.loads(body)["count"]
                figures[f"access_log_{name}"] = {**spread(times), "mean_events": round(found / questions, 1)}
            figures |= evidence(connection, service, rng, questions // 2)
        figures["server_rss_mb"] = service.rss()
    finally:
        service.stop()
    return figures


def evidence(
    connection: http.client.HTTPConnection, service: Service, rng: random.Random, questions: int
) -> dict[str, Any]:
    """Measure evidence about resources with few events, and about ones with none."""
    figures: dict[str, Any] = {}
    vkey = json.loads(ask(connection, service.token, "/v1/log")[1])["vkey"]
    for name in ("few", "none"):
        times, sizes, verified = [], [], []
        for number in range(questions):
            wanted = f"R-{rng.randrange(RESOURCES // 4, RESOURCES):07d}" if name == "few" else f"X-{number}"
            kind = TYPES[int(wanted[2:]) % 4]
            path = f"/v1/audit/export?{urlencode({'format': 'evidence', 'resourceType': kind, 'resourceId': wanted})}"
            seconds, body = ask(connection, service.token, path)
            if json.loads(body)["manifest"]["answers"] > 12:  # noqa: PLR2004 - what the goal is about
                continue
            times.append(seconds)
            sizes.append(len(body))
            if number % (questions // 20) == 0:
                verified.append(verify_offline(vkey, f"resource={kind}:{wanted}", body))
        figures[f"evidence_{name}"] = {
            **spread(times), "bytes_p50": round(statistics.median(sizes)), "bytes_max": max(sizes),
            "verify_py": spread(verified),
        }  # fmt: skip
    return figures


def verify_offline(vkey: str, ask_for: str, bundle: bytes) -> float:
    """Run verify.py in a process of its own; return seconds with start-up."""
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        file.write(bundle)
        file.flush()
        command = [
            sys.executable,
            "-I",
            "-S",
            str(ROOT / "tools" / "verify.py"),
            "evidence",
            "--vkey",
            vkey,
            "--ask",
            ask_for,
        ]
        started = time.perf_counter()
        done = subprocess.run([*command, file.name], capture_output=True, text=True, check=False)  # noqa: S603 - fixed
        seconds = time.perf_counter() - started
    if done.returncode != 0:
        sys.exit(done.stdout)
    return seconds


def wait_indexed(connection: http.client.HTTPConnection, token: str) -> None:
    """Wait until what is in the log is indexed."""
    for _ in range(6_000):
        position = json.loads(ask(connection, token, "/v1/audit/events?limit=1")[1])["asOf"]
        if position["size"] - position["indexed"] < 100:  # noqa: PLR2004 - the questions themselves are logged
            return
        time.sleep(0.1)
    sys.exit("the index did not catch up")


def main() -> None:
    """Run one benchmark and print its figures."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n", maxsplit=1)[0])
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    commands = parser.add_subparsers(dest="command", required=True)
    loading = commands.add_parser("load", help="append events with the appender as a library")
    loading.add_argument("--events", type=int, default=1_000_000)
    loading.add_argument("--seed", type=int, default=1)
    querying = commands.add_parser("query", help="questions and evidence over HTTP while appends go on")
    querying.add_argument("--rate", type=int, default=5_000, help="events appended per second meanwhile")
    querying.add_argument("--questions", type=int, default=1_000)
    for each in (loading, querying):
        each.add_argument("--data", type=Path, required=True, help="a data directory; `load` makes it")
    arguments = parser.parse_args()
    if arguments.command == "load":
        figures = asyncio.run(load(arguments.data, arguments.events, seed=arguments.seed))
    else:
        figures = query(arguments.data, rate=arguments.rate, questions=arguments.questions)
    print("\n" + json.dumps(figures, indent=None if arguments.json else 2))


if __name__ == "__main__":
    main()
