"""The auditor's questions over HTTP and on the command line, against a real server; each is journaled."""

from __future__ import annotations

import csv
import io
import itertools
import json
import time
import unicodedata
from urllib.parse import quote

import httpx2
import psycopg
import pytest
from questions import brute_force
from stored import change_entry
from support import append, sample_events, start_server, tlog, verify_offline

from tlog.answering import evidence, sets
from tlog.core.evidence import parse_evidence
from tlog.core.evidence_set import verify_evidence_set
from tlog.core.making.bucket_keys import DEFAULT_BITS
from tlog.core.pseudonym import bucket_of, related_ident, resource_ident
from tlog.core.question import parse_question
from tlog.errors import VerificationError
from tlog.postgres.server import EmbeddedPostgres
from tlog.server.app import create_app
from tlog.server.guard.auth import Authenticator, new_token

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
    # A question is journaled while it is answered, so it sees itself or not: the second of two is told by its limit.
    server.http.get("/v1/audit/events", params={"resourceType": "log", "limit": 20})
    answer = server.http.get("/v1/audit/events", params={"resourceType": "log", "limit": 30}).json()
    logged = [json.loads(event["details"]["query"]) for event in answer["events"]]
    return [each for each in logged if each.get("limit") != "30"]


def without_questions(events):
    """The eventIds of an answer without questions: one is journaled while it is answered, so it may be there itself."""
    return [event["eventId"] for event in events if event["resource"]["type"] != "log"]


def test_events_answer_and_page(served):
    members = {"action": "read", "limit": 37}
    found, cursor = [], {}
    while True:
        answer = served.http.get("/v1/audit/events", params={**members, **cursor}).json()
        assert answer["count"] == len(answer["events"]) <= 37
        found += without_questions(answer["events"])
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
    # Whom they were about is in related resources, which can be erased.
    assert logged[2] == {"ask": "export", "format": "evidence"}
    assert logged[3] == {"ask": "events", "from": "2026-03-17T00:00:00Z"}
    about = {"resourceType": "user", "resourceId": "somebody"}
    named = served.http.get("/v1/audit/events", params=about).json()["events"]
    assert [event["log"]["matched"] for event in named[-2:]] == ["related"] * 2
    kinds = [[each["type"] for each in event["relatedResources"]] for event in named[-2:]]
    assert kinds == [["user", "index_bucket"], ["user"]]
    journaled = served.http.get("/v1/audit/events", params={"resourceType": "log", "limit": 1}).json()["events"][0]
    assert (journaled["actor"]["userId"], journaled["action"]) == ("test", "read")


def test_access_log(served):
    resource = served.sent[0]["resource"]
    expected = brute_force(served.sent, {"resourceType": resource["type"], "resourceId": resource["id"]})
    answer = served.http.get(
        f"/v1/audit/resource/{resource['type']}/{quote(resource['id'], safe='')}/access-log"
    ).json()
    assert (answer["resourceType"], answer["resourceId"]) == (resource["type"], resource["id"])
    assert without_questions(answer["accessLog"]) == expected
    strange = served.sent[8]["resource"]
    answer = served.http.get(f"/v1/audit/resource/{strange['type']}/{quote('a/b c:d', safe='')}/access-log").json()
    assert without_questions(answer["accessLog"]) == [served.sent[8]["eventId"]]


@pytest.mark.parametrize("found", [True, False])
def test_evidence_over_http_is_verified_offline(served, directory, found):
    user = served.sent[0]["actor"]["userId"] if found else "nobody"
    path = directory / "bundle.json"
    for query in ({"proof": "true"}, {"format": "evidence"}):
        where = "/v1/audit/events" if "proof" in query else "/v1/audit/export"
        response = served.http.get(where, params={"userId": user, "disclose": "true", **query})
        assert response.status_code == 200, response.text
        path.write_text(response.json()["evidence"] if "proof" in query else response.text)
        done = verify_offline("evidence", "--vkey", served.vkey, "--ask", f"userId={user}", "--json", path)
        verdict = json.loads(done.stdout)
        assert verdict["verdict"] == "verified"
        assert len(verdict["answers"]) == len(brute_force(served.sent, {"userId": user}))
    done = verify_offline("evidence", "--vkey", served.vkey, "--ask", "userId=another", path)
    assert (done.returncode, "another question" in done.stdout) == (2, True)


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
        done = verify_offline("evidence", "--vkey", served.vkey, "--ask", f"userId={user}", directory / "out--evidence")
        assert done.returncode == 0, done.stdout
    done = tlog("export", "--count", "--evidence", directory / "count", "--user", user, "--data", served.data)
    done = verify_offline("evidence", "--vkey", served.vkey, "--ask", f"userId={user}", "--count", directory / "count")
    assert f"exactly {answer['count']} events" in done.stdout
    assert tlog("export", check=False).returncode == 2
    assert tlog("query", "--action", "look", "--data", served.data, check=False).returncode == 2
    logged = questions_logged(served)
    assert {"ask": "events", "limit": "50"} in logged
    assert user not in json.dumps(logged)


def test_a_cursor_is_not_journaled(served):
    """It holds a hash of the question, which would confirm a guess of whom that was about."""
    params = {"userId": served.sent[0]["actor"]["userId"], "action": served.sent[0]["action"], "limit": 1}
    following = served.http.get("/v1/audit/events", params={"action": "read", "limit": 1}).json()["next"]
    assert served.http.get("/v1/audit/events", params={"action": "read", "limit": 1, "cursor": following}).is_success
    assert served.http.get("/v1/audit/events", params=params).is_success
    assert not any("cursor" in each for each in questions_logged(served))


def test_new_options_and_columns_on_the_command_line(served):
    event = json.loads(sample_events(1, seed=77)[0])
    event |= {"operation": "LookUp", "source": {"id": "ehr-api:77", "seq": 1}}
    event |= {"relatedResources": [{"type": "lab_result", "id": "L-77"}]}
    event["actor"] = {"type": "unknown", "address": "gateway.example"}
    served.append([event])
    for options in (
        ("--operation", "LookUp"),
        ("--source-id", "ehr-api:77"),
        ("--actor-type", "unknown"),
        ("--resource", "lab_result:L-77"),
    ):
        done = tlog("query", *options, "--data", served.data, "--json")
        assert [each["eventId"] for each in json.loads(done.stdout)["events"]][-1] == event["eventId"], options
    rows = tlog("query", "--resource", "lab_result:L-77", "--data", served.data).stdout.splitlines()
    (row,) = [line.split("\t") for line in rows if line.endswith(event["eventId"])]
    assert row[1:4] == ["(unknown)", "", f"{event['action']} (LookUp)"]
    for options, code in (
        (("--zone", "Middle/Earth"), 2),
        (("--zone", "Europe/Budapest", "--logged"), 0),
        (("--actor-type", "user"), 2),
        (("--actor-type", "unknown", "--user", "x"), 2),
        (("--control", "event"), 2),
        (("--operation", "a b"), 2),
        (("--user", "a\U00010efd"), 3 if unicodedata.category("\U00010efd") == "Cn" else 0),
        (("--user", "x" * 300), 0),
    ):
        done = tlog("query", *options, "--data", served.data, check=False)
        assert done.returncode == code, (options, done.stderr)
    assert "sha256:" in done.stderr


@pytest.mark.anyio
async def test_an_answer_too_large_for_one_bundle_is_a_set(opened, monkeypatch):
    for module in (evidence, sets):
        monkeypatch.setattr(module, "MAX_POSTINGS", 50)
    async with opened(index=True) as log:
        await log.wait_indexed((await append(log, sample_events(400)))[-1].index + 1, 20)
        key, stored = new_token(log.directory.pepper(), "auditor", ["read"], log.clock())

        async def find(_):
            return stored

        app = create_app(log, Authenticator(find, log.directory.pepper(), log.clock))
        asked, lines = (
            {"format": "evidence", "action": "read"},
            {"Accept": "application/json, application/x-ndjson;q=0.5"},
        )
        async with httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app=app), base_url="http://log", headers={"Authorization": f"Bearer {key}"}
        ) as client:

            async def export(headers, **params):
                return await client.get("/v1/audit/export", params={**asked, **params}, headers=headers)

            for accept in ("*/*", "application/json", "application/x-ndjson;q=0", ""):
                refused = await export({"Accept": accept})
                assert (refused.status_code, "'Accept: application/x-ndjson'" in refused.text) == (413, True)
            answer = await export(lines)
            assert (answer.status_code, answer.headers["content-type"]) == (200, "application/x-ndjson")
            bundles = [parse_evidence(line + b"\n") for line in answer.content.splitlines()]
            question = parse_question({"action": "read"})
            proved = verify_evidence_set(log.verifier, question, iter(bundles))
            assert proved.count > 50
            small = await export(lines, outcome="failure", loggedTo="2020-01-01")
            assert (small.status_code, small.headers["content-type"]) == (200, "application/json")
            assert (await export(lines, mode="count")).json()["manifest"]["answers"] >= proved.count
            # Each holds a connection and a snapshot while it is sent, so there are few at a time.
            service = app.state.service
            async with service.sets, service.sets:
                full = await export(lines)
                assert (full.status_code, full.headers["retry-after"]) == (503, "10")
            assert (await export(lines)).status_code == 200
            monkeypatch.setattr(sets, "begin", broken)
            assert (await export(lines)).status_code == 500
            assert not service.sets.locked()


def test_questions_about_the_log_are_left_out_where_nobody_wants_them(served):
    resource = served.sent[0]["resource"]
    question = {"resourceType": resource["type"], "resourceId": resource["id"]}
    shown = [served.http.get("/v1/audit/events", params={**question, "journal": "show"}).json() for _ in range(2)][-1]
    left = served.http.get("/v1/audit/events", params={**question, "journal": "leave-out"}).json()
    assert any(each["resource"]["type"] == "log" for each in shown["events"]), "who asked the first time"
    assert [each["eventId"] for each in left["events"]] == brute_force(served.sent, question)
    assert left["notLookedAt"] == [
        *shown["notLookedAt"],
        "events about the log itself: who asked it, and who signed in",
    ]
    refused = served.http.get("/v1/audit/events", params={**question, "journal": "no"})
    assert (refused.status_code, refused.json()["pointer"]) == (400, "/journal")


async def broken(*_, **__):
    message = "nothing is right"
    raise VerificationError(message)


def test_verification_runs_aside_and_goes_on_where_it_ended(served):
    def verify(**parameters):
        response = served.http.get("/v1/audit/verify", params={"wait": 30, **parameters})
        assert response.status_code == 200
        return response.json()

    at_once = verify(wait=0)
    assert questions_logged(served)[1] == {"ask": "verify", "full": "false"}
    assert at_once["running"] is not None
    assert at_once["verified"] is None
    first = verify()
    assert (first["verified"], first["brokenAt"], first["errors"], first["checkedFrom"]) == (True, None, [], 0)
    assert first["totalEvents"] >= 400
    served.append([json.loads(raw) for raw in sample_events(30, seed=9)])
    second = verify()
    assert (second["verified"], second["checkedFrom"]) == (True, first["treeSize"])
    assert second["totalEvents"] == first["totalEvents"] + 30 + 1, "the question is an event too"
    assert second["fullCheckAt"] == first["fullCheckAt"]
    postgres = EmbeddedPostgres(served.data / "postgres")

    def change():
        with psycopg.connect(postgres.conninfo(user="postgres"), autocommit=True) as admin:
            change_entry(admin, 5, lambda entry: entry[:20] + bytes([255 - entry[20]]) + entry[21:])

    change()
    assert verify()["verified"] is True  # it looked at what is new only, and says so
    broken = verify(full="true")
    assert (broken["verified"], broken["brokenAt"]) == (False, 5)
    assert ("entry changed", "entry 5") in {(error["damage"], error["place"]) for error in broken["errors"]}
    change()
    mended = verify()
    assert (mended["verified"], mended["checkedFrom"]) == (True, 0)


def test_s16_a_full_check_is_for_administrators_and_each_one_is_journaled(served):
    made = tlog("token", "create", "--data", served.data, "--principal", "looker", "--scope", "read", "--json")
    headers = {"Authorization": f"Bearer {json.loads(made.stdout)['token']}"}

    def verify(**params):
        return httpx2.get(served.url + "/v1/audit/verify", params={"wait": 0, **params}, headers=headers)

    refused = verify(full="true")
    assert (refused.status_code, 'scope="admin"' in refused.headers["www-authenticate"]) == (403, True)
    assert verify().status_code == 200
    found = served.http.get("/v1/audit/events", params={"userId": "looker"}).json()["events"]
    assert [json.loads(each["details"]["query"]) for each in found] == [{"ask": "verify", "full": "false"}]
    assert served.http.get("/v1/audit/verify", params={"full": "true", "wait": 0}).status_code == 200


ID = "0190f3c2-5f6e-7d3a-9b1c-2f4e6a8c0d1e"
NEED_KEYS = ["events", "export", "verify", "resource/t/i/access-log", f"events/{ID}", f"events/{ID}/proof"]


@pytest.mark.parametrize("path", NEED_KEYS)
@pytest.mark.parametrize("query", ["nothing=1", "userId=%ff", "limit=0&limit=0", "action=look", "full=yes", "%zz"])
def test_s20_who_has_no_key_is_not_told_what_is_wrong_with_a_question(served, path, query):
    url = f"{served.url}/v1/audit/{path}?{query}"
    for headers in ({}, {"Authorization": "Bearer x"}):
        answer = httpx2.get(url, headers=headers)
        assert (answer.status_code, answer.json().get("pointer")) == (401, None)
    control = served.http.get(url)
    assert control.status_code in (400, 404), control.text


# --- S1: what a bundle opens -------------------------------------------------------------------------------------------


def _bucket(kind, ident):
    return {bucket_of(make(kind, ident), DEFAULT_BITS) for make in (resource_ident, related_ident)}


def decoy_for(victim):
    """Return an id that nobody has, whose bucket is one of the victim's: found by trying."""
    wanted = _bucket("patient_record", victim)
    return next(name for name in map("decoy-{}".format, itertools.count()) if wanted & _bucket("patient_record", name))


def test_s1_who_could_know_of_a_victim_who_was_never_named(served):
    made = tlog("token", "create", "--data", served.data, "--principal", "curious", "--scope", "read", "--json")
    token = json.loads(made.stdout)["token"]
    asked = {
        "resourceType": "patient_record",
        "resourceId": decoy_for("P-victim"),
        "format": "evidence",
        "mode": "count",
    }
    answer = httpx2.get(
        served.url + "/v1/audit/export", params=asked, headers={"Authorization": f"Bearer {token}"}, timeout=60
    )
    assert answer.json()["manifest"]["answers"] == 0
    served.seal()

    def who(*options, **environment):
        done = tlog("query", *options, "--json", "--limit", "1000", **environment)
        return [event["actor"]["userId"] for event in json.loads(done.stdout)["events"]]

    remote = {"env": {"TLOG_TOKEN": served.token, "PATH": "/usr/bin:/bin"}}
    # The journal names the decoy; nobody would look for it. By name the victim is in no question.
    assert "curious" not in who("--resource", "patient_record:P-victim", "--data", served.data)
    for options, environment in ((("--data", served.data), {}), (("--url", served.url), remote)):
        assert who("--could-know", "patient_record:P-victim", *options, **environment).count("curious") == 1
        assert "curious" not in who("--could-know", "patient_record:P-other", *options, **environment)
        assert "curious" not in who("--could-know", "user:P-victim", *options, **environment)
    for wrong in (("--could-know", "x"), ("--could-know", "a:b", "--resource", "a:b")):
        done = tlog("query", *wrong, "--data", served.data, check=False)
        assert (done.returncode, "--could-know" in done.stderr) == (2, True)


def test_s1_buckets_of_a_day_have_an_end(served):
    made = tlog(
        *("token", "create", "--data", served.data, "--principal", "auditor", "--scope", "read", "--buckets", "3"),
        "--json",
    )
    key = json.loads(made.stdout)
    listed = json.loads(tlog("token", "list", "--data", served.data, "--json").stdout)
    assert {each["keyId"]: each["buckets"] for each in listed}[key["keyId"]] == 3
    before = _disclosed(served)

    def ask(**params):
        headers = {"Authorization": f"Bearer {key['token']}"}
        return httpx2.get(served.url + "/v1/audit/events", params=params, headers=headers, timeout=60)

    one, two = ({"resourceType": "t", "resourceId": each} for each in ("one", "two"))
    assert ask(**one, proof="true").status_code == 200  # two buckets
    assert ask(**one, proof="true").status_code == 200  # the same
    refused = ask(**two, proof="true")
    assert (refused.status_code, "index buckets in a day" in refused.json()["detail"]) == (429, True)
    assert int(refused.headers["retry-after"]) > 1
    headers = {"Authorization": f"Bearer {key['token']}"}
    bundle = {**two, "format": "evidence"}
    assert httpx2.get(served.url + "/v1/audit/export", params=bundle, headers=headers).status_code == 429
    assert ask(**two).status_code == 200, "an answer without evidence opens none"
    assert ask(userId="one", proof="true").status_code == 200  # the third
    assert _disclosed(served) - before == 3


def _disclosed(served):
    lines = httpx2.get(served.url + "/metrics").text.splitlines()
    return float(next(line for line in lines if line.startswith("tlog_buckets_disclosed_total ")).split()[1])
