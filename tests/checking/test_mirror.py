"""Mirrors are read strictly and within bounds, whoever serves them."""

from __future__ import annotations

import contextlib
import os
import socket
from functools import partial
from itertools import repeat

import pytest
from mirrors import files_below, serving, write_mirror
from support import ORIGIN

from tlog.checking import mirror as module
from tlog.checking.mirror import MAX_CHECKPOINT_SIZE, open_mirror
from tlog.core.checkpoint import open_checkpoint
from tlog.core.merkle import leaf_hash
from tlog.core.note import Signer
from tlog.errors import MalformedInputError, NotCheckedError, OverloadedError

SIGNER = Signer(ORIGIN, bytes(32))
ENTRIES = [b"entry %d" % number for number in range(700)]
HASHES = [leaf_hash(entry) for entry in ENTRIES]


@pytest.fixture(params=["directory", "http"])
def mirror(request, tmp_path):
    write_mirror(tmp_path / "mirror", ENTRIES, SIGNER)
    with contextlib.ExitStack() as stack:
        where = str(tmp_path / "mirror")
        if request.param == "http":
            where = stack.enter_context(serving(files_below(tmp_path / "mirror"))) + "/"
        yield stack.enter_context(open_mirror(where))


def test_everything_is_read(mirror):
    checkpoint = open_checkpoint(mirror.checkpoint(), SIGNER.verifier)
    assert checkpoint.size == 700
    assert mirror.chain()[0] == 700
    read = [*mirror.entries(0), *mirror.entries(1), *mirror.entries(2, 188)]
    assert read == ENTRIES
    assert mirror.tile(0, 2, 188) == b"".join(HASHES[512:])
    assert len(mirror.tile(1, 0, 2)) == 64


def test_what_is_not_there_is_named(mirror, tmp_path):
    with pytest.raises(NotCheckedError, match=r"has no tile/entries/003\.p/1"):
        mirror.entries(3, 1)
    with pytest.raises(NotCheckedError, match="has no tile/2/000"):
        mirror.tile(2, 0)
    for name in ("checkpoint", "chain"):
        (tmp_path / "mirror" / name).unlink()
    assert mirror.chain() is None
    with pytest.raises(NotCheckedError, match="has no checkpoint"):
        mirror.checkpoint()


def test_full_tile_stands_for_the_partial_one_it_replaced(mirror):
    assert mirror.entries(1, 3) == ENTRIES[256:259]
    assert mirror.tile(0, 1, 3) == b"".join(HASHES[256:259])


DAMAGE = {
    "bundle cut": ("tile/entries/000", lambda data: data[:-1], "ends inside entry 255"),
    "bundle with a byte after it": ("tile/entries/000", lambda data: data + b"x", "1 bytes after"),
    "bundle of 257 entries": ("tile/entries/000", lambda data: data + b"\0\1x", "3 bytes after"),
    "bundle too large": ("tile/entries/000", lambda _: bytes(256 * 65_537 + 1), "larger than"),
    "tile cut": ("tile/0/000", lambda data: data[:-1], "has 8191 bytes, not 8192"),
    "tile with another hash": ("tile/0/000", lambda data: data + bytes(32), "larger than the 8,192 bytes"),
    "tile empty": ("tile/0/000", lambda _: b"", "has 0 bytes"),
    "checkpoint too large": ("checkpoint", lambda _: bytes(MAX_CHECKPOINT_SIZE + 1), "larger than"),
    "chain of one line": ("chain", lambda _: b"700\n", "exactly two lines"),
    "chain with a plus": ("chain", lambda data: b"+" + data, "not a decimal number"),
    "chain of 31 bytes": ("chain", lambda _: b"700\n%b==\n" % (b"A" * 42), "chain hash"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_other_forms_are_refused(mirror, tmp_path, damage):
    """Threat 53: exact consumption, and no more memory than the largest valid file."""
    path, change, message = DAMAGE[damage]
    file = tmp_path / "mirror" / path
    file.write_bytes(change(file.read_bytes()))
    readers = {"checkpoint": mirror.checkpoint, "chain": mirror.chain, "tile/0/000": partial(mirror.tile, 0, 0)}
    with pytest.raises(MalformedInputError, match=message):
        readers.get(path, partial(mirror.entries, 0))()


def test_names_and_no_directory(tmp_path):
    with open_mirror(str(tmp_path)) as mirror:
        assert mirror.name == str(tmp_path)
    with pytest.raises(NotCheckedError, match="not a directory"), open_mirror(str(tmp_path / "nothing")):
        pass


def test_things_that_are_no_plain_files(tmp_path):
    """A pipe nobody writes into does not hold us up; a device is not read."""
    os.mkfifo(tmp_path / "checkpoint")
    (tmp_path / "chain").symlink_to("/dev/zero")
    (tmp_path / "tile").write_bytes(b"a file where directories belong")
    with open_mirror(str(tmp_path)) as mirror:
        for read in (mirror.checkpoint, mirror.chain):
            with pytest.raises(MalformedInputError, match="not a plain file"):
                read()
        with pytest.raises(NotCheckedError, match="has no tile/0/000"):
            mirror.tile(0, 0)


@pytest.mark.parametrize(
    "url",
    ["http://example.com/log", "ftp://127.0.0.1/", "file:///etc", "https://", "https://name:secret@example.com/", "https://example.com/?a",
     "https://example.com/#a", "https://exa mple.com", "https://example.com:x", "https://[::1", "https://\texample.com",
     "http://127.0.0.1.example.com", "http://localhost@example.com", "http://127.0.0.1\\@example.com", "https://exämple.com"],
)  # fmt: skip
def test_urls_that_are_refused(url):
    with pytest.raises(MalformedInputError, match="a mirror's URL") as caught, open_mirror(url):
        pass
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
@pytest.mark.parametrize("target", ["/elsewhere", "file:///etc/passwd", "http://127.0.0.1:1/", "../../secret"])
def test_redirects_are_not_followed(status, target):
    asked = []

    def answer(path):
        asked.append(path)
        return status, {"Location": target}, []

    with serving(answer) as url, open_mirror(url) as mirror:
        with pytest.raises(NotCheckedError, match="redirects are not followed"):
            mirror.checkpoint()
        assert asked == ["/checkpoint"]


ANSWERS = {
    "endless": ((200, {}, repeat(bytes(65_536))), MalformedInputError, "larger than"),
    "compressed": ((200, {"Content-Encoding": "gzip"}, [b"\x1f\x8b"]), MalformedInputError, "compressed"),
    "cut": ((200, {"Content-Length": "9"}, [b"abc"]), OverloadedError, "RemoteProtocolError"),
    "failing": ((500, {}, []), OverloadedError, "status 500"),
    "locked": ((403, {}, []), NotCheckedError, "status 403"),
    "partial": ((206, {}, [b"abc"]), NotCheckedError, "status 206"),
}


@pytest.mark.parametrize("kind", ANSWERS)
def test_answers_that_are_refused(kind):
    answer, error, message = ANSWERS[kind]
    with serving(lambda _: answer) as url, open_mirror(url) as mirror, pytest.raises(error, match=message):
        mirror.checkpoint()


def test_one_who_never_ends_is_left(monkeypatch):
    monkeypatch.setattr(module, "_ANSWER_SECONDS", -1.0)
    with (
        serving(lambda _: (200, {}, [b"a", b"b"])) as url,
        open_mirror(url) as mirror,
        pytest.raises(OverloadedError, match="did not arrive"),
    ):
        mirror.checkpoint()


def test_one_who_says_nothing_is_left(monkeypatch):
    monkeypatch.setattr(module, "_WAIT_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with open_mirror(url) as mirror, pytest.raises(OverloadedError, match="ReadTimeout"):
            mirror.checkpoint()
    with open_mirror(url) as mirror, pytest.raises(OverloadedError, match="ConnectError"):
        mirror.checkpoint()
