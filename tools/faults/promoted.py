"""R5, second half: a standby is promoted under load, one that lags and one that commits waited for. Two PostgreSQL servers.

A   asynchronous, lags: what was signed is not there
D   asynchronous, cut off after the last checkpoint: only this process knows that something is missing
B   synchronous, and nobody lifts the setting on the server that was promoted
B2  synchronous, and the setting is lifted, again and again, under the same service
"""

from __future__ import annotations

import http.client
import json
import threading
import time
from contextlib import closing, contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import psycopg
from stored import read_controls

from faults import restored
from faults.history import count_acknowledged, count_going_back, read_stored
from faults.pair import Pair
from faults.service import ORIGIN, TLOG, Acknowledged, Load, Service, Source, run_tlog
from tlog.core.checkpoint import open_checkpoint
from tlog.location import DataDirectory

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from faults.gate import Figures, Run

_SECONDS: Final = 60.0
_OUTAGE: Final = 1.0  # between the end of the primary and the promotion
_BOUNDED: Final = 13.0
_HASTE: Final = ("--interval", "0.2")
_RARELY: Final = ("--interval", "600")
_ASYNCHRONOUS: Final = "--accept-loss-on-failover"
# The same program, but nobody looks what the log continues, and where.
_BLIND: Final = """
from tlog.writing import failover, watermark
failover.is_same = lambda *_: True
async def nothing(*_): pass
watermark.Watermark.check = nothing
from tlog.cli import app
app.main()
"""


class Timed(Acknowledged):
    """Receipts, and when answers came."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: list[tuple[float, int]] = []

    def add(self, status: int, body: bytes, *, retry_after: bool) -> None:
        """Take in an answer to an append."""
        self.answers.append((time.monotonic(), status))
        super().add(status, body, retry_after=retry_after)

    def acknowledged_after(self, moment: float) -> int:
        """Return how many requests were acknowledged later than a moment."""
        return sum(at > moment and status in {200, 201} for at, status in list(self.answers))


class Ready:
    """Asks a service again and again whether it is ready."""

    def __init__(self, service: Service) -> None:
        self.last = 0.0  # when it was ready last
        self.slowest = 0.0
        self._service = service
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Stop asking."""
        self._ended.set()
        self._thread.join()

    def _ask(self) -> None:
        while not self._ended.wait(0.1):
            asked = time.monotonic()
            if self._service.get("/readyz")[0] == http.HTTPStatus.OK:
                self.last = time.monotonic()
            self.slowest = max(self.slowest, time.monotonic() - asked)


def measure(run: Run) -> Figures:
    """Measure both halves of the gate."""
    figures = restored.measure(run)
    for scenario in (_lags, _cut_off, _not_lifted):
        with _pair(run, scenario.__name__) as pair:
            figures |= scenario(run, pair)
    with _pair(run, "again") as pair:
        return figures | _again_and_again(run, pair)


def measure_blind(run: Run) -> Figures:
    """Promote a standby that was cut off, under a service that does not look what it continues."""
    with _pair(run, "blind") as pair:
        return _cut_off(run, pair, program=("-c", _BLIND))


def _lags(run: Run, pair: Pair) -> Figures:
    """A."""
    return _named("a", _promote_asynchronous(run, pair, (*_HASTE, *_database(pair))))


def _cut_off(run: Run, pair: Pair, program: Sequence[str] = TLOG) -> Figures:
    """D."""
    options = (*_RARELY, "--sealing", "here", *_database(pair))
    return _named("d", _promote_asynchronous(run, pair, options, program))


def _promote_asynchronous(run: Run, pair: Pair, options: Sequence[str], program: Sequence[str] = TLOG) -> Figures:
    data, token = _make_log(run.directory, pair)
    seen = Timed()
    service = Service(data, _ASYNCHRONOUS, *options, program=program)
    pair.caught_up()
    load = Load(service, token, Source(), seen)
    time.sleep(run.count(1, 2))
    pair.cut()
    moment = time.monotonic()
    time.sleep(run.count(1, 3))
    lag = seen.acknowledged_after(moment)
    pair.kill_primary()
    time.sleep(_OUTAGE)
    promoting = time.monotonic()
    pair.promote()
    promoted = time.monotonic()
    code = _wait_for_end(service, 5.0)
    ended = time.monotonic()
    load.end()
    if code is None:
        service.kill()
    verifier = DataDirectory(data).verifier()
    notes = [open_checkpoint(note, verifier) for note in seen.notes]
    figures = count_acknowledged(read_stored(pair.primary.address("dbadmin", "audit")).rows, seen.receipts)
    return {
        "acknowledged_in_the_lag": lag,
        "acknowledged_after": seen.acknowledged_after(promoting),
        "exit_code": code,
        "ended_after_s": round(ended - promoted, 2),
        "index_reused": figures["index_reused"],
        "sizes_going_back": count_going_back(notes),
    }


def _not_lifted(run: Run, pair: Pair) -> Figures:
    """B."""
    data, token = _make_log(run.directory, pair)
    pair.demand_standby()
    seen = Timed()
    service = Service(data, *_HASTE, *_database(pair))
    ready, load = Ready(service), Load(service, token, Source(), seen)
    time.sleep(run.count(1, 2))
    pair.kill_primary()
    time.sleep(_OUTAGE)
    pair.promote()
    promoted = time.monotonic()
    time.sleep(_BOUNDED)
    ready.end()
    status, detail, seconds = _append(service, token)
    load.end()
    stopping = time.monotonic()
    code = service.stop(40)
    ended = time.monotonic()
    figures = {
        "acknowledged_after": seen.acknowledged_after(promoted),
        "not_ready_after_s": round(max(0.0, ready.last - promoted), 2),
        "slowest_readiness_s": round(ready.slowest, 2),
        "refused": int(status == http.HTTPStatus.SERVICE_UNAVAILABLE and "waits for a standby" in detail),
        "refused_after_s": round(seconds, 2),
        "ended_s": round(ended - stopping, 2),
        "unclean_end": code,
    }
    # What waited was not cancelled: once nothing has to wait, everything that was acknowledged is there.
    pair.primary.configure(synchronous_standby_names="")
    return _named("b", figures | _lost(pair, seen))


def _again_and_again(run: Run, pair: Pair) -> Figures:
    """B2."""
    data, token = _make_log(run.directory, pair)
    seen = Timed()
    service = Service(data, *_HASTE, _ASYNCHRONOUS, *_database(pair))
    gaps, rounds = [], run.count(2, 20)
    load = Load(service, token, Source(), seen)
    for number in range(rounds):
        pair.demand_standby()
        time.sleep(1.0)
        pair.kill_primary()
        time.sleep(_OUTAGE)
        pair.promote()
        pair.primary.configure(synchronous_standby_names="")
        promoted = time.monotonic()
        gaps.append(_next_acknowledgement(service, seen, promoted) - promoted)
        run.progress(number + 1, rounds + 1)
        if number < rounds - 1:
            pair.make_standby()
    load.end()
    alive = service.process.poll() is None
    if alive:
        service.wait_sealed()
    code = service.stop()
    fsck = run_tlog("fsck", "--data", data, "--database", pair.service)
    figures = {
        "failovers": rounds,
        "gap_after_promotion_s": round(max(gaps), 2),
        "outcomes_missing": rounds - _outcomes(pair),
        "ended_meanwhile": int(not alive),
        "unclean_end": code,
        "fsck": fsck.returncode,
    }
    return _named("b2", figures | _lost(pair, seen))


def _named(scenario: str, figures: Figures) -> Figures:
    return {f"{scenario}_{name}": figure for name, figure in figures.items()}


@contextmanager
def _pair(run: Run, name: str) -> Iterator[Pair]:
    """Make two servers in a directory of their own, which becomes that of the run while the body runs."""
    parent, run.directory = run.directory, run.directory / name
    run.directory.mkdir(mode=0o711)
    try:
        with Pair(run.directory) as pair:
            yield pair
    finally:
        run.directory = parent


def _database(pair: Pair) -> tuple[str, str]:
    return "--database", pair.service


def _make_log(directory: Path, pair: Pair) -> tuple[Path, str]:
    """Make a log on the pair; return where it is, and an API key that may do everything."""
    data, where = directory / "data", (*_database(pair), "--admin-database", pair.keeper)
    done = run_tlog("init", "--data", data, "--origin", ORIGIN, *where)
    assert done.returncode == 0, done.stderr
    done = run_tlog("token", "create", "--data", data, "--principal", "gates", "--scope", "admin", "--json", *where)
    assert done.returncode == 0, done.stderr
    return data, str(json.loads(done.stdout)["token"])


def _wait_for_end(service: Service, seconds: float) -> int | None:
    """Return how a service ended by itself, None if it did not."""
    deadline = time.monotonic() + seconds
    while (code := service.process.poll()) is None and time.monotonic() < deadline:
        time.sleep(0.01)
    return code


def _next_acknowledgement(service: Service, seen: Timed, moment: float) -> float:
    """Return when the first request after a moment was acknowledged."""
    deadline = moment + _SECONDS
    while True:
        later = [at for at, status in list(seen.answers) if at > moment and status in {200, 201}]
        if later:
            return later[0]
        assert service.process.poll() is None, service.said.read_text()
        assert time.monotonic() < deadline, "nothing is acknowledged any more"
        time.sleep(0.01)


def _append(service: Service, token: str) -> tuple[int, str, float]:
    """Append one event; return status, detail and how long that took."""
    began = time.monotonic()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    with closing(service.connect()) as connection:
        connection.request("POST", "/v1/audit/events", Source(seed=9).take(1)[0], headers)
        response = connection.getresponse()
        document: dict[str, Any] = json.loads(response.read())
    return response.status, str(document.get("detail")), time.monotonic() - began


def _lost(pair: Pair, seen: Timed) -> Figures:
    figures = count_acknowledged(read_stored(pair.primary.address("dbadmin", "audit")).rows, seen.receipts)
    return {"acknowledged": len(seen.receipts), **{name: figures[name] for name in ("lost", "index_reused")}}


def _outcomes(pair: Pair) -> int:
    """Count the failovers that the log says itself, each to the timeline after the one before."""
    with psycopg.connect(pair.primary.address("dbadmin", "audit"), autocommit=True) as admin:
        entries = list(map(json.loads, read_controls(admin)))
    reports = [entry["report"] for entry in entries if entry.get("kind") == "failover"]
    in_order = all(old["to"] == new["from"] for old, new in pairwise(reports))
    return sum(report["accepted"] == "synchronous" for report in reports) if in_order else 0
