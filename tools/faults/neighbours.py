"""R22: what the holder of one API key can do to the others, who append meanwhile.

Each attack goes on for some seconds while another key appends one event after the other. Measured are the appends of that
other key: how many were refused, and the 99th percentile of their times compared with a quiet service before the attack.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from contextlib import ExitStack, suppress
from statistics import quantiles
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import httpx2
from benchmarks.machine import memory_mb
from service_scenarios import event_of
from support import Server, start_server, tlog

if TYPE_CHECKING:
    from collections.abc import Callable

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
_BODY: Final = 16 << 20
_EVENTS: Final = 2_000
_CREATED: Final = 201
_SILENT: Final = 600
_THREADS: Final = 8


def measure(run: Run) -> Figures:
    """Return what the other key met under each attack."""
    return _measure(run, "-m", "tlog")


def measure_unaccounted(run: Run) -> Figures:
    """Return the same of a service that gives memory to whoever comes first."""
    return _measure(run, "-c", _UNACCOUNTED, attacks=("half-sent bodies",))


def _measure(run: Run, *program: str, attacks: tuple[str, ...] = ()) -> Figures:
    chosen = attacks or tuple(_ATTACKS)
    seconds = run.count(5, 60)
    server = start_server(run.directory / "data", program=program)
    try:
        _fill(server)
        key = _make_key(server, "attacker")
        quiet, _ = _append_for(server, seconds)
        figures: Figures = {"refused": 0, "memory_mb": 0.0, "slowdown": 0.0}
        for number, name in enumerate(chosen):
            run.progress(number, len(chosen))
            taken, refused = _under(server, key, _ATTACKS[name], seconds)
            figures["refused"] += refused
            slowdown = figures[f"slowdown by {name}"] = round(_p99(taken) / _p99(quiet), 1)
            figures["slowdown"] = max(figures["slowdown"], slowdown)
            figures["memory_mb"] = max(figures["memory_mb"], round(memory_mb(server.process.pid)))
        return {**figures, "appends": len(quiet), "quiet_p99_ms": round(1000 * _p99(quiet), 1)}
    finally:
        server.stop()


def _p99(taken: list[float]) -> float:
    return quantiles(taken, n=100)[98]


def _fill(server: Server) -> None:
    server.append([{**event_of(), "metadata": {"note": "x" * 1000}} for _ in range(_EVENTS)])


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


def _under(
    server: Server, key: str, attack: Callable[[Server, str, threading.Event], None], seconds: float
) -> tuple[list[float], int]:
    stop = threading.Event()
    threads = [threading.Thread(target=attack, args=(server, key, stop)) for _ in range(_THREADS)]
    for thread in threads:
        thread.start()
    try:
        return _append_for(server, seconds)
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def _connect(server: Server, stack: ExitStack) -> socket.socket:
    address = urlsplit(server.url)
    source = ("127.0.0.2", 0)  # the attacker's address is not the other's
    place = (address.hostname, address.port)
    return stack.enter_context(socket.create_connection(place, timeout=5, source_address=source))


def _half_sent(server: Server, key: str, stop: threading.Event) -> None:
    head = (
        "POST /v1/audit/events HTTP/1.1\r\nHost: log\r\nContent-Type: application/x-ndjson\r\n"
        f"Authorization: Bearer {key}\r\nContent-Length: {_BODY}\r\n\r\n"
    ).encode()
    with ExitStack() as stack:
        while not stop.wait(0.2):
            with suppress(OSError):
                _connect(server, stack).sendall(head + bytes(_BODY - 1))


def _silent(server: Server, _: str, stop: threading.Event) -> None:
    with ExitStack() as stack:
        for _number in range(_SILENT // _THREADS):
            with suppress(OSError):
                _connect(server, stack)
        stop.wait()


def _asking(path: str, **params: str) -> Callable[[Server, str, threading.Event], None]:
    def attack(server: Server, key: str, stop: threading.Event) -> None:
        with httpx2.Client(base_url=server.url, headers={"Authorization": f"Bearer {key}"}, timeout=60) as http:
            while not stop.is_set():
                with suppress(httpx2.HTTPError):
                    http.get(path, params=params)

    return attack


def _invent(server: Server, _: str, stop: threading.Event) -> None:
    with httpx2.Client(base_url=server.url, timeout=60) as http:
        number = 0
        while not stop.is_set():
            number += 1
            headers = {"Authorization": f"Bearer tlog_{number:024x}_{'A' * 43}"}
            with suppress(httpx2.HTTPError):
                http.get("/v1/audit/events", headers=headers)


def _conflict(server: Server, key: str, stop: threading.Event) -> None:
    event = event_of()
    with httpx2.Client(base_url=server.url, headers={"Authorization": f"Bearer {key}"}, timeout=60) as http:
        while not stop.is_set():
            with suppress(httpx2.HTTPError):
                http.post("/v1/audit/events", json={**event, "metadata": {"number": time.monotonic_ns()}})


_ATTACKS: Final[dict[str, Callable[[Server, str, threading.Event], None]]] = {
    "half-sent bodies": _half_sent,
    "scans": _asking("/v1/audit/events", outcome="unknown", limit="1000"),
    "exports": _asking("/v1/audit/export", action="read"),
    "evidence": _asking("/v1/audit/export", action="read", format="evidence", disclose="true"),
    "invented IDs": _invent,
    "conflicts": _conflict,
    "silent connections": _silent,
}
