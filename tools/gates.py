"""Gates: faults that a log has to survive, with figures, bounds, and controls that show that each gate can fail.

    python tools/gates.py fast                 what every change has to pass, five minutes on two cores
    python tools/gates.py full                 the same with more of everything, more than an hour
    python tools/gates.py fast --only R2,R6    some of them

Prints one line of JSON for each gate and each of its controls: {"id", "metric", "value", "goal", "pass"}. A gate passes if
every figure is within its goal; a control is the same measurement on something broken on purpose, and passes if the goal is
missed. docs/explanation/gates.md says what each of them shows. Real processes, databases and files; loopback only.

Exit codes: 0 all passed · 1 a gate or control did not · 2 usage · 3 one could not be run on this machine, and says why. Only what
tests/expected_skips.toml lists, and where its condition holds, may be so; any other gate that cannot be run has not passed.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).with_name("scenarios")))

import structlog
from faults import (
    clocks,
    crash,
    cuts,
    kafka,
    limits,
    neighbours,
    promoted,
    publication,
    restored,
    sealers,
    tampers,
    unsafe,
)
from faults.gate import NONE, Bound, Control, Figures, Gate, Measure, NotHereError, Run, judge, judge_control, line
from faults.service import kill_left_over
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from skips import EXPECTED, objection, read_rows

from tlog.cli.options import DEFAULT_DRAIN
from tlog.server.serve import GRACE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_FAILED, _NOT_HERE = 1, 3
_SECONDS = {"fast": 1_200, "full": 7_200}  # several times what they take: something hangs

# A new gate is a row here: its id, its metric, the function that measures, the goal, and the controls that must miss the goal.
GATES: tuple[Gate, ...] = (
    Gate(
        "R1",
        "SIGKILL of server, PostgreSQL or both at a random moment under load",
        crash.measure,
        {
            **dict.fromkeys(
                ("lost", "index_reused", "duplicates", "misplaced", "roots_wrong", "forks", "sizes_going_back",
                 "anchor_going_back", "unclean_end"), NONE,
            ),
            "acknowledged": Bound(">=", 100),
            "ready_p95_s": Bound("<=", 10),  # machines that test are shared; the full run is not
        },
        (Control(crash.measure_forgetful, "lost", "commits that do not wait for the disk"),),
        full_goal={"acknowledged": Bound(">=", 50_000), "ready_p95_s": Bound("<=", 3)},
    ),
    Gate(
        "R2",
        "files, anchor, sealing and export killed at every line and system call, and refused by the disk",
        publication.measure,
        {
            **dict.fromkeys(("broken", "roots_wrong", "forks", "lines_of_durable_missed"), NONE),
            "killed_at_lines": Bound(">=", 400),
            "refused_by_disk": Bound(">=", 80),
        },
        (
            Control(publication.measure_overwritten, "broken", "an anchor written in place"),
            Control(publication.measure_in_place, "broken", "a file written in place"),
        ),
    ),
    Gate(
        "R3",
        "the disk is full: appends refused in time, PostgreSQL ended and back by itself",
        limits.measure_full_disk,
        {
            **dict.fromkeys(("lost", "answers_neither_yes_nor_full", "unclean_end"), NONE),
            "slowest_refusal_s": Bound("<=", 5),
            "slowest_recovery_s": Bound("<=", 30),
        },
        (Control(limits.measure_boasting, "lost", "a service that acknowledges before it commits"),),
    ),
    Gate(
        "R4",
        "two to eight sealers race on one anchor, and the leader's session is ended",
        sealers.measure,
        dict.fromkeys(
            ("rounds_without_winner", "forks", "anchor_astray", "lost", "roots_wrong", "service_forks", "unclean_end"), NONE
        ),
        (Control(sealers.measure_blind, "forks", "an anchor without a comparison"),),
    ),
    Gate(
        "R5",
        "restored, deleted, edited, promoted, of another log: refused, or gone on with where commits waited for a standby",
        promoted.measure,
        {
            "refused": Bound("=", 6),
            "advised": Bound("=", 6),
            "signed": NONE,
            "changes_believed": NONE,
            "noticed_by_a_kept_checkpoint": Bound("=", 1),
            **{
                f"{scenario}_{name}": bound
                for scenario in "ad"
                for name, bound in (
                    ("acknowledged_in_the_lag", Bound(">=", 1)), ("acknowledged_after", NONE), ("exit_code", Bound("=", 5)),
                    ("ended_after_s", Bound("<=", 3)), ("index_reused", NONE), ("sizes_going_back", NONE),
                )
            },
            **dict.fromkeys(("b_acknowledged_after", "b_lost", "b_index_reused", "b_unclean_end"), NONE),
            "b_refused": Bound("=", 1),
            "b_refused_after_s": Bound("<=", 12),
            "b_not_ready_after_s": Bound("<=", 12),
            "b_slowest_readiness_s": Bound("<=", 2),
            "b_ended_s": Bound("<=", 20),
            **dict.fromkeys(
                ("b2_lost", "b2_index_reused", "b2_outcomes_missing", "b2_ended_meanwhile", "b2_unclean_end", "b2_fsck"), NONE
            ),
            "b2_failovers": Bound(">=", 2),
            "b2_gap_after_promotion_s": Bound("<=", 5),  # machines that test are shared
        },
        (
            Control(restored.measure_new_anchor, "signed", "a new anchor made from a restored database"),
            Control(promoted.measure_blind, "d_index_reused", "nobody looks what the log continues, and where"),
        ),
        full_goal={"b2_failovers": Bound(">=", 20), "b2_gap_after_promotion_s": Bound("<=", 1)},
    ),
    Gate(
        "R6",
        "the clock goes back, stands still and leaps ten years ahead, running and across restarts",
        clocks.measure,
        {
            **dict.fromkeys(
                ("checkpoints_not_later", "entries_going_back", "entries_after_their_checkpoint", "from_the_future",
                 "unsealed"), NONE,
            ),
            "refused": Bound(">=", 5),
            "refused_at_start": Bound(">=", 1),
            "checkpoints": Bound(">=", 10),
        },
        (Control(clocks.measure_believing, "from_the_future", "a log that believes its clock"),),
    ),
    Gate(
        "R7",
        "the connection to PostgreSQL is cut at six moments of an append, and the append repeated",
        cuts.measure,
        {
            **dict.fromkeys(("lost", "duplicates", "index_changed", "false_acknowledgements", "not_cut"), NONE),
            "durable_though_cut": Bound(">=", 10),
        },
        (Control(cuts.measure_without_unique_key, "duplicates", "a log without its unique eventId"),),
        full_goal={"durable_though_cut": Bound(">=", 100)},
    ),
    Gate(
        "R8",
        "SIGTERM under load with fifty stalled bodies open",
        limits.measure_ending,
        {
            **dict.fromkeys(("other_answers", "bare_refusals", "unclean_ends", "lost"), NONE),
            "slowest_end_s": Bound("<=", DEFAULT_DRAIN + GRACE_SECONDS + 2),
        },
        (Control(limits.measure_endless, "slowest_end_s", "a server that waits for its connections without end"),),
        full_goal={"slowest_end_s": Bound("<=", DEFAULT_DRAIN + GRACE_SECONDS + 1)},
    ),
    Gate(
        "R14",
        "stored data and exports changed at random, and logs that nobody changed",
        tampers.measure,
        {"undetected": NONE, "false_alarms": NONE, "tampers": Bound(">=", 80), "clean": Bound(">=", 10)},
        (Control(tampers.measure_trusting, "undetected", "a check that believes stored chain hashes"),),
        full_goal={"tampers": Bound(">=", 5_000), "clean": Bound(">=", 1_000), "matrix_rows": Bound(">=", 40),
                   "matrix_rows_that_differ": NONE},
    ),
    Gate(
        "R18",
        "500 half-open and 200 idle connections, while a client appends",
        limits.measure_siege,
        {
            **dict.fromkeys(("still_open", "failed_appends"), NONE),
            "closed": Bound("=", 700),
            "last_closed_s": Bound("<=", 12),  # 10 s, and the time it takes to look at 700 of them
            "p99_ratio": Bound("<=", 10),  # machines that test are shared
        },
        (Control(limits.measure_unguarded, "still_open", "uvicorn's own protocol"),),
        full_goal={"p99_ratio": Bound("<=", 2)},
    ),
    Gate(
        "R22",
        "half-sent bodies, scans, exports, evidence, invented IDs, conflicts and silent connections of one key, others append",
        neighbours.measure,
        {"refused": NONE, "memory_mb": Bound("<=", neighbours.MAX_MEMORY_MB)},
        (
            Control(neighbours.measure_unaccounted, "refused", "memory goes to whoever comes first"),
            Control(neighbours.measure_at_once, "slowdown", "bulk answers in the process that appends", full_only=True),
            Control(neighbours.measure_boundless, "memory_mb", "bundles of any size"),
        ),
        full_goal={"slowdown": Bound("<=", 3)},
    ),
    Gate(
        "R20",
        "every unsafe setting is refused at the start",
        unsafe.measure,
        {
            "accepted": NONE, "refused_when_safe_again": NONE, "settings": Bound(">=", 20),
        },
        (Control(unsafe.measure_clean, "accepted", "a database with nothing wrong"),),
    ),
    Gate(
        "kafka",
        "SIGKILL of takers, of the broker and of PostgreSQL under two rival takers and aborted transactions",
        kafka.measure,
        {
            **dict.fromkeys(
                ("duplicate_receipts", "missing", "without_receipt", "aborted_logged", "other_ends", "fsck"), NONE
            ),
            "caught_up": Bound("=", 1),
            "committed": Bound(">=", 1_000),
            "aborted": Bound(">=", 100),
        },
        (
            Control(kafka.measure_unfenced, "duplicate_receipts", "the condition that fences is removed"),
            Control(kafka.measure_apart, "missing", "the offset in a transaction of its own"),
        ),
        by_name=True,
    ),
)  # fmt: skip


def main(arguments: Sequence[str] | None = None, gates: Sequence[Gate] = GATES, expected: Path = EXPECTED) -> int:
    """Run what the command line asks for; return the exit code. `expected` lists the gates that need not run everywhere."""
    rows = read_rows(expected)
    options = _parse(arguments, gates)
    chosen = [gate for gate in gates if (gate.id in options.only if options.only else not gate.by_name)]
    with _progress(quiet=options.json) as progress:
        if options.jobs > 1 and len(chosen) > 1:
            return _run_aside(chosen, options.size, options.jobs, progress)
        code = 0
        for gate in chosen:
            for report in _reports(gate, full=options.size == "full", progress=progress):
                print(json.dumps(report), flush=True)
                if report["pass"] is None:
                    said = objection(rows, "gate", report["id"], report["value"]["not_here"])
                    if said:
                        print(f"{report['id']} has to run here: as a skip it is not accepted, {said}", file=sys.stderr)
                    code = _FAILED if said else code or _NOT_HERE
                elif not report["pass"]:
                    code = _FAILED
    return code


def _run_aside(gates: Sequence[Gate], size: str, jobs: int, progress: Progress) -> int:
    """Run each gate in a process of its own, some at a time: most of them wait most of the time."""
    waiting, codes = list(gates), set()
    running: dict[str, subprocess.Popen[str]] = {}
    task, deadline = progress.add_task(f"{len(gates)} gates", total=len(gates)), time.monotonic() + _SECONDS[size]
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                gate = waiting.pop(0)
                command = [sys.executable, __file__, size, "--only", gate.id, "--json"]
                running[gate.id] = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            for name, process in list(running.items()):
                with suppress(subprocess.TimeoutExpired):
                    said, errors = process.communicate(timeout=0.2)
                    print(said, end="", flush=True)
                    if process.returncode:
                        print(errors, file=sys.stderr)
                    codes.add(process.returncode)
                    del running[name]
                    progress.update(task, advance=1, description=f"{len(gates)} gates, {name} is done")
            progress.refresh()
            if time.monotonic() > deadline:
                print(
                    f"not done after {_SECONDS[size]} s: {', '.join([*running, *(gate.id for gate in waiting)])}",
                    file=sys.stderr,
                )
                return _FAILED
    finally:
        for process in running.values():
            process.terminate()
            process.wait()
    return _FAILED if codes - {0, _NOT_HERE} else max(codes, default=0)


def _reports(gate: Gate, *, full: bool, progress: Progress) -> Iterator[dict[str, Any]]:
    """Yield the lines of a gate and its controls; "pass" is null where it could not be run."""
    try:
        yield judge(gate, _measure(gate.id, gate.measure, full=full, progress=progress), full=full)
        for number, control in enumerate(gate.controls):
            if control.full_only and not full:
                continue
            figures = _measure(f"{gate.id}: {control.what}", control.measure, full=full, progress=progress)
            yield judge_control(gate, number, figures, full=full)
    except NotHereError as error:
        yield line(gate.id, gate.metric, {"not_here": str(error)}, gate.bounds(full=full), passed=None)
    except Exception as error:  # noqa: BLE001 - a gate that breaks off has not passed, whatever broke it
        traceback.print_exc()
        figures = {"broke_off": f"{type(error).__name__}: {error}"[:500]}
        yield line(gate.id, gate.metric, figures, gate.bounds(full=full), passed=False)


def _measure(name: str, measure: Measure, *, full: bool, progress: Progress) -> Figures:
    task, started = progress.add_task(name, total=None), time.monotonic()
    directory = Path(tempfile.mkdtemp(prefix="tlog-gate-"))
    directory.chmod(0o711)  # PostgreSQL of a root-run tlog has a user of its own

    def report(done: float, total: float) -> None:
        progress.update(task, completed=done, total=total)
        progress.refresh()

    progress.refresh()
    try:
        figures = measure(Run(full, directory, report))
    finally:
        kill_left_over(directory)
        shutil.rmtree(directory, ignore_errors=True)
    report(1, 1)
    return {**figures, "seconds": round(time.monotonic() - started, 1)}


@contextmanager
def _progress(*, quiet: bool) -> Iterator[Progress]:
    # Without a thread of its own: some gates fork.
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), auto_refresh=False, disable=quiet) as progress:
        yield progress


def _parse(arguments: Sequence[str] | None, gates: Sequence[Gate]) -> argparse.Namespace:
    known = [gate.id for gate in gates]
    description = str(__doc__).split("\n", maxsplit=1)[0]
    parser = argparse.ArgumentParser(prog="gates.py", description=description)
    parser.add_argument("size", choices=("fast", "full"), help="how much of everything")
    parser.add_argument("--only", help=f"some of {','.join(known)}, separated by commas")
    parser.add_argument(
        "--jobs", type=int, help="gates at a time; 2 if fast, 1 if full, whose figures are to be undisturbed"
    )
    parser.add_argument("--json", action="store_true", help="print the lines of JSON and nothing else, no progress")
    options = parser.parse_args(arguments)
    options.jobs = options.jobs or (2 if options.size == "fast" else 1)
    options.only = [] if options.only is None else options.only.split(",")
    if unknown := sorted(set(options.only) - set(known)):
        parser.error(f"there is no gate {', '.join(unknown)}; there are {', '.join(known)}")
    return options


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that every started process is ended
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))  # standard output is for the report
    sys.exit(main())
