"""Honest benchmarks: a real server on a real PostgreSQL with its defaults, fsync on, everything sealed, indexed and checked.

    python tools/bench.py http        appends over HTTP, 1,000 events in a request
    python tools/bench.py single      one event in a request, 256 connections
    python tools/bench.py inprocess   the appender as a library
    python tools/bench.py index       what the index costs, alone; of --data too, if given
    python tools/bench.py kafka       a topic of Apache Kafka that is filled before, and one that is filled meanwhile
    python tools/bench.py peers       other ways to keep the same events, in the same run
    python tools/bench.py verify      tools/verify.py on an export and on single proofs
    python tools/bench.py load        fill the log in --data; the rest measures such a log:
    python tools/bench.py growth | proofs | query | fsck | storage
    python tools/bench.py all         every figure of docs/explanation/performance.md, in about 25 minutes

Figures come with the machine and the versions they were measured on, as median, smallest and largest of several runs. --json
prints one document, --plots draws. Loopback only; every run ends by itself. New logs are made in a directory of their own
(--scratch, or the system's for temporary files) and removed.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).with_name("scenarios")))

from benchmarks import appending, asking, checking, kafka, library, peers, storage
from benchmarks.machine import machine

if TYPE_CHECKING:
    from collections.abc import Callable

MEASURES = (
    "http", "single", "inprocess", "kafka", "index", "proofs", "query", "fsck", "verify", "growth", "peers", "storage", "load",
    "all",
)  # fmt: skip
_NEEDS_DATA = ("query", "fsck", "growth", "load", "all")
_SECONDS = {"http": 60.0, "single": 20.0, "inprocess": 10.0, "kafka": 30.0, "peers": 5.0}
_EVENTS = {
    "load": 1_000_000, "all": 10_000_000, "verify": 300_000, "storage": 300_000, "fsck": 100_000, "index": 400_000,
    "kafka": 1_000_000,
    "proofs": asking.SMALL,
}  # fmt: skip


def measure(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Return the figures of one benchmark."""
    seconds = options.seconds or _SECONDS.get(name, 0.0)
    events = options.events or _EVENTS.get(name, 0)
    data, runs, scratch = options.data, options.runs, options.scratch
    measures: dict[str, Callable[[], dict[str, Any]]] = {
        "http": lambda: appending.append_over_http(appending.HTTP, seconds, runs, scratch),
        "single": lambda: appending.append_over_http(appending.SINGLE, seconds, runs, scratch),
        "inprocess": lambda: library.inprocess(seconds, runs, scratch),
        "kafka": lambda: kafka.kafka(seconds, events, scratch),
        "index": lambda: library.index(data, events, runs, scratch),
        "proofs": lambda: asking.proofs(
            data, options.questions, scratch, small=min(asking.SMALL, events or asking.SMALL)
        ),
        "query": lambda: asking.query(data, rate=options.rate, questions=options.questions, parent=scratch),
        "fsck": lambda: checking.fsck(data, scratch, grown=events),
        "verify": lambda: checking.verify(events, runs, scratch),
        "growth": lambda: library.growth(data),
        "peers": lambda: peers.peers(seconds, runs, scratch),
        "storage": lambda: storage.storage(data, events, scratch),
        "load": lambda: library.load(data, events, seed=options.seed),
    }
    return measures[name]()


def measure_all(options: argparse.Namespace, figures: dict[str, Any], done: Callable[[], None]) -> None:
    """Add the figures of every benchmark, on a log that is filled first if it has too few entries; `done` after each."""
    events = options.events or _EVENTS["all"]
    missing = events - library.size_of(options.data)
    if missing > 0:
        figures["load"] = timed("load", lambda: library.load(options.data, missing, seed=options.seed))
    if events == _EVENTS["all"]:
        options.events = None  # what the others do by themselves
    # What leaves the log as it is comes first.
    for name in (
        "growth", "storage", "proofs", "http", "single", "inprocess", "peers", "verify", "index", "fsck", "query",
    ):  # fmt: skip
        figures[name] = timed(name, lambda name=name: measure(name, options))  # type: ignore[misc] # a default binds
        done()


def timed(name: str, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Do some work, say so, and add how long it took."""
    print(f"{name} …", file=sys.stderr, flush=True)
    begun = time.monotonic()
    figures = work()
    return {**figures, "took_seconds": round(time.monotonic() - begun)}


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, usage="bench.py MEASURE [options]"
    )
    parser.add_argument("measure", choices=MEASURES, metavar="MEASURE", help=", ".join(MEASURES))
    parser.add_argument("--data", type=Path, help="a data directory; 'load' and 'all' make it")
    parser.add_argument("--seconds", type=float, help=f"for each run; {_SECONDS}")
    parser.add_argument("--events", type=int, help=f"how many; {_EVENTS}")
    parser.add_argument("--runs", type=int, default=3, help="how many runs (default: 3)")
    parser.add_argument("--questions", type=int, default=1_000, help="of proofs and query (default: 1000)")
    parser.add_argument(
        "--rate", type=int, default=5_000, help="events appended each second during query (default: 5000)"
    )
    parser.add_argument("--seed", type=int, default=1, help="of load: another one makes other events")
    parser.add_argument("--scratch", type=Path, help="where to make new logs")
    parser.add_argument(
        "--json", nargs="?", const="-", metavar="FILE", help="write one document, to FILE or standard output"
    )
    parser.add_argument("--plots", type=Path, metavar="DIR", help="draw SVG files (needs the extra 'bench')")
    options = parser.parse_args(argv)
    if options.data is None and options.measure in _NEEDS_DATA:
        parser.error(f"{options.measure} needs --data")
    if options.data is not None:
        options.data = options.data.absolute()
    return options


def main(argv: list[str] | None = None) -> None:
    """Run one benchmark, or all, and print the figures."""
    options = parse(argv)
    name, figures = options.measure, {"machine": machine()}

    def write() -> None:
        if options.json not in (None, "-"):
            Path(options.json).write_text(json.dumps(figures) + "\n", encoding="utf-8")

    if name == "all":
        measure_all(options, figures, write)
    else:
        figures[name] = timed(name, lambda: measure(name, options))
        write()
    if options.plots is not None:
        from benchmarks.plots import draw  # noqa: PLC0415 - matplotlib is there for those who want plots

        for path in draw(figures, options.plots):
            print(path, file=sys.stderr)
    if options.json in (None, "-"):
        print(json.dumps(figures, indent=None if options.json else 2))


if __name__ == "__main__":
    main()
