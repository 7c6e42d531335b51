"""The commands of a witness, and a served log that it witnesses: whole processes, as their operators run them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import httpx2
import pytest
from support import ROOT, sample_events, start_server, tlog, verify_offline
from witnessing import LeafLog

from tlog.core.policy import open_witnessed, parse_policy

LOG = LeafLog()
VKEY = LOG.signer.verifier.vkey()


class Witness:
    """A running `tlog witness`."""

    def __init__(self, data, *options):
        command = [sys.executable, "-m", "tlog", "witness", "--data", str(data), *map(str, options)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT)
        self.policy = self.process.stdout.readline().decode() + self.process.stdout.readline().decode()
        self.url = self.policy.split()[3]

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        self.process.stdout.close()
        return self.process.wait(30)


@pytest.fixture(scope="module")
def made(module_directory):
    """A witness that knows LOG and was ended again."""
    data = module_directory / "w1"
    running = Witness(data, "--name", "witness.example/w1", "--listen", "127.0.0.1:0")
    try:
        tlog("witness", "add-log", VKEY, "--data", data)
        other = tlog("witness", "--data", data, "--listen", "127.0.0.1:0", check=False)
        assert (other.returncode, "another process serves the witness" in other.stderr) == (4, True)
    finally:
        assert running.end(signal.SIGINT) == 0
    return data


def test_logs_and_their_keys(made, tmp_path):
    second = LeafLog("log.example/second")
    note, vkey = tmp_path / "checkpoint", tmp_path / "vkey"
    note.write_bytes(second.note(7))
    vkey.write_text(second.signer.verifier.vkey() + "\n")
    tlog("witness", "add-log", f"@{vkey}", "--from", note, "--data", made)
    (first, other) = json.loads(tlog("witness", "logs", "--data", made, "--json").stdout)
    assert first == {"origin": "log.example/second", "size": 7, "vkeys": [second.signer.verifier.vkey()]}
    assert (other["origin"], other["size"]) == ("log.example/witnessed", 0)
    shown = tlog("witness", "logs", "--data", made).stdout
    assert shown.splitlines()[:2] == [f"{'7':>12} log.example/second", f"{'':>13}{second.signer.verifier.vkey()}"]
    tlog("witness", "del-key", f"@{vkey}", "--data", made)
    assert json.loads(tlog("witness", "logs", "--data", made, "--json").stdout)[0]["vkeys"] == []
    tlog("witness", "add-key", f"@{vkey}", "--data", made)
    assert json.loads(tlog("witness", "logs", "--data", made, "--json").stdout)[0]["vkeys"] != []


@pytest.mark.parametrize(
    "arguments, code, message",
    [
        (["--data", "{new}"], 4, "there is no witness in"),
        (["logs", "--data", "{new}"], 4, "there is no witness in"),
        (["--data", "{new}", "--name", "a b"], 2, "a key name must be"),
        (["--data", "{made}", "--name", "witness.example/w2"], 4, "is witness.example/w1, not witness.example/w2"),
        (["--data", "{made}", "--listen", "7380"], 2, "--listen takes HOST:PORT"),
        (["--data", "{made}", "--listen", "127.0.0.1:65536"], 2, "--listen takes HOST:PORT"),
        (["add-log", "no vkey", "--data", "{made}"], 2, "a vkey has the form"),
        (["add-log", VKEY, "--data", "{made}"], 2, "this witness knows log.example/witnessed already"),
        (["add-log", "{own}", "--data", "{made}"], 2, "is this witness's own name"),
        (["add-log", "@{new}", "--data", "{made}"], 2, "No such file"),
        (["add-key", LeafLog("log.example/x").signer.verifier.vkey(), "--data", "{made}"], 2, "does not know log.example/x"),
        (["del-key", "nobody", "--data", "{made}"], 2, "no such key"),
        (["del-key", "@{binary}", "--data", "{made}"], 2, "no such key"),
    ],
)  # fmt: skip
def test_what_is_refused_says_what_to_do(made, tmp_path, arguments, code, message):
    own = LeafLog("witness.example/w1").signer.verifier.vkey()
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe")
    given = [each.format(made=made, new=tmp_path / "new", own=own, binary=binary) for each in arguments]
    done = tlog("witness", *given, check=False)
    assert (done.returncode, message in done.stderr) == (code, True), done.stderr
    assert "Traceback" not in done.stderr


def test_a_served_log_is_witnessed(directory, monkeypatch):
    """Its checkpoints carry cosignatures; without the witness events are taken all the same, and published once it is back."""
    data = directory / "data"
    vkey = tlog("init", "--data", data, "--origin", "example.com/served").stdout.strip()
    running = Witness(directory / "w1", "--name", "witness.example/w1", "--listen", "127.0.0.1:0")
    tlog("witness", "add-log", vkey, "--data", directory / "w1")
    policy = directory / "policy"
    policy.write_text(f"log {vkey}\n{running.policy.splitlines()[0]}\nquorum witness.example/w1#1\n")
    monkeypatch.setenv("TLOG_POLICY", str(policy))
    monkeypatch.setenv("TLOG_WITNESS_EVERY", "0.05")
    server = start_server(data)
    try:
        events = [json.loads(event) for event in sample_events(6)]
        server.append(events[:3])
        server.seal()

        def published():
            return open_witnessed(
                httpx2.get(f"{server.url}/checkpoint").content, parse_policy(policy.read_bytes()), "example.com/served"
            ).size

        proof = httpx2.get(f"{server.url}/v1/proof/inclusion?index=1").text
        assert "\n— witness.example/w1 " in proof.rpartition("\n\n")[2]
        (directory / "checkpoint").write_bytes(httpx2.get(f"{server.url}/checkpoint").content)
        # Who knows the log's key alone passes over what the witnesses say.
        offline = verify_offline("checkpoint", "--vkey", vkey, directory / "checkpoint")
        assert (offline.returncode, offline.stderr) == (0, "")
        assert httpx2.get(f"{server.url}/v1/log").json()["witnessing"] == "required"
        assert running.end() == 0
        server.append(events[3:])
        deadline = time.monotonic() + 30
        while httpx2.get(f"{server.url}/readyz").json().get("witnessing") != "lags":
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert httpx2.get(f"{server.url}/readyz").status_code == 200
        metrics = httpx2.get(f"{server.url}/metrics").text
        assert '\ntlog_witness_up{witness="witness.example/w1#1"} 0.0' in metrics
        assert "\ntlog_unwitnessed_seconds 0.0" not in metrics
        held = published()
        assert httpx2.get(f"{server.url}/v1/log").json()["pending"] >= 3, "what was appended since is not published"
        running = Witness(directory / "w1", "--listen", running.url.removeprefix("http://"))
        server.seal()
        assert published() > held
    finally:
        server.stop()
        running.end()
