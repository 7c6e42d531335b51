"""What a log publishes follows from its events, salts and clock alone, however the database keeps it."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest
from support import ORIGIN, rich_events, sample_events

from tlog.answering.evidence import make_evidence
from tlog.answering.export import export_events, export_static
from tlog.answering.prove import event_file, prove_consistency, prove_inclusion
from tlog.answering.query import Searcher
from tlog.core.chain import CHAIN_START
from tlog.core.evidence import format_evidence
from tlog.core.making.bucket_keys import BucketKeys
from tlog.core.making.drafts import draft_entries, draft_index_keys, salt_size
from tlog.core.making.parsing import parse_batch
from tlog.core.making.tiling import TILING
from tlog.core.merkle import EMPTY_ROOT
from tlog.core.note import Signer
from tlog.core.question import Question
from tlog.signing.anchor import Anchor, Anchored
from tlog.signing.signer import CheckpointSigner
from tlog.storage.appending import AppendStore
from tlog.storage.database import Database
from tlog.storage.index import IndexStore
from tlog.storage.reading import ReadStore
from tlog.storage.sealing import SealStore
from tlog.writing.appender import Appender
from tlog.writing.indexer import FreshKeys, Indexer
from tlog.writing.sealer import Sealer

pytestmark = pytest.mark.anyio

# Made by this test when the database still kept entries and disclosures in rows of their own.
PUBLISHED = "266707493231e379ef9848be179374e60d63b0f6f77586ff1807a95dc1136c0c"
DISCLOSED = "6a1f611edfc21b3643b6d62b40d182c8fcb257ba4867a9e468c0b317c8a5958f"
START = datetime(2026, 11, 24, 5, 12, tzinfo=UTC)


def drafts(keys, raws, seed):
    events = parse_batch(raws)
    return draft_entries(events, keys, random.Random(seed).randbytes(salt_size(events)), "local")


async def grow(base, keys, signer, now):
    """Make a log of 1,012 entries in groups of all kinds, sealed and indexed now and then."""
    store, sealing, indexing = AppendStore(base), await SealStore.open(base), await IndexStore.open(base)
    await store.initialise(ORIGIN)
    appender = Appender(store, lambda: now[0])
    running = asyncio.create_task(appender.run())
    fresh = FreshKeys()
    sealer = Sealer(sealing, signer, taken_in=fresh.take_in)
    indexer = Indexer(indexing, fresh, appender.append, lambda: None, lambda: None, 0.0, TILING)
    await appender.append([draft_index_keys(keys.bits, keys.root(), ORIGIN)])
    await sealer.recover()
    await indexer.recover()
    for number, size in enumerate([1, 2, 15, 16, 17, 32, 255, 300, 40, 1, 326]):
        now[0] += timedelta(seconds=1, microseconds=number)
        make = rich_events if number % 2 else sample_events
        await appender.append(drafts(keys, make(size, seed=number), number))
        await sealer.seal()
        await indexer.index()
    now[0] += timedelta(seconds=1)
    await sealer.seal()
    appender.close()
    await running
    await sealing.close()
    await indexing.close()


async def published(reader, directory):
    """Yield what anybody may see: all files of an export, checkpoints, and proofs."""
    await export_static(reader, directory, await reader.latest_checkpoint())
    for path in sorted(path for path in directory.rglob("*") if path.is_file()):
        yield str(path.relative_to(directory)).encode() + path.read_bytes()
    newest = await reader.latest_checkpoint()
    for checkpoint in await reader.checkpoints(10**9, 100):
        yield checkpoint.note
        yield (await prove_consistency(reader, checkpoint.size, newest)).text()
    for index in range(0, newest.size, 7):
        yield (await prove_inclusion(reader, await reader.leaf(index), newest)).text()


async def disclosed(reader, verifier, keys):
    """Yield what who may read events is answered."""
    searcher = Searcher(reader, keys.key)
    async for page in export_events(searcher, Question(), "ndjson"):
        yield page
    for question in (
        Question(action="read"),
        Question(resourceType="patient_record", resourceId="P-1007"),
        Question(operation="Get1"),
    ):
        yield format_evidence(await make_evidence(reader, verifier, keys, question, disclose=True))
    async for page in export_events(searcher, Question(loggedFrom="2026-11-24T05:12:07Z", outcome="failure"), "csv"):
        yield page
    async with reader.view() as view:
        events = await view.explained(await view.events(range(0, 900, 13)))
    for event in events:
        if event.leaf.event_id is not None:
            yield event_file(event, disclose=True)


async def digest(parts):
    whole = sha256()
    async for part in parts:
        whole.update(len(part).to_bytes(8) + part)
    return whole.hexdigest()


async def test_a_log_is_the_same_to_the_byte(database, directory):
    base, now = Database(database.service, database.admin), [START]
    keys = BucketKeys(b"".join(sha256(bytes([number])).digest() for number in range(4)))
    anchor, key = Anchor(directory / "anchor"), Signer(ORIGIN, bytes(range(32)))
    anchor.create(Anchored(ORIGIN, 0, EMPTY_ROOT, CHAIN_START, b"", 0))
    signer = CheckpointSigner(anchor, key, lambda: now[0])
    await grow(base, keys, signer, now)
    reader = ReadStore(base)
    await reader.open()
    try:
        assert (
            await digest(published(reader, directory / "export")),
            await digest(disclosed(reader, key.verifier, keys)),
        ) == (PUBLISHED, DISCLOSED)
    finally:
        await reader.close()
