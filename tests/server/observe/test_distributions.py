"""Our histograms say what the library's would."""

from __future__ import annotations

import random

import pytest
from prometheus_client import CollectorRegistry, Histogram, disable_created_metrics, generate_latest

from tlog.server.observe.distributions import Distribution

BOUNDS = (0.005, 0.25, 1.0, 10.0)


@pytest.mark.parametrize("label", [None, "route"])
def test_it_is_written_as_the_librarys_own_would_be(label):
    disable_created_metrics()
    theirs, ours = CollectorRegistry(), CollectorRegistry()
    expected = Histogram("seconds", "How long.", [label] if label else [], buckets=BOUNDS, registry=theirs)
    made = Distribution("seconds", "How long.", BOUNDS, label)
    ours.register(made)
    rng = random.Random(5)
    for value in [*BOUNDS, 0.0, 11.0, *(rng.uniform(0, 12) for _ in range(500))]:
        route = rng.choice(["/a", "/b/{id}"]) if label else ""
        made.series(route).observe(value)
        (expected.labels(route) if label else expected).observe(value)
    assert generate_latest(ours) == generate_latest(theirs)


def test_a_series_without_a_value_is_there_once_it_is_asked_for():
    registry = CollectorRegistry()
    made = Distribution("seconds", "How long.", BOUNDS)
    registry.register(made)
    assert b"seconds_count" not in generate_latest(registry)
    made.series()
    assert b"seconds_count 0.0" in generate_latest(registry)
