"""Event files: what is parsed is what is formatted, and nothing else is an event file."""

from __future__ import annotations

import json

import pytest

from tlog.core.eventfile import EventFile, format_event_file, parse_event_file
from tlog.errors import MalformedInputError

SALT = bytes(range(16))
EVENT = EventFile(b'{"v":1,"\xc3\xa9":2}', {"actor": SALT + b'{"userId":"n.varga"}', "resource": SALT + b"{}"})
FILE = (
    b'{"absent":[],"disclosed":["actor","resource"],"disclosures":{"actor":{"body":"{\\"userId\\":\\"n.varga\\"}","salt":"AAECAwQFBgcICQoLDA0ODw"},'
    b'"resource":{"body":"{}","salt":"AAECAwQFBgcICQoLDA0ODw"}},"entry":"{\\"v\\":1,\\"\xc3\xa9\\":2}"}\n'
)


def test_the_bytes_of_a_file():
    assert format_event_file(EVENT) == FILE
    assert parse_event_file(FILE) == EVENT


@pytest.mark.parametrize("groups", [[], ["actor"], ["resource"], ["actor", "resource"]])
def test_any_of_the_disclosures_may_be_given(groups):
    event = EVENT._replace(disclosures={group: EVENT.disclosures[group] for group in groups})
    assert parse_event_file(format_event_file(event)) == event
    assert json.loads(format_event_file(event))["disclosed"] == groups


def test_what_is_absent_is_explained_or_missing():
    event = EVENT._replace(disclosures={}, absent=(("actor", 9), ("related/0", 9)), missing=("resource", "related/1"))
    data = format_event_file(event)
    assert json.loads(data)["disclosed"] == ["actor", "resource", "related/0", "related/1"]
    assert json.loads(data)["absent"] == [["actor", 9], ["related/0", 9]]
    assert parse_event_file(data) == event


def test_groups_are_listed_in_their_order_and_members_in_that_of_json():
    groups = ["actor", "resource", *(f"related/{number}" for number in range(12))]
    event = EVENT._replace(disclosures={group: SALT + group.encode() for group in reversed(groups)})
    data = format_event_file(event)
    content = json.loads(data)
    assert content["disclosed"] == groups == list(parse_event_file(data).disclosures)
    assert list(content["disclosures"]) == sorted(groups)
    assert data.index(b'"related/10":') < data.index(b'"related/2":') < data.index(b'"resource":')
    turned = content | {"disclosures": dict(reversed(content["disclosures"].items()))}
    with pytest.raises(MalformedInputError, match="canonical"):
        parse_event_file(json.dumps(turned, separators=(",", ":")).encode() + b"\n")


def changed(**members):
    return json.dumps({**json.loads(FILE), **members}, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def test_the_control_of_what_is_changed():
    assert parse_event_file(changed()) == EVENT


@pytest.mark.parametrize(
    "data, message, pointer",
    [
        (FILE[:-1], "is canonical JSON", ""),
        (FILE + b"\n", "is canonical JSON", ""),
        (FILE.replace(b'"entry":', b'"entry": '), "is canonical JSON", ""),
        (FILE.replace(b'{"absent":[],', b'{"absent":[],"absent":[],'), "is canonical JSON", ""),
        (FILE.replace(b"varga", b"v\\u0061rga"), "is canonical JSON", ""),
        (FILE.replace(b"varga", b"\\ud800"), "not an event file", ""),
        (FILE.replace(b"varga", b"\xff"), "not an event file", ""),
        (b"[" * 9_999, "not an event file", ""),
        (b"", "not an event file", ""),
        (b"[]\n", "not an event file", ""),
        (changed(more=1), "not an event file", ""),
        (changed(entry=1), "not an event file", ""),
        (changed(disclosures=[]), "not an event file", ""),
        (changed(absent=[["actor", 5]]), "explains something as absent that is there", "/absent"),
        (changed(absent=[["actor", "5"]]), "not an event file", ""),
        (changed(absent=[["actor", -1]]), "not an event file", ""),
        (changed(absent=[["actor", 2**53]]), "not an event file", ""),
        (changed(absent=[["related/0", 5]]), "not those that it claims", "/disclosed"),
        (changed(absent=[["related/0", 5]] * 2, disclosed=["actor", "resource", "related/0"]), "or not in the order", "/absent"),
        (changed(disclosed=["actor"]), "not those that it claims", "/disclosed"),
        (changed(disclosed=["resource", "actor"]), "not those that it claims", "/disclosed"),
        (changed(disclosed=["actor", "actor", "resource"]), "not those that it claims", "/disclosed"),
        (changed(disclosed=["source"], disclosures={"source": {"body": "", "salt": ""}}), "a group of disclosures is", ""),
        (changed(disclosed=["related/32"], disclosures={"related/32": {"body": "", "salt": ""}}), "a group of disclosures is", ""),
        (changed(disclosed=["actor"], disclosures={"actor": {"body": ""}}), "not an event file", ""),
        (changed(disclosed=["actor"], disclosures={"actor": {"body": 1, "salt": ""}}), "not an event file", ""),
        (changed(disclosed=["actor"], disclosures={"actor": {"body": "", "salt": "AAEC"}}), "the salt of the actor disclosure", ""),
    ],
)  # fmt: skip
def test_what_is_no_event_file(data, message, pointer):
    with pytest.raises(MalformedInputError, match=message) as caught:
        parse_event_file(data)
    assert caught.value.pointer == pointer


@pytest.mark.parametrize(
    "event", [EVENT._replace(entry=b"\xff"), EVENT._replace(disclosures={"actor": SALT + b"\xff"})]
)
def test_only_texts_are_formatted(event):
    with pytest.raises(MalformedInputError, match="is not UTF-8"):
        format_event_file(event)


def test_only_groups_that_there_are_are_formatted():
    with pytest.raises(MalformedInputError, match="a group of disclosures is"):
        format_event_file(EVENT._replace(disclosures={"source": SALT}))
