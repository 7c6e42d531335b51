"""Runs the service: the log opened, appender and sealer in the background, uvicorn in front, all ended together."""

from __future__ import annotations

import asyncio
import signal
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import uvicorn

from tlog.config import tune_memory
from tlog.errors import OperatorError
from tlog.lifecycle import DEFAULT_INTERVAL, open_log, running
from tlog.server.app import create_app
from tlog.server.auth import Authenticator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tlog.config import Location
    from tlog.lifecycle import Log, Sealing

DEFAULT_HOST: Final = "127.0.0.1"
DEFAULT_PORT: Final = 8080
_BACKLOG: Final = 1024
_CONCURRENCY: Final = 1024
_GRACE_SECONDS: Final = 10
_KEEP_ALIVE_SECONDS: Final = 30


async def serve(
    location: Location,
    *,
    host: str = DEFAULT_HOST,
    port: int = DEFAULT_PORT,
    interval: float = DEFAULT_INTERVAL,
    sealing: Sealing = "beside",
    on_ready: Callable[[str], None] = lambda _: None,
) -> None:
    """Serve the log at `location` until a signal ends it.

    Args:
        location: where the log is.
        host: address to listen on.
        port: TCP port, 0 for any free one.
        interval: seconds between two seals.
        sealing: where the log is sealed and indexed (`tlog.lifecycle.open_log`).
        on_ready: called with the service's URL once it accepts requests.

    Raises:
        OperatorError: the address is taken, the log cannot be opened, or the sealer met something only the operator can settle.

    """
    with _listen(host, port) as listener:
        async with open_log(location, interval=interval, sealing=sealing) as log:
            await _serve(log, listener, on_ready)


def _listen(host: str, port: int) -> socket.socket:
    """Take the address first: that it is taken already should be known before anything is started."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        message = f"cannot listen on {host}, port {port}: {error.strerror}; choose another --host or --port"
        raise OperatorError(message) from error


async def _serve(log: Log, listener: socket.socket, on_ready: Callable[[str], None]) -> None:
    tune_memory()
    app = create_app(log, Authenticator(log.reader.api_key, log.directory.pepper(), log.clock))
    config = uvicorn.Config(
        app,
        http="httptools",  # refuses conflicting Content-Length and Transfer-Encoding; h11 would execute both
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        proxy_headers=False,
        backlog=_BACKLOG,
        limit_concurrency=_CONCURRENCY,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    server = _Server(config)
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, server.handle_exit, number, None)
    async with running(log) as background:

        def stop(task: asyncio.Task[None]) -> None:
            server.should_exit = True
            if not task.cancelled():
                task.exception()  # retrieved here, raised where the task is awaited

        background.add_done_callback(stop)
        announcing = asyncio.create_task(_announce(server, listener, on_ready))
        await server.serve([listener])
        announcing.cancel()
        await app.state.service.verification.stop()


class _Server(uvicorn.Server):
    """Leaves signals to `serve`: uvicorn would raise them again after its own end, into the closing of the log."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture nothing."""
        yield


async def _announce(server: uvicorn.Server, listener: socket.socket, on_ready: Callable[[str], None]) -> None:
    while not server.started:  # noqa: ASYNC110 - uvicorn offers nothing to wait for
        await asyncio.sleep(0.01)
    host, port = listener.getsockname()[:2]
    on_ready(f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}")
