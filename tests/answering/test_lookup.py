"""Streams of indexes become one stream in order, whatever portions they come in; both directions find the same."""

from __future__ import annotations

import random

import pytest
from questions import varied_events
from support import append

from tlog.answering.lookup import indexed_falling, indexed_rising, merged
from tlog.core.entry import parse_entry
from tlog.core.question import parse_question

pytestmark = pytest.mark.anyio


async def portions(rng, indexes):
    at = 0
    while at < len(indexes):
        length = rng.randint(0, 4)
        yield indexes[at : at + length]
        at += length


@pytest.mark.parametrize("falling", [False, True])
async def test_merged_streams_are_in_order_and_without_repeats(falling):
    rng = random.Random(1)
    for _ in range(300):
        drawn = [rng.sample(range(60), rng.randint(0, 40)) for _ in range(rng.randint(1, 3))]
        streams = [portions(rng, sorted(each, reverse=falling)) for each in drawn]
        found = [portion async for portion in merged(streams, falling=falling)]
        together = sorted({index for each in drawn for index in each}, reverse=falling)
        assert [index for portion in found for index in portion] == together


async def test_both_directions_find_what_the_entries_have(opened):
    rng = random.Random(2)
    async with opened(index=True) as log:
        for seed in (1, 2):
            raws = varied_events(rng, 400, seed=seed)
            await log.wait_indexed((await append(log, raws))[-1].index + 1, 20)
        async with log.reader.view() as view:
            epoch = (await view.position(sealed=True)).epoch
            entries = await view.entries(range(epoch.size))
            for members in (
                {"action": "read"},
                {"resourceType": "patient_record", "resourceId": "P-1001"},
                {"userId": "nobody"},
            ):
                question = parse_question(members)
                asked = question.keys(log.bucket_keys.key)
                keys = [asked[kind] for kind in question.looked_under()]
                for start, end in ((0, epoch.size), (100, 500), (7, 8), (300, 300)):
                    expected = [at for at in range(start, end) if any(key in keys_of(entries[at]) for key in keys)]
                    rising = [each async for each in indexed_rising(view, epoch, keys, start, end)]
                    falling = [each async for each in indexed_falling(view, epoch, keys, start, end)]
                    assert [index for each in rising for index in each] == expected
                    assert [index for each in falling for index in each] == expected[::-1]


def keys_of(entry):
    parsed = parse_entry(entry)
    return parsed.index_keys() if hasattr(parsed, "index_keys") else []
