"""Evidence from a page is what verifies offline, and what cannot be had says why."""

from __future__ import annotations

import json

import pytest
from questions import brute_force
from support import append, sample_events, verify_offline
from visitor import HERE, make_key, visiting

pytestmark = pytest.mark.anyio
EVENTS = [json.loads(raw) for raw in sample_events(40)]
USER = EVENTS[0]["actor"]["userId"]


async def test_evidence_from_a_page_verifies_offline(opened, tmp_path):
    async with opened(index=True) as log:
        await append(log, [json.dumps(event).encode() for event in EVENTS])
        async with visiting(log, zone="Europe/Budapest") as visitor:
            await visitor.sign_in((await make_key(log))[0])
            script = {**HERE, "Sec-Fetch-Dest": "empty"}
            checked = await visitor.get(
                "/ui/evidence", headers=script, userId=USER, disclose="true", **{"from": "2026-03-01"}
            )
            assert checked.status_code == 200, checked.text
            kept = await visitor.get("/ui/evidence", userId=USER, disclose="true", **{"from": "2026-03-01"})
            assert kept.headers["content-disposition"] == 'attachment; filename="evidence.json"'
            assert [query["ask"] for _, _, query in await visitor.journal("read")] == ["check"]
            assert [query["ask"] for _, _, query in await visitor.journal("export")] == ["page"]
            vkey = log.verifier.vkey()
    for number, answer in enumerate((checked, kept)):
        (tmp_path / f"{number}.json").write_bytes(answer.content)
        asked = ("--ask", f"userId={USER}", "--ask", "from=2026-02-28T23:00:00Z")
        done = verify_offline("evidence", "--vkey", vkey, *asked, "--json", tmp_path / f"{number}.json")
        verdict = json.loads(done.stdout)
        assert (verdict["verdict"], len(verdict["answers"])) == ("verified", len(brute_force(EVENTS, {"userId": USER})))


async def test_what_cannot_be_had_says_why(opened):
    async with opened() as log, visiting(log) as visitor:
        await visitor.sign_in((await make_key(log))[0])
        for path, parameters, said in (
            ("/ui/evidence", {}, "nothing is asked"),
            ("/ui/evidence", {"outcome": "failure"}, "evidence is about a resource"),
            ("/ui/evidence", {"userId": "x", "disclose": "yes"}, "is &#39;true&#39; or &#39;false&#39;"),
            ("/ui/export", {"tz": "UTC"}, "nothing is asked"),
            ("/ui/export", {"userId": "x", "format": "evidence"}, "is one of ndjson, csv"),
        ):
            answer = await visitor.get(path, **parameters)
            assert answer.status_code == 400
            assert said in answer.text


async def test_a_key_opens_no_more_buckets_by_pages_than_otherwise(opened):
    async with opened() as log, visiting(log) as visitor:
        await visitor.sign_in((await make_key(log, buckets=1))[0])
        answers = [await visitor.get("/ui/evidence", userId=f"user-{number}") for number in range(2)]
        assert answers[-1].status_code == 429
        assert "index buckets" in answers[-1].text
