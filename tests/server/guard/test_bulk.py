"""A key has four bulk answers at a time, and all keys together sixteen; and so many bytes of large pages."""

from __future__ import annotations

from contextlib import ExitStack, suppress

import pytest

from tlog.errors import OverloadedError
from tlog.server.guard.bulk import MAX_BULK, MAX_BULK_OF_KEY, MAX_MEMORY, BulkAnswers, LargePages


def test_s15_bulk_answers_of_a_key_and_of_all_are_bounded():
    bulk = BulkAnswers()
    assert (MAX_BULK_OF_KEY, MAX_BULK, MAX_MEMORY) == (4, 16, 256 << 20)
    with ExitStack() as stack:
        for key in "abcd":
            for _ in range(4):
                stack.enter_context(bulk.answer(key))
            with pytest.raises(OverloadedError, match="for this API key") as caught, bulk.answer(key):
                pass
            assert caught.value.retry_after == 5
        with pytest.raises(OverloadedError, match="ask again later"), bulk.answer("e"):
            pass
    with bulk.answer("a"), bulk.answer("e"):
        pass
    assert not bulk._of_keys, "what is answered leaves nothing"


def test_s15_what_failed_is_not_under_way_any_more():
    bulk = BulkAnswers()
    for _ in range(9):
        with pytest.raises(KeyError), bulk.answer("a"):
            raise KeyError


def test_s3_large_pages_of_a_key_and_of_all_are_bounded():
    pages, part = LargePages(), MAX_MEMORY // 16
    with ExitStack() as stack:
        for key in "abcd":
            for _ in range(4):
                stack.enter_context(pages.hold(key, part))
            with pytest.raises(OverloadedError, match="of this API key are being sent") as caught, pages.hold(key, 1):
                pass
            assert caught.value.retry_after == 5
        with pytest.raises(OverloadedError, match="large pages are being sent"), pages.hold("e", 1):
            pass
    with suppress(KeyError), pages.hold("e", part):
        raise KeyError
    assert not pages._of_keys, "what is sent leaves nothing"
