"""The user who runs the embedded PostgreSQL, and how files become that user's.

PostgreSQL refuses to run as root. Where tlog runs as root, the server gets a user that exists for nothing else:
`tlog-postgres`, which tlog makes, or one that the operator names. A user that was there for something else, such as another
server's `postgres`, would make everybody who works as that user the superuser of the log.

A file changes hands by its descriptor and never by its path: whoever can put a link at a path would be given what the link
leads to.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import shutil
import stat
import subprocess
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tlog.errors import EmbeddedPostgresError

if TYPE_CHECKING:
    from pathlib import Path

DEFAULT_USER: Final = "tlog-postgres"
_PATH: Final = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
# shadow-utils, which most systems have, and BusyBox, which Alpine has.
_MAKERS: Final = (
    ("useradd", "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin"),
    ("adduser", "-S", "-D", "-H", "-h", "/nonexistent", "-s", "/sbin/nologin"),
)  # fmt: skip


class ServerUser(NamedTuple):
    """The user who runs the server: `other` if that is another one than this process's, which is root's then."""

    name: str
    uid: int
    gid: int
    other: bool

    def options(self) -> dict[str, Any]:
        """Return the options with which `subprocess` runs a program as this user."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []} if self.other else {}

    def give(self, path: Path, *, directory: bool = False) -> None:
        """Make a file or a directory of this process, or of this user, this user's.

        Raises:
            EmbeddedPostgresError: there is a link at the path, something of another kind, or what belongs to somebody else.

        """
        if not self.other:
            return
        try:
            descriptor = os.open(
                path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | (os.O_DIRECTORY if directory else 0)
            )
        except OSError as error:
            message = f"{path} cannot be given to the user {self.name} ({error.strerror}); look who put it there, and remove it"
            raise EmbeddedPostgresError(message) from error
        try:
            if os.fstat(descriptor).st_uid not in {self.uid, os.geteuid()}:
                message = f"{path} belongs to somebody else, and is not given to the user {self.name}; remove it"
                raise EmbeddedPostgresError(message)
            self.take(descriptor)
        finally:
            os.close(descriptor)

    def take(self, descriptor: int) -> None:
        """Make an open file this user's."""
        if self.other:
            os.fchown(descriptor, self.uid, self.gid)

    def owns(self, path: Path) -> bool:
        """Tell whether there is a directory at the path, no link, which only this user or this process can enter."""
        try:
            found = os.lstat(path)
        except OSError:
            return False
        ours = found.st_uid in {self.uid, os.geteuid()}
        return ours and stat.S_ISDIR(found.st_mode) and stat.S_IMODE(found.st_mode) == stat.S_IRWXU


def server_user(given: str | None = None) -> ServerUser:
    """Return the user who runs the server: this process's; where tlog runs as root, `given` or `tlog-postgres`, made if need be.

    Raises:
        EmbeddedPostgresError: there is no such user and none can be made, or this process cannot become that user.

    """
    if os.geteuid() != 0:
        return _own(given)
    entry = _find(given or DEFAULT_USER)
    if entry is None and given is not None:
        message = f"there is no user {given}; make that user, for PostgreSQL alone, or leave out --postgres-user"
        raise EmbeddedPostgresError(message)
    entry = entry or _make()
    if entry.pw_uid == 0:
        message = (
            f"the user {entry.pw_name} is root, as whom PostgreSQL does not run; name another with --postgres-user"
        )
        raise EmbeddedPostgresError(message)
    return ServerUser(entry.pw_name, entry.pw_uid, entry.pw_gid, other=True)


def _own(given: str | None) -> ServerUser:
    try:
        entry = pwd.getpwuid(os.geteuid())
    except KeyError:
        message = (
            f"the user number {os.geteuid()} has no name, without which PostgreSQL cannot tell who connects; add a line for it "
            "to /etc/passwd, or give --database postgresql://… instead"
        )
        raise EmbeddedPostgresError(message) from None
    if given not in {None, entry.pw_name}:
        message = (
            f"only root can run PostgreSQL as another user; leave out --postgres-user, or run tlog as the user {given}"
        )
        raise EmbeddedPostgresError(message)
    return ServerUser(entry.pw_name, entry.pw_uid, entry.pw_gid, other=False)


def _find(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


def _make() -> pwd.struct_passwd:
    """Make the user. Of two processes that make it at once the second would change the number that the first already uses."""
    descriptor = os.open("/etc", os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        return _find(DEFAULT_USER) or _add()
    finally:
        os.close(descriptor)


def _add() -> pwd.struct_passwd:
    reason = "there is no program 'useradd' here"
    for name, *options in _MAKERS:
        program = shutil.which(name, path=_PATH)
        if program is not None:
            command = [program, *options, DEFAULT_USER]
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
            if (entry := _find(DEFAULT_USER)) is not None:
                return entry
            reason = f"{name} says: {' '.join(done.stderr.split()) or f'exit code {done.returncode}'}"
    message = (
        f"PostgreSQL does not run as root, and its own user '{DEFAULT_USER}' cannot be made ({reason}); make that user as your "
        "system wants it, name one that exists for this alone with --postgres-user, run tlog as another user than root, or "
        "give --database postgresql://… of your own server"
    )
    raise EmbeddedPostgresError(message)
