"""Lines of requests come whole, in pieces that no other writer's line can get into."""

from __future__ import annotations

import json
import os
import select
import threading

import pytest

from tlog.server.observe import accesslog
from tlog.server.observe.accesslog import AccessLog, _pieces


@pytest.mark.parametrize(
    "lengths", [[], [1], [select.PIPE_BUF], [select.PIPE_BUF, 1], [3000, 3000, 10], [9, 5000, 9], [200] * 99]
)
def test_pieces_are_whole_lines_that_a_pipe_takes_at_once(lengths):
    lines = [bytes([48 + number % 10]) * (length - 1) + b"\n" for number, length in enumerate(lengths)]
    pieces = [piece for piece in _pieces(lines) if piece]
    assert b"".join(pieces) == b"".join(lines)
    assert all(len(piece) <= select.PIPE_BUF or piece in lines for piece in pieces)
    assert all(piece.endswith(b"\n") for piece in pieces)


def test_what_two_write_to_one_pipe_stays_in_lines():
    reading, writing = os.pipe()
    found = []

    def read():
        with os.fdopen(reading, "rb") as file:
            found.extend(file)

    def write():
        for number in range(2_000):
            os.write(writing, json.dumps({"event": "other", "number": number}).encode() + b"\n")

    threads = [threading.Thread(target=each) for each in (read, write)]
    with AccessLog(writing) as log:
        for thread in threads:
            thread.start()
        for number in range(2_000):
            log.write("GET", f"/{number}", 200, key_id=None, sent=1, seconds=0.1)
        threads[1].join()
    os.close(writing)
    threads[0].join()
    events = [json.loads(line)["event"] for line in found]
    assert sorted(events) == ["other"] * 2_000 + ["request"] * 2_000


def test_lines_that_nobody_reads_are_counted(monkeypatch):
    monkeypatch.setattr(accesslog, "_MAX_WAITING", 2)
    reading, writing = os.pipe()
    log = AccessLog(writing)
    for _ in range(5):
        log.write("GET", None, 404, key_id=None, sent=0, seconds=0.0)
    with log:
        pass
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        lines = [json.loads(line) for line in file]
    assert [line["event"] for line in lines] == ["request", "request", "requests_dropped"]
    assert (lines[-1]["lines"], lines[-1]["level"]) == (3, "warning")
    assert all(list(line)[:4] == ["time", "level", "event", "process"] for line in lines)
