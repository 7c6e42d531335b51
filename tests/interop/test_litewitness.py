"""A served log, witnessed by a witness that is not ours: litewitness of filippo.io/torchwood.

It takes minutes to build and has no release to download, so it runs where somebody has built it, and says where:

    GOBIN=$PWD/bin go install filippo.io/torchwood/cmd/litewitness@v0.6.1
    TLOG_TEST_LITEWITNESS=$PWD/bin/litewitness python -m pytest -n 0 tests/interop/test_litewitness.py
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import time

import httpx2
import pytest
from support import sample_events, start_server, tlog

from tlog.core.cosignature import Cosigner
from tlog.core.policy import open_witnessed, parse_policy

PROGRAM = os.environ.get("TLOG_TEST_LITEWITNESS")
ORIGIN = "example.com/served"
NAME = "witness.example/lite"


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


@pytest.fixture
def litewitness(tmp_path):
    """Returns what starts the witness for a log's vkey, and returns its URL and its key."""
    if PROGRAM is None:
        pytest.skip("set TLOG_TEST_LITEWITNESS to a built litewitness")
    started = []

    def start(vkey):
        key, agent, database, port = tmp_path / "key", tmp_path / "agent", tmp_path / "lite.db", free_port()
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        started.append(subprocess.Popen(["ssh-agent", "-D", "-a", agent], stdout=subprocess.DEVNULL))
        wait_until(agent.exists)
        subprocess.run(
            ["ssh-add", "-q", key],
            check=True,
            env=os.environ | {"SSH_AUTH_SOCK": str(agent)},
            stderr=subprocess.DEVNULL,
        )
        shown = subprocess.run(
            ["ssh-keygen", "-l", "-f", f"{key}.pub"], capture_output=True, text=True, check=True
        ).stdout
        command = [PROGRAM, "-db", database, "-name", NAME, "-key", shown.split()[1], "-ssh-agent", agent]
        started.append(subprocess.Popen([*command, "-listen", f"127.0.0.1:{port}"], stderr=subprocess.DEVNULL))
        wait_until(lambda: answers(port))
        with sqlite3.connect(database) as connection:
            empty = base64.b64encode(hashlib.sha256(b"").digest()).decode()
            connection.execute("INSERT INTO log VALUES (?, 0, ?)", (ORIGIN, empty))
            connection.execute("INSERT INTO key VALUES (?, ?)", (ORIGIN, vkey))
        public = base64.b64decode((tmp_path / "key.pub").read_text().split()[1])[-32:]
        return f"http://127.0.0.1:{port}", Cosigner(NAME, public), database

    yield start
    for process in reversed(started):
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def answers(port):
    try:
        return httpx2.get(f"http://127.0.0.1:{port}/").status_code
    except httpx2.TransportError:
        return None


def wait_until(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_litewitness_cosigns_a_log_from_its_beginning_and_as_it_grows(directory, litewitness, monkeypatch):
    data = directory / "data"
    vkey = tlog("init", "--data", data, "--origin", ORIGIN).stdout.strip()
    url, key, database = litewitness(vkey)
    policy = directory / "policy"
    policy.write_text(f"log {vkey}\nwitness lite {key.vkey()} {url}\nquorum lite\n")
    monkeypatch.setenv("TLOG_POLICY", str(policy))
    monkeypatch.setenv("TLOG_WITNESS_EVERY", "0.05")
    for start in (0, 600):
        server = start_server(data)  # the second time it is at its own size, and shows it again
        try:
            for first in range(start, start + 600, 200):
                server.append([json.loads(event) for event in sample_events(200, seed=first)])
                server.seal()
                note = httpx2.get(f"{server.url}/checkpoint").content
                size = open_witnessed(note, parse_policy(policy.read_bytes()), ORIGIN).size
                assert size > first
            metrics = httpx2.get(f"{server.url}/metrics").text
            assert '\ntlog_witness_up{witness="lite"} 1.0' in metrics
        finally:
            assert server.stop() == 0
    with sqlite3.connect(database) as connection:
        ((cosigned,),) = connection.execute("SELECT tree_size FROM log").fetchall()
    assert cosigned >= size
    assert re.search(r"\n— witness\.example/lite ", note.decode())
