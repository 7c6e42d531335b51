"""What the pages are made of: templates, and static files under one hash of them all, both read once.

A static file has the hash in its path, so a browser may keep it for ever, and verify.js is beside the script that imports it.
The policy lets nothing in that is not a file of ours: no inline script or style, no other host, no HTML from a script.
"""

from __future__ import annotations

from hashlib import sha256
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from jinja2 import DictLoader, Environment, StrictUndefined
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, Response

if TYPE_CHECKING:
    from starlette.requests import Request

_ROOM: Final = files("tlog.server.pages")
_TYPES: Final = {"js": "text/javascript; charset=utf-8", "css": "text/css; charset=utf-8"}
_FILES: Final = {
    each.name: each.read_bytes() for each in sorted(_ROOM.joinpath("static").iterdir(), key=lambda each: each.name)
}
STATIC: Final = (
    "/ui/static/" + sha256(b"".join(sha256(content).digest() for content in _FILES.values())).hexdigest()[:12]
)
_FOR_EVER: Final = {
    "Cache-Control": "public, max-age=31536000, immutable",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
HTML: Final = "text/html; charset=utf-8"
HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # With no-referrer, which all other answers have, a browser would not say from which origin a form comes.
    "Referrer-Policy": "same-origin",
}
_TEMPLATES: Final = Environment(
    autoescape=True,
    loader=DictLoader({each.name: each.read_text(encoding="utf-8") for each in _ROOM.joinpath("templates").iterdir()}),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def render(template: str, **values: object) -> str:
    """Return a template filled with values, all of which are text to it."""
    return _TEMPLATES.get_template(template).render(static=STATIC, **values)


def page(template: str, *, status: int = 200, headers: dict[str, str] | None = None, **values: object) -> HTMLResponse:
    """Return a small page."""
    return HTMLResponse(render(template, **values), status, {**HEADERS, **(headers or {})})


async def static(request: Request) -> Response:
    """Return a static file."""
    name = request.path_params["name"]
    if name not in _FILES or request.url.path != f"{STATIC}/{name}":
        raise HTTPException(404)
    return Response(_FILES[name], headers=_FOR_EVER, media_type=_TYPES[name.rpartition(".")[2]])
