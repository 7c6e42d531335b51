"""The operations of the service as OpenAPI has them: what each takes, what it answers, and who may ask.

Parameters are those that the routes take (`tlog.server.endpoints`); a test compares both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from tlog.answering import MAX_LIMIT
from tlog.core.question import Question
from tlog.server.describe.examples import EVENT
from tlog.server.guard.fields import JSON, NDJSON
from tlog.server.guard.protocol import MAX_EVENTS

if TYPE_CHECKING:
    from collections.abc import Iterable

_Document = dict[str, Any]
TAGS: Final = {
    "append": "Producers append events",
    "questions": "Auditors ask about events; each question is logged",
    "log": "What everybody may read: checkpoints, tiles, proofs",
    "health": "What operators watch",
}
_TEXT: Final = "text/plain"
_BINARY: Final = "application/octet-stream"
_NUMBER: Final[_Document] = {"type": "integer", "minimum": 0, "maximum": 2**63 - 1}
_FLAG: Final[_Document] = {"type": "string", "enum": ["true", "false"]}
_STRING: Final[_Document] = {"type": "string"}
_TIMES: Final = ("from", "to", "loggedFrom", "loggedTo")
_WHAT: Final = {
    "action": "What was done",
    "actorType": "'unknown': events that name nobody",
    "control": "Control entries of this type instead of events",
    "from": "Happened then or later, by the producer's clock",
    "loggedFrom": "Logged then or later, by the log's clock",
    "loggedTo": "Logged before",
    "operation": "The source's own verb",
    "outcome": "How it ended",
    "resourceId": "What was acted on or named, its ID; needs resourceType",
    "resourceType": "What was acted on, its type",
    "sourceId": "Which producer sent it",
    "to": "Happened before",
    "userId": "Who acted",
}
# What is checked otherwise than by a type of `Question`.
_RULES: Final[dict[str, _Document]] = {
    "control": {"pattern": "^[a-z-]{1,32}$", "not": {"enum": ["event", "index", "index-keys"]}},
}
_ERRORS: Final = {
    "400": "The request itself is malformed",
    "401": "No API key, or none that is valid",
    "403": "The API key lacks the scope",
    "404": "Not in this log, or not covered by a checkpoint yet",
    "408": "The request did not arrive in time",
    "409": "An eventId has two contents; nothing was appended",
    "413": "Above a limit",
    "415": "The body is neither JSON nor NDJSON, or it is compressed",
    "422": "An event breaks a rule; nothing was appended",
    "429": "The API key's rate is used up; try again after Retry-After seconds",
    "503": "The log cannot take this now; try again after Retry-After seconds",
    "507": "The log's disk is nearly full; try again after Retry-After seconds",
}
# Each question is logged before it is answered, so what refuses an append refuses it too.
_ASKED: Final = ("400", "401", "403", "429", "503", "507")
_RETRY: Final[_Document] = {"Retry-After": {"description": "Seconds", "schema": {"type": "integer", "minimum": 1}}}
_CHALLENGE: Final[_Document] = {"WWW-Authenticate": {"description": "RFC 6750", "schema": _STRING}}
_HEADERS: Final = {"401": _CHALLENGE, "403": _CHALLENGE, "429": _RETRY, "503": _RETRY, "507": _RETRY}
# Where to go on from a receipt, and from a log's description.
_EVENT_LINKS: Final[_Document] = {
    "event": {"operationId": "getEvent", "parameters": {"event_id": "$response.body#/receipts/0/eventId"}},
    "proof": {"operationId": "getEventProof", "parameters": {"event_id": "$response.body#/receipts/0/eventId"}},
    "inclusion": {"operationId": "getInclusionProof", "parameters": {"index": "$response.body#/receipts/0/index"}},
}
_LOG_LINKS: Final[_Document] = {
    "consistency": {"operationId": "getConsistencyProof", "parameters": {"from": "$response.body#/size"}},
    "checkpoints": {"operationId": "listCheckpoints", "parameters": {"below": "$response.body#/size"}},
}


def paths() -> _Document:
    """Return every path with its operations."""
    return {**_appending(), **_asking(), **_reading(), **_watching()}


def _appending() -> _Document:
    answer: _Document = {"oneOf": [ref("Receipts"), ref("ReceiptCounts")]}
    append = _operation(
        "appendEvents",
        "append",
        "Append one event, an array of events, or NDJSON; answered once durable",
        {"200": ("Every event was in the log already", {JSON: answer}), "201": ("Appended", {JSON: answer})},
        [
            _parameter("wait", {"type": "string", "enum": ["sealed"]}, "Answer with tlog-proofs, once sealed"),
            {**_parameter("Prefer", _STRING, "return=minimal: counts only"), "in": "header"},
        ],
        errors=("400", "401", "403", "408", "409", "413", "415", "422", "429", "503", "507"),
        scope="append",
    )
    applied = {"Preference-Applied": {"description": "return=minimal, if it was", "schema": _STRING}}
    for status in ("200", "201"):
        append["responses"][status] |= {"links": _EVENT_LINKS, "headers": applied}
    event = ref("Event")
    append["requestBody"] = {
        "required": True,
        "content": {
            JSON: {
                "schema": {"oneOf": [event, {"type": "array", "items": event, "minItems": 1, "maxItems": MAX_EVENTS}]},
                "examples": {"one": {"value": EVENT}, "several": {"value": [EVENT]}},
            },
            NDJSON: {
                "schema": {"type": "string", "description": "An event on each line"},
                "examples": {"lines": {"value": msgspec.json.encode(EVENT).decode() + "\n"}},
            },
        },
    }
    return {"/v1/audit/events": {"get": _list_events(), "post": append}}


def _list_events() -> _Document:
    return _operation(
        "listEvents",
        "questions",
        "Events that answer a question, newest first",
        {"200": ("A page of them", {JSON: ref("EventsAnswer")})},
        [*_question(), *_paged(), _parameter("proof", _FLAG, "Add the evidence bundle"), *_proved()],
        errors=(*_ASKED, "404", "413"),
        scope="read",
    )


def _asking() -> _Document:
    asked = {each["name"]: each for each in _question()}
    resource = [_in_path(name, asked.pop(member)) for name, member in (("type", "resourceType"), ("id", "resourceId"))]
    access_log = _operation(
        "getAccessLog",
        "questions",
        "Who accessed a resource, newest first",
        {"200": ("A page of the access log", {JSON: ref("AccessLog")})},
        [*resource, *asked.values(), *_paged()],
        errors=(*_ASKED, "404"),
        scope="read",
    )
    kinds = {"type": "string", "enum": ["ndjson", "csv", "evidence"]}
    export = _operation(
        "exportEvents",
        "questions",
        "All events that answer a question, as a stream; or the evidence of the answer",
        {"200": ("The export", {JSON: ref("Evidence"), NDJSON: _STRING, "text/csv": _STRING})},
        [_parameter("format", kinds, "ndjson if absent"), *_question(), *_proved()],
        errors=(*_ASKED, "404", "413"),
        scope="read",
    )
    verification = _operation(
        "getVerification",
        "questions",
        "The result of the last full verification; starts one that runs aside",
        {"200": ("What was verified, and how far a running one is", {JSON: ref("Verification")})},
        [
            _parameter("full", _FLAG, "Check everything again, not only what is new"),
            _parameter("wait", {"type": "integer", "minimum": 0, "maximum": 60}, "Seconds to wait for it, 5 if absent"),
        ],
        errors=_ASKED,
        scope="read",
    )
    event_id = _in_path("event_id", _parameter("", {"type": "string", "format": "uuid"}, "The event's eventId"))
    event = _operation(
        "getEvent",
        "questions",
        "An event as it was sent, and where it is in the log",
        {"200": ("The event", {JSON: ref("LoggedEvent")})},
        [event_id],
        errors=(*_ASKED, "404"),
        scope="read",
    )
    proof = _operation(
        "getEventProof",
        "questions",
        "The tlog-proof and event file of one event",
        {"200": ("Both files", {JSON: ref("EventProof")})},
        [event_id, _parameter("disclose", _FLAG, "Include the event's personal data")],
        errors=(*_ASKED, "404"),
        scope="read",
    )
    return {
        "/v1/audit/export": {"get": export},
        "/v1/audit/verify": {"get": verification},
        "/v1/audit/resource/{type}/{id}/access-log": {"get": access_log},
        "/v1/audit/events/{event_id}": {"get": event},
        "/v1/audit/events/{event_id}/proof": {"get": proof},
    }


def _reading() -> _Document:
    checkpoint = _operation(
        "getCheckpoint", "log", "The latest checkpoint", {"200": ("The signed note", {_TEXT: _STRING})}
    )
    chain = _operation(
        "getChain", "log", "The latest checkpoint's size and chain hash", {"200": ("A line each", {_TEXT: _STRING})}
    )
    examples = {"type": "string", "examples": ["0/000.p/1", "entries/000.p/1"]}
    tile = _operation(
        "getTile",
        "log",
        "A tile or entry bundle",
        {"200": ("Its bytes", {_BINARY: {"type": "string", "format": "binary"}})},
        [_in_path("path", _parameter("", examples, "As c2sp.org/tlog-tiles"))],
    )
    size = _parameter("size", _NUMBER, "Size of a published checkpoint; the latest if absent")
    inclusion = _operation(
        "getInclusionProof",
        "log",
        "The tlog-proof of an entry",
        {"200": ("A c2sp.org/tlog-proof", {_TEXT: _STRING})},
        [{**_parameter("index", _NUMBER, "The entry"), "required": True}, size],
    )
    consistency = _operation(
        "getConsistencyProof",
        "log",
        "The proof that one tree continues another",
        {"200": ("As c2sp.org/tlog-witness add-checkpoint", {_TEXT: _STRING})},
        [{**_parameter("from", _NUMBER, "The older tree size"), "required": True}, {**size, "name": "to"}],
    )
    log = _operation("getLog", "log", "Who this log is", {"200": ("Its description", {JSON: ref("LogDescription")})})
    log["responses"]["200"]["links"] = _LOG_LINKS
    checkpoints = _operation(
        "listCheckpoints",
        "log",
        "Published checkpoints, newest first",
        {"200": ("A page of them", {JSON: ref("Checkpoints")})},
        [
            _parameter("below", _NUMBER, "Only sizes smaller than this"),
            _parameter("limit", {"type": "integer", "minimum": 1, "maximum": 1000}, "How many, 100 if absent"),
        ],
    )
    return {
        "/checkpoint": {"get": checkpoint},
        "/chain": {"get": chain},
        "/tile/{path}": {"get": tile},
        "/v1/proof/inclusion": {"get": inclusion},
        "/v1/proof/consistency": {"get": consistency},
        "/v1/log": {"get": log},
        "/v1/checkpoints": {"get": checkpoints},
    }


def _watching() -> _Document:
    ready = {JSON: ref("Readiness")}
    health = {
        "/livez": ("getLiveness", "Is the process alive", {"200": ("Yes", {_TEXT: _STRING})}),
        "/readyz": ("getReadiness", "Should it get traffic", {"200": ("Yes", ready), "503": ("No", ready)}),
        "/metrics": ("getMetrics", "Prometheus metrics", {"200": ("Metrics", {_TEXT: _STRING})}),
    }
    return {
        path: {"get": _operation(name, "health", what, answers, errors=("400",))}
        for path, (name, what, answers) in health.items()
    }


def _question() -> list[_Document]:
    """Return the members of a question as query parameters; times may be dates."""
    _, components = msgspec.json.schema_components([Question], ref_template="#/{name}")
    parameters = []
    for name, schema in components["Question"]["properties"].items():
        plain = {key: value for key, value in schema.items() if key not in ("default", "pattern")}
        if "pattern" in schema:
            plain["pattern"] = schema["pattern"].replace(r"\Z", "$")
        if name in _TIMES:
            moment = {"format": "date-time", "pattern": plain.pop("pattern")}
            plain |= {"anyOf": [{"format": "date"}, moment], "examples": ["2026-03-01", "2026-03-01T08:00:00Z"]}
        parameters.append(_parameter(name, {"type": "string", **plain, **_RULES.get(name, {})}, _WHAT[name]))
    return parameters


def _paged() -> list[_Document]:
    return [
        _parameter(
            "limit",
            {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT},
            "How many events at most; a page also ends at 4 MiB of events",
        ),
        _parameter("cursor", _STRING, "`next` of the page before; the same question goes with it"),
        _parameter(
            "journal",
            {"type": "string", "enum": ["leave-out", "show"]},
            "Leave out events about the log itself: who asked, who signed in",
        ),
    ]


def _proved() -> list[_Document]:
    return [
        _parameter("mode", {"type": "string", "enum": ["answer", "count"]}, "Prove the answer, or the number alone"),
        _parameter("disclose", _FLAG, "Include personal data in the evidence"),
    ]


def _operation(
    name: str,
    tag: str,
    summary: str,
    answers: dict[str, tuple[str, dict[str, _Document]]],
    parameters: Iterable[_Document] = (),
    *,
    errors: tuple[str, ...] = ("400", "404", "503"),
    scope: str | None = None,
) -> _Document:
    """Return an operation; answers are a description and schemas by media type, by status, and errors problem documents."""
    responses: _Document = {
        status: {"description": what, "content": {kind: {"schema": schema} for kind, schema in content.items()}}
        for status, (what, content) in answers.items()
    }
    for status in sorted(set(errors) - responses.keys()):
        content = {"application/problem+json": {"schema": ref("Problem")}}
        headers = {"headers": _HEADERS[status]} if status in _HEADERS else {}
        responses[status] = {"description": _ERRORS[status], "content": content, **headers}
    operation: _Document = {"operationId": name, "tags": [tag], "summary": summary}
    operation |= {"parameters": list(parameters), "responses": responses}
    return operation if scope is None else {**operation, "security": [{"apiKey": []}], "x-scope": scope}


def _parameter(name: str, schema: _Document, what: str) -> _Document:
    return {"name": name, "in": "query", "schema": schema, "description": what}


def _in_path(name: str, parameter: _Document) -> _Document:
    return {**parameter, "name": name, "in": "path", "required": True}


def ref(name: str) -> _Document:
    """Return the reference to a schema."""
    return {"$ref": f"#/components/schemas/{name}"}
