"""Faults inside system calls, where strace is installed: the process killed at, or refused, every single one that writes.

One strace for all of them: it injects the fault into the 200th call of each kind that a process makes, counted for each
process, and every forked child first makes as many idle calls as bring the call under test to that number.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from faults.steps import (
    AdvancingAnchor,
    CreatingAnchor,
    Interrupted,
    MakingDirectory,
    WritingFile,
    WritingOnce,
    in_child,
)
from tlog.files import durable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from faults.steps import Acknowledge, Scenario

FAULTS: Final = ("signal=KILL", "error=EIO", "error=ENOSPC")
_NUMBER: Final = 200
_NOWHERE: Final = "/nowhere/at/all"
_NO_FILE: Final = 1 << 20  # no descriptor is as large; -1 would be refused before the system is asked
# What SQLite and this program's own code change files with, and an idle call of each; that it fails does not matter.
_CALLS: Final[Mapping[str, Callable[[], object]]] = {
    "pwrite64": lambda: os.pwrite(-1, b"", 0),
    "fdatasync": lambda: os.fdatasync(_NO_FILE),
    "fsync": lambda: os.fsync(_NO_FILE),
    "ftruncate": lambda: os.ftruncate(-1, 0),
    "link": lambda: os.link(_NOWHERE, _NOWHERE),
    "unlink": lambda: os.unlink(_NOWHERE),  # noqa: PTH108 - the call itself
    "rename": lambda: os.rename(_NOWHERE, _NOWHERE),  # noqa: PTH104 - see above
    "write": lambda: os.write(-1, b""),
}
_SCENARIOS: Final[Mapping[str, Scenario]] = {
    "create": CreatingAnchor(),
    "advance": AdvancingAnchor(),
    "whole": WritingFile(durable.write_whole),
    "durable": WritingFile(durable.write_durable),
    "once": WritingOnce(),
    "directory": MakingDirectory(),
}
_TOOLS: Final = Path(__file__).parents[1]
_SECONDS: Final = 600


def tracer() -> str | None:
    """Return strace's path if it is installed and may trace here."""
    path = shutil.which("strace")
    if path is None:
        return None
    done = subprocess.run([path, "-o", os.devnull, "true"], capture_output=True, check=False, timeout=30)
    return path if done.returncode == 0 else None


def interrupt_at_every_call(directory: Path, faults: Sequence[str]) -> list[Interrupted]:
    """Inject each fault into each call that makes and advances the anchor, and that writes a file."""
    found, counts = [], "{}"
    for fault in faults:
        place = directory / fault
        place.mkdir()
        command = [str(tracer()), "-f", "-qq", "-o", os.devnull, "-e", f"trace={','.join(_CALLS)}"]
        for call in _CALLS:
            command += ["-e", f"inject={call}:{fault}:when={_NUMBER}"]
        command += [sys.executable, "-B", __file__, str(place), counts]
        done = subprocess.run(
            command, capture_output=True, check=False, timeout=_SECONDS, env={**os.environ, "PYTHONPATH": str(_TOOLS)}
        )
        assert done.returncode == 0, done.stderr.decode()
        points, problems, reached = json.loads(done.stdout)
        found.append(Interrupted(points, [f"{fault}: {problem}" for problem in problems]))
        counts = json.dumps(reached)  # how many there are to refuse is known from the kills
    return found


def _interrupt(place: Path, counts: Mapping[str, int]) -> tuple[int, list[str], Mapping[str, int]]:
    """Work below strace; this process itself changes no file, because its calls are counted as well."""
    points, problems, reached = 0, [], {}
    for name, scenario in _SCENARIOS.items():
        for call in _CALLS:
            key, number = f"{name} {call}", 0
            while number < counts.get(key, _NUMBER):
                number += 1
                there = place / f"{name}-{call}-{number}"
                _aside(partial(_prepare, scenario, there))
                outcome = in_child(partial(scenario.act, there), partial(_idle, call, _NUMBER - number))
                found = _aside(partial(scenario.problems, there, outcome.acknowledged))
                problems += [f"{key} {number}: {each}" for each in found]
                if not counts and not outcome.killed:
                    problems += [f"{key} {number}: the child failed"] if outcome.failed else []
                    break
                points += 1
            reached[key] = number if counts else number - 1
    return points, problems, reached


def _prepare(scenario: Scenario, place: Path) -> list[str]:
    scenario.prepare(place)
    return []


def _idle(call: str, times: int) -> None:
    for _ in range(times):
        with contextlib.suppress(OSError):
            _CALLS[call]()


def _aside(work: Callable[[], list[str]]) -> list[str]:
    """Work in a child of its own and return what it found."""
    reader, writer = os.pipe()

    def act(_: Acknowledge) -> None:
        os.write(writer, json.dumps(work()).encode())

    outcome = in_child(act, lambda: None)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        said = pipe.read()
    return json.loads(said) if said and not outcome.failed else ["what is left cannot be examined"]


if __name__ == "__main__":
    print(json.dumps(_interrupt(Path(sys.argv[1]), json.loads(sys.argv[2]))))
