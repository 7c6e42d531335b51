"""R22: what the holder of one API key can do to the others, who append meanwhile.

Each attack goes on for some seconds while another key appends one event after the other. Measured are the appends of that
other key: how many were refused, and the 99th percentile of their times compared with a quiet service before the attack; and
the most memory that all processes of the service and of its PostgreSQL had together, what they share counted once. Evidence and
exports over large events are asked for by two keys, so that eight readers are answered at a time.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from statistics import quantiles
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import httpx2
from benchmarks.machine import own_memory_mb, postmaster_of, tree_of
from service_scenarios import event_of
from support import Server, start_server, tlog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from multiprocessing.sharedctypes import Synchronized
    from multiprocessing.synchronize import Event

    from faults.gate import Figures, Run

# Everything is taken as it comes until the memory is full, as it was before there was an account.
_UNACCOUNTED: Final = """
from tlog.cli import app as cli
from tlog.errors import OverloadedError
from tlog.server.guard import account
class Unfair(account.Account):
    def grow(self, share, size):
        if size > self._free:
            raise OverloadedError("too many large requests are under way")
        self._quarter = 1 << 62
        super().grow(share, size)
account.Account = Unfair
from tlog.server.guard import admission
admission.Account = Unfair
cli.main()
"""
# Bulk answers are made in the process that appends, as they were before there was one for them.
_NOTHING_ASIDE: Final = """
from tlog.answering.bulk import BulkMaker
from tlog.answering.query import Searcher
from tlog.cli import app as cli
from tlog.server import serve
from tlog.storage.reading import ReadStore
class Here(BulkMaker):
    def __init__(self, database, verifier):
        self._store = ReadStore(database)
        super().__init__(self._store, verifier, Searcher(self._store, None))
    async def answer(self, task, looked):
        await self._store.open()
        async for piece in super().answer(task, looked):
            yield piece
    async def close(self):
        await self._store.close()
serve.Worker = Here
cli.main()
"""
# Bundles of any size, as many at a time as are asked for.
_UNBOUNDED: Final = """
import sys
from tlog.answering import bulk, evidence
evidence.MAX_SIZE = 1 << 40
class Nobody:
    async def __aenter__(self): pass
    async def __aexit__(self, *_): pass
honest = bulk.BulkMaker.__init__
def lax(self, *arguments):
    honest(self, *arguments)
    self._making = Nobody()
bulk.BulkMaker.__init__ = lax
from tlog.answering import worker
worker.main(int(sys.argv[1]))
"""
_BOUNDLESS: Final = f"""
import asyncio, sys
from tlog.answering import worker
from tlog.cli import app as cli
honest = asyncio.create_subprocess_exec
async def start(*command, **options):
    if command[1:3] == ("-m", "tlog.answering.worker"):
        command = (command[0], "-c", {_UNBOUNDED!r}, command[3])
    return await honest(*command, **options)
worker.asyncio.create_subprocess_exec = start
cli.main()
"""
_BODY: Final = 16 << 20
_EVENTS: Final = 2_000
_LARGE_EVENTS: Final = 2_000  # 120 MB, which is eight bundles
_LARGE: Final = 60_000
_CREATED: Final = 201
_PATIENCE: Final = 120.0  # seconds
MAX_MEMORY_MB: Final = 1_024
_SILENT: Final = 600
_THREADS: Final = 8


def measure(run: Run) -> Figures:
    """Return what the other key met under each attack."""
    return _measure(run, "-m", "tlog")


def measure_unaccounted(run: Run) -> Figures:
    """Return the same of a service that gives memory to whoever comes first."""
    return _measure(run, "-c", _UNACCOUNTED, attacks=("half-sent bodies",))


def measure_at_once(run: Run) -> Figures:
    """Return the same of a service that makes bulk answers in the process that appends."""
    return _measure(run, "-c", _NOTHING_ASIDE, attacks=("evidence",))


def measure_boundless(run: Run) -> Figures:
    """Return the same of a service whose bundles have any size, attacked until it has more memory than it may."""
    return _measure(run, "-c", _BOUNDLESS, attacks=("evidence over large events",), enough_mb=MAX_MEMORY_MB)


def _measure(run: Run, *program: str, attacks: tuple[str, ...] = (), enough_mb: int = 0) -> Figures:
    chosen = attacks or tuple(_ATTACKS)
    seconds = run.count(5, 60)
    server = start_server(run.directory / "data", program=program)
    try:
        _fill(server)
        keys = [_make_key(server, f"attacker {number}") for number in range(2)]
        quiet, _ = _append_for(server, seconds)
        figures: Figures = {"refused": 0, "memory_mb": 0, "slowdown": 0.0}
        for number, name in enumerate(chosen):
            run.progress(number, len(chosen))
            with _attacked(server, name, keys if name in _OF_TWO_KEYS else keys[:1]) as memory:
                taken, refused = _append_for(server, seconds)
                deadline = time.monotonic() + _PATIENCE
                while memory.value <= enough_mb and time.monotonic() < deadline:
                    time.sleep(0.5)
            figures["refused"] += refused
            slowdown = figures[f"slowdown by {name}"] = round(_p99(taken) / _p99(quiet), 1)
            figures["slowdown"] = max(figures["slowdown"], slowdown)
            figures["memory_mb"] = max(figures["memory_mb"], round(memory.value))
        return {**figures, "appends": len(quiet), "quiet_p99_ms": round(1000 * _p99(quiet), 1)}
    finally:
        server.stop()


@contextmanager
def _attacked(server: Server, name: str, keys: Sequence[str]) -> Iterator[Synchronized[float]]:
    """Attack from another process, which is no neighbour of whoever measures; yields the most memory seen, in MB."""
    context = multiprocessing.get_context("spawn")
    begun, stop, memory = context.Event(), context.Event(), context.Value("d", 0.0)
    target = server.url, server.process.pid, postmaster_of(server.data)
    process = context.Process(target=_attack, args=(target, name, keys, begun, stop, memory), daemon=True)
    process.start()
    try:
        assert begun.wait(60), "the attack did not begin"
        yield memory
    finally:
        stop.set()
        process.join()
    assert process.exitcode == 0, "the attack broke off"


def _attack(  # noqa: PLR0917 - what a process is given
    target: tuple[str, int, int], name: str, keys: Sequence[str], begun: Event, stop: Event, memory: Synchronized[float]
) -> None:
    """Attack until told to stop, and look at the memory of the service and its PostgreSQL every now and then."""
    url, *processes = target
    # Attackers are elsewhere, and take no time from the service but what they make it work.
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    threads = [
        threading.Thread(target=_ATTACKS[name], args=(url, keys[number % len(keys)], stop))
        for number in range(_THREADS)
    ]
    for thread in threads:
        thread.start()
    while not stop.is_set():
        memory.value = max(memory.value, sum(own_memory_mb(each) for process in processes for each in tree_of(process)))
        begun.set()
        stop.wait(1)
    for thread in threads:
        thread.join()


def _p99(taken: list[float]) -> float:
    return quantiles(taken, n=100)[98]


def _fill(server: Server) -> None:
    server.append([{**event_of(), "metadata": {"note": "x" * 1000}} for _ in range(_EVENTS)])
    large = [{**event_of(), "action": "export", "metadata": {"note": "x" * _LARGE}} for _ in range(_LARGE_EVENTS)]
    for first in range(0, len(large), 200):
        server.append(large[first : first + 200])


def _make_key(server: Server, principal: str) -> str:
    scopes = "--scope", "append", "--scope", "read"
    made = tlog("token", "create", "--data", server.data, "--principal", principal, *scopes, "--json")
    return str(json.loads(made.stdout)["token"])


def _append_for(server: Server, seconds: float) -> tuple[list[float], int]:
    """Append for some seconds; return how long each append took, and how many were refused."""
    taken: list[float] = []
    refused = 0
    headers = {"Authorization": f"Bearer {server.token}"}
    with httpx2.Client(base_url=server.url, headers=headers, timeout=60) as http:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            began = time.monotonic()
            refused += http.post("/v1/audit/events", json=event_of()).status_code != _CREATED
            taken.append(time.monotonic() - began)
    return taken, refused


def _connect(url: str, stack: ExitStack) -> socket.socket:
    address = urlsplit(url)
    source = ("127.0.0.2", 0)  # the attacker's address is not the other's
    place = (address.hostname, address.port)
    return stack.enter_context(socket.create_connection(place, timeout=5, source_address=source))


def _half_sent(url: str, key: str, stop: Event) -> None:
    head = (
        "POST /v1/audit/events HTTP/1.1\r\nHost: log\r\nContent-Type: application/x-ndjson\r\n"
        f"Authorization: Bearer {key}\r\nContent-Length: {_BODY}\r\n\r\n"
    ).encode()
    with ExitStack() as stack:
        while not stop.wait(0.2):
            with suppress(OSError):
                _connect(url, stack).sendall(head + bytes(_BODY - 1))


def _silent(url: str, _: str, stop: Event) -> None:
    with ExitStack() as stack:
        for _number in range(_SILENT // _THREADS):
            with suppress(OSError):
                _connect(url, stack)
        stop.wait()


def _asking(path: str, **params: str) -> Callable[[str, str, Event], None]:
    def attack(url: str, key: str, stop: Event) -> None:
        headers = {"Authorization": f"Bearer {key}", "Accept": "application/json, application/x-ndjson"}
        with httpx2.Client(base_url=url, headers=headers, timeout=60) as http:
            while not stop.is_set():
                with suppress(httpx2.HTTPError), http.stream("GET", path, params=params) as answer:
                    for _ in answer.iter_raw():
                        if stop.is_set():
                            break

    return attack


def _invent(url: str, _: str, stop: Event) -> None:
    with httpx2.Client(base_url=url, timeout=60) as http:
        number = 0
        while not stop.is_set():
            number += 1
            headers = {"Authorization": f"Bearer tlog_{number:024x}_{'A' * 43}"}
            with suppress(httpx2.HTTPError):
                http.get("/v1/audit/events", headers=headers)


def _conflict(url: str, key: str, stop: Event) -> None:
    event = event_of()
    with httpx2.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=60) as http:
        while not stop.is_set():
            with suppress(httpx2.HTTPError):
                http.post("/v1/audit/events", json={**event, "metadata": {"number": time.monotonic_ns()}})


_ATTACKS: Final[dict[str, Callable[[str, str, Event], None]]] = {
    "half-sent bodies": _half_sent,
    "scans": _asking("/v1/audit/events", outcome="unknown", limit="1000"),
    "exports": _asking("/v1/audit/export", action="read"),
    "evidence": _asking("/v1/audit/export", action="read", format="evidence", disclose="true"),
    "evidence over large events": _asking("/v1/audit/export", action="export", format="evidence", disclose="true"),
    "exports of large events": _asking("/v1/audit/export", action="export"),
    "pages of large events": _asking("/v1/audit/events", action="export", limit="1000"),
    "invented IDs": _invent,
    "conflicts": _conflict,
    "silent connections": _silent,
}
_OF_TWO_KEYS: Final = {name for name in _ATTACKS if "large" in name}
