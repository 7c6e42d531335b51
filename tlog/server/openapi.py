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

from tlog.core.event import PATTERNS, Event

if TYPE_CHECKING:
    from starlette.requests import Request

_Document = dict[str, Any]
_NUMBER: Final[_Document] = {"type": "integer", "minimum": 0, "maximum": 2**63 - 1}
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
        # ECMA 262, which JSON Schema asks for, has no \Z; without the flag m its $ means the same.
        member = components[parent[0].capitalize() if parent else "Event"]["properties"][name]
        member["pattern"] = pattern.replace(r"\Z", "$")
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "tlog",
            "version": version("tlog-audit"),
            "description": "A tamper-evident audit log: append events, read signed checkpoints, fetch proofs.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": _paths(event),
        "components": {
            "schemas": {**components, "Receipt": _RECEIPT, "Problem": _PROBLEM},
            "securitySchemes": {"apiKey": {"type": "http", "scheme": "bearer"}},
        },
    }


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
        errors=("400", "401", "403", "409", "413", "422", "503"),
    )
    append["requestBody"] = {
        "required": True,
        "content": {
            json: {"schema": {"oneOf": [event, {"type": "array", "items": event, "minItems": 1, "maxItems": 10_000}]}},
            "application/x-ndjson": {"schema": {"type": "string"}},
        },
    }
    event_id = {**_parameter("event_id", {"type": "string", "format": "uuid"}, ""), "in": "path", "required": True}
    one_event = _operation(
        "An event as it was sent, and where it is in the log",
        {"200": ("The event", json, anything)},
        [event_id],
        scope="read",
        errors=("401", "403", "404", "503"),
    )
    event_proof = _operation(
        "The tlog-proof and event file of one event",
        {"200": ("The proof", json, anything)},
        [
            event_id,
            _parameter("disclose", _FLAG, "Include the event's personal data"),
        ],
        scope="read",
        errors=("400", "401", "403", "404", "503"),
    )
    tile_path = {**_parameter("path", {"type": "string"}, "As c2sp.org/tlog-tiles"), "in": "path", "required": True}
    size = _parameter("size", _NUMBER, "Size of a published checkpoint; the latest if absent")
    return {
        "/v1/audit/events": {"post": append},
        "/v1/audit/events/{event_id}": {"get": one_event},
        "/v1/audit/events/{event_id}/proof": {"get": event_proof},
        "/checkpoint": {"get": _operation("The latest checkpoint", {"200": ("The signed note", text, None)})},
        "/tile/{path}": {
            "get": _operation("A tile or entry bundle", {"200": ("Its bytes", binary, None)}, [tile_path])
        },
        "/v1/proof/inclusion": {
            "get": _operation(
                "The tlog-proof of an entry",
                {"200": ("A c2sp.org/tlog-proof", text, None)},
                [{**_parameter("index", _NUMBER, "The entry"), "required": True}, size],
            )
        },
        "/v1/proof/consistency": {
            "get": _operation(
                "The proof that one tree continues another",
                {"200": ("As c2sp.org/tlog-witness add-checkpoint", text, None)},
                [
                    {**_parameter("from", _NUMBER, "The older tree size"), "required": True},
                    {**size, "name": "to"},
                ],
            )
        },
        "/v1/log": {"get": _operation("Who this log is", {"200": ("Its description", json, anything)})},
        "/v1/checkpoints": {
            "get": _operation(
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
    if scope is not None:
        operation |= {"security": [{"apiKey": []}], "x-scope": scope}
    return operation


def _parameter(name: str, schema: _Document, what: str) -> _Document:
    return {"name": name, "in": "query", "schema": schema, "description": what}


def _ref(name: str) -> _Document:
    return {"$ref": f"#/components/schemas/{name}"}
