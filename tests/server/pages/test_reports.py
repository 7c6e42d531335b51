"""Reports: their rows are the answering events of the evidence in them, told as the law asks for them."""

from __future__ import annotations

import html
import json
import re
from hashlib import sha256

import pytest
from questions import brute_force
from support import append, sample_events, verify_offline
from visitor import make_key, rows_of, visiting

pytestmark = pytest.mark.anyio
PATIENT = {"resourceType": "patient_record", "resourceId": "P-1"}
EVENTS = [json.loads(raw) for raw in sample_events(24)]
for number, event in enumerate(EVENTS):
    event["resource"] = {"type": "patient_record", "id": f"P-{number % 4}"}
    event["timestamp"] = f"2026-03-{number + 1:02}T12:00:00Z"
EVENTS[1]["details"] = {"fieldsAccessed": ["diagnoses", "medication"], "purpose": "TREAT"}
for number, purpose in ((5, None), (9, "PUBHLTH"), (13, "PUBHLTH"), (17, "TREAT")):
    EVENTS[number]["action"] = "export"
    EVENTS[number]["details"] = {
        "recipient": {"name": "Registry", "address": "1 Main St"},
        **({"purpose": purpose} if purpose else {}),
    }
EVENTS[21]["action"] = "export"
EVENTS[21].pop("details", None)


@pytest.fixture
async def visitor(opened):
    async with opened(index=True) as log:
        await append(log, [json.dumps(event).encode() for event in EVENTS])
        async with visiting(log) as visitor:
            await visitor.sign_in((await make_key(log))[0])
            yield visitor


async def test_an_access_report_has_the_events_of_its_evidence(visitor, tmp_path):
    page = await visitor.get("/ui/report/access", **PATIENT, controller="St. Elsewhere <b>", **{"from": "2026-03-01"})
    rows = rows_of(page.text)
    assert len(rows) == len(brute_force(EVENTS, PATIENT)) == 6
    assert [row[0] for row in rows] == sorted(row[0] for row in rows)
    actor = EVENTS[1]["actor"]
    assert rows[0] == [
        "2026-03-02 12:00:00", f"{actor['userId']} ({actor['role']})", EVENTS[1]["action"],
        "patient_record P-1: diagnoses, medication", "TREAT",
    ]  # fmt: skip
    assert "St. Elsewhere &lt;b&gt;" in page.text
    bundle = html.unescape(re.search(r'<pre id="bundle" hidden>(.*?)</pre>', page.text, re.DOTALL)[1])
    assert sha256(bundle.encode()).hexdigest() in page.text
    (tmp_path / "a.json").write_text(bundle)
    command = html.unescape(re.search(r"<code>python3 verify.py (.*?) FILE</code>", page.text)[1]).split(" ")
    done = verify_offline(
        *(visitor.log.verifier.vkey() if each == "VKEY" else each for each in command), "--json", tmp_path / "a.json"
    )
    verdict = json.loads(done.stdout)
    assert (verdict["verdict"], verdict["names"], len(verdict["answers"])) == ("verified", "all", 6)
    query = {"ask": "report", "from": "2026-03-01T00:00:00Z", "page": "access-report", "resourceType": "patient_record"}
    assert await visitor.journal("read") == [("auditor", "read", query)]
    again = (await visitor.get("/ui/report/access", **PATIENT, names="roles")).text
    assert {row[1] for row in rows_of(again)} == {EVENTS[number]["actor"]["role"] for number in range(1, 24, 4)}
    assert len(rows_of(again)) == 6
    assert rows_of(again, "asks") != [], "who asked stands under a heading of its own"


async def test_an_accounting_tells_of_disclosures(visitor):
    led = await visitor.get("/ui/report/accounting", **PATIENT, controller="C")
    year = visitor.log.clock().year - 6
    assert led.status_code == 303
    assert f"from={year}-" in led.headers["location"]
    page = await visitor.get(led.headers["location"])
    assert rows_of(page.text) == [
        ["2026-03-06 12:00:00", "Registry", "1 Main St", "patient_record P-1", ""],
        [
            "2026-03-10 12:00:00, 2 times, last 2026-03-14 12:00:00",
            "Registry",
            "1 Main St",
            "patient_record P-1",
            "PUBHLTH",
        ],
    ]
    counts = re.findall(r"<span>(\d+)</span>", re.search(r'<p id="counts">(.*?)</p>', page.text, re.DOTALL)[1])
    assert counts == ["1", "1", "0"]
    assert "60 days" in page.text


async def test_what_is_no_report(visitor):
    for path, parameters, said in (
        ("/ui/report/access", {"resourceType": "patient_record"}, "a report is about one person"),
        ("/ui/report/access", {**PATIENT, "names": "all"}, "is &#39;names&#39; or &#39;roles&#39;"),
        ("/ui/report/access", {**PATIENT, "userId": "x"}, "no such query parameter"),
    ):
        page = await visitor.get(path, **parameters)
        assert (page.status_code, said in page.text) == (400, True)
    for path in ("/ui/report/access", "/ui/report/accounting"):
        page = await visitor.get(path)
        assert (page.status_code, 'id="rows"' in page.text) == (200, False)
    assert await visitor.journal("read") == []
