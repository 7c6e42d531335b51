"""Writing a file whole, durably or once; `tlog.files` explains the words.

The rename of POSIX replaces a name in one step, and its link refuses an existing one: that is all the art there is. What a
name means must be on disk before the name is, so a durable file is flushed first, then named, then its directory is flushed.

Gate R2 kills a writer at every line of this file and at every system call, and refuses every call.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_PARTIAL: Final = ".new"


def write_whole(path: Path, data: bytes, mode: int = 0o666) -> None:
    """Write a file, or replace it, so that a reader finds the old one or the new one, never half of one.

    Args:
        path: the file; its directory exists.
        data: all of its bytes.
        mode: its permissions, less the umask of the process.

    Raises:
        OSError: the file cannot be written; the old one is still there, and no part of the new one.

    """
    with making(path) as partial:
        _write(partial, data, mode)


def write_durable(path: Path, data: bytes, mode: int = 0o666) -> None:
    """Write a file whole; it and its name are on disk on return.

    Args:
        path: the file; its directory exists.
        data: all of its bytes.
        mode: its permissions, less the umask of the process.

    Raises:
        OSError: as `making` with `durable`.

    """
    with making(path, durable=True) as partial:
        _write(partial, data, mode)


def write_once(path: Path, data: bytes, mode: int = 0o666) -> None:
    """Write a new file durably; of several writers exactly one succeeds.

    Args:
        path: the file; its directory exists.
        data: all of its bytes.
        mode: its permissions, less the umask of the process.

    Raises:
        FileExistsError: the name exists, be it a link that leads nowhere; nothing was changed.
        OSError: as `making` with `once`.

    """
    with making(path, once=True) as partial:
        _write(partial, data, mode)


@contextmanager
def making(path: Path, *, durable: bool = False, once: bool = False) -> Iterator[Path]:
    """Yield a name beside `path`; what the block makes there, a file or a directory, becomes `path` when the block ends.

    The block closes what it opened. A directory replaces nothing but an empty directory.

    Args:
        path: the name in the end; its directory exists.
        durable: what was made, all files of a directory included, and its name are on disk at the end.
        once: durable, and an existing name is refused; for files only.

    Raises:
        FileExistsError: `once`, and the name exists.
        OSError: the name could not be given; what was there before is still there. Only if the very last step failed, the
            flush of the directory, the new file has its name, whole, and nobody knows whether a power failure would lose it.

    """
    if once and os.path.lexists(path):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
    partial = path.with_name(f"{path.name}{_PARTIAL}-{secrets.token_hex(8)}")
    try:
        yield partial
        if durable or once:
            _flush_all(partial)
        if once:
            path.hardlink_to(partial)
        else:
            partial.replace(path)
    finally:
        # After a rename there is none; after a link it is a second name, after an error a part that nobody wants.
        _remove(partial)
    if durable or once:
        _flush(path.parent)


def remove_partials(path: Path) -> None:
    """Remove the partials of `path` that killed writers left, to get their space back.

    The caller holds a lock without which nobody writes `path`: a partial of a living writer would be removed as well.
    """
    for each in list(path.parent.iterdir()):
        if each.name.startswith(f"{path.name}{_PARTIAL}"):
            _remove(each)


def _write(partial: Path, data: bytes, mode: int) -> None:
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)


def _flush_all(path: Path) -> None:
    if path.is_dir():
        for each in path.rglob("*"):
            if not each.is_symlink():
                _flush(each)
    _flush(path)


def _flush(path: Path) -> None:
    # Whichever descriptor is flushed, all of the file goes to disk, and an error that nobody has seen yet is told.
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    # A partial that stays is only space; the error that led here, if any, is what the caller has to know.
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
        return
    with suppress(OSError):
        path.unlink()
