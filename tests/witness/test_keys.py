"""The directory of a witness: made once, closed to others, and never begun anew over keys that have cosigned."""

from __future__ import annotations

import os
import stat

import pytest

from tlog.core.cosignature import ED25519, ML_DSA_44
from tlog.errors import KeyMismatchError, MalformedInputError, OperatorError, RollbackError
from tlog.witness import keys as module
from tlog.witness.keys import WitnessDirectory


@pytest.fixture
def directory(tmp_path):
    made = WitnessDirectory(tmp_path / "w1")
    made.create("witness.example/w1")
    return made


def test_a_witness_has_a_key_of_each_type(tmp_path, directory):
    keys = directory.read_keys()
    assert [(key.cosigner.name, key.cosigner.kind) for key in keys] == [
        ("witness.example/w1", ED25519),
        ("witness.example/w1", ML_DSA_44),
    ]
    for path in (tmp_path / "w1" / "keys").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o400
    directory.create("witness.example/another")
    assert [key.skey() for key in directory.read_keys()] == [key.skey() for key in keys]


def test_what_was_begun_is_finished(tmp_path, directory):
    (tmp_path / "w1" / "keys" / "mldsa44.skey").unlink()
    assert not directory.exists()
    directory.create("witness.example/w1")
    assert directory.exists()
    directory.state().close()


def test_keys_without_a_memory_are_those_of_a_witness_that_forgot(tmp_path, directory):
    (tmp_path / "w1" / "witness.sqlite3").unlink()
    directory.create("witness.example/w1")
    with pytest.raises(RollbackError, match="ROLLBACK"):
        directory.state()


def test_a_name_is_a_key_name(tmp_path):
    with pytest.raises(MalformedInputError, match="a key name"):
        WitnessDirectory(tmp_path / "w2").create("a b")
    assert not (tmp_path / "w2").exists()


@pytest.mark.parametrize("content", [b"nonsense\n", b"\xff\n"])
def test_a_file_that_is_no_key_is_refused(tmp_path, directory, content):
    path = tmp_path / "w1" / "keys" / "ed25519.skey"
    path.unlink()
    path.write_bytes(content)
    path.chmod(0o400)
    with pytest.raises(KeyMismatchError, match="is no key of a witness"):
        directory.read_keys()


def test_keys_are_closed_to_others_and_belong_together(tmp_path, directory):
    path = tmp_path / "w1" / "keys" / "ed25519.skey"
    path.chmod(0o440)
    with pytest.raises(KeyMismatchError, match="open to other users"):
        directory.read_keys()
    other = WitnessDirectory(tmp_path / "w2")
    other.create("witness.example/w2")
    (tmp_path / "w2" / "keys" / "ed25519.skey").replace(path)
    with pytest.raises(KeyMismatchError, match="different names"):
        directory.read_keys()


def test_a_witness_is_one_process(tmp_path, directory):
    with (
        directory.serving(),
        pytest.raises(OperatorError, match="another process serves"),
        WitnessDirectory(tmp_path / "w1").serving(),
    ):
        pass
    with directory.serving():
        pass


def test_what_was_refused_is_kept_each_once_and_the_newest_of_it(tmp_path, directory, monkeypatch):
    monkeypatch.setattr(module, "_MAX_REJECTED", 3)
    rejected = tmp_path / "w1" / "rejected"
    for number, body in enumerate((b"a", b"b", b"c")):
        directory.reject(body)
        for path in rejected.iterdir():
            if path.read_bytes() == body:
                os.utime(path, ns=(number, number))
    directory.reject(b"a")  # the oldest, seen again
    directory.reject(b"d")
    assert sorted(path.read_bytes() for path in rejected.iterdir()) == [b"a", b"c", b"d"]
