"""R4: many sealers on one anchor at once, and the leader's lock taken away."""

from __future__ import annotations

import json
import multiprocessing
import random
import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING, Final

import psycopg

from faults.history import examine, read_stored
from faults.service import Acknowledged, Service, Source, embedded, make_log, make_token
from faults.steps import FIRST, following
from tlog.errors import ForkError
from tlog.location import DataDirectory
from tlog.signing.anchor import Anchor, Anchored

if TYPE_CHECKING:
    from multiprocessing.synchronize import Barrier
    from pathlib import Path

    from faults.gate import Figures, Run

_SEALERS: Final = 8
_HOLDER: Final = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1 ORDER BY pid"
_SECONDS: Final = 30


class BlindAnchor(Anchor):
    """The control: the new state is written whatever the anchor holds."""

    def advance(self, old: Anchored, new: Anchored) -> None:
        """Write, and compare nothing."""
        assert new.origin == old.origin
        with closing(sqlite3.connect(self._path, timeout=10, isolation_level=None)) as connection:
            connection.execute(
                "UPDATE anchor SET size = ?, note = ?, sealed_at = ?", (new.size, new.note, new.sealed_at)
            )


def measure(run: Run) -> Figures:
    """Let two to eight processes advance one anchor at the same moment, again and again; then end the leader's session."""
    figures = race(Anchor, run, run.count(100, 1_000))
    return {**figures, **_end_leaders(run, run.count(4, 40))}


def measure_blind(run: Run) -> Figures:
    """Let them race without comparing."""
    return race(BlindAnchor, run, 20)


def race(kind: type[Anchor], run: Run, rounds: int) -> Figures:
    """Count rounds that nobody won, and rounds in which more than one signed the same size."""
    path = run.directory / "anchor.sqlite3"
    Anchor(path).create(FIRST)
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(_SEALERS), context.Queue()
    sealers = [
        context.Process(target=_seal, args=(kind, path, number, rounds, barrier, results), daemon=True)
        for number in range(_SEALERS)
    ]
    for sealer in sealers:
        sealer.start()
    winners = [0] * rounds
    for _ in sealers:
        for won in results.get(timeout=1_200):
            winners[won] += 1
    for sealer in sealers:
        sealer.join()
    held = Anchor(path).read().size
    return {
        "rounds": rounds,
        "rounds_without_winner": sum(count == 0 for count in winners),
        "forks": sum(max(0, count - 1) for count in winners),
        "anchor_astray": abs(held - sum(count > 0 for count in winners)),
    }


def _seal(  # noqa: PLR0917 - passed to another process by position
    kind: type[Anchor],
    path: Path,
    number: int,
    rounds: int,
    barrier: Barrier,
    results: multiprocessing.Queue[list[int]],
) -> None:
    rng, anchor, won = random.Random(4), kind(path), []  # noqa: S311 - all draw the same numbers
    for turn in range(rounds):
        taking_part = rng.randint(2, _SEALERS)
        old = anchor.read()
        barrier.wait(_SECONDS)
        if number < taking_part:
            try:
                anchor.advance(old, following(old, b"by sealer %d" % number))
                won.append(turn)
            except ForkError:
                pass
        barrier.wait(_SECONDS)
    results.put(won)


def _end_leaders(run: Run, times: int) -> Figures:
    """Terminate the session that holds the leader's lock while two services seal one log, and go on appending."""
    data, seen = run.directory / "data", Acknowledged()
    make_log(data)
    token, source = make_token(data), Source()
    services = [Service(data, "--interval", "0.05", "--sealing", "here") for _ in range(2)]
    with embedded(data) as postgres:
        admin = psycopg.connect(postgres.conninfo(user="postgres"), autocommit=True)
        for turn in range(times):
            for (holder,) in admin.execute(_HOLDER).fetchall():
                admin.execute("SELECT pg_terminate_backend(%s)", (holder,))
            _append_sealed(services[turn % 2], token, source, seen)
            run.progress(turn + 1, times)
        admin.close()
        ends = [service.stop() for service in services]
        stored = read_stored(postgres.conninfo(user="postgres"))
    directory = DataDirectory(data)
    found = examine(stored, seen, [Anchor(directory.anchor).read().note], directory.verifier())
    return {
        "leaders_ended": times,
        "unclean_end": sum(map(abs, ends)),
        **{name: found[name] for name in ("acknowledged", "checkpoints", "lost", "roots_wrong")},
        "service_forks": found["forks"],
    }


def _append_sealed(service: Service, token: str, source: Source, seen: Acknowledged) -> None:
    """Append until it is acknowledged and sealed."""
    body, deadline = b"\n".join(source.take(5)), time.monotonic() + _SECONDS
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/x-ndjson"}
    while True:
        with closing(service.connect()) as connection:
            connection.request("POST", "/v1/audit/events?wait=sealed", body, headers)
            response = connection.getresponse()
            document = response.read()
        if response.status in {200, 201} and json.loads(document)["sealed"]:
            seen.add(response.status, document, retry_after=False)
            return
        assert time.monotonic() < deadline, document
        time.sleep(0.05)
