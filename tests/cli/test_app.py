"""The command line as a person or a script meets it."""

from __future__ import annotations

import gzip
import json
import os
import re
import resource
import shlex
import signal
import socket
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import bundles
import httpx2
import pytest
from support import ROOT, sample_events, start_server, tlog

from tlog.cli import app as cli
from tlog.core.note import parse_vkey


@pytest.fixture(scope="module")
def data(module_directory):
    tlog("init", "--data", module_directory / "data", "--origin", "example.com/cli")
    return module_directory / "data"


def events_file(path, count, seed):
    path.write_bytes(b"\n".join(sample_events(count, seed=seed)) + b"\n")
    return path


def words(text):
    return " ".join(text.split())


def test_init_prints_the_public_key_and_no_secret(data):
    done = tlog("init", "--data", data)
    assert parse_vkey(done.stdout.strip()).name == "example.com/cli"
    assert "PRIVATE" not in done.stdout + done.stderr
    assert tlog("keys", "show", "--data", data).stdout == done.stdout
    shown = json.loads(tlog("keys", "show", "--json", "--data", data).stdout)
    assert shown["vkey"] == done.stdout.strip()


def test_append_from_standard_input(data):
    raws = b"\n".join(sample_events(3, seed=11))
    done = subprocess.run(
        [sys.executable, "-m", "tlog", "append", "--json", "--data", str(data)], input=raws, capture_output=True, cwd=ROOT, check=True
    )  # fmt: skip
    assert json.loads(done.stdout)["appended"] == 3


def test_import_twice(data, tmp_path):
    file = events_file(tmp_path / "events.ndjson", 2500, 12)
    first = json.loads(tlog("import", "ndjson", file, "--json", "--data", data).stdout)
    assert (first["events"], first["appended"], first["duplicates"]) == (2500, 2500, 0)
    again = tlog("import", "ndjson", file, "--data", data).stdout
    assert "2,500 events read: 0 appended, 2,500 were in the log already; sealed at tree size" in again


def test_import_of_compressed_files(data, tmp_path):
    (tmp_path / "events.ndjson.gz").write_bytes(gzip.compress(b"\r\n".join(sample_events(5, seed=13))))
    done = json.loads(tlog("import", "ndjson", tmp_path / "events.ndjson.gz", "--json", "--data", data).stdout)
    assert done["appended"] == 5


def test_one_bad_event_imports_nothing(data, tmp_path):
    good = events_file(tmp_path / "good.ndjson", 1500, 14)
    bad = events_file(tmp_path / "bad.ndjson", 3, 15)
    lines = bad.read_bytes().splitlines()
    bad.write_bytes(
        b"\n".join([lines[0], lines[1].replace(b'"read"', b'"look"').replace(b'"action"', b'"Action"'), lines[2]])
    )
    before = json.loads(tlog("fsck", "--json", "--data", data).stdout)["size"]
    done = tlog("import", "ndjson", good, bad, "--data", data, check=False)
    assert done.returncode == 2
    assert f"{bad}, line 2: " in words(done.stderr)
    after = json.loads(tlog("fsck", "--json", "--data", data).stdout)
    assert (after["size"], after["saidBy"]) == (before + 1, before + 1), "the first check is an entry"


@pytest.mark.parametrize(
    "content, message",
    [
        (b"x" * 70_000, "line 1: longer than the 65535 bytes"),
        (b"\x1f\x8bdamaged", "gzip data is damaged"),
        (b"[1, 2]\n", "record 1: expected an object, got a number"),
    ],
    ids=["long line", "damaged gzip", "not an object"],
)
def test_files_that_are_none(data, tmp_path, content, message):
    file = tmp_path / ("x.gz" if content.startswith(b"\x1f") else "x.ndjson")
    file.write_bytes(content)
    done = tlog("import", "ndjson", file, "--data", data, check=False)
    assert done.returncode == 2
    assert message in words(done.stderr)


def test_missing_files_and_directories_are_named(data, tmp_path):
    done = tlog("import", "ndjson", tmp_path / "nowhere", "--data", data, check=False)
    assert (done.returncode, "No such file" in done.stderr) == (2, True)
    done = tlog("fsck", "--data", tmp_path / "nothing", check=False)
    assert (done.returncode, "there is no log in" in words(done.stderr)) == (4, True)
    assert not (tmp_path / "nothing").exists(), "looking makes nothing"


def test_prove_and_verify(data, tmp_path):
    file = events_file(tmp_path / "events.ndjson", 4, 16)
    tlog("import", "ndjson", file, "--data", data)
    event_id = json.loads(file.read_bytes().splitlines()[2])["eventId"]
    files = json.loads(tlog("prove", event_id.upper(), "--out", tmp_path / "out", "--json", "--data", data).stdout)
    (tmp_path / "vkey").write_text(tlog("keys", "show", "--data", data).stdout)
    key = ["--vkey", f"@{tmp_path / 'vkey'}"]
    assert "VERIFIED: entry" in tlog("verify", "proof", *key, "--event", files["event"], files["proof"]).stdout
    proof = Path(files["proof"]).read_bytes()
    (tmp_path / "checkpoint").write_bytes(proof.partition(b"\n\n")[2])
    assert "VERIFIED" in tlog("verify", "checkpoint", *key, tmp_path / "checkpoint").stdout
    tlog("export", "--static", tmp_path / "static", "--data", data)
    assert "VERIFIED: all of the log" in tlog("verify", "log", *key, tmp_path / "static").stdout
    tlog("prove", event_id, "--no-disclose", "--out", tmp_path / "bare", "--data", data)
    assert '"disclosures":{}' in (tmp_path / "bare" / f"{event_id}.event.json").read_text()
    Path(files["proof"]).write_bytes(proof.replace(b"index ", b"index 1"))
    wrong = tlog("verify", "proof", *key, "--event", files["event"], files["proof"], check=False)
    assert (wrong.returncode, wrong.stdout) == (1, "")
    Path(files["proof"]).write_bytes(proof[:-1])
    malformed = tlog("verify", "proof", *key, "--event", files["event"], files["proof"], check=False)
    assert malformed.returncode == 2


@pytest.mark.parametrize("event_id", ["00000000-0000-4000-8000-000000000000", "nonsense"])
def test_prove_of_what_is_not_there(data, event_id):
    done = tlog("prove", event_id, "--data", data, check=False)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_consistency_over_http_and_remote_import(directory, tmp_path):
    server = start_server(directory / "data")
    try:
        server.seal()
        key = tmp_path / "key"
        key.write_text(server.token + "\n")
        remote = ["--url", server.url, "--token-file", key]
        file = events_file(tmp_path / "events.ndjson", 1200, 17)
        done = json.loads(tlog("import", "ndjson", file, "--json", *remote).stdout)
        assert (done["appended"], done["size"] >= 1201) == (1200, True)
        again = json.loads(tlog("append", file, "--json", *remote).stdout)
        assert (again["appended"], again["duplicates"]) == (0, 1200)
        event_id = json.loads(file.read_bytes().splitlines()[7])["eventId"]
        tlog("prove", event_id, "--out", tmp_path, *remote)
        arguments = [
            "--vkey",
            server.vkey,
            "--event",
            tmp_path / f"{event_id}.event.json",
            tmp_path / f"{event_id}.tlog-proof",
        ]
        assert "VERIFIED" in tlog("verify", "proof", *arguments).stdout
        refused = tlog("import", "ndjson", file, "--url", server.url, check=False)
        assert (refused.returncode, "API key" in refused.stderr) == (2, True)
    finally:
        server.stop()
    away = tlog("import", "ndjson", file, *remote, check=False)
    assert (away.returncode, "cannot be reached" in words(away.stderr)) == (75, True)


@pytest.fixture
def contradicting(tmp_path, monkeypatch):
    """An empty directory to work in, and how to verify two checkpoints that one log signed, here given their roots."""
    monkeypatch.chdir(tmp_path)

    def verify(old_size, old_root, new_size, new_root):
        (tmp_path / "older").write_text(bundles.note(old_size, old_root))
        (tmp_path / "proof").write_text(f"old {old_size}\n\n{bundles.note(new_size, new_root)}")
        with pytest.raises(SystemExit) as ended:
            cli.app(["verify", "consistency", "--vkey", bundles.vkey(), "--old", "older", "proof"])
        return ended.value.code

    return verify


def test_contradicting_checkpoints_are_kept_as_evidence(contradicting, tmp_path, capsys):
    assert contradicting(9, bytes(32), 9, b"x" * 32) == 1
    said = capsys.readouterr()
    assert (said.out, "convict it" in said.err) == ("", True)
    assert "The evidence is in inconsistent-9.evidence.json" in said.err
    assert (tmp_path / "inconsistent-9.evidence.json").read_text() == bundles.canonical(
        {
            "newer": bundles.note(9, b"x" * 32),
            "older": bundles.note(9, bytes(32)),
            "proof": [],
            "type": "tlog-inconsistency",
            "v": 1,
        }
    ) + "\n"
    assert contradicting(5, bytes(32), 10, b"x" * 32) == 1
    assert "fetch another proof before you accuse" in capsys.readouterr().err
    assert json.loads((tmp_path / "inconsistent-10.evidence.json").read_text())["older"] == bundles.note(5, bytes(32))


def test_evidence_is_never_written_over_a_file(contradicting, tmp_path, capsys):
    (tmp_path / "inconsistent-9.evidence.json").write_text("evidence of yesterday")
    assert contradicting(9, bytes(32), 9, b"x" * 32) == 1
    said = capsys.readouterr().err
    assert "convict it" in said
    assert "The evidence was not written, because inconsistent-9.evidence.json exists: move that file and run" in said
    assert (tmp_path / "inconsistent-9.evidence.json").read_text() == "evidence of yesterday"


def test_evidence_that_cannot_be_written_leaves_no_half_file(contradicting, tmp_path, capsys):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300, limits[1]))  # enough for each of the inputs, too little for both
    try:
        assert contradicting(9, bytes(32), 9, b"x" * 32) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    said = capsys.readouterr().err
    assert "convict it" in said
    assert "The evidence was not written to inconsistent-9.evidence.json: File too large" in said
    assert not (tmp_path / "inconsistent-9.evidence.json").exists()


def test_an_address_that_is_taken_is_named_before_anything_starts(data):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = tlog("serve", "--port", port, "--data", data, check=False)
    assert done.returncode == 4
    assert f"cannot listen on 127.0.0.1, port {port}: Address already in use" in words(done.stderr)


@pytest.mark.parametrize(
    "option, value, said",
    [
        ("--cors-origin", "https://audit.example.com/", "an origin is scheme and host"),
        ("--public-url", "http://audit.example.com", "a public URL is https:// and a host"),
        ("--zone", "Mars/Olympus", "there is no such time zone"),
    ],
)
def test_what_an_option_cannot_be_is_refused_before_anything_is_made(directory, option, value, said):
    new = directory / "new"
    done = tlog("serve", option, value, "--data", new, check=False)
    assert (done.returncode, new.exists()) == (2, False)
    assert said in words(done.stderr)


IN_TASK_ORDER = {
    (): "demo init serve append import ingest query prove export verify fsck backup restore recover failover reindex keys token session seal signer witness monitor",
    ("import",): "ndjson cloudtrail",
    ("ingest",): "kafka release dead-letters",
    ("ingest", "dead-letters"): "list show retry",
    ("verify",): "proof consistency checkpoint log evidence fraud fork intake",
    ("keys",): "show",
    ("token",): "create list revoke",
    ("session",): "list revoke",
    ("witness",): "add-log add-key del-key logs",
}


def commands():
    single = [(*group, name) for group, names in IN_TASK_ORDER.items() for name in names.split()]
    return sorted({*IN_TASK_ORDER, *single})


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_help_explains_every_option(command):
    done = tlog(*command, "--help")
    assert "Usage:" in done.stdout
    for line in done.stdout.splitlines():
        stripped = line.strip()
        assert not stripped.startswith("--") or len(stripped.split()) > 1, line


@pytest.mark.parametrize("group", IN_TASK_ORDER, ids=" ".join)
def test_commands_are_listed_in_task_order_with_whole_sentences(group):
    done = tlog(*group, "--help", env={**os.environ, "COLUMNS": "80"})
    rows = re.findall(r"^  ([\w-]+)  +(\S.*(?:\n    .*)*)$", done.stdout.partition("Commands:\n")[2], re.MULTILINE)
    assert [name for name, _ in rows] == IN_TASK_ORDER[group].split()
    for name, text in rows:
        sentence = words(text).replace("- ", "-")  # a long word is broken at its hyphen
        whole = " ".join(tlog(*group, name, "--help").stdout.split()).replace("- ", "-")
        assert sentence.endswith("."), sentence
        assert "..." not in sentence
        assert sentence in whole
    assert len(done.stdout.splitlines()[-1]) <= 80


HEAVY = {"numpy", "psycopg", "httpx2", "starlette", "uvicorn", "uvloop", "structlog", "asyncio", "msgspec", "rich"}
WHAT_IS_LOADED = """
import sys
from tlog.cli.app import main
try:
    main()
finally:
    print(*sys.modules, file=sys.stderr)
"""


@pytest.mark.parametrize(
    "arguments",
    [("--help",), ("serve", "--help"), ("query", "--help"), ("verify", "--help"), ("--version",)],
    ids=" ".join,
)
def test_help_and_version_load_nothing_they_do_not_need(arguments):
    done = subprocess.run(
        [sys.executable, "-c", WHAT_IS_LOADED, *arguments], capture_output=True, text=True, check=True, cwd=ROOT
    )
    loaded = set(done.stderr.split())
    assert "typer" in loaded
    assert loaded & HEAVY == set()


def test_version():
    assert tlog("--version").stdout == f"tlog {metadata.version('tlog-audit')}\n"


def test_version_of_files_that_are_not_installed(monkeypatch, capsys):
    monkeypatch.setattr(metadata, "version", lambda name: (_ for _ in ()).throw(metadata.PackageNotFoundError(name)))
    with pytest.raises(SystemExit) as ended:
        cli.app(["--version"])
    said = capsys.readouterr()
    assert (ended.value.code, said.out) == (2, "")
    assert (
        said.err == "tlog: this tlog is not installed, so its version is not known; install it with 'pip install .'\n"
    )


def test_usage_errors_end_with_2():
    assert tlog("nonsense", check=False).returncode == 2
    assert tlog("prove", check=False).returncode == 2


@pytest.mark.parametrize(
    "options, said",
    [
        (["--resource", "P-1001"], "--resource takes TYPE:ID"),
        (["--resource", "patient_record:"], "--resource takes TYPE:ID"),
        (["--resource", ":P-1001"], "--resource takes TYPE:ID"),
        (["--resource", "aws:s3:bucket"], "exactly one colon"),
        (["--resource", "patient_record:P-1001", "--resource-id", "P-1001"], "leave out --resource-type"),
        (["--resource-id", "P-1001"], "'resourceId' needs 'resourceType'"),
    ],
)
def test_a_resource_has_type_and_id(data, options, said):
    done = tlog("query", "--data", data, *options, check=False)
    assert (done.returncode, said in words(done.stderr)) == (2, True), done.stderr


def test_a_key_for_one_persons_answers(data):
    key = ("token", "create", "--data", data, "--principal", "portal", "--scope")
    for options, said in (
        (("append", "--about", "patient_record:P-1"), "whose only scope is read"),
        (("read", "--about", "patient_record"), "--about takes TYPE:ID"),
        (("read", "--about", "patient_record:P-1", "--about-user", "n.varga"), "not about both"),
    ):
        done = tlog(*key, *options, check=False)
        assert (done.returncode, said in words(done.stderr)) == (2, True), done.stderr
    tlog(*key, "read", "--about-user", "n.varga")
    assert json.loads(tlog("token", "list", "--data", data, "--json").stdout)[-1]["about"] == {"userId": "n.varga"}


def test_demo_runs_to_its_end_and_is_served_until_it_is_ended(directory):
    """What it prints is what somebody needs: who signs in as it says sees the answer, and each command that it names works."""
    command = [sys.executable, "-m", "tlog", "demo", "--events", "300", "--serve"]
    environment = {**os.environ, "TMPDIR": str(directory)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment) as process:
        try:
            assert process.stdout is not None
            told = ""
            while not told.endswith("  or in another terminal:\n"):
                told += (line := process.stdout.readline())
                assert line, told
            commands = [shlex.split(process.stdout.readline()) for _ in range(3)]
            page = re.search(r"  open +(\S+)\n", told)[1]
            with httpx2.Client(headers={"Sec-Fetch-Site": "same-origin"}, follow_redirects=True) as browser:
                form = browser.get(page)
                key = re.search(r"  sign in +(tlog_\S+)\n", told)[1]
                fields = {"key": key, "then": page.removeprefix(str(form.url.join("/")).rstrip("/"))}
                answer = browser.post(form.url.join("/ui/sign-in"), data=fields)
            assert (answer.url, "n.varga (nurse)" in answer.text) == (page, True)
            for each in commands:
                done = subprocess.run(each, capture_output=True, text=True, timeout=120, check=False, cwd=ROOT)
                assert done.returncode == 0, done.stderr
            assert "VERIFIED: " in done.stdout
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
        finally:
            process.terminate()
    assert "Done in" in told
    assert told.count("entry changed: entry") == 2
    assert "ROLLBACK db=" in told
    assert "VERIFIED: 3 events, and no others" in told
    assert "VERIFIED: no event answers" in told
    assert list(directory.glob("tlog-demo-*")) == []


def test_a_demo_through_a_topic_is_not_served():
    done = tlog("demo", "--kafka", "--serve", check=False)
    assert (done.returncode, "leave out --kafka" in done.stderr) == (2, True)


def test_an_error_of_any_line_is_one_line():
    """The URL is looked at before anything is asked, outside of what the commands themselves guard."""
    done = tlog("query", "--action", "read", "--url", "http://[::1", check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "tlog: the log's URL has a scheme, a host and a port, such as http://127.0.0.1:8080\n"
