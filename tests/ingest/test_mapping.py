"""Mapping files: what they say, what is refused in them, and a record from one end to the other."""

from __future__ import annotations

import copy
import json
import uuid
from io import BytesIO

import foreign_records as foreign
import pytest

from tlog.errors import MalformedInputError
from tlog.ingest.mapping import FileMapping, load_mapping, maps
from tlog.ingest.reading import read_records
from tlog.ingest.total import JsonText, SetAside, event_id

# The example of docs/reference/mapping-language.md, in TOML and as what TOML says.
EXAMPLE = """
v = 1
name = "rota"
[event]
eventId = ["/id"]
timestamp = { from = "/at", zone = "Europe/Budapest" }
action = { from = "/verb", table = "actions" }
resource = { type = { value = "shift" }, id = "/shift" }
[tables.actions]
view = "read"
"delete*" = "delete"
"""
DOCUMENT = {
    "v": 1,
    "name": "rota",
    "event": {
        "eventId": ["/id"],
        "timestamp": {"from": "/at", "zone": "Europe/Budapest"},
        "action": {"from": "/verb", "table": "actions"},
        "resource": {"type": {"value": "shift"}, "id": "/shift"},
    },
    "tables": {"actions": {"view": "read", "delete*": "delete"}},
}
RECORD = {"id": "r-1", "at": "2026-03-01 09:00:00", "verb": "view", "shift": "s-7", "by": "nvarga"}


def changed(**members):
    """Return DOCUMENT with members replaced or added; event__x leads into `event`, ... removes."""
    document = copy.deepcopy(DOCUMENT)
    for path, value in members.items():
        *way, name = path.split("__")
        place = document
        for each in way:
            place = place[each]
        if value is ...:
            del place[name]
        else:
            place[name] = value
    return document


def mapped(record=RECORD, position=0, **members):
    [event] = FileMapping(changed(**members), "rota.toml").map(record, position)
    return event


def test_toml_and_json_say_the_same(tmp_path):
    (tmp_path / "rota.toml").write_text(EXAMPLE)
    (tmp_path / "rota.json").write_text(json.dumps(DOCUMENT))
    expected = {
        "eventId": str(uuid.uuid5(uuid.UUID("3234828c-1128-5439-b9e0-75e162fc676e"), '["rota","r-1"]')),
        "timestamp": "2026-03-01T08:00:00Z",
        "action": "read",
        "actor": {"type": "unknown"},
        "resource": {"type": "shift", "id": "s-7"},
        "metadata": RECORD,
    }
    for path in (tmp_path / "rota.toml", str(tmp_path / "rota.json")):
        mapping = load_mapping(path)
        assert mapping.name == "rota"
        assert mapping.map(RECORD, 0) == [expected]


def test_every_member_of_an_event():
    event = mapped(
        event__operation="/verb",
        event__outcome={"value": "success"},
        event__actor={"userId": "/by", "email": {"value": "n.varga@clinic.example"}, "role": {"value": "nurse"}, "type": {"value": "service"}, "address": {"value": "ward-7:443"}, "userAgent": {"value": "rota"}},
        event__resource=[{"type": "/none", "id": "/id"}, {"type": {"value": "shift"}, "id": "/shift", "name": {"value": "Night"}}],
        event__related=[{"type": {"value": "user"}, "id": "/by", "name": {"value": "V"}, "role": {"value": "planner"}}, {"type": {"value": "user"}, "id": "/none"}],
        event__details={"query": "/verb", "reason": {"value": "why"}, "purpose": {"value": "TREAT"}, "fieldsAccessed": "/fields/*", "recipient": {"name": {"value": "Lab"}, "address": {"value": "lab.example"}}},
        record={**RECORD, "fields": ["a", None, "", 7, "b"]},
    )  # fmt: skip
    del event["metadata"], event["eventId"]
    assert event == {
        "timestamp": "2026-03-01T08:00:00Z", "action": "read", "operation": "view", "outcome": "success",
        "actor": {"userId": "nvarga", "email": "n.varga@clinic.example", "role": "nurse", "type": "service", "address": "ward-7:443", "userAgent": "rota"},
        "resource": {"type": "shift", "id": "s-7", "name": "Night"},
        "relatedResources": [{"type": "user", "id": "nvarga", "name": "V", "role": "planner"}],
        "details": {"query": "view", "reason": "why", "purpose": "TREAT", "fieldsAccessed": ["a", "7", "b"], "recipient": {"name": "Lab", "address": "lab.example"}},
    }  # fmt: skip


def test_what_a_record_lacks():
    event = mapped(
        event__operation="/none",
        event__outcome="/verb",
        event__details={"fieldsAccessed": "./none/*"},
        event__resource=[{"type": "/none", "id": "/shift"}],
    )
    assert event["resource"] == {"type": "unknown", "id": "s-7"}
    assert event.keys() == {"eventId", "timestamp", "action", "actor", "resource", "metadata"}
    assert mapped(event__resource=[{"type": "/none", "id": "/none"}])["resource"] == {
        "type": "unknown",
        "id": "unknown",
    }


@pytest.mark.parametrize(
    "record, pointer, rule",
    [
        ([], "", "a record is a JSON object"),
        (None, "", "a record is a JSON object"),
        ({**RECORD, "verb": "dance"}, "/verb", "the mapping has no action for this record"),
        ({**RECORD, "verb": None}, "/verb", "the mapping has no action for this record"),
        ({**RECORD, "id": ""}, "/id", "there is no value to make the eventId of"),
        ({**RECORD, "at": None}, "/at", "there is no time"),
        ({**RECORD, "at": "yesterday"}, "/at", "this is no date and time that can be read"),
    ],
)
def test_what_is_set_aside(record, pointer, rule):
    with pytest.raises(SetAside, match=rule) as caught:
        mapped(record)
    assert caught.value.pointer == pointer
    assert "dance" not in caught.value.rule
    assert "yesterday" not in caught.value.rule


def test_an_action_of_the_record_itself_has_to_be_one():
    assert mapped({**RECORD, "verb": "export"}, event__action="/verb")["action"] == "export"
    with pytest.raises(SetAside):
        mapped({**RECORD, "verb": "view"}, event__action="/verb")


# --- Times and eventIds -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rule, value, expected",
    [
        ("/at", "2026-03-01T09:00:00+01:00", "2026-03-01T08:00:00Z"),
        ({"from": "/at", "unit": "s"}, 1772352000, "2026-03-01T08:00:00Z"),
        ({"from": "/at", "unit": "ms"}, "1772352000123", "2026-03-01T08:00:00.123Z"),
        ({"from": "/at", "unit": "ns", "zone": "+01:00"}, "2026-03-01 09:00:00", "2026-03-01T08:00:00Z"),
        ({"from": {"first": ["/shift", "/at"]}}, "2026-03-01T08:00:00Z", "2026-03-01T08:00:00Z"),
        ([{"from": "/none"}, {"from": "/at", "unit": "s"}], 1772352000, "2026-03-01T08:00:00Z"),
        ([{"from": "/shift", "zone": "UTC"}, "/at"], "2026-03-01T08:00:00Z", "2026-03-01T08:00:00Z"),
    ],
)
def test_times(rule, value, expected):
    assert mapped({**RECORD, "at": value}, event__timestamp=rule)["timestamp"] == expected


def test_the_first_candidate_says_why_there_is_no_time():
    with pytest.raises(SetAside, match="no date and time") as caught:
        mapped(event__timestamp={"from": {"first": ["/shift", "/none", "/verb"]}})
    assert caught.value.pointer == "/shift"


@pytest.mark.parametrize(
    "rule, values",
    [
        (["/id", "/none", "/n"], ["r-1", None, 5]),
        ({"first": [["/none", "/id"], ["/n", {"value": "x"}]]}, [5, "x"]),
        ({"first": [{"uuid": "/none"}, {"uuid": "/id"}]}, ["r-1"]),
        ([""], [{**RECORD, "n": 5}]),
        (["/id", "#"], ["r-1", 9]),
    ],
)
def test_event_ids(rule, values):
    record = {**RECORD, "n": 5}
    assert mapped(record, 9, event__eventId=rule)["eventId"] == event_id("rota", *values)
    keyed = FileMapping(changed(event__eventId=rule), "f", key=bytes(32), space="other").map(record, 9)
    assert keyed[0]["eventId"] == event_id("other", *values, key=bytes(32))


def test_a_uuid_is_taken_as_it_is():
    record = {**RECORD, "id": "0190F3C2-5F6E-7D3A-9B1C-2F4E6A8C0D1E"}
    assert mapped(record, event__eventId={"uuid": "/id"})["eventId"] == "0190f3c2-5f6e-7d3a-9b1c-2f4e6a8c0d1e"
    for rule, pointer in (
        ({"first": [{"uuid": "/id"}, ["/none"]]}, "/none"),
        ({"uuid": "/id"}, "/id"),
        (["/id"], "/id"),
    ):
        with pytest.raises(SetAside) as caught:
            mapped({**record, "id": None}, event__eventId=rule)
        assert caught.value.pointer == pointer


# --- Several records, several events ------------------------------------------------------------------------------------

EACH = {"event__action": {"from": "./verb", "table": "actions"}, "event__eventId": ["/id", "#"], "each": "/events/*"}


def test_each_element_is_an_event_of_its_own():
    record = {**RECORD, "events": [{"verb": "view", "who": [{"k": "u", "v": "x"}]}, {"verb": "delete it", "who": []}]}
    related = [
        {"each": "./who/[k=u]", "type": {"value": "user"}, "id": "./v"},
        {"each": "/events/*", "type": {"value": "verb"}, "id": "./verb"},
    ]
    events = FileMapping(changed(event__related=related, **EACH), "f").map(record, 0)
    assert [event["action"] for event in events] == ["read", "delete"]
    assert [event["metadata"] for event in events] == [{**record, "events": [element]} for element in record["events"]]
    assert [event["eventId"] for event in events] == [event_id("rota", "r-1", 0), event_id("rota", "r-1", 1)]
    assert [[each["id"] for each in event["relatedResources"]] for event in events] == [
        ["x", "view", "delete it"],
        ["view", "delete it"],
    ]


@pytest.mark.parametrize(
    "record", [{**RECORD, "events": {"verb": "view"}}, {**RECORD, "events": [{"verb": "view"}]}, RECORD]
)
def test_one_element_or_none(record):
    [event] = FileMapping(changed(**EACH), "f").map(record, 0)
    assert (event["action"], event["metadata"]) == ("read", record)


def test_the_element_is_named():
    with pytest.raises(SetAside) as caught:
        FileMapping(changed(**EACH), "f").map({**RECORD, "events": [{"verb": "view"}, {"verb": "x"}]}, 0)
    assert caught.value.pointer == "/events/1/verb"


def test_an_envelope_is_taken_apart():
    mapping = FileMapping(changed(records=["/none/*", "/page/items/*"]), "f")
    whole = {"page": {"items": [RECORD, {**RECORD, "id": "r-2"}]}}
    assert mapping.split(whole) == [(("page", "items", 0), RECORD), (("page", "items", 1), {**RECORD, "id": "r-2"})]
    assert [event["metadata"]["id"] for event in mapping.map(whole, 0)] == ["r-1", "r-2"]
    for single in (RECORD, {"page": {"items": []}}, {"page": {"items": {"id": "x"}}}, []):
        assert mapping.split(single) == [((), single)]
    with pytest.raises(SetAside) as caught:
        mapping.map({"page": {"items": [RECORD, 5]}}, 0)
    assert caught.value.pointer == "/page/items/1"


def test_a_bad_record_in_an_envelope_stops_no_other():
    mapping = FileMapping(changed(records=["/items/*"]), "f")
    whole = json.dumps({"items": [RECORD, {**RECORD, "verb": None}, 5, {**RECORD, "id": "r-2"}]}).encode()
    good, verb, number, other = read_records(BytesIO(b"[" + whole + b"]\n"), "day.json", mapping)
    assert [json.loads(item.events[0])["metadata"]["id"] for item in (good, other)] == ["r-1", "r-2"]
    assert (good.place, other.place) == ("day.json, record 1", "day.json, record 4")
    assert (verb.base, verb.pointer, verb.content()) == (
        "/0/items/1",
        "/verb",
        json.dumps({**RECORD, "verb": None}).encode(),
    )
    assert (number.place, number.base, number.content()) == ("day.json, record 3", "/0/items/2", b"5")
    [damaged] = read_records(BytesIO(b'{"items":[1}'), "day.json", mapping)
    assert damaged.rule


def test_numbers_that_no_double_holds():
    record = {**RECORD, "id": JsonText("123456789012345678901234567890"), "by": JsonText("1e999")}
    assert mapped(record, event__actor={"userId": "/by"})["actor"]["userId"] == "1e999"


# --- What is refused ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "members, message",
    [
        ({"v": 2}, "/v: this version reads mappings of version 1"),
        ({"v": True}, "/v: this version reads mappings of version 1"),
        ({"v": ...}, "/v: this member is required"),
        ({"name": ""}, "/name: expected a text that is not empty"),
        ({"name": "Rota!"}, "/name: expected 1 to 64 small letters"),
        ({"extra": 1}, "/extra: no such member; known are v, name, event, each, records, tables"),
        ({"a/b": 1}, "/a~1b: no such member"),
        ({"event": []}, "/event: expected a table of members"),
        ({"event__metadata": "/x"}, "/event/metadata: no such member; known are eventId"),
        ({"event__action": ...}, "/event/action: this member is required"),
        ({"event__action": {"value": "dance"}}, "/event/action/value: not one of the values this member can have: read"),
        ({"tables__actions__x": "dance"}, "/tables/actions: not one of the values this member can have: read"),
        ({"event__outcome": {"value": "maybe"}}, "/event/outcome/value: not one of the values"),
        ({"event__actor": {"ipAddress": "/x"}}, "/event/actor/ipAddress: no such member; known are userId"),
        ({"event__actor": {"type": {"value": "robot"}}}, "/event/actor/type/value: not one of the values"),
        ({"event__resource": {"type": "/x"}}, "/event/resource/id: this member is required"),
        ({"event__resource": [{"type": "/x", "id": "/y"}, 5]}, "/event/resource/1: expected a table of members"),
        ({"event__resource": []}, "/event/resource: expected a table of members"),
        ({"event__related": {}}, "/event/related: expected a list"),
        ({"event__related": [{"type": "/x", "id": "/y", "kind": "/z"}]}, "/event/related/0/kind: no such member"),
        ({"event__related": [{"type": "/x", "id": "/y", "each": 5}]}, "/event/related/0/each: expected a text"),
        ({"event__details": {"fieldsAccessed": {}}}, "/event/details/fieldsAccessed: expected a text"),
        ({"event__details": {"oldValues": "/x"}}, "/event/details/oldValues: no such member"),
        ({"event__details": {"recipient": {"id": "/x"}}}, "/event/details/recipient/id: no such member"),
        ({"event__timestamp": {"from": "/x", "unit": "min"}}, "/event/timestamp/unit: expected one of s, ms, us, ns"),
        ({"event__timestamp": {"from": "/x", "unit": []}}, "/event/timestamp/unit: expected one of s, ms, us, ns"),
        ({"event__timestamp": {"from": "/x", "zone": "Ward/7"}}, "/event/timestamp/zone: expected UTC"),
        ({"event__timestamp": {"from": "/x", "zone": 5}}, "/event/timestamp/zone: expected a text"),
        ({"event__timestamp": {"unit": "s"}}, "/event/timestamp/from: this member is required"),
        ({"event__timestamp": {"from": {"first": []}}}, "/event/timestamp/from/first: expected a list of rules"),
        ({"event__timestamp": [5]}, "/event/timestamp/0: expected a table of members"),
        ({"event__timestamp": 5}, "/event/timestamp: expected a table of members"),
        ({"event__eventId": "/id"}, "/event/eventId: expected a list of rules, a table with the member uuid"),
        ({"event__eventId": []}, "/event/eventId: expected a list of rules"),
        ({"event__eventId": {"first": []}}, "/event/eventId: expected a list of rules"),
        ({"event__eventId": {"first": [["/a"], {"x": 1}]}}, "/event/eventId/first/1: expected a list of rules"),
        ({"event__eventId": {"uuid": "a"}}, "/event/eventId/uuid: a pointer begins with"),
        ({"event__eventId": ["/a", "b"]}, "/event/eventId/1: a pointer begins with"),
        ({"each": "/events"}, "/each: expected a pointer from the record with a segment '*'"),
        ({"each": "./events/*"}, "/each: expected a pointer from the record"),
        ({"records": "/x/*"}, "/records: expected a list of pointers"),
        ({"records": ["/x"]}, "/records/0: expected a pointer to a list, ending in '/*'"),
        ({"records": ["/x/*/y/*"]}, "/records/0: expected a pointer to a list"),
        ({"records": ["./x/*"]}, "/records/0: expected a pointer to a list"),
        ({"tables": 5}, "/tables: expected a table of members"),
    ],
)  # fmt: skip
def test_what_is_refused(members, message):
    with pytest.raises(MalformedInputError) as caught:
        FileMapping(changed(**members), "rota.toml")
    assert str(caught.value).startswith(f"rota.toml: {message}")
    assert caught.value.pointer == message.partition(":")[0]


@pytest.mark.parametrize("document", [None, [], "text", 5])
def test_what_is_no_mapping_at_all(document):
    with pytest.raises(MalformedInputError, match=r"rota.toml: the mapping: expected a table of members"):
        FileMapping(document, "rota.toml")


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("a.toml", b"v = ", "a.toml: not TOML: "),
        ("a.toml", b"v = 1\nv = 1", "a.toml: not TOML: "),
        ("a.toml", b"\xff", "a.toml: not TOML: not UTF-8"),
        ("a.json", b"{", "a.json: not JSON"),
        ("a.json", b'{"v":1,"v":1}', "a.json: a member name stands twice"),
        ("a.toml", b"x = " + b"[" * 20_000 + b"]" * 20_000, "a.toml: "),
        (
            "a.toml",
            EXAMPLE.encode().replace(b'"/shift"', b"{first=[" * 400 + b'"/shift"' + b"]}" * 400),
            "a.toml: nested too deep",
        ),
        (
            "a.toml",
            EXAMPLE.encode().replace(b"[event]", b"extra = 1979-05-27\n[event]"),
            "a.toml: /extra: no such member",
        ),
    ],
    ids=["cut", "twice", "not UTF-8", "JSON cut", "JSON twice", "deep", "deep rules", "date"],
)
def test_files_that_are_no_mapping(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(MalformedInputError) as caught:
        load_mapping(path)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("name", ["nobody", "", ".", "a\0b", "maps/okta.toml"])
def test_no_such_mapping(name):
    with pytest.raises(MalformedInputError, match="shipped are azure, fhir"):
        load_mapping(name)


def test_shipped_names_are_id_spaces():
    assert [load_mapping(name).name for name in maps()] == maps()
    [event] = load_mapping("github", key=bytes(32), space="ours").map(foreign.GITHUB, 0)
    assert event["eventId"] == event_id("ours", "AbC-123", key=bytes(32))
