"""The table of PostgreSQL's minor releases has no gap, and says how old one is."""

from __future__ import annotations

import datetime

import pytest

from tlog.postgres.releases import RELEASED, age_in_days


def test_no_release_is_missing_and_each_comes_after_the_one_before():
    for major in {major for major, _ in RELEASED}:
        minors = sorted(minor for each, minor in RELEASED if each == major)
        assert minors == list(range(len(minors)))
        days = [RELEASED[major, minor] for minor in minors]
        assert days == sorted(set(days))
    assert {major for major, _ in RELEASED} == {15, 16, 17, 18}


@pytest.mark.parametrize("version, days", [(180_003, 10), (170_009, 10), (180_999, None), (990_000, None)])
def test_the_age_of_what_is_not_listed_is_not_known(version, days):
    assert age_in_days(version, datetime.date(2026, 3, 8)) == days
