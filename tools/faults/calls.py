"""Faults inside system calls, where strace is installed: the process killed at, or refused, every single one that writes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from faults.steps import Interrupted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from faults.steps import Scenario

# What SQLite and the anchor's own code change files with.
CALLS: Final = ("pwrite64", "fdatasync", "fsync", "link", "linkat", "unlink", "unlinkat", "ftruncate", "rename")
FAULTS: Final = ("signal=KILL", "error=EIO", "error=ENOSPC")
_TOOLS: Final = Path(__file__).parents[1]


def tracer() -> str | None:
    """Return strace's path if it is installed and may trace here."""
    path = shutil.which("strace")
    if path is None:
        return None
    done = subprocess.run([path, "-o", os.devnull, "true"], capture_output=True, check=False, timeout=30)
    return path if done.returncode == 0 else None


def interrupt_at_every_call(scenario: Scenario, name: str, directory: Path, faults: Sequence[str]) -> Interrupted:
    """Inject each fault into each call until the program gets past all of them."""
    strace = tracer()
    assert strace is not None
    points, problems = 0, []
    for fault in faults:
        for call in CALLS:
            number = 1
            while True:
                place = directory / f"{fault[-4:]}-{call}-{number}"
                scenario.prepare(place)
                done = _run(strace, name, place, f"{call}:{fault}:when={number}")
                said = done.stdout.split()
                found = scenario.problems(place, int(said[-1]) if said else 0)
                shutil.rmtree(place, ignore_errors=True)
                problems += [f"{name}, {call} {number}, {fault}: {each}" for each in found]
                if done.returncode == 0:
                    # Either there is no such call any more, or its failure did not matter to what was acknowledged.
                    if not _injected(done):
                        break
                points += 1
                number += 1
    return Interrupted(points, problems)


def _injected(done: subprocess.CompletedProcess[bytes]) -> bool:
    return b"(INJECTED)" in done.stderr


def _run(strace: str, name: str, place: Path, injection: str) -> subprocess.CompletedProcess[bytes]:
    call = injection.partition(":")[0]
    command = [strace, "-f", "-qq", "-e", f"trace={call}", "-e", f"inject={injection}"]
    # Nothing but the scenario may write files: no bytecode.
    command += [sys.executable, "-B", str(_TOOLS / "faults" / "steps.py"), name, str(place)]
    return subprocess.run(
        command, capture_output=True, check=False, timeout=60, env={**os.environ, "PYTHONPATH": str(_TOOLS)}
    )
