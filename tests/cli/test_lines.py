"""What serve, seal and signer say: one JSON object a line on standard error, from the first line to the last."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import httpx2
import pytest
from support import ROOT, sample_events, start_server, tlog

FIRST = ["time", "level", "event", "process"]
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def read(text):
    """Return the lines of a text, each of which has to be a line as docs/how-to/monitor.md describes it."""
    lines = [json.loads(line) for line in text.splitlines()]
    for line in lines:
        assert list(line)[:4] == FIRST, line
        assert TIME.fullmatch(line["time"]), line
        assert line["level"] in {"debug", "info", "warning", "error"}, line
        assert line["process"] in {"serve", "seal", "signer"}, line
        assert re.fullmatch(r"[a-z_]+", line["event"]), line
    return lines


def wait_for(server, event, process="serve", **members):
    """Return the first line of an event, once it is there."""
    deadline = time.monotonic() + 30
    while True:
        for line in read(server.said.read_text()):
            if (line["event"], line["process"]) == (event, process) and members.items() <= line.items():
                return line
        assert time.monotonic() < deadline, (event, server.said.read_text())
        time.sleep(0.1)


def test_every_line_of_a_service_that_is_started_used_and_stopped(directory, monkeypatch):
    monkeypatch.setenv("TLOG_PRT", "1")
    data = directory / "data"
    server = start_server(data)
    server.append([json.loads(raw) for raw in sample_events(3)])
    httpx2.get(server.url + "/v1/audit/events")
    wait_for(server, "leads", "seal", work="sealing")
    wait_for(server, "leads", "seal", work="indexing")
    wait_for(server, "request", status=401)
    # The keys are looked at for the first time when the service is ready: one that is made after that is told of.
    deadline = time.monotonic() + 30
    while 'postgres=""' in httpx2.get(server.url + "/metrics").text:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    made = json.loads(
        tlog("token", "create", "--data", data, "--principal", "service:x", "--scope", "read", "--json").stdout
    )
    assert wait_for(server, "token_made", key=made["keyId"])["scopes"] == ["read"]
    tlog("token", "revoke", made["keyId"], "--data", data)
    assert wait_for(server, "token_revoked", key=made["keyId"])["scopes"] == ["read"]
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(30) == 0
    said = server.said.read_text()
    lines = read(said)
    (start,) = (line for line in lines if line["event"] == "start" and line["process"] == "serve")
    assert (start["address"], start["vkey"], start["origin"]) == (server.url, server.vkey, server.vkey.split("+")[0])
    assert start["size"] >= 1
    assert start["version"]
    assert [line["vkey"] for line in lines if line["event"] == "made"] == [server.vkey]
    assert [line["process"] for line in lines if line["event"] == "stop" and line["code"] == 0] == ["seal", "serve"]
    assert "TLOG_PRT" in next(line["reason"] for line in lines if line["event"] == "configuration")
    assert made["token"] not in said
    assert "service:x" not in said


def test_a_service_that_is_refused_says_so_in_a_line(directory):
    refused = tlog("serve", "--data", directory / "data", "--port", 0, check=False)
    (line,) = read(refused.stderr)
    assert (line["event"], line["level"], line["code"], refused.returncode) == ("stop", "error", 4, 4)
    assert "there is no log in" in line["reason"]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        busy = tlog("serve", "--data", directory / "data", "--port", taken.getsockname()[1], check=False)
    assert "cannot listen" in read(busy.stderr)[-1]["reason"]


def test_two_services_of_which_one_follows(directory):
    first = start_server(directory / "data")
    second = start_server(directory / "data", token=first.token)
    wait_for(second, "follows", "seal", work="sealing")
    assert first.stop() == 0
    wait_for(second, "leads", "seal", work="sealing")
    assert second.stop() == 0
    for server in (first, second):
        read(server.said.read_text())


def port_of(pid):
    """Return the port at which a process listens, None if it does not yet (Linux, proc(5))."""
    with suppress(OSError):
        sockets = {str(each.readlink()) for each in Path(f"/proc/{pid}/fd").iterdir()}
        for row in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
            fields = row.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:
                return int(fields[1].partition(":")[2], 16)
    return None


@pytest.mark.parametrize("level, requests", [("info", True), ("warning", False)])
def test_the_level_decides_what_is_written(directory, level, requests):
    """The port is found at another place, because the line that has it is left out as well."""
    command = [sys.executable, "-m", "tlog", "serve", "--data", str(directory / "data"), "--port", "0"]
    command += ["--create", "--origin", "example.com/lines", "--log-level", level]
    with (directory / "said").open("w") as said, subprocess.Popen(command, stderr=said, cwd=ROOT) as process:
        deadline = time.monotonic() + 60
        answer = None
        while answer is None:
            assert process.poll() is None
            assert time.monotonic() < deadline
            if (port := port_of(process.pid)) is not None:
                with suppress(httpx2.HTTPError):
                    answer = httpx2.get(f"http://127.0.0.1:{port}/livez")
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    lines = read((directory / "said").read_text())
    assert any(line["event"] == "request" for line in lines) == requests
    assert {line["level"] for line in lines} - {"warning", "error"} == ({"info"} if requests else set())


LIBRARIES = """
import asyncio, gc, logging, threading, warnings
from tlog.cli import lines
lines.begin("serve")
logging.getLogger("uvicorn.error").info("not told")
logging.getLogger("uvicorn.error").warning("Invalid %s", "request\\nsecond line")
logging.getLogger("psycopg.pool").warning("error connecting in %r", "pool-1")
warnings.warn("an old way", UserWarning)
def fail():
    raise ValueError("Jane")
try:
    fail()
except ValueError:
    logging.getLogger("uvicorn.error").exception("Exception in ASGI application")
thread = threading.Thread(target=fail); thread.start(); thread.join()
class Ends:
    def __del__(self):
        fail()
Ends(); gc.collect()
async def main():
    async def one():
        fail()
    task = asyncio.create_task(one())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    del task
    gc.collect()
asyncio.run(main())
"""


def test_what_libraries_say_is_lines_too():
    done = subprocess.run([sys.executable, "-c", LIBRARIES], capture_output=True, text=True, check=True, cwd=ROOT)
    lines = read(done.stderr)
    assert [line["logger"] for line in lines] == [
        "uvicorn.error",
        "psycopg.pool",
        "py.warnings",
        "uvicorn.error",
        "python",
        "python",
        "asyncio",
    ]
    assert {line["event"] for line in lines} == {"library"}
    assert lines[0]["message"] == "Invalid request\nsecond line"
    assert lines[1]["message"] == "error connecting in 'pool-1'"
    assert "UserWarning: an old way" in lines[2]["message"]
    assert [line["error"] for line in lines[3:]] == ["ValueError"] * 4
    assert all(re.fullmatch(r"<string>:\d+", line["place"]) for line in lines[3:])
    assert "Jane" not in done.stderr, "an exception is named by class and place"


UNREAD = """
import structlog, sys
from pathlib import Path
from tlog.cli import lines
lines.begin("serve")
for number in range(20_000):
    structlog.get_logger().info("spoken", text="x" * 100, number=number)
Path(sys.argv[1]).touch()
"""


def test_a_reader_who_stalls_stalls_nobody(tmp_path):
    command = [sys.executable, "-c", UNREAD, str(tmp_path / "done")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, cwd=ROOT) as process:
        assert process.wait(60) == 0, "although a pipe takes 64 KB and these are more"
        assert (tmp_path / "done").exists()
        text = process.stderr.read().decode()
    assert [line["number"] for line in read(text[: text.rindex("\n") + 1])][:100] == list(range(100))


def test_without_anybody_who_reads_it_runs_all_the_same(directory):
    tlog("init", "--data", directory / "data", "--origin", "example.com/lines")
    command = f"exec {sys.executable} -m tlog seal --data {directory / 'data'} --supervised 2> >(exec true)"
    done = subprocess.run(["bash", "-c", command], capture_output=True, input=b"", cwd=ROOT, check=False)
    assert done.returncode == 0


def test_without_standard_error_nothing_is_written_elsewhere(tmp_path):
    """What is opened next would have its number."""
    program = "import structlog, sys; from tlog.cli import lines; open(sys.argv[1], 'w'); lines.begin('seal'); structlog.get_logger().info('x')"
    command = [sys.executable, "-c", f"{program}", str(tmp_path / "file")]
    done = subprocess.run(
        ["bash", "-c", 'exec "$@" 2>&-', "bash", *command], capture_output=True, cwd=ROOT, check=False
    )
    assert (done.returncode, done.stdout, (tmp_path / "file").read_bytes()) == (0, b"", b"")


def test_a_name_that_is_not_text_is_escaped():
    program = "import structlog; from tlog.cli import lines; lines.begin('seal'); structlog.get_logger().info('x', y='a\\udcff')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, cwd=ROOT)
    assert rb'"y":"a\udcff"' in done.stderr


def test_what_would_act_on_a_terminal_is_escaped():
    program = "import structlog; from tlog.cli import lines; lines.begin('seal'); structlog.get_logger().info('x', y='a\\u202eb\\x9b→')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert r'"y":"a\u202eb\u009b→"' in done.stderr
    assert read(done.stderr)[0]["y"] == "a\u202eb\x9b→"


FAULT = """
import asyncio
from tlog.cli import output
from tlog.cli.lines import begin
async def fail():
    raise {error}
begin("seal")
output.run_service(fail())
"""


@pytest.mark.parametrize(
    "error, code, level", [("KeyError('Jane')", 70, "error"), ("KeyboardInterrupt", 130, "info"), ("OSError(13, 'no')", 2, "error")]
)  # fmt: skip
def test_every_end_is_a_line(error, code, level):
    """Of a fault, of Ctrl-C before anything could take it, and of an error of the system."""
    done = subprocess.run(
        [sys.executable, "-c", f"import typer\ntry:\n    exec({FAULT.format(error=error)!r})\nexcept typer.Exit as end:\n    raise SystemExit(end.exit_code)"],
        capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    (line,) = read(done.stderr)
    assert (line["event"], line["code"], line["level"], done.returncode) == ("stop", code, level, code)
    assert "Jane" not in done.stderr


def test_a_terminal_is_told_in_words_as_well(directory):
    """Whoever starts it by hand reads where it is."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "tlog", "serve", "--data", str(directory / "data"), "--port", "0"]
    command += ["--create", "--origin", "example.com/lines"]
    process = subprocess.Popen(command, stderr=theirs, cwd=ROOT)
    os.close(theirs)
    said = b""
    while b"Ctrl-C stops" not in said or b'"event":"start","process":"serve"' not in said:
        said += os.read(ours, 4096)
    assert re.search(rb"tlog serves \S+ at http://127\.0\.0\.1:\d+  \(Ctrl-C stops\)", said)
    assert b"made a new log in" in said
    process.send_signal(signal.SIGINT)
    with suppress(OSError):  # the terminal is gone when the last process of it is
        while os.read(ours, 4096):
            pass
    assert process.wait(30) == 0
    os.close(ours)
