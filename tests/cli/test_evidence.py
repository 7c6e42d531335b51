"""Evidence on the command line: a file, or a directory of parts that is there whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys

import pytest
from questions import brute_force
from support import ROOT, sample_events, start_server, tlog, verify_offline

from tlog.cli.evidence import EvidenceOutput
from tlog.errors import MalformedInputError, OverloadedError

# `tlog` with bundles of 50 entries instead of 10,000, so that few events take many.
SMALL_BUNDLES = """
from tlog.answering import evidence, sets
evidence.MAX_POSTINGS = sets.MAX_POSTINGS = 50
from tlog.server import serve
create_app = serve.create_app
serve.create_app = lambda *arguments, maker, **options: create_app(*arguments, **options)  # which makes bulk answers here, where bundles are small
from tlog.cli import app
app.main()
"""


@pytest.fixture(scope="module")
def served(module_directory):
    server = start_server(module_directory / "data", program=("-c", SMALL_BUNDLES))
    server.sent = [json.loads(raw) for raw in sample_events(400)]
    server.append(server.sent)
    server.seal()
    yield server
    server.stop()


def export(*arguments, **options):
    command = [sys.executable, "-c", SMALL_BUNDLES, "export", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=ROOT, **options)


@pytest.mark.parametrize("where", ["local", "remote"])
def test_a_large_answer_is_a_directory_that_verifies(served, directory, where):
    options = ("--data", served.data) if where == "local" else ("--url", served.url)
    env = {**os.environ, "TLOG_TOKEN": served.token}
    path = directory / "answer"
    done = export("--action", "read", "--evidence", path, "--disclose", *options, env=env)
    assert done.returncode == 0, done.stderr
    expected = brute_force(served.sent, {"action": "read"})
    manifest = json.loads((path / "manifest.json").read_bytes())
    names = [each["file"] for each in manifest["files"]]
    assert sorted(each.name for each in path.iterdir()) == [*names, "manifest.json"]
    assert names[0] == "000001.json"
    assert f"a set of {len(names)} bundles" in done.stdout
    for each in manifest["files"]:
        data = (path / each["file"]).read_bytes()
        bundle = json.loads(data)
        assert each["sha256"] == hashlib.sha256(data).hexdigest()
        assert (each["start"], each["end"], each["answers"]) == (
            bundle["start"],
            bundle["end"],
            bundle["manifest"]["answers"],
        )
    assert path.stat().st_mode & 0o77 == 0
    assert all(each.stat().st_mode & 0o77 == 0 for each in path.iterdir())
    done = verify_offline("evidence", "--vkey", served.vkey, "--ask", "action=read", "--json", path)
    verdict = json.loads(done.stdout)
    assert (done.returncode, verdict["verdict"]) == (0, "verified"), verdict
    # The questions of the test itself are read as well.
    assert sum(each["answers"] for each in manifest["files"]) >= len(expected)
    part = verify_offline("evidence", "--vkey", served.vkey, "--ask", "action=read", path / names[0])
    assert part.returncode == 3, part.stdout


def test_a_set_goes_nowhere_where_something_is(served, directory):
    (directory / "full").mkdir()
    (directory / "full" / "mine").write_text("mine")
    (directory / "file").write_text("mine")
    (directory / "empty").mkdir()
    (directory / "link").symlink_to(directory / "empty")
    before = sorted(directory.rglob("*"))
    for name, said in (
        ("full", "is there already"),
        ("file", "is there already"),
        ("link", "is there already"),
        ("no/such", "directory does not exist"),
    ):
        done = export("--action", "read", "--evidence", directory / name, "--data", served.data)
        assert (done.returncode, said in done.stderr) == (2, True), (name, done.stderr)
    done = export("--action", "read", "--evidence", "-", "--data", served.data)
    assert (done.returncode, done.stdout, "a directory of files" in done.stderr) == (2, "", True)
    assert sorted(directory.rglob("*")) == before
    done = export("--action", "read", "--evidence", directory / "empty", "--data", served.data, "--json")
    told = json.loads(done.stdout)
    assert told["bundles"] == len([*(directory / "empty").iterdir()]) - 1
    assert told["answers"] > 50


def test_what_no_count_alone_proves_is_counted_from_the_events(served, directory):
    question = ("--action", "delete", "--from", "2026-01-01T00:00:00+01:00")
    done = tlog("export", "--count", "--evidence", directory / "file", *question, "--data", served.data)
    number = len(brute_force(served.sent, {"action": "delete", "from": "2026-01-01"}))
    assert "holds the events" in done.stderr
    assert f"{number} answer" in done.stderr
    asks = ("--ask", "action=delete", "--ask", "from=2025-12-31T23:00:00Z")
    checked = verify_offline("evidence", "--vkey", served.vkey, *asks, directory / "file")
    assert checked.returncode == 0, checked.stdout
    alone = tlog("export", "--count", "--evidence", directory / "alone", *question[:2], "--data", served.data)
    assert "holds the events" not in alone.stderr


def bundle(part=None):
    place = {} if part is None else {"part": part}
    return json.dumps({"end": 2, "manifest": {"answers": 1}, **place, "start": 1}).encode() + b"\n"


def interrupt(path):
    with EvidenceOutput(path) as output:
        output.take(bundle((1, 3)))
        assert [each.name for each in path.parent.iterdir()] != [path.name]
        output.take(bundle((2, 3)) * (1 // 0))


def test_of_a_set_that_breaks_off_nothing_is_left(directory):
    with pytest.raises(OverloadedError, match="1 of 3 bundles"), EvidenceOutput(directory / "answer") as output:
        output.take(bundle((1, 3)))
    with pytest.raises(ZeroDivisionError):
        interrupt(directory / "answer")
    assert [*directory.iterdir()] == []
    with pytest.raises(OverloadedError, match="0 of 1 bundles"), EvidenceOutput(directory / "answer"):
        pass
    for wrong in (b"{}\n", b"\xff\n", b"<html>\n"):
        with pytest.raises(MalformedInputError, match="no log"), EvidenceOutput(directory / "answer") as output:
            output.take(wrong)
    assert [*directory.iterdir()] == []
    with EvidenceOutput(directory / "answer") as output:
        output.take(bundle())
    assert (directory / "answer").read_bytes() == bundle()
