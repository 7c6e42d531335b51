"""Bodies that are no events and what is said of them, minimal answers, warnings: over HTTP, against a real server."""

from __future__ import annotations

import json
import socket
from contextlib import ExitStack, suppress
from urllib.parse import urlsplit

import httpx2
import pytest
from support import said_by, sample_events, start_server, tlog


@pytest.fixture(scope="module")
def server(module_directory):
    server = start_server(module_directory / "data")
    yield server
    server.stop()


@pytest.fixture
def http(server):
    with httpx2.Client(base_url=server.url, headers={"Authorization": f"Bearer {server.token}"}, timeout=30) as client:
        yield client


_seeds = iter(range(5000, 10**6))


def fresh(count=1):
    return [json.loads(raw) for raw in sample_events(count, seed=next(_seeds))]


def test_minimal_answer(http):
    events = fresh(3)
    http.post("/v1/audit/events", json=events[0])
    answer = http.post("/v1/audit/events", json=events, headers={"Prefer": "return=minimal"})
    assert answer.json().keys() == {"count", "duplicates", "lastIndex", "chainHash"}
    assert (answer.json()["count"], answer.json()["duplicates"]) == (3, 1)
    assert answer.headers["preference-applied"] == "return=minimal"


def test_minimal_answer_once_sealed(http):
    answer = http.post("/v1/audit/events?wait=sealed", json=fresh(3), headers={"Prefer": "return=minimal"})
    assert answer.headers["preference-applied"] == "return=minimal"
    document = answer.json()
    assert document.keys() == {"count", "duplicates", "lastIndex", "chainHash", "sealed", "treeSize"}
    assert document["sealed"] is True
    assert document["treeSize"] > document["lastIndex"]
    assert "preference-applied" not in http.post("/v1/audit/events", json=fresh()).headers


def test_compressed_bodies_are_refused_and_unchanged_ones_are_taken(http):
    event = json.dumps(fresh()[0]).encode()
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    answer = http.post("/v1/audit/events", content=event, headers=headers)
    assert (answer.status_code, "Content-Encoding" in answer.json()["detail"]) == (415, True)
    assert answer.json()["type"] == "urn:tlog:problem:unsupported-media-type"
    headers["Content-Encoding"] = "identity"
    assert http.post("/v1/audit/events", content=event, headers=headers).status_code == 201


def test_a_body_without_a_content_type_is_json(http, server):
    event = json.dumps(fresh()[0]).encode()
    request = http.build_request("POST", "/v1/audit/events", content=event)
    assert "content-type" not in request.headers
    assert http.send(request).status_code == 201


HINTS = {
    "lines as one text": (lambda: b"\n".join(json.dumps(each).encode() for each in fresh(2)), "application/json", "is it NDJSON?"),
    "many lines as one text": (lambda: b"\n".join(json.dumps(each).encode() for each in fresh(300)), "application/json", "is it NDJSON?"),
    "an array and more": (lambda: json.dumps(fresh(2)).encode() * 2, "application/json", "is it NDJSON?"),
    "a mark": (lambda: b"\xef\xbb\xbf" + json.dumps(fresh()[0]).encode(), "application/json", "byte order mark"),
    "a mark before an array": (lambda: b"\xef\xbb\xbf" + json.dumps(fresh(300)).encode(), "application/json", "byte order mark"),
    "a mark before lines": (lambda: b"\xef\xbb\xbf" + json.dumps(fresh()[0]).encode(), "application/x-ndjson", "byte order mark"),
    "UTF-16": (lambda: json.dumps(fresh()[0]).encode("utf-16"), "application/json", "UTF-16"),
    "an array in UTF-16": (lambda: json.dumps(fresh(300)).encode("utf-16"), "application/json", "UTF-16"),
    "lines in UTF-16": (lambda: json.dumps(fresh()[0]).encode("utf-16"), "application/x-ndjson", "UTF-16"),
    "single quotes": (lambda: str(fresh()[0]).encode(), "application/json", "double quotes"),
    "single quotes in an array": (lambda: str(fresh(2)).encode(), "application/json", "double quotes"),
    "single quotes in lines": (lambda: str(fresh()[0]).encode(), "application/x-ndjson", "double quotes"),
    "an object around": (lambda: json.dumps({"events": fresh(2)}).encode(), "application/json", "send the list"),
    "a large object around": (lambda: json.dumps({"events": fresh(300)}).encode(), "application/json", "send the list"),
    "an array as lines": (lambda: json.dumps(fresh(2)).encode(), "application/x-ndjson", "send it as application/json"),
    "one text over several lines": (lambda: json.dumps(fresh()[0], indent=1).encode(), "application/x-ndjson", "send it as application/json"),
}  # fmt: skip


@pytest.mark.parametrize("defect", HINTS)
def test_a_body_that_is_something_else_is_told_what_it_is(http, defect):
    make, media_type, words = HINTS[defect]
    answer = http.post("/v1/audit/events", content=make(), headers={"Content-Type": media_type})
    assert answer.status_code in (400, 422)
    assert words in answer.text


def test_a_clock_that_is_far_ahead_is_warned_of(http):
    ahead, fine, far = fresh(3)
    ahead["timestamp"] = far["timestamp"] = "2999-01-01T00:00:00Z"
    receipts = http.post("/v1/audit/events", json=[fine, ahead]).json()["receipts"]
    assert "warnings" not in receipts[0]
    (warning,) = receipts[1]["warnings"]
    assert (warning["pointer"], "24 hours ahead" in warning["detail"]) == ("/timestamp", True)
    answer = http.post("/v1/audit/events", json=far, headers={"Prefer": "return=minimal"})
    assert answer.json()["warnings"] == 1


def test_an_event_that_stands_twice_in_a_request_has_one_proof(http):
    (event,) = fresh()
    first, second = http.post("/v1/audit/events?wait=sealed", json=[event, event]).json()["receipts"]
    assert first["proof"] == second["proof"]
    assert (first["entry"], "duplicate" in first, second["duplicate"]) == (second["entry"], False, True)


# --- S5: half-sent bodies ---------------------------------------------------------------------------------------------


def test_s5_half_sent_bodies_of_one_key_keep_nobody_out(server):
    key = make_key(server, "greedy", "append")
    place = urlsplit(server.url)
    head = (
        "POST /v1/audit/events HTTP/1.1\r\nHost: log\r\nContent-Type: application/x-ndjson\r\n"
        f"Authorization: Bearer {key['token']}\r\nContent-Length: {16 << 20}\r\n\r\n"
    ).encode()
    with ExitStack() as stack:
        for _ in range(17):
            connection = stack.enter_context(socket.create_connection((place.hostname, place.port), timeout=30))
            with suppress(OSError):  # refused in the midst
                connection.sendall(head + bytes((16 << 20) - 1))
        for _ in range(5):
            answer = httpx2.post(
                server.url + "/v1/audit/events",
                content=b"\n".join(json.dumps(event).encode() for event in fresh(500)),
                headers={"Authorization": f"Bearer {server.token}", "Content-Type": "application/x-ndjson"},
                timeout=30,
            )
            assert answer.status_code == 201, answer.text


# --- S4 and S6: whose events are known --------------------------------------------------------------------------------


def make_key(server, principal, *options):
    done = tlog("token", "create", "--data", server.data, "--principal", principal, "--json", "--scope", *options)
    return json.loads(done.stdout)


def post(server, key, events):
    headers = {"Authorization": f"Bearer {key['token']}"}
    return httpx2.post(server.url + "/v1/audit/events", json=events, headers=headers, timeout=30)


def counted(server, name, key):
    lines = httpx2.get(server.url + "/metrics").text.splitlines()
    found = [line.rpartition(" ")[2] for line in lines if line.startswith(f'{name}{{key="{key["keyId"]}"')]
    return float(found[0]) if found else 0.0


def test_s4_a_key_learns_nothing_of_the_events_of_others(server):
    first, sister, other = (make_key(server, who, "append") for who in ("a", "a", "b"))
    reader = make_key(server, "c", "append", "--scope", "read")
    event = fresh()[0]
    assert post(server, first, event).status_code == 201
    guess = {**event, "actor": {"userId": "a guess"}}
    right, wrong = post(server, other, event), post(server, other, guess)
    assert (right.status_code, wrong.status_code) == (409, 409)
    assert right.json() == wrong.json()
    for key in (first, sister, reader):
        assert (post(server, key, event).status_code, post(server, key, guess).status_code) == (200, 409)
    assert counted(server, "tlog_conflicts_total", other) == 2
    assert counted(server, "tlog_repeats_total", sister) == 1
    # S6: it is an alarm, with the IDs of both.
    alarm = "events_of_others_sent_again"
    lines = [line for line in said_by(server.said, alarm, 2).splitlines() if alarm in line]
    assert sum(other["keyId"] in line and first["keyId"] in line for line in lines) == 2
    assert not any(sister["keyId"] in line.split("first")[0] for line in lines)
    for place in (event["eventId"], event["actor"]["userId"]):
        assert place not in server.said.read_text()


def test_s4_what_is_known_costs_ten(server):
    key = make_key(server, "slow", "append", "--rate", "30")
    events = fresh(10)
    assert [post(server, key, events).status_code for _ in range(3)] == [201, 200, 429]
    control = make_key(server, "slow", "append", "--rate", "30")
    assert [post(server, control, fresh(10)).status_code for _ in range(3)] == [201] * 3
    wrong = [{**event, "action": "export"} for event in events]
    another = make_key(server, "slow", "append", "--rate", "30")
    assert [post(server, another, each).status_code for each in (wrong, wrong)] == [409, 429]
