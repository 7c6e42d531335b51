"""Evidence from a page is what verifies offline, and what cannot be had says why."""

from __future__ import annotations

import io
import json
import tarfile
from hashlib import sha256

import pytest
from questions import brute_force
from support import append, sample_events, verify_offline
from visitor import HERE, make_key, visiting

from tlog.answering import evidence, sets
from tlog.server.endpoints.sending import archived

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


async def test_a_set_is_an_archive_that_verifies_when_it_is_unpacked(opened, tmp_path, monkeypatch):
    """With bundles of 12 entries; an archive that broke off has no end, and what is in it no verdict but that parts are missing."""
    monkeypatch.setattr(evidence, "MAX_POSTINGS", 12)
    monkeypatch.setattr(sets, "MAX_POSTINGS", 12)
    question = {"action": "read", "from": "2026-03-17", "to": "2026-03-18"}
    async with opened(index=True) as log:
        await append(log, [json.dumps(event).encode() for event in EVENTS])
        await log.wait_indexed((await log.reader.state()).size, 10)
        async with visiting(log) as visitor:
            await visitor.sign_in((await make_key(log))[0])
            kept = await visitor.get("/ui/evidence", **question, disclose="true")
            assert kept.headers["content-disposition"] == 'attachment; filename="evidence.tar"'
            script = {**HERE, "Sec-Fetch-Dest": "empty"}
            assert (await visitor.get("/ui/evidence", headers=script, **question)).status_code == 413
            vkey = log.verifier.vkey()
    asks = [part for each in question.items() for part in ("--ask", "=".join(each))]
    with tarfile.open(fileobj=io.BytesIO(kept.content)) as archive:
        *names, last = archive.getnames()
        assert (names, last) == ([f"{number:06}.json" for number in range(1, len(names) + 1)], "manifest.json")
        assert len(names) > 1
        archive.extractall(tmp_path, filter="data")
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert [each["sha256"] for each in manifest["files"]] == [
        sha256((tmp_path / name).read_bytes()).hexdigest() for name in names
    ]
    done = verify_offline("evidence", "--vkey", vkey, *asks, "--json", tmp_path)
    assert len(json.loads(done.stdout)["answers"]) == len(brute_force(EVENTS, question)), done.stdout
    parts = {name: (tmp_path / name).read_bytes() for name in names}
    (tmp_path / names[-1]).unlink()
    assert verify_offline("evidence", "--vkey", vkey, *asks, tmp_path).returncode != 0

    async def cut():
        """As the process sends them that makes bulk answers, whose pieces are shorter than a part."""
        for name in names:
            text = parts[name]
            for at in range(0, len(text), 1_000):
                yield text[at : at + 1_000]

    assert b"".join([each async for each in archived(cut())]) == kept.content

    async def some():
        yield parts[names[0]]

    broken = b"".join([each async for each in archived(some())])
    assert not broken.endswith(bytes(1024)), "the control: one part of several is no archive with an end"


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
