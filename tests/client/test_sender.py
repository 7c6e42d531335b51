"""What the sender does with each answer: nothing that the log has not acknowledged or refused by name leaves the spool."""

from __future__ import annotations

import json
import logging
import re
import threading

import pytest
from fakelog import ACTOR, RESOURCE, held, problem, takes, wait_for

from tlog.client import sender


def record(log, count=1):
    return [log.record("read", ACTOR, RESOURCE, metadata={"n": number}) for number in range(count)]


def logged(fake):
    return [each["source"]["seq"] for each in fake.taken]


def test_events_arrive_in_order_each_with_its_source(fake_log, audit_log):
    log = audit_log()
    assert record(log, 50) == list(range(1, 51))
    log.flush()
    assert logged(fake_log) == list(range(1, 51))
    assert {each["source"]["id"] for each in fake_log.taken} == {log.health()["source"]}
    assert fake_log.requests[0][0] == "/v1/audit/events"
    assert log.health()["depth"] == 0


@pytest.mark.parametrize(
    "answer",
    [
        None,
        problem(503, Retry_After="0"),
        problem(429),
        problem(507),
        problem(500),
        problem(401),
        problem(404),
        problem(400),
        problem(422),
        problem(409, [{"pointer": "/99/eventId", "detail": "not in this request"}, {"pointer": 7}, 7]),
        lambda _: (200, {}, b"<html>sign in</html>"),
        lambda _: (200, {}, b'{"count":9999}'),
        lambda _: (204, {}, b""),
        lambda _: (302, {"Location": "/"}, b""),
    ],
)
def test_what_is_no_acknowledgement_means_the_same_bytes_again(fake_log, audit_log, answer):
    fake_log.script = [answer] * 2
    log = audit_log()
    record(log, 3)
    log.flush()
    bodies = [body for _, body in fake_log.requests]
    assert len(bodies) >= 3
    assert bodies[0] == bodies[1] == bodies[2]
    assert logged(fake_log)[-3:] == [1, 2, 3]
    assert log.health()["refused"] == 0
    assert log.health()["lastError"] is None


@pytest.mark.parametrize("status", [422, 409])
def test_what_the_log_refuses_by_name_is_set_aside_and_the_rest_arrives(fake_log, audit_log, status, caplog):
    first_arrives = threading.Event()
    errors = [
        {"pointer": "/1/action", "detail": "no such action"},
        {"pointer": "/1/x", "detail": "second"},
        {"pointer": "/3", "detail": "too large"},
    ]
    fake_log.script = [held(first_arrives), problem(status, errors)]
    log = audit_log()
    with caplog.at_level(logging.WARNING):
        record(log)
        wait_for(lambda: fake_log.requests)
        record(log, 5)
        first_arrives.set()
        log.flush()
    assert [body.count(b"\n") + 1 for _, body in fake_log.requests] == [1, 5, 3]
    assert logged(fake_log) == [1, 2, 4, 6]
    assert refused(log) == {3, 5}
    assert log._parts.spool.refusal(3) == ("/action", "no such action")
    assert log.health()["refused"] == 2
    assert "the log refused 2 of 5 events" in caplog.text
    assert "dr.weiss" not in caplog.text, "no values in logs"


def refused(log):
    return {seq for (seq,) in log._parts.spool._rows("SELECT seq FROM refused")}


def test_too_large_for_what_stands_between_is_sent_in_halves(fake_log, audit_log):
    def at_most_two(lines):
        return problem(413)(lines) if len(lines) > 2 else takes(lines)

    first_arrives = threading.Event()
    fake_log.script = [held(first_arrives), *[at_most_two] * 50]
    log = audit_log()
    record(log)
    wait_for(lambda: fake_log.requests)
    record(log, 10)
    first_arrives.set()
    log.flush()
    assert logged(fake_log) == list(range(1, 12))
    assert max(len(body.split(b"\n")) for _, body in fake_log.requests[-4:]) <= 2, "it remembers"
    fake_log.script = [problem(413)]
    record(log)
    log.flush()
    assert refused(log) == {12}


def test_sealed_means_sealed(fake_log, audit_log):
    fake_log.script = [
        lambda lines: takes(lines, sealed=False, treeSize=None),
        takes,
        lambda lines: takes(lines, sealed="true"),
        lambda lines: takes(lines, sealed=True, treeSize=9),
    ]
    log = audit_log(keep="sealed")
    record(log)
    log.flush()
    assert [path for path, _ in fake_log.requests] == ["/v1/audit/events?wait=sealed"] * 4
    assert len({body for _, body in fake_log.requests}) == 1


def test_a_request_has_at_most_a_thousand_events_and_a_mebibyte(fake_log, audit_log):
    first_arrives, second_arrives = threading.Event(), threading.Event()
    fake_log.script = [held(first_arrives)]
    log = audit_log()
    record(log)
    wait_for(lambda: fake_log.requests)
    record(log, 1_100)
    first_arrives.set()
    log.flush()
    assert [len(body.split(b"\n")) for _, body in fake_log.requests] == [1, 1_000, 100]
    fake_log.script = [held(second_arrives)]
    for _ in range(40):
        log.record("read", ACTOR, RESOURCE, metadata={"a": "x" * 60_000})
    second_arrives.set()
    log.flush()
    assert 900_000 < max(len(body) for _, body in fake_log.requests) <= 1 << 20
    assert logged(fake_log) == list(range(1, 1_142))


def test_delays_grow_have_jitter_and_follow_what_the_log_asks_for(monkeypatch, spool_path):
    monkeypatch.setattr(sender.random, "uniform", lambda low, _: low)
    sending = sender.Sender(f"{spool_path}.sender", lambda: None, None, "acknowledged")
    delays = [sending._fail("away", None, 60.0) for _ in range(12)]
    assert delays == [min(0.2 * 2**n, 60.0) * 0.5 for n in range(12)]
    assert sending._fail("asked", 7, 60.0) == 7
    assert sending._fail("asked for a day", 86_400, 60.0) == 60
    monkeypatch.setattr(sender.random, "uniform", lambda _, high: high)
    assert sending._fail("away", None, 60.0) == 60
    sending.forget()


def test_a_key_that_is_refused_is_tried_each_minute(monkeypatch, spool_path):
    sending = sender.Sender(f"{spool_path}.sender", lambda: None, None, "acknowledged")
    answer = sender.Answer(401, None, b'{"title":"A valid API key is needed","detail":"this one was revoked"}')
    assert sending._judge(answer, None) == 60.0
    assert sending.last_error == "A valid API key is needed: this one was revoked"
    sending.forget()


def test_warnings_come_once_and_the_end_is_told(fake_log, audit_log, caplog):
    fake_log.script = [problem(503)] * 5
    with caplog.at_level(logging.WARNING):
        log = audit_log()
        record(log)
        log.flush()
    said = [each.getMessage() for each in caplog.records]
    assert said == ["events stay in the spool: No: not so", "the log takes events again"]


def test_whatever_happens_the_thread_goes_on(fake_log, audit_log, monkeypatch, caplog):
    log = audit_log()
    broken = [ZeroDivisionError("dr.weiss")]
    real = sender.Sender._send

    def send(self):
        if broken:
            raise broken.pop()
        return real(self)

    monkeypatch.setattr(sender.Sender, "_send", send)
    with caplog.at_level(logging.WARNING):
        record(log)
        log.flush()
    assert logged(fake_log) == [1]
    assert re.search(r"the sender failed \(ZeroDivisionError\)", caplog.text)
    assert "dr.weiss" not in caplog.text


def test_one_process_sends_and_another_takes_over(fake_log, audit_log):
    first, second = audit_log(), audit_log()
    wait_for(lambda: first.health()["sending"])
    record(second)
    second.flush()
    assert not second.health()["sending"]
    first.close()
    record(second)
    second.flush()
    assert second.health()["sending"]
    assert logged(fake_log) == [1, 2]
    assert json.loads(fake_log.requests[-1][1])["source"]["seq"] == 2
