"""The data directory: where one log keeps its keys, its anchor and its embedded database.

    <data>/keys/log.skey     the signing key, mode 0400       <data>/anchor/anchor.sqlite3   what was signed last
    <data>/keys/log.vkey     its public half, to hand out     <data>/postgres/               the embedded PostgreSQL
    <data>/keys/index.keys   the bucket keys, mode 0400
    <data>/keys/pepper       the key of API key digests, mode 0400

Key files are written once, complete or not at all, and never replaced.
"""

from __future__ import annotations

import gc
import os
import secrets
import stat
import sys
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

from tlog.core.making.bucket_keys import DEFAULT_BITS, BucketKeys
from tlog.core.merkle import HASH_SIZE
from tlog.core.note import Signer, Verifier, parse_skey, parse_vkey
from tlog.errors import KeyMismatchError, MalformedInputError, OperatorError
from tlog.files.durable import write_once

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from pathlib import Path

# Where a log is sealed and indexed: in a child of the process that appends, in that process itself, or in another one.
Sealing = Literal["beside", "here", "elsewhere"]
DEFAULT_INTERVAL: Final = 1.0  # seconds between two seals
Result = TypeVar("Result")
SEED_SIZE: Final = 32
_PEPPER_SIZE: Final = 32
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


def utc_now() -> datetime:
    """Return the current time, aware: the clock of all code that is given no other."""
    return datetime.now(UTC)


def version() -> str:
    """Return the version of this program, "unknown" if it is not installed."""
    from importlib import metadata  # noqa: PLC0415 - as in `run_loop`

    try:
        return metadata.version("tlog-audit")
    except metadata.PackageNotFoundError:
        return "unknown"


@dataclass(frozen=True)
class DataDirectory:
    """The files of one log below `root`; and which user is to run an embedded PostgreSQL that root makes there, if it matters."""

    root: Path
    postgres_user: str | None = None

    def __post_init__(self) -> None:
        """Give the directory one name, whatever links and dots lead to it: locks and servers are found by that."""
        object.__setattr__(self, "root", self.root.resolve())

    @property
    def anchor(self) -> Path:
        """The anchor file."""
        return self.root / "anchor" / "anchor.sqlite3"

    @property
    def evidence(self) -> Path:
        """Where it is kept what contradicts the log, as witnesses showed it."""
        return self.root / "evidence"

    @property
    def postgres(self) -> Path:
        """The embedded PostgreSQL's directory."""
        return self.root / "postgres"

    @property
    def restored(self) -> Path:
        """What says that the embedded database came from a backup, until the log says so itself."""
        return self.postgres / "restored.json"

    @property
    def _keys(self) -> Path:
        return self.root / "keys"

    def create(self) -> None:
        """Make the directories, closed to other users."""
        # An embedded PostgreSQL of a root-run tlog has a user of its own, which must reach its directory and no other.
        self.root.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
        for directory in (self._keys, self.anchor.parent):
            directory.mkdir(mode=0o700, exist_ok=True)

    def check(self) -> None:
        """Check that the directories that are there are this user's, or root's, and that no other user can write them.

        Raises:
            OperatorError: one is not; whoever can write it could put something in the place of keys, anchor or database.

        """
        for path in (self.root, self._keys, self.anchor.parent):
            with suppress(FileNotFoundError):
                found = path.stat()
                _check_owner(path, found)
                if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                    message = (
                        f"{path} can be written by other users (mode {stat.S_IMODE(found.st_mode):04o}); look at what is there, "
                        "and chmod go-w it, or use a directory of its own below it"
                    )
                    raise OperatorError(message)

    def has_signing_key(self) -> bool:
        """Tell whether there is a signing key."""
        return (self._keys / "log.skey").exists()

    def has_verifier(self) -> bool:
        """Tell whether there is a public key."""
        return (self._keys / "log.vkey").exists()

    def create_keys(self, origin: str, bits: int = DEFAULT_BITS) -> None:
        """Make the keys that are missing: signing key under the name `origin`, bucket keys, pepper.

        Raises:
            MalformedInputError: `origin` cannot be a key name.

        """
        signer = Signer(origin, secrets.token_bytes(SEED_SIZE))
        _keep_or_write(self._keys / "index.keys", secrets.token_bytes(HASH_SIZE << bits), 0o400)
        _keep_or_write(self._keys / "pepper", secrets.token_bytes(_PEPPER_SIZE), 0o400)
        _keep_or_write(self._keys / "log.skey", f"{signer.skey()}\n".encode(), 0o400)
        _keep_or_write(self._keys / "log.vkey", f"{self.signing_key().verifier.vkey()}\n".encode(), 0o444)

    def signing_key(self) -> Signer:
        """Return the signing key.

        Raises:
            KeyMismatchError: the key is missing, malformed, or open to other users.
            OperatorError: its file is somebody else's.

        """
        try:
            return parse_skey(read_secret(self._keys / "log.skey").decode().removesuffix("\n"))
        except (MalformedInputError, UnicodeDecodeError) as error:
            message = f"{self._keys / 'log.skey'} is not a signing key; bring back this log's key"
            raise KeyMismatchError(message) from error

    def verifier(self) -> Verifier:
        """Return the public key.

        Raises:
            KeyMismatchError: the key is missing or malformed.

        """
        path = self._keys / "log.vkey"
        try:
            return parse_vkey(path.read_text(encoding="utf-8").removesuffix("\n"))
        except (OSError, MalformedInputError, UnicodeDecodeError) as error:
            message = f"{path} is not this log's public key; bring it back"
            raise KeyMismatchError(message) from error

    def bucket_keys(self) -> BucketKeys:
        """Return the bucket keys.

        Raises:
            KeyMismatchError: the keys are missing, incomplete, or open to other users.
            OperatorError: their file is somebody else's.

        """
        path = self._keys / "index.keys"
        try:
            return BucketKeys(read_secret(path))
        except MalformedInputError as error:
            message = f"{path} is incomplete; bring back this log's bucket keys"
            raise KeyMismatchError(message) from error

    def pepper(self) -> bytes:
        """Return the 32-byte key of API key digests.

        Raises:
            KeyMismatchError: the key is missing or open to other users.
            OperatorError: its file is somebody else's.

        """
        return read_secret(self._keys / "pepper")


@dataclass(frozen=True)
class Location:
    """Where a log is: its data directory, its own PostgreSQL if it does not use the embedded one, its signer's socket."""

    directory: DataDirectory
    database: str | None = None
    admin: str | None = None
    signer_socket: Path | None = None

    def environment(self) -> dict[str, str]:
        """Return the environment for a child process that works on the same log, given its data directory.

        The database's address goes there and not on a command line, which everyone can read: it may hold a password.
        """
        own = {
            "TLOG_DATABASE": self.database,
            "TLOG_SIGNER": None if self.signer_socket is None else str(self.signer_socket.absolute()),
        }
        inherited = {name: value for name, value in os.environ.items() if name not in own}
        return inherited | {name: value for name, value in own.items() if value is not None}


def run_loop(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a program's asynchronous work in a new event loop, uvloop's where there is one."""
    import asyncio  # noqa: PLC0415 - the command line needs this module for its help, which has to be there at once

    if sys.platform == "win32":
        factory = None
    else:
        import uvloop  # noqa: PLC0415 - see above

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(work)


def tune_memory() -> None:
    """Make collections of garbage rare in a process that runs long: the objects it makes by the thousand hold no cycles."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)


def _keep_or_write(path: Path, data: bytes, mode: int) -> None:
    """Write a key file unless there is one; a key that another process wrote meanwhile is kept as well."""
    with suppress(FileExistsError):
        write_once(path, data, mode)


def _check_owner(path: Path, found: os.stat_result) -> None:
    if found.st_uid not in {os.geteuid(), 0}:
        message = (
            f"{path} belongs to the user number {found.st_uid}, and tlog runs as number {os.geteuid()}; run tlog as the owner. "
            "If files were copied, look who could change them meanwhile, and chown them"
        )
        raise OperatorError(message)


def read_secret(path: Path) -> bytes:
    """Return what is in a file that only its owner may read.

    Raises:
        KeyMismatchError: it cannot be read, or is open to other users.
        OperatorError: it is somebody else's.

    """
    try:
        found = path.stat()
        _check_owner(path, found)
        mode = found.st_mode
        if mode & _OTHERS:
            message = (
                f"{path} is open to other users (mode {stat.S_IMODE(mode):04o}); chmod 0400 it and check who read it"
            )
            raise KeyMismatchError(message)
        return path.read_bytes()
    except OSError as error:
        message = f"{path} cannot be read ({error.strerror}); bring back this log's key file"
        raise KeyMismatchError(message) from error
