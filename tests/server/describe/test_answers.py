"""Every answer is what its type says, no more and no less; so the description says what is answered."""

from __future__ import annotations

import json
import re
import time
from uuid import uuid4

import httpx2
import msgspec
import pytest
from support import sample_events, start_server

from tlog.core.evidence import Evidence
from tlog.server.describe.answers import (
    ANSWERS,
    AccessLog,
    Checkpoints,
    EventProof,
    EventsAnswer,
    LogDescription,
    LoggedEvent,
    Problem,
    Readiness,
    ReceiptCounts,
    Receipts,
    Verification,
)

EVENTS = [json.loads(raw) for raw in sample_events(40)]
EVENT = EVENTS[0]
# One with every member that an event can have.
WHOLE = {
    **EVENT,
    "eventId": "0190f3c2-5f6e-7d3a-9b1c-2f4e6a8c0d1e",
    "operation": "OrderResult.view",
    "actor": {
        "userId": "n.varga",
        "type": "service",
        "email": "n.varga@hospital.example",
        "role": "nurse",
        "ipAddress": "10.20.2.99",
        "userAgent": "ehr/7",
        "address": "ward-3.hospital.example",
    },
    "resource": {"type": "lab_result", "id": "L-1", "name": "Blood count"},
    "relatedResources": [
        {"type": "patient_record", "id": "P-whole", "name": "A patient", "role": "subject"},
        {"type": "ward", "id": "3"},
    ],
    "details": {
        "fieldsAccessed": ["value"],
        "oldValues": {"value": 1},
        "newValues": {"value": 2.5},
        "query": "blood",
        "reason": "round",
        "purpose": "TREAT",
        "recipient": {"name": "Dr. Who", "address": "fax:1"},
    },
    "metadata": {"ward": {"floor": [1, None, True]}},
    "source": {"id": "ehr-api:9f2c01ab", "seq": 7},
}
RESOURCE = f"{EVENT['resource']['type']}/{EVENT['resource']['id']}"


@pytest.fixture(scope="module")
def http(module_directory):
    server = start_server(module_directory / "data")
    server.append([*EVENTS, WHOLE])
    server.seal()
    with httpx2.Client(base_url=server.url, headers={"Authorization": f"Bearer {server.token}"}, timeout=60) as client:
        yield client
    server.stop()


def read(answer, kind):
    """Return an answer as the type that it has to be: nothing lacks, nothing is left over."""
    document = answer.json()
    value = msgspec.convert(document, kind)
    assert msgspec.to_builtins(value) == document
    return value


def fresh(seed, count=1):
    return [json.loads(raw) for raw in sample_events(count, seed=seed)]


def test_something_that_is_left_over_is_noticed(http):
    answer = http.get("/v1/log")
    assert read(answer, LogDescription).hash == "SHA-256"
    more = httpx2.Response(200, json={**answer.json(), "more": 1})
    with pytest.raises(AssertionError):
        read(more, LogDescription)


def test_answers_to_appends(http):
    sent = fresh(1001, 3)
    assert read(http.post("/v1/audit/events", json=sent), Receipts).receipts[2].event_id == sent[2]["eventId"]
    assert read(http.post("/v1/audit/events", json=sent), Receipts).receipts[0].duplicate is True
    ahead = {**fresh(1002)[0], "timestamp": "2999-01-01T00:00:00Z"}
    assert read(http.post("/v1/audit/events", json=ahead), Receipts).receipts[0].warnings[0].pointer == "/timestamp"
    assert read(http.post("/v1/audit/events?wait=sealed", json=fresh(1003)), Receipts).receipts[0].proof
    minimal = {"Prefer": "return=minimal"}
    assert read(http.post("/v1/audit/events", json=fresh(1004), headers=minimal), ReceiptCounts).sealed is msgspec.UNSET
    ahead["eventId"] = str(uuid4())
    counts = read(http.post("/v1/audit/events?wait=sealed", json=ahead, headers=minimal), ReceiptCounts)
    assert (counts.sealed, counts.warnings, counts.tree_size > counts.last_index) == (True, 1, True)


def test_answers_to_questions(http):
    found = read(http.get("/v1/audit/events", params={"userId": EVENT["actor"]["userId"]}), EventsAnswer)
    assert any(each.actor.userId == EVENT["actor"]["userId"] and each.log.index >= 0 for each in found.events)
    assert read(http.get(f"/v1/audit/resource/{RESOURCE}/access-log"), AccessLog).access_log
    assert read(http.get(f"/v1/audit/events/{EVENT['eventId']}"), LoggedEvent).event_id == EVENT["eventId"]
    assert read(http.get(f"/v1/audit/events/{EVENT['eventId']}/proof"), EventProof).event_file
    asked = {"userId": EVENT["actor"]["userId"], "format": "evidence", "disclose": "true"}
    deadline = time.monotonic() + 30
    while (answer := http.get("/v1/audit/export", params=asked)).status_code != 200:  # no epoch yet
        assert time.monotonic() < deadline, answer.text
        time.sleep(0.1)
    msgspec.convert(answer.json(), Evidence)
    assert read(http.get("/v1/audit/verify?wait=60"), Verification).verified is True


def log_of(http, resource):
    """The access log of a resource without the question itself, which is journaled while it is answered: it may be there."""
    answer = read(http.get(f"/v1/audit/resource/{resource}/access-log"), AccessLog).access_log
    return [each for each in answer if each.resource.type != "log"]


def test_every_member_of_an_event_comes_back(http):
    event = read(http.get(f"/v1/audit/events/{WHOLE['eventId']}"), LoggedEvent)
    answered = msgspec.to_builtins(event)
    assert re.fullmatch("[0-9a-f]{24}", answered.pop("log")["appendedBy"])
    assert answered == WHOLE
    named = log_of(http, "patient_record/P-whole")
    assert [(each.event_id, each.log.matched) for each in named] == [(WHOLE["eventId"], "related")]
    told = log_of(http, "lab_result/L-1")
    assert [(each.event_id, each.log.matched) for each in told] == [(WHOLE["eventId"], "resource")]


def test_answers_to_everybody(http):
    assert read(http.get("/v1/checkpoints?limit=1"), Checkpoints).next > 0
    assert read(http.get("/readyz"), Readiness).ready is True


@pytest.mark.parametrize(
    "method, path, body, status",
    [
        ("GET", "/v1/audit/events?x=1", None, 400),
        ("GET", "/v1/audit/events/0190f3c2-5f6e-7d3a-9b1c-2f4e6a8c0dff", None, 404),
        ("GET", "/v1/proof/inclusion?index=99999999", None, 404),
        ("POST", "/v1/audit/events", {**EVENT, "action": "export"}, 409),
        ("POST", "/v1/audit/events", [{}, {**EVENT, "colour": "red"}], 422),
        ("POST", "/v1/audit/events", {}, 422),
    ],
)
def test_errors(http, method, path, body, status):
    answer = http.request(method, path, **({} if body is None else {"json": body}))
    problem = read(answer, Problem)
    assert answer.status_code == problem.status == status


def test_errors_of_keys(http):
    for path, header, status in (("/v1/audit/events", "Bearer x", 401), ("/v1/audit/verify", "", 401)):
        answer = http.get(path, headers={"Authorization": header})
        assert read(answer, Problem).status == answer.status_code == status


def test_the_types_of_answers_take_further_members():
    for kind in ANSWERS:
        assert msgspec.structs.fields(kind)
        assert kind.__struct_config__.forbid_unknown_fields is False
