"""`create_app`: the service's container, everything it needs passed in."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.routing import Route

from tlog.errors import TlogError
from tlog.server import audit, health, openapi, read, verification
from tlog.server.append import append_events
from tlog.server.health import Metrics
from tlog.server.problems import on_error
from tlog.server.verification import Verification

if TYPE_CHECKING:
    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from tlog.lifecycle import Log
    from tlog.server.auth import Authenticator

_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
)


@dataclass
class Service:
    """What the endpoints work with."""

    log: Log
    authenticator: Authenticator
    metrics: Metrics
    verification: Verification
    drafting: asyncio.Lock = field(default_factory=asyncio.Lock)


def create_app(log: Log, authenticator: Authenticator) -> Starlette:
    """Return the ASGI application of an open log."""
    service = Service(log, authenticator, Metrics(log), Verification(log.location, log.clock))
    app = Starlette(
        routes=[
            Route("/v1/audit/events", _events, methods=["GET", "POST"]),
            Route("/v1/audit/export", audit.export),
            Route("/v1/audit/verify", verification.verify),
            Route("/v1/audit/resource/{type}/{id:path}/access-log", audit.access_log),
            Route("/v1/audit/events/{event_id:uuid}", audit.event),
            Route("/v1/audit/events/{event_id:uuid}/proof", audit.event_proof),
            Route("/v1/proof/inclusion", read.inclusion),
            Route("/v1/proof/consistency", read.consistency),
            Route("/v1/log", read.describe),
            Route("/v1/checkpoints", read.checkpoints),
            Route("/checkpoint", read.checkpoint),
            Route("/tile/{path:path}", read.tile),
            Route("/livez", health.livez),
            Route("/readyz", health.readyz),
            Route("/metrics", health.metrics),
            Route("/openapi.json", openapi.document),
            Route("/docs", openapi.page),
        ],
        middleware=[Middleware(_Observed, metrics=service.metrics)],
        exception_handlers={TlogError: on_error, HTTPException: on_error},
    )
    app.state.service = service
    return app


async def _events(request: Request) -> Response:
    """Append or ask: one route, so that its 405 names both methods in Allow."""
    return await (append_events if request.method == "POST" else audit.events)(request)


class _Observed:
    """Adds the security headers to every answer, counts it, and answers for what failed unexpectedly."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def observed(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_HEADERS]
                self._metrics.responded(message["status"])
            await send(message)

        try:
            await self._app(scope, receive, observed)
        except ClientDisconnect:
            pass  # nobody is left to answer; what was read of the request is dropped
        except Exception as error:  # noqa: BLE001 - the last resort; nothing of a bug may reach the caller or uvicorn's log
            response = await on_error(Request(scope), error)
            await response(scope, receive, observed)
