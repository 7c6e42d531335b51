"""The description as others read it: a client that openapi-python-client makes of it reads what the service answers, with types."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from unittest.mock import MagicMock

import pytest
from support import sample_events, start_server

from tlog.core.question import Question
from tlog.server.app import create_app
from tlog.server.describe.openapi import describe
from tlog.server.endpoints import append, audit, read, verification

OPERATIONS = {
    operation["operationId"]: (path, method, operation)
    for path, item in describe()["paths"].items()
    for method, operation in item.items()
}


def generate(description, directory):
    """Make a client of a description; return where its package is, and what the generator said."""
    (directory / "openapi.json").write_text(json.dumps(description))
    (directory / "options.yml").write_text("post_hooks: []\npackage_name_override: made_client\n")
    command = [sys.executable, "-m", "openapi_python_client", "generate", "--path", "openapi.json"]
    done = subprocess.run(
        [*command, "--config", "options.yml", "--output-path", "made"],
        capture_output=True, text=True, timeout=120, check=False, cwd=directory,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return directory / "made", done.stdout + done.stderr


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return generate(describe(), tmp_path_factory.mktemp("client"))


@pytest.fixture
def client(made, monkeypatch):
    """The package that was made, to import from by name."""
    monkeypatch.syspath_prepend(str(made[0]))
    yield lambda name: importlib.import_module(f"made_client.{name}")
    for name in [name for name in sys.modules if name.partition(".")[0] == "made_client"]:
        del sys.modules[name]


def test_a_generator_misses_nothing_but_lines_of_json(made):
    warnings = re.findall(r"^(?:WARNING|ERROR).*\n\n(.*)$", made[1], re.MULTILINE)
    assert warnings == ["Unsupported content type application/x-ndjson"], made[1]


def untyped(package):
    """Return the readers whose answer has no type."""
    found = {path.stem: path.read_text() for path in (package / "made_client" / "api").rglob("[a-z]*.py")}
    assert len(found) == len(OPERATIONS)
    parsed = {name: re.search(r"def _parse_response\(.*\) -> (.*):\n", text)[1] for name, text in found.items()}
    return sorted(name for name, answer in parsed.items() if re.search(r"\bAny\b", answer))


def test_every_answer_has_a_type(made):
    assert untyped(made[0]) == []


def test_an_answer_without_a_type_is_found(tmp_path):
    description = json.loads(json.dumps(describe()))
    answer = description["paths"]["/v1/log"]["get"]["responses"]["200"]
    answer["content"] = {"application/json": {"schema": {}}}
    assert untyped(generate(description, tmp_path)[0]) == ["get_log"]


def test_a_client_that_was_made_reads_what_the_service_answers(client, directory):
    sent = json.loads(sample_events(1)[0])
    server = start_server(directory / "data")
    try:
        authenticated = client("client").AuthenticatedClient(base_url=server.url, token=server.token)
        with authenticated as asking:
            event = client("models.event").Event.from_dict(sent)
            receipts = client("api.append.append_events").sync(client=asking, body=event)
            assert type(receipts).__name__ == "Receipts"
            assert str(receipts.receipts[0].event_id) == sent["eventId"]
            found = client("api.questions.get_event").sync(sent["eventId"], client=asking)
            assert type(found).__name__ == "LoggedEvent"
            assert found.actor.user_id == sent["actor"]["userId"]
            assert found.log.index == receipts.receipts[0].index
            answer = client("api.questions.list_events").sync(client=asking, user_id=sent["actor"]["userId"])
            assert [each.actor.user_id for each in answer.events] == [sent["actor"]["userId"]]
            refused = client("api.questions.list_events").sync(client=asking, cursor="x")
            assert (type(refused).__name__, refused.status, refused.pointer) == ("Problem", 400, "/cursor")
            log = client("api.log.get_log").sync(client=asking)
            assert (type(log).__name__, log.vkey) == ("LogDescription", server.vkey)
    finally:
        server.stop()


# --- The description itself ------------------------------------------------------------------------------------------


def test_names_and_tags():
    described = describe()
    assert {"appendEvents", "listEvents", "getEvent", "getAccessLog"} < OPERATIONS.keys()
    assert len(OPERATIONS) == sum(map(len, described["paths"].values())), "an operationId stands twice"
    tags = {tag["name"] for tag in described["tags"]}
    assert {tag for _, _, operation in OPERATIONS.values() for tag in operation["tags"]} == tags
    assert described["servers"]
    links = re.findall(r'"operationId": "(\w+)", "parameters"', json.dumps(described))
    assert links
    assert set(links) <= OPERATIONS.keys()


TAKEN = {
    "appendEvents": append.PARAMETERS,
    "listEvents": audit.EVENTS,
    "getAccessLog": audit.ACCESS_LOG - {"resourceType", "resourceId"},
    "exportEvents": audit.EXPORT,
    "getEventProof": audit.EVENT_PROOF,
    "getVerification": verification.VERIFY,
    "getInclusionProof": read.INCLUSION,
    "getConsistencyProof": read.CONSISTENCY,
    "listCheckpoints": read.CHECKPOINTS,
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_parameters_are_those_that_the_route_takes(name):
    parameters = OPERATIONS[name][2]["parameters"]
    described = [each["name"] for each in parameters if each["in"] == "query"]
    assert sorted(described) == sorted(TAKEN.get(name, ()))
    assert all(each["description"] for each in parameters)


def test_every_member_of_a_question_is_a_parameter():
    assert set(Question.__struct_encode_fields__) <= {
        each["name"] for each in OPERATIONS["listEvents"][2]["parameters"]
    }


def test_every_answer_and_error_has_a_schema():
    for name, (_, _, operation) in OPERATIONS.items():
        for status, answer in operation["responses"].items():
            assert answer["description"], (name, status)
            for kind, content in answer["content"].items():
                assert content["schema"], (name, status, kind)
            assert ("application/problem+json" in answer["content"]) == ((status >= "400" and name != "getReadiness") or (status == "400")), (name, status)  # fmt: skip


def test_routes_and_description_agree():
    served = {re.sub(r":[a-z]+\}", "}", route.path) for route in create_app(MagicMock(), MagicMock()).routes}
    assert served == describe()["paths"].keys() | {"/openapi.json", "/docs"}
