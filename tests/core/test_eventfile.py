"""Event files: what is parsed is what is formatted, and nothing else is an event file."""

from __future__ import annotations

import json

import pytest

from tlog.core.eventfile import EventFile, format_event_file, parse_event_file
from tlog.errors import MalformedInputError

SALT = bytes(range(16))
EVENT = EventFile(b'{"v":1,"\xc3\xa9":2}', {"actor": SALT + b'{"userId":"n.varga"}', "resource": SALT + b"{}"})
FILE = (
    b'{"disclosures":{"actor":{"body":"{\\"userId\\":\\"n.varga\\"}","salt":"AAECAwQFBgcICQoLDA0ODw"},'
    b'"resource":{"body":"{}","salt":"AAECAwQFBgcICQoLDA0ODw"}},"entry":"{\\"v\\":1,\\"\xc3\xa9\\":2}"}\n'
)


def test_the_bytes_of_a_file():
    assert format_event_file(EVENT) == FILE
    assert parse_event_file(FILE) == EVENT


@pytest.mark.parametrize("groups", [[], ["actor"], ["resource"], ["actor", "resource"]])
def test_any_of_the_disclosures_may_be_given(groups):
    event = EVENT._replace(disclosures={group: EVENT.disclosures[group] for group in groups})
    assert parse_event_file(format_event_file(event)) == event


def changed(**members):
    return json.dumps({**json.loads(FILE), **members}, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def test_the_control_of_what_is_changed():
    assert parse_event_file(changed()) == EVENT


@pytest.mark.parametrize(
    "data, message, pointer",
    [
        (FILE[:-1], "not in canonical form", ""),
        (FILE + b"\n", "not in canonical form", ""),
        (FILE.replace(b":1", b": 1").replace(b'"entry":', b'"entry": '), "not in canonical form", ""),
        (b"[]\n", "has the members 'disclosures' and 'entry'", ""),
        (changed(more=1), "has the members 'disclosures' and 'entry'", ""),
        (changed(entry=1), "has the entry as text", ""),
        (changed(disclosures=[]), "has the entry as text", ""),
        (changed(disclosures={"source": {"body": "", "salt": ""}}), "disclosures of 'actor' and 'resource'", ""),
        (changed(disclosures={"actor": {"body": ""}}), "'body' and 'salt', both text", "/disclosures/actor"),
        (changed(disclosures={"resource": {"body": 1, "salt": ""}}), "'body' and 'salt', both text", "/disclosures/resource"),
        (changed(disclosures={"actor": {"body": "", "salt": "AAEC"}}), "the salt of the actor disclosure", ""),
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
