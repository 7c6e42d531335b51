"""Frames: they open to what was put in, and whatever else is no frame, within bounds."""

from __future__ import annotations

import os
import random
import threading
import tracemalloc
from contextlib import suppress

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from tlog.core.run import MAX_DISCLOSURE_RUN
from tlog.errors import MalformedInputError
from tlog.storage.frames import content_size, make_frames, open_frame
from tlog.storage.rows import PART_SIZE, cut_frame

CONTENT = b"".join(b'{"action":"read","n":%d}' % n for n in range(200))
(FRAME,) = make_frames([CONTENT])
MIB = 1 << 20


@given(st.lists(st.binary(min_size=1, max_size=3_000), max_size=8))
def test_frames_round_trip(contents):
    frames = make_frames(contents)
    assert [open_frame(frame, 3_000) for frame in frames] == contents
    assert [content_size(frame[:18], 3_000) for frame in frames] == list(map(len, contents))


def test_a_frame_is_small_and_bare():
    said = zstandard.get_frame_parameters(FRAME)
    assert (said.content_size, said.has_checksum, said.dict_id) == (len(CONTENT), False, 0)
    assert len(FRAME) < len(CONTENT) / 3


BAD = {
    "nothing": b"",
    "no frame": b"x" * 40,
    "cut": FRAME[:-1],
    "cut to the header": FRAME[:8],
    "a byte after it": FRAME + b"\0",
    "two frames": FRAME * 2,
    "a skippable frame": bytes.fromhex("502a4d1804000000") + b"abcd",
    "a skippable frame before it": bytes.fromhex("502a4d1804000000") + b"abcd" + FRAME,
    "no content size": zstandard.ZstdCompressor(level=1, write_content_size=False).compress(CONTENT),
    "a checksum": zstandard.ZstdCompressor(level=1, write_checksum=True).compress(CONTENT),
    "a dictionary": zstandard.ZstdCompressor(
        level=1, dict_data=zstandard.train_dictionary(1024, [CONTENT[n * 20 : n * 20 + 200] for n in range(100)] * 9)
    ).compress(CONTENT),
    "a larger content size": FRAME[:5] + bytes([FRAME[5] + 1]) + FRAME[6:],
    "a smaller content size": FRAME[:5] + bytes([FRAME[5] - 1]) + FRAME[6:],
    "too much": make_frames([bytes(MIB + 1)])[0],
}  # fmt: skip


@pytest.mark.parametrize("bad", BAD)
def test_what_is_no_such_frame_is_refused(bad):
    with pytest.raises(MalformedInputError):
        open_frame(BAD[bad], MIB)


def test_all_of_zstd_that_says_its_size_opens():
    """So a log may change hands between releases and levels."""
    for level in (-5, 1, 3, 19):
        assert open_frame(zstandard.ZstdCompressor(level=level).compress(CONTENT), MIB) == CONTENT


FUZZED = int(os.environ.get("TLOG_TEST_FRAMES", "3000"))


def test_whatever_bytes_make_no_other_error_and_no_large_allocation():
    rng = random.Random(3)
    large = make_frames([rng.randbytes(500) * 4_000])[0]
    tracemalloc.start()
    for _ in range(FUZZED):
        data = bytearray(rng.choice([FRAME, large[:4_000], rng.randbytes(40), FRAME[:6]]))
        for _ in range(rng.randrange(4)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        with suppress(MalformedInputError):
            assert len(open_frame(bytes(data), 64 << 10)) <= 64 << 10
    assert tracemalloc.get_traced_memory()[1] < 2 * MIB
    tracemalloc.stop()


def test_threads_do_not_get_in_each_others_way():
    contents = [[bytes([n, m]) * 500 for m in range(1, 200)] for n in range(4)]
    wrong = []

    def work(own):
        for _ in range(5):
            opened = [open_frame(frame, MIB) for frame in make_frames(own)]
            wrong.extend(made for made, given in zip(opened, own, strict=True) if made != given)

    threads = [threading.Thread(target=work, args=(own,)) for own in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_frame_is_cut_into_full_parts():
    assert [len(part) for part in cut_frame(bytes(2 * PART_SIZE + 1))] == [PART_SIZE, PART_SIZE, 1]
    assert [len(part) for part in cut_frame(bytes(PART_SIZE))] == [PART_SIZE]
    assert b"".join(cut_frame(bytes(range(256)) * 100)) == bytes(range(256)) * 100
    assert MAX_DISCLOSURE_RUN // PART_SIZE < 1 << 15, "the number of a part fits its column"
