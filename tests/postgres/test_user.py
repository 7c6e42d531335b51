"""The embedded PostgreSQL's user: made for it alone, never one that was there; what changes hands, and what does not."""

from __future__ import annotations

import os
import pwd
import stat
import subprocess
from pathlib import Path

import psycopg
import pytest

from tlog.errors import EmbeddedPostgresError
from tlog.postgres import user as module
from tlog.postgres.server import EmbeddedPostgres
from tlog.postgres.user import DEFAULT_USER, ServerUser, server_user

NOBODY = ServerUser("nobody", 65_534, 65_534, other=True)
only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root needs another user for PostgreSQL")


class Users:
    """A system's list of users and the program that adds one, as `server_user` sees them."""

    def __init__(self, monkeypatch, *names, works=True, maker="useradd"):
        self.entries = {name: self.entry(name, number) for number, name in enumerate(names, 100)}
        self.works = works
        self.ran = []
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        monkeypatch.setattr(module.pwd, "getpwnam", self.entries.__getitem__)
        monkeypatch.setattr(module.shutil, "which", lambda name, **_: f"/usr/sbin/{name}" if name == maker else None)
        monkeypatch.setattr(module.subprocess, "run", self.run)

    @staticmethod
    def entry(name, number):
        return pwd.struct_passwd((name, "x", number, number, "", "/nonexistent", "/usr/sbin/nologin"))

    def run(self, command, **_):
        self.ran.append(command)
        if self.works:
            self.entries[command[-1]] = self.entry(command[-1], 999)
        return subprocess.CompletedProcess(command, not self.works, "", "useradd: cannot open\n /etc/passwd\n")


@pytest.mark.parametrize("maker", ["useradd", "adduser"])
def test_never_a_user_that_existed_for_something_else(monkeypatch, maker):
    """S8: a machine's own `postgres` would become superuser of the log."""
    users = Users(monkeypatch, "root", "postgres", "pgserver", "nobody", maker=maker)
    assert server_user() == ServerUser("tlog-postgres", 999, 999, other=True)
    assert [(command[0], command[-1]) for command in users.ran] == [(f"/usr/sbin/{maker}", "tlog-postgres")]
    assert server_user().name == "tlog-postgres"
    assert len(users.ran) == 1, "made once"


def test_the_user_that_the_operator_names(monkeypatch):
    users = Users(monkeypatch, "postgres", "log-database")
    assert server_user("log-database").options() == {"user": 101, "group": 101, "extra_groups": []}
    with pytest.raises(EmbeddedPostgresError, match="there is no user logdb"):
        server_user("logdb")
    assert not users.ran


def test_root_by_another_name_is_refused(monkeypatch):
    users = Users(monkeypatch)
    users.entries["toor"] = users.entry("toor", 0)
    with pytest.raises(EmbeddedPostgresError, match="toor is root"):
        server_user("toor")


def test_where_no_user_can_be_made_it_says_what_to_do(monkeypatch):
    """A read-only /etc, or a system without the program: nothing is run as root, and nothing as somebody else."""
    Users(monkeypatch, "postgres", works=False)
    with pytest.raises(EmbeddedPostgresError, match=r"cannot open /etc/passwd.*--postgres-user.*--database") as refused:
        server_user()
    assert refused.value.exit_code == 4
    Users(monkeypatch, "postgres", maker=None)
    with pytest.raises(EmbeddedPostgresError, match=r"no program 'useradd'.*--postgres-user"):
        server_user()


def test_another_process_made_the_user_at_the_same_moment(monkeypatch):
    """Two useradd at once give one name two numbers, one after the other; the second process waits and takes what is there."""
    users = Users(monkeypatch)

    def waited(*_):
        users.entries[DEFAULT_USER] = users.entry(DEFAULT_USER, 998)

    monkeypatch.setattr(module.fcntl, "flock", waited)
    assert server_user().uid == 998
    assert not users.ran


def test_without_root_it_is_the_own_user(monkeypatch, tmp_path):
    entry = Users.entry("alice", 4242)
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    monkeypatch.setattr(module.pwd, "getpwuid", {4242: entry}.__getitem__)
    for given in (None, "alice"):
        assert server_user(given) == ServerUser("alice", 4242, 4242, other=False)
    assert server_user().options() == {}
    server_user().take(-1)  # which is no file
    (tmp_path / "link").symlink_to(tmp_path)
    server_user().give(tmp_path / "link")  # changes nothing
    with pytest.raises(EmbeddedPostgresError, match="only root can"):
        server_user("postgres")
    monkeypatch.setattr(module.pwd, "getpwuid", {}.__getitem__)
    with pytest.raises(EmbeddedPostgresError, match=r"number 4242 has no name.*/etc/passwd"):
        server_user()


# --- What changes hands -------------------------------------------------------------------------------------------------


@pytest.fixture
def given(monkeypatch):
    """The numbers of the files that were given away."""
    numbers = []
    monkeypatch.setattr(os, "fchown", lambda descriptor, *_: numbers.append(os.fstat(descriptor).st_ino))
    return numbers


def test_files_and_directories_of_our_own_are_given(tmp_path, given):
    (tmp_path / "file").touch()
    (tmp_path / "directory").mkdir()
    NOBODY.give(tmp_path / "file")
    NOBODY.give(tmp_path / "directory", directory=True)
    assert given == [(tmp_path / "file").stat().st_ino, (tmp_path / "directory").stat().st_ino]


def test_what_a_link_leads_to_is_not_given(tmp_path, given):
    """S7: chown(2) would follow the link; that is the control."""
    (tmp_path / "theirs").mkdir()
    (tmp_path / "link").symlink_to("theirs")
    (tmp_path / "file").touch()
    for path, directory in (("link", True), ("link", False), ("file", True), ("nothing", False)):
        with pytest.raises(EmbeddedPostgresError, match=f"{path} cannot be given to the user nobody"):
            NOBODY.give(tmp_path / path, directory=directory)
    assert given == []
    assert (tmp_path / "link").stat().st_ino == (tmp_path / "theirs").stat().st_ino, "a path leads there"


def test_what_belongs_to_somebody_else_is_not_given(tmp_path, given, monkeypatch):
    me = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: me + 1)
    with pytest.raises(EmbeddedPostgresError, match="belongs to somebody else"):
        NOBODY.give(tmp_path, directory=True)
    assert given == []


def test_a_directory_of_ones_own(tmp_path, monkeypatch):
    me = os.geteuid()
    mine = ServerUser("me", me, os.getegid(), other=False)
    directory = tmp_path / "directory"
    directory.mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(directory)
    (tmp_path / "file").touch(mode=0o700)
    assert mine.owns(directory)
    assert not any(mine.owns(tmp_path / name) for name in ("link", "file", "nothing"))
    directory.chmod(0o755)
    assert not mine.owns(directory)
    directory.chmod(0o700)
    monkeypatch.setattr(os, "geteuid", lambda: me + 1)
    assert not ServerUser("another", me + 1, 0, other=False).owns(directory)


# --- The server -----------------------------------------------------------------------------------------------------------


@only_root
def test_the_cluster_belongs_to_a_user_of_its_own(directory):
    server = EmbeddedPostgres(directory / "postgres")
    server.create()
    expected = pwd.getpwnam("tlog-postgres").pw_uid
    with server, psycopg.connect(server.conninfo()) as connection:
        assert connection.execute("SELECT current_user").fetchone() == ("tlog",)
        assert Path(f"/proc/{server.postmaster()}").stat().st_uid == expected
    assert {path.lstat().st_uid for path in (directory / "postgres" / "cluster").rglob("*")} == {expected}
    assert not (directory / "postgres" / "user").exists()


@only_root
def test_the_user_that_was_named_is_remembered(directory):
    EmbeddedPostgres(directory / "postgres", user="nobody").create()
    with EmbeddedPostgres(directory / "postgres") as server:
        assert server.user.name == "nobody"
    with EmbeddedPostgres(directory / "postgres", user="nobody") as server:
        assert Path(f"/proc/{server.postmaster()}").stat().st_uid == pwd.getpwnam("nobody").pw_uid
    with pytest.raises(EmbeddedPostgresError, match="made for another user"):
        EmbeddedPostgres(directory / "postgres", user=DEFAULT_USER).start()


@only_root
def test_a_cluster_of_somebody_else_is_not_run(directory):
    """A cluster that was copied with its numbers belongs to whoever has that number here."""
    EmbeddedPostgres(directory / "postgres", user="nobody").create()
    (directory / "postgres" / "user").unlink()
    with pytest.raises(EmbeddedPostgresError, match=r"not a directory of the user tlog-postgres alone.*chown -R"):
        EmbeddedPostgres(directory / "postgres").start()


def test_a_cluster_that_others_can_enter_is_not_run(directory):
    server = EmbeddedPostgres(directory / "postgres")
    server.create()
    cluster = directory / "postgres" / "cluster"
    cluster.chmod(0o755)
    with pytest.raises(EmbeddedPostgresError, match=r"chmod 0700"):
        server.start()
    cluster.chmod(0o700)
    with server:
        pass
    cluster.rename(directory / "elsewhere")
    cluster.symlink_to(directory / "elsewhere")
    with pytest.raises(EmbeddedPostgresError, match="not a directory of the user"):
        server.start()


@pytest.mark.parametrize("kind", ["symbolic", "hard", "pipe", "nothing"])
def test_a_link_in_place_of_the_configuration_is_not_followed(directory, kind):
    """S7: the server's user owns the cluster, and root writes there."""
    server = EmbeddedPostgres(directory / "postgres")
    server.create()
    target, main = directory / "target", directory / "postgres" / "cluster" / "postgresql.conf"
    target.write_text("precious\n")
    main.unlink()
    if kind == "pipe":
        os.mkfifo(main)
    elif kind != "nothing":
        (main.symlink_to if kind == "symbolic" else main.hardlink_to)(target)
    before = target.stat()
    with pytest.raises(EmbeddedPostgresError, match=r"postgresql\.conf (cannot be opened|is no plain file of its own)"):
        server.start()
    after = target.stat()
    assert (target.read_text(), after.st_uid, stat.S_IMODE(after.st_mode)) == (
        "precious\n",
        before.st_uid,
        stat.S_IMODE(before.st_mode),
    )


@pytest.fixture
def far(directory, monkeypatch):
    """A server whose socket is in a directory for temporary files, and that directory."""
    deep = directory / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    temporary = directory / "t"
    temporary.mkdir()
    temporary.chmod(0o1777)
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    server = EmbeddedPostgres(deep / "postgres")
    server.create()
    return server, temporary, deep / "postgres" / "socket.path"


@pytest.mark.parametrize("planted", ["link", "open", "nothing", "file"])
def test_what_stands_where_the_socket_was_is_not_used(far, directory, planted):
    """S7: the pointer leads to a directory for temporary files, where anybody may have put something in the meantime."""
    server, temporary, pointer = far
    old = temporary / pointer.read_text().rpartition("/")[2]
    assert str(old) == pointer.read_text()
    old.rmdir()
    target = directory / "target"
    target.mkdir(mode=0o700)
    owner = target.stat().st_uid
    if planted == "link":
        old.symlink_to(target)
    elif planted == "open":
        old.mkdir()
        old.chmod(0o777)
    elif planted == "file":
        old.touch(mode=0o700)
    with server, psycopg.connect(server.conninfo()) as connection:
        assert connection.execute("SELECT current_user").fetchone() == ("tlog",)
        assert pointer.read_text() != str(old)
    assert target.stat().st_uid == owner
    assert not list(target.iterdir())


def test_the_socket_directory_is_kept_if_it_is_still_ours(far):
    """The control: nobody touched it."""
    server, _, pointer = far
    before = pointer.read_text()
    with server, psycopg.connect(server.conninfo()):
        assert pointer.read_text() == before
