"""Standard output and error: large answers, readers that go away before the end, Ctrl-C."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from support import ROOT, sample_events, tlog

from tlog.cli import output


@pytest.fixture(scope="module")
def data(module_directory):
    """A log whose answers are longer than a pipe holds."""
    data = module_directory / "data"
    tlog("init", "--data", data, "--origin", "example.com/output")
    (module_directory / "events.ndjson").write_bytes(b"\n".join(sample_events(1_500)))
    tlog("import", "ndjson", module_directory / "events.ndjson", "--data", data)
    return data


class HalfWritten(io.RawIOBase):
    """A file that takes only a part of what it is given, as a pipe may."""

    def __init__(self):
        self.taken = b""

    def writable(self):
        return True

    def write(self, data):
        self.taken += bytes(data[:1000])
        return min(len(data), 1000)


@pytest.mark.parametrize("whole", [True, False])
def test_a_large_answer_is_written_whole_without_a_buffer(monkeypatch, whole):
    """With PYTHONUNBUFFERED, usual in containers, standard output is the file itself."""
    file = HalfWritten()
    monkeypatch.setattr(sys, "stdout", unbuffered := io.TextIOWrapper(file, "utf-8", write_through=True))
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    if whole:
        output.prepare_streams()
    sys.stdout.write("é" * 5_000 + "\n")
    assert (file.taken.decode() == "é" * 5_000 + "\n") is whole
    assert unbuffered.buffer is file


def start(*arguments, **options):
    command = [sys.executable, "-m", "tlog", *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, **{"stderr": subprocess.PIPE, **options})


QUERY = ("query", "--limit", 1000)
PRINTING = {
    "a table": QUERY,
    "JSON": (*QUERY, "--json"),
    "an export": ("export", "--action", "read", "--ndjson", "-"),
    "evidence": ("export", "--action", "read", "--evidence", "-"),
}


@pytest.mark.parametrize("unbuffered", [False, True], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize("what", PRINTING)
def test_a_reader_that_goes_away_ends_the_command_quietly(data, what, unbuffered):
    environment = {**os.environ, "PYTHONUNBUFFERED": "1" if unbuffered else ""}
    with start(*PRINTING[what], "--data", data, env=environment) as process:
        assert process.stdout.read(10)
        process.stdout.close()
        said = process.stderr.read()
        assert (process.wait(60), said) == (output.CLOSED_PIPE, b"")


SHORT = {
    "help": (("--help",), False),
    "help of a command": (("serve", "--help"), False),
    "version": (("--version",), False),
    "public key": (("keys", "show"), True),
    "API keys": (("token", "list"), True),
    "fsck": (("fsck",), True),
}


@pytest.mark.parametrize("what", SHORT)
def test_nobody_reads_even_the_first_line(data, what):
    """A short answer is written when the command ends; nothing of that is 0, which would mean all was said."""
    arguments, of_a_log = SHORT[what]
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "wb") as pipe:
        command = [sys.executable, "-m", "tlog", *arguments, *(["--data", str(data)] if of_a_log else [])]
        done = subprocess.run(command, stdout=pipe, stderr=subprocess.PIPE, cwd=ROOT, check=False)
    assert (done.returncode, done.stderr) == (output.CLOSED_PIPE, b"")


def test_a_command_goes_on_when_nobody_reads_its_messages(data):
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "wb") as pipe:
        command = [sys.executable, "-m", "tlog", "fsck", "--progress-json", "--data", str(data)]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=pipe, cwd=ROOT, check=False)
    assert done.returncode == 0
    assert b"verified" in done.stdout


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no device that is always full")  # noqa: PTH110
def test_a_full_disk_is_named(data):
    with open("/dev/full", "wb") as full:  # noqa: PTH123
        command = [sys.executable, "-m", "tlog", "keys", "show", "--data", str(data)]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, cwd=ROOT, check=False)
    assert (done.returncode, done.stderr) == (2, b"tlog: standard output: No space left on device\n")


def test_without_standard_output(data):
    command = f"exec {sys.executable} -m tlog keys show --data {data} >&-"
    done = subprocess.run(["sh", "-c", command], capture_output=True, cwd=ROOT, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_terminals_get_no_control_characters():
    for character in "\0\t\n\x1b\x7f\x85\x9b\u2028\u2029\u202e\u2066\u2069\u200f\ufeff":
        assert output.visible(f"a{character}b") == f"a\\u{ord(character):04x}b"
    assert output.visible("plain é 日本 🏥") == "plain é 日本 🏥"


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1", "cp1252"])
def test_every_encoding_can_print_every_name(encoding):
    """A locale that cannot write a character gets its JSON escape, which a reader of --json undoes."""
    code = (
        "import json, sys; from tlog.cli.output import prepare_streams; prepare_streams(); "
        "print(json.dumps({'name': 'é日🏥\\udcff'}, ensure_ascii=False))"
    )
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, cwd=ROOT, check=True)
    assert json.loads(done.stdout.decode(encoding)) == {"name": "é日🏥\udcff"}
    assert done.stderr == b""


def test_a_fault_is_one_line_that_quotes_nothing():
    code = "import sys; from tlog.cli import app; app.app = lambda: {}['P-1007']; sys.argv = ['tlog']; app.main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=ROOT, text=True, check=False)
    assert (done.returncode, done.stdout) == (output.INTERNAL, "")
    assert done.stderr.startswith("tlog: this is a fault of tlog")
    assert done.stderr.count("\n") == 1
    assert "KeyError" in done.stderr
    assert "P-1007" not in done.stderr


def test_ctrl_c_ends_with_130_and_no_traceback(data):
    """Once is enough, also while the command waits for events that somebody types."""
    with start("append", "-", "--data", data, stdin=subprocess.PIPE) as process:
        process.stdin.write(b"{")
        process.stdin.flush()
        time.sleep(2)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        try:
            assert (process.wait(10), process.stderr.read()) == (output.INTERRUPTED, b"")
        finally:
            process.kill()
