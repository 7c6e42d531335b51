"""Histograms that are observed thousands of times a second; `prometheus_client` writes them down.

Its own take a lock and walk the buckets at each observation. Here it is a search and two additions, all in one thread.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate
from typing import TYPE_CHECKING

from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Series:
    """How often values fell into each bucket, and their sum."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count a value: a bucket holds what is at most its bound."""
        self.counts[bisect_left(self._bounds, value)] += 1
        self.sum += value


class Distribution(Collector):
    """One histogram with at most one label, each value of which has a series."""

    def __init__(self, name: str, what: str, bounds: Sequence[float], label: str | None = None) -> None:
        self._name = name
        self._what = what
        self._bounds = bounds
        self._labels = [] if label is None else [label]
        self._series: dict[str, Series] = {}

    def series(self, value: str = "") -> Series:
        """Return the series of a label's value, the only one if there is no label."""
        return self._series.setdefault(value, Series(self._bounds))

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """Yield it as it is now."""
        family = HistogramMetricFamily(self._name, self._what, labels=self._labels)
        names = [*map(str, self._bounds), "+Inf"]
        for value, series in self._series.items():
            buckets = list(zip(names, accumulate(series.counts), strict=True))
            family.add_metric([value][: len(self._labels)], buckets=buckets, sum_value=series.sum)
        yield family
