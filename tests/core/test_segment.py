"""Segments against brute force: every key, every window, every way to make one, every way to spoil a proof."""

from __future__ import annotations

import json
import random
from bisect import bisect_left
from hashlib import sha256

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import page_tiles

from tlog.core.making import posting as making
from tlog.core.making.posting import (
    KEY_ROW_SIZE,
    NO_KEYS,
    PAGES_HEIGHT,
    RUN_SIZE,
    LoggedKeys,
    Merge,
    Postings,
    SegmentBuilder,
    build_segment,
    count_entries,
    decode_keys,
    find_posting,
    from_bytes,
    join_postings,
    run_tile,
    sort_postings,
)
from tlog.core.merkle import EMPTY_ROOT, fold_right, leaf_hash, node_hash
from tlog.core.proof import plan_joint, prove
from tlog.core.segment import (
    PAGE_POSTINGS,
    PAGE_SIZE,
    PageRun,
    RangeProof,
    Segment,
    format_table,
    offset_of,
    parse_table,
    place_of,
    posting,
    split_postings,
    table_hash,
    verify_counts,
    verify_number,
    verify_ranges,
)
from tlog.core.strict import encode_base64url
from tlog.core.tile import nodes_from_tiles
from tlog.errors import MalformedInputError, VerificationError


def key(number: int) -> bytes:
    return sha256(b"%d" % number).digest()[:16]


def keys_text(*keys: bytes) -> bytes:
    return b'","'.join(map(encode_base64url, keys)) + b'"],'


def verify_range(segment: Segment, low: bytes, high: bytes, proof: RangeProof) -> list[bytes]:
    (found,) = verify_ranges(segment, [(low, high)], proof)
    return found


def verify_count(segment: Segment, low: bytes, high: bytes, proof: RangeProof) -> int:
    (number,) = verify_counts(segment, [(low, high)], proof)
    return number


def naive(entries: list[list[bytes]], start: int = 0) -> list[bytes]:
    """Every posting of entries given by their keys, sorted."""
    return sorted(posting(each, start + number) for number, keys in enumerate(entries) for each in keys)


def built(entries: list[list[bytes]]) -> tuple[Segment, bytes, dict[tuple[int, int], bytes]]:
    text = b"".join(keys_text(*keys) if keys else NO_KEYS for keys in entries)
    segment, runs, tiles = build_segment(0, len(entries), sort_postings(*decode_keys(text)))
    return segment, b"".join(runs), tiles


def entries_of(count: int, *, distinct: int = 9, seed: int = 1) -> list[list[bytes]]:
    rng = random.Random(seed)
    numbers = range(distinct)
    return [
        [key(each) for each in rng.sample(numbers, min(rng.choice([1, 3, 3, 3, 4, 7]), distinct))]
        if rng.random() < 0.9
        else []
        for _ in range(count)
    ]


def prove_pages(pages: bytes, tiles: dict[tuple[int, int], bytes], numbers: list[int]) -> RangeProof:
    """The proof of these pages, in as few runs as there can be."""
    total = -(-len(pages) // PAGE_SIZE)
    plan = plan_joint(numbers, total)
    read = {number * PAGE_SIZE // RUN_SIZE for number in numbers}
    tiles = tiles | {(0, run): run_tile(pages[run * RUN_SIZE : (run + 1) * RUN_SIZE]) for run in read}
    runs: list[PageRun] = []
    for number in numbers:
        page = pages[number * PAGE_SIZE : (number + 1) * PAGE_SIZE]
        if runs and number == runs[-1].first + len(runs[-1].pages) // PAGE_SIZE:
            runs[-1] = PageRun(runs[-1].first, runs[-1].pages + page)
        else:
            runs.append(PageRun(number, page))
    return RangeProof(tuple(runs), tuple(prove(plan, nodes_from_tiles(plan, tiles, PAGES_HEIGHT))))


def rfc6962_root(pages: bytes) -> bytes:
    """The root over pages as RFC 6962 section 2.1 has it."""

    def root(hashes: list[bytes]) -> bytes:
        if len(hashes) < 2:
            return hashes[0] if hashes else EMPTY_ROOT
        middle = 1 << (len(hashes) - 1).bit_length() - 1
        return fold_right([root(hashes[:middle]), root(hashes[middle:])])

    return root([leaf_hash(pages[start : start + PAGE_SIZE]) for start in range(0, len(pages), PAGE_SIZE)])


def around(pages: bytes, bound: bytes) -> list[int]:
    """The one or two pages that show where `bound` would be."""
    postings = split_postings(pages)
    place = bisect_left(postings, bound)
    return sorted({max(0, (place - 1)) // PAGE_POSTINGS, min(place, len(postings) - 1) // PAGE_POSTINGS})


def honest(pages: bytes, tiles: dict[tuple[int, int], bytes], low: bytes, high: bytes) -> RangeProof:
    first, last = around(pages, low)[0], around(pages, high)[-1]
    return prove_pages(pages, tiles, list(range(first, last + 1)))


def test_a_posting_is_key_and_offset():
    assert posting(bytes(range(16)), 258) == bytes(range(8)) + b"\x00\x00\x01\x02"
    assert offset_of(posting(key(1), 70_000)) == 70_000


def test_keys_are_decoded_from_the_text_of_entries():
    rows = [[key(1), key(2), key(3)], [], [b"\xff" * 16, bytes(16), key(4), key(5), key(6)], [key(7)], [], []]
    text = b"".join(keys_text(*keys) if keys else NO_KEYS for keys in rows)
    assert len(text) == (3 + 1 + 5 + 1 + 1 + 1) * KEY_ROW_SIZE
    assert count_entries(text) == len(rows)
    keys, positions = decode_keys(text)
    assert [int(each).to_bytes(8) for each in keys] == [each[:8] for row in rows for each in row]
    assert list(positions) == [0, 0, 0, 2, 2, 2, 2, 2, 3]
    for nothing in (b"", NO_KEYS * 3):
        assert len(decode_keys(nothing)[0]) == len(decode_keys(nothing)[1]) == 0
        assert count_entries(nothing) == len(nothing) // KEY_ROW_SIZE


@pytest.mark.parametrize("count", [1, 10, 11, 21, 22, 100, 700, 3000])
def test_a_segment_is_its_sorted_postings(count):
    entries = entries_of(count)
    segment, pages, _ = built(entries)
    assert split_postings(pages) == naive(entries)
    bounds = [bytes(12), *naive(entries), b"\xff" * 12]
    assert [place_of(pages, bound) for bound in bounds] == [0, *range(len(naive(entries))), len(naive(entries))]
    assert segment == Segment(0, count, len(naive(entries)), rfc6962_root(pages))


@pytest.mark.parametrize("count", [*range(479, 482), *range(510, 515), 1024, 8191, 8192, 8193, 9000])
def test_the_tree_over_pages_and_its_tiles(count):
    """Around full pages, full runs and full tiles, added at once and in pieces."""
    numbers = np.arange(count)
    postings = Postings(numbers.astype(np.uint64), numbers.astype(np.uint32))
    segment, runs, tiles = build_segment(0, count, postings)
    pages = b"".join(runs)
    assert pages == postings.to_bytes()
    assert tiles == page_tiles(pages)
    assert segment.root == rfc6962_root(pages)
    builder = SegmentBuilder(0, count)
    pieces = [Postings(*(each[start : start + 700] for each in postings)) for start in range(0, count, 700)]
    full = [run for piece in pieces for run in builder.add(piece)]
    assert builder.finish() == (segment, runs[len(full) :], tiles)
    assert full == runs[: len(full)]


def test_an_empty_segment():
    segment, pages, tiles = built([[], []])
    assert (segment, pages, tiles) == (Segment(0, 2, 0, EMPTY_ROOT), b"", {})
    low, high = segment.bounds(key(1), 0, 2)
    assert verify_range(segment, low, high, RangeProof((), ())) == []
    assert verify_count(segment, low, high, RangeProof((), ())) == 0
    assert verify_number(segment, low, high, RangeProof((), ())) == 0
    for verify in (verify_range, verify_count, verify_number):
        with pytest.raises(VerificationError, match="without pages"):
            verify(segment, low, high, RangeProof((PageRun(0, bytes(12)),), ()))


@pytest.mark.parametrize("count", [1, 11, 64, 300])
def test_every_key_and_window_is_proved_whole(count):
    entries = entries_of(count, distinct=20)
    segment, pages, tiles = built(entries)
    rng = random.Random(count)
    for number in range(25):  # the last five are in no entry
        for _ in range(10):
            start, end = sorted(rng.choices(range(-3, count + 5), k=2))
            expected = [index for index, keys in enumerate(entries) if start <= index < end and key(number) in keys]
            low, high = segment.bounds(key(number), start, end)
            proof = honest(pages, tiles, low, high)
            assert [offset_of(each) for each in verify_range(segment, low, high, proof)] == expected
            assert verify_number(segment, low, high, proof) == len(expected)
            ends = prove_pages(pages, tiles, sorted({*around(pages, low), *around(pages, high)}))
            assert verify_count(segment, low, high, ends) == verify_number(segment, low, high, ends) == len(expected)


def test_pages_that_leave_something_open_prove_nothing():
    entries = entries_of(300, distinct=4)
    segment, pages, tiles = built(entries)
    low, high = segment.bounds(key(1), 0, 300)
    first, last = around(pages, low)[0], around(pages, high)[-1]
    assert first > 0
    assert last < segment.pages - 1
    assert last - first > 2
    for numbers in (
        range(first + 1, last + 1),  # what is before?
        range(first, last),  # what is behind?
        [first, last],  # what is between?
        [first],
        [0],
    ):
        proof = prove_pages(pages, tiles, list(numbers))
        with pytest.raises(VerificationError):
            verify_range(segment, low, high, proof)


def test_spoiled_proofs_prove_nothing():
    entries = entries_of(300, distinct=4)
    segment, pages, tiles = built(entries)
    low, high = segment.bounds(key(1), 10, 40)
    proof = honest(pages, tiles, low, high)
    run = proof.runs[0]
    assert verify_range(segment, low, high, proof)
    doubled = bytearray(run.pages)
    doubled[12:24] = doubled[:12]
    spoiled = {
        "page cut": proof._replace(runs=(PageRun(run.first, run.pages[:-12]),)),
        "page elsewhere": proof._replace(runs=(PageRun(run.first + 1, run.pages),)),
        "page before the first": proof._replace(runs=(PageRun(-1, run.pages),)),
        "page behind the last": proof._replace(runs=(PageRun(segment.pages, run.pages),)),
        "run twice": proof._replace(runs=(run, run)),
        "no run": proof._replace(runs=()),
        "empty run": proof._replace(runs=(PageRun(run.first, b""),)),
        "postings swapped": proof._replace(
            runs=(PageRun(run.first, run.pages[12:24] + run.pages[:12] + run.pages[24:]),)
        ),
        "posting doubled": proof._replace(runs=(PageRun(run.first, bytes(doubled)),)),
        "offset changed": proof._replace(runs=(PageRun(run.first, run.pages[:-1] + b"\xff"),)),
        "hash missing": proof._replace(hashes=proof.hashes[1:]),
        "hash more": proof._replace(hashes=(*proof.hashes, bytes(32))),
        "hash changed": proof._replace(hashes=(bytes(32), *proof.hashes[1:])),
        "hash short": proof._replace(hashes=(bytes(31), *proof.hashes[1:])),
    }
    for name, each in spoiled.items():
        for verify in (verify_range, verify_count, verify_number):
            with pytest.raises(VerificationError):
                assert verify(segment, low, high, each) == [], name


def test_a_wrong_count_in_the_table_shows_at_the_last_page():
    segment, pages, tiles = built(entries_of(300, distinct=4))
    low, high = posting(b"\xff" * 8, 0), posting(b"\xff" * 8, 299)
    proof = honest(pages, tiles, low, high)
    assert verify_range(segment, low, high, proof) == []
    with pytest.raises(VerificationError):
        verify_range(segment._replace(count=segment.count - 1), low, high, proof)


def test_pages_that_are_not_there_are_not_counted():
    """A log may sign that a segment has 2^50 pages; to list those between two that are shown would take all the memory."""
    first, last = b"k" * 8, b"m" * 8
    left, right = (b"".join(posting(each, offset) for offset in range(32)) for each in (first, last))
    siblings = [bytes([number]) * 32 for number in range(49)]
    roots = leaf_hash(left), leaf_hash(right)
    for sibling in siblings:
        roots = node_hash(roots[0], sibling), node_hash(sibling, roots[1])
    segment = Segment(0, 2**32, 2**55, node_hash(*roots))
    hashes = (*siblings, *reversed(siblings))
    proof = RangeProof((PageRun(0, left), PageRun(segment.pages - 1, right)), hashes)
    bounds = posting(first, 0), posting(b"n" * 8, 0)
    assert verify_count(segment, *bounds, proof) == 2**55, "the control: only the ends are needed to know the number"
    with pytest.raises(VerificationError, match="the fewest that show all"):
        verify_range(segment, *bounds, proof)


def test_the_last_page_may_be_short_only_at_the_end():
    entries = entries_of(11, distinct=4)
    segment, pages, tiles = built(entries)
    low, high = segment.bounds(key(9), 0, 11)
    proof = prove_pages(pages, tiles, list(range(segment.pages)))
    assert verify_number(segment, low, high, proof) == 0
    longer = proof._replace(runs=(PageRun(0, pages + pages[-12:-1] + b"\xff"),))
    with pytest.raises(VerificationError):
        verify_range(segment, low, high, longer)


def test_keys_that_share_their_upper_bits_are_sorted_too():
    rng = random.Random(5)
    for upper in (0, 1 << 40, (1 << 64) - (1 << 12)):
        keys = [upper + rng.randrange(40) for _ in range(3000)]
        expected = sorted((each, number) for number, each in enumerate(keys))
        postings = sort_postings(np.array(keys, np.uint64), np.arange(3000, dtype=np.uint32))
        assert list(zip(*(map(int, each) for each in postings), strict=True)) == expected


@given(st.lists(st.integers(0, 60), min_size=1, max_size=6), st.integers(0, 99), st.integers(1, 7))
def test_merging_gives_what_building_at_once_gives(lengths, seed, piece):
    entries = entries_of(sum(lengths), distinct=5, seed=seed)
    starts = [sum(lengths[:number]) for number in range(len(lengths))]
    parts = [naive(entries[start : start + length]) for start, length in zip(starts, lengths, strict=True)]
    merge, out = Merge(starts), SegmentBuilder(0, len(entries))
    fed = [0] * len(parts)
    runs = []
    while True:
        while wanted := merge.wants():
            for number in wanted:
                merge.feed(number, b"".join(parts[number][fed[number] : fed[number] + piece]))
                fed[number] += piece
        postings = merge.merged()
        if postings is None:
            break
        runs += out.add(postings)
    segment, last, _ = out.finish()
    assert b"".join(runs + last) == b"".join(naive(entries))
    if entries:
        assert segment == built(entries)[0]


def test_a_large_segment_is_built_in_runs_and_full_tiles():
    entries = entries_of(5000, distinct=7)
    segment, pages, tiles = built(entries)
    builder = SegmentBuilder(0, 5000)
    postings = sort_postings(*decode_keys(b"".join(keys_text(*keys) if keys else NO_KEYS for keys in entries)))
    runs: list[bytes] = []
    kept: dict[tuple[int, int], bytes] = {}
    for start in range(0, len(postings), 1000):
        runs += builder.add(Postings(*(each[start : start + 1000] for each in postings)))
        kept |= builder.full_tiles()
    assert all(len(run) == RUN_SIZE for run in runs)
    same, last, rest = builder.finish()
    assert same == segment
    assert b"".join(runs + last) == pages
    assert kept
    assert kept | rest == tiles
    assert RUN_SIZE == 16 * PAGE_SIZE


def test_logged_keys_are_the_young_end_of_the_index():
    entries = entries_of(90, distinct=6)
    texts = [keys_text(*keys) if keys else NO_KEYS for keys in entries]
    logged = LoggedKeys(0)
    assert logged.extend(b"".join(texts[:50]), 50) == sum(map(len, entries[:50]))
    logged.extend(b"".join(texts[50:]), 40)
    assert (logged.start, logged.end) == (0, 90)
    for start, end in ((0, 90), (10, 60), (30, 30)):
        expected = naive(entries[start:end])
        assert split_postings(logged.postings(start, end).to_bytes()) == expected
    for number in range(7):
        assert logged.find(key(number)) == [index for index, keys in enumerate(entries) if key(number) in keys]
    logged.forget(40)
    assert split_postings(logged.postings(40, 90).to_bytes()) == naive(entries[40:])
    assert logged.find(key(0)) == [index for index in range(40, 90) if key(0) in entries[index]]


def test_logged_keys_come_in_parts_and_grow_in_any_steps():
    entries = entries_of(300, distinct=40)
    texts = [keys_text(*keys) if keys else NO_KEYS for keys in entries]
    logged = LoggedKeys(0)
    for start, end in ((0, 90), (90, 91), (91, 120), (120, 120), (120, 300)):
        logged.extend(b"".join(texts[start:end]), end - start)
    for start, end in ((0, 300), (13, 207), (50, 50)):
        parts = list(logged.parts(start, end))
        assert b"".join(part.to_bytes() for part in parts) == logged.postings(start, end).to_bytes()
        assert split_postings(logged.postings(start, end).to_bytes()) == naive(entries[start:end])
        assert max(map(len, parts)) < sum(map(len, parts)) or start == end
    logged.forget(250)
    logged.extend(texts[0], 1)
    assert split_postings(logged.postings(250, 301).to_bytes()) == naive([*entries[250:], entries[0]])


def test_a_posting_is_found_among_sorted_ones():
    entries = entries_of(200, distinct=5)
    _, pages, _ = built(entries)
    postings = from_bytes(pages)
    for number in range(6):
        for low, high in ((0, 200), (50, 60), (70, 70)):
            first, last = find_posting(postings, key(number), low, high)
            expected = [index for index in range(low, high) if key(number) in entries[index]]
            assert list(postings.offsets[first:last]) == expected


def test_the_keys_of_an_entry_are_found_in_it():
    hash32 = b"A" * 43
    for keys in ([key(1), key(2), key(3)], [key(1)], [key(number) for number in range(40)]):
        text = keys_text(*keys)
        for action, event_id in ((b"", b""), (b"read", b"019b76da-a800-7683-86a8-52c1bb9651f3")):
            event = (
                b'{"action":"%b","commitments":{"actor":"%b","resource":"%b"},"eventId":"%b","keys":["%b"loggedAt":"t"}'
            )
            assert making.keys_text(event % (action, hash32, hash32, event_id, text)) == text
    assert making.keys_text(b'{"bits":4,"root":"r","type":"index-keys","v":1}') == NO_KEYS


def test_no_text_in_an_entry_is_taken_for_its_keys():
    """Wherever what stands before or after the keys could stand in a string, its quotes have backslashes before them."""
    keys = keys_text(key(1), key(2))
    said = json.dumps({"about": '"keys":["' + "A" * 22 + '"],', "z": '"],"'}, separators=(",", ":")).encode()
    entry = said[:-1].replace(b',"z"', b',"keys":["' + keys + b'"z"') + b"}"
    assert json.loads(entry)["keys"] == [encode_base64url(each).decode() for each in (key(1), key(2))]
    assert making.keys_text(entry) == keys


def test_postings_read_back():
    entries = entries_of(50)
    _, pages, _ = built(entries)
    postings = from_bytes(pages)
    assert len(postings) == len(naive(entries))
    assert postings.to_bytes() == pages
    half = Postings(postings.keys, postings.offsets + np.uint32(50))
    assert split_postings(join_postings([postings, half]).to_bytes()) == sorted(naive(entries) + naive(entries, 50))


def table_rows() -> list[Segment]:
    return [Segment(0, 4, 9, key(1) * 2), Segment(4, 5, 0, EMPTY_ROOT), Segment(5, 70, 195, key(2) * 2)]


def test_tables_read_back():
    table = format_table(table_rows())
    assert len(table) == 3 * 56
    assert parse_table(table) == table_rows()
    assert table_hash(table) == sha256(b"\x13" + table).digest()


@pytest.mark.parametrize(
    "table",
    [
        b"",
        format_table(table_rows())[:-1],
        format_table(table_rows()[1:]),
        format_table([table_rows()[0], table_rows()[2]]),
        format_table([table_rows()[0], Segment(4, 4, 0, EMPTY_ROOT)]),
        format_table([Segment(0, 4, 0, bytes(32))]),
        format_table([Segment(0, 1 << 32, 1, bytes(32))]),
        format_table([Segment(n * (1 << 31), (n + 1) * (1 << 31), 1, bytes(32)) for n in range(3)])[:56]
        + format_table([Segment(1 << 31, 2**64 - 1, 1, bytes(32))]),
    ],
    ids=["empty", "cut", "late start", "gap", "no entries", "empty with a root", "too long", "beyond every log"],
)
def test_wrong_tables_are_refused(table):
    with pytest.raises(MalformedInputError):
        parse_table(table)


def test_pages_of_a_segment():
    assert [Segment(0, 9, count, b"").pages for count in (0, 1, 32, 33)] == [0, 1, 1, 2]


# --- Several keys at once ---------------------------------------------------------------------------------------------


def needed(pages: bytes, bounds: list[tuple[bytes, bytes]], *, ends_only: bool) -> list[int]:
    """The pages around both ends of each of several bounds, and for a whole answer those between."""
    shown: set[int] = set()
    for low, high in bounds:
        first, last = around(pages, low), around(pages, high)
        shown |= {*first, *last} if ends_only else set(range(first[0], last[-1] + 1))
    return sorted(shown)


@pytest.mark.parametrize("count", [1, 11, 64, 300, 2_000])
def test_several_keys_are_proved_by_one_proof(count):
    entries = entries_of(count, distinct=20)
    segment, pages, tiles = built(entries)
    rng = random.Random(count)
    for _ in range(60):
        start, end = sorted(rng.choices(range(-3, count + 5), k=2))
        keys = [key(number) for number in rng.sample(range(25), rng.choice([1, 2, 2, 3]))]
        expected = [[n for n, each in enumerate(entries) if start <= n < end and wanted in each] for wanted in keys]
        bounds = [segment.bounds(wanted, start, end) for wanted in keys]
        answer = prove_pages(pages, tiles, needed(pages, bounds, ends_only=False))
        found = verify_ranges(segment, bounds, answer)
        assert [[offset_of(each) for each in items] for items in found] == expected
        counted = prove_pages(pages, tiles, needed(pages, bounds, ends_only=True))
        assert verify_counts(segment, bounds, counted) == [len(each) for each in expected]


def test_the_fewest_pages_are_neither_more_nor_fewer():
    entries = entries_of(600, distinct=6)
    segment, pages, tiles = built(entries)
    bounds = [segment.bounds(key(1), 0, 600), segment.bounds(key(4), 100, 200)]
    for verify, ends_only in ((verify_ranges, False), (verify_counts, True)):
        numbers = needed(pages, bounds, ends_only=ends_only)
        assert 2 < len(numbers) < segment.pages - 2
        verify(segment, bounds, prove_pages(pages, tiles, numbers))
        for page in range(segment.pages):
            others = sorted({*numbers} ^ {page})
            with pytest.raises(VerificationError):
                verify(segment, bounds, prove_pages(pages, tiles, others))
            if page not in numbers:  # for a fraud it does not matter for what else pages are there
                for low, high in bounds:
                    proof = prove_pages(pages, tiles, others)
                    assert verify_number(segment, low, high, proof) == verify_number(
                        segment, low, high, prove_pages(pages, tiles, numbers)
                    )


def test_which_pages_show_a_range():
    segment = Segment(0, 1_000, 100, b"")
    for first, last, answer, ends in (
        (0, 0, {0}, {0}),
        (0, 100, {0, 1, 2, 3}, {0, 3}),
        (32, 32, {0, 1}, {0, 1}),
        (32, 64, {0, 1, 2}, {0, 1, 2}),
        (33, 63, {1}, {1}),
        (5, 70, {0, 1, 2}, {0, 2}),
        (5, 96, {0, 1, 2, 3}, {0, 2, 3}),
        (100, 100, {3}, {3}),
    ):
        assert segment.pages_showing(first, last, ends_only=False) == answer
        assert segment.pages_showing(first, last, ends_only=True) == ends
