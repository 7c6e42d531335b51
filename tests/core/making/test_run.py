"""Cutting entries into runs: of every size, wherever it begins, never over the end of a partition."""

from __future__ import annotations

import pytest

from tlog.core.making.run import cut, make_runs
from tlog.core.run import PARTITION_ENTRIES, RUN_ENTRIES, Disclosed, parse_disclosure_run, parse_entry_run
from tlog.errors import MalformedInputError


@pytest.mark.parametrize("partition", [32, 40, PARTITION_ENTRIES])
def test_runs_hold_each_entry_once_and_end_with_a_partition(partition):
    for start in range(70):
        for end in range(start, start + 70):
            runs = list(cut(start, end, partition))
            assert [index for first, last in runs for index in range(first, last)] == list(range(start, end))
            assert all(1 <= last - first <= RUN_ENTRIES for first, last in runs)
            assert all(first // partition == (last - 1) // partition for first, last in runs)
            # No more than there have to be: each is full, but for the last one and those before the end of a partition.
            assert all(
                last - first == RUN_ENTRIES or last in (end, last // partition * partition) for first, last in runs
            )


def test_a_group_is_as_few_rows_as_it_can_be():
    assert [len(list(cut(5, 5 + n))) for n in (0, 1, 8, 9, 3_000)] == [0, 1, 1, 2, 375]


def test_a_run_has_what_it_is_about():
    entries = [bytes([65 + n]) * n for n in range(40)]
    disclosed = [Disclosed(b"a%d" % n, b"", (b"x",) * (n % 3)) for n in range(40)]
    runs = make_runs(7, entries, list(range(100, 140)), disclosed, 32)
    assert [(run.first, run.count, run.logged_at) for run in runs] == [
        (7, 8, 100), (15, 8, 108), (23, 8, 116), (31, 1, 124), (32, 8, 125), (40, 7, 133)
    ]  # fmt: skip
    assert [entry for run in runs for entry in parse_entry_run(run.entries, run.count)] == entries
    assert [each for run in runs for each in parse_disclosure_run(run.disclosures, run.count)] == disclosed


def test_an_entry_that_is_too_long_is_not_cut_short():
    with pytest.raises(MalformedInputError, match="longer than 65535"):
        make_runs(0, [bytes(65_536)], [0], [Disclosed()])
