"""Where a result goes: new and old files, links, devices, pipes, and what standard output is open on."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from tlog.files import destination
from tlog.files.destination import open_destination, write_destination


def names(directory):
    return sorted(path.name for path in directory.iterdir())


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_file_is_for_its_owner_alone(tmp_path):
    path = tmp_path / "answer.csv"
    write_destination(path, b"new")
    assert (path.read_bytes(), mode(path), names(tmp_path)) == (b"new", 0o600, ["answer.csv"])


@pytest.mark.parametrize("permissions", [0o600, 0o644, 0o640])
def test_an_old_file_keeps_its_permissions(tmp_path, permissions):
    path = tmp_path / "answer.csv"
    path.write_bytes(b"old" * 1000)
    path.chmod(permissions)
    write_destination(path, b"new")
    assert (path.read_bytes(), mode(path), names(tmp_path)) == (b"new", permissions, ["answer.csv"])


def test_an_old_file_stays_if_the_result_is_not_complete(tmp_path):
    path = tmp_path / "answer.csv"
    path.write_bytes(b"old")
    with suppress(KeyError), open_destination(path) as file:
        file.write(b"half")
        raise KeyError
    assert (path.read_bytes(), names(tmp_path)) == (b"old", ["answer.csv"])


@pytest.mark.parametrize("dangling", [False, True])
def test_a_link_stays_a_link(tmp_path, dangling):
    (tmp_path / "there").mkdir()
    target, link = tmp_path / "there" / "answer.csv", tmp_path / "latest.csv"
    link.symlink_to("there/answer.csv")
    if not dangling:
        target.write_bytes(b"old")
    write_destination(link, b"new")
    assert link.is_symlink()
    assert (target.read_bytes(), names(tmp_path), names(target.parent)) == (
        b"new",
        ["latest.csv", "there"],
        ["answer.csv"],
    )


def test_the_link_of_somebody_else_is_not_followed(tmp_path, monkeypatch):
    link = tmp_path / "latest.csv"
    link.symlink_to("answer.csv")
    monkeypatch.setattr(destination.os, "geteuid", lambda: link.lstat().st_uid + 1)
    if link.lstat().st_uid == 0:
        os.lchown(link, 12_345, 12_345)
        monkeypatch.undo()
    with pytest.raises(PermissionError, match="another user's"):
        write_destination(link, b"new")
    assert names(tmp_path) == ["latest.csv"]


def test_a_pipe_is_written_to(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    read = []
    reader = threading.Thread(target=lambda: read.append(path.read_bytes()))
    reader.start()
    write_destination(path, b"new")
    reader.join()
    assert read == [b"new"]
    assert stat.S_ISFIFO(path.stat().st_mode)


def test_a_device_is_written_to_and_stays():
    """The null device of a container may be nobody's to replace; here the other end of a terminal is the device."""
    master, terminal = os.openpty()
    path = Path(os.ttyname(terminal))
    try:
        write_destination(path, b"new")
        assert os.read(master, 10) == b"new"
        assert stat.S_ISCHR(path.stat().st_mode)
    finally:
        os.close(master)
        os.close(terminal)


@pytest.mark.parametrize("append", [False, True])
def test_the_file_that_standard_output_is_open_on_is_not_replaced(tmp_path, append):
    path = tmp_path / "out"
    path.write_bytes(b"before\n")
    code = (
        "from pathlib import Path; from tlog.files.destination import write_destination as w; "
        "w(Path('/dev/stdout'), b'a\\n'); w(Path('/dev/stdout'), b'b\\n')"
    )
    with path.open("ab" if append else "wb") as file:
        subprocess.run([sys.executable, "-c", code], stdout=file, check=True)
    assert path.read_bytes() == (b"before\n" if append else b"") + b"a\nb\n"


def test_a_missing_directory_is_named_and_not_the_part(tmp_path):
    path = tmp_path / "none" / "answer.csv"
    with pytest.raises(FileNotFoundError) as refused:
        write_destination(path, b"new")
    assert (refused.value.filename, refused.value.strerror) == (str(path), "its directory does not exist")


def test_what_refuses_names_the_file_that_was_asked_for(tmp_path, monkeypatch):
    real = os.open

    def refuse(path, *arguments, **options):
        if ".new-" in str(path):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *arguments, **options)

    monkeypatch.setattr(destination.os, "open", refuse)
    with pytest.raises(OSError, match="Permission denied") as refused:
        write_destination(tmp_path / "answer.csv", b"new")
    assert refused.value.filename == str(tmp_path / "answer.csv")


def test_a_directory_is_refused(tmp_path):
    with pytest.raises(IsADirectoryError):
        write_destination(tmp_path, b"new")


def test_without_standard_streams(tmp_path):
    path = tmp_path / "out"
    path.write_bytes(b"old")
    code = f"from pathlib import Path; from tlog.files.destination import write_destination as w; w(Path({str(path)!r}), b'new')"
    subprocess.run(["sh", "-c", f'exec {sys.executable} -c "{code}" >&- 2>&-'], check=True)
    assert path.read_bytes() == b"new"
