"""What a witness remembers: of each log the head and the keys, in a SQLite file.

The file is in WAL mode with synchronous=FULL, so that a head is on disk before anybody is told that it was cosigned. One
statement moves a head, from exactly the one that was looked at: of two requests that race one changes a row, the other none.
The file must not be brought back from a backup: a witness that forgot what it cosigned would cosign a second history.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from hashlib import sha256
from typing import TYPE_CHECKING, Final, NamedTuple

from tlog.core.note import parse_vkey
from tlog.errors import MalformedInputError, NotFoundError, RollbackError
from tlog.witness.decide import NEVER, Head

if TYPE_CHECKING:
    from pathlib import Path

    from tlog.core.note import Verifier

_SCHEMA: Final = """
CREATE TABLE log (
    origin TEXT PRIMARY KEY,
    size INTEGER NOT NULL CHECK (size >= 0),
    root BLOB NOT NULL CHECK (length(root) = 32),
    note BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE key (
    origin TEXT NOT NULL REFERENCES log (origin),
    vkey TEXT NOT NULL,
    PRIMARY KEY (origin, vkey)
) STRICT, WITHOUT ROWID;
"""
_ADVANCE: Final = "UPDATE log SET size = ?, root = ?, note = ? WHERE origin = ? AND size = ? AND root = ?"
_BUSY_SECONDS: Final = 10.0


class WitnessedLog(NamedTuple):
    """A log that the witness knows: its name, the largest size that was cosigned, and the keys that may sign for it."""

    origin: str
    size: int
    vkeys: tuple[str, ...]


class WitnessState:
    """The file of one witness; used by one thread at a time."""

    def __init__(self, path: Path) -> None:
        """Open the file.

        Raises:
            RollbackError: it is not there.

        """
        if not path.exists():
            message = (
                f"ROLLBACK: {path} is gone, and with it what this witness cosigned. Bring that file itself back, never an older "
                "copy; if it is lost, begin a new witness in another directory, with another name and keys"
            )
            raise RollbackError(message)
        # Autocommit: each statement is one durable transaction.
        self._connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=rw",
            uri=True,
            timeout=_BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute("PRAGMA foreign_keys = ON")
        self._connection.create_function(
            "sha256", 1, lambda text: sha256(text.encode()).hexdigest(), deterministic=True
        )

    @classmethod
    def create(cls, path: Path) -> None:
        """Make the file of a new witness, which knows no log."""
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.executescript(f"BEGIN;{_SCHEMA}COMMIT;")

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def add_log(self, vkey: str, head: Head = NEVER) -> None:
        """Know a log from now on, from a head on that its operator or an auditor vouches for.

        Raises:
            MalformedInputError: the vkey is none, or the log is known.

        """
        origin = parse_vkey(vkey).name
        try:
            with self._connection:
                self._connection.execute("BEGIN IMMEDIATE")
                self._connection.execute("INSERT INTO log VALUES (?, ?, ?, ?)", (origin, *head, b""))
                self._connection.execute("INSERT INTO key VALUES (?, ?)", (origin, vkey))
        except sqlite3.IntegrityError:
            message = (
                f"this witness knows {origin} already; another key for the log is added with 'tlog witness add-key'"
            )
            raise MalformedInputError(message) from None

    def add_key(self, vkey: str) -> None:
        """Let another key sign for a log.

        Raises:
            MalformedInputError: the vkey is none.
            NotFoundError: the log is not known.

        """
        origin = parse_vkey(vkey).name
        try:
            self._connection.execute("INSERT OR IGNORE INTO key VALUES (?, ?)", (origin, vkey))
        except sqlite3.IntegrityError:
            message = f"this witness does not know {origin}; add the log with 'tlog witness add-log'"
            raise NotFoundError(message) from None

    def remove_key(self, vkey: str) -> None:
        """Let a key sign for its log no longer; the head stays.

        Raises:
            NotFoundError: it is no key of a known log.

        """
        if not self._connection.execute("DELETE FROM key WHERE vkey = ?", (vkey,)).rowcount:
            message = "this witness knows no such key; 'tlog witness logs' lists those it knows"
            raise NotFoundError(message)

    def logs(self) -> list[WitnessedLog]:
        """Return the logs that the witness knows, by name."""
        rows = self._connection.execute("SELECT origin, size FROM log ORDER BY origin").fetchall()
        return [WitnessedLog(origin, size, self._vkeys(origin)) for origin, size in rows]

    def find(self, origin: str) -> tuple[list[Verifier], Head]:
        """Return the keys and the head of a log; no keys if it is not known."""
        row = self._connection.execute("SELECT size, root FROM log WHERE origin = ?", (origin,)).fetchone()
        return [parse_vkey(vkey) for vkey in self._vkeys(origin)], NEVER if row is None else Head(*row)

    def advance(self, origin: str, old: Head, new: Head, note: bytes) -> bool:
        """Move the head of a log from `old` to `new`, on disk on return; tell whether `old` still was its head.

        Args:
            origin: of the log.
            old: the head that was looked at.
            new: the head after it, or the same one.
            note: the checkpoint, with the lines of the log and of this witness.

        """
        return self._connection.execute(_ADVANCE, (*new, note, origin, *old)).rowcount == 1

    def note_of(self, origin_hash: str) -> bytes:
        """Return the newest cosigned checkpoint of the log whose origin has this SHA-256, in lower-case hex.

        Raises:
            NotFoundError: the log is not known, or nothing of it was cosigned.

        """
        row = self._connection.execute("SELECT note FROM log WHERE sha256(origin) = ?", (origin_hash,)).fetchone()
        if row is None or not row[0]:
            message = "this witness has cosigned no checkpoint of such a log"
            raise NotFoundError(message)
        return bytes(row[0])

    def _vkeys(self, origin: str) -> tuple[str, ...]:
        rows = self._connection.execute("SELECT vkey FROM key WHERE origin = ? ORDER BY vkey", (origin,))
        return tuple(vkey for (vkey,) in rows)
