"""A key opens so many index buckets in a day and no more."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tlog.errors import RateLimitedError
from tlog.server.guard.auth import new_token
from tlog.server.guard.opened import DEFAULT_BUCKETS, OpenedBuckets

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
_, KEY = new_token(bytes(32), "auditor", ["read"], NOON)
_, OTHER = new_token(bytes(32), "auditor", ["read"], NOON, buckets=3)


def test_s1_the_bucket_after_the_last_of_a_day_is_refused():
    times = [NOON]
    opened = OpenedBuckets(lambda: times[0])
    assert sum(opened.open(KEY, {2 * number, 2 * number + 1}) for number in range(250)) == DEFAULT_BUCKETS == 500
    with pytest.raises(RateLimitedError, match="500 index buckets in a day") as caught:
        opened.open(KEY, {500})
    assert caught.value.retry_after == 12 * 3600 + 1
    assert opened.open(KEY, {0, 499}) == 0, "those that are open stay so"
    assert opened.open(OTHER, {500}) == 1, "nobody else is concerned"
    times[0] += timedelta(hours=12)
    assert opened.open(KEY, {500}) == 1


def test_s1_a_key_may_have_a_limit_of_its_own_and_a_refusal_opens_nothing():
    opened = OpenedBuckets(lambda: NOON)
    assert opened.open(OTHER, {1, 2}) == 2
    for _ in range(2):
        with pytest.raises(RateLimitedError, match="needs 2 more"):
            opened.open(OTHER, {2, 3, 4})
    assert opened.open(OTHER, {2, 3}) == 1


def test_s1_a_clock_that_goes_back_gives_nobody_another_day():
    times = [NOON]
    opened = OpenedBuckets(lambda: times[0])
    opened.open(OTHER, {1, 2, 3})
    times[0] -= timedelta(days=1)
    with pytest.raises(RateLimitedError):
        opened.open(OTHER, {4})
