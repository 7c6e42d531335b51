"""R3, R8, R18: a full disk, the end of a service under load, and connections that never become requests.

Tests share the attacks, which are functions (tools/scenarios/service_scenarios.py); here the attacks run in full, with figures.
"""

from __future__ import annotations

import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Final

import psycopg
import pytest
from service_scenarios import (
    UNGUARDED,
    Ending,
    Filler,
    Recorder,
    Siege,
    besiege,
    event_of,
    small_disk,
    terminate_under_load,
    write_until_it_ends,
)
from support import Server, kill_postgres, start_server

from faults.gate import NotHereError
from faults.service import embedded, make_log
from tlog.cli.options import DEFAULT_DRAIN
from tlog.postgres.server import EmbeddedPostgres
from tlog.server.listening import GRACE_SECONDS

if TYPE_CHECKING:
    from pathlib import Path

    from faults.gate import Figures, Run

_MEGABYTE: Final = 1 << 20
_DISK: Final = 640  # megabytes, of which a new log takes about half
_SCARCE, _FULL = 100 * _MEGABYTE, _MEGABYTE
_RECOVERY: Final = 60.0
_STALLED: Final = 50
_HALF_OPEN, _IDLE = 500, 200
_PATIENCE: Final = 14.0
_UNGUARDED_SECONDS: Final = 11.0
_EVENT_IDS: Final = "SELECT event_id::text FROM tlog.leaf WHERE event_id IS NOT NULL"
_ENDLESS: Final = UNGUARDED.replace(
    "cli.main()", "from tlog.server import listening\nlistening.GRACE_SECONDS = None\ncli.main()"
)
_CREATED, _UNAVAILABLE = 201, 503
_REFUSALS: Final = (503, 507)


# --- R3 --------------------------------------------------------------------------------------------------------------


def measure_full_disk(run: Run) -> Figures:
    """Fill the disk until appends are refused, then until PostgreSQL ends; make space; compare the answers with the rows."""
    with ExitStack() as stack:
        try:
            disk = stack.enter_context(small_disk(run.directory / "disk", _DISK))
        except pytest.skip.Exception as error:
            message = f"{error.msg}; needs root, or run below 'unshare -Urm'"
            raise NotHereError(message) from None
        server = start_server(disk / "data")
        client, filler = Recorder(server), Filler(disk)
        recoveries, refused, false_answers = [], 0, 0
        try:
            for left in (_SCARCE, _FULL):
                client.append_until(_CREATED, _RECOVERY)
                filler.leave(left)
                if left == _FULL:
                    write_until_it_ends(EmbeddedPostgres(disk / "data" / "postgres"))
                client.append_until(507, _RECOVERY)
                for _ in range(run.count(20, 200)):
                    false_answers += client.append() not in _REFUSALS
                    refused += 1
                filler.go()
                recoveries.append(client.append_until(_CREATED, _RECOVERY))
                run.progress(len(recoveries), 2)
        finally:
            client.close()
            ended = server.stop()
        lost = _missing(disk / "data", client.acknowledged)
        kill_all(disk / "data")
    return {
        "acknowledged": len(client.acknowledged),
        "refused": refused,
        "lost": lost,
        "answers_neither_yes_nor_full": false_answers,
        "slowest_refusal_s": round(client.slowest_refusal, 2),
        "slowest_recovery_s": round(max(recoveries), 2),
        "unclean_end": ended,
    }


def measure_boasting(run: Run) -> Figures:
    """Ask for events that were never committed, as a service that answers before it commits would have acknowledged them."""
    make_log(run.directory / "data")
    return {"lost": _missing(run.directory / "data", [event_of()["eventId"] for _ in range(20)])}


def _missing(data: Path, event_ids: list[str]) -> int:
    with embedded(data) as postgres, psycopg.connect(postgres.conninfo(user="postgres")) as connection:
        stored = {name for (name,) in connection.execute(_EVENT_IDS)}
    return sum(name not in stored for name in event_ids)


def kill_all(data: Path) -> None:
    """Kill what is left of a log's PostgreSQL: its disk is about to go."""
    with suppress(OSError):
        kill_postgres(EmbeddedPostgres(data / "postgres"))


# --- R8 --------------------------------------------------------------------------------------------------------------


def measure_ending(run: Run) -> Figures:
    """Send SIGTERM to a service under load, with fifty bodies that never come, again and again."""
    endings: list[Ending] = []
    lost = 0
    turns = run.count(3, 20)
    for turn in range(turns):
        data = run.directory / str(turn)
        ending = terminate_under_load(start_server(data), stalled=_STALLED)
        lost += _missing(data, ending.acknowledged)
        endings.append(ending)
        run.progress(turn + 1, turns)
    return {**_summary(endings), "lost": lost}


def measure_endless(run: Run) -> Figures:
    """The same with a server that waits for its connections without end, and does not guard them."""
    server = start_server(run.directory / "data", program=("-c", _ENDLESS))
    return _summary([terminate_under_load(server, stalled=_STALLED, patience=_PATIENCE)])


def _summary(endings: list[Ending]) -> Figures:
    return {
        "ends": len(endings),
        "acknowledged": sum(len(ending.acknowledged) for ending in endings),
        "other_answers": sum(status not in {_CREATED, _UNAVAILABLE} for each in endings for status in each.statuses),
        "bare_refusals": sum(ending.without_retry_after for ending in endings),
        "unclean_ends": sum(ending.exit_code != 0 for ending in endings),
        "slowest_end_s": round(max(ending.seconds for ending in endings), 2),
        "drain_and_grace_s": DEFAULT_DRAIN + GRACE_SECONDS,
    }


# --- R18 -------------------------------------------------------------------------------------------------------------


def measure_siege(run: Run) -> Figures:
    """Open 500 connections that trickle half a head and 200 that say nothing, while a client appends."""
    server = start_server(run.directory / "data")
    try:
        return _judge(besiege(server, half_open=_HALF_OPEN, idle=_IDLE))
    finally:
        server.stop()


def measure_unguarded(run: Run) -> Figures:
    """The same on uvicorn's own protocol, for as long as the guard would take and a little."""
    server = start_server(run.directory / "data", program=("-c", UNGUARDED))
    try:
        return _judge(besiege(server, half_open=_HALF_OPEN // 10, idle=_IDLE // 10, limit=_UNGUARDED_SECONDS))
    finally:
        _end(server)


def _end(server: Server) -> None:
    server.process.terminate()
    time.sleep(1)
    server.process.kill()
    server.process.wait()
    kill_all(server.data)


def _judge(siege: Siege) -> Figures:
    before, during = (sorted(each)[int(0.99 * (len(each) - 1))] for each in (siege.before, siege.during))
    return {
        "closed": len(siege.closed_after),
        "still_open": siege.still_open,
        "last_closed_s": round(max(siege.closed_after, default=0.0), 1),
        "failed_appends": siege.failed,
        "p99_before_ms": round(before * 1e3, 1),
        "p99_during_ms": round(during * 1e3, 1),
        "p99_ratio": round(during / before, 2),
    }
