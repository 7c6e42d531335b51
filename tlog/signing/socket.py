"""A signer in a process of its own, asked over a UNIX socket.

`serve_signer` runs in the process that owns key and anchor, `RemoteSigner` in the others.

A connection is one line of JSON in each direction, at most 16 KiB and 5 seconds for the question. Who asks is known from the
kernel, not from what the question says, and looked at first: whoever may not ask is told so, and takes no place from the
others. Questions are answered one after the other in the order they came, so that whoever lost an answer asks again and is
told what became of the first question. There is no encryption: nothing secret passes, and a UNIX socket does not leave the
machine.
"""

from __future__ import annotations

import asyncio
import errno
import grp
import os
import pwd
import signal
import socket
import sqlite3
import stat
import struct
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import msgspec
import structlog

from tlog.core.entry import from_microseconds
from tlog.errors import (
    AnchorMissingError,
    ForkError,
    KeyMismatchError,
    MalformedInputError,
    OperatorError,
    OverloadedError,
    SignerAwayError,
)
from tlog.signing.anchor import Anchored
from tlog.signing.signer import Proposal

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from tlog.core.note import Verifier
    from tlog.signing.signer import CheckpointSigner

_MAX_LINE: Final = 16 << 10
_REQUEST_SECONDS: Final = 5.0
_ANSWER_SECONDS: Final = 10.0
_MAX_WAITING: Final = 64
_REPEAT_SECONDS: Final = 60.0  # between two lines about one user who may not ask: whoever knocks for ever fills no disk
_BACKLOG: Final = 1024
_CREDENTIALS: Final = struct.Struct("3i")  # struct ucred of unix(7): process, user, group
_ERRORS: Final = {kind.exit_code: kind for kind in (AnchorMissingError, ForkError, KeyMismatchError, SignerAwayError)}
_log: Final = structlog.get_logger()


class Read(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="read"):
    """Asks what was signed last."""


class Signed(msgspec.Struct, frozen=True, tag="signed"):
    """What was signed last, now or before; the members are those of `tlog.signing.anchor.Anchored`."""

    origin: str
    size: int
    root: bytes
    chain_hash: bytes
    note: bytes
    sealed_at: int
    system: str
    timeline: int
    synchronous: int


class NotSigned(msgspec.Struct, frozen=True, tag="not signed"):
    """The signer's clock lags what was signed or logged."""


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """Why nothing is signed, and the exit code of the error it is."""

    message: str
    exit_code: int


_Answer = Signed | NotSigned | Refused
_requests: Final = msgspec.json.Decoder(Proposal | Read)
_answers: Final = msgspec.json.Decoder(Signed | NotSigned | Refused)


# --- The process that signs -----------------------------------------------------------------------------------------


async def serve_signer(
    signer: CheckpointSigner,
    path: Path,
    *,
    users: Collection[int],
    group: int | None = None,
    on_ready: Callable[[Anchored], None] = lambda _: None,
) -> None:
    """Answer at the UNIX socket `path` until a signal ends it.

    Args:
        signer: what signs.
        path: of the socket; it is open to this process's user, and to `group`.
        users: numbers of the users who may ask, whoever can reach the socket.
        group: number of a group whose members can reach the socket.
        on_ready: called with what was signed last, once the socket answers.

    Raises:
        OperatorError: key and anchor do not belong together, another signer has the socket, or the disk refused.

    """
    anchored = await asyncio.to_thread(signer.read)
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    desk = _Desk(signer, users, stopped)
    with _listen(path, group) as listener:  # at the end the socket stays there, dead: the next signer takes it away
        server = await asyncio.start_unix_server(desk.serve, sock=listener, limit=_MAX_LINE, backlog=_BACKLOG)
        try:
            on_ready(anchored)
            await stopped.wait()
        finally:
            server.close()
    async with desk.turn:  # what is being signed is anchored and answered
        pass
    if desk.failure:
        raise OperatorError(desk.failure)


class _Desk:
    """Answers connections."""

    def __init__(self, signer: CheckpointSigner, users: Collection[int], stopped: asyncio.Event) -> None:
        self._signer = signer
        self._users = users
        self._stopped = stopped
        self._waiting: dict[asyncio.StreamWriter, None] = {}  # connections without a question yet, the oldest first
        self._asked = 0
        self._told: dict[int, float] = {}  # users who may not ask, and when the log said so
        self.turn = asyncio.Lock()
        self.failure = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection, and close it."""
        try:
            user = _user_of(writer)
            answer = await self._hear(user, reader, writer) if user in self._users else self._turn_away(user)
            writer.write(b"" if answer is None else msgspec.json.encode(answer) + b"\n")
            writer.close()
            async with asyncio.timeout(_REQUEST_SECONDS):
                await writer.wait_closed()
        except (OSError, TimeoutError):
            writer.transport.abort()

    async def _hear(self, user: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> _Answer | None:
        line = await self._question(reader, writer)
        if line is None or self._asked >= _MAX_WAITING:
            return None
        self._asked += 1
        try:
            async with self.turn:
                return await self._answer(user, line)
        finally:
            self._asked -= 1

    def _turn_away(self, user: int) -> Refused:
        now = time.monotonic()
        if now - self._told.get(user, -_REPEAT_SECONDS) >= _REPEAT_SECONDS:
            self._told[user] = now
            _log.warning("refused", user=user, reason="this user may not ask")
        return Refused(f"user {user} may not ask this signer; start it with --allow-user", OperatorError.exit_code)

    async def _question(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes | None:
        """Return the line that was sent, empty if it is too long; None if none came in time."""
        self._waiting[writer] = None
        if len(self._waiting) > _MAX_WAITING:
            # Who asks in earnest needs a millisecond; whoever has been silent the longest goes first.
            oldest = next(iter(self._waiting))
            del self._waiting[oldest]
            oldest.transport.abort()
        try:
            async with asyncio.timeout(_REQUEST_SECONDS):
                return await reader.readuntil(b"\n")
        except asyncio.LimitOverrunError:
            return b""
        except (asyncio.IncompleteReadError, OSError, TimeoutError):
            return None
        finally:
            self._waiting.pop(writer, None)

    async def _answer(self, user: int, line: bytes) -> _Answer | None:
        try:
            request = _requests.decode(line)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            _log.warning("refused", user=user, reason="not a question")
            return Refused("this is not a question to a signer", MalformedInputError.exit_code)
        return await self._obey(user, request)

    async def _obey(self, user: int, request: Proposal | Read) -> _Answer | None:
        if self.failure:
            return None
        try:
            if isinstance(request, Read):
                return Signed(*await asyncio.to_thread(self._signer.read))
            anchored = await asyncio.to_thread(self._signer.sign, request)
        except (OperatorError, OverloadedError) as error:
            _log.error("refused", user=user, reason=str(error))
            return Refused(str(error), error.exit_code)
        except sqlite3.Error as error:
            # Whether it was signed is known when the anchor can be read again: at the next start.
            self.failure = f"the anchor cannot be written ({error}); nothing more is signed"
            self._stopped.set()
            return None
        if anchored is None:
            return NotSigned()
        _log.info("signed", user=user, size=anchored.size, at=from_microseconds(anchored.sealed_at).isoformat())
        return Signed(*anchored)


def user_number(name: str) -> int:
    """Return the number of a user given by name or number.

    Raises:
        MalformedInputError: there is no such user.

    """
    with suppress(KeyError):
        return int(name) if name.isdecimal() else pwd.getpwnam(name).pw_uid
    message = f"there is no user {name}"
    raise MalformedInputError(message)


def group_number(name: str) -> int:
    """Return the number of a group given by name or number.

    Raises:
        MalformedInputError: there is no such group.

    """
    with suppress(KeyError):
        return int(name) if name.isdecimal() else grp.getgrnam(name).gr_gid
    message = f"there is no group {name}"
    raise MalformedInputError(message)


def _user_of(writer: asyncio.StreamWriter) -> int:
    credentials = writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(credentials)[1])


def _listen(path: Path, group: int | None) -> socket.socket:
    """Take the socket's path: closed to others from its first moment, and never from a signer that lives."""
    if not hasattr(socket, "SO_PEERCRED"):
        message = "this system does not tell who asks at a socket, which a separate signer needs; use Linux"
        raise OperatorError(message)
    if path.exists():
        if not stat.S_ISSOCK(path.stat().st_mode):
            message = f"{path} is there and is no socket; choose another --socket"
            raise OperatorError(message)
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(1)
            if probe.connect_ex(str(path)) != errno.ECONNREFUSED:
                message = f"another signer serves {path}; stop it first, or choose another --socket"
                raise OperatorError(message)
        path.unlink()
    listener = socket.socket(socket.AF_UNIX)
    mask = os.umask(0o177)
    try:
        listener.bind(str(path))
    finally:
        os.umask(mask)
    if group is not None:
        _open_to(path, group)
    return listener


def _open_to(path: Path, group: int) -> None:
    """Let a group reach the socket that was just made; what somebody put in its place meanwhile is left alone."""
    # A socket cannot be opened, but held; and what /proc names by the descriptor is what is held.
    held = os.open(path, os.O_PATH | os.O_NOFOLLOW)
    try:
        found = os.fstat(held)
        if not stat.S_ISSOCK(found.st_mode) or found.st_uid != os.geteuid():
            message = (
                f"somebody put another file at {path}; choose a --socket in a directory that only the signer can write"
            )
            raise OperatorError(message)
        os.chown(f"/proc/self/fd/{held}", -1, group)
        os.chmod(f"/proc/self/fd/{held}", 0o660)  # nosec B103  # noqa: PTH101 - see above
    finally:
        os.close(held)


# --- The processes that ask -----------------------------------------------------------------------------------------


class RemoteSigner:
    """The signer of another process."""

    def __init__(self, path: Path, verifier: Verifier, timeout: float = _ANSWER_SECONDS) -> None:
        """Take the path of its socket, the log's public key, and how many seconds an answer may take."""
        self._path = path
        self._timeout = timeout
        self.verifier = verifier

    def read(self) -> Anchored:
        """Return what was signed last.

        Raises:
            OverloadedError: the signer is away.
            OperatorError: the signer does not know, or does not know for sure.

        """
        anchored = self._ask(Read())
        if anchored is None:
            raise OperatorError(self._stranger())
        return anchored

    def sign(self, proposal: Proposal) -> Anchored | None:
        """Sign a checkpoint; None if the signer's clock lags what was signed or logged, and nothing was signed.

        Raises:
            OverloadedError: the signer is away, and may have signed all the same; or its clock leapt ahead, and it did not.
            ForkError: the proposal does not continue what was signed last.
            OperatorError: what was signed last is not known for sure.

        """
        return self._ask(proposal)

    def _ask(self, request: Proposal | Read) -> Anchored | None:
        try:
            answer = _answers.decode(self._exchange(msgspec.json.encode(request) + b"\n"))
        except OSError as error:
            message = (
                f"the signer at {self._path} does not answer ({error.strerror or error}); nothing is signed without it"
            )
            raise SignerAwayError(message) from error
        except (msgspec.MsgspecError, ValueError) as error:
            raise OperatorError(self._stranger()) from error
        if isinstance(answer, Refused):
            message = f"the signer refuses: {answer.message}"
            raise _ERRORS.get(answer.exit_code, OperatorError)(message)
        return None if isinstance(answer, NotSigned) else Anchored(*msgspec.structs.astuple(answer))

    def _stranger(self) -> str:
        return f"the program at {self._path} is not a signer of this version of tlog; start 'tlog signer' there"

    def _exchange(self, line: bytes) -> bytes:
        """Send a line, return the line that comes back, before the time is over."""
        deadline = time.monotonic() + self._timeout
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(self._timeout)
            connection.connect(str(self._path))
            with suppress(
                BrokenPipeError, ConnectionResetError
            ):  # its answer, if there is one, can be read all the same
                connection.sendall(line)
            answer = b""
            while not answer.endswith(b"\n") and len(answer) <= _MAX_LINE:
                connection.settimeout(max(deadline - time.monotonic(), 0.001))
                part = connection.recv(_MAX_LINE)
                if not part:
                    message = "it closed the connection"
                    raise ConnectionError(message)
                answer += part
            return answer
