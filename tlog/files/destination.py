"""Where a result goes that somebody asked to have written: a new file, an old one, or what only looks like a file.

A regular file is made whole and then takes its name (`tlog.files.durable.making`), so nobody ever reads half of a result. What
already has the name keeps its permissions, and a link stays a link: what the link leads to is replaced. Devices, pipes and what
standard output is open on have no name to take; they are written to as they are.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, BinaryIO, Final

from tlog.files.durable import making

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_STANDARD: Final = (1, 2)


@contextmanager
def open_destination(path: Path, mode: int = 0o600) -> Iterator[BinaryIO]:
    """Yield a file to write a result to; the result is there, whole, when the block ends without an error.

    Args:
        path: a name; its directory exists.
        mode: permissions of a new file, less the umask of the process; an existing one keeps its own.

    Raises:
        OSError: it cannot be written; a regular file is then what it was before. `filename` is the name that was asked for.
        PermissionError: it is somebody else's link, which may lead anywhere.

    """
    if path.is_symlink() and path.lstat().st_uid not in (0, os.geteuid()):
        raise PermissionError(errno.EPERM, "this link is another user's, who may lead it anywhere", str(path))
    try:
        there = path.stat()
    except FileNotFoundError:
        there = None
    if there is not None and not stat.S_ISREG(there.st_mode):
        with _open_special(path) as file:
            yield file
    elif there is not None and (descriptor := _standard(there)) is not None:
        with os.fdopen(os.dup(descriptor), "wb") as file:
            yield file
    else:
        with _replacing(path, there, mode) as file:
            yield file


def write_destination(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Write all of a result to where it shall go; see `open_destination`."""
    with open_destination(path, mode) as file:
        file.write(data)


def _open_special(path: Path) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_WRONLY), "wb")


def _standard(there: os.stat_result) -> int | None:
    """Return the standard stream that is open on a file, None if none is: to replace the file would leave the stream without."""
    for descriptor in _STANDARD:
        with suppress(OSError):  # a program may be started without one
            if os.path.samestat(there, os.fstat(descriptor)):
                return descriptor
    return None


@contextmanager
def _replacing(path: Path, there: os.stat_result | None, mode: int) -> Iterator[BinaryIO]:
    real = path.resolve() if path.is_symlink() else path
    if not real.parent.is_dir():
        # Or the error would name the part that is written first.
        raise FileNotFoundError(errno.ENOENT, "its directory does not exist", str(path))
    with making(real) as partial:
        try:
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        except OSError as error:
            raise OSError(error.errno, os.strerror(error.errno or 0), str(path)) from None
        with os.fdopen(descriptor, "wb") as file:
            if there is not None:
                os.fchmod(descriptor, stat.S_IMODE(there.st_mode))
            yield file
