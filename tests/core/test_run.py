"""Runs: parsing what was formatted gives it back, and every other byte string is refused."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlog.core.bundle import format_bundle
from tlog.core.commitment import MAX_RELATED
from tlog.core.run import (
    MAX_DISCLOSED,
    MAX_DISCLOSURE_RUN,
    MAX_ENTRY_RUN,
    RUN_ENTRIES,
    Disclosed,
    format_disclosure_run,
    parse_disclosure_run,
    parse_entry_run,
    pick_disclosures,
    pick_entries,
)
from tlog.errors import MalformedInputError

EVENT, ERASED, CONTROL = Disclosed(b"who", b"what", (b"whom", b"")), Disclosed(related=(b"",)), Disclosed()
RUN = b"\0\3who\0\4what\2\0\4whom\0\0" + b"\0\0\0\0\1\0\0" + bytes(5)

groups = st.binary(max_size=300)
disclosed = st.builds(Disclosed, groups, groups, st.lists(groups, max_size=MAX_RELATED).map(tuple))


def test_the_format():
    assert format_disclosure_run([EVENT, ERASED, CONTROL]) == RUN
    assert parse_disclosure_run(RUN, 3) == [EVENT, ERASED, CONTROL]
    assert parse_entry_run(format_bundle([b"a", b""]), 2) == [b"a", b""]


@given(st.lists(disclosed, min_size=1, max_size=RUN_ENTRIES))
def test_runs_round_trip(run):
    assert parse_disclosure_run(format_disclosure_run(run), len(run)) == run


@given(
    st.lists(disclosed, min_size=1, max_size=RUN_ENTRIES), st.lists(groups, min_size=1, max_size=RUN_ENTRIES), st.data()
)
def test_some_of_a_run_are_what_all_of_it_has_there(run, entries, data):
    for whole, formatted, pick in (
        (run, format_disclosure_run(run), pick_disclosures),
        (entries, format_bundle(entries), pick_entries),
    ):
        positions = sorted(data.draw(st.sets(st.integers(0, len(whole) - 1))))
        assert pick(formatted, positions) == [whole[position] for position in positions]
        with pytest.raises(MalformedInputError):
            pick(formatted[:-1], range(len(whole)))
        with pytest.raises(MalformedInputError):
            pick(formatted, [len(whole)])


@given(st.binary(max_size=60), st.integers(1, 4))
def test_what_is_parsed_is_what_is_formatted(data, count):
    """So no run can be written in two ways."""
    try:
        run = parse_disclosure_run(data, count)
    except MalformedInputError:
        return
    assert format_disclosure_run(run) == data


def test_every_short_text_is_a_run_or_refused():
    """All texts of up to seven bytes over a few values."""
    runs = 0
    for length in range(8):
        for values in product((0, 1, 2), repeat=length):
            data = bytes(values)
            for count in (1, 2):
                try:
                    run = parse_disclosure_run(data, count)
                except MalformedInputError:
                    continue
                assert (format_disclosure_run(run), len(run)) == (data, count)
                runs += 1
    assert runs > 10


@pytest.mark.parametrize("length", range(len(RUN)))
def test_every_shorter_run_is_refused(length):
    with pytest.raises(MalformedInputError, match="not the disclosures of 3 entries and nothing else"):
        parse_disclosure_run(RUN[:length], 3)


@pytest.mark.parametrize("extra", [b"\0", bytes(5), RUN])
def test_bytes_after_a_run_are_refused(extra):
    with pytest.raises(MalformedInputError, match="and nothing else"):
        parse_disclosure_run(RUN + extra, 3)


@pytest.mark.parametrize("count", [-1, 0, 9, 1 << 15])
def test_a_run_has_one_to_eight_entries(count):
    for parse in (parse_entry_run, parse_disclosure_run):
        with pytest.raises(MalformedInputError, match=f"a run has 1 to 8 entries, not {count}"):
            parse(bytes(5 * max(count, 0)), count)


def test_another_count_is_refused():
    for parse, run in ((parse_entry_run, format_bundle([b"a"] * 3)), (parse_disclosure_run, RUN)):
        for count in (2, 4):
            with pytest.raises(MalformedInputError):
                parse(run, count)


LONG = bytes(65_536)
TOO_LARGE = [Disclosed(LONG), Disclosed(b"", LONG), Disclosed(related=(LONG,)), Disclosed(related=(b"",) * 33)]


@pytest.mark.parametrize("large", TOO_LARGE, ids=["actor", "resource", "related", "many"])
def test_what_does_not_fit_is_not_written(large):
    with pytest.raises(MalformedInputError, match="at most 65535 bytes, and at most 32 related ones"):
        format_disclosure_run([CONTROL, large])


def test_more_related_groups_than_an_event_has_are_refused():
    data = bytes(4) + b"\x21" + bytes(66)
    with pytest.raises(MalformedInputError, match="at most 32 related ones"):
        parse_disclosure_run(data, 1)
    assert len(parse_disclosure_run(bytes(4) + b"\x20" + bytes(64), 1)[0].related) == 32


def test_the_largest_runs_fit_their_bounds():
    longest = bytes(65_535)
    assert len(format_bundle([longest] * 8)) == MAX_ENTRY_RUN
    # 131,072 bytes are what an event may disclose, with the lengths of the groups.
    whole = Disclosed(longest, bytes(MAX_DISCLOSED - 65_535 - 4))
    assert len(format_disclosure_run([whole])) == MAX_DISCLOSED + 1, "and how many are related, in one byte"
    assert MAX_DISCLOSURE_RUN == 8 * MAX_DISCLOSED


@dataclass
class Draft:
    """Not a tuple, as drafts are none."""

    actor: bytes
    resource: bytes
    related: tuple[bytes, ...]


def test_whatever_discloses_is_written():
    assert format_disclosure_run([Draft(*EVENT), ERASED, Draft(*CONTROL)]) == RUN
