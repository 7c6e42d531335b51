"""What an application sees: nothing that was recorded is lost, whatever ends; nothing that is no event is recorded."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from uuid import UUID

import pytest
from fakelog import ACTOR, RESOURCE, held, problem, wait_for

import tlog.client
from tlog.client import AuditLog, SpoolError, SpoolFullError
from tlog.core.making.parsing import parse_event
from tlog.errors import InvalidEventError, MalformedInputError, OverloadedError


def seqs(fake):
    return [each["source"]["seq"] for each in fake.taken]


def test_an_event_is_what_was_recorded(fake_log, audit_log):
    log = audit_log()
    details = {"fieldsAccessed": ["name"], "purpose": "TREAT"}
    related = [{"type": "ward", "id": "7"}]
    log.record("update", ACTOR, RESOURCE, outcome="success", operation="PatchPatient", related_resources=related, details=details, metadata={"n": 1})  # fmt: skip
    given = {"event_id": "0190f3c2-5f6e-7d3a-9b1c-2f4e6a8c0d1e", "timestamp": "2026-11-24T05:11:59.998Z"}
    log.record("read", ACTOR, RESOURCE, **given)
    log.flush()
    first, second = fake_log.taken
    new, now = first.pop("eventId"), first.pop("timestamp")
    assert (UUID(new).version, UUID(new).variant) == (7, "specified in RFC 4122")
    assert now.endswith("Z")
    assert len(now) == len("2026-11-24T05:11:59.123456Z")
    source = log.health()["source"]
    assert first == {
        "action": "update", "actor": ACTOR, "details": details, "metadata": {"n": 1}, "operation": "PatchPatient", "outcome": "success",
        "relatedResources": related, "resource": RESOURCE, "source": {"id": source, "seq": 1},
    }  # fmt: skip
    assert (second["eventId"], second["timestamp"]) == (given["event_id"], given["timestamp"])
    for each in fake_log.requests[-1][1].split(b"\n"):
        parse_event(each)


def test_new_ids_are_never_the_same_and_in_the_order_of_time():
    ids = [tlog.client._new_id() for _ in range(1_000)]
    assert len(set(ids)) == 1_000
    assert [each[:13] for each in ids] == sorted(each[:13] for each in ids)


def test_what_is_no_event_fails_at_who_made_it(fake_log, audit_log):
    log = audit_log()
    with pytest.raises(InvalidEventError) as error:
        log.record("look", {"userId": ""}, RESOURCE, metadata={"a": float("nan")})
    assert [pointer for _, pointer in error.value.faults] == ["/metadata/a", "/action", "/actor/userId"]
    with pytest.raises(InvalidEventError, match="the spool sets this member"):
        log.record_event({"action": "read", "actor": ACTOR, "resource": RESOURCE, "source": {"id": "a", "seq": 1}})
    assert log.health()["depth"] == 0
    assert log.record("read", ACTOR, RESOURCE) == 1


def test_coroutines_record_too(fake_log, audit_log):
    log = audit_log()

    async def record_ten():
        return await asyncio.gather(*(log.arecord("read", ACTOR, RESOURCE, metadata={"n": n}) for n in range(10)))

    assert sorted(asyncio.run(record_ten())) == list(range(1, 11))
    log.flush()
    assert seqs(fake_log) == list(range(1, 11))


def test_threads_share_one_sequence(fake_log, audit_log):
    log = audit_log()
    found = []
    threads = [
        threading.Thread(target=lambda: found.extend(log.record("read", ACTOR, RESOURCE) for _ in range(50)))
        for _ in range(4)
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    log.flush()
    assert sorted(found) == seqs(fake_log) == list(range(1, 201))


@pytest.mark.parametrize(
    "options",
    [{"durability": "memory"}, {"keep": "for ever"}, {"when_full": "drop"}, {"source": "a b"}, {"url": "nowhere"}, {"token": "a b"}],
)  # fmt: skip
def test_what_cannot_be_is_refused(audit_log, options):
    with pytest.raises(MalformedInputError):
        audit_log(**options)


def test_durability_log_returns_once_the_log_has_it(fake_log, audit_log, monkeypatch):
    log = audit_log(durability="log")
    assert log.record("read", ACTOR, RESOURCE) == 1
    assert seqs(fake_log) == [1], "when it returns"
    fake_log.script = [problem(422, [{"pointer": "/0/action", "detail": "not today"}])]
    with pytest.raises(MalformedInputError, match="not today") as error:
        log.record("read", ACTOR, RESOURCE)
    assert error.value.pointer == "/action"
    monkeypatch.setattr(tlog.client, "_LOG_SECONDS", 0.2)
    fake_log.script = [problem(401)] * 10_000
    with pytest.raises(
        OverloadedError, match="events are recorded, and the log has not acknowledged them yet: No: not so"
    ):
        log.record("read", ACTOR, RESOURCE)
    fake_log.script = []
    log.flush()
    assert seqs(fake_log) == [1, 3], "recorded is recorded"


@pytest.mark.parametrize("durability, synchronous", [("process", 1), ("disk", 2), ("log", 2)])
def test_durability_is_sqlite_s(audit_log, durability, synchronous):
    log = audit_log(durability=durability)
    assert log._parts.spool._rows("PRAGMA synchronous") == [(synchronous,)]
    assert log._parts.spool._rows("PRAGMA journal_mode") == [("wal",)]


@pytest.mark.parametrize("when_full", ["raise", "block"])
def test_a_full_spool_drops_nothing(fake_log, audit_log, monkeypatch, when_full):
    monkeypatch.setattr(tlog.client, "_BLOCK_SECONDS", 0.3)
    arrives = threading.Event()
    fake_log.script = [held(arrives)]
    log = audit_log(when_full=when_full, max_bytes=150_000)
    recorded = []
    with pytest.raises(SpoolFullError):  # noqa: PT012 - which of them is one too many is not the point
        while True:
            recorded.append(log.record("read", ACTOR, RESOURCE, metadata={"a": "x" * 5_000}))
    assert len(recorded) > 10
    if when_full == "block":
        monkeypatch.setattr(log, "_block_seconds", 20.0)
        threading.Timer(0.1, arrives.set).start()
    else:
        arrives.set()
        wait_for(lambda: log.health()["depth"] == 0)
    recorded.append(log.record("read", ACTOR, RESOURCE, metadata={"a": "x" * 5_000}))
    log.flush()
    assert seqs(fake_log) == recorded == list(range(1, len(recorded) + 1))


def test_what_is_left_is_sent_at_the_next_start(fake_log, audit_log):
    fake_log.script = [problem(401)] * 10_000
    log = audit_log()
    log.record("read", ACTOR, RESOURCE)
    with pytest.raises(OverloadedError, match="not acknowledged them yet"):
        log.flush(0.1)
    health = log.health()
    assert (health["depth"], health["refused"]) == (1, 0)
    assert health["bytes"] > 0
    assert health["oldestSeconds"] >= 0.1
    log.close()
    log.close()
    with pytest.raises(SpoolError, match="closed"):
        log.record("read", ACTOR, RESOURCE)
    fake_log.script = []
    again = audit_log()
    wait_for(lambda: again.health()["depth"] == 0)
    assert seqs(fake_log) == [1]
    again.flush()


def test_a_closed_one_that_was_waited_for_says_so(fake_log, audit_log):
    arrives = threading.Event()
    fake_log.script = [held(arrives)]
    log = audit_log()
    log.record("read", ACTOR, RESOURCE)
    threading.Timer(0.1, log.close).start()
    with pytest.raises(OverloadedError, match="was closed"):
        log.flush(20)
    arrives.set()


def run(program, *arguments):
    command = [
        sys.executable,
        "-W",
        "error",
        "-c",
        f"import os, sys, time\nfrom tlog.client import AuditLog\n{program}",
        *map(str, arguments),
    ]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


OPEN = """
log = AuditLog(sys.argv[1], "token", source="ehr-api", spool=sys.argv[2])
def record(n=0):
    return log.record("read", {"userId": "u"}, {"type": "a", "id": str(n)})
"""


def ended(process):
    """Return what a process printed that ended well; end it, and what it forked, if it hangs."""
    try:
        out, err = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
    assert (process.returncode, err) == (0, "")
    return out


def test_a_process_that_ends_waits_for_what_it_recorded(fake_log, spool_path):
    ended(run(OPEN + "record()", fake_log.url, spool_path))
    assert seqs(fake_log) == [1]
    assert not spool_path.with_name("audit.spool-wal").exists(), "closed cleanly"


def test_a_process_that_is_killed_has_lost_nothing(fake_log, spool_path, audit_log):
    fake_log.script = [problem(503, Retry_After="60")] * 1_000
    program = OPEN + "for n in range(100): print(record(n), flush=True)\ntime.sleep(60)"
    process = run(program, fake_log.url, spool_path)
    recorded = [int(process.stdout.readline()) for _ in range(100)]
    process.send_signal(signal.SIGKILL)
    process.communicate()
    fake_log.script = []
    log = audit_log()
    wait_for(lambda: log.health()["depth"] == 0)
    assert seqs(fake_log) == recorded == list(range(1, 101))


FORK = (
    OPEN
    + """
record(1)
child = os.fork()
if not child:
    for n in range(20): record(n)
    {leave}
for n in range(20): record(n)
os.waitpid(child, 0)
record(2)
log.flush()
print(log.health()["depth"])
"""
)


@pytest.mark.parametrize("leave", ["sys.exit()", "os._exit(0)", "os.kill(os.getpid(), 9)", "log.flush(); os._exit(0)"])
def test_a_forked_process_goes_on_in_the_same_sequence(fake_log, spool_path, leave):
    assert ended(run(FORK.replace("{leave}", leave), fake_log.url, spool_path)) == "0\n"
    assert seqs(fake_log) == list(range(1, 43))
    assert len({each["eventId"] for each in fake_log.taken}) == 42
    assert len({each["source"]["id"] for each in fake_log.taken}) == 1


def test_a_forked_process_outlives_its_parent_and_sends(fake_log, spool_path):
    program = (
        OPEN
        + """
record(1)
log.flush()
if os.fork():
    os.kill(os.getpid(), 9)
record(2)
log.flush()
print("sent", flush=True)
"""
    )
    process = run(program, fake_log.url, spool_path)
    assert process.stdout.readline() == "sent\n"
    process.communicate(timeout=60)
    assert seqs(fake_log) == [1, 2]


def test_a_forked_process_keeps_what_is_its_parent_s_open(fake_log, spool_path):
    """The control: what SQLite's connection would do at the end of a process that it is forgotten in."""
    program = (
        OPEN
        + """
import sqlite3
record(1)
log.flush()
if not os.fork():
    os._exit(0 if log._parts is None and len(__import__("tlog.client").client._kept) == 3 else 1)
print(os.waitstatus_to_exitcode(os.wait()[1]))
"""
    )
    assert ended(run(program, fake_log.url, spool_path)) == "0\n"


def test_a_real_log_has_each_event_once(running_server, spool_path):
    server = running_server
    with AuditLog(server.url, server.token, source="ehr-api", spool=spool_path, keep="sealed") as log:
        for number in range(20):
            log.record("read", ACTOR, RESOURCE, metadata={"n": number})
        log.flush()
        source = log.health()["source"]
    with tlog.client.Client(server.url, server.token) as client:
        answer = client.ask({"sourceId": source}, limit=100)
    assert sorted(each["source"]["seq"] for each in answer["events"]) == list(range(1, 21))
    assert json.dumps(answer).count('"seq"') == 20


def test_the_names_of_the_package_are_there():
    assert all(hasattr(tlog.client, name) for name in tlog.client.__all__)
