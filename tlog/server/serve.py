"""Runs the service: the log opened, appender and sealer in the background, uvicorn in front, all ended together."""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog

from tlog.answering.worker import Worker
from tlog.lifecycle.life import living
from tlog.lifecycle.opening import open_log
from tlog.lifecycle.running import SERVICES_PATIENCE, running
from tlog.location import DEFAULT_INTERVAL, tune_memory, version
from tlog.server.app import create_app
from tlog.server.guard.auth import Authenticator
from tlog.server.guard.protocol import GuardedProtocol, Silent
from tlog.server.listening import QuietServer, announce, configuration, listen
from tlog.server.observe.accesslog import AccessLog

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable, Collection
    from zoneinfo import ZoneInfo

    import uvicorn
    from starlette.applications import Starlette

    from tlog.location import Location, Sealing
    from tlog.server.guard.public import Public
    from tlog.server.pages.address import Address
    from tlog.server.service import Service
    from tlog.signing.witnesses import Witnessing

_REFUSED_SECONDS: Final = 1  # for the answers under way, where the log refuses to go on
_ASIDE_SECONDS: Final = 1.0
_log: Final = structlog.get_logger()


async def serve(
    location: Location,
    *,
    host: str,
    port: int,
    drain: float,
    interval: float = DEFAULT_INTERVAL,
    sealing: Sealing = "beside",
    access_log: bool = True,
    prepare: Callable[[], Awaitable[None]] | None = None,
    cors_origin: str | None = None,
    public: Public = "all",
    trusted_proxies: Collection[str] = (),
    accept_loss: bool = False,
    pages_at: tuple[Address, ZoneInfo] | None = None,
    witnessing: Witnessing | None = None,
    on_ready: Callable[[str], None] = lambda _: None,
) -> None:
    """Serve the log at `location` until a signal ends it.

    SIGTERM first makes `/readyz` red, for `drain` seconds, so that a load balancer sends no more; SIGINT ends at once. Then
    requests whose body has not arrived are refused with 503, and the others get their answers.

    Args:
        location: where the log is.
        host: address to listen on.
        port: TCP port, 0 for any free one.
        drain: seconds between SIGTERM and the end of accepting connections.
        interval: seconds between two seals.
        sealing: where the log is sealed and indexed (`tlog.lifecycle.opening.open_log`).
        access_log: whether to log each request on standard error.
        prepare: awaited once the address is taken, before the log is opened.
        cors_origin: the origin whose web pages may read the public half, "*" for all, None for none.
        public: what needs no key.
        trusted_proxies: addresses of proxies in front, which bring the connections of many.
        accept_loss: whether the database may have a standby that lacks acknowledged events when it is promoted.
        pages_at: where the auditor's pages are reached, and the zone of their times; None for no pages.
        witnessing: how checkpoints are witnessed, or that they are not.
        on_ready: called with the service's URL once it accepts requests.

    Raises:
        OperatorError: the address is taken, the log cannot be opened, or the sealer met something only the operator can settle.

    """
    with listen(host, port) as listener:
        if prepare is not None:
            await prepare()
        async with open_log(location, interval=interval, sealing=sealing, witnessing=witnessing) as log:
            if not accept_loss:
                await log.database.check_standbys()
            size = (await log.reader.state()).size
            origin, vkey = log.verifier.name, log.verifier.vkey()

            def ready(url: str) -> None:
                _log.info("start", version=version(), origin=origin, vkey=vkey, size=size, address=url)
                on_ready(url)

            with ExitStack() as stack:
                lines = stack.enter_context(AccessLog(sys.stderr.fileno())) if access_log and sys.stderr else None
                authenticator = Authenticator(log.reader.api_key, log.directory.pepper(), log.clock)
                worker = Worker(log.database, log.verifier)
                app = create_app(log, authenticator, lines, cors_origin, public, maker=worker, pages_at=pages_at)
                try:
                    await _serve(app, listener, drain, ready, trusted_proxies)
                finally:
                    await worker.close()


async def _serve(
    app: Starlette, listener: socket.socket, drain: float, on_ready: Callable[[str], None], trusted: Collection[str]
) -> None:
    tune_memory()
    service: Service = app.state.service
    guarded = partial(
        GuardedProtocol, refused=service.metrics.responded, silent=Silent(trusted), single=app.state.singles.take
    )
    server = QuietServer(configuration(app, guarded))
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, server.handle_exit, signal.SIGINT, None)
    loop.add_signal_handler(signal.SIGTERM, _drain, server, service, drain)
    looking = asyncio.create_task(service.ready.run(), name="looking")
    async with running(service.log, SERVICES_PATIENCE) as background, living(service.log, background):

        def stop(task: asyncio.Task[None]) -> None:
            # Nothing is appended any more, and what still waits for the database would be refused.
            server.config.timeout_graceful_shutdown = _REFUSED_SECONDS
            server.should_exit = True
            if not task.cancelled():
                task.exception()  # retrieved here, raised where the task is awaited

        background.add_done_callback(stop)
        aside = (
            looking,
            asyncio.create_task(announce(server, listener, on_ready), name="announcing"),
            asyncio.create_task(service.figures.run(), name="figures"),
            asyncio.create_task(service.metrics.outcomes.follow(), name="outcomes"),
        )
        await server.serve([listener])
        app.state.singles.refuse()
        for task in aside:
            task.cancel()
        await asyncio.wait(aside, timeout=_ASIDE_SECONDS)
        await service.checks.stop()
        if app.state.site is not None:
            await app.state.site.failures.close()


def _drain(server: uvicorn.Server, service: Service, seconds: float) -> None:
    """Answer that the service is not ready, and go on for a while; asked again, end at once."""
    if service.stopping:
        server.should_exit = True
        return
    service.stopping = True
    asyncio.get_running_loop().call_later(seconds, server.handle_exit, signal.SIGTERM, None)
