"""Values that no mapping may fail on; TLOG_TEST_VALUES=50000 for as many as in a full run."""

from __future__ import annotations

import os
from typing import Any

from hypothesis import strategies as st

from tlog.ingest.total import JsonText

VALUES = int(os.environ.get("TLOG_TEST_VALUES", "200"))


def nested(levels: int, value: Any = "deep") -> Any:
    for _ in range(levels):
        value = [value]
    return value


odd_texts = st.text(
    st.one_of(st.characters(exclude_categories=[]), st.sampled_from('"\\\x00\u2028\ud800\udfff')), max_size=20
)
odd_leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    odd_texts,
    st.sampled_from(
        ["x" * 300, "\u20ac" * 800, "y" * 40_000, JsonText("1" * 400), JsonText("1e999"), 10**40, [[]] * 3]
    ),
    st.integers(1, 60).map(nested),
)
odd_values = st.recursive(
    odd_leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(odd_texts, inner, max_size=4), max_leaves=5
)
