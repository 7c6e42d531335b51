"""Which page is where, who gets to see it, and what an error looks like."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Route

from tlog.errors import UnauthorizedError
from tlog.server.describe.problems import describe
from tlog.server.guard.fields import accepts
from tlog.server.guard.parameters import taking
from tlog.server.pages.ask import ASK, ask
from tlog.server.pages.assets import page, static
from tlog.server.pages.downloads import EVIDENCE, EXPORT, evidence, export
from tlog.server.pages.event import event
from tlog.server.pages.health import HEALTH, health
from tlog.server.pages.opening import is_asked_here, open_page, path_of
from tlog.server.pages.reports import ACCESS, ACCOUNTING, access_report, accounting_of_disclosures
from tlog.server.pages.signing_in import SIGN_IN, form, sign_in, sign_in_first, sign_out
from tlog.server.pages.timeline import TIMELINE, timeline

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from starlette.requests import Request

    from tlog.server.pages.site import Site

    Endpoint = Callable[[Request], Awaitable[Response]]

_ROOT: Final = "/ui"
_FORMS: Final = {_ROOT, "/ui/report/access", "/ui/report/accounting"}  # which ask nothing without a query


def routes() -> list[Route]:
    """Return the routes of the pages, and `/`, which leads a browser to them."""
    return [
        Route("/", _start),
        Route("/ui/static/{version}/{name}", static),
        Route(SIGN_IN, _here(form, ["then"])),
        Route(SIGN_IN, _here(sign_in), methods=["POST"]),
        Route("/ui/sign-out", _here(sign_out), methods=["POST"]),
        Route(_ROOT, _signed_in(ask, ASK)),
        Route("/ui/event/{event_id:uuid}", _signed_in(event)),
        Route("/ui/resource/{type}/{id:path}", _signed_in(timeline, TIMELINE)),
        Route("/ui/report/access", _signed_in(access_report, ACCESS)),
        Route("/ui/report/accounting", _signed_in(accounting_of_disclosures, ACCOUNTING)),
        Route("/ui/health", _signed_in(health, HEALTH)),
        Route("/ui/evidence", _signed_in(evidence, EVIDENCE)),
        Route("/ui/export", _signed_in(export, EXPORT)),
        Route("/ui/{path:path}", _here(_nothing)),
    ]


async def on_error(request: Request, error: Exception) -> Response:
    """Return the page of an error: its status and its sentence; for whoever has to sign in first, the way there."""
    if isinstance(error, UnauthorizedError) and request.method == "GET":
        return sign_in_first(request)
    answer = describe(error)
    document = msgspec.json.decode(answer.body)
    headers = {
        name: value for name, value in answer.headers.items() if name in {"allow", "retry-after", "www-authenticate"}
    }
    return page("problem.html", status=answer.status_code, headers=headers, problem=document, title=document["title"])


def is_page(path: str) -> bool:
    """Tell whether a path is that of a page, so that errors there are pages, too."""
    return path == _ROOT or path.startswith(f"{_ROOT}/")


def _here(endpoint: Endpoint, parameters: Collection[str] = ()) -> Endpoint:
    """Return the endpoint, for requests that came to the address of the pages."""
    taken = taking(endpoint, parameters)

    async def checked(request: Request) -> Response:
        site: Site = request.app.state.site
        site.address.check(request)
        return await taken(request)

    return checked


def _signed_in(endpoint: Endpoint, parameters: Collection[str] = ()) -> Endpoint:
    """Return the endpoint, for whoever is signed in, and asks and is not made to ask by a page of somebody else."""
    taken = taking(endpoint, parameters)

    async def admitted(request: Request) -> Response:
        site: Site = request.app.state.site
        site.address.check(request)
        key = await site.sessions.find(site.address.cookie_of(request))
        site.service.admission.admit_key(request, key)
        asks_nothing = request.url.path in _FORMS and not request.url.query
        if not is_asked_here(request) and not asks_nothing:
            return open_page(path_of(request), request.url.query)
        answer = await taken(request)
        site.service.metrics.viewed(endpoint.__name__)
        return answer

    return admitted


async def _start(request: Request) -> Response:
    if accepts(request.headers, "text/html"):
        return Response(status_code=303, headers={"Location": _ROOT})
    raise HTTPException(404)


async def _nothing(_: Request) -> Response:
    message = "there is no such page"
    raise HTTPException(404, message)
