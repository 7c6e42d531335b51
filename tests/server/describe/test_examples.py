"""Examples are what they show: those that are sent are taken, and those that are answered fit their schemas."""

from __future__ import annotations

import json

from jsonschema_rs import Draft202012Validator
from support import ROOT

from tlog.core.making.parsing import parse_event
from tlog.server.describe import examples
from tlog.server.describe.openapi import describe


def test_examples_are_what_they_show():
    schemas = describe()["components"]["schemas"]
    for name, example in examples.EXAMPLES.items():
        document = {"$ref": f"#/components/schemas/{name}", "components": {"schemas": schemas}}
        assert schemas[name]["examples"] == [example]
        Draft202012Validator(document, validate_formats=True).validate(example)


def test_what_is_sent_as_an_example_is_taken():
    content = describe()["paths"]["/v1/audit/events"]["post"]["requestBody"]["content"]
    assert parse_event(json.dumps(content["application/json"]["examples"]["one"]["value"]).encode())
    (event,) = content["application/json"]["examples"]["several"]["value"]
    assert event == examples.EVENT
    lines = content["application/x-ndjson"]["examples"]["lines"]["value"]
    assert [json.loads(line) for line in lines.splitlines()] == [event]
    sample = json.loads((ROOT / "docs" / "samples" / "event.json").read_text())
    assert {**sample, "outcome": "success"} == event
