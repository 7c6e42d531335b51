"""CloudEvents: what one becomes in both modes, what is refused, and that the official SDK and this decoder agree."""

from __future__ import annotations

import json
import random
import string
from datetime import datetime

import pytest
from cloudevents.core.bindings import kafka
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from support import sample_events

from tlog.core.making.parsing import parse_event
from tlog.errors import MalformedInputError
from tlog.ingest.cloudevents import CloudEvents, read_actions
from tlog.ingest.decoding import Message, Refusal, decode, decoder_of

EVENT = {
    "specversion": "1.0",
    "id": "abc",
    "source": "/ehr",
    "type": "com.example.patient.viewed.v2",
    "time": "2026-11-24T06:11:59.998+01:00",
    "subject": "patient_record/P-1007",
    "authid": "n.varga",
    "authtype": "user",
    "sequence": "42",
    "datacontenttype": "application/json",
    "data": {"ward": "B", "n": 1.5},
    "traceparent": "00-1",
}
DECODER = CloudEvents()


def structured(event, content_type="application/cloudevents+json; charset=utf-8"):
    return Message(0, 0, None, json.dumps(event).encode(), [(b"content-type", content_type.encode())])


def binary(event, data=..., content_type=None):
    value = json.dumps(event.get("data")).encode() if data is ... else data
    kind = event.get("datacontenttype", "application/json") if content_type is None else content_type
    headers = [
        (f"ce_{name}".encode(), str(each).encode()) for name, each in event.items() if not name.startswith("data")
    ]
    return Message(0, 0, None, value, [*headers, (b"content-type", kind.encode())])


def made(message, decoder=DECODER):
    text = decoder.text_of(message.headers, message.value)
    parse_event(text)
    return json.loads(text)


@pytest.mark.parametrize("message", [structured(EVENT), binary(EVENT)], ids=["structured", "binary"])
def test_what_a_cloud_event_becomes(message):
    event = made(message)
    metadata = event.pop("metadata")
    assert event == {
        "eventId": "ec776a26-8073-552e-832b-070b5167630e",
        "timestamp": "2026-11-24T05:11:59.998Z",
        "actor": {"userId": "n.varga"},
        "action": "read",
        "operation": "com.example.patient.viewed.v2",
        "resource": {"type": "patient_record", "id": "P-1007"},
    }
    assert metadata == EVENT


@pytest.mark.parametrize("mode", [structured, binary])
def test_an_event_of_ones_own_is_taken_as_it_is(mode):
    own = sample_events(1)[0]
    message = mode({**EVENT, "data": json.loads(own)})
    assert json.loads(DECODER.text_of(message.headers, message.value)) == json.loads(own)
    # One that lacks a member is something else's, and so mapped.
    foreign = json.loads(own)
    del foreign["resource"]
    assert made(mode({**EVENT, "data": foreign}))["operation"] == EVENT["type"]


CHANGES = {
    "an id that is a UUID": (
        {"id": "0190F3C2-5F6E-7D3A-9B1C-2F4E6A8C0D1E"},
        {"eventId": "0190f3c2-5f6e-7d3a-9b1c-2f4e6a8c0d1e"},
    ),
    "a source that an event can have": ({"source": "ehr-api"}, {"source": {"id": "ehr-api", "seq": 42}}),
    "a sequence that is no integer": ({"source": "ehr-api", "sequence": "00042"}, {"source": None}),
    "no subject": ({"subject": None}, {"resource": {"type": "cloudevents_source", "id": "/ehr"}}),
    "a subject without a type": ({"subject": "P-1007"}, {"resource": {"type": "cloudevents_source", "id": "/ehr"}}),
    "a subject with slashes": ({"subject": "a/b/c"}, {"resource": {"type": "a", "id": "b/c"}}),
    "a service": ({"authtype": "service_account"}, {"actor": {"userId": "n.varga", "type": "service"}}),
    "the system": ({"authtype": "system"}, {"actor": {"userId": "n.varga", "type": "system"}}),
    "nobody who is known": ({"authtype": "unauthenticated", "authid": None}, {"actor": {"type": "unknown"}}),
    "a type in a path": ({"type": "https://example.com/events/record.deleted"}, {"action": "delete"}),
    "a type of one word": ({"type": "Login"}, {"action": "login"}),
}


@pytest.mark.parametrize("mode", [structured, binary])
@pytest.mark.parametrize("name", CHANGES)
def test_each_attribute(name, mode):
    changed, expected = CHANGES[name]
    event = made(mode({key: value for key, value in (EVENT | changed).items() if value is not None}))
    for member, value in expected.items():
        assert event.get(member) == value


REFUSED = {
    "no time": ({"time": None}, "/time"),
    "a time that is none": ({"time": "yesterday"}, "/time"),
    "no actor": ({"authid": None}, "/authid"),
    "an empty actor": ({"authid": ""}, "/authid"),
    "a type without an action": ({"type": "com.example.patient.pondered"}, "/type"),
    "no type": ({"type": None}, "/type"),
    "an empty id": ({"id": ""}, "/id"),
    "no source": ({"source": None}, "/source"),
    "another version": ({"specversion": "0.3"}, "/specversion"),
}


@pytest.mark.parametrize("mode", [structured, binary])
@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_and_never_guessed(name, mode):
    changed, pointer = REFUSED[name]
    message = mode({key: value for key, value in (EVENT | changed).items() if value is not None})
    (found,) = decode([message], decoder_of("cloudevents"))
    assert isinstance(found, Refusal)
    assert found.pointer == pointer
    assert "n.varga" not in found.reason


@pytest.mark.parametrize(
    "message, words",
    [
        (Message(0, 0, None, b"{}"), "neither a content type"),
        (Message(0, 0, None, None, [(b"content-type", None)]), "neither a content type"),
        (structured(EVENT, "application/cloudevents-batch+json"), "a batch"),
        (structured(EVENT)._replace(value=None), "not a JSON object"),
        (structured([EVENT]), "not a JSON object"),
        (structured(EVENT)._replace(value=b"\xff"), "not a JSON object"),
    ],
)
def test_what_is_no_cloud_event(message, words):
    with pytest.raises(MalformedInputError, match=words):
        DECODER.text_of(message.headers, message.value)


@pytest.mark.parametrize(
    "value, kind, data",
    [
        (b"plain", "text/plain", {"data": "plain"}),
        (b"\xff\x00", "application/octet-stream", {"data_base64": "/wA="}),
        (b"{not json", "application/json", {"data": "{not json"}),
        (b"[1]", "", {"data": [1]}),
        (b"[1]", "application/x+json; a=b", {"data": [1]}),
        (None, "", {}),
    ],
)
def test_data_of_any_kind_is_kept(value, kind, data):
    metadata = made(binary(EVENT, value, kind))["metadata"]
    assert {name: each for name, each in metadata.items() if name in {"data", "data_base64"}} == data


def test_actions_of_ones_own_come_first():
    decoder = CloudEvents(read_actions(b'"com.example.patient.pondered" = "read"\nviewed = "export"\n'))
    assert made(structured(EVENT), decoder)["action"] == "export"
    assert made(structured({**EVENT, "type": "com.example.patient.pondered"}), decoder)["action"] == "read"
    for wrong in (b"viewed = 5", b'viewed = "look"', b"viewed", b"\xff"):
        with pytest.raises(MalformedInputError, match="action map"):
            read_actions(wrong)


def random_event(rng):
    def text():
        return "".join(rng.choice(string.ascii_letters + ' é-_./"\\') for _ in range(rng.randrange(1, 20)))

    event = {
        "specversion": "1.0",
        "id": text(),
        "source": f"/{rng.randrange(99)}",
        "type": f"a.{rng.choice(['viewed', 'created'])}",
    }
    event |= {
        "datacontenttype": "application/json",
        "time": f"2026-11-{rng.randrange(10, 28)}T05:11:59.{rng.randrange(1000):03}Z",
        "authid": text(),
    }
    event["data"] = rng.choice([{"a": rng.randrange(10**6), "b": [text(), None, True]}, {"c": text()}])
    if rng.random() < 0.5:
        event["subject"] = f"{rng.choice('abc')}/{text()}"
    return event


def message_of(sent):
    return Message(0, 0, None, sent.value, [(name.encode(), value) for name, value in sent.headers.items()])


def test_what_the_official_sdk_sends_is_the_same_event_in_both_modes():
    rng, form = random.Random(1), JSONFormat()
    for _ in range(2_000):
        event = random_event(rng)
        attributes = {name: value for name, value in event.items() if name != "data"}
        moment = datetime.fromisoformat(event["time"])
        official = CloudEvent({**attributes, "time": moment}, event["data"])
        sent = kafka.to_structured(official, form), kafka.to_binary(official, form)
        one, other = (made(message_of(each)) for each in sent)
        assert one == other
        assert datetime.fromisoformat(one["metadata"].pop("time")) == moment
        assert one["metadata"] == {name: value for name, value in event.items() if name != "time"}


def test_the_official_sdk_reads_what_these_tests_send():
    rng, form = random.Random(2), JSONFormat()
    for _ in range(500):
        event = random_event(rng)
        for mode in (structured, binary):
            message = mode(event)
            headers = {name.decode(): value for name, value in message.headers}
            read = kafka.from_kafka(kafka.KafkaMessage(headers, None, message.value), form)
            attributes = {**read.get_attributes(), "time": event["time"]}
            assert {**attributes, "data": read.get_data()} == event
