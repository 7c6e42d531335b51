"""The service described: `/openapi.json` (OpenAPI 3.1) for programs, `/docs` for people.

Schemas of the event come from the types that validate it, so the description cannot drift from the check.
"""

from __future__ import annotations

import html
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

import msgspec
from starlette.responses import HTMLResponse, Response

from tlog.answering import MAX_LIMIT
from tlog.core.event import PATTERNS, Event
from tlog.core.question import Question

if TYPE_CHECKING:
    from starlette.requests import Request

_Document = dict[str, Any]
_NUMBER: Final[_Document] = {"type": "integer", "minimum": 0, "maximum": 2**63 - 1}
# Rules that a pattern says only half of: what `format` says besides.
_FORMATS: Final[dict[str, _Document]] = {
    "/eventId": {"format": "uuid"},
    "/timestamp": {"format": "date-time"},
    "/actor/ipAddress": {"anyOf": [{"format": "ipv4"}, {"format": "ipv6"}]},
}
_FLAG: Final[_Document] = {"type": "string", "enum": ["true", "false"]}
_RECEIPT: Final[_Document] = {
    "type": "object",
    "required": ["eventId", "index", "leafHash", "chainHash", "loggedAt"],
    "properties": {
        "eventId": {"type": "string", "format": "uuid"},
        "index": {**_NUMBER, "description": "Position in the log, final"},
        "leafHash": {"type": "string", "description": "RFC 6962 leaf hash, base64"},
        "chainHash": {"type": "string", "description": "Hash chain up to this entry, base64"},
        "loggedAt": {"type": "string", "format": "date-time", "description": "The log's clock"},
        "duplicate": {"type": "boolean", "description": "true if the event was in the log already"},
        "entry": {"type": "string", "description": "With wait=sealed: the entry's bytes"},
        "proof": {"type": "string", "description": "With wait=sealed: the tlog-proof"},
    },
}
_PROBLEM: Final[_Document] = {
    "type": "object",
    "description": "RFC 9457 problem details",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "pointer": {"type": "string", "description": "RFC 6901 pointer to the offending member"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["pointer", "detail"],
                "properties": {"pointer": {"type": "string"}, "detail": {"type": "string"}},
            },
        },
    },
}


# Where to go on from a receipt.
_EVENT_LINKS: Final[_Document] = {
    "event": {"operationId": "event", "parameters": {"event_id": "$response.body#/receipts/0/eventId"}},
    "proof": {"operationId": "eventProof", "parameters": {"event_id": "$response.body#/receipts/0/eventId"}},
    "inclusion": {"operationId": "inclusion", "parameters": {"index": "$response.body#/receipts/0/index"}},
}
_LOG_LINKS: Final[_Document] = {
    "consistency": {"operationId": "consistency", "parameters": {"from": "$response.body#/size"}},
    "checkpoints": {"operationId": "checkpoints", "parameters": {"below": "$response.body#/size"}},
}
_CHECK: Final[_Document] = {
    "type": "object",
    "required": ["verified", "totalEvents", "brokenAt", "errors", "running", "failure"],
    "properties": {
        "verified": {"type": ["boolean", "null"], "description": "null: no check has ended yet"},
        "totalEvents": {"type": ["integer", "null"]},
        "brokenAt": {"type": ["integer", "null"], "description": "The first entry that is damaged"},
        "errors": {"type": "array", "items": {"type": "object"}},
        "unchecked": {"type": "array", "items": {"type": "string"}},
        "treeSize": _NUMBER,
        "checkedFrom": {**_NUMBER, "description": "Entries before it were checked earlier"},
        "checkedAt": {"type": "string"},
        "ageSeconds": _NUMBER,
        "fullCheckAt": {"type": ["string", "null"]},
        "running": {"type": ["object", "null"], "description": "How far a check that runs now is"},
        "failure": {"type": ["string", "null"]},
    },
}


async def document(_: Request) -> Response:
    """Return the OpenAPI document."""
    return Response(msgspec.json.encode(describe()), media_type="application/json")


async def page(_: Request) -> Response:
    """Return the same as a page without scripts."""
    description = describe()
    rows = []
    for path, operations in description["paths"].items():
        for method, operation in operations.items():
            access = "API key: " + operation["x-scope"] if "x-scope" in operation else "public"
            cells = (f"<code>{method.upper()} {html.escape(path)}</code>", operation["summary"], access)
            rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    info = description["info"]
    return HTMLResponse(
        "<!doctype html><html lang=en><meta charset=utf-8><title>tlog</title><style>body{font:16px/1.5 system-ui;"
        "max-width:60rem;margin:2rem auto;padding:0 1rem}td,th{text-align:left;padding:.3rem .8rem .3rem 0;"
        f"border-bottom:1px solid #ccc}}</style><h1>{info['title']}</h1><p>{info['description']}</p>"
        f"<table><tr><th>Request<th>What it does<th>Access</tr>{''.join(rows)}</table>"
        '<p>For programs: <a href="/openapi.json">/openapi.json</a></p></html>'
    )


@cache
def describe() -> _Document:
    """Return the OpenAPI document as a JSON value."""
    (event,), components = msgspec.json.schema_components([Event], ref_template="#/components/schemas/{name}")
    for pointer, pattern in PATTERNS.items():
        *parent, name = pointer.split("/")[1:]
        member = components[parent[0].capitalize() if parent else "Event"]["properties"][name]
        member |= {"pattern": _ecma(pattern), **_FORMATS.get(pointer, {})}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "tlog",
            "version": version("tlog-audit"),
            "description": "A tamper-evident audit log: append events, ask who did what, fetch evidence and proofs.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": _paths(event),
        "components": {
            "schemas": {**components, "Receipt": _RECEIPT, "Problem": _PROBLEM},
            "securitySchemes": {"apiKey": {"type": "http", "scheme": "bearer"}},
        },
    }


def _ecma(pattern: str) -> str:
    r"""Return a pattern as JSON Schema asks for it: ECMA 262 has no \Z; without the flag m its $ means the same."""
    return pattern.replace(r"\Z", "$")


def _paths(event: _Document) -> _Document:
    json, text, binary = "application/json", "text/plain", "application/octet-stream"
    anything: _Document = {"type": "object"}
    receipts = {"type": "object", "properties": {"receipts": {"type": "array", "items": _ref("Receipt")}}}
    append = _operation(
        "Append one event, an array of events, or NDJSON; answered once durable",
        {"200": ("Every event was in the log already", json, receipts), "201": ("Appended", json, receipts)},
        [
            _parameter("wait", {"type": "string", "enum": ["sealed"]}, "Answer with tlog-proofs, once sealed"),
            {**_parameter("Prefer", {"type": "string"}, "return=minimal: counts only"), "in": "header"},
        ],
        scope="append",
        errors=("400", "401", "403", "408", "409", "413", "422", "429", "503", "507"),
    )
    for status in ("200", "201"):
        append["responses"][status]["links"] = _EVENT_LINKS
    append["requestBody"] = {
        "required": True,
        "content": {
            json: {"schema": {"oneOf": [event, {"type": "array", "items": event, "minItems": 1, "maxItems": 10_000}]}},
            "application/x-ndjson": {"schema": {"type": "string"}},
        },
    }
    event_id = {**_parameter("event_id", {"type": "string", "format": "uuid"}, ""), "in": "path", "required": True}
    one_event = {"operationId": "event"} | _operation(
        "An event as it was sent, and where it is in the log",
        {"200": ("The event", json, anything)},
        [event_id],
        scope="read",
        errors=("401", "403", "404", "503"),
    )
    event_proof = {"operationId": "eventProof"} | _operation(
        "The tlog-proof and event file of one event",
        {"200": ("The proof", json, anything)},
        [
            event_id,
            _parameter("disclose", _FLAG, "Include the event's personal data"),
        ],
        scope="read",
        errors=("400", "401", "403", "404", "503"),
    )
    asked = _question_parameters()
    by_name = {each["name"]: each for each in asked}
    paged = [
        _parameter("limit", {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT}, "How many events at most"),
        _parameter("cursor", {"type": "string"}, "`next` of the page before; the same question goes with it"),
    ]
    proved = [
        _parameter("mode", {"type": "string", "enum": ["answer", "count"]}, "Prove the answer, or the number alone"),
        _parameter("disclose", _FLAG, "Include personal data in the evidence"),
    ]
    events = _operation(
        "Events that answer a question, newest first",
        {"200": ("A page of them", json, _answer("events"))},
        [*asked, *paged, _parameter("proof", _FLAG, "Add the evidence bundle"), *proved],
        scope="read",
        errors=("400", "401", "403", "404", "413", "503"),
    )
    access_log = _operation(
        "Who accessed a resource, newest first",
        {"200": ("A page of the access log", json, _answer("accessLog"))},
        [
            *(
                {**each, "name": name, "in": "path", "required": True}
                for name, each in (("type", by_name["resourceType"]), ("id", by_name["resourceId"]))
            ),
            *(each for each in asked if each["name"] not in ("resourceType", "resourceId")),
            *paged,
        ],
        scope="read",
        errors=("400", "401", "403", "404", "503"),
    )
    export = _operation(
        "All events that answer a question, as a stream; or the evidence of the answer",
        {"200": ("The export", "application/x-ndjson", None)},
        [
            _parameter("format", {"type": "string", "enum": ["ndjson", "csv", "evidence"]}, "ndjson if absent"),
            *asked,
            *proved,
        ],
        scope="read",
        errors=("400", "401", "403", "404", "413", "503"),
    )
    export["responses"]["200"]["content"] |= {
        "text/csv": {"schema": {"type": "string"}},
        json: {"schema": {"type": "object", "description": "An evidence bundle, docs/reference/formats.md"}},
    }
    check = _operation(
        "The result of the last full verification; starts one that runs aside",
        {"200": ("What was verified, and how far a running one is", json, _CHECK)},
        [
            _parameter("full", _FLAG, "Check everything again, not only what is new"),
            _parameter("wait", {"type": "integer", "minimum": 0, "maximum": 60}, "Seconds to wait for it"),
        ],
        scope="read",
        errors=("400", "401", "403", "503"),
    )
    tile_path = {
        **_parameter(
            "path", {"type": "string", "examples": ["0/000.p/1", "entries/000.p/1"]}, "As c2sp.org/tlog-tiles"
        ),
        "in": "path",
        "required": True,
    }
    log = _operation("Who this log is", {"200": ("Its description", json, anything)})
    log["responses"]["200"]["links"] = _LOG_LINKS
    size = _parameter("size", _NUMBER, "Size of a published checkpoint; the latest if absent")
    return {
        "/v1/audit/events": {"get": events, "post": append},
        "/v1/audit/export": {"get": export},
        "/v1/audit/verify": {"get": check},
        "/v1/audit/resource/{type}/{id}/access-log": {"get": access_log},
        "/v1/audit/events/{event_id}": {"get": one_event},
        "/v1/audit/events/{event_id}/proof": {"get": event_proof},
        "/checkpoint": {"get": _operation("The latest checkpoint", {"200": ("The signed note", text, None)})},
        "/tile/{path}": {
            "get": _operation("A tile or entry bundle", {"200": ("Its bytes", binary, None)}, [tile_path])
        },
        "/v1/proof/inclusion": {
            "get": {"operationId": "inclusion"}
            | _operation(
                "The tlog-proof of an entry",
                {"200": ("A c2sp.org/tlog-proof", text, None)},
                [{**_parameter("index", _NUMBER, "The entry"), "required": True}, size],
            )
        },
        "/v1/proof/consistency": {
            "get": {"operationId": "consistency"}
            | _operation(
                "The proof that one tree continues another",
                {"200": ("As c2sp.org/tlog-witness add-checkpoint", text, None)},
                [
                    {**_parameter("from", _NUMBER, "The older tree size"), "required": True},
                    {**size, "name": "to"},
                ],
            )
        },
        "/v1/log": {"get": log},
        "/v1/checkpoints": {
            "get": {"operationId": "checkpoints"}
            | _operation(
                "Published checkpoints, newest first",
                {"200": ("A page of them", json, anything)},
                [
                    _parameter("below", _NUMBER, "Only sizes smaller than this"),
                    _parameter("limit", {"type": "integer", "minimum": 1, "maximum": 1000}, "How many"),
                ],
            )
        },
        "/livez": {"get": _operation("Is the process alive", {"200": ("Yes", text, None)}, errors=())},
        "/readyz": {
            "get": _operation(
                "Should it get traffic", {"200": ("Yes", json, anything), "503": ("No", json, anything)}, errors=()
            )
        },
        "/metrics": {"get": _operation("Prometheus metrics", {"200": ("Metrics", text, None)}, errors=())},
    }


def _question_parameters() -> list[_Document]:
    """Return the members of a question as query parameters; times may be dates."""
    _, components = msgspec.json.schema_components([Question], ref_template="#/{name}")
    members = components["Question"]["properties"]
    what = {
        "userId": "Who acted",
        "resourceType": "What was acted on, its type",
        "resourceId": "What was acted on, its ID; needs resourceType",
        "from": "Happened then or later, by the producer's clock",
        "to": "Happened before",
        "loggedFrom": "Logged then or later, by the log's clock",
        "loggedTo": "Logged before",
    }
    parameters = []
    for name, schema in members.items():
        plain = {key: value for key, value in schema.items() if key not in ("pattern", "default")}
        if "pattern" in schema:
            plain["pattern"] = _ecma(schema["pattern"])
        if name in ("from", "to", "loggedFrom", "loggedTo"):
            moment = {"format": "date-time", "pattern": plain.pop("pattern")}
            plain |= {"anyOf": [{"format": "date"}, moment], "examples": ["2026-03-01", "2026-03-01T08:00:00Z"]}
        parameters.append(_parameter(name, plain, what.get(name, f"The event's {name}")))
    return parameters


def _answer(events: str) -> _Document:
    return {
        "type": "object",
        "required": [events, "count", "next", "asOf", "notLookedAt"],
        "properties": {
            events: {"type": "array", "items": {"type": "object"}},
            "count": _NUMBER,
            "next": {"type": ["string", "null"], "description": "Cursor of the next page"},
            "asOf": {
                "type": "object",
                "required": ["size", "sealed", "indexed", "checkpoint"],
                "properties": {
                    "size": {**_NUMBER, "description": "Tree size that was looked at"},
                    "sealed": {**_NUMBER, "description": "Of that, covered by the checkpoint"},
                    "indexed": {**_NUMBER, "description": "Of that, covered by an index epoch"},
                    "checkpoint": {"type": ["string", "null"]},
                },
            },
            "notLookedAt": {"type": "array", "items": {"type": "string"}, "description": "What the answer leaves out"},
            "evidence": {"type": "string", "description": "With proof=true: the evidence bundle"},
        },
    }


def _operation(
    summary: str,
    answers: dict[str, tuple[str, str, _Document | None]],
    parameters: list[_Document] | None = None,
    *,
    scope: str | None = None,
    errors: tuple[str, ...] = ("400", "404", "503"),
) -> _Document:
    responses: _Document = {
        status: {"description": what, "content": {media_type: {"schema": schema or {"type": "string"}}}}
        for status, (what, media_type, schema) in answers.items()
    }
    for status in errors:
        content = {"application/problem+json": {"schema": _ref("Problem")}}
        responses[status] = {"description": "See the problem document", "content": content}
    operation: _Document = {"summary": summary, "responses": responses}
    if parameters:
        operation["parameters"] = parameters
    if scope == "read":
        # Each question is logged before it is answered, so what refuses an append refuses it too.
        for status in ("429", "507"):
            responses[status] = responses["503"]
    if scope is not None:
        operation |= {"security": [{"apiKey": []}], "x-scope": scope}
    return operation


def _parameter(name: str, schema: _Document, what: str) -> _Document:
    return {"name": name, "in": "query", "schema": schema, "description": what}


def _ref(name: str) -> _Document:
    return {"$ref": f"#/components/schemas/{name}"}
