"""Which skips are accepted: the rows of `expected_skips.toml`, the conditions they name, and the table at the end of a run.

A skipped test looks like a passed one in a row of dots. Here each skip has to match a row, and the row's condition has to hold
on this machine; any other skip fails the run. `conftest.py` registers the table, `tools/gates.py` asks the same rows about gates.
What this leaves out: a test that was deselected or never written; neither is a skip.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from support import ROOT, find_python

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

EXPECTED: Final = ROOT / "tests" / "expected_skips.toml"
_SHARED: Final = ROOT.parent / "shared"
_OLDEST_POSTGRESQL: Final = 15
_CAP_SYS_ADMIN: Final = 21


def _no_postgresql() -> bool:
    initdb = shutil.which("initdb")
    if initdb is None or not (server := Path(initdb).with_name("postgres")).exists():
        return True
    version = subprocess.run([server, "--version"], capture_output=True, text=True, check=True).stdout
    return int(version.split()[2].split(".")[0]) < _OLDEST_POSTGRESQL


def _may_not_mount() -> bool:
    # The kernel's own word, rather than another attempt that would fail for the same reason as the test's.
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except FileNotFoundError:
        return True
    effective = re.search(r"^CapEff:\s*([0-9a-f]+)$", status, re.MULTILINE)
    return effective is None or not int(effective[1], 16) >> _CAP_SYS_ADMIN & 1


# Closed on purpose: a row cannot invent an excuse, only choose one of these. None of them trusts the test that was skipped.
CONDITIONS: Final[Mapping[str, Callable[[], bool]]] = {
    "benchmarks-not-asked-for": lambda: not os.environ.get("TLOG_ALL_BENCHMARKS"),
    "litewitness-not-given": lambda: not os.environ.get("TLOG_TEST_LITEWITNESS"),
    "may-not-mount": _may_not_mount,
    "no-go": lambda: shutil.which("go") is None,
    "no-postgresql-15": _no_postgresql,
    "no-shared-data": lambda: not (_SHARED / "data" / "cloudtrail").exists(),
    "no-shared-cases": lambda: not (_SHARED / "cases").exists(),
    "no-shared-vectors": lambda: not (_SHARED / "vectors" / "inclusion").exists(),
    "no-other-pythons": lambda: not all(map(find_python, range(9, 14))),
    "not-root": lambda: os.geteuid() != 0,
    "outside-ci": lambda: os.environ.get("CI") != "true",
}


@dataclass(frozen=True)
class Row:
    """One row of the list.

    Attributes:
        kind: "test" or "gate".
        name: a gate's id; or a test's node id, or that of its function or file, which covers everything in it.
        reason: how the reason begins that the skip gives.
        condition: one of `CONDITIONS`.
        why: why the skip is acceptable there, for people.

    """

    kind: str
    name: str
    reason: str
    condition: str
    why: str

    def covers(self, kind: str, name: str, reason: str) -> bool:
        """Tell whether the row is about this skip, whatever its condition."""
        within = name == self.name or name.startswith((f"{self.name}::", f"{self.name}["))
        return kind == self.kind and within and reason.startswith(self.reason)


def read_rows(path: Path) -> tuple[Row, ...]:
    """Return the rows of a list of expected skips.

    Raises:
        ValueError: a row lacks something, has something else, or names a condition that does not exist.

    """
    rows = []
    for kind, entries in tomllib.loads(path.read_text(encoding="utf-8")).items():
        for entry in entries:
            if (
                kind not in {"test", "gate"}
                or entry.keys() != {kind, "reason", "condition", "why"}
                or not all(entry.values())
            ):
                message = f"{path}: a row is [[test]] or [[gate]] with {kind}, reason, condition and why, not [[{kind}]] {entry}"
                raise ValueError(message)
            if entry["condition"] not in CONDITIONS:
                message = f"{path}: there is no condition {entry['condition']}; choose one of {', '.join(CONDITIONS)}"
                raise ValueError(message)
            rows.append(Row(kind, entry[kind], entry["reason"], entry["condition"], entry["why"]))
    return tuple(rows)


def objection(rows: Iterable[Row], kind: str, name: str, reason: str) -> str:
    """Return why a skip is not accepted; an empty text if it is."""
    conditions = [row.condition for row in rows if row.covers(kind, name, reason)]
    if not conditions:
        return f"no row of {EXPECTED.name} lists it"
    if any(CONDITIONS[condition]() for condition in conditions):
        return ""
    return f"listed for {' or '.join(conditions)}, which does not hold here"


class SkipTable:
    """A pytest plugin: collects the skips of a run, shows them at its end, and fails the run if one is not accepted.

    Register it where the reports arrive, which with pytest-xdist is the process that starts the workers.
    """

    def __init__(self, rows: tuple[Row, ...]) -> None:
        """Judge by these rows."""
        self._rows = rows
        self._skips: list[tuple[str, str]] = []
        self._table: Counter[tuple[str, str, str]] = Counter()

    def _note(self, report: pytest.CollectReport | pytest.TestReport) -> None:
        # An expected failure is reported as skipped too; `xfail_strict` sees to those.
        if report.skipped and not hasattr(report, "wasxfail"):
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
            self._skips.append((report.nodeid, " ".join(reason.removeprefix("Skipped: ").split())))

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Note a module that skips itself, for instance by `importorskip`."""
        self._note(report)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a test that is skipped."""
        self._note(report)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Judge; a run that would have passed fails if a skip is not accepted."""
        for name, reason in self._skips:
            self._table[name.partition("[")[0], reason, objection(self._rows, "test", name, reason)] += 1
        if session.exitstatus == pytest.ExitCode.OK and any(said for _, _, said in self._table):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Show the table."""
        if not self._table:
            return
        refused = sum(count for (_, _, said), count in self._table.items() if said)
        terminalreporter.section(f"skips: {self._table.total()}, not accepted: {refused}")
        width = max(len(name) for name, _, _ in self._table)
        for (name, reason, said), count in sorted(self._table.items(), key=lambda item: (item[0][2], item[0])):
            verdict = f"NOT ACCEPTED, {said}: " if said else ""
            terminalreporter.write_line(f"{name:<{width}} {count:>3}  {verdict}{reason}", red=bool(said))
        if refused:
            terminalreporter.write_line(
                "The run fails: let these tests run, or list a skip that this machine cannot help in tests/expected_skips.toml.",
                red=True,
            )
