"""Processes that record are killed, and the service is restarted: what was recorded is in the log, and nothing is there twice."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from typing import TYPE_CHECKING, NamedTuple

import pytest
from fakelog import wait_for
from support import start_server

from tlog.client import AuditLog, Client

if TYPE_CHECKING:
    from pathlib import Path

KILLS = int(os.environ.get("TLOG_TEST_CLIENT_KILLS", "3"))
WORKERS = 4
RESTART_EVERY = 20
# It notes what `record` returned: what is noted was recorded, and outlives the process as what it writes does.
WORKER = """
import os, sys, time
from tlog.client import AuditLog
url, token, spool, notes = sys.argv[1:]
log = AuditLog(url, token, source="ehr-api", spool=spool)
file = os.open(notes, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
while True:
    seq = log.record("read", {"userId": f"worker-{os.getpid()}"}, {"type": "patient_record", "id": str(time.time_ns())})
    os.write(file, b"%d\\n" % seq)
    time.sleep(0.002)
"""


class Verdict(NamedTuple):
    """Numbers that were recorded and are not in the log, and events of a number that another one has."""

    missing: set[int]
    twice: int


def judge(noted: list[int], logged: list[tuple[int, str]]) -> Verdict:
    numbers, event_ids = {seq for seq, _ in logged}, {event_id for _, event_id in logged}
    return Verdict(set(noted) - numbers, 2 * len(logged) - len(numbers) - len(event_ids))


def read_notes(path: Path) -> list[int]:
    # A process that was killed may have left half a line only where the kernel had room for no more: at the end of a full disk.
    return [int(line) for line in path.read_bytes().splitlines()] if path.exists() else []


@pytest.fixture
def service(directory):
    server = start_server(directory / "data")
    port = server.url.rpartition(":")[2]
    held = [server]

    def restart():
        held[0].stop()
        held[0] = start_server(directory / "data", "--port", port, token=server.token)

    yield server, restart
    held[0].stop()


def logged_by(server, source):
    with Client(server.url, server.token) as client:
        lines = b"".join(client.export("ndjson", {"sourceId": source})).splitlines()
    events = [json.loads(line) for line in lines]
    return [(each["source"]["seq"], each["eventId"]) for each in events]


def test_what_was_recorded_is_logged_once_whoever_is_killed(service, spool_path):
    server, restart = service
    notes = spool_path.with_name("notes")
    rng = random.Random(KILLS)

    def start():
        return subprocess.Popen([sys.executable, "-c", WORKER, server.url, server.token, spool_path, notes])

    workers = [start() for _ in range(WORKERS)]
    try:
        for number in range(1, KILLS + 1):
            seen = len(read_notes(notes))
            wait_for(lambda seen=seen: len(read_notes(notes)) > seen + 20, "progress")
            time.sleep(rng.random() / 50)  # anywhere in what they do
            victim = rng.randrange(WORKERS)
            workers[victim].kill()
            workers[victim].wait()
            workers[victim] = start()
            if number % RESTART_EVERY == 2:
                restart()
    finally:
        for each in workers:
            each.kill()
            each.wait()
    with AuditLog(server.url, server.token, source="ehr-api", spool=spool_path) as log:
        source = log.health()["source"]
        wait_for(lambda: log.health()["depth"] == 0, "an empty spool")
        assert log.health()["refused"] == 0
    noted, logged = read_notes(notes), logged_by(server, source)
    print(f"{KILLS} kills: {len(noted)} noted, {len(logged)} logged")  # noqa: T201 - the figure, with -rP
    assert len(noted) > 20 * KILLS
    assert judge(noted, logged) == (set(), 0)
    # The control: one that is taken away, or there once more, is seen.
    assert judge(noted, [each for each in logged if each[0] != noted[0]]).missing == {noted[0]}
    assert judge(noted, [*logged, (logged[0][0], "another")]).twice == 1
    assert judge(noted, [*logged, (0, logged[0][1])]).twice == 1
