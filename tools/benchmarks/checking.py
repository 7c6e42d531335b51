"""Checking whole logs: `fsck`, full and incremental, and `verify`, the offline verifier on an export and on single proofs."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final

from benchmarks.asking import verify_py
from benchmarks.library import load
from benchmarks.machine import ROOT, cpu_seconds, memory_mb, spread, tree_of
from benchmarks.service import Service, scratch, tlog
from tlog.client import Client
from tlog.core.bundle import parse_bundle
from tlog.core.tile import ENTRIES, TILE_WIDTH, Tile

if TYPE_CHECKING:
    from pathlib import Path

_SAMPLE_SECONDS: Final = 0.1
_GROWN: Final = 100_000


def fsck(data: Path, parent: Path | None, *, grown: int = _GROWN) -> dict[str, Any]:
    """Measure a full check, and one of what came since it; the server's own memory and CPU time are not counted."""
    with scratch(parent) as directory:
        saved = directory / "verified.json"
        full = _fsck(data, "--save", saved)
        load(data, grown, seed=time.time_ns() % 2**31)
        later = _fsck(data, "--since", saved)
    return {"full": full, "incremental": later}


def _fsck(data: Path, *options: object) -> dict[str, Any]:
    command = [sys.executable, "-m", "tlog", "fsck", "--data", str(data), "--json", *map(str, options)]
    begun, largest, used = time.perf_counter(), 0.0, 0.0
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT)  # noqa: S603 - fixed
    while process.poll() is None:
        # PostgreSQL puts itself into a session of its own and is not below this process.
        below = tree_of(process.pid)
        largest = max(largest, sum(map(memory_mb, below)))
        used = max(used, cpu_seconds(process.pid, ended_children=True) + sum(map(cpu_seconds, below[1:])))
        time.sleep(_SAMPLE_SECONDS)
    seconds = time.perf_counter() - begun
    assert process.stdout is not None
    report = json.loads(process.stdout.read())
    if report["exitCode"] != 0:
        sys.exit(f"tlog fsck does not find the log in order: {json.dumps(report)[:2000]}")
    entries = report["size"] - report.get("start", 0)
    return {
        "entries": entries,
        "seconds": round(seconds, 1),
        "events_per_second": round(entries / seconds),
        "cpu_us_per_event": round(used / max(entries, 1) * 1e6, 2),
        "largest_memory_mb": round(largest, 1),
    }


def verify(events: int, runs: int, parent: Path | None, *, singles: int = 20) -> dict[str, Any]:
    """Measure tools/verify.py: a whole exported log, one event's proof, growth between two checkpoints."""
    with scratch(parent) as directory:
        data, export = directory / "log", directory / "export"
        load(data, events)
        files = _proof_files(data, directory, singles)
        exported = json.loads(tlog("export", "--data", data, "--static", export, "--json"))["entries"]
        key = f"@{data / 'keys' / 'log.vkey'}"
        whole = [verify_py("log", "--vkey", key, export) for _ in range(runs)]
        inclusion = [verify_py("proof", "--vkey", key, "--event", event, proof) for event, proof in files["proofs"]]
        consistency = [verify_py("consistency", "--vkey", key, "--old", *each) for each in files["growth"]]
        start_up = [verify_py("--help") for _ in range(singles)]
    rates = sorted(exported / seconds for seconds in whole)
    return {
        "log": {"entries": exported, "entries_per_second": round(rates[len(rates) // 2]), "runs": runs},
        "inclusion": spread(inclusion),
        "consistency": spread(consistency),
        "start_up": spread(start_up),
    }


def _proof_files(data: Path, directory: Path, count: int) -> dict[str, list[tuple[Path, Path]]]:
    """Ask a service for proofs of events and of growth; return (event file, proof) and (older checkpoint, proof)."""
    found: dict[str, list[tuple[Path, Path]]] = {"proofs": [], "growth": []}
    with Service(data) as service, closing(service.connect()) as connection:
        service.settle()
        bundle = parse_bundle(service.ask(connection, "/" + Tile(ENTRIES, 0).path())[1], TILE_WIDTH)
        with Client(service.address.geturl(), service.token) as client:
            for number, entry in enumerate(bundle[1 : count + 1]):
                proof, event = client.event_proof(json.loads(entry)["eventId"], disclose=True)
                found["proofs"].append(_write(directory, f"event-{number}", event, proof))
        for number, each in enumerate(service.document(connection, f"/v1/checkpoints?limit={count}")["checkpoints"]):
            growth = service.ask(connection, f"/v1/proof/consistency?from={each['size']}")[1]
            found["growth"].append(_write(directory, f"growth-{number}", each["note"].encode(), growth))
    return found


def _write(directory: Path, name: str, *contents: bytes) -> tuple[Path, Path]:
    paths = directory / f"{name}.1", directory / f"{name}.2"
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    return paths
