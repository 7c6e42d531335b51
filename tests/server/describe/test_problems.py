"""What an error becomes: status, all its faults, and what HTTP says besides."""

from __future__ import annotations

import asyncio
import json

import pytest
from starlette.exceptions import HTTPException

from tlog.errors import (
    Conflict,
    EventConflictError,
    ForbiddenError,
    InvalidBatchError,
    InvalidEventError,
    MalformedInputError,
    NotCheckedError,
    NotFoundError,
    RateLimitedError,
    UnauthorizedError,
)
from tlog.server.describe.problems import on_error


def answer_to(error):
    answer = asyncio.run(on_error(None, error))
    return answer, json.loads(answer.body)


def faulty(*faults):
    return InvalidEventError(*faults[0], faults=faults)


def test_all_faults_of_one_event_are_in_its_answer():
    faults = (("this member is required", "/action"), ("no such member in an event", "/colour"))
    answer, problem = answer_to(faulty(*faults))
    assert (answer.status_code, problem["pointer"], problem["detail"]) == (422, "/action", "this member is required")
    assert problem["errors"] == [{"pointer": pointer, "detail": detail} for detail, pointer in faults]


def test_all_faults_of_a_batch_are_in_its_answer_up_to_twenty():
    many = tuple((f"fault {number}", f"/{number}") for number in range(15))
    _, problem = answer_to(InvalidBatchError([1, 7], [faulty(*many), faulty(*many)]))
    assert (problem["pointer"], len(problem["errors"])) == ("/1/0", 20)
    assert problem["errors"][15] == {"pointer": "/7/0", "detail": "fault 0"}


def test_all_conflicts_are_in_an_answer():
    conflicts = [Conflict("a", "/0/eventId", within=False), Conflict("b", "/4/eventId", within=True)]
    answer, problem = answer_to(EventConflictError(conflicts))
    assert (answer.status_code, problem["pointer"]) == (409, "/0/eventId")
    assert [(each["eventId"], each["pointer"]) for each in problem["errors"]] == [
        ("a", "/0/eventId"),
        ("b", "/4/eventId"),
    ]
    assert "already logged" in problem["errors"][0]["detail"]
    assert "stands twice in this request" in problem["errors"][1]["detail"]


@pytest.mark.parametrize(
    "error, status, challenge",
    [
        (UnauthorizedError("none", presented=False), 401, 'Bearer realm="tlog"'),
        (UnauthorizedError("wrong", presented=True), 401, 'Bearer error="invalid_token"'),
        (ForbiddenError("read"), 403, 'Bearer error="insufficient_scope", scope="read"'),
        (NotFoundError("nothing"), 404, None),
    ],
)
def test_a_challenge_says_what_is_wrong_with_the_key(error, status, challenge):
    answer, _ = answer_to(error)
    assert (answer.status_code, answer.headers.get("www-authenticate")) == (status, challenge)


def test_what_else_errors_become():
    assert answer_to(MalformedInputError("no number", "/limit"))[1]["pointer"] == "/limit"
    answer, problem = answer_to(NotCheckedError("'userId' has a character that is not known here"))
    assert (answer.status_code, problem["type"]) == (400, "urn:tlog:problem:not-checked")
    assert answer_to(RateLimitedError("slowly", 7))[0].headers["retry-after"] == "7"
    answer, problem = answer_to(HTTPException(415, "no such type", {"Accept": "application/json"}))
    assert (answer.status_code, answer.headers["accept"], problem["type"]) == (
        415,
        "application/json",
        "urn:tlog:problem:unsupported-media-type",
    )
    answer, problem = answer_to(ZeroDivisionError("Jane Doe"))
    assert (answer.status_code, problem["detail"]) == (500, "the failure is in the server's log")
