"""The metrics of a running service, the page that lists them, and the alert rules that rest on them."""

from __future__ import annotations

import json
import re
import time
from uuid import uuid4

import httpx2
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from support import ROOT, sample_events, start_server

from tlog.server.describe.openapi import describe

PAGE = (ROOT / "docs" / "how-to" / "monitor.md").read_text(encoding="utf-8")
RULES = (ROOT / "docs" / "how-to" / "alerts.yaml").read_text(encoding="utf-8")
_SUFFIX = re.compile(r"_(?:bucket|count|sum|created)$")
_FUNCTIONS = {"max", "min", "sum", "by", "rate", "histogram_quantile", "job", "le"}


@pytest.fixture(scope="module")
def server(module_directory):
    server = start_server(module_directory / "data")
    yield server
    assert server.stop() == 0


def families(server):
    return {each.name: each for each in text_string_to_metric_families(httpx2.get(server.url + "/metrics").text)}


def name_of(family):
    return f"{family.name}_total" if family.type == "counter" else family.name


def samples(server, name):
    """Return the samples of a metric as {(suffix, labels): value}."""
    return {
        (each.name.removeprefix(name), tuple(sorted(each.labels.items()))): each.value
        for each in families(server)[name].samples
    }


def wait_until(what):
    deadline = time.monotonic() + 30
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def listed():
    """Return the rows of the page's table of metrics, as {name: (labels, type)}."""
    table = PAGE.partition("## Metrics\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([a-z_*]+)` \|([^|]*)\|([^|]*)\|", table, re.MULTILINE)
    return {name: (set(re.findall(r"`(\w+)`", labels)), kind.strip()) for name, labels, kind in rows}


def named_in(expression):
    return set(re.findall(r"[a-z_]+", re.sub(r"\[.*?\]", "", expression))) - _FUNCTIONS


def unknown_metrics(rules, names):
    """Return the names in the expressions of alert rules that no metric has."""
    found = {
        name for group in yaml.safe_load(rules)["groups"] for rule in group["rules"] for name in named_in(rule["expr"])
    }
    return sorted(name for name in found if _SUFFIX.sub("", name) not in names)


def test_the_page_lists_what_a_running_service_has(server):
    server.append([json.loads(raw) for raw in sample_events(1)])
    page = listed()
    own = {name_of(each): each for name, each in families(server).items() if not name.startswith("process_")}
    assert set(own) == set(page) - {"process_*"}
    for name, family in own.items():
        labels, kind = page[name]
        assert family.type == kind, name
        assert family.documentation
        assert {label for sample in family.samples for label in sample.labels} - {"le"} <= labels, name
    assert {"process_resident_memory_bytes", "process_cpu_seconds", "process_open_fds"} <= set(families(server))


def test_each_alert_rests_on_a_metric_that_there_is(server):
    names = {name_of(each) for each in families(server).values()}
    assert unknown_metrics(RULES, names) == []
    assert unknown_metrics(RULES, names - {"tlog_disk_reserve_bytes"}) == ["tlog_disk_reserve_bytes"], "the control"


def test_the_page_says_what_to_do_about_each_alert():
    rules = [rule for group in yaml.safe_load(RULES)["groups"] for rule in group["rules"]]
    assert [rule["alert"] for rule in rules] == re.findall(r"^\| `(Tlog\w+)` \|", PAGE, re.MULTILINE)
    assert all(
        rule["labels"]["severity"] in {"critical", "warning"} and rule["annotations"]["summary"] for rule in rules
    )


def test_each_event_of_the_code_is_on_the_page():
    """Those named last are written in other ways than by `_log`. The client's lines are in the logs of applications."""
    table = PAGE.partition("## Lines\n")[2]
    rows = {
        name for cell in re.findall(r"^\| (`[^|]*) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", cell)
    }
    modules = sorted(path for path in (ROOT / "tlog").rglob("*.py") if path.parent.name != "client")
    code = "".join(path.read_text(encoding="utf-8") for path in modules)
    written = re.findall(r'_log\.(?:debug|info|warning|error)(?:,|\()\s*f?"([^"]+)"', code)
    work = {"sealing", "indexing"}
    events = {event.replace("{self._name}", each) for event in written for each in work} | {"leads", "follows"}
    assert {"leads", "disk_ok", "sealing_pauses", "token_made"} <= events
    assert events - rows == set()
    assert rows - events == {"stop", "made", "configuration", "request", "requests_dropped"}


def test_a_request_is_counted_by_the_template_of_its_path(server):
    personal = f"jane-{uuid4()}"
    headers = {"Authorization": f"Bearer {server.token}"}
    for path in (
        f"/v1/audit/resource/patient_record/{personal}/access-log",
        f"/v1/audit/events/{uuid4()}",
        f"/{personal}",
    ):
        httpx2.get(server.url + path, headers=headers, timeout=30)
    text = httpx2.get(server.url + "/metrics").text
    assert personal not in text
    routes = {dict(labels).get("route") for _, labels in samples(server, "tlog_http_request_seconds")}
    templates = {
        "/tile/{path:path}",
        "/v1/audit/resource/{type}/{id:path}/access-log",
        "/v1/audit/events/{event_id:uuid}",
    }
    described = set(describe()["paths"]) | templates | {"none"}
    assert {"none", *templates - {"/tile/{path:path}"}} <= routes <= described


def test_appends_are_timed_and_their_bodies_measured(server):
    before = samples(server, "tlog_http_request_bytes"), samples(server, "tlog_append_commit_seconds")
    body = b"[" + b",".join(sample_events(40, seed=77)) + b"]"
    headers = {"Authorization": f"Bearer {server.token}", "Content-Type": "application/json"}
    assert httpx2.post(server.url + "/v1/audit/events", content=body, headers=headers).status_code == 201
    after = samples(server, "tlog_http_request_bytes"), samples(server, "tlog_append_commit_seconds")
    assert after[0]["_sum", ()] - before[0]["_sum", ()] == len(body)
    assert after[0]["_count", ()] - before[0]["_count", ()] == 1
    assert after[1]["_count", ()] > before[1]["_count", ()]
    buckets = [float(dict(labels)["le"]) for suffix, labels in after[1] if suffix == "_bucket"]
    assert (buckets[0], buckets[-2], buckets[-1]) == (0.005, 10.0, float("inf"))


def test_the_log_is_seen_as_it_is(server):
    server.append([json.loads(raw) for raw in sample_events(5, seed=5)])
    server.seal()
    wait_until(lambda: samples(server, "tlog_pending_entries")["", ()] == 0)
    assert samples(server, "tlog_oldest_pending_seconds")["", ()] == 0
    assert 0 <= samples(server, "tlog_seconds_since_seal")["", ()] < 600
    wait_until(lambda: samples(server, "tlog_index_lag_entries")["", ()] <= 2)
    ((labels, value),) = ((dict(key[1]), value) for key, value in samples(server, "tlog_build_info").items())
    assert (set(labels), value) == ({"version", "python", "postgres"}, 1)
    assert labels["postgres"].startswith("18.")
    states = {
        dict(labels)["state"]: value for (_, labels), value in samples(server, "tlog_database_connections").items()
    }
    assert set(states) == {"busy", "idle", "waited_for"}
    assert 1 <= states["busy"] + states["idle"] <= 8
    free, used, reserve = (samples(server, f"tlog_disk_{each}_bytes")["", ()] for each in ("free", "used", "reserve"))
    assert min(free, used, reserve) > 0
