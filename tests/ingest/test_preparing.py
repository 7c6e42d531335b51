"""What a taker decides before it takes: each contradiction is refused by name, and nothing is ever reset."""

from __future__ import annotations

import pytest
from streams import STREAM, opening, release

from tlog.errors import MalformedInputError, OperatorError
from tlog.ingest.kafka import Bounds
from tlog.ingest.preparing import Wishes, check_table, plan
from tlog.storage.intake import Taken

S = "kafka:c/topic/aaaaaaaaaaaaaaaaaaaaaa"
BOUNDS = {number: Bounds(5, 50) for number in range(4)}


def taken(*offsets, released=()):
    return [Taken(S, number, offset, released=number in released) for number, offset in enumerate(offsets)]


PLANS = {
    "all from the beginning": (Wishes(start="beginning"), 2, [], {0: 5, 1: 5}, [0, 1]),
    "all from the end": (Wishes(start="end"), 2, [], {0: 50, 1: 50}, [0, 1]),
    "some from offsets": (Wishes(frozenset((1, 2)), {1: 7, 2: 50}), 3, [], {1: 7, 2: 50}, [1, 2]),
    "all go on": (Wishes(), 2, taken(9, 12), {0: 9, 1: 12}, []),
    "some go on": (Wishes(frozenset((0, 1))), 3, taken(9, 12), {0: 9, 1: 12}, []),
    "added ones of all from their first message": (Wishes(), 4, taken(9, 12), {0: 9, 1: 12, 2: 0, 3: 0}, [2, 3]),
    "added ones of some": (Wishes(frozenset((0, 1)), "beginning"), 2, taken(9), {0: 9, 1: 5}, [1]),
    "what was released stays away": (Wishes(), 2, taken(9, 12, released=(0,)), {1: 12}, []),
}


@pytest.mark.parametrize("name", PLANS)
def test_what_is_taken(name):
    wishes, present, before, positions, new = PLANS[name]
    planned = plan(wishes, range(present), before, BOUNDS)
    assert (planned.positions, sorted(planned.new)) == (positions, new)


REFUSED = {
    "nothing says where to begin": (Wishes(), 1, [], MalformedInputError, "partition 0 was not taken yet"),
    "of one nothing says where": (Wishes(start={0: 7}), 2, [], MalformedInputError, "partition 1 was not taken yet: say --from-offset 1=N"),
    "an added one of some": (Wishes(frozenset((0, 1))), 2, taken(9), MalformedInputError, "partition 1 was not taken yet"),
    "where to begin again": (Wishes(start="beginning"), 1, taken(9), MalformedInputError, "are taken already"),
    "where to begin again, of all": (Wishes(start="beginning"), 2, taken(9), MalformedInputError, "are taken already"),
    "an offset that there is not": (Wishes(start={0: 51}), 1, [], MalformedInputError, "offsets 5 to 50; 51"),
    "an offset that is gone": (Wishes(start={0: 4}), 1, [], MalformedInputError, "offsets 5 to 50; 4"),
    "a partition that there is not": (Wishes(frozenset((0, 3)), "end"), 2, [], MalformedInputError, "no partition 3; it has 2"),
    "a partition that was released": (Wishes(frozenset((0,))), 2, taken(9, released=(0,)), MalformedInputError, "partition 0 was released"),
    "a partition that is taken, left out": (Wishes(frozenset((1,)), "end"), 2, taken(9), MalformedInputError, "release it first"),
    "fewer partitions": (Wishes(), 1, taken(9, 12), OperatorError, "no partition 1 any more"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_contradictions_are_refused_by_name(name):
    wishes, present, before, error, message = REFUSED[name]
    with pytest.raises(error, match=message):
        plan(wishes, range(present), before, BOUNDS)


def test_a_table_that_is_not_the_log_is_refused():
    at = b"2026-11-24T05:12:00.123456Z"
    other = opening(0, start=3, stream=STREAM.replace("audit", "other"))
    entries = [
        each.drafts[-1].entry(at) for each in (release(1, 9), opening(0, start=7), other, opening(0, 1, start=3))
    ]
    good = [Taken(STREAM, 0, 7), Taken(STREAM, 1, 9, released=True)]
    check_table(STREAM, good, entries)
    check_table(STREAM, [*good, Taken(STREAM, 2, 5)], entries)
    for wrong in (Taken(STREAM, 0, 6), Taken(STREAM, 0, 3), Taken(STREAM, 0, 7, released=True), Taken(STREAM, 1, 9)):
        with pytest.raises(OperatorError, match=f"partition {wrong.partition} of .* is taken up to"):
            check_table(STREAM, [wrong], entries)
