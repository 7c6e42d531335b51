"""Connecting as a role: whose fault it is when it fails, told by what the server does and never by what it says."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import socketserver
import struct
import threading

import psycopg
import pytest
from psycopg import AsyncConnection, sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.waiting import Ready, Wait

from tlog.errors import MalformedInputError, OverloadedError, UnreachableError, UnsafeDatabaseError
from tlog.storage.connection import Connection, _at_once, _give_way, is_ended, translated
from tlog.storage.database import Database, _patient, snapshot

pytestmark = pytest.mark.anyio

# What a server in German says to a role that may not be had, and a text in which not even its name is left.
GERMAN = "keine Berechtigung, um Rolle »tlog_reader« zu setzen"
TERSE = "ungültiger Parameterwert"
REFUSED = r"^the database does not let tlog act as tlog_reader; run 'tlog init' as its administrator$"
AWAY = r"^the database \(host [^ ]+, (port [0-9]+, )?user [a-z]+, dbname [a-z0-9_]+\) cannot be reached: [^\n]+$"


@pytest.fixture(params=["connect", "connect_blocking"])
def connect(request):
    """Returns a coroutine function that connects in one of the two ways and tells who it is there, after RESET ROLE."""

    async def connect_in_this_way(conninfo, role="tlog_reader", admin=None):
        database = Database(conninfo, admin)
        if request.param == "connect":
            async with await database.connect(role) as connection:
                await connection.execute("RESET ROLE")
                cursor = await connection.execute("SELECT session_user, current_user")
                return await cursor.fetchone()

        def block():
            with database.connect_blocking(role) as connection:
                connection.execute("RESET ROLE")
                return connection.execute("SELECT session_user, current_user").fetchone()

        return await asyncio.to_thread(block)

    return connect_in_this_way


@contextlib.contextmanager
def altered(database, before, after):
    """Roles belong to the whole server of the tests, so each change is taken back."""
    with database.connect_admin() as admin:
        admin.execute(before)
        try:
            yield
        finally:
            admin.execute(after)


def without_membership(database):
    return altered(database, "REVOKE tlog_reader FROM tlog", "GRANT tlog_reader TO tlog")


def without_role(database):
    there, away = "ALTER ROLE tlog_reader RENAME TO tlog_other", "ALTER ROLE tlog_other RENAME TO tlog_reader"
    return altered(database, there, away)


class Translator(socketserver.ThreadingUnixStreamServer):
    """A door to the real server that puts another text into every error the server answers with.

    Args:
        conninfo: of the real server, over its UNIX socket.
        directory: where the door is to be.
        text: what errors say; None leaves them as they are.
        closed: numbers of the connections, from 0, that end before the server is asked.

    """

    daemon_threads = True
    request_queue_size = 5

    def __init__(self, conninfo, directory, text=None, closed=()):
        self.real = "{host}/.s.PGSQL.{port}".format(**conninfo_to_dict(conninfo))
        self.text, self.closed, self.count = text, closed, 0
        super().__init__(str(directory / ".s.PGSQL.5432"), Door)


class Door(socketserver.BaseRequestHandler):
    def handle(self):
        self.server.count += 1
        if self.server.count - 1 in self.server.closed:
            return
        with socket.socket(socket.AF_UNIX) as real:
            real.connect(self.server.real)
            asking = threading.Thread(target=self.pass_questions, args=(real,))
            asking.start()
            with contextlib.suppress(OSError), real.makefile("rb") as answers:
                while head := answers.read(5):
                    kind, length = struct.unpack(">ci", head)
                    body = answers.read(length - 4)
                    if kind == b"E" and self.server.text is not None:
                        fields = [field for field in body.split(b"\0") if field and field[:1] != b"M"]
                        fields.append(b"M" + self.server.text.encode())
                        body = b"".join(field + b"\0" for field in fields) + b"\0"
                    self.request.sendall(struct.pack(">ci", kind, len(body) + 4) + body)
            with contextlib.suppress(OSError):
                self.request.shutdown(socket.SHUT_RDWR)
            asking.join()

    def pass_questions(self, real):
        with contextlib.suppress(OSError):
            while question := self.request.recv(65536):
                real.sendall(question)
            real.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def serving(server):
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


async def test_the_role_of_a_connection_holds_after_reset_role(connect, database):
    assert await connect(database.service) == ("tlog", "tlog_reader")
    assert await connect(database.service, "tlog_owner", database.admin) == ("postgres", "tlog_owner")


async def test_the_role_of_a_pool_holds_after_reset_role(database):
    async with Database(database.service).pool("tlog_reader", 1) as pool, pool.connection() as connection:
        await connection.execute("RESET ROLE")
        cursor = await connection.execute("SELECT session_user, current_user")
        assert await cursor.fetchone() == ("tlog", "tlog_reader")


async def test_who_waits_for_a_reader_finds_a_server_that_comes_back(database, directory):
    """A pool that gave up tries again only when somebody comes: those who wait would wait in vain."""
    conninfo = make_conninfo(database.service, host=str(directory), port=5432)
    async with Database(conninfo).pool("tlog_reader", 2) as pool:
        waiting = asyncio.create_task(ask(pool))
        await until(lambda: pool.get_stats().get("connections_errors", 0) >= 5)
        with serving(Translator(database.service, directory)):
            assert await waiting == (1,)


async def test_a_pool_for_which_nobody_waits_gives_up(database, directory):
    """The control: an outage without questions is quiet."""
    conninfo = make_conninfo(database.service, host=str(directory), port=5432)
    async with Database(conninfo).pool("tlog_reader", 2) as pool:
        await until(lambda: pool.get_stats().get("connections_errors", 0) == 2)
        await until(lambda: not pool.get_stats()["pool_size"])
        assert pool.get_stats()["connections_errors"] == 2


async def ask(pool):
    async with pool.connection(timeout=60) as connection:
        return await (await connection.execute("SELECT 1")).fetchone()


async def test_a_reader_has_a_minute_for_a_statement_and_a_full_check_has_no_bound(database):
    """S23. The control is a role that writes: what it began is to end."""
    log = Database(database.service)
    for role, bound in (("tlog_reader", "1min"), ("tlog_appender", "0")):
        async with await log.connect(role) as connection:
            cursor = await connection.execute("SHOW statement_timeout")
            assert await cursor.fetchone() == (bound,)
    async with await log.connect("tlog_reader") as connection:
        async with snapshot(connection):
            cursor = await connection.execute("SHOW statement_timeout")
            assert await cursor.fetchone() == ("0",)
        await connection.execute("SET statement_timeout = 50")
        with pytest.raises(OverloadedError, match="QueryCanceled"), translated():
            await connection.execute("SELECT pg_sleep(30)")


@pytest.mark.parametrize("lacking", [without_membership, without_role])
@pytest.mark.parametrize("text", [None, GERMAN, TERSE], ids=["English", "German", "terse"])
async def test_a_role_that_tlog_may_not_have_is_the_operators_matter(connect, database, directory, lacking, text):
    conninfo = make_conninfo(database.service, host=str(directory), port=5432)
    with serving(Translator(database.service, directory, text)) as server:
        assert await connect(conninfo) == ("tlog", "tlog_reader")
        with lacking(database), pytest.raises(UnsafeDatabaseError, match=REFUSED):
            await connect(conninfo)
        assert server.count == 3


async def test_the_administrators_role_is_asked_about_as_the_administrator(connect, database):
    with pytest.raises(UnsafeDatabaseError, match="does not let tlog act as tlog_owner; run"):
        await connect(database.service, "tlog_owner")
    with without_membership(database):
        assert await connect(database.service, "tlog_owner", database.admin) == ("postgres", "tlog_owner")


async def test_a_server_that_is_away_at_an_address_with_role_in_it_is_only_away(connect, database, directory):
    conninfo = make_conninfo(database.service, host=str(directory / "role"))
    with pytest.raises(OverloadedError, match=AWAY) as caught:
        await connect(conninfo)
    assert "role" in str(caught.value.__cause__)


async def test_a_database_of_the_name_role_that_is_missing_is_no_missing_role(connect, database):
    with pytest.raises(UnsafeDatabaseError, match=r'database "role" does not exist\. Waiting does not mend this'):
        await connect(make_conninfo(database.service, dbname="role"))


async def test_a_login_that_is_unknown_is_not_waited_for(connect, database):
    with pytest.raises(UnsafeDatabaseError, match="Waiting does not mend this"):
        await connect(make_conninfo(database.service, user="nobody_here"))


async def test_the_password_is_never_repeated(connect, database):
    away = make_conninfo(database.service, host="127.0.0.1", port=1, password="s3cret")
    with pytest.raises(UnreachableError, match=r"host 127\.0\.0\.1, port 1, user tlog") as caught:
        await connect(away)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "address", ["postgresql://tlog:s3cr/t@db/audit", "nonsense", "host=db colour=red", "postgresql://[::1", "host='db"]
)
def test_what_is_no_address_is_malformed(address):
    for addresses in ((address,), ("host=db", address)):
        with pytest.raises(MalformedInputError, match="the database's address is malformed") as caught:
            Database(*addresses)
        assert "s3cr" not in str(caught.value)


async def test_a_login_role_with_too_many_connections_is_only_overload(connect, database):
    """PostgreSQL says 'too many connections for role "tlog"'."""
    limited = altered(database, "ALTER ROLE tlog CONNECTION LIMIT 0", "ALTER ROLE tlog CONNECTION LIMIT -1")
    with limited, pytest.raises(OverloadedError, match=AWAY) as caught:
        await connect(database.service)
    assert 'role "tlog"' in str(caught.value.__cause__)


@pytest.mark.parametrize("text", [None, GERMAN], ids=["English", "German"])
async def test_a_server_that_goes_away_before_it_is_asked_about_the_role(connect, database, directory, text):
    conninfo = make_conninfo(database.service, host=str(directory), port=5432)
    with serving(Translator(database.service, directory, text, closed={1})) as server, without_membership(database):
        with pytest.raises(OverloadedError, match=AWAY):
            await connect(conninfo)
        assert server.count == 2


async def test_a_server_that_comes_back_before_it_is_asked_about_the_role(connect, database, directory):
    """The connection in which the role was set is not lent: RESET ROLE would end the role there."""
    conninfo = make_conninfo(database.service, host=str(directory), port=5432)
    with serving(Translator(database.service, directory, closed={0})) as server:
        with pytest.raises(OverloadedError, match=AWAY):
            await connect(conninfo)
        assert server.count == 2
        assert await connect(conninfo) == ("tlog", "tlog_reader")


async def test_a_server_that_never_answers_is_not_waited_for_twice(connect, database, directory, monkeypatch):
    monkeypatch.setattr("tlog.storage.database._CONNECT_TIMEOUT", 2)
    path = directory / ".s.PGSQL.5432"
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(path))
        silent.listen()
        with pytest.raises(OverloadedError, match=r"timeout expired$"):
            await connect(make_conninfo(database.service, host=str(directory), port=5432))
        silent.settimeout(0.1)
        with silent.accept()[0], pytest.raises(TimeoutError):
            silent.accept()


def test_how_long_a_machine_may_say_nothing_is_bounded_unless_the_address_says_how_long():
    assert conninfo_to_dict(_patient("host=a"))["connect_timeout"] == "10"
    given = conninfo_to_dict(_patient("postgresql://a,b/audit?connect_timeout=3&tcp_user_timeout=1"))
    assert (given["host"], given["connect_timeout"], given["tcp_user_timeout"]) == ("a,b", "3", "1")
    assert given["keepalives_idle"] == "3"


async def test_no_connection_stays_open_that_was_only_asked(connect, database):
    name = sql.Literal(conninfo_to_dict(database.service)["dbname"])
    query = sql.SQL("SELECT count(*) FROM pg_stat_activity WHERE datname = {} AND usename = 'tlog'").format(name)
    with without_membership(database), database.connect_admin() as admin:
        for _ in range(3):
            with pytest.raises(UnsafeDatabaseError):
                await connect(database.service)
        for _ in range(100):
            if admin.execute(query).fetchone() == (0,):
                return
            await asyncio.sleep(0.02)
        pytest.fail("a connection is still there")


async def until(condition):
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - a server that is asked sets no event
            await asyncio.sleep(0.01)


async def commit_and_stop_waiting(kind, database, standby_away):
    """Stop waiting for a COMMIT that waits for a standby; return what is visible then, and once no standby is needed."""
    with database.connect_admin() as admin:
        count = sql.SQL("SELECT count(*) FROM pg_shdescription WHERE description = 'committed'")
        statement = sql.SQL("COMMENT ON DATABASE {} IS 'committed'").format(sql.Identifier(admin.info.dbname))
        waits = "SELECT count(*) FROM pg_stat_activity WHERE pid = %s AND wait_event = 'SyncRep'"
        connection = await kind.connect(database.admin, autocommit=True)
        pid = connection.info.backend_pid
        task = asyncio.create_task(connection.execute(statement))
        await until(lambda: admin.execute(waits, (pid,)).fetchone() == (1,))
        task.cancel()
        await asyncio.wait([task])
        await connection.close()
        before = admin.execute(count).fetchone()[0]
        standby_away()
        there = "SELECT count(*) FROM pg_stat_activity WHERE pid = %s"
        await until(lambda: admin.execute(there, (pid,)).fetchone() == (0,))
        return before, admin.execute(count).fetchone()[0]


async def test_who_stops_waiting_cancels_no_commit(database, standby_away):
    assert await commit_and_stop_waiting(Connection, database, standby_away) == (0, 1)


async def test_the_drivers_own_connection_cancels_it(database, standby_away):
    """The control: what is on no standby is visible, and would be acknowledged."""
    assert (await commit_and_stop_waiting(AsyncConnection, database, standby_away))[0] == 1


async def test_who_stops_waiting_for_nothing_keeps_the_connection(database):
    async with await Connection.connect(database.service, autocommit=True) as connection:
        with pytest.raises(asyncio.CancelledError):
            await connection.wait(cancelled())
        assert await (await connection.execute("SELECT 1")).fetchone() == (1,)


def cancelled():
    """What the driver waits for, cancelled before anything was sent."""
    raise asyncio.CancelledError
    yield


# --- Waiting ----------------------------------------------------------------------------------------------------------


def statement(*wanted):
    """What the driver does for a statement: waits for these, one after the other; what it was told is its result."""
    told = []
    for each in wanted:
        told += [(yield each)]
    return told


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_what_is_there_is_not_waited_for(pair):
    ours, theirs = pair
    theirs.send(b"x")
    with pytest.raises(StopIteration) as ended:
        next(_at_once(statement(Wait.R, Wait.R), ours.fileno()))
    assert ended.value.value == [Ready.R, Ready.R]


def test_others_have_their_turn_however_much_is_there(pair):
    ours, theirs = pair
    theirs.send(b"x")
    going = _at_once(statement(*[Wait.R] * 100), ours.fileno())
    turns = [next(going), going.send(Ready.R), going.send(Ready.R)]
    assert turns == [Wait.R] * 3
    with pytest.raises(StopIteration) as ended:
        going.send(Ready.R)
    assert ended.value.value == [Ready.R] * 100


@pytest.mark.parametrize("wanted", [Wait.R, Wait.W, Wait.RW])
def test_what_is_not_there_is_waited_for(pair, wanted):
    ours, theirs = pair
    if wanted != Wait.R:
        theirs.send(b"x")
    going = _at_once(statement(wanted), ours.fileno())
    assert next(going) == wanted
    with pytest.raises(StopIteration) as ended:
        going.send(Ready.W)
    assert ended.value.value == [Ready.W]


def test_a_statement_that_fails_fails(pair):
    def failing():
        yield Wait.R
        raise psycopg.OperationalError

    ours, theirs = pair
    theirs.close()  # an end is something to read
    with pytest.raises(psycopg.OperationalError):
        next(_at_once(failing(), ours.fileno()))


# --- Giving way -------------------------------------------------------------------------------------------------------


@pytest.fixture
def niced(monkeypatch):
    """Niceness is not taken back without privileges, so what would be set is noted."""
    set_to = {}
    monkeypatch.setattr(os, "setpriority", lambda _, process, niceness: set_to.update({process: niceness}))
    return set_to


async def test_the_servers_process_gives_way_as_this_process_does(database, niced):
    async with (
        Database(database.service).pool("tlog_reader", 1, gives_way=True) as pool,
        pool.connection() as connection,
    ):
        assert niced == {connection.info.backend_pid: os.getpriority(os.PRIO_PROCESS, 0)}


async def test_a_process_that_only_has_the_same_number_is_left_alone(database, niced):
    """As where PostgreSQL counts its processes in a container of its own."""
    async with await Database(database.service).connect("tlog_reader") as connection:
        _give_way(connection.fileno(), os.getpid())
        _give_way(connection.fileno(), 1 << 22)
    assert niced == {}


async def test_a_server_on_another_machine_is_left_alone(niced):
    """Of a TCP socket the system does not say who is at its other end."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as near:
        _give_way(near.fileno(), 1)
    assert niced == {}


async def test_a_server_that_may_not_be_told_stays_as_it_is(database, monkeypatch):
    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr(os, "setpriority", refuse)
    async with (
        Database(database.service).pool("tlog_reader", 1, gives_way=True) as pool,
        pool.connection() as connection,
    ):
        assert not is_ended(connection)
