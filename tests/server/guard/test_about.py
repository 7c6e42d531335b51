"""Keys for one person's answers: what they get, and that they get nothing else."""

from __future__ import annotations

import json
import random

import httpx2
import pytest
from questions import brute_force
from support import append, sample_events, verify_offline
from visitor import make_key

from tlog.errors import MalformedInputError
from tlog.server.app import create_app
from tlog.server.guard.about import about_of, members_of
from tlog.server.guard.auth import Authenticator

pytestmark = pytest.mark.anyio
EVENTS = [json.loads(raw) for raw in sample_events(60)]
PATIENT, OTHER = "P-1007", "P-7778"
EVENTS[3]["resource"] = {"type": "patient_record", "id": PATIENT, "name": "Mine"}
EVENTS[3]["relatedResources"] = [{"type": "patient_record", "id": OTHER, "name": "A relative"}]
EVENTS[4]["resource"] = {"type": "lab_result", "id": "L-5"}
EVENTS[4]["relatedResources"] = [{"type": "patient_record", "id": PATIENT}]
EVENTS[5]["resource"] = {"type": "patient_record", "id": OTHER}
EVENTS[5]["relatedResources"] = [{"type": "patient_record", "id": PATIENT}]
USER = EVENTS[0]["actor"]["userId"]
ABOUT = {"resourceType": "patient_record", "resourceId": PATIENT}
# What narrows a question and names nobody.
NARROWER = {
    "action": "read",
    "outcome": "success",
    "operation": "Look",
    "from": "2026-03-17",
    "to": "2026-03-18",
    "loggedFrom": "2026-01-01",
    "loggedTo": "2100-01-01",
}


@pytest.fixture
async def served(opened):
    """Return what asks the log with a key about something, and the log."""
    async with opened(index=True) as log:
        await append(log, [json.dumps(event).encode() for event in EVENTS])
        await log.wait_indexed((await log.reader.state()).size, 10)
        app = create_app(log, Authenticator(log.reader.api_key, log.directory.pepper(), log.clock), public="checkpoint")

        async def asking(about):
            token, _ = await make_key(log, about=about)
            transport = httpx2.ASGITransport(app=app, client=("127.0.0.1", 50_000))
            return httpx2.AsyncClient(
                transport=transport, base_url="http://log", headers={"Authorization": f"Bearer {token}"}
            )

        yield asking, log


def test_what_a_key_is_about_is_a_name_that_events_have():
    assert about_of(resource=("patient_record", "Zoe\u0301")) == ["patient_record", "Zo\u00e9"]
    assert about_of(user="n.varga") == ["n.varga"]
    assert about_of() is None
    assert members_of(["n.varga"]) == {"userId": "n.varga"}
    with pytest.raises(MalformedInputError, match="not about both"):
        about_of(resource=("a", "b"), user="c")
    with pytest.raises(MalformedInputError, match="resourceType"):
        about_of(resource=("UPPER CASE", "b"))


async def test_a_person_gets_the_answers_about_them_and_what_is_others_is_withheld(served):
    asking, log = served
    async with await asking(["patient_record", PATIENT]) as person:
        page = (await person.get("/v1/audit/events", params=ABOUT)).json()
        assert [each["eventId"] for each in page["events"]] == brute_force(EVENTS, ABOUT)
        found = {each["eventId"]: each for each in page["events"]}
        mine, lab, relative = (found[EVENTS[number]["eventId"]] for number in (3, 4, 5))
        assert (mine["resource"]["name"], mine.get("relatedResources"), mine["log"]["withheld"]) == (
            "Mine",
            None,
            ["related/0"],
        )
        assert (lab["resource"]["id"], lab["log"]["withheld"]) == ("L-5", [])
        assert (relative["resource"], relative["log"]["withheld"]) == ({"type": "patient_record"}, ["resource"])
        assert all("actor" in each for each in page["events"])
        assert all(each["log"]["missing"] == [] for each in page["events"])
        assert OTHER not in json.dumps(page)
        path = f"/v1/audit/resource/patient_record/{PATIENT}/access-log"
        assert len((await person.get(path)).json()["accessLog"]) > len(page["events"]), "and who asked"
        for name, value in NARROWER.items():
            assert (await person.get("/v1/audit/events", params={**ABOUT, name: value})).status_code == 200, name
    async with await asking(None) as auditor:
        assert OTHER in (await auditor.get("/v1/audit/events", params=ABOUT)).text, "the control: a key without a bound"
    assert (await log.reader.state()).size > len(EVENTS)


async def test_evidence_has_names_where_nobody_elses_are_among_them(served, tmp_path):
    asking, log = served
    day = {"from": "2026-03-17", "to": "2026-03-18"}  # without what the log says of questions
    for name, bound, question, disclosure in (
        ("mine", ["patient_record", PATIENT], ABOUT, "none"),
        ("alone", ["lab_result", "L-5"], {"resourceType": "lab_result", "resourceId": "L-5"}, "none"),
        ("theirs", ["patient_record", "P-1001"], {"resourceType": "patient_record", "resourceId": "P-1001"}, "full"),
        ("actor", [USER], {"userId": USER}, "none"),
        ("all", None, ABOUT, "full"),
    ):
        async with await asking(bound) as person:
            parameters = {**question, **day, "format": "evidence", "disclose": "true"}
            bundle = await person.get("/v1/audit/export", params=parameters)
        assert (bundle.status_code, bundle.json()["disclosure"]) == (200, disclosure), name
        file = tmp_path / f"{name}.json"
        file.write_bytes(bundle.content)
        asks = [part for each in {**question, **day}.items() for part in ("--ask", "=".join(each))]
        done = verify_offline("evidence", "--vkey", log.verifier.vkey(), *asks, file)
        assert done.returncode == 0, done.stdout
        assert disclosure == "full" or OTHER not in bundle.text


async def test_everything_else_is_refused_and_leaves_no_trace(served):
    """Other endpoints; and a thousand other questions, none of which is answered or journaled."""
    asking, log = served
    rng, others = random.Random(7), []
    for _ in range(1_000):
        members = dict(rng.sample(sorted(NARROWER.items()), rng.randrange(3)))
        event = rng.choice(EVENTS)
        members |= rng.choice([
            {"resourceType": event["resource"]["type"], "resourceId": rng.choice([OTHER, f"P-{rng.randrange(9_999)}", "p-1007", "P-1007 "])},
            {**ABOUT, "userId": event["actor"]["userId"]},
            {**ABOUT, "actorType": "unknown"},
            {**ABOUT, "sourceId": event["source"]["id"]},
            {"resourceType": "lab_result", "resourceId": PATIENT},
            {"resourceType": "patient_record"},
            {"userId": rng.choice([PATIENT, event["actor"]["userId"]])},
            {},
        ])  # fmt: skip
        others.append(members)
    others += [{"control": "outcome"}, {"control": "outcome", **ABOUT}]
    event_id = EVENTS[3]["eventId"]
    async with await asking(["patient_record", PATIENT]) as person:
        before = (await log.reader.state()).size
        for members in others:
            if members == ABOUT:
                continue
            path, more = rng.choice([("events", {}), ("events", {"proof": "true"}), ("export", {"format": "evidence"})])
            if more and not members.keys() & {"resourceId", "userId", "control", "sourceId", "action", "operation"}:
                path, more = "events", {}  # such evidence there is none of, for anybody
            answer = await person.get(f"/v1/audit/{path}", params={**members, **more})
            assert (answer.status_code, answer.json()["type"]) == (403, "urn:tlog:problem:not-yours"), members
        for path in (
            f"/v1/audit/events/{event_id}",
            f"/v1/audit/events/{event_id}/proof",
            f"/v1/audit/export?resourceType=patient_record&resourceId={PATIENT}",
            f"/v1/audit/export?resourceType=patient_record&resourceId={PATIENT}&format=csv",
            f"/v1/audit/resource/patient_record/{OTHER}/access-log",
            "/v1/audit/verify",
            "/tile/entries/000.p/1",
            "/v1/proof/inclusion?index=0",
        ):
            assert (await person.get(path)).status_code == 403, path
        assert (await person.post("/v1/audit/events", content=b"{}")).status_code == 403
        assert (await log.reader.state()).size == before
