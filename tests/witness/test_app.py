"""The service of a witness: over HTTP, under kill -9, and what leaves it is on disk."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import threading
from hashlib import sha256

import httpx2
import pytest
from support import ROOT, tlog
from witnessing import FORK_SEED, LeafLog, witness

from tlog.core.cosignature import parse_cosigner, read_cosignatures
from tlog.core.note import open_note, split_note
from tlog.witness.app import witness_app
from tlog.witness.decide import MAX_BODY_SIZE

pytestmark = pytest.mark.anyio
LOG = LeafLog()
FORK = LeafLog(other=FORK_SEED)
VKEY, ORIGIN = LOG.signer.verifier.vkey(), LOG.signer.verifier.name
KILLS = int(os.environ.get("TLOG_TEST_WITNESS_KILLS", "3"))


@pytest.fixture
def one(tmp_path):
    with witness(tmp_path / "w1", VKEY) as made:
        yield made


@pytest.fixture
def client(one):
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(witness_app(one.service)), base_url="http://w1")


async def test_the_way_of_a_checkpoint(client, one):
    answer = await client.post("/add-checkpoint", content=LOG.request(0, 5))
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/plain; charset=utf-8")
    keys = [key.cosigner for key in one.directory.read_keys()]
    text = split_note(LOG.note(5))[0]
    assert [each.time for each in read_cosignatures(text, answer.content, keys)] == [1_772_366_400] * 2
    answer = await client.post("/add-checkpoint", content=LOG.request(5, 9))
    assert answer.status_code == 200
    shown = await client.get(f"/{sha256(ORIGIN.encode()).hexdigest()}/checkpoint")
    assert shown.status_code == 200
    assert shown.content == LOG.note(9) + answer.content
    assert set(open_note(shown.content, [LOG.signer.verifier, *keys]).verified) == {LOG.signer.verifier, *keys}


async def test_refusals_over_http(client, tmp_path):
    """The status of each is in test_decide.py; here: what a conflict says, what is kept, what is too long."""
    await client.post("/add-checkpoint", content=LOG.request(0, 5))
    conflict = await client.post("/add-checkpoint", content=LOG.request(0, 9))
    assert (conflict.status_code, conflict.headers["content-type"], conflict.text) == (409, "text/x.tlog.size", "5\n")
    assert not (tmp_path / "w1" / "rejected").exists()
    forked = await client.post("/add-checkpoint", content=FORK.request(5, 9))
    assert forked.status_code == 422
    (kept,) = (tmp_path / "w1" / "rejected").iterdir()
    assert kept.read_bytes() == FORK.request(5, 9)
    for body, status in (
        (b"old 09\n", 400),
        (b"x" * (MAX_BODY_SIZE + 1), 400),
        (LeafLog("log.example/x").request(0, 5), 404),
    ):
        assert (await client.post("/add-checkpoint", content=body)).status_code == status
    assert (await client.get("/add-checkpoint")).status_code == 405
    assert (await client.get(f"/{'0' * 64}/checkpoint")).status_code == 404
    metrics = (await client.get("/metrics")).text
    assert 'tlog_witness_requests_total{status="422"} 1.0' in metrics
    assert "tlog_witness_logs 1.0" in metrics
    assert (await client.get("/livez")).text == "ok\n"


async def test_of_requests_that_were_all_judged_against_one_head_one_is_cosigned(client, one, monkeypatch):
    await client.post("/add-checkpoint", content=LOG.request(0, 5))
    for start in range(5, 45, 8):
        bodies = [LOG.request(start, start + 1 + number) for number in range(8)]
        answers = await asyncio.gather(*(client.post("/add-checkpoint", content=body) for body in bodies))
        won = [number for number, answer in enumerate(answers) if answer.status_code == 200]
        size = one.state.find(ORIGIN)[1].size
        assert [start + 1 + number for number in won] == [size]
        assert {answer.text for answer in answers if answer.status_code == 409} == {f"{size}\n"}
        await client.post("/add-checkpoint", content=LOG.request(size, start + 8))


async def test_nothing_leaves_before_it_is_on_disk(client, one, monkeypatch):
    def full(*_):
        raise OSError(28, "no space left")

    monkeypatch.setattr(one.state, "advance", full)
    with pytest.raises(OSError, match="no space"):
        await client.post("/add-checkpoint", content=LOG.request(0, 5))
    assert (await client.get(f"/{sha256(ORIGIN.encode()).hexdigest()}/checkpoint")).status_code == 404


class Process:
    """`tlog witness` as a process of its own."""

    def __init__(self, data):
        command = [sys.executable, "-m", "tlog", "witness", "--data", str(data), "--listen", "127.0.0.1:0"]
        command += [] if (data / "keys").exists() else ["--name", "witness.example/w1"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT)
        self.policy = [self.process.stdout.readline().decode().split() for _ in range(2)]
        self.url = self.policy[0][3]

    def post(self, body):
        return httpx2.post(f"{self.url}/add-checkpoint", content=body, timeout=30)

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        self.process.stdout.close()
        return self.process.wait(30)


def test_a_witness_that_is_killed_never_signs_below_what_it_answered(tmp_path):
    """Killed at any moment while requests come, TLOG_TEST_WITNESS_KILLS times: its head is never below an answer that got out."""
    data, chance, answered, size = tmp_path / "w1", random.Random(7), 0, 0
    one = Process(data)
    tlog("witness", "add-log", VKEY, "--data", data)
    for _ in range(KILLS):
        killer = threading.Timer(chance.uniform(0, 0.3), one.end, [signal.SIGKILL])
        killer.start()
        try:
            while size < 299:
                answer = one.post(LOG.request(size, size + 1))
                if answer.status_code == 200:
                    size = answered = size + 1
                else:
                    assert (answer.status_code, answered <= int(answer.text)) == (409, True)
                    size = int(answer.text)
        except httpx2.TransportError:
            pass
        killer.join()
        one = Process(data)
        (known,) = json.loads(tlog("witness", "logs", "--data", data, "--json").stdout)
        assert known["size"] >= answered
        assert one.post(LOG.request(max(answered - 1, 0), max(answered, 1))).status_code in (
            {200, 409} if not answered else {409}
        )
        size = known["size"]
    assert one.end() == 0
    names = [line[1] for line in one.policy]
    assert names == ["witness.example/w1#1", "witness.example/w1#2"]
    assert [parse_cosigner(line[2]).kind for line in one.policy] == [4, 6]
