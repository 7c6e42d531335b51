"""The spool: a file of events that were recorded and that the log has not acknowledged yet.

It is one SQLite file in WAL mode, which any number of threads and processes of one user write to. An event's number, `seq`, is
given once and for ever (AUTOINCREMENT: an emptied table would begin at 1 again), and commits have the order of the numbers. With
the spool's source id it becomes the event's member `source`, so that the log knows which numbers it lacks.

What outlives what: a commit is in the kernel's memory, so it outlives its process; with `sync` it is on the disk. `sync_all`
puts all of it on the disk before the first byte is sent. Otherwise a loss of power could take back a number that the log has
already, and the next event would get it.

A file that SQLite finds damaged is set aside under another name, with whatever can still be read of it, and a new one with a
new source id takes its place. Beside the file are `NAME.lock`, held while it is opened or replaced, which keeps the last source
id, and SQLite's own `NAME-wal` and `NAME-shm`.

Left out: network file systems, whose locks SQLite cannot trust; shrinking, because freed pages are used again.
"""

from __future__ import annotations

import fcntl
import os
import re
import sqlite3
import stat
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from .errors_ import MalformedInputError, OverloadedError, TlogError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_Result = TypeVar("_Result")
_SCHEMA: Final = (
    "CREATE TABLE IF NOT EXISTS event (seq INTEGER PRIMARY KEY AUTOINCREMENT, event_id TEXT NOT NULL, body BLOB NOT NULL,"
    " recorded_at REAL NOT NULL)",
    "CREATE TABLE IF NOT EXISTS refused (seq INTEGER PRIMARY KEY, event_id TEXT NOT NULL, body BLOB NOT NULL,"
    " recorded_at REAL NOT NULL, pointer TEXT NOT NULL, rule TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS source (id TEXT NOT NULL, previous TEXT)",
)
_SOURCE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:/-]{0,118}")  # with a colon and eight digits a source id of 128
_BUSY_SECONDS: Final = 5.0
# Who records leaves what the sender does after each of its commits to the sender, unless there is none for long.
_CHECKPOINT_PAGES: Final = 4_000
_SIDES: Final = ("", "-wal", "-shm")
# Held by whoever is within SQLite, which has locks of its own: a process that is forked meanwhile would wait for them for ever.
# It also spares threads of one process SQLite's way to wait for each other, which is to sleep.
_within_sqlite: Final = threading.RLock()
SOURCE_SIZE: Final = len(',"source":{"id":"","seq":9007199254740991}') + 128


class SpoolError(TlogError):
    """The spool cannot be used; the message says why, and what to do."""


class SpoolFullError(OverloadedError):
    """The spool has no room for another event: the log has been away for long, or the disk is full. The event is not recorded."""


class Spooled(NamedTuple):
    """An event in the spool: its number, its eventId, and its JSON text without `source`."""

    seq: int
    event_id: str
    body: bytes

    def text(self, source_id: str) -> bytes:
        """Return the JSON text to be sent, which says where the event is from."""
        return self.body[:-1] + b',"source":{"id":"%b","seq":%d}}' % (source_id.encode(), self.seq)


class State(NamedTuple):
    """How full a spool is: events that wait, bytes in use, when the oldest of them was recorded, how many were refused."""

    depth: int
    size: int
    oldest: float | None
    refused: int


def check_source(source: str) -> None:
    """Check the name of a producer.

    Raises:
        MalformedInputError: it is none.

    """
    if _SOURCE.fullmatch(source) is None:
        message = (
            "the source has 1 to 119 letters, digits and _ . : / - beginning with a letter or digit (it is public)"
        )
        raise MalformedInputError(message)


class Spool:
    """One connection to a spool, for one thread at a time."""

    def __init__(self, path: Path, source: str, *, sync: bool = False, max_bytes: int | None = None) -> None:
        """Open a spool, or make it.

        Args:
            path: of the file.
            source: the producer's name, which the source id begins with.
            sync: whether an event is on the disk once it is added.
            max_bytes: how large the file may become by adding events; None: as large as the disk.

        Raises:
            SpoolError: others could read the file or replace it, it is another producer's, or it cannot be opened.

        """
        self._path = path
        self._source = source
        self._sync = sync
        self._max_bytes = max_bytes
        with _within_sqlite:
            self._open()

    def add(self, event_id: str, body: bytes) -> int:
        """Record an event; return its number.

        Raises:
            SpoolFullError: there is no room for it.
            SpoolError: the spool cannot be written.

        """
        statement = "INSERT INTO event (event_id, body, recorded_at) VALUES (?, ?, ?)"
        return self._run(lambda: self._connection.execute(statement, (event_id, body, time.time())).lastrowid or 0)

    def first(self, count: int, size: int) -> tuple[str, list[Spooled]]:
        """Return the source id, and its oldest events: at most `count` and about `size` bytes, but one if there is one."""

        def read() -> tuple[str, list[Spooled]]:
            found: list[Spooled] = []
            left = size
            cursor = self._connection.execute("SELECT seq, event_id, body FROM event ORDER BY seq LIMIT ?", (count,))
            for each in map(Spooled._make, cursor):
                left -= len(each.body) + SOURCE_SIZE
                if left < 0 and found:
                    break
                found.append(each)
            cursor.close()  # one that is not read to its end would keep what it reads from being freed
            return self.source_id, found

        return self._run(read)

    def sync_all(self) -> None:
        """Put all that was added on the disk, without keeping anybody from adding meanwhile.

        Raises:
            SpoolError: the disk does not take it.

        """
        # What is not in this file any more was synced by SQLite before it took it out.
        try:
            file = os.open(f"{self._path}-wal", os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(file)
            finally:
                os.close(file)
        except FileNotFoundError:
            return
        except OSError as error:
            raise self._unusable(error) from error

    def remove(self, source_id: str, last: int) -> None:
        """Forget the events of a source id up to a number: the log has them."""
        statement = "DELETE FROM event WHERE seq <= ? AND (SELECT id FROM source) = ?"
        self._run(lambda: self._connection.execute(statement, (last, source_id)))

    def refuse(self, source_id: str, refused: Sequence[tuple[int, str, str]]) -> None:
        """Set events of a source id aside that the log refuses, each as number, pointer and rule."""
        mine = "FROM event WHERE seq = ? AND (SELECT id FROM source) = ?"

        def move() -> None:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                for seq, pointer, rule in refused:
                    copied = f"SELECT seq, event_id, body, recorded_at, ?, ? {mine}"
                    self._connection.execute(f"INSERT OR IGNORE INTO refused {copied}", (pointer, rule, seq, source_id))
                    self._connection.execute(f"DELETE {mine}", (seq, source_id))
                self._connection.execute("COMMIT")
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise

        self._run(move)

    def waits(self, source_id: str, last: int) -> bool:
        """Tell whether an event of a source id waits whose number is not above `last`.

        Raises:
            SpoolError: the spool with these events was damaged and set aside.

        """

        def look() -> bool:
            if self.source_id != source_id:
                message = f"the spool {self._path} was damaged and set aside before all of its events were sent"
                raise SpoolError(message)
            return bool(self._rows("SELECT 1 FROM event WHERE seq <= ? LIMIT 1", last))

        return self._run(look)

    def refusal(self, seq: int) -> tuple[str, str] | None:
        """Return pointer and rule of a refused event, None if it was not refused."""
        rows = self._run(lambda: self._rows("SELECT pointer, rule FROM refused WHERE seq = ?", seq))
        return (rows[0][0], rows[0][1]) if rows else None

    def state(self) -> State:
        """Return how full the spool is."""

        def read() -> State:
            # No other number lies between the first and the last, but for those that were refused just now.
            ((first, last, refused),) = self._rows(
                "SELECT (SELECT min(seq) FROM event), (SELECT max(seq) FROM event), (SELECT count(*) FROM refused)"
            )
            pages, free, size = (
                self._rows(f"PRAGMA {name}")[0][0] for name in ("page_count", "freelist_count", "page_size")
            )
            oldest = self._rows("SELECT recorded_at FROM event WHERE seq = ?", first) if first else []
            return State(
                last - first + 1 if first else 0, (pages - free) * size, oldest[0][0] if oldest else None, refused
            )

        return self._run(read)

    def close(self) -> None:
        """Close this connection."""
        with _within_sqlite:
            self._connection.close()

    def forget(self) -> object:
        """Return what must neither be used nor closed in a process that was forked: SQLite forbids both."""
        return self._connection

    # --- Opening and replacing ----------------------------------------------------------------------------------------

    def _rows(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        return self._connection.execute(statement, parameters).fetchall()

    def _run(self, work: Callable[[], _Result]) -> _Result:
        """Return what some work on the file returns; on a new file, if this one turns out to be damaged or gone."""
        with _within_sqlite:
            try:
                if self._identity() != self._opened:
                    self._reopen()
                return work()
            except sqlite3.Error as error:
                if not _is_damage(error):
                    raise self._unusable(error) from error
            self._set_aside()
            try:
                return work()
            except sqlite3.Error as error:
                raise self._unusable(error) from error

    def _open(self) -> None:
        try:
            self._check_directory()
            with self._locked() as last_id:
                self._connect(last_id)
        except OSError as error:
            raise self._unusable(error) from error

    def _connect(self, last_id: Callable[[str | None], str | None]) -> None:
        """Connect, and make what is missing; set aside what is damaged. The lock is held."""
        for _ in range(2):
            self._make_file()
            self._connection = sqlite3.connect(
                str(self._path), timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            try:
                self._prepare(last_id)
            except sqlite3.Error as error:
                self._connection.close()
                if not _is_damage(error):
                    raise self._unusable(error) from error
                self._rename()
                continue
            return
        message = f"the spool {self._path} is damaged and cannot be replaced: remove it and what is named like it"
        raise SpoolError(message)

    def _prepare(self, last_id: Callable[[str | None], str | None]) -> None:
        self._rows("PRAGMA journal_mode = WAL")
        self._rows(f"PRAGMA synchronous = {'FULL' if self._sync else 'NORMAL'}")
        for statement in _SCHEMA:
            self._connection.execute(statement)
        rows = self._rows("SELECT id FROM source")
        if not rows:
            new = f"{self._source}:{os.urandom(4).hex()}"
            self._connection.execute("INSERT INTO source (id, previous) VALUES (?, ?)", (new, last_id(None)))
            rows = [(new,)]
        self.source_id: str = rows[0][0]
        if self.source_id.rpartition(":")[0] != self._source:
            self._connection.close()
            message = f"the spool {self._path} belongs to another source: give each source a file of its own"
            raise SpoolError(message)
        last_id(self.source_id)
        if self._max_bytes is not None:
            size = self._rows("PRAGMA page_size")[0][0]
            self._rows(f"PRAGMA max_page_count = {max(1, self._max_bytes // size)}")
            self._rows(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
        self._opened = self._identity()

    def _make_file(self) -> None:
        """Make the file if there is none, for nobody else to read; look at the one that is there, but never open it.

        A file that is opened and closed beside SQLite takes this process's locks on it away
        (https://sqlite.org/howtocorrupt.html, section 2.2).
        """
        with suppress(FileExistsError):
            os.close(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
            _sync_directory(self._path.parent)
        found = self._path.lstat()
        if not stat.S_ISREG(found.st_mode) or found.st_mode & 0o077 or found.st_uid != os.geteuid():
            message = (
                f"the spool {self._path} has to be a file that only its owner can read (chmod 600), and this user's"
            )
            raise SpoolError(message)

    def _check_directory(self) -> None:
        mode = self._path.parent.stat().st_mode
        if mode & 0o022:
            message = (
                f"others can write the directory {self._path.parent}: put the spool into one that only this user can "
                "write (chmod 700)"
            )
            raise SpoolError(message)

    def _identity(self) -> tuple[int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def _reopen(self) -> None:
        """Go to the file that stands in this one's place."""
        with suppress(sqlite3.Error):
            self._connection.close()
        self._open()

    def _set_aside(self) -> None:
        """Put a new file in the place of a damaged one, unless another process has done that."""
        with suppress(sqlite3.Error):
            self._connection.close()
        try:
            with self._locked() as last_id:
                if self._identity() == self._opened:
                    self._rename()
                self._connect(last_id)
        except OSError as error:
            raise self._unusable(error) from error

    def _rename(self) -> None:
        number = 1
        while Path(f"{self._path}.damaged-{number}").exists():
            number += 1
        for side in _SIDES:
            with suppress(FileNotFoundError):
                Path(f"{self._path}{side}").rename(f"{self._path}.damaged-{number}{side}")

    @contextmanager
    def _locked(self) -> Iterator[Callable[[str | None], str | None]]:
        """Hold the lock for opening; yields a function that keeps the last source id there, and returns the one before."""
        flags = os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
        file = os.open(f"{self._path}.lock", flags, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)

            def last_id(new: str | None) -> str | None:
                old = os.pread(file, 200, 0).decode("ascii", "replace").strip()
                if new is not None and new != old:
                    os.ftruncate(file, 0)
                    os.pwrite(file, f"{new}\n".encode(), 0)
                return old or None

            yield last_id
        finally:
            os.close(file)

    def _unusable(self, error: Exception) -> TlogError:
        if "disk is full" in str(error):
            return SpoolFullError(f"the spool {self._path} is full: the log takes nothing, or the disk is full")
        return SpoolError(f"the spool {self._path} cannot be used ({type(error).__name__}: {error})")


def _is_damage(error: sqlite3.Error) -> bool:
    """Tell whether an error says that the file is none of SQLite's, or not any more; others are classes of their own."""
    return type(error) is sqlite3.DatabaseError


def _sync_directory(path: Path) -> None:
    file = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)


os.register_at_fork(
    before=_within_sqlite.acquire, after_in_parent=_within_sqlite.release, after_in_child=_within_sqlite.release
)
