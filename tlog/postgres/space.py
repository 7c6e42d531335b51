"""Space on the disk of the embedded PostgreSQL: how much must stay free, and a ballast to throw off.

PostgreSQL ends when it cannot write its log, and cannot start again until it can. So appending stops while there is still
space, and a file of no use keeps some more: it is deleted when the server cannot run for want of space, which lets it run
again, and made anew when there is enough.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from tlog.files import durable

if TYPE_CHECKING:
    from pathlib import Path

MEGABYTE: Final = 1 << 20
_LARGEST_WAL: Final = 1024
_SMALLEST_WAL: Final = 64
_WAL_PART: Final = 16
_RESERVE_PART: Final = 20
_LARGEST_BALLAST: Final = 128
_SMALLEST_BALLAST: Final = 64
_BALLAST_PART: Final = 8


class Space(NamedTuple):
    """Bytes of a file system: all of them, and those that are free to an ordinary user."""

    total: int
    free: int

    @classmethod
    def of(cls, path: Path) -> Space:
        """Return the space of the file system that holds `path`."""
        found = os.statvfs(path)
        return cls(found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize)

    @property
    def max_wal_size(self) -> int:
        """MB of PostgreSQL's log that are right for a file system of this size: 1 GB, less on a small one."""
        return min(max(self.total // MEGABYTE // _WAL_PART, _SMALLEST_WAL), _LARGEST_WAL)

    @property
    def reserve(self) -> int:
        """Bytes that must stay free: room for twice PostgreSQL's log, at least a twentieth of the whole."""
        return max(2 * self.max_wal_size * MEGABYTE, self.total // _RESERVE_PART)

    @property
    def ballast_size(self) -> int:
        """Bytes of the ballast: 64 to 128 MB."""
        return min(max(self.max_wal_size // _BALLAST_PART, _SMALLEST_BALLAST), _LARGEST_BALLAST) * MEGABYTE


class Ballast:
    """A file that holds space."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def exists(self) -> bool:
        """Tell whether it is there."""
        return self._path.exists()

    def make(self, size: int) -> None:
        """Make it, whole or not at all.

        Raises:
            OSError: there is no space for it.

        """
        with durable.making(self._path) as partial:
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, size)
            finally:
                os.close(descriptor)

    def release(self) -> None:
        """Give its space back."""
        with suppress(FileNotFoundError):
            self._path.unlink()
