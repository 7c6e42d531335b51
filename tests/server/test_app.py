"""The HTTP contract, against a real server process on its own PostgreSQL."""

from __future__ import annotations

import base64
import json
import re
import shutil
import socket
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit
from uuid import uuid4

import httpx2
import psycopg
import pytest
from stored import erase
from support import fill, sample_events, start_server, tlog, verify_offline

from tlog.core.bundle import parse_bundle
from tlog.core.checkpoint import open_checkpoint
from tlog.core.eventfile import EventFile, format_event_file
from tlog.core.merkle import leaf_hash
from tlog.core.note import parse_vkey
from tlog.core.tile import root_from_tiles, split_hashes
from tlog.core.verify import verify_event, verify_growth
from tlog.postgres.server import EmbeddedPostgres
from tlog.server.app import create_app
from tlog.server.guard.auth import Authenticator, new_token


@pytest.fixture(scope="module")
def server(module_directory):
    server = start_server(module_directory / "data")
    yield server
    assert server.stop() == 0


@pytest.fixture
def http(server):
    with httpx2.Client(base_url=server.url, headers={"Authorization": f"Bearer {server.token}"}, timeout=30) as client:
        yield client


@pytest.fixture
def anonymous(server):
    with httpx2.Client(base_url=server.url, timeout=30) as client:
        yield client


_seeds = iter(range(1000, 10**6))


def fresh(count=1):
    return [json.loads(raw) for raw in sample_events(count, seed=next(_seeds))]


def events_in(http):
    """Return how many events were appended; index epochs are entries too, and come by themselves."""
    return int(re.search(r"^tlog_events_appended_total (\d+)", http.get("/metrics").text, re.MULTILINE)[1])


# --- Appending -------------------------------------------------------------------------------------------------------


def test_one_event(http):
    event = fresh()[0]
    answer = http.post("/v1/audit/events", json=event)
    assert answer.status_code == 201
    (receipt,) = answer.json()["receipts"]
    assert receipt["eventId"] == event["eventId"]
    assert len(base64.b64decode(receipt["leafHash"])) == len(base64.b64decode(receipt["chainHash"])) == 32
    again = http.post("/v1/audit/events", json=event)
    assert again.status_code == 200
    assert again.json()["receipts"] == [{**receipt, "duplicate": True}]


def test_array_and_ndjson(http):
    array = http.post("/v1/audit/events", json=fresh(5))
    assert [receipt["index"] for receipt in array.json()["receipts"]] == list(
        range(array.json()["receipts"][0]["index"], array.json()["receipts"][0]["index"] + 5)
    )
    lines = "\n".join(json.dumps(event) for event in fresh(5)) + "\n\n"
    answer = http.post(
        "/v1/audit/events", content=lines, headers={"Content-Type": "application/x-ndjson; charset=utf-8"}
    )
    assert answer.status_code == 201
    assert len(answer.json()["receipts"]) == 5


def test_wait_sealed_answers_with_proofs(http, server, tmp_path):
    events = fresh(3)
    http.post("/v1/audit/events", json=events[0])
    answer = http.post("/v1/audit/events?wait=sealed", json=events).json()
    assert answer["sealed"] is True
    for event, receipt in zip(events, answer["receipts"], strict=True):
        file = format_event_file(EventFile(receipt["entry"].encode(), {}))
        verified = verify_event(parse_vkey(server.vkey), file, receipt["proof"].encode())
        assert (verified.entry.eventId, verified.index) == (event["eventId"], receipt["index"])


def test_conflict(http):
    event = fresh()[0]
    http.post("/v1/audit/events", json=event)
    before = events_in(http)
    single = http.post("/v1/audit/events", json={**event, "action": "export"})
    assert (single.status_code, single.json()["pointer"]) == (409, "/eventId")
    batch = http.post("/v1/audit/events", json=[fresh()[0], {**event, "action": "export"}])
    assert (batch.status_code, batch.json()["pointer"]) == (409, "/1/eventId")
    twice = fresh()[0]
    both = [{**event, "action": "export"}, twice, {**twice, "action": "export"}]
    named = http.post("/v1/audit/events", json=both).json()["errors"]
    assert [(each["eventId"], each["pointer"]) for each in named] == [
        (event["eventId"], "/0/eventId"),
        (twice["eventId"], "/2/eventId"),
    ]
    assert "already logged" in named[0]["detail"]
    assert "stands twice in this request" in named[1]["detail"]
    assert events_in(http) == before


def mutate(path, value):
    """Return an event whose member at `path` is `value`, as JSON text; ... removes it."""
    event = fresh()[0]
    target = event
    for step in path[:-1]:
        target = target.setdefault(step, {})
    if value is ...:
        del target[path[-1]]
    else:
        target[path[-1]] = value
    return json.dumps(event)


def text(old, new):
    raw = json.dumps(fresh()[0])
    assert old in raw
    return raw.replace(old, new, 1)


DEEP = "[" * 33 + "]" * 33
BAD_EVENTS = {
    "unknown member": (lambda: mutate(["colour"], "red"), "/colour"),
    "unknown member below": (lambda: mutate(["actor", "age"], 3), "/actor/age"),
    "missing": (lambda: mutate(["actor", "userId"], ...), "/actor/userId"),
    "null": (lambda: mutate(["resource", "id"], None), "/resource/id"),
    "e-mail": (lambda: mutate(["actor", "email"], "nobody"), "/actor/email"),
    "UUID": (lambda: mutate(["eventId"], "17"), "/eventId"),
    "timestamp": (lambda: mutate(["timestamp"], "2026-03-17 10:00"), "/timestamp"),
    "date that does not exist": (lambda: mutate(["timestamp"], "2026-02-30T10:00:00Z"), "/timestamp"),
    "IP address": (lambda: mutate(["actor", "ipAddress"], "10.1.1.256"), "/actor/ipAddress"),
    "action": (lambda: mutate(["action"], "look"), "/action"),
    "outcome": (lambda: mutate(["outcome"], "maybe"), "/outcome"),
    "list element": (lambda: mutate(["details", "fieldsAccessed"], ["a", 1]), "/details/fieldsAccessed/1"),
    "duplicate key": (lambda: text('"metadata": {', '"metadata": {"ward": "x", '), "/metadata/ward"),
    "NaN": (lambda: text('"metadata": {', '"metadata": {"n": NaN, '), "/metadata/n"),
    "infinity": (lambda: text('"metadata": {', '"metadata": {"n": 1e400, '), "/metadata/n"),
    "integer beyond 2^53": (lambda: mutate(["metadata", "n"], 2**53), "/metadata/n"),
    "integer of 5000 digits": (lambda: text('"metadata": {', '"metadata": {"n": ' + "9" * 5000 + ", "), "/metadata/n"),
    "sequence beyond 2^53": (lambda: mutate(["source"], {"id": "a", "seq": 2**53}), "/source/seq"),
    "lone surrogate": (lambda: text('"metadata": {', '"metadata": {"s": "\\ud800", '), "/metadata/s"),
    "depth over 32": (lambda: text('"metadata": {', '"metadata": {"d": ' + DEEP + ", "), "/metadata/d" + "/0" * 30),
    "too long": (lambda: mutate(["metadata", "x"], "x" * 65_535), ""),
    "not JSON": (lambda: '{"eventId": ', ""),
    "not an object": (lambda: '"event"', ""),
    "empty object": (lambda: "{}", "/action"),
}


@pytest.mark.parametrize("defect", BAD_EVENTS)
def test_bad_event_is_named_and_nothing_is_appended(http, defect):
    make, pointer = BAD_EVENTS[defect]
    before = events_in(http)
    body = make()
    answer = http.post("/v1/audit/events", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["pointer"] == pointer
    assert problem["type"] == "urn:tlog:problem:invalid-event"
    assert problem["status"] == 422
    if body.startswith("{") and body.endswith("}"):
        good = json.dumps(fresh()[0])
        batch = http.post(
            "/v1/audit/events", content=f"{good}\n{body}\n{good}", headers={"Content-Type": "application/x-ndjson"}
        )
        assert batch.status_code == 422
        assert batch.json()["pointer"] == "/1" + pointer
    assert events_in(http) == before


def test_an_event_spread_over_several_lines_is_taken_as_json_only(http):
    event = fresh()[0]
    body, before = json.dumps(event, indent=1) + "\n", events_in(http)
    refused = http.post("/v1/audit/events", content=body, headers={"Content-Type": "application/x-ndjson"})
    assert (refused.status_code, refused.json()["pointer"]) == (422, "/0")
    assert events_in(http) == before
    taken = http.post("/v1/audit/events", content=body, headers={"Content-Type": "application/json"})
    assert taken.status_code == 201


def test_several_bad_events_are_all_named(http):
    answer = http.post("/v1/audit/events", json=[fresh()[0], {}, {**fresh()[0], "eventId": "1"}])
    pointers = [error["pointer"] for error in answer.json()["errors"]]
    assert pointers[-1] == "/2/eventId"
    assert {"/1/action", "/1/actor", "/1/eventId", "/1/resource", "/1/timestamp"} == set(pointers[:-1])


def test_all_that_is_wrong_with_one_event_is_named(http):
    event = {**fresh()[0], "action": "look", "colour": "red"}
    del event["timestamp"]
    problem = http.post("/v1/audit/events", json=event).json()
    assert {error["pointer"] for error in problem["errors"]} == {"/action", "/colour", "/timestamp"}
    assert (problem["errors"][0]["pointer"], problem["errors"][0]["detail"]) == (problem["pointer"], problem["detail"])


def test_error_messages_do_not_repeat_what_was_sent(http):
    """Personal data must not come back in errors, nor reach the log through them."""
    secret = "Jane-Secret-Doe"
    for path in (["actor", "email"], ["actor", "ipAddress"], ["action"], ["outcome"], ["timestamp"], ["eventId"]):
        answer = http.post(
            "/v1/audit/events", content=mutate(path, secret), headers={"Content-Type": "application/json"}
        )
        assert answer.status_code == 422
        assert secret not in answer.text


BAD_REQUESTS = {
    "no body": (b"", "application/json", 400),
    "only blanks": (b" \n ", "application/x-ndjson", 400),
    "empty array": (b"[]", "application/json", 400),
    "array that is none": (b"[{}", "application/json", 400),
    "another media type": (b"{}", "text/csv", 415),
    "another charset": (b"{}", "application/json; charset=utf-16", 415),
    "lines as one text": (b"{}\n" * 40_000, "application/json", 400),
    "too many events": (b"{}\n" * 10_001, "application/x-ndjson", 413),
    "too long": (b" " * (16 << 20) + b"{}", "application/json", 413),
}


@pytest.mark.parametrize("defect", BAD_REQUESTS)
def test_bad_requests(http, defect):
    body, media_type, status = BAD_REQUESTS[defect]
    answer = http.post("/v1/audit/events", content=body, headers={"Content-Type": media_type})
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


def test_body_without_a_length_is_limited_too(server):
    """A chunked body has no Content-Length to refuse it by."""

    def chunks():
        for _ in range(40):
            yield b" " * (1 << 19)

    headers = {"Authorization": f"Bearer {server.token}", "Content-Type": "application/json"}
    answer = httpx2.post(server.url + "/v1/audit/events", content=chunks(), headers=headers, timeout=30)
    assert answer.status_code == 413


# --- Keys and scopes -------------------------------------------------------------------------------------------------


def token(server, scope, *options):
    arguments = ["token", "create", "--data", server.data, "--principal", f"test:{scope}", "--scope", scope, "--json"]
    return json.loads(tlog(*arguments, *options).stdout)


@pytest.mark.parametrize(
    "header",
    [None, "", "Bearer", "Basic dXNlcjpwYXNz", "Bearer tlog_0123456789abcdef_" + "A" * 43, "Bearer nonsense"],
    ids=lambda header: str(header)[:20],
)
def test_requests_without_a_valid_key_are_refused(anonymous, header):
    headers = {} if header is None else {"Authorization": header}
    for answer in (
        anonymous.post("/v1/audit/events", json=fresh()[0], headers=headers),
        anonymous.get(f"/v1/audit/events/{uuid4()}/proof", headers=headers),
    ):
        assert answer.status_code == 401
        presented = (header or "").startswith("Bearer")
        challenge = 'Bearer error="invalid_token"' if presented else 'Bearer realm="tlog"'
        assert answer.headers["www-authenticate"] == challenge


def test_scopes(server, anonymous):
    append, read = token(server, "append")["token"], token(server, "read")["token"]
    event = fresh()[0]

    def post(key):
        return anonymous.post("/v1/audit/events", json=event, headers={"Authorization": f"Bearer {key}"}).status_code

    def get(key):
        path = f"/v1/audit/events/{event['eventId']}/proof"
        return anonymous.get(path, headers={"Authorization": f"Bearer {key}"}).status_code

    assert post(read) == 403
    assert post(append) == 201
    server.seal()
    assert get(append) == 403
    assert get(read) == 200


def test_one_changed_character_of_a_key_is_another_key(server, anonymous):
    key = token(server, "append")["token"]
    wrong = key[:-2] + ("A" if key[-2] != "A" else "B") + key[-1]
    for each, status in ((wrong, 401), (key, 201)):
        answer = anonymous.post("/v1/audit/events", json=fresh()[0], headers={"Authorization": f"Bearer {each}"})
        assert answer.status_code == status


def test_revoked_keys_stop_working_and_listing_shows_no_secret(server, anonymous):
    made = token(server, "append")
    listed = tlog("token", "list", "--data", server.data, "--json").stdout
    assert made["keyId"] in listed
    assert made["token"] not in listed
    secret = made["token"].removeprefix(f"tlog_{made['keyId']}_")  # a secret may have "_" within
    assert len(secret) == 43
    assert secret not in listed
    tlog("token", "revoke", made["keyId"], "--data", server.data)
    answer = anonymous.post("/v1/audit/events", json=fresh()[0], headers={"Authorization": f"Bearer {made['token']}"})
    assert answer.status_code == 401
    again = tlog("token", "revoke", made["keyId"], "--data", server.data, check=False)
    assert again.returncode == 2


# --- Reading ---------------------------------------------------------------------------------------------------------


def test_tiles_lead_to_the_signed_root(server, http, anonymous):
    http.post("/v1/audit/events", json=fresh(300))
    server.seal()
    answer = anonymous.get("/checkpoint")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    checkpoint = open_checkpoint(answer.content, parse_vkey(server.vkey))
    tiles = {}
    for level in (0, 1):
        count = checkpoint.size >> 8 * level
        for index in range(-(-count // 256)):
            width = min(256, count - index * 256)
            path = f"/tile/{level}/{index:03d}" + (f".p/{width}" if width < 256 else "")
            fetched = anonymous.get(path)
            assert fetched.status_code == 200
            assert "immutable" in fetched.headers["cache-control"]
            tiles[level, index] = fetched.content
    assert root_from_tiles(checkpoint.size, tiles) == checkpoint.root
    bundle = anonymous.get("/tile/entries/000").content
    assert [leaf_hash(entry) for entry in parse_bundle(bundle, 256)] == list(split_hashes(tiles[0, 0]))


@pytest.mark.parametrize(
    "path",
    ["/tile/0/999", "/tile/0/000.p/0", "/tile/0/000.p/256", "/tile/0/0", "/tile/00/000", "/tile/64/000", "/tile/0/x000/000",
     "/tile/0/x001", "/tile/0/000/..", "/tile/0/%2e%2e/000", "/tile/-1/000", "/tile/entries/999", "/tile/0/000.p/01",
     "/tile/0/٠٠٠", "/tile/", "/nothing", "/v1/audit/events/not-a-uuid/proof"],
)  # fmt: skip
def test_paths_that_name_nothing(anonymous, path):
    """Threat 52."""
    answer = anonymous.get(path)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


def test_inclusion_and_consistency_proofs(server, http, anonymous, tmp_path):
    old = anonymous.get("/checkpoint").content
    event = fresh()[0]
    index = http.post("/v1/audit/events", json=event).json()["receipts"][0]["index"]
    server.seal()
    old_size = int(old.split(b"\n")[1])
    growth = anonymous.get("/v1/proof/consistency", params={"from": old_size})
    verify_growth(parse_vkey(server.vkey), old, growth.content)
    proof = anonymous.get("/v1/proof/inclusion", params={"index": index})
    private = http.get(f"/v1/audit/events/{event['eventId']}/proof").json()
    assert private["index"] == index
    verify_event(parse_vkey(server.vkey), private["eventFile"].encode(), proof.content)
    assert event["actor"]["userId"] not in private["eventFile"]
    disclosed = http.get(f"/v1/audit/events/{event['eventId']}/proof?disclose=true").json()
    assert event["actor"]["userId"] in disclosed["eventFile"]
    (tmp_path / "e").write_text(disclosed["eventFile"], encoding="utf-8")
    (tmp_path / "p").write_text(disclosed["proof"], encoding="utf-8")
    done = verify_offline("proof", "--vkey", server.vkey, "--event", tmp_path / "e", tmp_path / "p")
    assert done.returncode == 0, done.stdout


def test_proofs_for_older_published_checkpoints(server, http, anonymous):
    server.seal()
    listed = anonymous.get("/v1/checkpoints", params={"limit": 2}).json()
    assert len(listed["checkpoints"]) == 2
    newer, older = listed["checkpoints"]
    assert listed["next"] == older["size"]
    proof = anonymous.get("/v1/proof/inclusion", params={"index": 0, "size": older["size"]})
    assert f"\n{older['size']}\n" in proof.text
    growth = anonymous.get("/v1/proof/consistency", params={"from": 1, "to": older["size"]})
    assert growth.text.startswith("old 1\n")
    rest = anonymous.get("/v1/checkpoints", params={"below": older["size"], "limit": 1000}).json()
    assert rest["next"] is None
    assert all(each["size"] < older["size"] for each in rest["checkpoints"])
    assert newer["size"] > older["size"]


@pytest.mark.parametrize(
    "path, status",
    [("/v1/proof/inclusion", 400), ("/v1/proof/inclusion?index=-1", 400), ("/v1/proof/inclusion?index=01", 400),
     ("/v1/proof/inclusion?index=99999999", 404), ("/v1/proof/inclusion?index=0&size=99999999", 404),
     ("/v1/proof/inclusion?index=9223372036854775808", 400), ("/v1/proof/consistency?from=99999999", 404),
     ("/v1/proof/consistency", 400), ("/v1/checkpoints?limit=0", 400), ("/v1/checkpoints?limit=x", 400)],
)  # fmt: skip
def test_bad_proof_requests(anonymous, path, status):
    answer = anonymous.get(path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


def test_an_event_comes_back_as_it_was_sent(server, http):
    event = fresh()[0]
    receipt = http.post("/v1/audit/events", json=event).json()["receipts"][0]
    answer = http.get(f"/v1/audit/events/{event['eventId']}")
    assert answer.headers["cache-control"] == "no-store"
    answered = answer.json()
    place = {name: receipt[name] for name in ("index", "loggedAt", "leafHash", "chainHash")}
    listed = {key["keyId"] for key in json.loads(tlog("token", "list", "--data", server.data, "--json").stdout)}
    log = answered.pop("log")
    assert log.pop("appendedBy") in listed
    assert log == {**place, "lost": [], "missing": []}
    assert answered == event


def test_data_that_is_gone_is_said_to_be_missing(server, http):
    event = fresh()[0]
    index = http.post("/v1/audit/events", json=event).json()["receipts"][0]["index"]
    postgres = EmbeddedPostgres(server.data / "postgres")
    with psycopg.connect(postgres.conninfo(user="postgres"), autocommit=True) as admin:
        erase(admin, [index])
    answer = http.get(f"/v1/audit/events/{event['eventId']}").json()
    log = answer.pop("log")
    assert (log["lost"], log["missing"]) == ([], ["actor", "resource"])
    assert answer == {
        **{name: event[name] for name in ("eventId", "timestamp", "action", "outcome", "source")},
        "resource": {"type": event["resource"]["type"]},
    }


def journal_of(server, http):
    """Return the journal entries of the log, oldest first, as (principal, action, question)."""
    server.seal()
    exported = server.data.parent / "journal"
    tlog("export", "--static", exported, "--data", server.data)
    found = []
    for path in sorted((exported / "tile" / "entries").rglob("*")):
        if path.is_file() and not (
            path.parent.name.endswith(".p") and (path.parent.parent / path.parent.name[:-2]).exists()
        ):
            data = path.read_bytes()
            while data:
                length = int.from_bytes(data[:2])
                entry, data = json.loads(data[2 : 2 + length]), data[2 + length :]
                if entry.get("resourceType") == "log":
                    found.append((entry["loggedAt"], entry["eventId"]))
    shutil.rmtree(exported)
    events = [http.get(f"/v1/audit/events/{event_id}").json() for _, event_id in sorted(found)]
    return [(event["actor"]["userId"], event["action"], json.loads(event["details"]["query"])) for event in events]


def test_every_question_is_journaled_before_its_answer(server, http, anonymous):
    reader = token(server, "read")["token"]
    event = fresh()[0]
    http.post("/v1/audit/events", json=event)
    server.seal()
    headers = {"Authorization": f"Bearer {reader}"}
    path = f"/v1/audit/events/{event['eventId']}"
    unknown = str(uuid4())
    assert anonymous.get(path, headers=headers).status_code == 200
    assert anonymous.get(path + "/proof?disclose=true", headers=headers).status_code == 200
    assert anonymous.get(f"/v1/audit/events/{unknown}", headers=headers).status_code == 404
    assert anonymous.get(path).status_code == 401
    asked = [entry for entry in journal_of(server, http) if entry[0] == "test:read"]
    assert asked[-3:] == [
        ("test:read", "read", {"ask": "event", "eventId": event["eventId"]}),
        ("test:read", "read", {"ask": "proof", "disclose": True, "eventId": event["eventId"]}),
        ("test:read", "read", {"ask": "event", "eventId": unknown}),
    ]


@pytest.mark.anyio
async def test_what_cannot_be_journaled_is_not_answered(opened):
    async with opened() as log:
        receipt = (await fill(log, 1))[0]
        key, stored = new_token(log.directory.pepper(), "auditor", ["read"], log.clock())

        async def find(_):
            return stored

        app = create_app(log, Authenticator(find, log.directory.pepper(), log.clock))
        transport = httpx2.ASGITransport(app=app)
        headers = {"Authorization": f"Bearer {key}"}
        async with httpx2.AsyncClient(transport=transport, base_url="http://log", headers=headers) as client:
            assert (await client.get(f"/v1/audit/events/{receipt.event_id}")).status_code == 200
            log.appender.close()
            for path in ("", "/proof"):
                answer = await client.get(f"/v1/audit/events/{receipt.event_id}{path}")
                assert answer.status_code == 503
                assert answer.headers["retry-after"] == "1"
                assert receipt.event_id not in answer.text


@pytest.mark.parametrize("principal", ["", "x" * 257, "line\nbreak"])
def test_a_principal_has_to_fit_into_the_journal(server, principal):
    done = tlog("token", "create", "--data", server.data, "--principal", principal, "--scope", "read", check=False)
    assert done.returncode == 2
    assert "a principal is 1 to 256 characters" in " ".join(done.stderr.split())


def test_proof_of_an_unknown_event(http):
    assert http.get(f"/v1/audit/events/{uuid4()}/proof").status_code == 404
    assert http.get(f"/v1/audit/events/{uuid4()}/proof?disclose=maybe").status_code == 400


def test_entries_and_tiles_hold_no_personal_data(server, http, anonymous):
    event = fresh()[0]
    index = http.post("/v1/audit/events", json=event).json()["receipts"][0]["index"]
    server.seal()
    size = anonymous.get("/v1/log").json()["size"]
    tile, width = index // 256, min(256, size - index // 256 * 256)
    path = f"/tile/entries/{tile:03d}" + (f".p/{width}" if width < 256 else "")
    entry = parse_bundle(anonymous.get(path).content, width)[index % 256].decode()
    for secret in (
        event["actor"]["userId"],
        event["actor"]["email"],
        event["resource"]["id"],
        event["actor"]["ipAddress"],
    ):
        assert secret not in entry
    assert event["eventId"] in entry


def test_description_health_metrics_and_docs(server, anonymous):
    described = anonymous.get("/v1/log").json()
    assert (described["vkey"], described["origin"]) == (server.vkey, server.vkey.split("+")[0])
    assert anonymous.get("/livez").text == "ok\n"
    assert anonymous.get("/readyz").json()["ready"] is True
    metrics = anonymous.get("/metrics").text
    assert "tlog_events_appended_total" in metrics
    assert "n.varga" not in metrics
    page = anonymous.get("/docs")
    assert "/v1/audit/events" in page.text
    for answer in (page, anonymous.get("/nothing")):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "server" not in answer.headers


def concrete(path):
    """Return a path of the description with its parts filled in."""
    path = path.replace("{event_id}", str(uuid4())).replace("{path}", "0/000.p/1")
    return path.replace("{type}", "patient_record").replace("{id}", "1")


def operations(anonymous):
    described = anonymous.get("/openapi.json").json()["paths"]
    return [(path, method.upper(), operation) for path, item in described.items() for method, operation in item.items()]


def test_openapi_describes_every_route(anonymous):
    assert anonymous.get("/openapi.json").json()["openapi"].startswith("3.1")
    described = operations(anonymous)
    for path, method, operation in described:
        answer = anonymous.request(method, concrete(path))
        assert answer.status_code != 405, path
        assert str(answer.status_code) in operation["responses"], (path, answer.status_code)


QUERIES = {
    "unknown": ("{name}x=1", "no such query parameter|takes no query parameters"),
    "unknown, without a value": ("{name}x", "no such query parameter|takes no query parameters"),
    "twice": ("{name}=1&{name}=1", "is given twice|takes no query parameters"),
    "twice, one escaped": ("{name}=1&{escaped}=1", "is given twice|takes no query parameters"),
    "a value that is no UTF-8": ("{name}=%ff", "not UTF-8"),
    "a name that is no UTF-8": ("%ff=1", "not UTF-8"),
    "a percent sign alone": ("{name}=%", "percent sign"),
}


@pytest.mark.parametrize("defect", QUERIES)
def test_every_route_refuses_query_parameters_it_does_not_take(http, defect):
    query, words = QUERIES[defect]
    walked = [*operations(http), ("/openapi.json", "GET", {}), ("/docs", "GET", {})]
    assert len(walked) > 17
    for path, method, operation in walked:
        taken = [each["name"] for each in operation.get("parameters", ()) if each["in"] == "query"]
        name = taken[0] if taken else "wait"
        target = f"{concrete(path)}?{query.format(name=name, escaped=f'%{ord(name[0]):02x}{name[1:]}')}"
        answer = http.request(method, target)
        assert answer.status_code == 400, (method, target, answer.text)
        assert re.search(words, answer.json()["detail"]), (method, target, answer.text)


def test_a_misspelt_parameter_is_told_what_was_meant(http):
    answer = http.post("/v1/audit/events?wiat=sealed", json=fresh()[0])
    assert (answer.status_code, answer.json()["pointer"]) == (400, "/wiat")
    assert "did you mean 'wait'?" in answer.json()["detail"]


@pytest.mark.parametrize("path", ["/%ff", "/v1/audit/resource/patient_record/%ff/access-log", "/tile/%ff", "/v1/log%"])
def test_paths_that_are_no_utf_8_are_refused(server, path):
    address = urlsplit(server.url)
    with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(65_536), b""))
    assert answer.startswith(b"HTTP/1.1 400"), answer
    assert b"the path" in answer


def test_wrong_method(anonymous):
    answer = anonymous.delete("/v1/audit/events")
    assert (answer.status_code, answer.json()["title"]) == (405, "The resource has no such method")


def test_conflicting_lengths_are_refused(server):
    """Threat 59: a request that two parsers would cut differently must not be executed."""
    address = urlsplit(server.url)
    smuggled = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
    request = (
        b"POST /v1/audit/events HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        % (5 + len(smuggled))
    )
    with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
        connection.sendall(request + smuggled)
        answer = connection.recv(65_536)
    assert answer.startswith(b"HTTP/1.1 400")
    assert answer.count(b"HTTP/1.1") == 1


def test_many_clients_at_once(http, server):
    batches = [fresh(20) for _ in range(12)]

    def post(batch):
        answer = httpx2.post(
            server.url + "/v1/audit/events", json=batch, headers={"Authorization": f"Bearer {server.token}"}, timeout=30
        )
        return [receipt["index"] for receipt in answer.json()["receipts"]]

    with ThreadPoolExecutor(8) as pool:
        indexes = [index for each in pool.map(post, batches) for index in each]
    assert len(set(indexes)) == 240
