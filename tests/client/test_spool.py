"""The spool: numbers that are never given twice, a file for its owner alone, and what happens to a damaged one."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tlog.client.spool import Spool, SpoolError, SpoolFullError, check_source
from tlog.errors import MalformedInputError


@pytest.fixture
def spool(spool_path):
    spools = []

    def open_it(source="ehr-api", **options):
        spools.append(Spool(spool_path, source, **options))
        return spools[-1]

    yield open_it
    for each in spools:
        each.close()


def numbers(spool):
    return [each.seq for each in spool.first(1_000, 1 << 20)[1]]


def test_events_come_out_in_order_with_their_numbers(spool):
    first = spool()
    assert [first.add(f"id-{n}", b'{"n":%d}' % n) for n in range(3)] == [1, 2, 3]
    source_id, events = first.first(2, 1 << 20)
    assert [each.event_id for each in events] == ["id-0", "id-1"]
    assert json.loads(events[1].text(source_id)) == {"n": 1, "source": {"id": source_id, "seq": 2}}
    assert source_id.startswith("ehr-api:")
    assert len(source_id) == len("ehr-api:") + 8


def test_a_number_is_never_given_twice(spool, spool_path):
    first = spool()
    for _ in range(3):
        first.add("id", b"{}")
    first.remove(first.source_id, 3)
    first.close()
    again = spool()
    assert again.source_id == first.source_id
    assert again.add("id", b"{}") == 4
    # The control: without AUTOINCREMENT an emptied table begins again.
    other = sqlite3.connect(":memory:")
    other.execute("CREATE TABLE event (seq INTEGER PRIMARY KEY)")
    assert [other.execute("INSERT INTO event VALUES (NULL)").lastrowid for _ in range(2)] == [1, 2]
    other.execute("DELETE FROM event")
    assert other.execute("INSERT INTO event VALUES (NULL)").lastrowid == 1
    other.close()


def test_a_request_has_a_size_but_at_least_one_event(spool):
    first = spool()
    for _ in range(4):
        first.add("id", b"x" * 1000)
    assert len(first.first(10, 1)[1]) == 1
    assert len(first.first(10, 2_500)[1]) == 2
    assert len(first.first(3, 1 << 20)[1]) == 3
    assert len(first.first(10, 1 << 20)[1]) == 4


def test_refused_events_are_set_aside_with_the_rule(spool):
    first = spool()
    for _ in range(3):
        first.add("id", b"{}")
    first.refuse(first.source_id, [(2, "/action", "not one of the values")])
    assert numbers(first) == [1, 3]
    assert first.refusal(2) == ("/action", "not one of the values")
    assert first.refusal(1) is None
    assert first.state().refused == 1
    first.remove(first.source_id, 3)
    assert first.state()[:1] == (0,)
    assert first.state().oldest is None
    assert first.refusal(2) is not None, "what was refused stays"


def test_a_full_spool_says_so_and_takes_events_again_once_there_is_room(spool):
    first = spool(max_bytes=200_000)
    added = 0
    with pytest.raises(SpoolFullError, match="is full"):  # noqa: PT012 - which of them is one too many is not the point
        while True:
            added = first.add("id", b"x" * 5000)
    assert first.state().size <= 200_000
    assert numbers(first) == list(range(1, added + 1)), "what was recorded is there"
    unbounded = spool()
    unbounded.refuse(unbounded.source_id, [(1, "", "x")])  # the sender may always set aside
    unbounded.remove(unbounded.source_id, added)
    assert first.add("id", b"x" * 5000) == added + 1


def test_the_file_is_for_its_owner_alone(spool, spool_path):
    first = spool()
    first.add("id", b"{}")
    modes = {each.name: each.stat().st_mode & 0o777 for each in spool_path.parent.iterdir()}
    assert set(modes) == {"audit.spool", "audit.spool-wal", "audit.spool-shm", "audit.spool.lock"}
    assert set(modes.values()) == {0o600}


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_file_that_others_can_read_is_refused(spool, spool_path, mode):
    spool_path.touch()
    spool_path.chmod(mode)
    with pytest.raises(SpoolError, match="only its owner can read"):
        spool()


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o1777])
def test_a_directory_that_others_can_write_is_refused(spool, spool_path, mode):
    spool_path.parent.chmod(mode)
    with pytest.raises(SpoolError, match="others can write the directory"):
        spool()


def test_a_link_in_its_place_is_refused(spool, spool_path):
    target = spool_path.with_name("elsewhere")
    target.touch(mode=0o600)
    spool_path.symlink_to(target)
    with pytest.raises(SpoolError, match="only its owner can read"):
        spool()
    assert target.stat().st_size == 0


def test_a_spool_belongs_to_one_source(spool):
    spool()
    with pytest.raises(SpoolError, match="belongs to another source"):
        spool("lab-api")


@pytest.mark.parametrize("source", ["", "-a", "a b", "é", "a" * 120])
def test_what_is_no_source_is_refused(source):
    with pytest.raises(MalformedInputError):
        check_source(source)


def test_a_directory_that_is_not_there_is_named(spool_path):
    with pytest.raises(SpoolError, match="cannot be used"):
        Spool(spool_path.parent / "nowhere" / "a.spool", "ehr-api")


@pytest.mark.parametrize("damage", [b"no database", b"\0" * 8192])
def test_a_damaged_file_is_set_aside_and_the_new_one_knows_the_old_id(spool, spool_path, damage):
    first = spool()
    old = first.source_id
    first.close()
    spool_path.write_bytes(damage)
    second = spool()
    assert second.source_id != old
    assert second._rows("SELECT previous FROM source") == [(old,)]
    assert spool_path.with_name("audit.spool.damaged-1").read_bytes() == damage
    assert second.add("id", b"{}") == 1
    second.close()
    spool_path.write_bytes(damage)
    assert spool().source_id not in (old, second.source_id)
    assert spool_path.with_name("audit.spool.damaged-2").exists()


def test_a_file_that_is_damaged_while_it_is_used_is_replaced_for_everybody(spool, spool_path):
    recorder, other, sending = spool(), spool(), spool()
    for _ in range(500):
        recorder.add("id", b"x" * 2000)
    old = recorder.source_id
    recorder._rows("PRAGMA wal_checkpoint(TRUNCATE)")
    with spool_path.open("r+b") as file:  # every page but the first
        file.seek(4096)
        file.write(b"\xff" * (spool_path.stat().st_size - 4096))
    assert sending.first(1_000, 1 << 20)[1] == []
    assert sending.source_id != old
    assert recorder.add("id", b"{}") == 1
    assert other.add("id", b"{}") == 2
    assert numbers(sending) == [1, 2]
    assert recorder.source_id == other.source_id == sending.source_id
    # Whoever still holds events of the damaged file does not take others of the same numbers away.
    sending.remove(old, 2)
    sending.refuse(old, [(1, "", "x")])
    assert numbers(sending) == [1, 2]
    with pytest.raises(SpoolError, match="set aside before all of its events were sent"):
        recorder.waits(old, 500)


def test_a_file_that_was_removed_is_made_again_with_another_id(spool, spool_path):
    first = spool()
    first.add("id", b"{}")
    spool_path.unlink()
    assert first.add("id", b"{}") == 1
    assert first._rows("SELECT previous FROM source")[0][0] != first.source_id
    assert spool_path.exists()


def test_processes_share_one_sequence(spool, spool_path):
    program = (
        "import sys, pathlib; from tlog.client.spool import Spool\n"
        "spool = Spool(pathlib.Path(sys.argv[1]), 'ehr-api')\n"
        "print(*[spool.add('id', b'{}') for _ in range(200)])"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", program, spool_path], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    theirs = [list(map(int, each.communicate(timeout=60)[0].split())) for each in running]
    assert all(each == sorted(each) for each in theirs)
    assert sorted(theirs[0] + theirs[1]) == list(range(1, 401))
    assert len(numbers(spool())) == 400


def test_what_is_synced_is_all_that_was_written(spool, spool_path, monkeypatch):
    synced = []
    real = os.fsync
    first = spool()
    first.add("id", b"{}")
    monkeypatch.setattr(
        os, "fsync", lambda file: (synced.append(str(Path(f"/proc/self/fd/{file}").readlink())), real(file))
    )
    first.sync_all()
    assert synced == [f"{spool_path}-wal"]
