"""The auditor's questions over HTTP and on the command line, against a real server; each is journaled."""

from __future__ import annotations

import csv
import io
import json
import time
from urllib.parse import quote

import httpx2
import pytest
from questions import brute_force
from support import sample_events, start_server, tlog, verify_offline

from tlog.postgres.server import EmbeddedPostgres

FORMULA = '=HYPERLINK("http://x")'


@pytest.fixture(scope="module")
def served(module_directory):
    """A server with a few hundred events, all indexed."""
    path = module_directory
    server = start_server(path / "data")
    sent = [json.loads(raw) for raw in sample_events(400)]
    sent[7]["actor"]["userId"] = FORMULA
    sent[8]["resource"]["id"] = "a/b c:d"
    server.append(sent)
    server.sent = sent
    with httpx2.Client(base_url=server.url, headers={"Authorization": f"Bearer {server.token}"}, timeout=60) as http:
        server.http = http
        wait_indexed(http)
        yield server
    server.stop()


def wait_indexed(http):
    deadline = time.monotonic() + 30
    while True:
        position = http.get("/v1/audit/events", params={"limit": 1}).json()["asOf"]
        if position["size"] - position["indexed"] < 6:
            return
        assert time.monotonic() < deadline
        time.sleep(0.1)


def questions_logged(server):
    """What the read journal holds, newest first."""
    # A question is journaled while it is answered, so the first of two may not see itself.
    server.http.get("/v1/audit/events", params={"resourceType": "log", "limit": 20})
    answer = server.http.get("/v1/audit/events", params={"resourceType": "log", "limit": 20}).json()
    return [json.loads(event["details"]["query"]) for event in answer["events"]]


def test_events_answer_and_page(served):
    members = {"action": "read", "limit": 37}
    found, cursor = [], {}
    while True:
        answer = served.http.get("/v1/audit/events", params={**members, **cursor}).json()
        assert answer["count"] == len(answer["events"]) <= 37
        found += [event["eventId"] for event in answer["events"] if event["resource"]["type"] != "log"]
        if answer["next"] is None:
            break
        cursor = {"cursor": answer["next"]}
    assert found == brute_force(served.sent, {"action": "read"})
    assert answer["asOf"]["checkpoint"].startswith("example.com/served\n")
    assert answer["asOf"]["size"] >= answer["asOf"]["sealed"] >= answer["asOf"]["indexed"] > 400
    assert answer["notLookedAt"] == []


def test_every_question_is_in_the_journal(served):
    served.http.get("/v1/audit/events", params={"userId": "somebody", "from": "2026-03-17"})
    served.http.get("/v1/audit/export", params={"userId": "somebody", "format": "evidence"})
    served.http.get(f"/v1/audit/events/{served.sent[0]['eventId']}")
    logged = questions_logged(served)
    assert logged[0] == {"ask": "events", "limit": "20", "resourceType": "log"}
    assert logged[1] == {"ask": "event", "eventId": served.sent[0]["eventId"]}
    assert logged[2] == {"ask": "export", "format": "evidence", "userId": "somebody"}
    assert logged[3] == {"ask": "events", "from": "2026-03-17T00:00:00Z", "userId": "somebody"}
    journaled = served.http.get("/v1/audit/events", params={"resourceType": "log", "limit": 1}).json()["events"][0]
    assert (journaled["actor"]["userId"], journaled["action"]) == ("test", "read")


def test_access_log(served):
    resource = served.sent[0]["resource"]
    expected = brute_force(served.sent, {"resourceType": resource["type"], "resourceId": resource["id"]})
    answer = served.http.get(
        f"/v1/audit/resource/{resource['type']}/{quote(resource['id'], safe='')}/access-log"
    ).json()
    assert (answer["resourceType"], answer["resourceId"]) == (resource["type"], resource["id"])
    assert [event["eventId"] for event in answer["accessLog"]] == expected
    strange = served.sent[8]["resource"]
    answer = served.http.get(f"/v1/audit/resource/{strange['type']}/{quote('a/b c:d', safe='')}/access-log").json()
    assert [event["eventId"] for event in answer["accessLog"]] == [served.sent[8]["eventId"]]


@pytest.mark.parametrize("found", [True, False])
def test_evidence_over_http_is_verified_offline(served, directory, found):
    user = served.sent[0]["actor"]["userId"] if found else "nobody"
    path = directory / "bundle.json"
    for query in ({"proof": "true"}, {"format": "evidence"}):
        where = "/v1/audit/events" if "proof" in query else "/v1/audit/export"
        response = served.http.get(where, params={"userId": user, "disclose": "true", **query})
        assert response.status_code == 200, response.text
        path.write_text(response.json()["evidence"] if "proof" in query else response.text)
        done = verify_offline("evidence", "--vkey", served.vkey, "--ask", f"actor={user}", "--json", path)
        verdict = json.loads(done.stdout)
        assert verdict["verdict"] == "verified"
        entries = [line for line in verdict["details"] if line.startswith("entry")]
        assert len(entries) == len(brute_force(served.sent, {"userId": user}))
    done = verify_offline("evidence", "--vkey", served.vkey, "--ask", "actor=another", path)
    assert (done.returncode, "another question" in done.stdout) == (1, True)


def test_ndjson_is_the_events_that_were_sent(served):
    text = served.http.get("/v1/audit/export", params={"userId": served.sent[0]["actor"]["userId"]}).text
    lines = [json.loads(line) for line in text.splitlines()]
    sent = {event["eventId"]: {"outcome": "unknown", **event} for event in served.sent}
    for line in lines:
        assert {name: value for name, value in line.items() if name != "log"} == sent[line["eventId"]]
    assert [line["eventId"] for line in lines] == brute_force(
        served.sent, {"userId": served.sent[0]["actor"]["userId"]}
    )


def test_csv_has_no_formulas_and_says_that_it_is_no_evidence(served):
    response = served.http.get("/v1/audit/export", params={"format": "csv", "from": "2026-01-01", "to": "2027-01-01"})
    assert "not-evidence" in response.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(response.text, newline="")))
    users = {row["eventId"]: row["userId"] for row in rows}
    assert users[served.sent[7]["eventId"]] == "'" + FORMULA
    assert all(not cell.startswith(("=", "+", "-", "@", "\t", "\r")) for row in rows for cell in row.values())
    assert {row["evidence"] for row in rows} == {"none: ask for format=evidence"}
    assert {event["eventId"] for event in served.sent} <= users.keys()


@pytest.mark.parametrize(
    "path, pointer",
    [
        ("/v1/audit/events?action=look", "/action"),
        ("/v1/audit/events?patient=1", "/patient"),
        ("/v1/audit/events?limit=0", "/limit"),
        ("/v1/audit/events?limit=1001", "/limit"),
        ("/v1/audit/events?cursor=x", "/cursor"),
        ("/v1/audit/events?resourceId=x", "/resourceType"),
        ("/v1/audit/events?proof=yes", "/proof"),
        ("/v1/audit/events?userId=x&mode=all", "/mode"),
        ("/v1/audit/export?format=pdf", "/format"),
        ("/v1/audit/resource/t/i/access-log?resourceId=x", "/resourceId"),
        ("/v1/audit/verify?full=yes", "/full"),
        ("/v1/audit/verify?wait=61", "/wait"),
    ],
)
def test_wrong_parameters_are_named(served, path, pointer):
    response = served.http.get(path)
    assert (response.status_code, response.json().get("pointer")) == (400, pointer)


def test_more_wrong_parameters(served):
    for path in (
        "/v1/audit/events?userId=x&userId=y",
        "/v1/audit/events?proof=true",
        "/v1/audit/export?format=evidence",
    ):
        assert served.http.get(path).status_code == 400
    assert httpx2.get(f"{served.url}/v1/audit/events").status_code == 401
    assert httpx2.get(f"{served.url}/v1/audit/verify").status_code == 401


def test_questions_on_the_command_line(served, directory):
    user = served.sent[0]["actor"]["userId"]
    remote = {"env": {"TLOG_TOKEN": served.token, "PATH": "/usr/bin:/bin"}}
    answer = json.loads(tlog("query", "--user", user, "--url", served.url, "--json", **remote).stdout)
    assert [event["eventId"] for event in answer["events"]] == brute_force(served.sent, {"userId": user})
    local = json.loads(tlog("query", "--user", user, "--data", served.data, "--json").stdout)
    assert [event["eventId"] for event in local["events"]] == [event["eventId"] for event in answer["events"]]
    table = tlog("query", "--user", user, "--data", served.data).stdout
    assert served.sent[0]["action"] in table
    for where in (("--url", served.url), ("--data", served.data)):
        for form in ("--ndjson", "--csv", "--evidence"):
            path = directory / f"out{form}"
            tlog("export", form, path, "--user", user, *where, **(remote if "--url" in where else {}))
            assert path.stat().st_size > 500
        done = verify_offline("evidence", "--vkey", served.vkey, "--ask", f"actor={user}", directory / "out--evidence")
        assert done.returncode == 0, done.stdout
    done = tlog("export", "--count", "--evidence", directory / "count", "--user", user, "--data", served.data)
    done = verify_offline("evidence", "--vkey", served.vkey, "--ask", f"actor={user}", "--count", directory / "count")
    assert f"exactly {answer['count']} events" in done.stdout
    assert tlog("export", check=False).returncode == 2
    assert tlog("query", "--action", "look", "--data", served.data, check=False).returncode == 2
    logged = questions_logged(served)
    assert {"ask": "events", "limit": "50", "userId": user} in logged


def test_verification_runs_aside_and_goes_on_where_it_ended(served):
    def verify(**parameters):
        response = served.http.get("/v1/audit/verify", params={"wait": 30, **parameters})
        assert response.status_code == 200
        return response.json()

    at_once = verify(wait=0)
    assert at_once["running"] is not None
    assert at_once["verified"] is None
    first = verify()
    assert (first["verified"], first["brokenAt"], first["errors"], first["checkedFrom"]) == (True, None, [], 0)
    assert first["totalEvents"] >= 400
    served.append([json.loads(raw) for raw in sample_events(30, seed=9)])
    second = verify()
    assert (second["verified"], second["checkedFrom"]) == (True, first["treeSize"])
    assert second["totalEvents"] == first["totalEvents"] + 30
    assert second["fullCheckAt"] == first["fullCheckAt"]
    postgres = EmbeddedPostgres(served.data / "postgres")
    change = (
        "ALTER TABLE tlog.leaf DISABLE TRIGGER ALL; "
        "UPDATE tlog.leaf SET entry = set_byte(entry, 20, 255 - get_byte(entry, 20)) WHERE index = 5; "
        "ALTER TABLE tlog.leaf ENABLE ALWAYS TRIGGER append_only"
    )
    postgres.administer(change)
    assert verify()["verified"] is True  # it looked at what is new only, and says so
    broken = verify(full="true")
    assert (broken["verified"], broken["brokenAt"]) == (False, 5)
    assert ("entry changed", "entry 5") in {(error["damage"], error["place"]) for error in broken["errors"]}
    postgres.administer(change)
    mended = verify()
    assert (mended["verified"], mended["checkedFrom"]) == (True, 0)
