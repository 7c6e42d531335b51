"""Backups: made while the log runs, verified before they are used, and never a way around the anchor."""

from __future__ import annotations

import asyncio
import json
import os
import shutil

import pytest
from support import ORIGIN, fill, sample_events, start_server, tlog, verify_offline

from tlog.checking.fsck import fsck
from tlog.errors import (
    AnchorMissingError,
    EmbeddedPostgresError,
    KeyMismatchError,
    MalformedInputError,
    NotCheckedError,
    OperatorError,
)
from tlog.keeping.backup import back_up, restore
from tlog.lifecycle.making import create_log
from tlog.lifecycle.opening import open_log
from tlog.lifecycle.running import running
from tlog.location import DataDirectory, Location, utc_now
from tlog.postgres.basebackup import verify_files
from tlog.signing.anchor import Anchor


def test_everything_is_lost_and_comes_back(directory):
    """Back up, go on, lose the database, restore, be refused, recover from a mirror, go on: one history throughout."""
    data, backup, mirror = directory / "data", directory / "backup", directory / "mirror"
    server = start_server(data)
    server.append([json.loads(raw) for raw in sample_events(300, seed=1)])
    server.seal()
    made = json.loads(tlog("backup", backup, "--data", data, "--json").stdout)
    assert made["size"] >= 301
    server.append([json.loads(raw) for raw in sample_events(400, seed=2)])
    server.seal()
    assert server.stop() == 0
    exported = json.loads(tlog("export", "--static", mirror, "--data", data, "--json").stdout)["entries"]
    shutil.rmtree(data / "postgres")

    restored = json.loads(tlog("restore", backup, "--data", data, "--json").stdout)
    assert restored["keys"] is True
    assert made["size"] <= restored["size"] < restored["anchored"] == exported
    refused = tlog("serve", "--port", 0, "--data", data, check=False)
    assert refused.returncode == 5
    assert f"ROLLBACK db={restored['size']} anchor={exported}" in refused.stderr
    assert "tlog recover" in refused.stderr
    done = tlog("recover", "--mirror", mirror, "--data", data).stdout
    assert f"entries {restored['size']} to {exported - 1} came back" in done
    assert "400 of them are events without personal data" in done
    # What was lost is said in an entry that is not sealed yet.
    found = json.loads(tlog("fsck", "--data", data, "--json", check=False).stdout)
    assert (found["verdict"], found["problems"]) == ("incomplete", [])

    again = start_server(data, token=server.token)
    (receipt,) = again.append([json.loads(sample_events(1, seed=3)[0])])
    assert receipt["index"] >= exported
    (known,) = again.append([json.loads(sample_events(400, seed=2)[0])])
    assert known["duplicate"] is True, "a recovered event is known by its eventId"
    again.seal()
    assert again.stop() == 0
    tlog("export", "--static", directory / "after", "--data", data)
    verified = verify_offline("log", "--vkey", server.vkey, "--old", mirror / "checkpoint", directory / "after")
    assert verified.returncode == 0, verified.stdout


@pytest.fixture(scope="module")
def made(module_directory):
    """A data directory with a log of one entry, and a backup of it."""
    data, backup = DataDirectory(module_directory / "data"), module_directory / "backup"
    asyncio.run(create_log(Location(data), ORIGIN))
    asyncio.run(back_up(data, backup, utc_now()))
    return data, backup


async def grow(location):
    async with open_log(location, interval=60, index=False) as log, running(log):
        await fill(log, 5)
        report = await fsck(log.database, log.verifier, log.bucket_keys, Anchor(location.directory.anchor).read)
        assert report.problems == []


def test_restored_on_another_machine(made, directory):
    """Keys and anchor are in no backup of the database; without the anchor nothing can be signed."""
    data, backup = made
    assert sorted(path.name for path in backup.iterdir()) == ["cluster", "tlog-backup.json"]
    other = DataDirectory(directory / "other")
    restored = asyncio.run(restore(other, backup))
    assert (restored.size, restored.anchored, restored.has_keys) == (1, None, False)
    shutil.copytree(data.root / "keys", other.root / "keys", dirs_exist_ok=True)
    with pytest.raises(AnchorMissingError):
        asyncio.run(create_log(Location(other), ORIGIN))
    shutil.copytree(data.root / "anchor", other.root / "anchor", dirs_exist_ok=True)
    asyncio.run(grow(Location(other)))


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def link(path):
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


DAMAGE = {
    "bit of a file": ("PG_VERSION", flip, "PG_VERSION was changed"),
    "end of a file": ("global/pg_control", cut, "global/pg_control was changed"),
    "file missing": ("global/pg_control", os.unlink, "global/pg_control is missing"),
    "file changed for a link": ("PG_VERSION", link, "PG_VERSION is missing or no plain file"),
    "file added": ("recovery.signal", lambda path: path.write_bytes(b""), "recovery.signal is not in its manifest"),
    "link added": ("pg_tblspc/1", lambda path: path.symlink_to("/"), "pg_tblspc/1 is not in its manifest"),
    "link among the WAL": ("pg_wal/1", lambda path: path.symlink_to("/etc"), "pg_wal/1 is a link"),
    "settings changed": ("postgresql.auto.conf", lambda path: path.write_bytes(b"a = 1"), "postgresql.auto.conf was changed"),
    "manifest changed": ("backup_manifest", flip, "backup_manifest is"),
    "manifest missing": ("backup_manifest", os.unlink, "backup_manifest is missing"),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_base_backup_is_found(made, tmp_path, damage):
    path, change, message = DAMAGE[damage]
    copy = shutil.copytree(made[1] / "cluster", tmp_path / "cluster", copy_function=os.link)
    assert verify_files(copy), "the control: unchanged it is accepted"
    target = copy / path
    if target.exists():
        data = target.read_bytes()
        target.unlink()  # not the other name's content too
        target.write_bytes(data)
    change(target)
    with pytest.raises(EmbeddedPostgresError, match=message):
        verify_files(copy)


def wal_cut(backup):
    (wal,) = [path for path in (backup / "cluster" / "pg_wal").iterdir() if path.is_file()]
    data = wal.read_bytes()
    wal.unlink()
    wal.write_bytes(data[:40] + bytes(len(data) - 40))


def other_manifest(backup):
    path = backup / "cluster" / "backup_manifest"
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data + b" ")


def other_description(backup):
    path = backup / "tlog-backup.json"
    document = json.loads(path.read_bytes())
    path.unlink()
    path.write_text(json.dumps({**document, "v": 2}))


def promised_more(backup):
    path = backup / "tlog-backup.json"
    document = json.loads(path.read_bytes())
    path.unlink()
    path.write_text(json.dumps({**document, "size": 99}))


def without_time(backup):
    path = backup / "tlog-backup.json"
    document = json.loads(path.read_bytes())
    path.unlink()
    path.write_text(json.dumps({**document, "takenAt": "yesterday"}))


REFUSED = {
    "no time": (without_time, MalformedInputError, "does not say when"),
    "incomplete": (lambda backup: (backup / "tlog-backup.json").unlink(), NotCheckedError, "not a complete backup"),
    "WAL damaged": (wal_cut, EmbeddedPostgresError, "pg_waldump failed"),
    "other manifest": (other_manifest, OperatorError, "another manifest than when it was made"),
    "other description": (other_description, MalformedInputError, "not the description of a backup"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_backup_is_refused_before_anything_is_made(made, directory, case):
    change, error, message = REFUSED[case]
    copy = shutil.copytree(made[1], directory / "backup", copy_function=os.link)
    change(copy)
    with pytest.raises(error, match=message):
        asyncio.run(restore(DataDirectory(directory / "new"), copy))
    assert not (directory / "new" / "postgres" / "cluster").exists()


def test_backup_that_holds_less_than_it_says(made, directory):
    copy = shutil.copytree(made[1], directory / "backup", copy_function=os.link)
    promised_more(copy)
    with pytest.raises(OperatorError, match="holds 1 entries, the backup says 99"):
        asyncio.run(restore(DataDirectory(directory / "new"), copy))


def test_nothing_is_replaced(made, directory):
    data, backup = made
    with pytest.raises(EmbeddedPostgresError, match="never replaced"):
        asyncio.run(restore(data, backup))
    with pytest.raises(MalformedInputError, match="never written over"):
        asyncio.run(back_up(data, backup, utc_now()))
    other = DataDirectory(directory / "other")
    other.create()
    other.create_keys("example.com/other", bits=0)
    with pytest.raises(KeyMismatchError, match="another log"):
        asyncio.run(restore(other, backup))
    with pytest.raises(OperatorError, match="no embedded database"):
        asyncio.run(back_up(other, directory / "none", utc_now()))
    assert not (directory / "none").exists()
