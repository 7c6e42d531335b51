"""Who makes a browser ask: no link, form or image of another site does, only the person in front of it.

Browsers say in `Sec-Fetch-Site` where a request was begun (https://w3c.github.io/webappsec-fetch-metadata/), and no script can
set it. A page of ours ("same-origin") and the address bar or a bookmark ("none") ask at once. Everything else gets the question
itself, with a button: the journal is to name nobody for a click on somebody else's link.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

from starlette.exceptions import HTTPException

from tlog.server.pages.assets import page

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

_SAME: Final = "same-origin"
_NOBODY: Final = "none"  # no site: the address bar, a bookmark


def is_asked_here(request: Request) -> bool:
    """Tell whether the person in front of the browser began a request, as the browser says."""
    return request.headers.get("sec-fetch-site") in {_SAME, _NOBODY}


def path_of(request: Request) -> str:
    """Return the path of a request as a link has it, percent-encoded."""
    path: bytes = request.scope["raw_path"]
    return path.decode("ascii", "replace")


def check_posted(request: Request, origin: str) -> None:
    """Check that a form was sent from a page of ours.

    Raises:
        HTTPException: it was not, or the browser does not say so.

    """
    if request.headers.get("sec-fetch-site") != _SAME or request.headers.get("origin", origin) != origin:
        message = (
            "this form was not sent from a page of this log, or the browser does not say so; open the page at its own address in "
            "a current browser. Behind a proxy the service needs 'tlog serve --public-url'"
        )
        raise HTTPException(403, message)


def open_page(path: str, query: str, *, headers: dict[str, str] | None = None) -> Response:
    """Return the page that shows what a link asks, and a button that asks it.

    Args:
        path: where the link leads to, a path of the pages.
        query: its query string.
        headers: more header fields of the answer.

    """
    asked = parse_qsl(query, keep_blank_values=True, encoding="utf-8", errors="replace")
    return page("open.html", headers=headers, title="Open", action=path, asked=[each for each in asked if each[1]])
