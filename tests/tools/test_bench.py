"""Every benchmark runs, checks the log it made, and says what it should: with few events, and no look at the figures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec

import pytest
from support import ROOT

EVENTS = 3_000
NEEDS_TIME = pytest.mark.skipif(not os.environ.get("TLOG_ALL_BENCHMARKS"), reason="set TLOG_ALL_BENCHMARKS=1 to run it")


def bench(*arguments, check=True):
    command = [sys.executable, ROOT / "tools" / "bench.py", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, cwd=ROOT)
    assert not check or done.returncode == 0, done.stderr
    return done


def figures(measure, *arguments):
    document = json.loads(bench(measure, *arguments, "--json").stdout)
    assert {"cpu", "kernel", "python", "postgresql", "libraries"} <= document["machine"].keys()
    return document[measure]


@pytest.fixture(scope="module")
def filled(module_directory):
    """A log that `load` filled, and what it said."""
    data = module_directory / "filled"
    return data, figures("load", "--data", data, "--events", EVENTS)


def test_load_and_what_it_noted(filled, tmp_path):
    data, said = filled
    assert said["events"] == EVENTS
    assert said["size"] > EVENTS  # with control entries
    noted = figures("growth", "--data", data)
    assert noted["rate_ratio"] > 0
    assert {"appender", "sealing", "postgresql", "total"} <= noted["late"]["cpu_us_per_event"].keys()
    assert noted["samples"][-1][0] >= EVENTS
    if find_spec("matplotlib") is not None:
        bench("growth", "--data", data, "--plots", tmp_path)
        assert (tmp_path / "performance-growth.svg").read_bytes().startswith(b"<?xml")


def test_growth_of_a_log_that_nobody_noted(module_directory):
    assert "bench.py load" in figures("growth", "--data", module_directory / "absent")["missing"]


def test_what_needs_a_log_says_so():
    done = bench("fsck", check=False)
    assert (done.returncode, "fsck needs --data" in done.stderr) == (2, True)


def test_storage(filled):
    found = figures("storage", "--data", filled[0], "--events", 1_000)
    assert found["log"]["entries"] >= EVENTS
    assert {"leaf", "entry_run", "disclosure_run", "tile", "index_run"} <= found["log"]["parts"].keys()
    assert 0 < found["plain"]["event_bytes"] < found["plain"]["bytes_per_event"]


@pytest.mark.parametrize("measure", [pytest.param("http", marks=NEEDS_TIME), "single"])
def test_appends_over_http(measure):
    found = figures(measure, "--seconds", 0.5, "--runs", 1)
    assert found["events"] > 0
    assert found["checked"]["size"] > found["events"]
    assert {"front", "sealing", "postgresql", "load_generator", "total"} == found["cpu_us_per_event"].keys()
    for name in ("acknowledged", "sealed_within", "indexed_within"):
        assert 0 < found[name]["p50_ms"] <= found[name]["p99_ms"] <= found[name]["max_ms"], name
    assert found["sealed_within"]["count"] == found["acknowledged"]["count"]
    assert found["memory_mb"]["front"] > 0


@NEEDS_TIME
def test_several_runs_have_a_median_and_a_spread():
    found = figures("inprocess", "--seconds", 0.5, "--runs", 2)
    for way in ("raw", "drafted"):
        rate = found[way]["events_per_second"]
        assert 0 < rate["min"] <= rate["median"] <= rate["max"]
    assert found["checked"] == "tlog fsck"


@NEEDS_TIME
def test_proofs(filled):
    found = figures("proofs", "--data", filled[0], "--events", 1_000, "--questions", 20)
    assert found["small"]["entries"] < found["large"]["entries"]
    assert found["large"]["verified"] > 0
    assert found["inclusion_ratio"].keys() == {"p50", "cpu"}


@NEEDS_TIME
def test_query_and_fsck(module_directory, filled):
    found = figures("query", "--data", filled[0], "--questions", 20, "--rate", 200)
    assert found["evidence_none"]["verify_py"]["count"] > 0
    found = figures("fsck", "--data", filled[0], "--events", 1_000)
    assert found["full"]["entries"] > EVENTS
    assert 1_000 <= found["incremental"]["entries"] < EVENTS


@NEEDS_TIME
def test_index(filled):
    found = figures("index", "--data", filled[0], "--events", 2_000, "--runs", 1)
    assert found["with"]["events"] == found["without"]["events"] == 2_000
    assert found["with"]["cpu_us_per_event"]["total"] > 0
    assert found["again"]["entries"] >= EVENTS


@NEEDS_TIME
def test_verify():
    found = figures("verify", "--events", EVENTS, "--runs", 1)
    assert found["log"]["entries"] > EVENTS
    assert found["inclusion"]["count"] == 20


@NEEDS_TIME
def test_peers():
    found = figures("peers", "--seconds", 0.5, "--runs", 1)
    assert found["chained"]["verified_per_second"] > 0
    assert found["price_of_proving"]["cpu"] > 0
    assert found["pymerkle_missing"] == (find_spec("pymerkle") is None)
