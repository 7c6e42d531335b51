"""Files whole, durable and once: what a failed, a killed and a concurrent write leave; gate R2 kills at every line."""

from __future__ import annotations

import errno
import os
import stat
import threading
from pathlib import Path

import pytest

from tlog.answering.export import _write
from tlog.core.tile import Tile
from tlog.errors import ForkError
from tlog.files import durable
from tlog.keeping.backup import Backup, _write_description
from tlog.location import DataDirectory
from tlog.postgres.space import Ballast
from tlog.signing.anchor import Anchor, Anchored

WRITERS = (durable.write_whole, durable.write_durable, durable.write_once)
REPLACING = WRITERS[:2]
OLD, NEW = b"old" * 1000, b"new" * 2000


def names(directory):
    return sorted(path.name for path in directory.iterdir())


def refuse(monkeypatch, call, number=1):
    """Let the `number`-th of these calls fail."""
    real, calls = getattr(os, call), []

    def refused(*arguments, **options):
        calls.append(call)
        if len(calls) == number:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(*arguments, **options)

    monkeypatch.setattr(os, call, refused)


def trace(monkeypatch, *calls):
    """Return a list that each of these calls is added to, with the kind of what is flushed."""
    made, real = [], {call: getattr(os, call) for call in calls}
    for call in calls:

        def traced(*arguments, call=call, **options):
            if call == "fsync":
                path = Path(f"/proc/self/fd/{arguments[0]}").readlink()
                made.append(f"fsync {'directory' if path.is_dir() else 'file'}")
            else:
                made.append(call)
            return real[call](*arguments, **options)

        monkeypatch.setattr(os, call, traced)
    return made


@pytest.mark.parametrize("write", WRITERS)
def test_a_new_file_has_all_its_bytes_its_mode_and_no_partial(tmp_path, write):
    for number, mode in enumerate((0o400, 0o444, 0o600, 0o666)):
        path = tmp_path / str(number)
        write(path, NEW, mode)
        assert path.read_bytes() == NEW
        assert stat.S_IMODE(path.stat().st_mode) == mode & ~0o022
    write(tmp_path / "default", b"")
    assert stat.S_IMODE((tmp_path / "default").stat().st_mode) == 0o644
    assert names(tmp_path) == ["0", "1", "2", "3", "default"]


@pytest.mark.parametrize("write", REPLACING)
def test_an_old_file_is_replaced_be_it_read_only_or_open(tmp_path, write):
    path = tmp_path / "file"
    write(path, OLD, 0o400)
    with path.open("rb") as reader:
        write(path, NEW)
        assert reader.read() == OLD
    assert path.read_bytes() == NEW


def test_once_refuses_a_name_that_exists_whatever_it_is(tmp_path):
    (tmp_path / "file").write_bytes(OLD)
    (tmp_path / "directory").mkdir()
    (tmp_path / "link").symlink_to("nowhere")
    before = names(tmp_path)
    for name in before:
        with pytest.raises(FileExistsError, match=name):
            durable.write_once(tmp_path / name, NEW)
    assert names(tmp_path) == before
    assert (tmp_path / "file").read_bytes() == OLD


def test_once_refuses_a_name_that_appeared_while_it_wrote(tmp_path):
    path = tmp_path / "file"

    def make(data):
        with durable.making(path, once=True) as partial:
            path.write_bytes(OLD)
            partial.write_bytes(data)

    with pytest.raises(FileExistsError):
        make(NEW)
    assert names(tmp_path) == ["file"]
    assert path.read_bytes() == OLD


def test_what_is_flushed_before_and_after_the_name(tmp_path, monkeypatch):
    made = trace(monkeypatch, "fsync", "rename", "replace", "link")
    durable.write_whole(tmp_path / "whole", NEW)
    assert made == ["replace"]
    made.clear()
    durable.write_durable(tmp_path / "durable", NEW)
    assert made == ["fsync file", "replace", "fsync directory"]
    made.clear()
    durable.write_once(tmp_path / "once", NEW)
    assert made == ["fsync file", "link", "fsync directory"]


def test_all_of_a_durable_directory_is_flushed_before_its_name(tmp_path, monkeypatch):
    made = trace(monkeypatch, "fsync", "replace")
    with durable.making(tmp_path / "tree", durable=True) as partial:
        (partial / "below").mkdir(parents=True)
        (partial / "below" / "file").write_bytes(NEW)
        (partial / "link").symlink_to("nowhere")
    assert made[-2:] == ["replace", "fsync directory"]
    assert sorted(made[:-2]) == ["fsync directory", "fsync directory", "fsync file"]
    assert (tmp_path / "tree" / "below" / "file").read_bytes() == NEW


@pytest.mark.parametrize(
    "write, call",
    [
        (durable.write_whole, "open"),
        (durable.write_whole, "replace"),
        (durable.write_durable, "open"),
        (durable.write_durable, "fsync"),
        (durable.write_durable, "replace"),
        (durable.write_once, "open"),
        (durable.write_once, "fsync"),
        (durable.write_once, "link"),
    ],
)
def test_a_refused_write_leaves_what_was_there_and_the_next_one_succeeds(tmp_path, monkeypatch, write, call):
    path = tmp_path / "file"
    if write in REPLACING:
        path.write_bytes(OLD)
    before = names(tmp_path)
    with monkeypatch.context() as patch:
        refuse(patch, call)
        with pytest.raises(OSError, match="Input/output error"):
            write(path, NEW)
    assert names(tmp_path) == before
    assert not before or path.read_bytes() == OLD
    write(path, NEW)
    assert path.read_bytes() == NEW


@pytest.mark.parametrize("write", WRITERS[1:])
def test_a_refused_flush_of_the_directory_is_told_and_the_file_is_whole(tmp_path, monkeypatch, write):
    refuse(monkeypatch, "fsync", 2)
    with pytest.raises(OSError, match="Input/output error"):
        write(tmp_path / "file", NEW)
    assert names(tmp_path) == ["file"]
    assert (tmp_path / "file").read_bytes() == NEW


def test_a_partial_that_cannot_be_removed_hides_no_error_and_makes_none(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        refuse(patch, "unlink")
        durable.write_once(tmp_path / "once", NEW)
    with monkeypatch.context() as patch:
        refuse(patch, "unlink")
        refuse(patch, "fsync")
        with pytest.raises(OSError, match="Input/output error"):
            durable.write_durable(tmp_path / "durable", NEW)
    assert (tmp_path / "once").read_bytes() == NEW
    assert not (tmp_path / "durable").exists()


@pytest.mark.parametrize("options", [{}, {"durable": True}, {"once": True}])
def test_a_stream_that_breaks_off_leaves_nothing(tmp_path, options):
    def stream():
        with durable.making(tmp_path / "file", **options) as partial, partial.open("wb") as file:
            file.write(NEW)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stream()
    assert names(tmp_path) == []


def test_a_directory_that_breaks_off_or_finds_another_leaves_nothing(tmp_path):
    target = tmp_path / "tree"

    def make():
        with durable.making(target) as partial:
            (partial / "below").mkdir(parents=True)
            target.mkdir()
            (target / "other").touch()

    with pytest.raises(OSError, match="not empty"):
        make()
    assert [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*"))] == ["tree", "tree/other"]


@pytest.mark.parametrize("write", WRITERS)
def test_left_overs_of_killed_writers_do_not_matter(tmp_path, monkeypatch, write):
    path = tmp_path / "file"
    (tmp_path / "file.new").mkdir()
    (tmp_path / "file.new" / "below").touch(mode=0)
    (tmp_path / f"file.new-{'0' * 16}").write_bytes(b"half")
    write(path, NEW)
    assert path.read_bytes() == NEW
    monkeypatch.setattr("secrets.token_hex", lambda size: "0" * 2 * size)  # a name that is taken is never written into
    path.unlink()
    with pytest.raises(FileExistsError):
        write(path, NEW)
    assert not path.exists()


def test_partials_can_be_removed_and_nothing_else(tmp_path):
    for name in ("cluster", "cluster.new", "cluster.new-0a1b2c3d"):
        (tmp_path / name / "below").mkdir(parents=True)
    (tmp_path / "cluster.new-1").write_bytes(b"")
    (tmp_path / "cluster.new-2").symlink_to("cluster")
    (tmp_path / "new.cluster.new").write_bytes(b"")
    durable.remove_partials(tmp_path / "cluster")
    assert names(tmp_path) == ["cluster", "new.cluster.new"]
    assert (tmp_path / "cluster" / "below").is_dir()


@pytest.mark.parametrize("write", WRITERS)
def test_concurrent_writers_leave_the_whole_file_of_one(tmp_path, write):
    for number in range(20):
        path, texts = tmp_path / str(number), [bytes([65 + each]) * 100_000 * (each + 1) for each in range(4)]
        refused, read, barrier, done = [], [], threading.Barrier(5), threading.Event()

        def run(text, path=path, barrier=barrier, refused=refused):
            barrier.wait()
            try:
                write(path, text)
            except FileExistsError:
                refused.append(text)

        def look(path=path, barrier=barrier, read=read, done=done):
            barrier.wait()
            while not done.is_set():
                if path.exists():
                    read.append(path.read_bytes())

        writers = [threading.Thread(target=run, args=(text,)) for text in texts]
        reader = threading.Thread(target=look)
        for each in (*writers, reader):
            each.start()
        for each in writers:
            each.join()
        done.set()
        reader.join()
        assert set(read) | {path.read_bytes()} <= set(texts)
        assert len(refused) == (3 if write is durable.write_once else 0)
    assert len(names(tmp_path)) == 20


# --- Those who had a way of their own -------------------------------------------------------------------------------


def test_a_tile_is_whole_and_not_flushed(tmp_path, monkeypatch):
    made = trace(monkeypatch, "fsync")
    assert _write(tmp_path, Tile(0, 0, 1), bytes(32))
    assert made == []
    refuse(monkeypatch, "replace")
    refuse(monkeypatch, "rename")
    with pytest.raises(OSError, match="Input/output error"):
        _write(tmp_path, Tile(0, 0, 1), b"x" * 32)
    assert [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()] == [bytes(32)]


def test_the_description_of_a_backup_is_on_disk_with_its_name(tmp_path, monkeypatch):
    made = trace(monkeypatch, "fsync")
    _write_description(
        tmp_path, Backup(**dict.fromkeys(("vkey", "checkpoint", "takenAt", "program", "manifest"), ""), size=0)
    )
    assert made == ["fsync file", "fsync directory"]
    assert len(names(tmp_path)) == 1


def test_a_refused_key_leaves_nothing_and_a_key_of_another_process_is_kept(tmp_path, monkeypatch):
    directory = DataDirectory(tmp_path)
    directory.create()
    with monkeypatch.context() as patch:
        refuse(patch, "fsync")
        with pytest.raises(OSError, match="Input/output error"):
            directory.create_keys("example.com/log", bits=0)
    assert names(tmp_path / "keys") == []
    link = os.link

    def slow(source, target, **options):
        if not Path(target).exists():
            Path(target).write_bytes(b"other")
        link(source, target, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", slow)
        with pytest.raises(Exception, match="open to other users"):
            directory.create_keys("example.com/log", bits=0)
    assert (tmp_path / "keys" / "pepper").read_bytes() == b"other"


def test_an_anchor_that_appears_meanwhile_is_not_replaced(tmp_path, monkeypatch):
    first = Anchored("example.com/log", 0, bytes(32), bytes(32), b"", 0)
    path = tmp_path / "anchor.sqlite3"
    link = os.link

    def late(source, target, **options):
        path.write_bytes(b"other")
        link(source, target, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", late)
        with pytest.raises(ForkError, match="never replaced"):
            Anchor(path).create(first)
    assert names(tmp_path) == ["anchor.sqlite3"]
    path.unlink()
    Anchor(path).create(first)
    assert names(tmp_path) == ["anchor.sqlite3"]
    assert Anchor(path).read() == first


def test_a_refused_ballast_leaves_nothing(tmp_path, monkeypatch):
    refuse(monkeypatch, "posix_fallocate")
    with pytest.raises(OSError, match="Input/output error"):
        Ballast(tmp_path / "ballast").make(4096)
    assert names(tmp_path) == []
    Ballast(tmp_path / "ballast").make(4096)
    assert (tmp_path / "ballast").stat().st_mode & 0o777 == 0o600
