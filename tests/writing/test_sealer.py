"""Sealing: the order of operations, what it refuses, and that a fork cannot come of it."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from stored import tamper
from support import append, fill, sample_events

from tlog.core.chain import CHAIN_START, chain_hash
from tlog.core.checkpoint import open_checkpoint
from tlog.core.entry import from_microseconds
from tlog.core.merkle import Frontier, leaf_hash
from tlog.errors import DamagedLogError, ForkError, RollbackError, VerificationError
from tlog.signing.anchor import Anchor
from tlog.signing.signer import CheckpointSigner
from tlog.storage.scan import scan
from tlog.storage.sealing import SealStore
from tlog.writing.sealer import Sealer, check_rows

pytestmark = pytest.mark.anyio


async def make_sealer(log, *, clock=None, disguise=lambda signer: signer):
    store = await SealStore.open(log.database)
    signer = CheckpointSigner(Anchor(log.directory.anchor), log.directory.signing_key(), clock or log.clock)
    return Sealer(store, disguise(signer)), store


async def test_checkpoint_is_signed_over_the_root_of_all_entries(opened):
    async with opened() as log:
        await fill(log, 700)
        sealed = await log.reader.latest_checkpoint()
        frontier = Frontier()
        async with scan(log.database) as snapshot:
            async for entries in snapshot.entries(701):
                frontier.extend([leaf_hash(entry) for entry in entries])
    assert (sealed.size, sealed.root) == (701, frontier.root())
    assert open_checkpoint(sealed.note, log.verifier).root == frontier.root()
    anchored = Anchor(log.directory.anchor).read()
    assert (anchored.size, anchored.root, anchored.note) == (701, sealed.root, sealed.note)


async def test_nothing_new_is_no_new_checkpoint(opened):
    async with opened() as log:
        await fill(log, 3)
        before = await log.reader.checkpoints(10**9, 100)
        log.background.request()
        await asyncio.sleep(0.2)
        assert await log.reader.checkpoints(10**9, 100) == before


async def test_a_backlog_larger_than_a_signer_signs_at_once_is_sealed_in_steps(opened, monkeypatch):
    """S2: so a log that was not sealed for long, or never, meets no bound on growth. The control is a sealer without steps."""
    monkeypatch.setattr("tlog.signing.signer.MAX_GROWTH", 8)
    monkeypatch.setattr("tlog.signing.signer.GROWTH_A_SECOND", 0)
    async with opened(sealing="elsewhere") as log:
        await append(log, sample_events(20))
        greedy, store = await make_sealer(log)
        await greedy.recover()
        with pytest.raises(ForkError, match="would grow by 21 entries"):
            await greedy.seal()
        await store.close()
        monkeypatch.setattr("tlog.writing.sealer.MAX_GROWTH", 8)
        sealer, store = await make_sealer(log)
        await sealer.recover()
        assert [(await sealer.seal()).size for _ in range(3)] == [8, 16, 21]
        assert await sealer.seal() is None
        await store.close()


async def test_second_sealer_signs_nothing(opened):
    """Threats 26 and 27: the lock is a courtesy; of two that start from one checkpoint exactly one signs.

    The other one is handed the same note if it saw the same entries, and refused if it saw more.
    """
    async with opened() as log:
        await fill(log, 5)
        one, store_one = await make_sealer(log)
        two, store_two = await make_sealer(log)
        await one.recover()
        await two.recover()
        await append(log, sample_events(3, seed=2))
        sealed = await one.seal()
        assert sealed.size == 9
        assert await two.seal() == sealed
        await append(log, sample_events(1, seed=3))
        assert (await one.seal()).size == 10
        await append(log, sample_events(1, seed=4))
        with pytest.raises(ForkError, match="another sealer"):
            await two.seal()
        await store_one.close()
        await store_two.close()


async def test_anchored_but_unpublished_checkpoint_is_published_at_the_next_start(opened, monkeypatch):
    async with opened() as log:
        await fill(log, 5)
        sealer, store = await make_sealer(log)
        await sealer.recover()
        await append(log, sample_events(3, seed=2))

        async def crash(*_):
            raise KeyboardInterrupt

        monkeypatch.setattr(store, "publish", crash)
        with pytest.raises(KeyboardInterrupt):
            await sealer.seal()
        assert (await log.reader.latest_checkpoint()).size == 6
        again, other_store = await make_sealer(log)
        await again.recover()
        assert (await log.reader.latest_checkpoint()).note == Anchor(log.directory.anchor).read().note
        assert (await log.reader.latest_checkpoint()).size == 9
        await store.close()
        await other_store.close()


async def test_tiles_written_before_a_crash_are_the_same_tiles_afterwards(opened, monkeypatch):
    async with opened() as log:
        await fill(log, 300)
        sealer, store = await make_sealer(log)
        await sealer.recover()
        await append(log, sample_events(300, seed=2))

        async def crash(_):
            raise KeyboardInterrupt

        monkeypatch.setattr(sealer, "_sign", crash)
        with pytest.raises(KeyboardInterrupt):
            await sealer.seal()
        await append(log, sample_events(20, seed=3))
        again, other_store = await make_sealer(log)
        await again.recover()
        assert (await again.seal()).size == 621
        await store.close()
        await other_store.close()


@pytest.mark.parametrize("offset", [timedelta(0), timedelta(milliseconds=-1), timedelta(hours=-1)], ids=str)
async def test_nothing_is_signed_while_the_clock_is_not_later(opened, offset):
    """Threat 29: a frozen clock or one that went back waits; it signs again once it is past the last checkpoint."""
    async with opened() as log:
        await fill(log, 2)
        await append(log, sample_events(2, seed=2))
        last = (await log.reader.latest_checkpoint()).sealed_at
        now = [from_microseconds(last) + offset]
        sealer, store = await make_sealer(log, clock=lambda: now[0])
        await sealer.recover()
        assert await sealer.seal() is None
        assert Anchor(log.directory.anchor).read().size == 3
        # Later than the last checkpoint is not enough: an entry must not be later than the checkpoint that covers it.
        logged_at = (await log.reader.state()).last_logged_at
        now[0] = from_microseconds(logged_at - 1)
        assert await sealer.seal() is None
        now[0] = from_microseconds(logged_at)
        sealed = await sealer.seal()
        assert (sealed.size, sealed.sealed_at) == (5, logged_at)
        await store.close()


DAMAGE = {
    "entry": ("UPDATE leaf SET entry = entry || ' ' WHERE index = 5", DamagedLogError, "entry 5 does not hash"),
    "leaf hash": ("UPDATE leaf SET leaf_hash = set_bit(leaf_hash, 0, 1 - get_bit(leaf_hash, 0)) WHERE index = 6",
                  DamagedLogError, "entry 6 does not hash"),
    "chain": ("UPDATE leaf SET chain_hash = sha256('x') WHERE index = 7", DamagedLogError, "entry 7 does not continue"),
    "row": ("DELETE FROM leaf WHERE index = 6", DamagedLogError, "entry 6 is missing"),
    "last row": ("DELETE FROM leaf WHERE index = 8", DamagedLogError, "entry 8 is missing"),
    "run": ("UPDATE tlog.entry_run SET data = substr(data, 9) WHERE first = 5", DamagedLogError, "the entries 5 to 8 is damaged"),
    "run missing": ("DELETE FROM tlog.entry_run WHERE first = 5", DamagedLogError, "entry 5 is missing"),
    "run there twice": ("INSERT INTO tlog.entry_run SELECT * FROM tlog.entry_run WHERE first = 5", DamagedLogError, "the entries 5 to 8 is damaged"),
    "runs that overlap": ("INSERT INTO tlog.entry_run SELECT 6, logged_at, part, count, data FROM tlog.entry_run WHERE first = 5",
                          DamagedLogError, "two runs hold entry 6"),
    "state": ("UPDATE tlog.log_state SET chain_hash = sha256('x')", DamagedLogError, "does not lead to the log's state"),
    "rollback": ("UPDATE tlog.log_state SET size = 3", RollbackError, "ROLLBACK"),
    "tile": ("UPDATE tlog.tile SET hashes = set_bit(hashes, 9, 1 - get_bit(hashes, 9)) WHERE level = 0",
             ForkError, "another root hash"),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE)
async def test_damage_after_the_last_checkpoint_is_not_signed(opened, database, damage):
    statement, error, message = DAMAGE[damage]
    async with opened() as log:
        await fill(log, 4)
        log.background.stop()  # on a slow machine it would meet the damage too, and end the log
        sealer, store = await make_sealer(log)
        await sealer.recover()
        await append(log, sample_events(4, seed=2))
        with database.connect_admin() as admin:
            tamper(admin, statement)
        with pytest.raises(error, match=message):
            await sealer.seal()
        assert Anchor(log.directory.anchor).read().size == 5
        await store.close()


async def test_logged_at_going_back_is_not_signed():
    rows, chain = [], CHAIN_START
    for index, moment in enumerate((b"2026-01-01T00:00:00.000002Z", b"2026-01-01T00:00:00.000001Z")):
        entry = b'{"loggedAt":"%b"}' % moment
        chain = chain_hash(chain, leaf_hash(entry))
        rows.append((index, entry, leaf_hash(entry), chain))
    with pytest.raises(DamagedLogError, match="entry 1 is logged earlier"):
        check_rows(rows, 0, 2, bytes(32), b"")
    check_rows(rows[:1], 0, 1, bytes(32), b"")


async def test_proof_that_does_not_verify_stops_the_signing(opened, monkeypatch):
    """The consistency proof is checked by the verifier's own code before anything is signed."""
    async with opened() as log:
        await fill(log, 5)
        sealer, store = await make_sealer(log)
        await sealer.recover()
        await append(log, sample_events(3, seed=2))

        def refuse(*_):
            raise VerificationError

        monkeypatch.setattr("tlog.signing.signer.verify_consistency", refuse)
        with pytest.raises(ForkError, match="does not continue the signed one"):
            await sealer.seal()
        assert Anchor(log.directory.anchor).read().size == 6
        await store.close()


class Liar:
    """A signer that hands out something else than it signed."""

    def __init__(self, signer, lie):
        self._signer, self._lie = signer, lie
        self.verifier, self.read = signer.verifier, signer.read

    def sign(self, proposal):
        before = self.read()
        return self._lie(self._signer.sign(proposal), before)


LIES = {
    "nothing": lambda true, _: true,
    "no note": lambda true, _: true._replace(note=b""),
    "the note before": lambda true, before: true._replace(note=before.note),
    "what was signed before": lambda _, before: before,
    "another size": lambda true, _: true._replace(size=8),
    "another root": lambda true, _: true._replace(root=bytes(32)),
    "another chain hash": lambda true, _: true._replace(chain_hash=bytes(32)),
    "another origin": lambda true, _: true._replace(origin="example.com/other"),
    "a forged note": lambda true, _: true._replace(note=true.note.replace(b"\n9\n", b"\n8\n")),
}

# The other lies are no checkpoint of what they come with.
OF_ANOTHER_TREE = {"what was signed before", "another chain hash"}
OTHER_TREE = (
    "^the signer returned a checkpoint of another tree than proposed; nothing was published. "
    "Run 'tlog fsck' and check who else can reach the signer$"
)


@pytest.mark.parametrize("lie", LIES)
async def test_what_a_signer_hands_out_is_checked_before_it_is_published(opened, lie):
    """Threat 30: a signer is not believed either; only "nothing" of a lie is published."""
    async with opened() as log:
        await fill(log, 5)
        sealer, store = await make_sealer(log, disguise=lambda signer: Liar(signer, LIES[lie]))
        await sealer.recover()
        await append(log, sample_events(3, seed=2))
        if lie == "nothing":
            assert (await sealer.seal()).size == 9
        else:
            with pytest.raises(ForkError, match=OTHER_TREE if lie in OF_ANOTHER_TREE else None):
                await sealer.seal()
            assert (await log.reader.latest_checkpoint()).size == 6
        await store.close()
