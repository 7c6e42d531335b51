"""What readers ask for over HTTP: `proofs`, and `query`, questions with evidence while appends go on."""

from __future__ import annotations

import contextlib
import http.client
import json
import multiprocessing
import random
import statistics
import subprocess
import sys
import tempfile
import time
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode

from make_events import RESOURCES, TYPES

from benchmarks.generator import prepare
from benchmarks.library import load
from benchmarks.machine import ROOT, Usage, spread
from benchmarks.service import Service, scratch
from tlog.core.bundle import parse_bundle
from tlog.core.checkpoint import open_checkpoint
from tlog.core.merkle import leaf_hash
from tlog.core.note import parse_vkey
from tlog.core.proof import verify_consistency, verify_inclusion
from tlog.core.tile import ENTRIES, TILE_WIDTH, Tile
from tlog.core.tlogproof import parse_consistency_proof, parse_inclusion_proof

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from benchmarks.generator import Bodies

SMALL: Final = 100_000
_FEW: Final = 12
_CHECKED: Final = 20
_BATCHES: Final = 10  # a second
_SECONDS_A_QUESTION: Final = 0.15  # far more than all kinds of questions take together


# --- Proofs --------------------------------------------------------------------------------------------------------------


def proofs(data: Path | None, questions: int, parent: Path | None, *, small: int = SMALL) -> dict[str, Any]:
    """Measure proofs over HTTP of a small log and of `data`, in turns, and what one costs in CPU time."""
    with scratch(parent) as directory:
        load(directory / "small", small)
        logs = {"small": directory / "small", **({"large": data} if data else {})}
        found = {name: _proofs(log, questions) for name, log in logs.items()}
    if data:
        for kind in ("inclusion", "consistency"):
            parts = [found[name][kind] for name in ("small", "large")]
            found[f"{kind}_ratio"] = {
                "p50": round(parts[1]["p50_ms"] / parts[0]["p50_ms"], 2),
                "cpu": round(parts[1]["cpu_us"]["total"] / parts[0]["cpu_us"]["total"], 2),
            }
    return {"what": f"{questions:,} of each over one connection, of entries and sizes drawn at random", **found}


def _proofs(data: Path, questions: int) -> dict[str, Any]:
    with Service(data) as service:
        size, connection = service.settle(), service.connect()
        rng = random.Random(1)  # noqa: S311 - repeatable questions, no secrets
        figures: dict[str, Any] = {"entries": size}
        for kind, parameter in (("inclusion", "index"), ("consistency", "from")):
            paths = [f"/v1/proof/{kind}?{parameter}={rng.randrange(1, size)}" for _ in range(questions * 5 // 4)]
            for path in paths[questions:]:  # warms up
                service.ask(connection, path)
            usage = Usage(service.heads(), data)
            times = [service.ask(connection, path)[0] for path in paths[:questions]]
            figures[kind] = {**spread(times), "cpu_us": usage.per_event(questions)}
        figures["verified"] = _check_proofs(service, connection, size, rng)
        return figures


def _check_proofs(service: Service, connection: http.client.HTTPConnection, size: int, rng: random.Random) -> int:
    """Verify some proofs of both kinds with the verifier's code; return how many."""
    verifier = parse_vkey(service.document(connection, "/v1/log")["vkey"])
    published = service.document(connection, "/v1/checkpoints?limit=20")["checkpoints"]
    for number in [rng.randrange(size // TILE_WIDTH) for _ in range(_CHECKED)]:
        bundle = service.ask(connection, "/" + Tile(ENTRIES, number).path())[1]
        at = rng.randrange(TILE_WIDTH)
        index, leaf = number * TILE_WIDTH + at, leaf_hash(parse_bundle(bundle, TILE_WIDTH)[at])
        proof = parse_inclusion_proof(service.ask(connection, f"/v1/proof/inclusion?index={index}")[1])
        newest = open_checkpoint(proof.checkpoint, verifier)
        verify_inclusion(index, newest.size, leaf, proof.hashes, newest.root)
    for each in published:
        older = open_checkpoint(each["note"].encode(), verifier)
        growth = parse_consistency_proof(service.ask(connection, f"/v1/proof/consistency?from={older.size}")[1])
        newest = open_checkpoint(growth.checkpoint, verifier)
        verify_consistency(older.size, newest.size, older.root, newest.root, growth.hashes)
    return _CHECKED + len(published)


# --- Questions -------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def appending(service: Service, bodies: Bodies | None) -> Iterator[None]:
    """Append prepared bodies, if any, ten a second, from a process of its own while the body runs."""
    if bodies is None:
        yield
        return
    address = str(service.address.hostname), int(service.address.port or 0)
    process = multiprocessing.get_context("spawn").Process(
        target=append_steadily, args=(address, service.token, bodies), daemon=True
    )
    process.start()
    try:
        yield
        alive = process.is_alive()
    finally:
        process.terminate()
        process.join(10)
    if not alive:
        sys.exit("appending failed, or the prepared events were not enough for this machine")


def append_steadily(address: tuple[str, int], token: str, bodies: Bodies) -> None:
    """Append until terminated, or until there is no more."""
    connection = http.client.HTTPConnection(*address, timeout=60)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/x-ndjson", "Prefer": "return=minimal"}
    following = time.monotonic()
    for body in bodies.read():
        connection.request("POST", "/v1/audit/events", body, headers)
        response = connection.getresponse()
        response.read()
        if response.status != http.HTTPStatus.CREATED:
            sys.exit(f"append: {response.status}")
        following += 1 / _BATCHES
        time.sleep(max(0.0, following - time.monotonic()))


def query(
    data: Path, *, rate: int = 5_000, questions: int = 1_000, warm_up: float = 2.0, parent: Path | None = None
) -> dict[str, Any]:
    """Measure access logs, evidence and absence, over HTTP, while appends run; verify each kind with verify.py."""
    rng = random.Random(1)  # noqa: S311 - repeatable questions, no secrets
    figures: dict[str, Any] = {"appended_meanwhile_per_second": rate}
    with scratch(parent) as directory, Service(data) as service:
        # Made before anything is measured: the one who appends should take no time from those who ask and answer.
        seconds = warm_up + questions * _SECONDS_A_QUESTION
        events, seed = round(rate * seconds), time.time_ns() % 10**9
        bodies = prepare(directory / "bodies", events, rate // _BATCHES, seed=seed) if rate else None
        figures["entries"], connection = service.settle(), service.connect()
        with appending(service, bodies):
            time.sleep(warm_up)
            for name, among in (("popular", 50), ("any", RESOURCES)):
                times, found = [], 0
                for turn in range(-questions // 4, questions):  # what comes before 0 warms up
                    number = rng.randrange(among)
                    path = f"/v1/audit/resource/{TYPES[number % 4]}/{quote(f'R-{number:07d}')}/access-log?limit=500"
                    seconds, body = service.ask(connection, path)
                    if turn >= 0:
                        times.append(seconds)
                        found += json.loads(body)["count"]
                figures[f"access_log_{name}"] = {**spread(times), "mean_events": round(found / questions, 1)}
            figures |= _evidence(connection, service, rng, max(questions // 2, 20))
        figures["memory_mb"] = service.memory()
    return figures


def _evidence(
    connection: http.client.HTTPConnection, service: Service, rng: random.Random, questions: int
) -> dict[str, Any]:
    """Measure evidence about resources with few events, and about ones with none."""
    figures: dict[str, Any] = {}
    vkey = service.document(connection, "/v1/log")["vkey"]
    for name in ("few", "none"):
        times, sizes, picked = [], [], []
        for number in range(questions):
            wanted = f"R-{rng.randrange(RESOURCES // 4, RESOURCES):07d}" if name == "few" else f"X-{number}"
            kind = TYPES[int(wanted[2:]) % 4]
            path = f"/v1/audit/export?{urlencode({'format': 'evidence', 'resourceType': kind, 'resourceId': wanted})}"
            seconds, body = service.ask(connection, path)
            if json.loads(body)["manifest"]["answers"] > _FEW:
                continue
            times.append(seconds)
            sizes.append(len(body))
            if number % (questions // 20) == 0:
                picked.append((f"resource={kind}:{wanted}", body))
        # Not before: a process that starts between two questions disturbs the second.
        verified = [_verify_evidence(vkey, asked, body) for asked, body in picked]
        size = {"bytes_p50": round(statistics.median(sizes)), "bytes_max": max(sizes)}
        figures[f"evidence_{name}"] = {**spread(times), **size, "verify_py": spread(verified)}
    return figures


def _verify_evidence(vkey: str, asked: str, bundle: bytes) -> float:
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        file.write(bundle)
        file.flush()
        return verify_py("evidence", "--vkey", vkey, "--ask", asked, file.name)


def verify_py(*arguments: object) -> float:
    """Run verify.py in a process of its own; return seconds with start-up."""
    command = [sys.executable, "-I", "-S", str(ROOT / "tools" / "verify.py"), *map(str, arguments)]
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - fixed
    seconds = time.perf_counter() - started
    if done.returncode != 0:
        sys.exit(done.stdout + done.stderr)
    return seconds
