"""The service of a witness: `add-checkpoint` for logs, the newest checkpoint of each log for everybody.

    body read, at most 64 KiB → `decide` with the head as it is → cosigned → head moved from what was looked at, on disk → 200

The cosignatures are made before the head is moved, because they are kept with it, and leave this process only after it was.
What is asked is in `tlog.server.guard.protocol` held to deadlines before any of this.
"""

from __future__ import annotations

import asyncio
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, TypeVar

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from tlog.errors import MalformedInputError, NotFoundError
from tlog.location import tune_memory, utc_now, version
from tlog.server.guard.protocol import GuardedProtocol, Silent
from tlog.server.listening import QuietServer, announce, configuration, listen
from tlog.witness.decide import MAX_BODY_SIZE, Head, Request, Verdict, conflict, decide, parse_request

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from starlette.requests import Request as HttpRequest

    from tlog.core.cosignature import CosigningKey
    from tlog.witness.keys import WitnessDirectory
    from tlog.witness.state import WitnessState

_SIZE: Final = "text/x.tlog.size"
_NO_STORE: Final = {"Cache-Control": "no-store"}
_log: Final = structlog.get_logger()
Result = TypeVar("Result")


class WitnessService:
    """One witness: its keys, what it remembers, and how it answers."""

    def __init__(
        self,
        directory: WitnessDirectory,
        state: WitnessState,
        keys: list[CosigningKey],
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        """Take what it works with; the state is asked in one thread, which is made here."""
        self._directory = directory
        self._state = state
        self._keys = keys
        self._clock = clock
        self._thread = ThreadPoolExecutor(1, "witness state")
        self._registry = CollectorRegistry()
        self._answers = Counter(
            "tlog_witness_requests",
            "Requests to cosign by the status of the answer",
            ["status"],
            registry=self._registry,
        )
        Gauge("tlog_witness_logs", "Logs that this witness knows", registry=self._registry).set_function(
            lambda: len(self._state.logs())
        )

    def routes(self) -> list[Route]:
        """Return the routes of the service."""
        return [
            Route("/add-checkpoint", self._add_checkpoint, methods=["POST"]),
            Route("/{origin_hash:str}/checkpoint", self._checkpoint),
            Route("/livez", _livez),
            Route("/metrics", self._metrics),
        ]

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown()

    async def answer(self, body: bytes) -> Verdict:
        """Return what is answered to a body of `add-checkpoint`; with 200, the lines are the cosignatures.

        What is answered with 200 is on disk, and nothing below its size will be.
        """
        try:
            request = parse_request(body)
        except MalformedInputError as error:
            return Verdict(HTTPStatus.BAD_REQUEST, str(error))
        origin, size, root = request.checkpoint
        keys, head = await self._ask(partial(self._state.find, origin))
        verdict = decide(request, keys, head)
        if verdict.status is HTTPStatus.UNPROCESSABLE_ENTITY:
            _log.warning("refused", origin=origin, size=size, reason=verdict.reason)
            await self._ask(partial(self._directory.reject, body))
        if verdict.status is not HTTPStatus.OK:
            return verdict
        lines = self._cosign(request)
        note = b"".join((request.text, b"\n", verdict.lines, lines))
        if await self._ask(partial(self._state.advance, origin, head, Head(size, root), note)):
            return Verdict(HTTPStatus.OK, lines=lines)
        return conflict((await self._ask(partial(self._state.find, origin)))[1])

    def _cosign(self, request: Request) -> bytes:
        time = int(self._clock().timestamp())
        return b"".join(key.cosign(request.text, time).line() for key in self._keys)

    async def _ask(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def _add_checkpoint(self, request: HttpRequest) -> Response:
        verdict = await self.answer(await _body(request))
        self._answers.labels(str(verdict.status.value)).inc()
        if verdict.status is HTTPStatus.CONFLICT:
            # As a field: a media type that is given as one would get a charset.
            return Response(f"{verdict.reason}\n", verdict.status, _NO_STORE | {"Content-Type": _SIZE})
        content = verdict.lines or f"{verdict.reason}\n"
        return PlainTextResponse(content, verdict.status, _NO_STORE)

    async def _checkpoint(self, request: HttpRequest) -> Response:
        try:
            note = await self._ask(partial(self._state.note_of, request.path_params["origin_hash"]))
        except NotFoundError as error:
            return PlainTextResponse(f"{error}\n", HTTPStatus.NOT_FOUND)
        return PlainTextResponse(note, headers={"Cache-Control": "no-cache"})

    async def _metrics(self, _: HttpRequest) -> Response:
        return Response(await self._ask(partial(generate_latest, self._registry)), media_type=CONTENT_TYPE_LATEST)


def witness_app(service: WitnessService) -> Starlette:
    """Return the ASGI application of a witness."""
    app = Starlette(routes=service.routes())
    app.router.redirect_slashes = False
    return app


async def _livez(_: HttpRequest) -> Response:
    return PlainTextResponse("ok\n")


async def _body(request: HttpRequest) -> bytes:
    """Return the body, or so much of it that it is too long."""
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_BODY_SIZE:
            break
    return body


async def serve_witness(
    directory: WitnessDirectory, host: str, port: int, on_ready: Callable[[str, list[CosigningKey]], None]
) -> None:
    """Serve a witness until a signal ends it.

    Args:
        directory: its files.
        host: address to listen on.
        port: TCP port, 0 for any free one.
        on_ready: called with the service's URL and the witness's keys once it accepts requests.

    Raises:
        OperatorError: the address is taken, another process serves the witness, or its keys or memory are missing.

    """
    with listen(host, port) as listener, directory.serving(), closing(directory.state()) as state:
        keys = directory.read_keys()
        with closing(WitnessService(directory, state, keys)) as service:
            server = QuietServer(configuration(witness_app(service), partial(GuardedProtocol, silent=Silent())))
            loop = asyncio.get_running_loop()
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, server.handle_exit, number, None)

            def ready(url: str) -> None:
                _log.info("start", version=version(), name=keys[0].cosigner.name, address=url, logs=len(state.logs()))
                on_ready(url, keys)

            tune_memory()
            announcing = asyncio.create_task(announce(server, listener, ready), name="announcing")
            await server.serve([listener])
            announcing.cancel()
            await asyncio.wait([announcing])
