"""Several server processes on one log, clients on both, and one of them killed."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter

import psycopg
import pytest
from support import SMALL_SEGMENTS, kill_postgres, sample_events, start_server, tlog, verify_offline

from tlog.client import Client
from tlog.errors import OverloadedError
from tlog.postgres.server import EmbeddedPostgres

SECONDS = float(os.environ.get("TLOG_TEST_SECONDS", "6"))
CLIENTS = 8


class Load:
    """Eight clients that append for a while, half of them on each server, and keep every receipt."""

    def __init__(self, urls, token, seconds):
        self.receipts = []
        self.sent = Counter()
        self.refused = 0
        self._lock = threading.Lock()
        self._until = time.monotonic() + seconds
        self._threads = [
            threading.Thread(target=self._client, args=(number, urls[number % len(urls)], token))
            for number in range(CLIENTS)
        ]
        for thread in self._threads:
            thread.start()

    def join(self):
        for thread in self._threads:
            thread.join()

    def _client(self, number, url, token):
        rng = random.Random(number)
        part = 0
        with Client(url, token) as client:
            while time.monotonic() < self._until:
                part += 1
                events = sample_events(rng.choice((1, 1, 20, 100)), seed=10_000 * number + part)
                try:
                    receipts = client.append(events)
                    if rng.random() < 0.1:
                        again = client.append(events)
                        assert all(receipt["duplicate"] for receipt in again)
                except OverloadedError:
                    self.refused += 1
                    time.sleep(0.05)
                    continue
                with self._lock:
                    self.receipts += receipts
                    self.sent.update(json.loads(raw)["eventId"] for raw in events)


def check(data, vkey, load):
    """Everything acknowledged is there, once, where its receipt says; everything agrees."""
    report = json.loads(tlog("fsck", "--data", data, "--second-opinion", "--json").stdout)
    assert report["verdict"] == "verified", report
    indexes = [receipt["index"] for receipt in load.receipts]
    assert len(set(indexes)) == len(indexes) == len(load.sent), "an index or an eventId was given twice"
    assert report["size"] > max(indexes)
    exported = data.parent / "export"
    tlog("export", "--static", exported, "--data", data)
    done = verify_offline("log", "--vkey", vkey, exported)
    assert done.returncode == 0, done.stdout
    stored = {}
    for path in sorted((exported / "tile" / "entries").rglob("*")):
        if path.is_file():
            stored |= entries_of(path)
    for receipt in load.receipts:
        assert stored[receipt["eventId"]] == receipt["loggedAt"], "an acknowledged event is not what was acknowledged"


def entries_of(path):
    data, found = path.read_bytes(), {}
    while data:
        length = int.from_bytes(data[:2])
        entry = json.loads(data[2 : 2 + length])
        data = data[2 + length :]
        if "eventId" in entry:
            assert entry["eventId"] not in found
            found[entry["eventId"]] = entry["loggedAt"]
    return found


@pytest.mark.parametrize("kill", [False, True], ids=["both live", "one is killed"])
def test_two_servers_eight_clients(directory, kill):
    data = directory / "data"
    first = start_server(data)
    second = start_server(data, token=first.token)
    servers = [first, second]
    load = Load([server.url for server in servers], first.token, SECONDS)
    if kill:
        # The first one leads the sealing, and its death has to hand that over too.
        time.sleep(SECONDS / 2)
        first.process.send_signal(signal.SIGKILL)
        first.process.wait()
        servers.remove(first)
    load.join()
    assert load.receipts
    assert (load.refused > 0) == kill, "only the clients of a killed server are refused"
    servers[0].seal()
    for server in servers:
        assert server.stop() == 0, server.said.read_text()
    check(data, first.vkey, load)


def test_postgres_killed_under_load_loses_nothing_acknowledged(directory):
    data = directory / "data"
    server = start_server(data)
    load = Load([server.url], server.token, SECONDS)
    time.sleep(SECONDS / 2)
    kill_postgres(EmbeddedPostgres(data / "postgres"))
    load.join()
    assert load.receipts
    server.process.send_signal(signal.SIGKILL)
    server.process.wait()
    again = start_server(data, token=server.token)
    again.seal()
    assert again.stop() == 0, again.said.read_text()
    check(data, server.vkey, load)


def test_killed_while_it_indexes_merges_and_seals(directory):
    """After any crash the index is what a replay of the entries makes, byte for byte. TLOG_TEST_KILLS=50 for all of them."""
    rng, data, token, seed = random.Random(4), directory / "data", "", itertools.count()
    for _ in range(int(os.environ.get("TLOG_TEST_KILLS", "4"))):
        server = start_server(data, "--sealing", "here", token=token, program=("-c", SMALL_SEGMENTS))
        token = server.token
        deadline = time.monotonic() + rng.uniform(0.05, 1.5)
        while time.monotonic() < deadline:
            server.append([json.loads(raw) for raw in sample_events(rng.randrange(1, 200), seed=next(seed))])
        server.process.send_signal(signal.SIGKILL)
        server.process.wait()
    server = start_server(data, "--sealing", "here", token=token, program=("-c", SMALL_SEGMENTS))
    server.append([json.loads(raw) for raw in sample_events(10, seed=next(seed))])
    with Client(server.url, token) as client:
        deadline = time.monotonic() + 30
        while client.ask({})["asOf"]["indexed"] < client.log()["size"] - 10:
            assert time.monotonic() < deadline, "not indexed"
    assert server.stop() == 0, server.said.read_text()
    report = json.loads(tlog("fsck", "--data", data, "--json").stdout)
    assert report["verdict"] == "verified", report["problems"]
    assert report["checked"]["epochs"] > 0
    with EmbeddedPostgres(data / "postgres") as postgres:
        admin = psycopg.connect(postgres.conninfo(user="postgres"))
        sizes = {end - start for start, end in admin.execute("SELECT start_index, end_index FROM tlog.index_segment")}
        admin.close()
    assert sizes & {256, 1024, 4096} or report["size"] < 256, "nothing was merged"


def test_sigterm_ends_cleanly_and_the_last_one_stops_postgres(directory):
    data = directory / "data"
    first = start_server(data)
    second = start_server(data, token=first.token)
    first.process.send_signal(signal.SIGTERM)
    assert first.process.wait(30) == 0
    assert second.append([json.loads(sample_events(1)[0])])
    assert second.stop() == 0
    assert not (data / "postgres" / "cluster" / "postmaster.pid").exists()


@pytest.fixture
def away(directory):
    """A log whose database is away: its data directory, the database's address, and its server."""
    postgres = EmbeddedPostgres(directory / "postgres")
    postgres.create()
    database = postgres.conninfo(user="tlog")
    admin = postgres.conninfo(user="postgres")
    with postgres:
        tlog(
            "init",
            "--data",
            directory / "data",
            "--origin",
            "example.com/served",
            "--database",
            database,
            "--admin-database",
            admin,
        )
    return directory / "data", database, postgres


def test_child_begins_when_its_database_is_there(away):
    data, database, postgres = away
    command = [sys.executable, "-m", "tlog", "seal", "--data", str(data), "--supervised"]
    environment = {**os.environ, "TLOG_DATABASE": database}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert "cannot be reached" in json.loads(child.stdout.readline())["seal_error"]
        child.stdin.write(b"\n")  # a request, which nobody can serve yet
        child.stdin.flush()
        with postgres:
            began = next(status for status in map(json.loads, child.stdout) if status.get("sealed"))
            assert "seal_error" not in began
            child.stdin.close()
            assert child.wait(30) == 0


def test_child_that_waits_for_its_database_ends_with_its_parent(away):
    data, database, _ = away
    child = tlog("seal", "--data", data, "--database", database, "--supervised", input="\n")
    assert "cannot be reached" in json.loads(child.stdout)["seal_error"]
    alone = tlog("seal", "--data", data, "--database", database, check=False)
    assert alone.returncode == OverloadedError.exit_code, "nobody supervises it, so it says so and ends"


def test_sealer_that_meets_damage_ends_the_process(directory):
    """Any doubt ends the process, with the exit code that names it; what was signed stays as it was."""
    data = directory / "data"
    server = start_server(data)
    server.seal()
    postgres = EmbeddedPostgres(data / "postgres")
    postgres.administer(
        "ALTER TABLE tlog.leaf DISABLE TRIGGER ALL;"
        "CREATE FUNCTION public.f() RETURNS trigger LANGUAGE plpgsql AS "
        "$$BEGIN NEW.leaf_hash := sha256('x'); RETURN NEW; END$$;"
        "CREATE TRIGGER hostile BEFORE INSERT ON tlog.leaf FOR EACH ROW EXECUTE FUNCTION public.f()"
    )
    server.append([json.loads(sample_events(1)[0])])
    assert server.process.wait(30) == 9
    assert "entry 1 does not hash to its leaf hash" in " ".join(server.said.read_text().split())


def test_a_standby_that_commits_do_not_wait_for_is_refused_unless_the_loss_is_accepted(directory):
    data = directory / "data"
    server = start_server(data)
    assert server.stop() == 0
    with EmbeddedPostgres(data / "postgres") as postgres:
        postgres.administer("SELECT pg_create_physical_replication_slot('standby')")
    refused = tlog("serve", "--data", data, "--port", "0", check=False)
    assert (refused.returncode, "PostgreSQL has a standby" in " ".join(refused.stderr.split())) == (4, True)
    server = start_server(data, "--accept-loss-on-failover", token=server.token)
    assert server.stop() == 0
