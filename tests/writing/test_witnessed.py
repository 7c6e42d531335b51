"""Sealing with witnesses: nothing is published without its quorum, nothing new is signed meanwhile, and appending goes on.

The witnesses are real ones; the network between is `witnessing.Streets`, where a test can cut them off.
"""

from __future__ import annotations

import asyncio
import shutil
from contextlib import ExitStack

import psycopg
import pytest
from psycopg import sql
from support import append, fill, sample_events
from witnessing import Streets, witness

from tlog.answering.prove import prove_inclusion, sealed_leaf
from tlog.core.policy import open_witnessed, parse_policy
from tlog.core.tlogproof import parse_inclusion_proof
from tlog.errors import OperatorError, OverloadedError, RollbackError, VerificationError
from tlog.lifecycle.opening import open_log
from tlog.lifecycle.running import running
from tlog.location import Location, utc_now
from tlog.signing.anchor import Anchor
from tlog.signing.outside import Answer
from tlog.signing.signer import CheckpointSigner
from tlog.signing.witnesses import Witnesses, Witnessing
from tlog.storage.sealing import SealStore
from tlog.writing.background import External, Status, _Pace
from tlog.writing.sealer import Sealer

pytestmark = pytest.mark.anyio


class Town:
    """Three witnesses that know a log, and how its operator has it witnessed."""

    def __init__(self, root, log, stack):
        self.streets, self.vkey = Streets(), log.vkey()
        self.witnesses = [
            stack.enter_context(witness(root / f"w{n}", self.vkey, name=f"witness.example/{n}")) for n in range(3)
        ]
        for number, made in enumerate(self.witnesses):
            self.streets.services[f"w{number}.example"] = made.service
            made.service._clock = utc_now

    def cut(self, *numbers):
        self.streets.away = {f"w{number}.example" for number in numbers}

    def text(self, quorum="group G 2 w0 w1 w2\nquorum G\n"):
        lines = [f"witness w{n} {made.vkeys[0]} https://w{n}.example/" for n, made in enumerate(self.witnesses)]
        return "\n".join([f"log {self.vkey}", *lines, quorum])

    def witnessing(self, text=None, **options):
        text = self.text() if text is None else text
        return Witnessing(
            parse_policy(text.encode()), text, **{"every": 0.01, "timeout": 0.05, "alarm": 0.2, **options}
        )

    def sizes(self, origin):
        return [made.state.find(origin)[1].size for made in self.witnesses]


@pytest.fixture
async def town(opened, tmp_path, monkeypatch):
    monkeypatch.setattr("tlog.signing.witnesses._BACKOFF", (0.0,))
    async with opened(sealing="elsewhere") as log:
        verifier = log.verifier
    with ExitStack() as stack:
        made = Town(tmp_path, verifier, stack)
        monkeypatch.setattr("tlog.lifecycle.opening.Outside", lambda _: made.streets)
        yield made


async def until(condition, seconds=30):
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - several things are looked at
            await asyncio.sleep(0.01)


async def until_served(read, condition, seconds=30):
    """Read again and again until what was read is as wanted; return it."""
    async with asyncio.timeout(seconds):
        while not condition(found := await read()):  # noqa: ASYNC110 - a database is asked
            await asyncio.sleep(0.01)
        return found


async def test_every_published_checkpoint_meets_the_policy(opened, town):
    policy = parse_policy(town.text().encode())
    async with opened(witnessing=town.witnessing()) as log:
        for count in (5, 300, 1):
            await fill(log, count, seed=count)
        await until(lambda: log.background.status.witnessing == "ok")
        published = await log.reader.checkpoints(10**9, 100)
        assert [each.size for each in published if each.size > 1] == [307, 306, 6]
        for each in published:
            assert open_witnessed(each.served, policy, log.verifier.name)[1] == each.size
            with pytest.raises(VerificationError, match="do not meet its quorum"):
                open_witnessed(each.note, policy, log.verifier.name)
        leaf, checkpoint = await sealed_leaf(log.reader, 3, None)
        proof = parse_inclusion_proof((await prove_inclusion(log.reader, leaf, checkpoint)).text())
        assert open_witnessed(proof.checkpoint, policy, log.verifier.name).size == 307
        async with log.reader.view() as view:
            position = await view.position(sealed=True)
        assert position.checkpoint.served == checkpoint.served
        assert (await log.reader.checkpoint(307)).served == checkpoint.served
        assert log.witnessing == "required"
        status = log.background.status
        assert (status.witnessed, status.unwitnessed_since) == (307, 0.0)
    assert max(town.sizes(log.verifier.name)) == 307


async def test_lines_are_served_in_the_order_of_the_policy_the_newest_of_each(opened, town):
    async with opened(witnessing=town.witnessing(refresh=0.0)) as log:
        await fill(log, 5)
        names = [f"witness.example/{n}" for n in range(3)]

        def of_all(checkpoint):
            return [line.split(" ")[1] for line in checkpoint.cosignatures.decode().splitlines()] == names

        first = await until_served(log.reader.latest_checkpoint, of_all)
        # Cosigned again, at a later second: each witness's newer line in the place of its older one.
        again = await until_served(
            log.reader.latest_checkpoint,
            lambda found: not set(found.cosignatures.splitlines()) & set(first.cosignatures.splitlines()),
        )
        assert of_all(again)
        assert open_witnessed(again.served, parse_policy(town.text().encode()), log.verifier.name).size == 6


async def test_without_a_quorum_appending_goes_on_and_nothing_is_published_or_signed(opened, town):
    """Fails closed for publishing, never for appending; at most one checkpoint is held."""
    async with opened(witnessing=town.witnessing()) as log:
        await fill(log, 5)
        town.cut(0, 2)
        receipts = await append(log, sample_events(4, seed=2))
        with pytest.raises(OverloadedError, match="is durable, but was not sealed within"):
            await log.wait_sealed(receipts[-1].index, 0.2)
        anchor = Anchor(log.directory.anchor)
        await until(lambda: anchor.read().size == 10)
        held = await asyncio.to_thread(anchor.read)
        for seed in (3, 4):
            receipts = await append(log, sample_events(4, seed=seed))
        await until(lambda: log.background.status.witnessing == "down")
        assert log.background.status.unwitnessed_since > 0
        assert log.background.status.witnesses == {"w0": False, "w1": True, "w2": False}
        assert (await log.reader.latest_checkpoint()).size == 6
        assert await asyncio.to_thread(Anchor(log.directory.anchor).read) == held
        town.cut(2)
        await log.wait_sealed(receipts[-1].index, 30)
        assert [each.size for each in await log.reader.checkpoints(10**9, 9) if each.size > 1] == [18, 10, 6]
        assert town.sizes(log.verifier.name)[2] <= 6, "it was cut off"


async def test_what_was_held_is_witnessed_and_published_after_a_restart(opened, town):
    async with opened(witnessing=town.witnessing()) as log:
        await fill(log, 5)
        town.cut(0, 1, 2)
        await append(log, sample_events(3, seed=2))
        log.background.request()
        await until(lambda: log.background.status.witnessing in {"lags", "down"})
    async with opened(witnessing=town.witnessing()) as log:
        await until(lambda: log.background.status.witnessing in {"lags", "down"})
        assert (await log.reader.latest_checkpoint()).size == 6
        town.cut()
        await log.wait_sealed(8, 30)
        assert open_witnessed(
            (await log.reader.checkpoint(9)).served, parse_policy(town.text().encode()), log.verifier.name
        )


@pytest.mark.parametrize("step", ["gather", "publish", "tend"])
async def test_a_crash_at_any_step_leaves_no_witness_ahead_of_the_anchor(opened, town, monkeypatch, step):
    """Signed and anchored; cosigned; published: wherever it ends, the next start publishes that very checkpoint first."""
    async with opened(sealing="elsewhere") as log:
        anchor = Anchor(log.directory.anchor)

        async def make():
            store = await SealStore.open(log.database)
            witnesses = Witnesses(town.witnessing(), log.verifier, town.streets, log.directory.evidence, log.clock)
            sealer = Sealer(
                store, CheckpointSigner(anchor, log.directory.signing_key(), log.clock), witnesses=witnesses
            )
            await sealer.recover()
            return sealer, store, witnesses

        async def crash(*_, **__):
            raise KeyboardInterrupt

        sealer, store, witnesses = await make()
        await append(log, sample_events(3))
        with monkeypatch.context() as patched:
            target = {"gather": witnesses, "publish": store, "tend": sealer}[step]
            patched.setattr(target, step, crash)
            with pytest.raises(KeyboardInterrupt):
                await sealer.seal()
        await witnesses.close()
        await store.close()
        signed = anchor.read()
        assert signed.size == 4
        assert max(town.sizes(log.verifier.name)) == (0 if step == "gather" else 4)
        published = await log.reader.latest_checkpoint()
        assert (published is None) == (step != "tend")
        await append(log, sample_events(2, seed=2))
        sealer, store, witnesses = await make()
        assert (await sealer.seal()).note == signed.note
        assert (await sealer.seal()).size == 6
        await witnesses.close()
        await store.close()
        assert [each.size for each in await log.reader.checkpoints(10**9, 9)] == [6, 4]


@pytest.fixture
def rolled_back(location, opened, town):
    """Returns what brings back database and anchor as they were at its first call, both together."""
    saved = {}

    def copy(there, name):
        with psycopg.connect(location.admin.replace(f"dbname={there}", "dbname=postgres"), autocommit=True) as admin:
            names = sql.Identifier(name), sql.Identifier(there)
            admin.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(*names))

    def save_or_bring_back():
        name = psycopg.conninfo.conninfo_to_dict(location.admin)["dbname"]
        if not saved:
            copy(name, f"{name}_copy")
            saved["anchor"] = location.directory.root / "anchor.copy"
            shutil.copytree(location.directory.anchor.parent, saved["anchor"])
            return location
        shutil.rmtree(location.directory.anchor.parent)
        shutil.copytree(saved["anchor"], location.directory.anchor.parent)
        other = [text.replace(f"dbname={name}", f"dbname={name}_copy") for text in (location.database, location.admin)]
        return Location(location.directory, *other)

    yield save_or_bring_back
    name = psycopg.conninfo.conninfo_to_dict(location.admin)["dbname"]
    with psycopg.connect(location.admin.replace(f"dbname={name}", "dbname=postgres"), autocommit=True) as admin:
        admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(f"{name}_copy")))


async def run_until_it_ends(location, witnessing, seconds=30):
    """Run a log, to which something is appended, until it ends or says that witnesses contradict it."""
    async with (
        asyncio.timeout(seconds),
        open_log(location, interval=60, index=False, witnessing=witnessing) as log,
        running(log) as task,
    ):
        await append(log, sample_events(2, seed=7))
        log.background.request()
        await until(lambda: task.done() or log.background.status.witnessing == "contradicted")
        return log.background.status


@pytest.mark.parametrize("shown", [True, False])
async def test_database_and_anchor_rolled_back_together_are_noticed(opened, town, rolled_back, shown):
    """Threat A12: nothing else than a witness knows. One that shows nothing makes the log wait, and sign nothing."""
    async with opened(witnessing=town.witnessing()) as log:
        await fill(log, 5)
    rolled_back()
    async with opened(witnessing=town.witnessing()) as log:
        await fill(log, 5, seed=2)
        await until(lambda: set(town.sizes(log.verifier.name)) == {11})
    older = rolled_back()
    before = Anchor(older.directory.anchor).read()
    if shown:
        with pytest.raises(RollbackError, match="ROLLBACK anchor=6 witness=11"):
            await run_until_it_ends(older, town.witnessing())
        assert len(list(older.directory.evidence.iterdir())) == 2
    else:
        town.streets.says = {("GET", f"w{n}.example"): Answer(404, "text/plain", b"") for n in range(3)}
        assert (await run_until_it_ends(older, town.witnessing())).witnessing == "contradicted"
    assert Anchor(older.directory.anchor).read() == before
    assert town.sizes(log.verifier.name) == [11, 11, 11]


async def test_who_was_given_another_policy_or_none_does_not_publish(opened, town, location):
    """A standby must not publish unwitnessed (threat A84)."""
    async with opened(witnessing=town.witnessing()) as log:
        await fill(log, 5)
        before = await log.reader.latest_checkpoint()
    others = [
        Witnessing(None, ""),
        town.witnessing(town.text("quorum w0\n")),
        town.witnessing(mode="collect"),
    ]
    for other in others:
        with pytest.raises(OperatorError, match="published under another policy") as refused:
            await run_until_it_ends(location, other)
        assert refused.value.exit_code == 4
    async with opened() as log:
        assert (await log.reader.latest_checkpoint()).note == before.note
    async with opened(witnessing=town.witnessing(town.text("quorum w0\n"), changed=True)) as log:
        await fill(log, 5, seed=2)
    async with opened(witnessing=town.witnessing(town.text("quorum w0\n"))) as log:
        await fill(log, 1, seed=3)
    async with opened(witnessing=Witnessing(None, "", changed=True)) as log:
        town.cut(0, 1, 2)
        await fill(log, 1, seed=4)
        assert (await log.reader.latest_checkpoint()).cosignatures == b""
    async with opened() as log:
        await fill(log, 1, seed=5)


async def test_a_command_that_was_not_told_leaves_sealing_to_others(opened, town):
    async with opened(witnessing=town.witnessing()) as log:
        await fill(log, 5)
    async with opened() as log:
        assert isinstance(log.background, External)
        receipts = await append(log, sample_events(2, seed=2))
        with pytest.raises(OverloadedError, match="is durable"):
            await log.wait_sealed(receipts[-1].index, 0.1)
    async with opened(witnessing=town.witnessing()) as log:
        await log.wait_sealed(receipts[-1].index, 30)


async def test_collecting_publishes_at_once_and_adds_lines_later(opened, town):
    async with opened(witnessing=town.witnessing(mode="collect")) as log:
        await fill(log, 5)
        town.cut(0, 1, 2)
        await fill(log, 5, seed=2)
        assert (await log.reader.latest_checkpoint()).cosignatures == b""
        town.cut()
        await until_served(lambda: log.reader.checkpoint(11), lambda found: found.cosignatures.count(b"\n") == 3)
        assert log.witnessing == "collect"


async def test_lines_are_append_only(opened, town, database):
    async with opened(witnessing=town.witnessing()) as log:
        await fill(log, 5)
        store = await SealStore.open(log.database)
        try:
            for statement in ("UPDATE tlog.cosignature SET time = 1", "DELETE FROM tlog.witness_policy"):
                with pytest.raises(psycopg.Error):
                    await store._connection.execute(statement)
        finally:
            await store.close()
    with database.connect_admin() as admin, pytest.raises(psycopg.Error, match=r"tlog\.cosignature is append-only"):
        admin.execute("DELETE FROM tlog.cosignature")


def test_witnesses_are_not_asked_more_often_than_said():
    pace = _Pace(5.0, 2.0)
    asked = [
        (0.0, False),
        (1.0, True),
        (1.5, False),
        (2.0, False),
        (3.0, False),
        (6.9, False),
        (7.0, False),
        (8.0, True),
        (9.0, True),
    ]
    assert [pace.is_due(now, requested=requested) for now, requested in asked] == [
        *(True, False, False, True, False),
        *(False, True, False, True),
    ]
    every_time = _Pace(5.0, 0.0)
    assert [every_time.is_due(now, requested=now > 1) for now in (0.0, 1.0, 2.0, 2.1)] == [True, False, True, True]


def test_a_status_without_witnesses_says_nothing_of_them():
    assert Status(sealed=3).witnessing == ""
