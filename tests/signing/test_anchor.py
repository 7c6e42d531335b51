"""The anchor: compare-and-set, durable creation, refusal to be replaced."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading

import pytest
from service_scenarios import Filler, small_disk

from tlog.core.chain import CHAIN_START
from tlog.core.merkle import EMPTY_ROOT
from tlog.errors import AnchorMissingError, ForkError, NoSpaceError
from tlog.signing.anchor import Anchor, Anchored

FIRST = Anchored("example.com/log", 0, EMPTY_ROOT, CHAIN_START, b"", 0)


def later(old, size=None, note=b"note"):
    return old._replace(size=old.size + 1 if size is None else size, note=note, sealed_at=old.sealed_at + 1)


@pytest.fixture
def anchor(tmp_path):
    anchor = Anchor(tmp_path / "anchor.sqlite3")
    anchor.create(FIRST)
    return anchor


def test_advance_replaces_what_was_read(anchor):
    assert anchor.read() == FIRST
    anchor.advance(FIRST, later(FIRST))
    assert anchor.read() == later(FIRST)


def test_advance_from_another_state_is_refused_and_changes_nothing(anchor):
    second = later(FIRST)
    anchor.advance(FIRST, second)
    with pytest.raises(ForkError, match="another sealer"):
        anchor.advance(FIRST, later(FIRST, note=b"other"))
    assert anchor.read() == second


@pytest.mark.parametrize(
    "change",
    [{"size": 4}, {"root": b"\1" * 32}, {"note": b"other"}, {"origin": "example.com/other"}],
    ids=lambda change: next(iter(change)),
)
def test_every_column_of_the_old_state_counts(anchor, change):
    second = later(FIRST, size=5)
    anchor.advance(FIRST, second)
    with pytest.raises(ForkError):
        anchor.advance(second._replace(**change), later(second))


def test_it_never_goes_back(anchor):
    second = later(FIRST, size=5)
    anchor.advance(FIRST, second)
    with pytest.raises(ForkError, match="never goes back"):
        anchor.advance(second, later(second, size=4))
    with pytest.raises(ForkError, match="clock"):
        anchor.advance(second, second._replace(size=6))


def test_it_is_never_replaced(anchor):
    with pytest.raises(ForkError, match="never replaced"):
        anchor.create(FIRST)


def test_missing_damaged_and_empty_anchors_are_named(tmp_path):
    path = tmp_path / "anchor.sqlite3"
    with pytest.raises(AnchorMissingError, match="no anchor"):
        Anchor(path).read()
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(AnchorMissingError, match="cannot be read"):
        Anchor(path).read()
    path.unlink()
    Anchor(path).create(FIRST)
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM anchor")
    with pytest.raises(AnchorMissingError, match="empty"):
        Anchor(path).read()


def test_a_column_of_another_type_is_damage(anchor):
    """As one changed byte of the file can make it."""
    anchor.advance(FIRST, later(FIRST))
    with sqlite3.connect(anchor._path) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("UPDATE sqlite_schema SET sql = replace(sql, ') STRICT', ')')")
        connection.execute("PRAGMA writable_schema = RESET")
        connection.execute("UPDATE anchor SET note = 'text'")
    with pytest.raises(AnchorMissingError, match="is damaged"):
        anchor.read()


def test_left_over_of_an_interrupted_creation_does_not_matter(tmp_path):
    (tmp_path / "anchor.new").write_bytes(b"half")
    anchor = Anchor(tmp_path / "anchor.sqlite3")
    anchor.create(FIRST)
    assert anchor.read() == FIRST


def test_of_many_racing_sealers_exactly_one_wins_each_round(anchor):
    """Threat 26, gate R4."""
    current = FIRST
    for _ in range(20):
        winners = []
        barrier = threading.Barrier(4)

        def race(number, old=current, barrier=barrier, winners=winners):
            barrier.wait()
            new = later(old, note=b"by %d" % number)
            try:
                anchor.advance(old, new)
            except ForkError:
                return
            winners.append(new)

        threads = [threading.Thread(target=race, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(winners) == 1
        assert anchor.read() == winners[0]
        current = winners[0]


def test_a_blind_write_would_let_two_win(anchor):
    """The control of the race: without the comparison both sealers believe they signed."""
    for note in (b"one", b"two"):
        with sqlite3.connect(anchor._path) as connection:
            changed = connection.execute("UPDATE anchor SET size = 1, note = ?", (note,)).rowcount
        assert changed == 1


def test_advance_is_on_disk_when_the_process_is_killed(anchor):
    script = (
        "import os, signal, sys; from pathlib import Path; from tlog.signing.anchor import Anchor\n"
        "a = Anchor(Path(sys.argv[1])); old = a.read()\n"
        "a.advance(old, old._replace(size=9, note=b'n', sealed_at=9)); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", script, str(anchor._path)], check=False)
    assert anchor.read().size == 9


def test_one_log_advances_at_one_size_too_but_never_as_another(anchor):
    assert anchor.exists()
    assert not Anchor(anchor._path.with_name("none")).exists()
    same = later(FIRST, size=FIRST.size)
    anchor.advance(FIRST, same)
    with pytest.raises(ForkError):
        anchor.advance(same, later(same)._replace(origin="example.com/other"))
    assert anchor.read() == same


def test_the_file_is_private_durable_and_alone(anchor):
    assert anchor._path.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in anchor._path.parent.iterdir()] == ["anchor.sqlite3"]
    connection = anchor._connect(anchor._path)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
    connection.close()


@pytest.mark.parametrize("kept", [0, 1 << 15], ids=["nothing left", "32 KiB left"])
def test_a_full_disk_is_no_damage_even_if_there_is_space_when_one_looks(tmp_path, monkeypatch, kept):
    """SQLite says it in two ways: for what it writes, and for what its connections share."""
    somewhere = os.statvfs(tmp_path)
    with small_disk(tmp_path / "disk", 4) as disk:
        anchor, filler = Anchor(disk / "anchor.sqlite3"), Filler(disk)
        anchor.create(FIRST)
        filler.leave(kept)
        monkeypatch.setattr("tlog.signing.anchor.os.statvfs", lambda _: somewhere)
        new = FIRST._replace(size=1, note=b"x" * 4000, sealed_at=1)
        with pytest.raises(NoSpaceError, match="make space"):
            anchor.advance(FIRST, new)
        filler.go()
        assert anchor.read() == FIRST
        anchor.advance(FIRST, new)
