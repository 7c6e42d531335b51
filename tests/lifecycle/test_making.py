"""Making a log: only if asked to, under a name for ever, and whole or not at all."""

from __future__ import annotations

import os
import socket

import pytest
from support import ORIGIN, start_server, tlog

from tlog.errors import MalformedInputError, OperatorError, UnsafeDatabaseError
from tlog.lifecycle.making import create_log
from tlog.lifecycle.opening import check_log_here, open_log
from tlog.location import DataDirectory, Location
from tlog.storage.database import Database

pytestmark = pytest.mark.anyio


def below(directory):
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))


EMPTY = {"missing": "which does not exist", "empty": "which is empty", "foreign": "which holds other files"}


@pytest.mark.parametrize("state", EMPTY)
def test_serving_makes_no_log_unless_asked_to(directory, state):
    """As on the empty directory of a volume that is not mounted."""
    data = directory / "data"
    if state != "missing":
        data.mkdir()
    if state == "foreign":
        (data / "lost+found").mkdir()
    before = below(directory)
    refused = tlog("serve", "--data", data, "--port", "0", check=False)
    assert (refused.returncode, refused.stdout) == (4, "")
    assert f"there is no log in {data}, {EMPTY[state]}. If a volume belongs there, mount it" in refused.stderr
    assert below(directory) == before


def test_a_log_is_made_on_request_and_a_second_request_changes_nothing(directory, server_started):
    data = directory / "data"
    for command in (("serve", "--create"), ("init",)):
        refused = tlog(*command, "--data", data, check=False)
        assert refused.returncode == 2
        assert "--origin" in refused.stderr
        assert below(directory) == []
    first = server_started(data, "--create", "--origin", ORIGIN)
    keys = {path.name: path.read_bytes() for path in (data / "keys").iterdir()}
    again = server_started(data, "--create", "--origin", ORIGIN)
    assert again.vkey == first.vkey
    assert {path.name: path.read_bytes() for path in (data / "keys").iterdir()} == keys


@pytest.fixture
def server_started():
    """Starts a service, learns its public key, and stops it."""

    def start(data, *options):
        server = start_server(data, *options, token="none")
        server.stop()
        return server

    return start


async def test_another_name_than_the_logs_is_refused(directory, location):
    await create_log(location, ORIGIN)
    with pytest.raises(OperatorError, match=rf"is {ORIGIN}, not example\.com/other"):
        await create_log(location, "example.com/other")
    with pytest.raises(OperatorError, match=rf"is {ORIGIN}, not example\.com/other"):
        check_log_here(location, "example.com/other")
    check_log_here(location, ORIGIN)
    check_log_here(location)
    await create_log(location)  # brings the schema up to date; who does not give the name does not change it


async def test_a_log_that_is_half_made_is_completed_under_its_name(location):
    location.directory.create()
    location.directory.create_keys(ORIGIN)
    assert (await create_log(location)).name == ORIGIN
    async with open_log(location) as log:
        assert log.verifier.name == ORIGIN


@pytest.mark.parametrize("name", ["", "two words", "a+b", "x" * 256])
async def test_what_cannot_be_a_name_leaves_nothing(name, location, directory):
    with pytest.raises(MalformedInputError):
        await create_log(location, name)
    assert below(directory) == []


async def test_a_server_that_is_refused_leaves_nothing_of_an_embedded_one(directory, monkeypatch):
    async def refuse(_):
        message = "not this one"
        raise UnsafeDatabaseError(message)

    monkeypatch.setattr(Database, "check_server", refuse)
    (directory / "there").mkdir()
    for data in (directory / "a" / "b", directory / "there"):
        with pytest.raises(UnsafeDatabaseError, match="not this one"):
            await create_log(Location(DataDirectory(data)), ORIGIN)
    assert below(directory) == ["there"]


def test_a_port_that_is_taken_leaves_nothing(directory):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = tlog("serve", "--data", directory / "d", "--create", "--origin", ORIGIN, "--port", port, check=False)
    assert refused.returncode == 4
    assert "cannot listen" in refused.stderr
    assert below(directory) == []


def test_a_missing_anchor_is_not_taken_for_a_missing_privilege(location, database):
    """Keys, anchor, database, privileges: in this order."""
    environment = {**os.environ, "TLOG_DATABASE": location.database, "TLOG_ADMIN_DATABASE": location.admin}
    tlog("init", "--data", location.directory.root, "--origin", ORIGIN, env=environment)
    location.directory.anchor.unlink()
    with database.connect_admin() as admin:
        admin.execute("REVOKE tlog_reader FROM tlog")
    refused = tlog("serve", "--data", location.directory.root, "--port", "0", env=environment, check=False)
    with database.connect_admin() as admin:
        admin.execute("GRANT tlog_reader TO tlog")
    assert refused.returncode == 6
    assert "there is no anchor" in refused.stderr
