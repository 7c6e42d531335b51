"""The service described: `/openapi.json` (OpenAPI 3.1) for programs, `/docs` for people.

Schemas of the event and of questions come from the types that validate them, so the description cannot drift from the check;
schemas of answers come from `answers`, and operations stand in `operations`.
"""

from __future__ import annotations

import html
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

import msgspec
from starlette.responses import HTMLResponse, Response

from tlog.core.event import PATTERNS, Event
from tlog.core.evidence import Evidence
from tlog.server.describe.answers import ANSWERS
from tlog.server.describe.examples import EXAMPLES
from tlog.server.describe.operations import TAGS, paths, ref

if TYPE_CHECKING:
    from starlette.requests import Request

_Document = dict[str, Any]
# Rules that a pattern says only half of: what `format` says besides.
_FORMATS: Final[dict[str, _Document]] = {
    "/eventId": {"format": "uuid"},
    "/timestamp": {"format": "date-time"},
    "/actor/ipAddress": {"anyOf": [{"format": "ipv4"}, {"format": "ipv6"}]},
}
# A related resource keeps the rules of the resource.
_RELATED: Final = {f"/relatedResources/*/{name}": PATTERNS[f"/resource/{name}"] for name in ("id", "type")}
_TYPES: Final = {str: "string", int: "integer"}


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
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "tlog",
            "version": version("tlog-audit"),
            "description": "A tamper-evident audit log: append events, ask who did what, fetch evidence and proofs.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/", "description": "The log that serves this description"}],
        "tags": [{"name": name, "description": what} for name, what in TAGS.items()],
        "paths": paths(),
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {
                "apiKey": {"type": "http", "scheme": "bearer", "description": "'tlog token create' makes keys"}
            },
        },
    }


def _schemas() -> _Document:
    _, schemas = msgspec.json.schema_components([Event, Evidence, *ANSWERS], ref_template="#/components/schemas/{name}")
    for pointer, pattern in {**PATTERNS, **_RELATED}.items():
        member = _member(schemas, pointer)
        member |= {"pattern": pattern, **_FORMATS.get(pointer, {})}
    entry = {"oneOf": [ref("LoggedEvent"), ref("ControlEntry")]}
    schemas["EventsAnswer"]["properties"]["events"]["items"] = entry
    schemas["AccessLog"]["properties"]["accessLog"]["items"] = entry
    for name, example in EXAMPLES.items():
        schemas[name]["examples"] = [example]
    _finish(schemas)
    return schemas


def _member(schemas: _Document, pointer: str) -> _Document:
    """Return the schema of a member of an event; a position or "*" in the pointer stands for all elements of a list."""
    schema: _Document = schemas["Event"]
    for step in pointer.split("/")[1:]:
        schema = schema["items"] if step.isdigit() or step == "*" else schema["properties"][step]
        if "$ref" in schema:
            schema = schemas[schema["$ref"].rpartition("/")[2]]
    return schema


def _finish(value: object) -> None:
    r"""Write what is left out or written otherwise in the schemas that msgspec makes, at every depth.

    ECMA 262, whose patterns JSON Schema has, knows no \Z; without the flag m its $ means the same. Generators of clients want
    the type of an enumeration, and know no `items` beside `prefixItems`, which `maxItems` makes needless.
    """
    if isinstance(value, list):
        for child in value:
            _finish(child)
    elif isinstance(value, dict):
        if isinstance(value.get("pattern"), str):
            value["pattern"] = value["pattern"].replace(r"\Z", "$")
        if isinstance(value.get("enum"), list):
            value.setdefault("type", _TYPES[type(value["enum"][0])])
        if value.get("items") is False:
            del value["items"]
        for child in value.values():
            _finish(child)
