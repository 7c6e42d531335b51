"""`create_app`: the service's container, everything it needs passed in."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from tlog.answering.bulk import BulkMaker
from tlog.errors import MalformedInputError, OverloadedError, TlogError
from tlog.server.describe import openapi
from tlog.server.describe.problems import SECURITY_HEADERS, on_error
from tlog.server.endpoints import audit, health, read, verification
from tlog.server.endpoints.append import append_events
from tlog.server.endpoints.single import Singles
from tlog.server.guard.admission import KEY_ID, Admission, asking
from tlog.server.guard.cors import Cors
from tlog.server.guard.parameters import check_path, taking
from tlog.server.guard.public import unless_public
from tlog.server.guard.quick import APPENDS
from tlog.server.observe.checks import Checks
from tlog.server.observe.figures import Figures
from tlog.server.observe.metrics import Metrics
from tlog.server.observe.ready import Ready
from tlog.server.pages import routes as pages
from tlog.server.pages.site import Site
from tlog.server.service import Service

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection
    from zoneinfo import ZoneInfo

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from tlog.answering.bulk import MakesBulk
    from tlog.lifecycle.opening import Log
    from tlog.server.guard.auth import Authenticator
    from tlog.server.guard.public import Public
    from tlog.server.observe.accesslog import AccessLog
    from tlog.server.pages.address import Address


def create_app(
    log: Log,
    authenticator: Authenticator,
    access_log: AccessLog | None = None,
    cors_origin: str | None = None,
    public: Public = "all",
    *,
    maker: MakesBulk | None = None,
    pages_at: tuple[Address, ZoneInfo] | None = None,
) -> Starlette:
    """Return the ASGI application of an open log.

    Args:
        log: the log.
        authenticator: knows its API keys.
        access_log: where each request is logged, None for nowhere.
        cors_origin: the origin whose web pages may read the public half, "*" for all, None for none.
        public: what needs no key.
        maker: makes the bulk answers; by default this process.
        pages_at: where the pages are reached, and the zone of their times; None for no pages.

    Raises:
        MalformedInputError: `cors_origin` is not an origin.

    """
    admission = Admission(log, authenticator)
    maker = maker or BulkMaker(log.reader, log.verifier, log.searcher)
    figures = Figures(log)
    metrics = Metrics(log, figures)
    checks, cors = Checks(log.location, log.clock), Cors(cors_origin, public)
    service = Service(log, admission, figures, metrics, checks, Ready(log), cors, public, maker, access_log)
    app = Starlette(
        routes=[
            Route(APPENDS, _events, methods=["GET", "POST"]),
            _asking("/v1/audit/export", audit.export, audit.EXPORT),
            _asking("/v1/audit/verify", verification.verify, verification.VERIFY),
            _asking("/v1/audit/resource/{type}/{id:path}/access-log", audit.access_log, audit.ACCESS_LOG),
            _asking("/v1/audit/events/{event_id:uuid}", audit.event),
            _asking("/v1/audit/events/{event_id:uuid}/proof", audit.event_proof, audit.EVENT_PROOF),
            _shared("/v1/proof/inclusion", read.inclusion, read.INCLUSION),
            _shared("/v1/proof/consistency", read.consistency, read.CONSISTENCY),
            _shared("/v1/log", read.describe),
            _shared("/v1/checkpoints", read.checkpoints, read.CHECKPOINTS),
            _shared("/checkpoint", read.checkpoint),
            _shared("/chain", read.chain),
            _shared("/tile/{path:path}", read.tile),
            _route("/livez", health.livez),
            _route("/readyz", health.readyz),
            _route("/metrics", health.metrics),
            _route("/openapi.json", openapi.document),
            _route("/docs", openapi.page),
            *([] if pages_at is None else pages.routes()),
        ],
        middleware=[Middleware(_Observed, service=service)],
        exception_handlers={TlogError: _on_error, HTTPException: _on_error},
    )
    app.router.redirect_slashes = False  # a redirect would repeat the Host of the request
    app.state.service = service
    app.state.singles = Singles(service)
    app.state.site = None if pages_at is None else Site(service, authenticator, *pages_at)
    return app


async def _on_error(request: Request, error: Exception) -> Response:
    """Return what says what went wrong: a problem document, and to somebody before a page, a page."""
    for_people = request.app.state.site is not None and pages.is_page(request.scope["path"])
    return await (pages.on_error if for_people else on_error)(request, error)


def _route(path: str, endpoint: Callable[[Request], Awaitable[Response]], parameters: Collection[str] = ()) -> Route:
    """Return the route of an endpoint that takes these query parameters and no others."""
    return Route(path, taking(endpoint, parameters))


def _shared(path: str, endpoint: Callable[[Request], Awaitable[Response]], parameters: Collection[str] = ()) -> Route:
    """Return the route of an endpoint of the public half, which asks for a key where that is not public."""
    return Route(path, unless_public(taking(endpoint, parameters)))


def _asking(path: str, endpoint: Callable[[Request], Awaitable[Response]], parameters: Collection[str] = ()) -> Route:
    """Return the route of an endpoint for keys with the scope `read`."""
    return Route(path, asking(taking(endpoint, parameters)))


_list_events = asking(taking(audit.events, audit.EVENTS))


async def _events(request: Request) -> Response:
    """Answer a question; an append goes past routing (`_Observed`). One route, so that its 405 names both methods in Allow."""
    return await (append_events if request.method == "POST" else _list_events)(request)


class _Observed:
    """Adds the security headers to every answer, counts and logs it, and answers for what failed unexpectedly."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app = app
        self._service = service
        self._metrics = service.metrics
        self._cors = service.cors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        append = scope["path"] == APPENDS and scope["method"] == "POST"
        shared = [] if append else self._cors.fields(scope["path"], Headers(scope=scope))
        began = time.perf_counter()
        status = sent = 0

        async def observed(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                own = {name for name, _ in message["headers"]}
                general = [field for field in SECURITY_HEADERS if field[0] not in own]  # a page has a policy of its own
                message["headers"] = [*message["headers"], *general, *shared]
                status = message["status"]
                self._metrics.responded(status)
            else:
                sent += len(message.get("body", b""))
            await send(message)

        try:
            await (_append if append else self._route)(scope, receive, observed)
        except ClientDisconnect:
            pass  # nobody is left to answer; what was read of the request is dropped
        except asyncio.CancelledError:
            if not status:  # the service stops, and waited as long as it would
                error = OverloadedError("the service is stopping; try again with the same eventIds")
                await (await _on_error(Request(scope), error))(scope, receive, observed)
        except Exception as error:  # noqa: BLE001 - the last resort; nothing of a bug may reach the caller or uvicorn's log
            response = await _on_error(Request(scope), error)
            await response(scope, receive, observed)
        finally:
            route = APPENDS if append else getattr(scope.get("route"), "path", None)
            seconds, key_id = time.perf_counter() - began, scope.get(KEY_ID)
            self._service.answered(scope["method"], route, status, key_id=key_id, sent=sent, seconds=seconds)

    async def _route(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Route a request, unless a browser asks whether a page may ask, or its path cannot be read."""
        allowed = self._cors.preflight(scope["method"], scope["path"], Headers(scope=scope))
        if allowed is not None:
            response = Response(status_code=204)
            response.raw_headers += allowed
            await response(scope, receive, send)
            return
        try:
            check_path(scope["raw_path"])  # in "path" the server replaced what is no UTF-8
        except MalformedInputError as error:
            await (await _on_error(Request(scope), error))(scope, receive, send)
        else:
            await self._app(scope, receive, send)


async def _append(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer an append by the same endpoint and errors, but without routing: appends come thousands of times a second."""
    request = Request(scope, receive)
    try:
        response = await append_events(request)
    except (TlogError, HTTPException) as error:
        response = await on_error(request, error)
    await response(scope, receive, send)
