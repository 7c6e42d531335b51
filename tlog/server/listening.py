"""An address that is listened at, and uvicorn as the services of this package run it, whatever they serve.

What is served and how a service ends is elsewhere (`tlog.server.serve`, `tlog.witness.app`). A witness has nothing to do with a
log of its own, so nothing of one is imported here.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, cast

import uvicorn

from tlog.errors import OperatorError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from starlette.applications import Starlette

    from tlog.server.guard.protocol import GuardedProtocol

_BACKLOG: Final = 1024
# How long answers that are under way may take once connections are no longer accepted.
GRACE_SECONDS: Final = 8


def listen(host: str, port: int) -> socket.socket:
    """Take the address first, so that nothing is started if another program has it.

    Raises:
        OperatorError: it is taken.

    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        message = f"cannot listen on {host}, port {port}: {error.strerror}; choose another address or port"
        raise OperatorError(message) from error


def configuration(app: Starlette, guarded: Callable[..., GuardedProtocol]) -> uvicorn.Config:
    """Return uvicorn's configuration: connections, deadlines and limits are the guard's (`tlog.server.guard.protocol`).

    Args:
        app: the application.
        guarded: makes the protocol of a connection.

    """
    return uvicorn.Config(
        app,
        http=cast("type[asyncio.Protocol]", guarded),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        proxy_headers=False,
        backlog=_BACKLOG,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )


class QuietServer(uvicorn.Server):
    """Leaves signals to its caller: uvicorn would raise them again after its own end, into the closing of the log."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture nothing."""
        yield


async def announce(server: uvicorn.Server, listener: socket.socket, on_ready: Callable[[str], None]) -> None:
    """Call `on_ready` with the URL of the service once it accepts requests."""
    while not server.started:  # noqa: ASYNC110 - uvicorn offers nothing to wait for
        await asyncio.sleep(0.01)
    host, port = listener.getsockname()[:2]
    on_ready(f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}")
