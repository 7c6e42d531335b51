"""The anchor: the last signed checkpoint, kept where the database and its backups cannot take it back.

A small SQLite file in WAL mode with synchronous=FULL, so that `advance` returns only after the new state is on disk.
Every signature is preceded by a compare-and-set here: of two sealers that start from the same checkpoint exactly one
wins, and of a database restored from a backup the anchor says how far it lags. The anchor must not be part of the
database's backups: restored together with the database, the anchor would say that an older copy is the newest.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Final, NamedTuple

from tlog.errors import AnchorMissingError, ForkError, NoSpaceError
from tlog.files import durable

if TYPE_CHECKING:
    from pathlib import Path

_SCHEMA: Final = """
CREATE TABLE anchor (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    origin TEXT NOT NULL,
    size INTEGER NOT NULL CHECK (size >= 0),
    root BLOB NOT NULL CHECK (length(root) = 32),
    chain_hash BLOB NOT NULL CHECK (length(chain_hash) = 32),
    note BLOB NOT NULL,
    sealed_at INTEGER NOT NULL,
    system TEXT NOT NULL,
    timeline INTEGER NOT NULL CHECK (timeline >= 0),
    synchronous INTEGER NOT NULL CHECK (synchronous IN (0, 1))
) STRICT
"""
_SELECT: Final = "SELECT origin, size, root, chain_hash, note, sealed_at, system, timeline, synchronous FROM anchor"
_INSERT: Final = "INSERT INTO anchor VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_ADVANCE: Final = """
UPDATE anchor
SET size = ?, root = ?, chain_hash = ?, note = ?, sealed_at = ?, system = ?, timeline = ?, synchronous = ?
WHERE origin = ? AND size = ? AND root = ? AND note = ? AND sealed_at < ?
"""
_TYPES: Final = (str, int, bytes, bytes, bytes, int, str, int, int)
_FULL: Final = frozenset((sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE))
_BUSY_SECONDS: Final = 10.0


class Anchored(NamedTuple):
    """What was signed last: the signed note (empty before the first), and microseconds since 1970 of the signing.

    `system`, `timeline` and `synchronous` are those of the PostgreSQL that held the log then (`tlog.storage.rows.Primary`); an
    empty system is that of no server yet.
    """

    origin: str
    size: int
    root: bytes
    chain_hash: bytes
    note: bytes
    sealed_at: int
    system: str = ""
    timeline: int = 0
    synchronous: int = 0


class Anchor:
    """The anchor file of one log."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def exists(self) -> bool:
        """Tell whether there is an anchor."""
        return self._path.exists()

    def create(self, first: Anchored) -> None:
        """Write the anchor of a new log, durable on return.

        Raises:
            ForkError: there is an anchor already; replacing it would forget what was signed.

        """
        try:
            with durable.making(self._path, once=True) as partial:
                partial.touch(mode=0o600)
                with closing(self._connect(partial)) as connection:
                    connection.execute("PRAGMA journal_mode = DELETE")
                    connection.execute(_SCHEMA)
                    connection.execute(_INSERT, first)
        except FileExistsError:
            message = f"{self._path} exists already; an anchor is never replaced"
            raise ForkError(message) from None
        with closing(self._connect(self._path)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")

    def read(self) -> Anchored:
        """Return what was signed last.

        Raises:
            AnchorMissingError: there is no anchor, or it cannot be read.
            NoSpaceError: its disk is full.

        """
        if not self._path.exists():
            message = (
                f"there is no anchor at {self._path}, so nothing tells what this log has signed; bring the anchor back "
                "(it is not part of the database's backups), say --signer SOCKET if a signer of its own has it, or start a new "
                "log in another data directory"
            )
            raise AnchorMissingError(message)
        try:
            with closing(self._connect(self._path)) as connection:
                row = connection.execute(_SELECT).fetchone()
        except sqlite3.DatabaseError as error:
            self._check_space(error)
            message = (
                f"the anchor at {self._path} cannot be read ({error}); bring back an intact copy of this same anchor"
            )
            raise AnchorMissingError(message) from error
        if row is None:
            message = f"the anchor at {self._path} is empty; bring back an intact copy of this same anchor"
            raise AnchorMissingError(message)
        if tuple(map(type, row)) != _TYPES:
            # A changed byte of the file can make another type of a column; SQLite checks types only when it writes.
            message = f"the anchor at {self._path} is damaged; bring back an intact copy of this same anchor"
            raise AnchorMissingError(message)
        return Anchored(*row)

    def advance(self, old: Anchored, new: Anchored) -> None:
        """Replace `old` by `new` if and only if `old` is still what the anchor holds; durable on return.

        Raises:
            ForkError: the anchor holds something else (another sealer was faster), or `new` does not lie after `old`.
            NoSpaceError: its disk is full; nothing may be published, and nothing was replaced.
            sqlite3.Error: the disk refused; nothing may be published.

        """
        if new.size < old.size or new.origin != old.origin:
            message = f"the anchor of {old.origin} never goes back from size {old.size} to {new.size}"
            raise ForkError(message)
        values = (*new[1:], old.origin, old.size, old.root, old.note, new.sealed_at)
        try:
            with closing(self._connect(self._path)) as connection:
                changed = connection.execute(_ADVANCE, values).rowcount
        except sqlite3.OperationalError as error:
            self._check_space(error)
            raise
        if changed != 1:
            message = (
                f"the anchor no longer holds the checkpoint of size {old.size} this sealer continues: another sealer "
                "signed meanwhile, or the clock stands still; this process signs nothing more"
            )
            raise ForkError(message)

    def _check_space(self, error: sqlite3.Error) -> None:
        """Tell a full disk from a broken one: the first is mended by making space, and nobody has to look at the anchor."""
        # Others may have made space since; then it is the error's code that tells.
        if getattr(error, "sqlite_errorcode", 0) in _FULL or not os.statvfs(self._path.parent).f_bavail:
            message = f"the disk of the anchor at {self._path} is full; make space on it, and sealing goes on by itself"
            raise NoSpaceError(message) from error

    def _connect(self, path: Path) -> sqlite3.Connection:
        # rw: never create a missing file; autocommit: each statement is one durable transaction.
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=_BUSY_SECONDS, isolation_level=None
        )
        connection.execute("PRAGMA synchronous = FULL")
        return connection
