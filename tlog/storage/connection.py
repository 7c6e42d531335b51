"""A connection and its errors: the driver's errors become those of `tlog.errors` here and nowhere else."""

from __future__ import annotations

import asyncio
import os
import select
import socket
import struct
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TypeVar

import psycopg
from psycopg import AsyncConnection, waiting
from psycopg.pq import TransactionStatus
from psycopg.rows import TupleRow
from psycopg.waiting import Ready, Wait
from psycopg_pool import PoolTimeout, TooManyRequests

from tlog.errors import DamagedLogError, NoSpaceError, OverloadedError, UnsafeDatabaseError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg.abc import PQGen


_READ_AT_ONCE: Final = 32
_CREDENTIALS: Final = struct.Struct("3i")  # pid, uid and gid of a socket's other end
Role = Literal["tlog_owner", "tlog_appender", "tlog_sealer", "tlog_indexer", "tlog_reader", "tlog_authenticator"]
Result = TypeVar("Result")


class Connection(AsyncConnection[TupleRow]):
    """A connection that never asks the server to cancel a statement: whoever stops waiting closes it.

    The driver asks for that when the task that waits is cancelled. A COMMIT that waits for a standby would then be visible, and
    its end be reported, without being there. A server whose connection was closed goes on waiting.
    """

    async def wait(self, gen: PQGen[Result], interval: float = 0.1, timeout: float | None = None) -> Result:  # noqa: ASYNC109 - the driver's signature
        """Let a statement go on until it is done."""
        try:
            return await waiting.wait_async(
                _at_once(gen, self.pgconn.socket), self.pgconn.socket, interval=interval, timeout=timeout
            )
        except asyncio.CancelledError:
            if self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                self.pgconn.finish()
            raise


def _at_once(gen: PQGen[Result], socket: int) -> PQGen[Result]:
    """Let a statement go on that waits for what is there already, which to ask the event loop for takes longer than to read.

    The driver reads some 16 KiB at a time and waits after each. After a few of them others have their turn.
    """
    try:
        wanted = next(gen)
        said, read = select.poll(), 0
        said.register(socket, select.POLLIN)
        while True:
            if wanted == Wait.R and read < _READ_AT_ONCE and said.poll(0):
                read += 1
                wanted = gen.send(Ready.R)
            else:
                read = 0
                wanted = gen.send((yield wanted))
    except StopIteration as end:
        result: Result = end.value
        return result


def is_ended(connection: Connection) -> bool:
    """Tell whether a connection on which nobody waits is closed, or the server says something unasked: that it has ended.

    Costs no round trip.
    """
    if connection.closed:
        return True
    said = select.poll()
    said.register(connection.fileno(), select.POLLIN)
    return bool(said.poll(0))


async def give_way(connection: Connection) -> None:
    """Let the server's process for a connection give way to others as much as this process does (`os.nice`).

    Where PostgreSQL is on another machine or in another container, or this user may not tell it so, the process stays as it is.
    """
    _give_way(connection.fileno(), connection.info.backend_pid)


def _give_way(descriptor: int, process: int) -> None:
    # The number of a process says nothing elsewhere: the process has to be a child of the one that listens at the other end.
    with suppress(AttributeError, OSError):  # systems other than Linux do not tell who that is
        with socket.socket(fileno=os.dup(descriptor)) as near:
            said = near.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        listener, _, _ = _CREDENTIALS.unpack(said)
        if listener and f"\nPPid:\t{listener}\n" in Path(f"/proc/{process}/status").read_text():
            os.setpriority(os.PRIO_PROCESS, process, os.getpriority(os.PRIO_PROCESS, 0))


@contextmanager
def translated() -> Iterator[None]:
    """Turn the driver's errors into tlog's.

    Raises:
        NoSpaceError: the database's disk is full.
        OverloadedError: the database is away or overloaded; the same call may be repeated.
        DamagedLogError: PostgreSQL finds its own files damaged, or a table is missing.
        UnsafeDatabaseError: a role lacks a privilege.

    """
    try:
        yield
    except (psycopg.errors.DataCorrupted, psycopg.errors.IndexCorrupted) as error:
        # The driver's message names relations and blocks, and quotes no rows.
        message = (
            f"PostgreSQL finds its own files damaged: {error.diag.message_primary}. Keep the files, they are evidence; restore "
            "a copy that verifies, and bring back what that lacks with 'tlog recover'"
        )
        raise DamagedLogError(message) from error
    except psycopg.errors.UndefinedTable as error:
        message = f"a table of the log is missing ({error.diag.message_primary}); run 'tlog fsck'"
        raise DamagedLogError(message) from error
    except psycopg.errors.DiskFull as error:
        message = "the disk of the log's database is full; make space on it, then appending goes on by itself"
        raise NoSpaceError(message) from error
    except (psycopg.OperationalError, PoolTimeout, TooManyRequests) as error:
        # The driver's message may quote rows; the error's class says what happened without them.
        message = f"the database cannot serve this now ({type(error).__name__})"
        raise OverloadedError(message) from error
    except psycopg.errors.InsufficientPrivilege as error:
        what = error.diag.message_primary
        message = f"the database refuses tlog's role a privilege it needs ({what}); run 'tlog init' as an administrator"
        raise UnsafeDatabaseError(message) from error
