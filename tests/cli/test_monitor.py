"""`tlog monitor`: its lines, its exit codes, and the command that hears of them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from hashlib import sha256

import pytest
from mirrors import serving
from support import tlog
from witnessing import FORK_SEED, LeafLog

from tlog.checking.monitor import Finding
from tlog.cli import monitor as command
from tlog.core.cosignature import CosigningKey
from tlog.core.fork import find_fork, parse_fork
from tlog.core.strict import encode_base64
from tlog.errors import MalformedInputError

LOG, FORK = LeafLog(), LeafLog(other=FORK_SEED)
KEY = LOG.signer.verifier


@pytest.fixture
def options(tmp_path):
    """The options of a monitor of a log in a directory, and what makes that show a tree."""
    (tmp_path / "policy").write_text(f"log {KEY.vkey()}\nquorum none\n")
    (tmp_path / "log").mkdir()
    return ("--policy", tmp_path / "policy", "--state", tmp_path / "state", "--url", tmp_path / "log")


@pytest.fixture
def show(tmp_path):
    def write(size, log=LOG):
        log.write_tiles(tmp_path / "log", size)
        (tmp_path / "log" / "checkpoint").write_bytes(log.note(size))

    return write


@pytest.fixture
def look(options, show):
    """Returns what makes one pass over a log that shows a tree; it returns the exit code, the lines and the complaints."""

    def look(size, log=LOG, *more):
        if size is not None:
            show(size, log)
        done = tlog("monitor", *options, "--once", *more, check=False)
        return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr

    return look


def test_each_pass_ends_with_what_was_seen(look, tmp_path):
    heard = tmp_path / "heard"
    hear = f"{sys.executable} -c \"import sys; open('{heard}', 'a').write(sys.stdin.read()); print('heard'); exit(9)\""
    code, (line,), complaint = look(5, LOG, "--on-alarm", hear)
    assert (code, line["event"], line["severity"], line["where"]) == (0, "ok", "info", str(tmp_path / "log"))
    assert json.loads(heard.read_text()) == line
    assert complaint == "heard\ntlog: --on-alarm: the command ended with 9\n"
    code, (line,), complaint = look(9, FORK, "--on-alarm", str(tmp_path / "nothing"))
    assert (code, line["event"], line["severity"]) == (1, "fork", "alarm")
    assert "--on-alarm: " in complaint
    forked = find_fork(KEY, parse_fork((tmp_path / line["file"]).read_bytes()))
    assert (forked.first.size, forked.second.size) == (5, 9)
    code, (line,), _ = look(3)
    assert (code, line["event"], "file" in line) == (1, "rollback", False)
    (tmp_path / "log" / "checkpoint").unlink()
    code, (line,), _ = look(None)
    assert (code, line["event"], line["severity"]) == (3, "unreachable", "warning")


def test_witnesses_and_receipts_are_looked_at(look, tmp_path):
    """A witness that shows another history, one that shows nothing, one that is away; a receipt of an entry that is not there."""
    receipt = {"index": 3, "leafHash": encode_base64(FORK.leaf(3)).decode()}
    (tmp_path / "receipts").mkdir()
    (tmp_path / "receipts" / "3.json").write_text(json.dumps({"receipts": [receipt]}))
    path = f"/w/{sha256(KEY.name.encode()).hexdigest()}/checkpoint"
    with serving(lambda asked: (200, {}, [FORK.note(4)]) if asked == path else (404, {}, [])) as url:
        keys = [CosigningKey(f"witness.example/w{n}", bytes([n + 1]) * 32).cosigner.vkey() for n in range(3)]
        places = (f"{url}/w/", f"{url}/silent", "http://127.0.0.1:1")
        lines = [f"witness w{n} {key} {place}\n" for n, (key, place) in enumerate(zip(keys, places, strict=True))]
        (tmp_path / "policy").write_text(f"log {KEY.vkey()}\n{''.join(lines)}quorum none\n")
        code, found, complaint = look(5, LOG, "--receipts", tmp_path / "receipts")
    assert complaint == ""
    assert (code, [(line["event"], line["where"]) for line in found]) == (
        1,
        [
            ("stale", str(tmp_path / "log")),
            ("fork", f"{url}/w"),
            ("unreachable", "http://127.0.0.1:1"),
            ("receipt", "3.json"),
        ],
    )


def test_it_goes_on_until_it_is_stopped(options, show):
    show(5)
    watching = subprocess.Popen(
        [sys.executable, "-m", "tlog", "monitor", *map(str, options), "--every", "0.05"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert json.loads(watching.stdout.readline())["event"] == "ok"
        show(4)
        assert json.loads(watching.stdout.readline())["event"] == "rollback"
        show(6)
        assert json.loads(watching.stdout.readline())["event"] == "ok"
        watching.send_signal(signal.SIGINT)
        rest, _ = watching.communicate(timeout=60)
        assert (rest, watching.returncode) == ("", 130)
    finally:
        watching.kill()
        watching.wait()


def test_what_a_monitor_refuses(look, tmp_path):
    (tmp_path / "policy").write_text("quorum none\n")
    code, lines, complaint = look(5)
    assert (code, lines, "has keys of 0 logs" in complaint) == (2, [], True)
    (tmp_path / "policy").unlink()
    assert look(None)[0] == 2


@pytest.mark.parametrize("text", ["", " ", "page 'me"])
def test_a_command_that_is_none_is_refused(tmp_path, text):
    with pytest.raises(MalformedInputError, match="--on-alarm is a command and its arguments"):
        command._Teller(tmp_path / "state", text)


def test_a_change_is_told_once_and_what_stays_wrong_each_hour(tmp_path, monkeypatch, capsys):
    now = [1000.0]
    monkeypatch.setattr(command.time, "monotonic", lambda: now[0])
    teller = command._Teller(tmp_path / "state", None)
    ok, stale = (
        Finding("ok", "log", "5 entries"),
        [Finding("stale", "log", "old"), Finding("unreachable", "log", "away")],
    )

    def told(*found, after):
        now[0] += after
        teller.tell(found)
        return [json.loads(line)["event"] for line in capsys.readouterr().out.splitlines()]

    assert told(ok, after=0) == ["ok"]
    assert told(ok, after=7200) == []
    assert told(*stale, after=1) == ["stale", "unreachable"]
    assert told(stale[0], after=3599) == []
    assert told(stale[0], after=1) == ["stale"]
    assert told(*stale, after=3599) == ["unreachable"]
    assert told(ok, after=1) == ["ok"]
    assert told(stale[0], after=1) == ["stale"]
