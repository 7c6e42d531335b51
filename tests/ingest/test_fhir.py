"""FHIR AuditEvents: action, actor, resources and details, and what odd resources become."""

from __future__ import annotations

import base64
import json

import pytest
from foreign_records import FHIR

from tlog.core.making.parsing import parse_event
from tlog.ingest.fhir import FhirMapping
from tlog.ingest.total import SetAside, event_id


def only(record):
    [event] = FhirMapping().map(record, 0)
    assert event.pop("metadata") == record
    parse_event(json.dumps(event).encode())
    return event


def with_(**members):
    return only({**FHIR, **members})


def related(event):
    return [(each["type"], each["id"]) for each in event.get("relatedResources", [])]


def test_an_audit_event():
    assert only(FHIR) == {
        "eventId": event_id("fhir", "ae-1"),
        "timestamp": "2026-03-01T08:00:00.5Z",
        "action": "read",
        "operation": "vread",
        "outcome": "success",
        "actor": {"userId": "nvarga", "role": "nurse", "ipAddress": "192.0.2.7"},
        "resource": {"type": "Patient", "id": "pat1", "name": "A. Kiss"},
        "relatedResources": [
            {"type": "DocumentReference", "id": "doc1", "role": "Report"},
            {"type": "Practitioner", "id": "p7", "role": "nurse"},
            {"type": "Agent", "id": "7", "role": "nurse"},
            {"type": "Device", "id": "d1", "role": "Destination Role ID"},
        ],
        "details": {
            "purpose": "TREAT",
            "query": "_id=7",
            "recipient": {"name": "Laboratory", "address": "lab.clinic.example"},
        },
    }


@pytest.mark.parametrize(
    "action, subtype, kind, expected",
    [
        ("C", "110122", None, "create"), ("R", None, "110106", "read"), ("U", None, None, "update"), ("D", None, None, "delete"),
        ("E", "110122", "110114", "login"), ("E", "110123", "110114", "logout"), ("E", None, "110114", "login"),
        ("E", "ITI-32", "110106", "export"), ("E", "110136", None, "permission_change"), ("E", "110137", None, "permission_change"),
        ("E", "110120", "110100", "config_change"), ("E", "110131", None, "config_change"), ("E", "search-type", "rest", "read"),
        ("E", "history-system", "rest", "read"), ("E", "create", "rest", "create"), ("E", "patch", "rest", "update"),
        ("E", "ITI-9", "110112", "read"), ("E", "110127", "110113", "permission_change"), ("E", "operation", "rest", "update"),
        ("E", None, None, "update"), (None, "110122", None, "login"), ("X", None, None, "update"), (5, "delete", None, "delete"),
    ],
)  # fmt: skip
def test_actions(action, subtype, kind, expected):
    event = with_(
        action=action, subtype=None if subtype is None else [{"code": "odd"}, {"code": subtype}], type={"code": kind}
    )
    assert event["action"] == expected


@pytest.mark.parametrize(
    "outcome, expected",
    [
        ("0", "success"),
        ("4", "failure"),
        ("8", "failure"),
        ("12", "failure"),
        (0, "success"),
        (None, "unknown"),
        ({"code": "0"}, "unknown"),
    ],
)
def test_outcomes(outcome, expected):
    assert with_(outcome=outcome)["outcome"] == expected


@pytest.mark.parametrize(
    "agent, actor",
    [
        (
            {"who": {"identifier": {"value": "i"}, "reference": "Practitioner/p"}, "altId": "a", "name": "n"},
            {"userId": "i"},
        ),
        (
            {"who": {"identifier": {"value": ""}, "reference": "Practitioner/p"}, "altId": "a"},
            {"userId": "Practitioner/p"},
        ),
        ({"who": {"reference": "Device/d"}}, {"userId": "Device/d", "type": "system"}),
        ({"who": {"display": "d"}, "altId": "a", "name": "n"}, {"userId": "a"}),
        ({"name": "n"}, {"userId": "n"}),
        ({"who": {"display": "d"}}, {"userId": "d"}),
        ({"who": "odd", "network": {"address": "host:80"}}, {"type": "unknown", "address": "host:80"}),
        ({"altId": "a", "type": {"coding": [{"code": "humanuser"}]}}, {"userId": "a", "role": "humanuser"}),
        (
            {
                "altId": "a",
                "type": {"coding": [{"display": "human user", "code": "humanuser"}]},
                "role": {"text": "nurse"},
            },
            {"userId": "a", "role": "nurse"},
        ),
    ],
)
def test_actors(agent, actor):
    assert with_(agent=[{"requestor": False, "altId": "other"}, {"requestor": True, **agent}])["actor"] == actor


@pytest.mark.parametrize(
    "agents", [None, [], [{"requestor": False, "altId": "a"}], [{"requestor": "true", "altId": "a"}], "odd", [[]]]
)
def test_no_requestor_is_nobody(agents):
    assert with_(agent=agents)["actor"] == {"type": "unknown"}


@pytest.mark.parametrize(
    "entities, resource, others",
    [
        ([{"what": {"reference": "Patient/a/_history/3"}}], ("Patient", "a"), [("Patient", "a/_history/3")]),
        (
            [{"what": {"reference": "https://ehr.example/fhir/Patient/a"}}],
            ("Patient", "https://ehr.example/fhir/Patient/a"),
            [("Patient", "a")],
        ),
        ([{"what": {"identifier": {"value": "mrn-1"}}, "role": {"code": "1"}}], ("Patient", "mrn-1"), []),
        ([{"what": {"identifier": {"value": "x"}, "type": "Device"}}], ("Device", "x"), []),
        (
            [{"what": {"reference": "urn:uuid:1"}, "type": {"code": "2", "display": "System Object"}}],
            ("System_Object", "urn:uuid:1"),
            [],
        ),
        ([{"what": {"reference": "#o1"}, "type": {"code": "OperationOutcome"}}], ("OperationOutcome", "#o1"), []),
        ([{"what": {"reference": "x y"}}], ("Entity", "x y"), []),
        ([{"what": {"reference": "x y"}, "type": {"code": "2"}}], ("2", "x y"), []),
        (
            [{"what": {"reference": "List/l"}}, {"what": {"reference": "Patient/p", "identifier": {"value": "mrn"}}}],
            ("Patient", "p"),
            [("List", "l"), ("Entity", "mrn")],
        ),
        (
            [{"name": "only a name"}, {"query": "eA=="}, {"what": {"reference": "List/l"}}],
            ("List", "l"),
            [("Entity", "only a name")],
        ),
        ([{"what": {"display": "X-ray"}, "type": {"display": "Report"}}], ("Report", "X-ray"), []),
        ([{"what": {"type": "Patient"}, "role": {"code": 1}, "name": "A. Kiss"}], ("Patient", "A. Kiss"), []),
        ({"what": {"reference": "List/l"}}, ("List", "l"), []),
    ],
)
def test_resources(entities, resource, others):
    event = with_(entity=entities, agent=[])
    assert (event["resource"]["type"], event["resource"]["id"]) == resource
    assert related(event) == others


@pytest.mark.parametrize(
    "source, resource",
    [
        ({"observer": {"display": "EHR"}, "site": "Main"}, {"type": "AuditSource", "id": "EHR"}),
        ({"observer": {"reference": "Device/d", "display": "EHR"}}, {"type": "Device", "id": "d", "name": "EHR"}),
        (
            {"observer": {"identifier": {"value": "i"}, "type": "Device"}, "site": "Main"},
            {"type": "Device", "id": "i", "name": "Main"},
        ),
        ({"site": "Main"}, {"type": "AuditSource", "id": "Main"}),
        ({}, {"type": "AuditSource", "id": "unknown"}),
        (None, {"type": "AuditSource", "id": "unknown"}),
    ],
)
def test_without_entities_it_is_about_the_source(source, resource):
    assert with_(entity=None, source=source)["resource"] == resource


def test_a_disclosure_names_recipient_and_both_entities():
    event = with_(
        entity=[{"what": {"reference": "Patient/a"}}, {"what": {"reference": "Patient/a/_history/1", "identifier": {"value": "set-1"}}, "role": {"display": "r" * 99}}],
        agent=[{"requestor": True, "altId": "x", "purposeOfUse": [{"coding": [{"code": "HMARKT"}]}]}, {"type": {"coding": {"code": "110152"}}, "who": {"reference": "Practitioner/q", "display": "Where"}}],
        purposeOfEvent=None, outcomeDesc="told",
    )  # fmt: skip
    assert event["details"] == {"purpose": "HMARKT", "reason": "told", "recipient": {"name": "Where"}}
    assert {("Patient", "a/_history/1"), ("Entity", "set-1"), ("Practitioner", "q")} <= set(related(event))
    assert {each.get("role") for each in event["relatedResources"] if each["id"] == "set-1"} == {"r" * 64}


@pytest.mark.parametrize(
    "query, text",
    [
        (base64.b64encode("név=É".encode()).decode(), "név=É"),
        ("X2lk\nPTc=", "_id=7"),
        ("not base64!", "not base64!"),
        ("/w==", "/w=="),
        (7, "7"),
    ],
)
def test_queries(query, text):
    assert with_(entity=[{"query": query}])["details"]["query"] == text


@pytest.mark.parametrize("query", [None, "", {}, "===="])
def test_no_query(query):
    assert with_(entity=[{"query": query}])["details"].get("query") in (None, "====")


def test_ids():
    assert with_(id="0190F3C2-5F6E-7D3A-9B1C-2F4E6A8C0D1E")["eventId"] == "0190f3c2-5f6e-7d3a-9b1c-2f4e6a8c0d1e"
    without = {name: value for name, value in FHIR.items() if name != "id"}
    assert only(without)["eventId"] == event_id("fhir", without)
    [event] = FhirMapping(key=bytes(32), space="ehr").map(FHIR, 0)
    assert event["eventId"] == event_id("ehr", "ae-1", key=bytes(32))


@pytest.mark.parametrize(
    "record, pointer",
    [
        ({**FHIR, "recorded": None}, "/recorded"), ({**FHIR, "recorded": "2026-03-01"}, "/recorded"), ({}, "/recorded"),
        ({**FHIR, "resourceType": "Provenance"}, "/resourceType"), ([], ""), (None, ""), ("x", ""),
    ],
)  # fmt: skip
def test_what_is_set_aside(record, pointer):
    with pytest.raises(SetAside) as caught:
        FhirMapping().map(record, 0)
    assert caught.value.pointer == pointer


def test_the_least_there_is():
    assert only({"recorded": "2026-03-01T08:00:00Z"}) | {"eventId": ""} == {
        "eventId": "", "timestamp": "2026-03-01T08:00:00Z", "action": "update", "outcome": "unknown",
        "actor": {"type": "unknown"}, "resource": {"type": "AuditSource", "id": "unknown"},
    }  # fmt: skip


def test_a_bundle_is_taken_apart():
    bundle = {
        "resourceType": "Bundle",
        "type": "batch",
        "entry": [{"resource": FHIR}, {"resource": {**FHIR, "id": "ae-2"}}],
    }
    mapping = FhirMapping()
    assert [steps for steps, _ in mapping.split(bundle)] == [("entry", 0, "resource"), ("entry", 1, "resource")]
    assert [event["metadata"]["id"] for event in mapping.map(bundle, 0)] == ["ae-1", "ae-2"]
    with pytest.raises(SetAside) as caught:
        mapping.map({**bundle, "entry": [{"resource": FHIR}, {}]}, 0)
    assert caught.value.pointer == "/entry/1/resource"
    for odd in (
        {"resourceType": "Bundle"},
        {"resourceType": "Bundle", "entry": []},
        {"resourceType": "Bundle", "entry": {"resource": FHIR}},
    ):
        assert mapping.split(odd) == [((), odd)]
        with pytest.raises(SetAside):
            mapping.map(odd, 0)
    with pytest.raises(SetAside):
        mapping.map({**bundle, "entry": [5]}, 0)
